import type { Engine } from "./engine.js";
import { once, type WorkerChoice } from "./engines.js";
import { ImprintError } from "./errors.js";
import { keyring } from "./keyring.js";
import {
  isSealed,
  newDataKey,
  newId,
  readRecord,
  unwrap,
  withoutExport,
  wrap,
  type VaultRecord,
  type WrappedKey,
} from "./vault-record.js";

/** Whether a passphrase is set, and whether this page has it. */
export type VaultStatus = {
  /** `off`: no passphrase is set. `locked`: one is, and nothing can be read without. `unlocked`: one is, and it was given. */
  state: "off" | "locked" | "unlocked";
  /** Whether everything is as the state says; not after a kill while a passphrase was set or removed: see `settle`. */
  settled: boolean;
  /** When the passphrase was set or changed last, in milliseconds since 1970. */
  sinceMs?: number;
  /** Rounds of PBKDF2 that a guess costs. */
  iterations?: number;
};

/** Something that keeps bytes of the page's own by `seal` and `open`. */
export type Keeper = {
  /** Called after a passphrase was set, given or removed: what does not lie as it should is to be sealed anew. */
  turn(): Promise<void>;
  /** Called before the key is given up: the last moment to seal. */
  beforeLock(): Promise<void>;
};

/** Which Worker does the sealing where no model is open; see `ImprintOptions`. */
export type VaultOptions = { worker?: WorkerChoice };

/** The shortest passphrase that is taken, in characters. */
export const shortestPassphrase = 8;
const LOCK = "imprint-vault";

/** What sealed bytes begin with, and no text does; then follow the key's name, the nonce, and what is sealed. */
const mark = Uint8Array.of(0, 0x69, 0x6d, 0x70);
const HEAD_BYTES = mark.length + 24;
const NONCE_BYTES = 12;

/**
 * Seals what Imprint keeps in this browser with a passphrase: adapters, runs, kept texts.
 *
 * A random key seals every row (AES-256-GCM); the passphrase wraps that key (PBKDF2 and AES-256-GCM). Works without an open
 * model. Nobody can open it without the passphrase. Sends `change` whenever `status` may have another answer, in every tab.
 */
export class Vault extends EventTarget {
  readonly #keepers = new Set<Keeper>();

  constructor() {
    super();
    keyring.addEventListener("change", () => this.dispatchEvent(new Event("change")));
    keyring.addEventListener("adopt", () => void this.#turn());
  }

  /** Tells whether a passphrase is set and given. */
  async status(): Promise<VaultStatus> {
    keyring.listen();
    // Where the browser keeps no databases there is nothing to lock.
    const record = await readRecord().catch(() => undefined);
    const settled = record === undefined || record.state === "sealed" || record.state === "open";
    if (!isSealed(record)) return { state: "off", settled };
    const { createdMs: sinceMs, iterations } = record;
    return { state: keyring.held?.id === record.id ? "unlocked" : "locked", settled, sinceMs, iterations };
  }

  /**
   * Sets a passphrase and seals everything that is kept, which takes a moment for each adapter.
   *
   * Rejects with `invalid-option` for a short one or where one is set, and with `busy` while any tab learns. A kill in
   * between leaves some rows sealed and some not; `unlock` goes on with it.
   */
  async set(passphrase: string, { worker = true }: VaultOptions = {}): Promise<void> {
    check(passphrase);
    const made = await newDataKey();
    const record = await wrap(made, newId(), passphrase);
    const key = await withoutExport(made);
    await alone(() => this.#ask(worker, (engine) => engine.run("seal", { record, key })));
    keyring.hold({ id: record.id, key });
    keyring.changed();
    await this.#turn();
  }

  /** Opens what a passphrase has sealed; rejects with `wrong-passphrase`. Where none is set, there is nothing to do. */
  async unlock(passphrase: string, options: VaultOptions = {}): Promise<void> {
    const record = await readRecord();
    if (!isSealed(record)) return;
    keyring.hold({ id: record.id, key: await unwrap(record, passphrase) });
    await this.settle(options);
  }

  /** Forgets the key in all tabs of this site; a run that learns is paused first. */
  async lock(): Promise<void> {
    await keyring.drop();
  }

  /** Gives what is kept another passphrase; rejects with `wrong-passphrase`. What is sealed stays as it is. */
  async change(current: string, next: string, { worker = true }: VaultOptions = {}): Promise<void> {
    check(next);
    const record = sealed(await readRecord());
    const key = await unwrap(record, current, { extractable: true });
    const rewrapped = await wrap(key, record.id, next);
    await this.#ask(worker, (engine) => engine.run("rewrap", { record: rewrapped }));
    keyring.hold({ id: record.id, key: await withoutExport(key) });
    keyring.changed();
  }

  /** Removes the passphrase: everything that is kept lies open again. Rejects with `wrong-passphrase`. */
  async remove(passphrase: string, { worker = true }: VaultOptions = {}): Promise<void> {
    const record = sealed(await readRecord());
    const key = await unwrap(record, passphrase, { extractable: true });
    const raw = new Uint8Array(await crypto.subtle.exportKey("raw", key));
    keyring.hold({ id: record.id, key: await withoutExport(key) });
    await alone(() => this.#ask(worker, (engine) => engine.run("unseal", { id: record.id, raw })));
    await this.#turn();
    keyring.changed();
  }

  /** Goes on with a sealing or opening that was broken off; `unlock` does so by itself. */
  async settle({ worker = true }: VaultOptions = {}): Promise<void> {
    const record = await readRecord();
    if (record?.state === "sealing" || record?.state === "opening")
      await this.#ask(worker, (engine) => engine.run("turn", null));
    await this.#turn();
  }

  /**
   * Seals bytes of the page's own, such as a draft as JSON, by the same rule: gives them back as they are while no
   * passphrase is set. `place` names where they will lie; only there can they be opened again.
   *
   * Rejects with `locked`. What keeps them does both within `steady`.
   */
  async seal(place: string, bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    const held = dataKey(await readRecord());
    if (!held) return bytes;
    const nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
    const sealed = await crypto.subtle.encrypt(bound(place, held.id, nonce), held.key, bytes);
    return joined([mark, new TextEncoder().encode(held.id), nonce, new Uint8Array(sealed)]);
  }

  /** Opens what `seal` gave; rejects with `locked`, and with `internal` for what is damaged or from another place. */
  async open(place: string, bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    const record = await readRecord();
    const held = dataKey(record);
    const id = sealedWith(bytes);
    if (id === undefined) return bytes;
    const key = held?.id === id ? held.key : await formerKey(record, id);
    const nonce = bytes.slice(HEAD_BYTES, HEAD_BYTES + NONCE_BYTES);
    try {
      const sealed = bytes.subarray(HEAD_BYTES + NONCE_BYTES);
      return new Uint8Array(await crypto.subtle.decrypt(bound(place, id, nonce), key, sealed));
    } catch (cause) {
      throw new ImprintError("internal", `what lies at ${place} is damaged and cannot be opened`, { cause });
    }
  }

  /** Does something while no tab sets or removes a passphrase: sealing bytes and putting them where they shall lie. */
  steady<T>(work: () => Promise<T>): Promise<T> {
    return locked("shared", work);
  }

  /** Whether bytes lie as they should: sealed with the key of now, or open where no passphrase is set. */
  async suits(bytes: Uint8Array<ArrayBuffer>): Promise<boolean> {
    const record = await readRecord();
    return sealedWith(bytes) === (isSealed(record) ? record.id : undefined);
  }

  /** Lets something that keeps bytes of the page's own hear when they must be turned over, and what comes before a lock. */
  join(keeper: Keeper): void {
    this.#keepers.add(keeper);
    keyring.beforeLock.add(keeper.beforeLock);
  }

  async #turn(): Promise<void> {
    for (const { turn } of this.#keepers) await turn();
  }

  /** Asks an engine that runs, or one made for it. */
  async #ask<T>(worker: WorkerChoice, ask: (engine: Engine) => Promise<T>): Promise<T> {
    const [running] = keyring.engines;
    return running ? ask(running) : once(worker, ask);
  }
}

/** The vault of this site. */
export const vault = /* @__PURE__ */ new Vault();

function check(passphrase: string): void {
  const length = [...passphrase.normalize("NFKC")].length;
  if (length >= shortestPassphrase) return;
  const message = `the passphrase has ${length} characters, it needs at least ${shortestPassphrase}`;
  throw new ImprintError("invalid-option", message);
}

function sealed(record: VaultRecord | undefined): WrappedKey {
  if (isSealed(record)) return record;
  throw new ImprintError("invalid-option", "no passphrase is set; set one first");
}

/** The key that is to seal, or none where nothing is sealed. */
function dataKey(record: VaultRecord | undefined): { id: string; key: CryptoKey } | undefined {
  if (!isSealed(record)) return undefined;
  if (keyring.held?.id === record.id) return keyring.held;
  throw new ImprintError("locked", "what is kept in this browser is locked; unlock it with the passphrase");
}

/** A key whose passphrase was removed. */
async function formerKey(record: VaultRecord | undefined, id: string): Promise<CryptoKey> {
  const raw = record?.former?.[id];
  if (raw) return crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["decrypt"]);
  throw new ImprintError("internal", "this is sealed with a key that is gone");
}

/** The name of the key that bytes are sealed with, unless they lie open. */
function sealedWith(bytes: Uint8Array<ArrayBuffer>): string | undefined {
  if (bytes.length < HEAD_BYTES || !mark.every((byte, at) => bytes[at] === byte)) return undefined;
  return new TextDecoder().decode(bytes.subarray(mark.length, HEAD_BYTES));
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function bound(place: string, id: string, iv: Uint8Array<ArrayBuffer>): AesGcmParams {
  return { name: "AES-GCM", iv, additionalData: new TextEncoder().encode(`bytes\n${place}\n${id}`) };
}

/** Does something while no tab keeps a text of its own. */
function alone<T>(work: () => Promise<T>): Promise<T> {
  return locked("exclusive", work);
}

/** A browser without locks does it at once. */
function locked<T>(mode: LockMode, work: () => Promise<T>): Promise<T> {
  const locks = globalThis.navigator?.locks;
  return locks ? locks.request(LOCK, { mode }, work) : work();
}
