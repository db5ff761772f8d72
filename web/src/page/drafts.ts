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

/** Makes bytes unreadable and readable again. */
export type Seal = {
  seal(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>>;
  open(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>>;
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

const plain: Seal = { seal: async (bytes) => bytes, open: async (bytes) => bytes };
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
  #seal: Seal;
  #opening: Promise<IDBPDatabase<Schema>> | undefined;

  /** With a `seal`, nothing readable is stored. */
  constructor(seal: Seal = plain) {
    this.#seal = seal;
  }

  /** Lists them, the latest first. */
  async list(): Promise<Draft[]> {
    const kept = await this.#try(async (database) => database.getAll("drafts"));
    const drafts = await Promise.all(kept.map((draft) => this.#head(draft)));
    return drafts.sort((a, b) => b.updatedMs - a.updatedMs);
  }

  /** Reads a draft, where it is still there. */
  async read(id: string): Promise<{ draft: Draft; content: Content } | undefined> {
    const kept = await this.#try(async (database) => database.get("drafts", id));
    if (!kept) return undefined;
    return { draft: await this.#head(kept), content: (await this.#opened(kept.body)) as Content };
  }

  /**
   * Keeps a draft; `revision` is the one it was read with, 0 for a new one. Gives the new revision.
   *
   * Rejects with `DraftChanged`, and keeps what is there, where another tab has saved it in between.
   */
  async save(id: string, content: Content, revision: number): Promise<number> {
    const { text } = content;
    // Sealing takes its time, and a transaction does not wait for it.
    const head = await this.#sealed({ title: titleOf(text), words: wordsIn(text) });
    const body = await this.#sealed(content);
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

  /** Seals everything that is kept in another way from now on; nothing has changed when it fails. */
  async reseal(seal: Seal | null): Promise<void> {
    const next = seal ?? plain;
    const kept = await this.#try(async (database) => database.getAll("drafts"));
    const sealed = await Promise.all(
      kept.map(async (draft) => ({
        ...draft,
        head: await next.seal(await this.#seal.open(draft.head)),
        body: await next.seal(await this.#seal.open(draft.body)),
      })),
    );
    await this.#try(async (database) => {
      const transaction = database.transaction("drafts", "readwrite", { durability: "strict" });
      const there = await transaction.store.getAll();
      const same =
        there.length === kept.length && there.every((now, i) => now.revision === kept[i]?.revision);
      if (!same) {
        transaction.abort();
        await transaction.done.catch(() => undefined);
        throw new ImprintError("busy", "another tab saved a draft while they were being sealed");
      }
      await Promise.all([...sealed.map((draft) => transaction.store.put(draft)), transaction.done]);
    });
    this.#seal = next;
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
    const { title, words } = (await this.#opened(kept.head)) as Pick<Draft, "title" | "words">;
    return { id: kept.id, title, words, updatedMs: kept.updatedMs, revision: kept.revision };
  }

  async #sealed(value: unknown): Promise<Uint8Array<ArrayBuffer>> {
    return this.#seal.seal(new TextEncoder().encode(JSON.stringify(value)));
  }

  async #opened(bytes: Uint8Array<ArrayBuffer>): Promise<unknown> {
    return JSON.parse(new TextDecoder().decode(await this.#seal.open(bytes)));
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
