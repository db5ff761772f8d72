import type { Engine } from "./engine.js";
import { ImprintError } from "./errors.js";
import type {
  AdapterInfo,
  Document,
  Learned,
  LearnOptions,
  LearnProgress,
  RunInfo,
  TextInput,
} from "./voice.js";

/** How a caller hears from a run and stops it for good. */
export type LearningOptions = {
  onProgress?: ((progress: LearnProgress) => void) | undefined;
  /** Ends the run within one step and removes it with its texts. */
  signal?: AbortSignal | undefined;
};

/** Whether a run learns, waits to go on, or is over. */
export type LearningState = "learning" | "paused" | "done" | "failed";

/** How a run begins: with texts, or from what is kept of it. */
export type Start = { texts: TextInput | TextInput[]; options: LearnOptions } | { run: string };

/**
 * A run of learning.
 *
 * Its texts and a checkpoint are kept in this browser from its first step until it ends, at least every 15 seconds, so
 * that it can go on after a reload, a crash or a lost GPU: see `imprint.runs`. When the GPU was lost, `done` rejects
 * with `device-lost` and the run is kept.
 */
export class LearningRun {
  /** Settles when the run is over, across all pauses: with the adapter, or with an `ImprintError`. */
  readonly done: Promise<AdapterInfo>;
  readonly #engine: Engine;
  readonly #options: LearningOptions;
  #settle!: { resolve(adapter: AdapterInfo): void; reject(error: unknown): void };
  #id: string | undefined;
  #state: LearningState = "learning";
  #pause = new AbortController();
  #turn: Promise<void>;

  constructor(engine: Engine, start: Start, options: LearningOptions) {
    this.#engine = engine;
    this.#options = options;
    this.done = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // A page that listens to progress alone must not see an unhandled rejection.
    this.done.catch(() => undefined);
    options.signal?.addEventListener("abort", this.#onAbort, { once: true });
    if ("run" in start) this.#id = start.run;
    this.#turn = this.#go(start);
  }

  /** The id under which it can be resumed; known from its first report on. */
  get id(): string | undefined {
    return this.#id;
  }

  get state(): LearningState {
    return this.#state;
  }

  /** Keeps a checkpoint and stops within one step; settles when that is done, or the run is over. */
  async pause(): Promise<void> {
    this.#pause.abort();
    await this.#turn;
  }

  /** Goes on with a paused run; does nothing to another. */
  resume(): void {
    if (this.#state !== "paused" || this.#id === undefined) return;
    this.#state = "learning";
    this.#pause = new AbortController();
    this.#turn = this.#go({ run: this.#id });
  }

  async #go(start: Start): Promise<void> {
    try {
      const learned = await this.#learn(start);
      if (learned.state === "done") return this.#end("done", () => this.#settle.resolve(learned.adapter));
      this.#id = learned.run.id;
      this.#state = "paused";
    } catch (thrown) {
      this.#end("failed", () => this.#settle.reject(ImprintError.from(thrown)));
    }
  }

  async #learn(start: Start): Promise<Learned> {
    const options = {
      onProgress: (progress: LearnProgress) => {
        this.#id = progress.run;
        this.#options.onProgress?.(progress);
      },
      signal: this.#options.signal,
      pause: this.#pause.signal,
    };
    if ("run" in start) return this.#engine.run("resume", start, options);
    const texts = await documents(start.texts);
    return this.#engine.run("learn", { texts, options: start.options }, options);
  }

  #end(state: LearningState, settle: () => void): void {
    this.#state = state;
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    settle();
  }

  // A run that learns hears the signal itself.
  readonly #onAbort = (): void => {
    if (this.#state !== "paused" || this.#id === undefined) return;
    const cancelled = ImprintError.cancelled(this.#options.signal);
    const discarded = this.#engine.run("discardRun", { id: this.#id });
    void discarded
      .catch(() => undefined)
      .then(() => this.#end("failed", () => this.#settle.reject(cancelled)));
  };
}

/** The runs that this browser keeps because they have not ended. */
export class Runs {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Lists them, the newest first. */
  list(): Promise<RunInfo[]> {
    return this.#engine.run("listRuns", null);
  }

  /** Goes on with one, on the model it began with. */
  resume(id: string, options: LearningOptions = {}): LearningRun {
    return new LearningRun(this.#engine, { run: id }, options);
  }

  /** Removes one with its texts; rejects with `busy` while a tab learns. */
  async discard(id: string): Promise<void> {
    await this.#engine.run("discardRun", { id });
  }
}

/** Options as they go to the engine, the recipe in one place. */
export function gathered({ name, effort, keepTexts, recipe, ...numbers }: LearnOptions): LearnOptions {
  return {
    ...(name === undefined ? {} : { name }),
    ...(effort === undefined ? {} : { effort }),
    ...(keepTexts === undefined ? {} : { keepTexts }),
    recipe: { ...recipe, ...numbers },
  };
}

/** Texts as they go to the engine. */
export function documents(texts: TextInput | TextInput[]): Promise<Document[]> {
  return Promise.all((Array.isArray(texts) ? texts : [texts]).map(document));
}

async function document(input: TextInput): Promise<Document> {
  if (typeof input === "string") return { name: "", bytes: encode(input) };
  if (!(input instanceof Blob)) return { name: input.name ?? "", bytes: encode(input.text) };
  const bytes = new Uint8Array(await input.arrayBuffer());
  if (input instanceof File) return { name: input.name, bytes };
  return { name: input.type.startsWith("text/html") ? "page.html" : "", bytes };
}

function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}
