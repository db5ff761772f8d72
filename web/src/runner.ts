import type { CallOptions, CommandName, Commands, Step } from "./engine.js";
import { ImprintError } from "./errors.js";
import type { Learned } from "./voice.js";
import type { WasmEngine, WasmModule } from "./wasm.js";

type Params<Name extends CommandName> = Commands[Name]["params"];
type Result<Name extends CommandName> = Commands[Name]["result"];
type Turns = {
  [Name in CommandName]: (params: Params<Name>, options: CallOptions<Name>) => Promise<Result<Name>>;
};

/** Commands that need no open model: they do not wait for a text or a run to end. */
const aside = new Set<CommandName>([
  "storedModels",
  "listAdapters",
  "renameAdapter",
  "deleteAdapter",
  "exportAdapter",
  "adapterTexts",
  "forgetTexts",
  "listRuns",
  "discardRun",
  "unlock",
  "lock",
  "seal",
  "turn",
  "rewrap",
  "unseal",
  "storageUsage",
  "forgetEverything",
]);

/**
 * Runs commands on the wasm module, one at a time, in the order they came, but for those that need no model.
 *
 * An async wasm export is borrowed until it settles, so a second call may only begin after the first. A panic
 * inside wasm can leave its promise pending for ever; `crash` then rejects everything that still waits.
 */
export class Runner {
  readonly #load: () => Promise<WasmModule>;
  readonly #pending = new Set<(error: ImprintError) => void>();
  #tail: Promise<unknown> = Promise.resolve();
  #engine: WasmEngine | undefined;
  #crash: ImprintError | undefined;
  /** The run that goes on, and when it is over. */
  #learning: { pause: AbortController; over: Promise<void> } | undefined;

  constructor(load: () => Promise<WasmModule>) {
    this.#load = load;
  }

  /** Queues a command. */
  run<Name extends CommandName>(
    name: Name,
    params: Params<Name>,
    options: CallOptions<Name> = {},
  ): Promise<Result<Name>> {
    return new Promise((resolve, reject) => {
      if (this.#crash) return reject(this.#crash);
      this.#pending.add(reject);
      const before = aside.has(name) ? Promise.resolve() : this.#tail;
      const turn = before.then(() => this.#turn(name, params, options));
      const settled = turn.then(resolve, reject).finally(() => this.#pending.delete(reject));
      if (!aside.has(name)) this.#tail = settled;
    });
  }

  /** Ends the runner: all commands, waiting and to come, reject with `internal`. */
  crash(cause: unknown): void {
    if (this.#crash) return;
    this.#crash = crashError(cause);
    this.#engine = undefined;
    for (const reject of this.#pending) reject(this.#crash);
    this.#pending.clear();
  }

  async #turn<Name extends CommandName>(
    name: Name,
    params: Params<Name>,
    options: CallOptions<Name>,
  ): Promise<Result<Name>> {
    if (this.#crash) throw this.#crash;
    throwIfAborted(options.signal);
    try {
      return await this.#turns[name](params, options);
    } catch (thrown) {
      if (isPanic(thrown)) this.crash(thrown);
      throw this.#crash ?? ImprintError.from(thrown);
    }
  }

  readonly #turns: Turns = {
    open: async ({ model, options }, { onProgress, signal }) => {
      this.#release();
      const { Engine } = await this.#load();
      throwIfAborted(signal);
      const engine = await Engine.open(model, options, (progress) => onProgress?.(progress), signal);
      this.#engine = engine;
      return { device: engine.device(), info: engine.info() };
    },
    write: async ({ prompt, options }, { onProgress, signal }) => {
      const engine = this.#open();
      await engine.begin(prompt, options);
      for (let last: Step | undefined; ;) {
        await breathe();
        if (signal?.aborted) {
          // The last character is held back until the next begins, which now it will not.
          const text = engine.end();
          if (last && text !== "") onProgress?.({ ...last, text, pieces: [] });
          throw ImprintError.cancelled(signal);
        }
        last = await engine.next();
        onProgress?.(last);
        if (last.finish !== undefined) return null;
      }
    },
    score: async ({ text, options }, { signal }) => this.#open().score(text, options, signal),
    plan: async ({ texts, options }) => this.#open().plan(texts, options),
    learn: ({ texts, options }, { onProgress, signal, pause }) =>
      this.#learn(pause, (pause) =>
        this.#open().learn(texts, options, (progress) => onProgress?.(progress), signal, pause),
      ),
    resume: ({ run }, { onProgress, signal, pause }) =>
      this.#learn(pause, (pause) =>
        this.#open().resume(run, (progress) => onProgress?.(progress), signal, pause),
      ),
    use: async ({ adapter, options }) => {
      await this.#open().use(adapter, options);
      return null;
    },
    importAdapter: async ({ files, told }) =>
      this.#open().importAdapter(files.config, files.weights, told, files.prints),
    importGguf: async ({ file, told }) => this.#open().importGguf(file, told),
    exportGguf: async ({ id }) => this.#open().exportGguf(id),
    stats: async () => this.#open().stats(),
    selfTest: async ({ allCuts }) => this.#open().selfTest(undefined, allCuts),
    learningTest: async ({ parameters, ...trial }, { onProgress, signal }) =>
      this.#open().learningTest(trial, parameters, (step) => onProgress?.(step), signal),
    inspect: async ({ model }, { signal }) => (await this.#load()).inspect(model, signal),
    storedModels: async () => (await this.#load()).storedModels(),
    forgetModel: async ({ url, hash }) => {
      await (await this.#load()).forgetModel(url, hash);
      return null;
    },
    listAdapters: async () => (await this.#load()).listAdapters(),
    renameAdapter: async ({ id, name }) => {
      await (await this.#load()).renameAdapter(id, name);
      return null;
    },
    deleteAdapter: async ({ id }) => {
      await (await this.#load()).deleteAdapter(id);
      return null;
    },
    exportAdapter: async ({ id }) => (await this.#load()).exportAdapter(id),
    adapterTexts: async ({ id }) => (await this.#load()).adapterTexts(id),
    forgetTexts: async ({ id }) => {
      await (await this.#load()).forgetTexts(id);
      return null;
    },
    listRuns: async () => (await this.#load()).listRuns(),
    discardRun: async ({ id }) => {
      await (await this.#load()).discardRun(id);
      return null;
    },
    unlock: async ({ id, key }) => {
      (await this.#load()).unlock(id, key);
      return null;
    },
    lock: async () => {
      // A run keeps where it is while it still can.
      this.#learning?.pause.abort();
      await this.#learning?.over;
      (await this.#load()).lock();
      return null;
    },
    seal: async ({ record, key }) => {
      await (await this.#load()).seal(record, key);
      return null;
    },
    turn: async () => {
      await (await this.#load()).turn();
      return null;
    },
    rewrap: async ({ record }) => {
      await (await this.#load()).rewrap(record);
      return null;
    },
    unseal: async ({ id, raw }) => {
      await (await this.#load()).unseal(id, raw);
      return null;
    },
    storageUsage: async () => (await this.#load()).storageUsage(),
    forgetEverything: async () => {
      await (await this.#load()).forgetEverything();
      return null;
    },
    close: async () => {
      this.#release();
      return null;
    },
  };

  #open(): WasmEngine {
    if (!this.#engine) throw new ImprintError("internal", "no model is open");
    return this.#engine;
  }

  /** Learns so that a lock can pause it. */
  async #learn(
    wish: AbortSignal | undefined,
    learn: (pause: AbortSignal) => Promise<Learned>,
  ): Promise<Learned> {
    const pause = new AbortController();
    const onWish = (): void => pause.abort();
    if (wish?.aborted) onWish();
    wish?.addEventListener("abort", onWish, { once: true });
    const learned = learn(pause.signal);
    const over = learned.then(nothing, nothing);
    this.#learning = { pause, over };
    try {
      return await learned;
    } finally {
      wish?.removeEventListener("abort", onWish);
      this.#learning = undefined;
    }
  }

  #release(): void {
    this.#engine?.close();
    this.#engine = undefined;
  }
}

/** The error of a wasm module that broke off. */
export function crashError(cause: unknown): ImprintError {
  const detail = cause instanceof Error ? cause.message : String(cause);
  return new ImprintError("internal", `the model's program broke off: ${detail}`, { cause });
}

/** Whether something thrown is a wasm trap: a panic, a stack overflow or memory that could not grow. */
export function isPanic(thrown: unknown): boolean {
  return thrown instanceof WebAssembly.RuntimeError;
}

function nothing(): void {}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw ImprintError.cancelled(signal);
}

/** Lets events through: on the processor a step ends in a microtask, before any message or click is heard. */
function breathe(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
