/** Turns a stream of pushed values into an async iterable for one reader. */
export class Channel<T> implements AsyncIterableIterator<T> {
  readonly #values: T[] = [];
  readonly #onReturn: () => void;
  #wake: (() => void) | undefined;
  #failure: { error: unknown } | undefined;
  #ended = false;

  /** `onReturn` is called when the reader leaves the loop early. */
  constructor(onReturn: () => void) {
    this.#onReturn = onReturn;
  }

  push(value: T): void {
    this.#values.push(value);
    this.#wake?.();
  }

  /** Ends the stream after the values that are already there. */
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** Breaks the stream off: the reader gets the values that are already there, and then the error. */
  fail(error: unknown): void {
    this.#failure = { error };
    this.end();
  }

  async next(): Promise<IteratorResult<T, undefined>> {
    while (this.#values.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#values.length > 0) return { done: false, value: this.#values.shift() as T };
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure) throw failure.error;
    return { done: true, value: undefined };
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.#values.length = 0;
    this.#failure = undefined;
    this.end();
    this.#onReturn();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
