import { deleteDB, openDB, type DBSchema, type IDBPDatabase } from "idb";
import { ImprintError } from "../errors.js";

/** A draft as the list shows it. */
export type Draft = {
  id: string;
  /** The beginning of its first line; empty for a draft that has none. */
  title: string;
  words: number;
  updatedMs: number;
  /** Counts its savings, so that two tabs do not overwrite each other. */
  revision: number;
};

/** What is kept of a draft: its text, and the editor's state around it, with undo. */
export type Content = { text: string; state: unknown };

/** Makes bytes unreadable and readable again, each bound to its place; the vault is one. */
export type Seal = {
  seal(place: string, bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>>;
  open(place: string, bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>>;
  /** Whether bytes lie as they should now. */
  suits(bytes: Uint8Array<ArrayBuffer>): Promise<boolean>;
  /** Does something while the way of sealing stays the same. */
  steady<T>(work: () => Promise<T>): Promise<T>;
};

/** A draft as it is stored; `head` and `body` are JSON in UTF-8, sealed where there is a seal. */
type Kept = {
  id: string;
  updatedMs: number;
  revision: number;
  head: Uint8Array<ArrayBuffer>;
  body: Uint8Array<ArrayBuffer>;
};

interface Schema extends DBSchema {
  drafts: { key: string; value: Kept };
}

/** The database's name; what lies in it can be erased by this name alone. */
export const databaseName = "imprint-drafts";

const plain: Seal = {
  seal: async (_, bytes) => bytes,
  open: async (_, bytes) => bytes,
  suits: async () => true,
  steady: (work) => work(),
};
const TITLE_LENGTH = 60;

/** Another tab has saved the draft since it was read here. */
export class DraftChanged extends Error {
  constructor(readonly id: string) {
    super(`the draft ${id} was changed by another tab`);
    this.name = "DraftChanged";
  }
}

/** The drafts kept in this browser, in IndexedDB. */
export class Drafts {
  readonly #seal: Seal;
  #opening: Promise<IDBPDatabase<Schema>> | undefined;

  /** What a `seal` seals cannot be read where it is stored. */
  constructor(seal: Seal = plain) {
    this.#seal = seal;
  }

  /** Lists them, the latest first. */
  async list(): Promise<Draft[]> {
    const kept = await this.#try(async (database) => database.getAll("drafts"));
    const drafts = await Promise.all(kept.map((draft) => this.#head(draft)));
    return drafts.sort((a, b) => b.updatedMs - a.updatedMs);
  }

  /** The bytes that they take, about; what is locked counts too. */
  async size(): Promise<number> {
    const kept = await this.#try(async (database) => database.getAll("drafts"));
    return kept.reduce((sum, { head, body }) => sum + head.length + body.length, 0);
  }

  /** Reads a draft, where it is still there. */
  async read(id: string): Promise<{ draft: Draft; content: Content } | undefined> {
    const kept = await this.#try(async (database) => database.get("drafts", id));
    if (!kept) return undefined;
    return { draft: await this.#head(kept), content: (await this.#opened(id, kept.body)) as Content };
  }

  /**
   * Keeps a draft; `revision` is the one it was read with, 0 for a new one. Gives the new revision.
   *
   * Rejects with `DraftChanged`, and keeps what is there, where another tab has saved it in between.
   */
  async save(id: string, content: Content, revision: number): Promise<number> {
    return this.#seal.steady(() => this.#save(id, content, revision));
  }

  async #save(id: string, content: Content, revision: number): Promise<number> {
    const { text } = content;
    // Sealing takes its time, and a transaction does not wait for it.
    const head = await this.#sealed(id, { title: titleOf(text), words: wordsIn(text) });
    const body = await this.#sealed(id, content);
    return this.#try(async (database) => {
      const transaction = database.transaction("drafts", "readwrite", { durability: "strict" });
      const there = (await transaction.store.get(id))?.revision ?? 0;
      if (there !== revision) {
        transaction.abort();
        await transaction.done.catch(() => undefined);
        throw new DraftChanged(id);
      }
      const kept = { id, updatedMs: Date.now(), revision: revision + 1, head, body };
      await Promise.all([transaction.store.put(kept), transaction.done]);
      return revision + 1;
    });
  }

  /** Removes a draft. */
  async delete(id: string): Promise<void> {
    await this.#try(async (database) => database.delete("drafts", id));
  }

  /** Seals anew what does not lie as it should: after a passphrase was set, given or removed. */
  async reseal(): Promise<void> {
    await this.#seal.steady(async () => {
      for (const id of await this.#try(async (database) => database.getAllKeys("drafts")))
        while (!(await this.#turn(id)));
    });
  }

  /** Seals one draft anew; gives whether it is done, which it is not where another tab saved it in between. */
  async #turn(id: string): Promise<boolean> {
    const kept = await this.#try(async (database) => database.get("drafts", id));
    if (!kept || ((await this.#seal.suits(kept.head)) && (await this.#seal.suits(kept.body)))) return true;
    const place = placeOf(id);
    const head = await this.#seal.seal(place, await this.#seal.open(place, kept.head));
    const body = await this.#seal.seal(place, await this.#seal.open(place, kept.body));
    return this.#try(async (database) => {
      const transaction = database.transaction("drafts", "readwrite", { durability: "strict" });
      const same = (await transaction.store.get(id))?.revision === kept.revision;
      if (same) await transaction.store.put({ ...kept, head, body });
      await transaction.done;
      return same;
    });
  }

  /** Removes every draft, and the database with them. */
  async forget(): Promise<void> {
    await this.close();
    await deleteDB(databaseName);
  }

  /** Lets go of the database. */
  async close(): Promise<void> {
    const opening = this.#opening;
    this.#opening = undefined;
    (await opening?.catch(() => undefined))?.close();
  }

  async #head(kept: Kept): Promise<Draft> {
    const { title, words } = (await this.#opened(kept.id, kept.head)) as Pick<Draft, "title" | "words">;
    return { id: kept.id, title, words, updatedMs: kept.updatedMs, revision: kept.revision };
  }

  async #sealed(id: string, value: unknown): Promise<Uint8Array<ArrayBuffer>> {
    return this.#seal.seal(placeOf(id), new TextEncoder().encode(JSON.stringify(value)));
  }

  async #opened(id: string, bytes: Uint8Array<ArrayBuffer>): Promise<unknown> {
    return JSON.parse(new TextDecoder().decode(await this.#seal.open(placeOf(id), bytes)));
  }

  async #try<T>(work: (database: IDBPDatabase<Schema>) => Promise<T>): Promise<T> {
    try {
      return await work(await this.#open());
    } catch (thrown) {
      if (thrown instanceof DraftChanged) throw thrown;
      throw ImprintError.from(thrown);
    }
  }

  #open(): Promise<IDBPDatabase<Schema>> {
    this.#opening ??= openDB<Schema>(databaseName, 1, {
      upgrade: (database) => void database.createObjectStore("drafts", { keyPath: "id" }),
      // Whoever forgets everything, in any tab, must not wait for this one.
      blocking: () => void this.close(),
      terminated: () => (this.#opening = undefined),
    });
    this.#opening.catch(() => (this.#opening = undefined));
    return this.#opening;
  }
}

/** What the bytes of a draft are bound to. */
function placeOf(id: string): string {
  return `${databaseName} ${id}`;
}

/** The beginning of the first line that says something. */
export function titleOf(text: string): string {
  const line = /\S[^\n]*/u.exec(text)?.[0].trim() ?? "";
  if (line.length <= TITLE_LENGTH) return line;
  const cut = line.slice(0, TITLE_LENGTH);
  return `${cut.slice(0, Math.max(cut.lastIndexOf(" "), TITLE_LENGTH / 2)).trimEnd()}…`;
}

/** The words of a text, counted by the spaces between them. */
export function wordsIn(text: string): number {
  return text.match(/\S+/gu)?.length ?? 0;
}
