import { ImprintError } from "./errors.js";

/** A data key as it is kept: wrapped by a key that only the passphrase gives. */
export type WrappedKey = {
  /** The data key's name, which everything that it seals carries. */
  id: string;
  createdMs: number;
  /** What the wrapping key is made with, beside the passphrase: PBKDF2 with SHA-256. */
  salt: Uint8Array<ArrayBuffer>;
  iterations: number;
  /** The data key under AES-256-GCM. */
  nonce: Uint8Array<ArrayBuffer>;
  wrapped: Uint8Array<ArrayBuffer>;
};

/** What the database says about itself; where there is nothing, there has never been a passphrase. */
export type VaultRecord = {
  /** Whether everything is sealed, or open, or a part of it is still to be turned over. */
  state: "sealing" | "sealed" | "opening" | "open";
  /** Keys whose passphrase was removed: they lie open, so that nothing that they sealed is lost. */
  former?: Record<string, Uint8Array<ArrayBuffer>>;
} & Partial<WrappedKey>;

/**
 * Rounds of PBKDF2-HMAC-SHA-256 for a new passphrase; OWASP asks for 600,000 at least. They take 0.12 to 0.35 s on a desk of
 * 2026, once for each unlocking. The record holds the number, so that a later one can be higher.
 */
const ITERATIONS = 1_000_000;
const DATA_KEY = { name: "AES-GCM", length: 256 } as const;
const DATA_USAGES = ["encrypt", "decrypt"] as const;

/** Reads the record without the wasm module, and without making a database where there is none. */
export async function readRecord(): Promise<VaultRecord | undefined> {
  const database = await existing("imprint");
  if (!database) return undefined;
  try {
    if (!database.objectStoreNames.contains("vault")) return undefined;
    const request = database.transaction("vault").objectStore("vault").get("record");
    return await new Promise<VaultRecord | undefined>((resolve, reject) => {
      request.onsuccess = () => resolve(request.result as VaultRecord | undefined);
      request.onerror = () => reject(ImprintError.from(request.error));
    });
  } finally {
    database.close();
  }
}

/** Whether what is kept is sealed, and so needs the passphrase. */
export function isSealed(record: VaultRecord | undefined): record is VaultRecord & WrappedKey {
  return record?.state === "sealed" || record?.state === "sealing";
}

/** A new data key, which can be wrapped. */
export function newDataKey(): Promise<CryptoKey> {
  return subtle().generateKey(DATA_KEY, true, DATA_USAGES);
}

/** The same key, which nothing can take out of the browser's hands any more. */
export async function withoutExport(key: CryptoKey): Promise<CryptoKey> {
  return subtle().importKey("raw", await subtle().exportKey("raw", key), DATA_KEY, false, DATA_USAGES);
}

/** Wraps a data key for the record. */
export async function wrap(key: CryptoKey, id: string, passphrase: string): Promise<WrappedKey> {
  const salt = crypto.getRandomValues(new Uint8Array(16));
  const nonce = crypto.getRandomValues(new Uint8Array(12));
  const kept = { id, createdMs: Date.now(), salt, iterations: ITERATIONS, nonce };
  const wrapping = await wrappingKey(passphrase, kept);
  return { ...kept, wrapped: new Uint8Array(await subtle().wrapKey("raw", key, wrapping, bound(kept))) };
}

/** Unwraps the data key; rejects with `wrong-passphrase` for another passphrase, or a record that was changed. */
export async function unwrap(
  kept: WrappedKey,
  passphrase: string,
  { extractable = false } = {},
): Promise<CryptoKey> {
  const wrapping = await wrappingKey(passphrase, kept);
  try {
    return await subtle().unwrapKey(
      "raw",
      kept.wrapped,
      wrapping,
      bound(kept),
      DATA_KEY,
      extractable,
      DATA_USAGES,
    );
  } catch (cause) {
    throw new ImprintError("wrong-passphrase", "this passphrase does not open what is kept here", { cause });
  }
}

/** A name that no other data key has. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The same letters may be typed as different characters on another keyboard, so they are brought into one form. */
async function wrappingKey(
  passphrase: string,
  { salt, iterations }: Pick<WrappedKey, "salt" | "iterations">,
): Promise<CryptoKey> {
  const typed = new TextEncoder().encode(passphrase.normalize("NFKC"));
  const material = await subtle().importKey("raw", typed, "PBKDF2", false, ["deriveKey"]);
  const derivation = { name: "PBKDF2", hash: "SHA-256", salt, iterations };
  return subtle().deriveKey(derivation, material, DATA_KEY, false, ["wrapKey", "unwrapKey"]);
}

/** How a data key is wrapped: bound to its name and the cost that was paid. */
function bound({ id, iterations, nonce }: Pick<WrappedKey, "id" | "iterations" | "nonce">): AesGcmParams {
  const additionalData = new TextEncoder().encode(`imprint vault\n${id}\n${iterations}`);
  return { name: "AES-GCM", iv: nonce, additionalData };
}

function subtle(): SubtleCrypto {
  const { subtle } = globalThis.crypto ?? {};
  if (subtle) return subtle;
  throw new ImprintError(
    "invalid-option",
    "the browser encrypts only on pages served over HTTPS or from localhost",
  );
}

function existing(name: string): Promise<IDBDatabase | undefined> {
  return new Promise((resolve, reject) => {
    if (!globalThis.indexedDB) return resolve(undefined);
    const request = indexedDB.open(name);
    // There was none: what the browser began to make goes again.
    request.onupgradeneeded = () => request.transaction?.abort();
    request.onsuccess = () => {
      request.result.onversionchange = () => request.result.close();
      resolve(request.result);
    };
    request.onerror = (event) => {
      event.preventDefault();
      if (request.error?.name === "AbortError") resolve(undefined);
      else reject(ImprintError.from(request.error));
    };
  });
}
