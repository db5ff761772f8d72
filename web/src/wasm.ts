import type {
  DeviceInfo,
  Inspection,
  ModelInfo,
  OpenOptions,
  Progress,
  Score,
  Stats,
  Step,
  StoredModel,
  WriteOptions,
} from "./engine.js";
import { ImprintError } from "./errors.js";
import init, { Engine, forgetModel, inspect, storedModels } from "./imprint_wasm.js";

/** An open model inside the wasm module; one call at a time. */
export interface WasmEngine {
  device(): DeviceInfo;
  info(): ModelInfo;
  /** Takes a prompt and its options; `next` then does the work. */
  begin(prompt: string, options: WriteOptions): Promise<void>;
  next(): Promise<Step>;
  /** Ends the text before its time and gives what was held back of it. */
  end(): string;
  score(text: string, signal?: AbortSignal): Promise<Score>;
  selfTest(): Promise<string>;
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
  forgetModel(url: string): Promise<void>;
}

/** Fetches and starts the wasm module; a second call is answered by the first. */
export async function loadWasm(): Promise<WasmModule> {
  try {
    await init({ module_or_path: new URL("./imprint_wasm_bg.wasm", import.meta.url) });
  } catch (cause) {
    if (cause instanceof WebAssembly.CompileError || cause instanceof WebAssembly.LinkError) throw cause;
    throw new ImprintError(
      "model-unreachable",
      `the program that runs the model did not arrive: ${String(cause)}`,
      { cause },
    );
  }
  return { Engine, inspect, storedModels, forgetModel };
}
