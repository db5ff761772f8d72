import type { HeldKey } from "./keyring.js";
import type { Memory } from "./models.js";
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

/** Where the model shall run; `auto` takes the GPU, and the processor where there is none, it fails, or it is a program on the processor. */
export type DeviceChoice = "auto" | "webgpu" | "cpu";

/** How a model is opened. */
export type OpenOptions = {
  device: DeviceChoice;
  /** The expected SHA-256 of the file in hex; a download with another hash is thrown away. */
  sha256?: string;
  /** Tokens that prompt and answer can have together (2,048), at most what the model was made for. */
  contextTokens?: number;
  /** Whether to measure which kernels are fastest here; see `ImprintOptions`. */
  measureKernels?: boolean;
  /** Memory of this device; a model that needs more is refused before it is fetched. */
  mostBytes?: number;
};

/** How far opening has come. */
export type Progress = {
  phase: "download" | "verify" | "load" | "compile" | "ready";
  doneBytes: number;
  totalBytes: number;
  /** Whether the bytes come from this browser's storage and not from the network. */
  fromCache: boolean;
};

/** The device that does the arithmetic. */
export type DeviceInfo = {
  kind: "webgpu" | "cpu";
  description: string;
  /** Why it is not the GPU; or on the GPU, what it computed wrongly before other kernels were taken. */
  reason?: string;
  /** How the GPU's kernels are cut, in words. */
  kernels?: string;
  /** What was timed to choose them, the kernels of most GPUs first; only where that was done at this opening. */
  tried?: { kernels: string; tokenMs: number; promptMs: number }[];
  /** How long it took to see whether the GPU computes rightly, in milliseconds. */
  trialMs?: number;
};

/** What the model's file says about itself. */
export type ModelInfo = {
  name: string;
  architecture: string;
  parameters: number;
  sizeBytes: number;
  /** Tokens that prompt and answer can have together, as it was opened. */
  contextTokens: number;
  /** The SHA-256 of the file in hex. */
  fingerprint: string;
  /** Whether this browser keeps the file for the next time. */
  stored: boolean;
};

/** How text is written; each number left out has the default named beside it. */
export type WriteOptions = Voice & {
  /** The adapter to write with, several at once, or null for none (what is in use). */
  adapter?: AdapterUse;
  /** Most tokens to write (256). */
  maxTokens?: number;
  /** 0 always takes the likeliest token; higher is bolder (0.8). */
  temperature?: number;
  /** Only the likeliest k tokens can be drawn; 0 switches this off (40). */
  topK?: number;
  /** Only the likeliest tokens that together reach this probability can be drawn (0.95). */
  topP?: number;
  /** Only tokens at least this fraction as likely as the likeliest can be drawn (0). */
  minP?: number;
  /** Above 1, tokens that already stand in the text become less likely (1). */
  repetitionPenalty?: number;
  /** The same seed on the same device gives the same text (0). */
  seed?: number;
  /** Writing ends before any of these strings would appear. */
  stop?: string[];
  /** Whether the prompt is a message to answer, not a text to continue (false). */
  chat?: boolean;
  /**
   * Most words in a row that may stand in the text the adapter was learned from, the prompt's last words included: 7 or more
   * (no limit). Of several adapters it holds for the text of each that has `prints`. Rejects with `invalid-option` where
   * none has; without an adapter there is nothing to copy.
   */
  maxCopiedWords?: number;
  /** Keeps names out that stand in that text and that the base would hardly write (false). */
  withoutNames?: boolean;
};

/** Why writing ended: the model's own end, a stop string, `maxTokens`, or a full context. */
export type Finish = "end" | "stop" | "length" | "context";

/** One step of writing: a stretch of the prompt read (with empty text) or the next piece of text. */
export type Step = {
  text: string;
  /**
   * The text by what of it is copied, where the adapter has `prints`; `copiedFrom` is where the run begins, in all that was
   * written.
   */
  pieces?: { text: string; copiedFrom?: number }[];
  /** Tokens written so far. */
  tokens: number;
  promptTokens: number;
  /** Tokens of the prompt read so far. */
  prefilled: number;
  /** Stands on the last step only. */
  finish?: Finish;
};

/** How well the model foresees a text. */
export type Score = {
  tokens: number;
  /** Mean negative log-likelihood of a predicted token, in nats. */
  nll: number;
  bitsPerChar: number;
};

/** Counters for measuring. */
export type Stats = {
  /** GPU dispatches for one token; 0 on the processor. */
  dispatchesPerToken: number;
  /** All GPU memory in use, and the part of it that holds the model's weights. */
  gpuBytes: number;
  gpuWeightBytes: number;
  wasmBytes: number;
};

/** How far two lists of scores are apart: at most, of the largest score, and where. */
export type Apart = { maxAbsolute: number; maxRelative: number; at: number; sameBest: boolean };

/** How far the GPU's numbers are from the processor's. */
export type SelfTest = {
  /** On the processor there is nothing to compare. */
  device: "webgpu" | "cpu";
  tokens: number;
  /** The open model first, then each further cut of the kernels that was asked for. */
  cuts: {
    /** Invocations that share a row of weights. */
    lanes: number;
    /** The smallest subgroup of the device, where it has subgroups. */
    subgroup?: number;
    /** Whether those invocations add up by subgroup operations. */
    shuffles: boolean;
    /** After a prompt read at once, and with its last token read alone. */
    prefill: Apart;
    decode: Apart;
  }[];
};

/** Steps of learning to try: rank 8 and alpha 16 on all projections, AdamW without decay, clip or schedule. */
export type LearningTrial = {
  /** Windows of token ids, read in turn, one a step. */
  sequences: number[][];
  /** The adapter's first numbers: A before B, pair after pair, by block and projection (a fresh adapter's). */
  parameters?: Float32Array<ArrayBuffer>;
  steps: number;
  rate: number;
};

/** What steps of learning found. */
export type LearningTest = {
  device: "webgpu" | "cpu";
  /** Mean loss of each step in nats, before its update. */
  losses: number[];
  /** What each step took until its loss was read. */
  stepMs: number[];
  /** What learning took on the GPU beside the model, and all memory of the module. */
  gpuBytes: number;
  wasmBytes: number;
};

/** A model kept in this browser. */
export type StoredModel = { url: string; sizeBytes: number; sha256: string };

/** What a model is and where it runs, told by its header alone. */
export type Inspection = {
  /** The model's name, or its architecture where it has none. */
  name: string;
  architecture: string;
  parameters: number;
  sizeBytes: number;
  /** Tokens that the model was made to read at once, where the file says so. */
  contextTokens?: number;
  /** Under what it may be used, as far as the file says; `id` is a short name such as `apache-2.0`. */
  licence: { id?: string; name?: string; url?: string };
  /** What it takes while it writes, where it runs at all. */
  memory?: Memory;
  /** How many tensors are in each block format, such as `{ Q4_1: 210, F32: 61 }`. */
  formats: { [name: string]: number };
  /** The devices of this browser that run the model; empty if none does. */
  runsOn: ("webgpu" | "cpu")[];
  /** Why a device is missing in `runsOn`. */
  reason?: string;
};

/** Every command an engine knows: what goes in, what it reports on the way, what comes out. */
export interface Commands {
  open: {
    params: { model: string | Blob; options: OpenOptions };
    progress: Progress;
    result: { device: DeviceInfo; info: ModelInfo };
  };
  write: { params: { prompt: string; options: WriteOptions }; progress: Step; result: null };
  score: {
    params: { text: string; options: { adapter?: AdapterUse } };
    progress: never;
    result: Score;
  };
  plan: { params: { texts: Document[]; options: LearnOptions }; progress: never; result: LearnPlan };
  learn: {
    params: { texts: Document[]; options: LearnOptions };
    progress: LearnProgress;
    result: Learned;
  };
  resume: { params: { run: string }; progress: LearnProgress; result: Learned };
  use: { params: { adapter: AdapterUse; options: Voice }; progress: never; result: null };
  importAdapter: {
    params: { files: AdapterFiles; told: Partial<AdapterInfo> };
    progress: never;
    result: AdapterInfo;
  };
  importGguf: {
    params: { file: Blob; told: Partial<AdapterInfo> };
    progress: never;
    result: AdapterInfo;
  };
  exportGguf: { params: { id: string }; progress: never; result: Uint8Array<ArrayBuffer> };
  stats: { params: null; progress: never; result: Stats };
  selfTest: { params: { allCuts: boolean }; progress: never; result: SelfTest };
  learningTest: { params: LearningTrial; progress: number; result: LearningTest };
  inspect: { params: { model: string | Blob }; progress: never; result: Inspection };
  storedModels: { params: null; progress: never; result: StoredModel[] };
  forgetModel: { params: { url: string; hash: boolean }; progress: never; result: null };
  listAdapters: { params: null; progress: never; result: AdapterInfo[] };
  renameAdapter: { params: { id: string; name: string }; progress: never; result: null };
  deleteAdapter: { params: { id: string }; progress: never; result: null };
  exportAdapter: { params: { id: string }; progress: never; result: AdapterFiles & { info: AdapterInfo } };
  adapterTexts: { params: { id: string }; progress: never; result: Document[] };
  forgetTexts: { params: { id: string }; progress: never; result: null };
  listRuns: { params: null; progress: never; result: RunInfo[] };
  discardRun: { params: { id: string }; progress: never; result: null };
  unlock: { params: HeldKey; progress: never; result: null };
  lock: { params: null; progress: never; result: null };
  seal: { params: { record: WrappedKey; key: CryptoKey }; progress: never; result: null };
  turn: { params: null; progress: never; result: null };
  rewrap: { params: { record: WrappedKey }; progress: never; result: null };
  unseal: {
    params: { id: string; raw: Uint8Array<ArrayBuffer> };
    progress: never;
    result: null;
  };
  storageUsage: { params: null; progress: never; result: StorageUsage };
  forgetEverything: { params: null; progress: never; result: null };
  close: { params: null; progress: never; result: null };
}

/** The name of a command. */
export type CommandName = keyof Commands;

/** How a call hears from its command and stops it. */
export type CallOptions<Name extends CommandName> = {
  onProgress?: ((progress: Commands[Name]["progress"]) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** Aborted to make learning keep a checkpoint and end as paused. */
  pause?: AbortSignal | undefined;
};

/**
 * The one interface between the public API and whatever runs the model.
 *
 * Commands run one at a time in the order of their calls, but for those that only look after what is kept: they do
 * not wait for a text or a run to end. Every call settles exactly once: with the result, or
 * with an `ImprintError`. After it settled, `onProgress` is not called again. An aborted call rejects at once
 * with `cancelled`; the command itself ends at its next step. A `write`, `learn` or `resume` that has begun
 * rejects only then, so that its last words are heard.
 */
export interface Engine {
  run<Name extends CommandName>(
    name: Name,
    params: Commands[Name]["params"],
    options?: CallOptions<Name>,
  ): Promise<Commands[Name]["result"]>;

  /** Stops what runs, frees the model and ends the engine; later calls reject. Never rejects itself. */
  close(): Promise<void>;
}
