import type { Page } from "@playwright/test";

/** What a browser keeps: the rows of every database, each as a short text, and the names of its caches and files. */
export type Stored = { databases: Record<string, string>; caches: string[]; files: string[] };

/** Reads what is kept, past the package. */
export function stored(page: Page): Promise<Stored> {
  return page.evaluate(async () => {
    const settled = <T>(request: IDBRequest<T>): Promise<T> =>
      new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
      });
    const digest = async (bytes: Uint8Array<ArrayBuffer>): Promise<string> => {
      const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
      return `${bytes.length} bytes ${hash.slice(0, 6).join(".")}`;
    };
    /** A value as JSON, with bytes as their hash. */
    const told = async (value: unknown): Promise<unknown> => {
      if (value instanceof Uint8Array) return digest(value as Uint8Array<ArrayBuffer>);
      if (Array.isArray(value)) return Promise.all(value.map(told));
      if (typeof value !== "object" || value === null) return value;
      const fields = Object.entries(value).map(async ([name, field]) => [name, await told(field)] as const);
      return Object.fromEntries(await Promise.all(fields));
    };
    const databases: Record<string, string> = {};
    for (const { name } of await indexedDB.databases()) {
      const database = await settled(indexedDB.open(name ?? ""));
      for (const table of database.objectStoreNames) {
        const rows = database.transaction(table).objectStore(table);
        const [keys, values] = await Promise.all([settled(rows.getAllKeys()), settled(rows.getAll())]);
        for (const [at, key] of keys.entries()) {
          databases[`${name}/${table}/${String(key)}`] = JSON.stringify(await told(values[at]));
        }
      }
      database.close();
    }
    const files: string[] = [];
    const list = async (directory: FileSystemDirectoryHandle): Promise<void> => {
      for await (const [name, entry] of directory.entries()) {
        files.push(name);
        if (entry.kind === "directory") await list(entry as FileSystemDirectoryHandle);
      }
    };
    await list(await navigator.storage.getDirectory());
    return { databases, caches: await caches.keys(), files: files.sort() };
  });
}

/** The tables of a database that have rows, with how many. */
export function tables({ databases }: Stored): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const key of Object.keys(databases)) {
    const table = key.split("/")[1] ?? "";
    counts[table] = (counts[table] ?? 0) + 1;
  }
  return counts;
}

/** Every byte that the databases hold, past the package: strings in UTF-8, byte arrays as they are. */
export async function rawBytes(page: Page): Promise<Buffer> {
  const base64 = await page.evaluate(async () => {
    const settled = <T>(request: IDBRequest<T>): Promise<T> =>
      new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
      });
    const pieces: BlobPart[] = [];
    const take = (value: unknown): void => {
      if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) pieces.push(value as BlobPart);
      else if (typeof value === "object" && value !== null)
        for (const [name, field] of Object.entries(value)) (pieces.push(`${name}: `), take(field));
      else pieces.push(`${String(value)}\n`);
    };
    for (const { name } of await indexedDB.databases()) {
      const database = await settled(indexedDB.open(name ?? ""));
      for (const table of database.objectStoreNames) {
        const rows = database.transaction(table).objectStore(table);
        const [keys, values] = await Promise.all([settled(rows.getAllKeys()), settled(rows.getAll())]);
        take(keys);
        take(values);
      }
      database.close();
    }
    const reader = new FileReader();
    reader.readAsDataURL(new Blob(pieces));
    await new Promise((resolve) => (reader.onload = resolve));
    return String(reader.result).split(",", 2)[1] ?? "";
  });
  return Buffer.from(base64, "base64");
}
