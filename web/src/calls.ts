import type { CallOptions, CommandName, Commands } from "./engine.js";
import { ImprintError } from "./errors.js";
import type { Wish } from "./protocol.js";

/** How an engine starts a command and reaches it while it runs. */
export interface Wire {
  send<Name extends CommandName>(id: number, name: Name, params: Commands[Name]["params"]): void;
  tell(id: number, wish: Wish): void;
}

/** Commands that are heard until they end, also once they are aborted. */
const withLastWords = new Set<CommandName>(["write", "learn", "resume"]);
/** Commands that closing pauses, so that nothing of them is lost. */
const pausable = new Set<CommandName>(["learn", "resume"]);

/** One call that waits for its answer. */
type Call = {
  resolve(result: never): void;
  reject(error: ImprintError): void;
  name: CommandName;
  onProgress: ((progress: never) => void) | undefined;
  /** Whether it has reported anything. */
  heard: boolean;
  /** Set once it is aborted and only its last words are waited for. */
  ending?: { error: ImprintError; timer: ReturnType<typeof setTimeout> };
};

/** The calls of an engine that have not settled; each settles once, and after that hears nothing more. */
export class Calls {
  readonly #wire: Wire;
  readonly #open = new Map<number, Call>();
  #ended: ImprintError | undefined;
  #closing: Promise<void> | undefined;
  #last = 0;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /**
   * Begins a call.
   *
   * An aborted call rejects at once, whatever its command still does, unless it has last words: then what it still
   * reports is heard until its command ends, for a few seconds at most. It rejects with `cancelled` all the same.
   */
  run<Name extends CommandName>(
    name: Name,
    params: Commands[Name]["params"],
    { onProgress, signal, pause }: CallOptions<Name> = {},
  ): Promise<Commands[Name]["result"]> {
    const id = ++this.#last;
    const onAbort = (): void => {
      this.#wire.tell(id, "cancel");
      this.#abort(id, ImprintError.cancelled(signal));
    };
    const onPause = (): void => this.#wire.tell(id, "pause");
    const settled = new Promise<Commands[Name]["result"]>((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      if (signal?.aborted) return reject(ImprintError.cancelled(signal));
      signal?.addEventListener("abort", onAbort, { once: true });
      pause?.addEventListener("abort", onPause, { once: true });
      const told = onProgress as ((progress: never) => void) | undefined;
      this.#open.set(id, { resolve, reject, name, onProgress: told, heard: false });
      try {
        this.#wire.send(id, name, params);
        if (pause?.aborted) onPause();
      } catch (thrown) {
        this.reject(id, ImprintError.from(thrown));
      }
    });
    return settled.finally(() => {
      signal?.removeEventListener("abort", onAbort);
      pause?.removeEventListener("abort", onPause);
    });
  }

  /** Stops what runs, sends `close` and refuses what comes later; waits for the model, but not for ever. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const [id, { name }] of [...this.#open]) {
      this.#wire.tell(id, pausable.has(name) ? "pause" : "cancel");
      this.reject(id, new ImprintError("cancelled", "closed before this was done"));
    }
    const closing = this.run("close", null);
    this.#ended ??= new ImprintError("cancelled", "this Imprint is closed; open another");
    await graceful(closing);
  }

  /** Passes progress on; what a listener throws is the page's own error and stops no command. */
  progress(id: number, progress: unknown): void {
    const call = this.#open.get(id);
    if (!call) return;
    call.heard = true;
    try {
      call.onProgress?.(progress as never);
    } catch (thrown) {
      queueMicrotask(() => {
        throw thrown;
      });
    }
  }

  resolve(id: number, result: unknown): void {
    const call = this.#take(id);
    if (call?.ending) call.reject(call.ending.error);
    else call?.resolve(result as never);
  }

  reject(id: number, error: ImprintError): void {
    const call = this.#take(id);
    call?.reject(call.ending?.error ?? error);
  }

  /** Rejects all calls, waiting and to come. */
  end(error: ImprintError): void {
    this.#ended ??= error;
    for (const id of [...this.#open.keys()]) this.reject(id, error);
  }

  #abort(id: number, error: ImprintError): void {
    const call = this.#open.get(id);
    // A call that waits for its turn has nothing to say.
    if (!call?.heard || !withLastWords.has(call.name)) return this.reject(id, error);
    call.ending = { error, timer: setTimeout(() => this.reject(id, error), GRACE_MS) };
  }

  #take(id: number): Call | undefined {
    const call = this.#open.get(id);
    clearTimeout(call?.ending?.timer);
    this.#open.delete(id);
    return call;
  }
}

/** Time that an aborted or closing call gives the model to finish its step. */
const GRACE_MS = 5_000;

/** Waits for `closing`, but not for ever, whatever becomes of it. */
async function graceful(closing: Promise<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const enough = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, GRACE_MS);
  });
  await Promise.race([closing.catch(() => undefined), enough]);
  clearTimeout(timer);
}
