import { ImprintError } from "./errors.js";

/** One call that waits for its answer. */
type Call = {
  resolve(result: never): void;
  reject(error: ImprintError): void;
  onProgress: ((progress: never) => void) | undefined;
  /** Whether it has reported anything. */
  heard: boolean;
  /** Set once it is aborted and only its last words are waited for. */
  ending?: { error: ImprintError; timer: ReturnType<typeof setTimeout> };
};

/** The calls of an engine that have not settled; each settles once, and after that hears nothing more. */
export class Calls {
  readonly #open = new Map<number, Call>();
  #ended: ImprintError | undefined;
  #last = 0;

  /**
   * Begins a call: `send` starts it under its number, `cancel` is told when the signal aborts.
   *
   * An aborted call rejects at once, whatever its command still does, unless it `hasLastWords`: then what it still
   * reports is heard until its command ends, for a few seconds at most. It rejects with `cancelled` all the same.
   */
  begin<Result>(
    send: (id: number) => void,
    cancel: (id: number) => void,
    onProgress: ((progress: never) => void) | undefined,
    signal: AbortSignal | undefined,
    hasLastWords = false,
  ): Promise<Result> {
    const id = ++this.#last;
    let onAbort: () => void = () => {};
    const settled = new Promise<Result>((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      if (signal?.aborted) return reject(ImprintError.cancelled(signal));
      onAbort = () => {
        cancel(id);
        this.#abort(id, ImprintError.cancelled(signal), hasLastWords);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#open.set(id, { resolve, reject, onProgress, heard: false });
      try {
        send(id);
      } catch (thrown) {
        this.reject(id, ImprintError.from(thrown));
      }
    });
    return settled.finally(() => signal?.removeEventListener("abort", onAbort));
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

  /** Stops all calls that wait; later ones are not touched. */
  stop(cancel: (id: number) => void): void {
    for (const id of [...this.#open.keys()]) {
      cancel(id);
      this.reject(id, new ImprintError("cancelled", "closed before this was done"));
    }
  }

  /** Rejects all calls to come. */
  refuse(error: ImprintError): void {
    this.#ended ??= error;
  }

  /** Rejects all calls, waiting and to come. */
  end(error: ImprintError): void {
    this.refuse(error);
    for (const id of [...this.#open.keys()]) this.reject(id, error);
  }

  #abort(id: number, error: ImprintError, hasLastWords: boolean): void {
    const call = this.#open.get(id);
    // A call that waits for its turn has nothing to say.
    if (!hasLastWords || !call?.heard) return this.reject(id, error);
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
export async function graceful(closing: Promise<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const enough = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, GRACE_MS);
  });
  await Promise.race([closing.catch(() => undefined), enough]);
  clearTimeout(timer);
}

/** What calls on a closed engine reject with. */
export function closedError(): ImprintError {
  return new ImprintError("cancelled", "this Imprint is closed; open another");
}
