// What is fetched when a reader presses the button: the engine, and how widgets share it.
import type { DeviceChoice, Progress } from "../engine.js";
import { ImprintError, sentences } from "../errors.js";
import { Imprint } from "../imprint.js";
import type { AdapterInfo } from "../voice.js";
import { errorsDe } from "../words/errors-de.js";
import { kept } from "./kept.js";
import { writing } from "./writing.js";

export { ImprintError };

/** What a widget needs to write. */
export type Wish = {
  /** Absolute. */
  model: string;
  sha256: string | null;
  device: DeviceChoice;
  worker: "auto" | "off";
};

/** An open model that other widgets may use too; whoever holds a lease gives it back. */
export type Lease = { imprint: Imprint; release(): void };

/** Hears how far loading has come. */
export type Listener = (progress: Progress) => void;

/** How long a model stays open that nobody uses: a page that swaps its content may want it again. */
const LINGER_MS = 20_000;

/** One model and those who use it. */
class Shared {
  readonly opened: Promise<Imprint>;
  readonly #listeners = new Set<Listener>();
  readonly #abort = new AbortController();
  readonly #forget: () => void;
  #users = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #last: Progress | undefined;

  constructor(wish: Wish, forget: () => void) {
    this.#forget = forget;
    this.opened = open(wish, this.#abort.signal, (progress) => {
      this.#last = progress;
      for (const listener of this.#listeners) listener(progress);
    });
    this.opened.catch(forget);
  }

  /** Waits for the model; whoever aborts leaves, and the last to leave stops the loading. */
  async lease(onProgress: Listener, signal: AbortSignal): Promise<Lease> {
    clearTimeout(this.#timer);
    this.#users += 1;
    this.#listeners.add(onProgress);
    if (this.#last) onProgress(this.#last);
    try {
      const imprint = await unless(signal, this.opened);
      let held = true;
      const release = (): void => {
        if (held) this.#leave();
        held = false;
      };
      return { imprint, release };
    } catch (thrown) {
      this.#leave(signal.aborted);
      throw thrown;
    } finally {
      this.#listeners.delete(onProgress);
    }
  }

  #leave(at_once = false): void {
    this.#users -= 1;
    if (this.#users > 0) return;
    if (at_once) return this.#end();
    this.#timer = setTimeout(() => this.#end(), LINGER_MS);
  }

  #end(): void {
    this.#forget();
    this.#abort.abort();
    this.opened.then(
      (imprint) => imprint.close(),
      () => undefined,
    );
  }
}

const shared = new Map<string, Shared>();
const adapters = new WeakMap<Imprint, Map<string, Promise<AdapterInfo>>>();

/** Opens a model, or takes the one that another widget of this page has open. */
export function borrow(wish: Wish, onProgress: Listener, signal: AbortSignal): Promise<Lease> {
  const key = JSON.stringify([wish.model, wish.sha256, wish.device, wish.worker]);
  let found = shared.get(key);
  if (!found) {
    const made = new Shared(wish, () => {
      if (shared.get(key) === made) shared.delete(key);
    });
    shared.set(key, (found = made));
  }
  return found.lease(onProgress, signal);
}

/** Gives up a model that broke, so that the next press opens it anew. */
export function discard(imprint: Imprint): void {
  for (const [key, entry] of shared) {
    void entry.opened.then(
      (opened) => {
        if (opened !== imprint) return;
        shared.delete(key);
        void imprint.close();
      },
      () => undefined,
    );
  }
}

/** Makes an author's adapter ready to write with; widgets with the same one fetch it once. */
export async function voice(
  imprint: Imprint,
  wanted: { url: string; sha256: string | null },
  onProgress: Listener,
  signal: AbortSignal,
): Promise<AdapterInfo> {
  const ready = adapters.get(imprint) ?? new Map<string, Promise<AdapterInfo>>();
  adapters.set(imprint, ready);
  const before = ready.get(wanted.url);
  if (before) {
    const found = await unless(signal, before).catch(() => undefined);
    // Somebody may have removed it, or the other widget may have stopped fetching it.
    if (found && (await imprint.adapters.list()).some(({ id }) => id === found.id)) return found;
    if (signal.aborted) throw ImprintError.cancelled(signal);
  }
  const taking = kept(imprint, wanted, onProgress, signal);
  ready.set(wanted.url, taking);
  return taking;
}

/** The sentence for an error in a language. */
export function advice(error: ImprintError, language: "en" | "de"): string {
  return (language === "de" ? errorsDe : sentences)[error.code];
}

/** Opens the model in a Worker; where the page's policy lets none start, on the page's own thread. */
async function open(wish: Wish, signal: AbortSignal, onProgress: Listener): Promise<Imprint> {
  const { model, sha256, device } = wish;
  let heard = false;
  const options = {
    model,
    device,
    signal,
    onProgress: (progress: Progress) => {
      heard = true;
      onProgress(progress);
    },
    ...(sha256 === null ? {} : { sha256 }),
  };
  if (wish.worker === "off") return Imprint.openOn({ ...options, worker: false }, writing);
  try {
    return await Imprint.openOn(options, writing);
  } catch (thrown) {
    // A Worker that never said a word could not be started.
    if (heard || ImprintError.from(thrown).code !== "internal") throw thrown;
    return Imprint.openOn({ ...options, worker: false }, writing);
  }
}

/** Settles as `promise` does, or rejects with `cancelled` as soon as the signal aborts. */
function unless<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(ImprintError.cancelled(signal));
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
