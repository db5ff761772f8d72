import { ImprintError } from "./errors.js";

/** One call that waits for its answer. */
type Call = {
  resolve(result: never): void;
  reject(error: ImprintError): void;
  onProgress: ((progress: never) => void) | undefined;
};

/** The calls of an engine that have not settled; each settles once, and after that hears nothing more. */
export class Calls {
  readonly #open = new Map<number, Call>();
  #ended: ImprintError | undefined;
  #last = 0;

  /**
   * Begins a call: `send` starts it under its number, `cancel` is told when the signal aborts.
   *
   * An aborted call rejects at once, whatever its command still does.
   */
  begin<Result>(
    send: (id: number) => void,
    cancel: (id: number) => void,
    onProgress: ((progress: never) => void) | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Result> {
    const id = ++this.#last;
    let onAbort: () => void = () => {};
    const settled = new Promise<Result>((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      if (signal?.aborted) return reject(ImprintError.cancelled(signal));
      onAbort = () => {
        cancel(id);
        this.reject(id, ImprintError.cancelled(signal));
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#open.set(id, { resolve, reject, onProgress });
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
    try {
      this.#open.get(id)?.onProgress?.(progress as never);
    } catch (thrown) {
      queueMicrotask(() => {
        throw thrown;
      });
    }
  }

  resolve(id: number, result: unknown): void {
    this.#take(id)?.resolve(result as never);
  }

  reject(id: number, error: ImprintError): void {
    this.#take(id)?.reject(error);
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

  #take(id: number): Call | undefined {
    const call = this.#open.get(id);
    this.#open.delete(id);
    return call;
  }
}

/** Time that a closing engine gives the model to finish its step and free its memory. */
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
