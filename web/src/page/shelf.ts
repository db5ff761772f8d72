import type { ImprintDraftElement } from "../elements/imprint-draft.js";
import { ImprintError } from "../errors.js";
import { DraftChanged, Drafts, wordsIn, type Content, type Draft } from "./drafts.js";

/** Quiet after the last change before a draft is saved, and the longest that a change waits. */
const PAUSE_MS = 300;
const LONGEST_MS = 2_000;
/** Where one draft was kept before there were several. */
const formerKey = "imprint-draft";
const openKey = "imprint-open-draft";

/** What happened to the drafts. */
export type ShelfNews =
  { type: "saved" } | { type: "opened" } | { type: "copied" } | { type: "failed"; error: ImprintError };

/** Puts drafts on the sheet and keeps them: what is written is saved after a breath, and when the page goes. */
export class Shelf {
  /** Hears what happens to the drafts. */
  onNews: (news: ShelfNews) => void = () => undefined;
  readonly #drafts: Drafts;
  readonly #sheet: ImprintDraftElement;
  readonly #tabs = new BroadcastChannel("imprint-drafts");
  #id = freshId();
  #revision = 0;
  /** Whether the sheet holds something that is not saved, and since when. */
  #dirtySince: number | undefined;
  #loading = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #saving: Promise<void> = Promise.resolve();

  constructor(drafts: Drafts, sheet: ImprintDraftElement) {
    this.#drafts = drafts;
    this.#sheet = sheet;
    sheet.addEventListener("imprint-edit", () => this.#changed());
    addEventListener("pagehide", () => void this.save());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") void this.save();
    });
    this.#tabs.addEventListener("message", ({ data }: MessageEvent<unknown>) => void this.#hear(data));
  }

  /** The id of the draft on the sheet. */
  get current(): string {
    return this.#id;
  }

  /** Puts the draft of last time on the sheet, or an empty one. */
  async start(): Promise<void> {
    await this.#sheet.ready;
    await this.#guarded(async () => {
      await this.#adopt();
      const drafts = await this.#drafts.list();
      const wanted = attempt(() => sessionStorage.getItem(openKey));
      const last = drafts.find(({ id }) => id === wanted) ?? drafts.find(({ words }) => words > 0);
      // Nothing comes over what the person has begun to write in the meantime.
      if (last && this.#dirtySince === undefined) await this.#put(last.id);
    });
  }

  /** The drafts that are kept, the latest first. */
  async list(): Promise<Draft[]> {
    return (await this.#guarded(() => this.#drafts.list())) ?? [];
  }

  /** Puts another draft on the sheet. */
  async open(id: string): Promise<void> {
    await this.#leave();
    await this.#guarded(() => this.#put(id));
  }

  /** Puts an empty draft on the sheet. */
  async create(): Promise<void> {
    await this.#leave();
    await this.#fresh();
  }

  /** Removes a draft; gives what `restore` needs to bring it back. */
  async delete(id: string): Promise<Content | undefined> {
    if (id === this.#id) await this.save();
    return this.#guarded(async () => {
      const kept = await this.#drafts.read(id);
      await this.#drafts.delete(id);
      if (id === this.#id) await this.#fresh();
      this.onNews({ type: "saved" });
      return kept?.content;
    });
  }

  /** Brings a deleted draft back and puts it on the sheet. */
  async restore(content: Content): Promise<void> {
    await this.#leave();
    await this.#guarded(async () => {
      const id = freshId();
      await this.#drafts.save(id, content, 0);
      await this.#put(id);
    });
  }

  /** Saves what is not saved yet. */
  save(): Promise<void> {
    clearTimeout(this.#timer);
    if (this.#dirtySince === undefined) return this.#saving;
    this.#dirtySince = undefined;
    const content = this.#sheet.save();
    const id = this.#id;
    this.#saving = this.#saving.then(() => this.#write(id, content));
    return this.#saving;
  }

  /** Seals anew what does not lie as it should, and puts on an empty sheet what was locked until now. */
  async unlock(): Promise<void> {
    await this.#drafts.reseal();
    if (this.#revision === 0 && wordsIn(this.#sheet.text) > 0) {
      // Written while nothing could be kept.
      this.#dirtySince ??= Date.now();
      await this.save();
    } else if (this.#revision === 0) await this.start();
    this.onNews({ type: "saved" });
  }

  /** Keeps what is on the sheet while that can be done, and takes it away. */
  async lock(): Promise<void> {
    await this.save();
    await this.#fresh();
  }

  /** Removes every draft and empties the sheet. */
  async forget(): Promise<void> {
    this.#dirtySince = undefined;
    clearTimeout(this.#timer);
    await this.#saving;
    await this.#guarded(() => this.#drafts.forget());
    await this.#fresh();
    this.onNews({ type: "saved" });
  }

  #changed(): void {
    if (this.#loading) return;
    this.#dirtySince ??= Date.now();
    clearTimeout(this.#timer);
    const waited = Date.now() - this.#dirtySince;
    this.#timer = setTimeout(() => void this.save(), Math.max(0, Math.min(PAUSE_MS, LONGEST_MS - waited)));
  }

  async #write(id: string, content: Content): Promise<void> {
    // An empty sheet that was never kept leaves nothing behind.
    if (this.#revision === 0 && content.text.trim() === "") return;
    await this.#guarded(async () => {
      try {
        const revision = await this.#drafts.save(id, content, id === this.#id ? this.#revision : 0);
        if (id === this.#id) this.#revision = revision;
        this.#tabs.postMessage({ id, revision });
        this.onNews({ type: "saved" });
      } catch (thrown) {
        if (!(thrown instanceof DraftChanged)) throw thrown;
        await this.#copy(content);
      }
    });
  }

  /** Keeps this tab's text beside the other's, so that neither is lost. */
  async #copy(content: Content): Promise<void> {
    this.#name(freshId(), 0);
    this.#revision = await this.#drafts.save(this.#id, content, 0);
    this.onNews({ type: "copied" });
  }

  /** Takes over what another tab saved, where nothing here waits to be saved. */
  async #hear(data: unknown): Promise<void> {
    const { id, revision } = (data ?? {}) as { id?: unknown; revision?: unknown };
    if (id !== this.#id || typeof revision !== "number" || revision <= this.#revision) {
      this.onNews({ type: "saved" });
    } else if (this.#dirtySince === undefined) {
      await this.#guarded(() => this.#put(this.#id));
    }
  }

  async #leave(): Promise<void> {
    await this.save();
    if (this.#revision > 0 && wordsIn(this.#sheet.text) === 0)
      await this.#guarded(() => this.#drafts.delete(this.#id));
  }

  async #put(id: string): Promise<void> {
    const found = await this.#drafts.read(id);
    if (!found) return;
    this.#name(id, found.draft.revision);
    await this.#load(found.content);
  }

  async #fresh(): Promise<void> {
    this.#name(freshId(), 0);
    await this.#load({ text: "", state: undefined });
  }

  async #load({ text, state }: Content): Promise<void> {
    this.#loading = true;
    try {
      await this.#sheet.load(text, state);
    } finally {
      this.#loading = false;
    }
    this.onNews({ type: "opened" });
  }

  #name(id: string, revision: number): void {
    this.#id = id;
    this.#revision = revision;
    attempt(() => sessionStorage.setItem(openKey, id));
  }

  /** Takes over the one draft of earlier versions, which goes from its old place only once it is kept. */
  async #adopt(): Promise<void> {
    const text = attempt(() => localStorage.getItem(formerKey));
    if (!text) return;
    await this.#drafts.save(freshId(), { text, state: undefined }, 0);
    attempt(() => localStorage.removeItem(formerKey));
  }

  async #guarded<T>(work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (thrown) {
      this.onNews({ type: "failed", error: ImprintError.from(thrown) });
      return undefined;
    }
  }
}

/** A name for a new draft; `crypto.randomUUID` is only there over HTTPS. */
function freshId(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
}

/** Storage can be switched off. */
function attempt<T>(storage: () => T): T | undefined {
  try {
    return storage();
  } catch {
    return undefined;
  }
}
