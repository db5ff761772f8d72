import { Calls, closedError, graceful } from "./calls.js";
import type { CallOptions, CommandName, Commands, Engine } from "./engine.js";
import { ImprintError } from "./errors.js";
import { crashError, isPanic, Runner } from "./runner.js";
import type { WasmModule } from "./wasm.js";

/** Runs the model on the thread it is made on: for pages that already are in a Worker, and for tests. */
export class LocalEngine implements Engine {
  readonly #runner: Runner;
  readonly #events: EventTarget;
  readonly #calls = new Calls();
  readonly #aborts = new Map<number, AbortController>();
  #closing: Promise<void> | undefined;

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
    { onProgress, signal }: CallOptions<Name> = {},
  ): Promise<Commands[Name]["result"]> {
    const send = (id: number): void => void this.#start(id, name, params);
    return this.#calls.begin(
      send,
      this.#cancel,
      onProgress as ((progress: never) => void) | undefined,
      signal,
      name === "write",
    );
  }

  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async #start<Name extends CommandName>(
    id: number,
    name: Name,
    params: Commands[Name]["params"],
  ): Promise<void> {
    const abort = new AbortController();
    this.#aborts.set(id, abort);
    try {
      const onProgress = (progress: unknown): void => this.#calls.progress(id, progress);
      this.#calls.resolve(id, await this.#runner.run(name, params, { signal: abort.signal, onProgress }));
    } catch (thrown) {
      this.#calls.reject(id, ImprintError.from(thrown));
    } finally {
      this.#aborts.delete(id);
    }
  }

  async #end(): Promise<void> {
    this.#calls.stop(this.#cancel);
    const closing = this.run("close", null);
    this.#calls.refuse(closedError());
    await graceful(closing);
    this.#events.removeEventListener("error", this.#onError);
    this.#events.removeEventListener("unhandledrejection", this.#onError);
  }

  readonly #cancel = (id: number): void => this.#aborts.get(id)?.abort();

  // The thread is shared with the page: only a wasm trap is ours.
  readonly #onError = (event: Event): void => {
    const { error, reason } = event as { error?: unknown; reason?: unknown };
    const cause = error ?? reason;
    if (!isPanic(cause)) return;
    this.#runner.crash(cause);
    this.#calls.end(crashError(cause));
  };
}
