import type { Engine } from "./engine.js";

/** A data key with its name. */
export type HeldKey = { id: string; key: CryptoKey };

/** What tabs of one site tell each other. */
type Message = { type: "ask" } | ({ type: "held" } & HeldKey) | { type: "lock" } | { type: "change" };

/**
 * The data key of this page, given to every engine that runs and every one to come.
 *
 * Unlocked in one tab is unlocked in all tabs of the site, and locked likewise; a new tab asks the others. When the last
 * one closes, the key is gone. Sends `change` whenever it may be another, and `adopt` for one that another tab gave.
 */
class Keyring extends EventTarget {
  readonly #engines = new Set<Engine>();
  #held: HeldKey | undefined;
  /** What is done while there is still a key. */
  readonly beforeLock = new Set<() => Promise<void>>();
  #tabs: BroadcastChannel | undefined;
  #locks = 0;

  /** How often the key was given up. */
  get locks(): number {
    return this.#locks;
  }

  get held(): HeldKey | undefined {
    return this.#held;
  }

  /** The engines that run. */
  get engines(): ReadonlySet<Engine> {
    return this.#engines;
  }

  /** Takes an engine in; what is asked of it later finds the store unlocked if it is. */
  join(engine: Engine): void {
    this.listen();
    this.#engines.add(engine);
    if (this.#held) give(engine, this.#held);
  }

  leave(engine: Engine): void {
    this.#engines.delete(engine);
  }

  /** Holds a key from now on, here and in the other tabs. */
  hold(held: HeldKey): void {
    this.#take(held);
    this.#tell({ type: "held", ...held });
  }

  /** Gives the key up, here and in the other tabs; waits until no engine has it any more. */
  async drop(): Promise<void> {
    this.#tell({ type: "lock" });
    await this.#drop();
  }

  /** Says here and in the other tabs that the store was sealed or opened. */
  changed(): void {
    this.#tell({ type: "change" });
    this.dispatchEvent(new Event("change"));
  }

  /** Hears the other tabs from now on. */
  listen(): void {
    if (this.#tabs || typeof BroadcastChannel === "undefined") return;
    this.#tabs = new BroadcastChannel("imprint-vault");
    // Node's own would keep a process alive.
    (this.#tabs as { unref?(): void }).unref?.();
    this.#tabs.onmessage = ({ data }: MessageEvent<Message>) => this.#hear(data);
    this.#tell({ type: "ask" });
  }

  #hear(message: Message): void {
    if (message.type === "ask") {
      if (this.#held) this.#tell({ type: "held", ...this.#held });
    } else if (message.type === "held") {
      if (this.#held?.id === message.id) return;
      this.#take({ id: message.id, key: message.key });
      this.dispatchEvent(new Event("adopt"));
    } else if (message.type === "lock") void this.#drop();
    else this.dispatchEvent(new Event("change"));
  }

  #take(held: HeldKey): void {
    this.#held = held;
    for (const engine of this.#engines) give(engine, held);
    this.dispatchEvent(new Event("change"));
  }

  async #drop(): Promise<void> {
    // Whatever becomes of it, the key goes.
    if (this.#held) await Promise.allSettled([...this.beforeLock].map((task) => task()));
    this.#held = undefined;
    this.#locks += 1;
    this.dispatchEvent(new Event("change"));
    // One that has crashed or closed holds nothing.
    const locked = [...this.#engines].map((engine) => engine.run("lock", null).catch(() => null));
    await Promise.all(locked);
  }

  #tell(message: Message): void {
    this.listen();
    try {
      this.#tabs?.postMessage(message);
    } catch {
      // A browser that passes no keys between tabs asks for the passphrase in each.
    }
  }
}

function give(engine: Engine, held: HeldKey): void {
  // What is asked of the engine next fails by itself where this did.
  engine.run("unlock", held).catch(() => undefined);
}

/** The one of this page. */
export const keyring = /* @__PURE__ */ new Keyring();
