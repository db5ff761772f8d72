import { ImprintError } from "../errors.js";
import type { Imprint } from "../imprint.js";
import type { AdapterInfo } from "../voice.js";
import type { Listener } from "./source.js";

/** Which adapter of this browser came from which address. */
type Entry = { url: string; sha256: string; id: string };

const key = "imprint-writer-adapters";
/** A file larger than this is refused. */
const mostBytes = 500_000_000;

/**
 * Gives the adapter at an address, taking it in once: the same bytes are kept once, whatever their address, and what the
 * address held before goes.
 *
 * Rejects with `model-unreachable` where it cannot be fetched, `adapter-corrupt`, `adapter-wrong-base`.
 */
export function kept(
  imprint: Imprint,
  wanted: { url: string; sha256: string | null },
  onProgress: Listener,
  signal: AbortSignal,
): Promise<AdapterInfo> {
  const take = (): Promise<AdapterInfo> => taken(imprint, wanted, onProgress, signal);
  // Two tabs must not take in the same file at once.
  return navigator.locks ? navigator.locks.request(key, take) : take();
}

async function taken(
  imprint: Imprint,
  { url, sha256 }: { url: string; sha256: string | null },
  onProgress: Listener,
  signal: AbortSignal,
): Promise<AdapterInfo> {
  const here = new Map((await imprint.adapters.list()).map((info) => [info.id, info]));
  const entries = read().filter(({ id }) => here.has(id));
  const find = (hash: string): AdapterInfo | undefined =>
    entries
      .filter((entry) => entry.sha256 === hash)
      .map(({ id }) => here.get(id))
      .find((info) => info?.base === imprint.info.fingerprint);
  const known = sha256 === null ? undefined : find(sha256.toLowerCase());
  if (known) return known;

  const file = await fetched(url, onProgress, signal);
  const hash = await digest(file);
  if (sha256 !== null && hash !== sha256.toLowerCase()) {
    throw new ImprintError("adapter-corrupt", `the adapter at ${url} has the SHA-256 ${hash}, not ${sha256}`);
  }
  const same = find(hash);
  const others = entries.filter((entry) => entry.url !== url);
  const adapter = same ?? (await imprint.adapters.import(file));
  write([...others, { url, sha256: hash, id: adapter.id }]);
  const old = entries.find((entry) => entry.url === url)?.id;
  if (old && old !== adapter.id && !others.some(({ id }) => id === old)) await imprint.adapters.delete(old);
  return adapter;
}

async function fetched(url: string, onProgress: Listener, signal: AbortSignal): Promise<Blob> {
  const unreachable = (why: string, cause?: unknown): ImprintError =>
    new ImprintError("model-unreachable", `the adapter at ${url} could not be fetched: ${why}`, { cause });
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let doneBytes = 0;
  try {
    const answer = await fetch(url, { signal });
    if (!answer.ok || !answer.body) throw unreachable(`the server answered ${answer.status}`);
    const totalBytes = Number(answer.headers.get("content-length")) || 0;
    for (const reader = answer.body.getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) return new Blob(chunks);
      chunks.push(value);
      doneBytes += value.length;
      if (doneBytes > mostBytes) {
        void reader.cancel();
        throw new ImprintError("adapter-corrupt", `the adapter at ${url} is larger than ${mostBytes} bytes`);
      }
      // A packed answer tells the size of the packed bytes.
      onProgress({
        phase: "download",
        doneBytes,
        totalBytes: Math.max(totalBytes, doneBytes),
        fromCache: false,
      });
    }
  } catch (thrown) {
    if (thrown instanceof ImprintError) throw thrown;
    if (signal.aborted) throw ImprintError.cancelled(signal);
    throw unreachable(thrown instanceof Error ? thrown.message : String(thrown), thrown);
  }
}

async function digest(file: Blob): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
  return [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function read(): Entry[] {
  try {
    const entries: unknown = JSON.parse(localStorage.getItem(key) ?? "[]");
    return Array.isArray(entries) ? entries.filter(isEntry) : [];
  } catch {
    return [];
  }
}

function isEntry(value: unknown): value is Entry {
  if (typeof value !== "object" || value === null) return false;
  const { url, sha256, id } = value as Record<string, unknown>;
  return [url, sha256, id].every((field) => typeof field === "string");
}

function write(entries: Entry[]): void {
  try {
    localStorage.setItem(key, JSON.stringify(entries));
  } catch (thrown) {
    // Without it the adapter is taken in again on the next visit.
    console.warn("imprint-writer cannot note which adapter it keeps", thrown);
  }
}
