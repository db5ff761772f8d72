import { Calls } from "./calls.js";
import type { CallOptions, CommandName, Commands, Engine } from "./engine.js";
import { ImprintError } from "./errors.js";
import type { Wish } from "./protocol.js";
import { crashError, isPanic, Runner } from "./runner.js";
import type { WasmModule } from "./wasm.js";

/** Runs the model on the thread it is made on: for pages that already are in a Worker, and for tests. */
export class LocalEngine implements Engine {
  readonly #runner: Runner;
  readonly #events: EventTarget;
  readonly #running = new Map<number, Record<Wish, AbortController>>();
  readonly #calls = new Calls({
    send: (id, name, params) => void this.#start(id, name, params),
    tell: (id, wish) => this.#running.get(id)?.[wish].abort(),
  });

  /** Loads the wasm module when first needed; `events` is where uncaught errors of this thread show up. */
  constructor(load: () => Promise<WasmModule>, events: EventTarget = globalThis) {
    this.#runner = new Runner(load);
    this.#events = events;
    events.addEventListener("error", this.#onError);
    events.addEventListener("unhandledrejection", this.#onError);
  }

  run<Name extends CommandName>(
    name: Name,
    params: Commands[Name]["params"],
    options?: CallOptions<Name>,
  ): Promise<Commands[Name]["result"]> {
    return this.#calls.run(name, params, options);
  }

  async close(): Promise<void> {
    await this.#calls.close();
    this.#events.removeEventListener("error", this.#onError);
    this.#events.removeEventListener("unhandledrejection", this.#onError);
  }

  async #start<Name extends CommandName>(
    id: number,
    name: Name,
    params: Commands[Name]["params"],
  ): Promise<void> {
    const wishes = { cancel: new AbortController(), pause: new AbortController() };
    this.#running.set(id, wishes);
    try {
      const onProgress = (progress: unknown): void => this.#calls.progress(id, progress);
      const [signal, pause] = [wishes.cancel.signal, wishes.pause.signal];
      this.#calls.resolve(id, await this.#runner.run(name, params, { signal, pause, onProgress }));
    } catch (thrown) {
      this.#calls.reject(id, ImprintError.from(thrown));
    } finally {
      this.#running.delete(id);
    }
  }

  // The thread is shared with the page: only a wasm trap is ours.
  readonly #onError = (event: Event): void => {
    const { error, reason } = event as { error?: unknown; reason?: unknown };
    const cause = error ?? reason;
    if (!isPanic(cause)) return;
    this.#runner.crash(cause);
    this.#calls.end(crashError(cause));
  };
}
