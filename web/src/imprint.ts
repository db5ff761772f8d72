import { Adapters } from "./adapters.js";
import { Channel } from "./channel.js";
import type {
  DeviceChoice,
  DeviceInfo,
  Engine,
  Finish,
  Inspection,
  LearningTest,
  LearningTrial,
  ModelInfo,
  Progress,
  Score,
  SelfTest,
  Stats,
  Step,
  StoredModel,
  WriteOptions,
} from "./engine.js";
import { endEngine, forgetAll, once, startEngine, type Own, type WorkerChoice } from "./engines.js";
import { ImprintError } from "./errors.js";
import { memoryBytes, type DeviceLimits } from "./limits.js";
import { located } from "./models.js";
import { documents, gathered, LearningRun, Runs, type LearningOptions } from "./learning.js";
import type { AdapterUse, LearnOptions, LearnPlan, StorageUsage, TextInput } from "./voice.js";

/** What `Imprint.open` takes. */
export type ImprintOptions = {
  /**
   * A GGUF file: the id of a listed model (see `models`), which lies under `models/` beside the page; an address, relative
   * to the page; or a `Blob` or `File` that the person chose.
   */
  model: string | URL | Blob;
  /** The SHA-256 it must have; an id stands for its own. Without, an address is held to what it gave first. */
  sha256?: string;
  /** What the device can hold (what the browser tells): a larger model is refused before it is fetched. */
  limits?: DeviceLimits;
  contextTokens?: number;
  /**
   * Whether to measure which kernels this GPU is fastest with, which takes a second or two. Left out, it is done once for a
   * GPU, a browser and a kind of model, and kept; never on a processor that poses as a GPU, unless asked for.
   */
  measureKernels?: boolean;
  device?: DeviceChoice;
  worker?: WorkerChoice;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
};

/** A piece of written text; `${piece}` is its text. */
export class Piece {
  readonly text: string;
  /** Tokens written so far. */
  readonly tokens: number;
  readonly promptTokens: number;
  /** Tokens of the prompt read so far; while it grows, `text` is empty. */
  readonly prefilled: number;
  /** Why writing ended; on the last piece only. */
  readonly finish: Finish | undefined;
  /** Whether the text stands inside a run of 8 words or more of the text that the adapter was learned from. */
  readonly copied: boolean;
  /**
   * Where that run begins, as an index into all that was written: a run is known for one at its eighth word, so its first
   * seven came in pieces before. 0 where it begins in the prompt.
   */
  readonly copiedFrom: number | undefined;

  constructor(step: Step, { text, copiedFrom }: { text: string; copiedFrom?: number } = step) {
    this.text = text;
    this.tokens = step.tokens;
    this.promptTokens = step.promptTokens;
    this.prefilled = step.prefilled;
    this.finish = step.finish;
    this.copied = copiedFrom !== undefined;
    this.copiedFrom = copiedFrom;
  }

  /** The pieces of a step; what it tells of the whole text stands on each, its end on the last. */
  static of(step: Step): Piece[] {
    const { finish, ...before } = step;
    const last = step.pieces?.at(-1);
    if (!step.pieces || !last) return [new Piece(step, { text: step.text })];
    return [...step.pieces.slice(0, -1).map((piece) => new Piece(before, piece)), new Piece(step, last)];
  }

  toString(): string {
    return this.text;
  }
}

/** An open language model that writes and scores text on this computer. */
export class Imprint {
  /** The device that does the arithmetic and, where it is not the GPU, why. */
  readonly device: DeviceInfo;
  /** What the model's file says about itself. */
  readonly info: ModelInfo;
  /** The adapters that this browser keeps. */
  readonly adapters: Adapters;
  /** The runs of learning that can go on. */
  readonly runs: Runs;
  readonly #engine: Engine;

  private constructor(engine: Engine, device: DeviceInfo, info: ModelInfo) {
    this.#engine = engine;
    this.device = device;
    this.info = info;
    this.adapters = new Adapters(engine);
    this.runs = new Runs(engine);
  }

  /**
   * Fetches a model, or takes it from this browser's storage, and makes it ready.
   *
   * Rejects with an `ImprintError`; nothing is left open then.
   */
  static open(options: ImprintOptions): Promise<Imprint> {
    return Imprint.openOn(options);
  }

  /**
   * As `open`; `own` is what does the work where `options.worker` names nothing else.
   *
   * @internal
   */
  static async openOn(options: ImprintOptions, own?: Own): Promise<Imprint> {
    const { model, contextTokens, measureKernels, device = "auto", worker = true } = options;
    const { onProgress, signal } = options;
    const { memoryBytes: mostBytes = memoryBytes() } = options.limits ?? {};
    const engine = startEngine(worker, own);
    try {
      const place = model instanceof Blob ? undefined : located(model);
      const { sha256 = place?.sha256 } = options;
      const open = {
        device,
        ...(sha256 === undefined ? {} : { sha256 }),
        ...(contextTokens === undefined ? {} : { contextTokens }),
        ...(measureKernels === undefined ? {} : { measureKernels }),
        ...(mostBytes === undefined ? {} : { mostBytes }),
      };
      const opened = await engine.run(
        "open",
        { model: place?.url ?? (model as Blob), options: open },
        { onProgress, signal },
      );
      return new Imprint(engine, opened.device, opened.info);
    } catch (thrown) {
      // The next open may want the same file, which a worker still holds until it has closed.
      await endEngine(engine);
      throw ImprintError.from(thrown);
    }
  }

  /**
   * Continues `prompt`, or answers it when `chat` is set, piece by piece.
   *
   * Writing begins with the first turn of the loop and stops within one token when the loop is left or `signal`
   * aborts; an abort makes the loop give what is written so far and throw `cancelled`. While another text is being written, this one waits.
   */
  async *write(
    prompt: string,
    options: WriteOptions & { signal?: AbortSignal } = {},
  ): AsyncGenerator<Piece, void, undefined> {
    const { signal, ...writing } = options;
    const leave = new AbortController();
    const steps = new Channel<Step>(() => leave.abort());
    const onAbort = (): void => leave.abort(signal?.reason);
    if (signal?.aborted) onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#engine
      .run(
        "write",
        { prompt, options: writing },
        { onProgress: (step) => steps.push(step), signal: leave.signal },
      )
      .then(() => steps.end())
      .catch((error: unknown) => steps.fail(error));
    try {
      for await (const step of steps) yield* Piece.of(step);
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** Measures how well the model foresees `text`: the lower the numbers, the less it surprises. */
  score(
    text: string,
    { adapter, ...options }: { adapter?: AdapterUse; signal?: AbortSignal } = {},
  ): Promise<Score> {
    return this.#engine.run("score", { text, options: adapter === undefined ? {} : { adapter } }, options);
  }

  /**
   * Compares the GPU's numbers with the processor's, for whoever doubts a driver. Takes seconds, and with `allCuts` many:
   * the model is then loaded again for each way in which the kernels are cut for other GPUs.
   */
  selfTest({
    allCuts = false,
    ...options
  }: { allCuts?: boolean; signal?: AbortSignal } = {}): Promise<SelfTest> {
    return this.#engine.run("selfTest", { allCuts }, options);
  }

  /**
   * Learns a few steps from given numbers, with what `learn` uses, and keeps nothing: to hold a device to another
   * implementation's losses, and for measuring. `onStep` hears the number of each step that is over.
   */
  learningTest(
    trial: LearningTrial,
    { onStep, signal }: { onStep?: (step: number) => void; signal?: AbortSignal } = {},
  ): Promise<LearningTest> {
    return this.#engine.run("learningTest", trial, { onProgress: onStep, signal });
  }

  /**
   * Learns an adapter from texts of one person.
   *
   * While it learns, other texts wait, but for `adapters.list` and the like. One tab of a browser learns at a time: in
   * another, `done` rejects with `busy`.
   */
  learn(texts: TextInput | TextInput[], options: LearnOptions & LearningOptions = {}): LearningRun {
    const { onProgress, signal, ...given } = options;
    return new LearningRun(this.#engine, { texts, options: gathered(given) }, { onProgress, signal });
  }

  /**
   * Tells what learning from these texts would do: what is found in them, with which numbers, in how many steps.
   *
   * Rejects as `learn` would: with `text-too-short` and what is missing, `text-too-long`, `text-unreadable`,
   * `invalid-option`, `out-of-memory`.
   */
  async plan(texts: TextInput | TextInput[], options: LearnOptions = {}): Promise<LearnPlan> {
    return this.#engine.run("plan", { texts: await documents(texts), options: gathered(options) });
  }

  /** Tells how much this browser keeps for Imprint. */
  storageUsage(): Promise<StorageUsage> {
    return this.#engine.run("storageUsage", null);
  }

  /**
   * Removes everything that Imprint keeps in this browser: adapters, runs with their texts, models, cached files, and the
   * passphrase.
   *
   * Rejects with `busy` while any tab learns. The model that is open stays so until it is closed.
   */
  async forgetEverything(): Promise<void> {
    await forgetAll(this.#engine);
    await this.adapters.use(null);
  }

  /** Counts dispatches and memory, for measuring. */
  stats(): Promise<Stats> {
    return this.#engine.run("stats", null);
  }

  /** Frees the model's memory, the GPU's too, and ends the Worker; whatever still runs is cancelled. */
  close(): Promise<void> {
    return endEngine(this.#engine);
  }
}

/**
 * Reads the header of a model to tell what it is and whether it runs here, without downloading the rest.
 *
 * Rejects where the header cannot be read: `model-unreachable` (also from a server that sends whole files only),
 * `model-corrupt`, `model-unsupported`. A sound model that does not run here has an empty `runsOn` and a `reason`.
 */
export function inspect(
  model: string | URL | Blob,
  { signal, worker = true }: { signal?: AbortSignal; worker?: WorkerChoice } = {},
): Promise<Inspection> {
  return once(worker, (engine) => {
    const source = model instanceof Blob ? model : located(model).url;
    return engine.run("inspect", { model: source }, { signal });
  });
}

/** Lists the models kept in this browser. */
export function storedModels(worker: WorkerChoice = true): Promise<StoredModel[]> {
  return once(worker, (engine) => engine.run("storedModels", null));
}

/**
 * Removes everything that Imprint keeps in this browser, without an open model: the way out when a passphrase is lost.
 *
 * Rejects with `busy` while any tab learns.
 */
export async function forgetEverything(worker: WorkerChoice = true): Promise<void> {
  await once(worker, forgetAll);
}

/**
 * Removes a model from this browser's storage, by its address or the id of a listed one.
 *
 * What its address gave stays known as a hash, which a later download is held to, unless `hash` is set.
 */
export async function forgetModel(
  model: string | URL,
  worker: WorkerChoice = true,
  { hash = false }: { hash?: boolean } = {},
): Promise<void> {
  await once(worker, (engine) => engine.run("forgetModel", { url: located(model).url, hash }));
}
