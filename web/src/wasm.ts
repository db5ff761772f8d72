import type {
  DeviceInfo,
  Inspection,
  LearningTest,
  LearningTrial,
  ModelInfo,
  OpenOptions,
  Progress,
  Score,
  SelfTest,
  Stats,
  Step,
  StoredModel,
  WriteOptions,
} from "./engine.js";
import init, * as wasm from "./imprint_wasm.js";
import { loader } from "./loader.js";
import type { WrappedKey } from "./vault-record.js";
import type {
  AdapterFiles,
  AdapterInfo,
  AdapterUse,
  Document,
  Learned,
  LearnOptions,
  LearnPlan,
  LearnProgress,
  RunInfo,
  StorageUsage,
  Voice,
} from "./voice.js";

/** An open model inside the wasm module; one call at a time. */
export interface WasmEngine {
  device(): DeviceInfo;
  info(): ModelInfo;
  /** Takes a prompt and its options; `next` then does the work. */
  begin(prompt: string, options: WriteOptions): Promise<void>;
  next(): Promise<Step>;
  /** Ends the text before its time and gives what was held back of it. */
  end(): string;
  score(text: string, options: { adapter?: AdapterUse }, signal?: AbortSignal): Promise<Score>;
  plan(texts: Document[], options: LearnOptions): Promise<LearnPlan>;
  /** Learns an adapter; `pause` makes it keep a checkpoint and end as paused, `signal` removes the run. */
  learn(
    texts: Document[],
    options: LearnOptions,
    onProgress: (progress: LearnProgress) => void,
    signal?: AbortSignal,
    pause?: AbortSignal,
  ): Promise<Learned>;
  /** Goes on with a run that was paused or broken off. */
  resume(
    run: string,
    onProgress: (progress: LearnProgress) => void,
    signal?: AbortSignal,
    pause?: AbortSignal,
  ): Promise<Learned>;
  /** Writes with an adapter from now on, with several at once, or with none. */
  use(adapter: AdapterUse, options: Voice): Promise<void>;
  importAdapter(
    config: string,
    weights: Uint8Array<ArrayBuffer>,
    told: Partial<AdapterInfo>,
    prints?: Uint8Array<ArrayBuffer>,
  ): Promise<AdapterInfo>;
  /** Takes an adapter in from llama.cpp's GGUF file. */
  importGguf(file: Blob, told: Partial<AdapterInfo>): Promise<AdapterInfo>;
  /** Gives a kept adapter as llama.cpp's GGUF file. */
  exportGguf(id: string): Promise<Uint8Array<ArrayBuffer>>;
  /** Compares the GPU's numbers with the processor's, with `allCuts` in every cut of the kernels. */
  selfTest(prompt: string | undefined, allCuts: boolean): Promise<SelfTest>;
  /** Learns a few steps and keeps nothing; `onStep` hears the number of each that is over. */
  learningTest(
    trial: Omit<LearningTrial, "parameters">,
    parameters: Float32Array<ArrayBuffer> | undefined,
    onStep: (step: number) => void,
    signal?: AbortSignal,
  ): Promise<LearningTest>;
  stats(): Stats;
  close(): void;
}

/** What the wasm module exports. */
export interface WasmModule {
  Engine: {
    open(
      model: string | Blob,
      options: OpenOptions,
      onProgress: (progress: Progress) => void,
      signal?: AbortSignal,
    ): Promise<WasmEngine>;
  };
  inspect(model: string | Blob, signal?: AbortSignal): Promise<Inspection>;
  storedModels(): Promise<StoredModel[]>;
  /** With `hash`, what later downloads from there are held to is forgotten too. */
  forgetModel(url: string, hash: boolean): Promise<void>;
  listAdapters(): Promise<AdapterInfo[]>;
  renameAdapter(id: string, name: string): Promise<void>;
  deleteAdapter(id: string): Promise<void>;
  exportAdapter(id: string): Promise<AdapterFiles & { info: AdapterInfo }>;
  adapterTexts(id: string): Promise<Document[]>;
  forgetTexts(id: string): Promise<void>;
  listRuns(): Promise<RunInfo[]>;
  discardRun(id: string): Promise<void>;
  /** Reads and writes what is kept with a data key from now on. */
  unlock(id: string, key: CryptoKey): void;
  lock(): void;
  seal(record: WrappedKey, key: CryptoKey): Promise<void>;
  /** Goes on with a sealing or opening that was broken off. */
  turn(): Promise<void>;
  rewrap(record: WrappedKey): Promise<void>;
  unseal(id: string, raw: Uint8Array<ArrayBuffer>): Promise<void>;
  storageUsage(): Promise<StorageUsage>;
  forgetEverything(): Promise<void>;
}

/** Fetches and starts the wasm module, once: two that come together would each start one of their own. */
export const loadWasm = loader(async () => {
  await init({ module_or_path: new URL("./imprint_wasm_bg.wasm", import.meta.url) });
  return wasm;
});
