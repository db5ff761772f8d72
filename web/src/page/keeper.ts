import type { ModelInfo } from "../engine.js";

/** Asks the browser, once, not to throw away what is stored by itself; Safari does after seven days otherwise. */
export class Keeper {
  readonly #storage: Pick<StorageManager, "persist"> | undefined;
  #asked = false;

  /** `storage` is absent where the page is not served over HTTPS. */
  constructor(storage: Pick<StorageManager, "persist"> | undefined) {
    this.#storage = storage;
  }

  /** Asks after the first opened model that is stored; a browser that refuses works as before. */
  async keep(opened: { info: Pick<ModelInfo, "stored"> } | null): Promise<void> {
    if (opened?.info.stored) await this.ask();
  }

  /** Asks now: something is about to be stored. */
  async ask(): Promise<void> {
    if (this.#asked) return;
    this.#asked = true;
    await this.#storage?.persist?.().catch(() => false);
  }
}
