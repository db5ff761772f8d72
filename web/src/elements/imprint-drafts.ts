import { language, onLanguage, words } from "../words/words.js";
import { count } from "./format.js";
import { part } from "./part.js";
import { redraw } from "./rows.js";

/** A draft as it is listed. */
type Listed = { id: string; title: string; words: number; updatedMs: number };

/** What keeps the drafts; `C` is whatever it needs to bring a deleted one back. */
export interface DraftShelf<C> {
  readonly current: string;
  list(): Promise<Listed[]>;
  open(id: string): Promise<void>;
  create(): Promise<void>;
  delete(id: string): Promise<C | undefined>;
  restore(content: C): Promise<void>;
}

/** The list of drafts: open, begin another, delete and bring back. Set `shelf`. Its own content holds the parts. */
export class ImprintDraftsElement<C = unknown> extends HTMLElement {
  #shelf: DraftShelf<C> | undefined;
  #deleted: { content: C; title: string } | undefined;
  #deaf: (() => void) | undefined;

  connectedCallback(): void {
    this.#deaf ??= onLanguage(() => void this.refresh());
    part(this, "new", HTMLButtonElement).addEventListener("click", () => void this.#create());
    part(this, "restore", HTMLButtonElement).addEventListener("click", () => void this.#restore());
  }

  disconnectedCallback(): void {
    this.#deaf?.();
    this.#deaf = undefined;
  }

  /** What keeps the drafts. */
  get shelf(): DraftShelf<C> | undefined {
    return this.#shelf;
  }

  set shelf(shelf: DraftShelf<C> | undefined) {
    this.#shelf = shelf;
    void this.refresh();
  }

  /** Lists anew what is kept. */
  async refresh(): Promise<void> {
    const drafts = (await this.#shelf?.list()) ?? [];
    redraw(part(this, "list", HTMLElement), drafts, {
      id: ({ id }) => id,
      says: (draft) => [draft, draft.id === this.#shelf?.current],
      make: (draft) => this.#row(draft),
    });
    part(this, "count", HTMLElement).textContent = drafts.length > 1 ? count(drafts.length) : "";
    part(this, "undo", HTMLElement).hidden = this.#deleted === undefined;
    part(this, "gone", HTMLElement).textContent = this.#deleted
      ? words().drafts.gone(this.#deleted.title)
      : "";
  }

  /** Says something to screen readers. */
  say(sentence: string): void {
    part(this, "live", HTMLElement).textContent = sentence;
  }

  #row({ id, title, words: length, updatedMs }: Listed): HTMLElement {
    const row = part(this, "draft", HTMLTemplateElement).content.firstElementChild?.cloneNode(true);
    if (!(row instanceof HTMLElement)) throw new TypeError("the template of a draft is empty");
    const { untitled, facts, deleteNamed, opened } = words().drafts;
    const name = title || untitled;
    const day = new Intl.DateTimeFormat(language(), { dateStyle: "medium", timeStyle: "short" });
    row.toggleAttribute("data-used", id === this.#shelf?.current);
    part(row, "name", HTMLElement).textContent = name;
    part(row, "facts", HTMLElement).textContent = facts(
      words().draft.count(length, count(length)),
      day.format(updatedMs),
    );
    const open = part(row, "open", HTMLButtonElement);
    if (id === this.#shelf?.current) open.setAttribute("aria-current", "true");
    open.addEventListener("click", () => void this.#shelf?.open(id).then(() => this.say(opened(name))));
    const remove = part(row, "delete", HTMLButtonElement);
    remove.ariaLabel = deleteNamed(name);
    remove.addEventListener("click", () => void this.#delete(id, name));
    return row;
  }

  async #create(): Promise<void> {
    await this.#shelf?.create();
    this.say(words().drafts.created);
  }

  async #delete(id: string, title: string): Promise<void> {
    const content = await this.#shelf?.delete(id);
    this.#deleted = content === undefined ? undefined : { content, title };
    await this.refresh();
    this.say(words().drafts.gone(title));
    part(this, "restore", HTMLButtonElement).focus();
  }

  async #restore(): Promise<void> {
    const deleted = this.#deleted;
    this.#deleted = undefined;
    if (deleted) await this.#shelf?.restore(deleted.content);
    await this.refresh();
  }
}
