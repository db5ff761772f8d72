import type { StoredModel } from "../engine.js";
import { ImprintError } from "../errors.js";
import type { Library } from "../library.js";
import { listed } from "../models.js";
import type { AdapterInfo, StorageUsage } from "../voice.js";
import { onLanguage, say, words } from "../words/words.js";
import { decoded } from "./choices.js";
import { ImprintErrorEvent, ImprintForgetEvent } from "./events.js";
import { bytes } from "./format.js";
import { part } from "./part.js";
import { redraw } from "./rows.js";
import { twice } from "./twice.js";

/** What takes room in the browser, in the order of the picture. */
export const kinds = ["models", "adapters", "runs", "drafts", "rest"] as const;
type Kind = (typeof kinds)[number];

/** What is kept, as the element asks for it. */
export type Keeping = Pick<Library, "models" | "forgetModel" | "storageUsage" | "forgetEverything"> & {
  /** The voices, to say to which model each belongs; none while they are locked. */
  voices(): Promise<AdapterInfo[]>;
};

/**
 * What is kept in this browser: how much of each kind, whether the browser promised to keep it, the models, and the way to
 * forget everything.
 *
 * Set `keeping`. Its own content holds the parts; sends `imprint-forget` when everything is gone, and waits for whoever
 * forgets something of their own then; sends `imprint-error`.
 */
export class ImprintStorageElement extends HTMLElement {
  /** Asked for the bytes that the drafts take. */
  draftsBytes: () => Promise<number> = async () => 0;
  #keeping: Keeping | null = null;
  #known: { usage: StorageUsage; drafts: number; models: StoredModel[]; voices: AdapterInfo[] } | undefined;
  #deaf: (() => void) | undefined;

  connectedCallback(): void {
    this.#deaf ??= onLanguage(() => this.#render());
    const dialog = part(this, "dialog", HTMLDialogElement);
    part(this, "forget", HTMLButtonElement).addEventListener("click", () => {
      this.#problem();
      dialog.showModal();
    });
    part(this, "keep", HTMLButtonElement).addEventListener("click", () => dialog.close());
    part(this, "sure", HTMLButtonElement).addEventListener("click", () => void this.#forget());
    part(this, "promise", HTMLButtonElement).addEventListener("click", () => void this.#promise());
  }

  disconnectedCallback(): void {
    this.#deaf?.();
    this.#deaf = undefined;
  }

  /** What is asked; null as long as nothing can be told. */
  get keeping(): Keeping | null {
    return this.#keeping;
  }

  set keeping(keeping: Keeping | null) {
    this.#keeping = keeping;
    void this.refresh();
  }

  /** Counts anew. */
  async refresh(): Promise<void> {
    const keeping = this.#keeping;
    if (!keeping) return;
    try {
      const [usage, drafts, models] = await Promise.all([
        keeping.storageUsage(),
        this.draftsBytes(),
        keeping.models(),
      ]);
      const voices = usage.locked ? [] : await keeping.voices();
      this.#known = { usage, drafts, models, voices };
      this.#render();
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  #render(): void {
    if (!this.#known) return;
    const { usage, drafts, models } = this.#known;
    const said = words().storage;
    const sizes = sizesOf(usage, drafts);
    const present = kinds.filter((kind) => sizes[kind] > 0);
    const own = sizes.models + sizes.adapters + sizes.runs + sizes.drafts;
    part(this, "total", HTMLElement).textContent = own === 0 ? said.nothing : said.total(bytes(own));
    part(this, "locked", HTMLElement).hidden = !usage.locked;
    const bar = part(this, "bar", HTMLElement);
    bar.hidden = present.length === 0;
    bar.ariaLabel = present.map((kind) => `${said.kinds[kind]}: ${bytes(sizes[kind])}`).join(", ");
    bar.replaceChildren(...present.map((kind) => piece(kind, sizes[kind])));
    part(this, "kinds", HTMLElement).replaceChildren(
      ...present.map((kind) => line(kind, said.kinds[kind], bytes(sizes[kind]))),
    );
    part(this, "quota", HTMLElement).textContent = usage.quotaBytes
      ? said.quota(bytes(usage.quotaBytes))
      : "";
    part(this, "persisted", HTMLElement).textContent = usage.persisted ? said.promised : said.notPromised;
    part(this, "promise", HTMLElement).hidden = usage.persisted || !navigator.storage?.persist;
    redraw(part(this, "models", HTMLElement), models, {
      id: ({ url }) => url,
      says: (model) => [model, this.#voicesOf(model)],
      make: (model) => this.#model(model),
    });
    part(this, "no-models", HTMLElement).hidden = models.length > 0;
  }

  /** The names of the voices that belong to a model. */
  #voicesOf({ sha256 }: StoredModel): string[] {
    const theirs = this.#known?.voices.filter(({ base }) => base === sha256) ?? [];
    return theirs.map(({ name }) => name);
  }

  #model(model: StoredModel): HTMLElement {
    const { url, sizeBytes, sha256 } = model;
    const said = words().storage;
    const row = document.createElement("li");
    const told = document.createElement("div");
    const name = document.createElement("strong");
    name.textContent = listed(sha256)?.name ?? (decoded(url.slice(url.lastIndexOf("/") + 1)) || url);
    const facts = document.createElement("p");
    facts.className = "small";
    facts.textContent = said.modelFacts(bytes(sizeBytes));
    told.append(name, facts);
    const theirs = this.#voicesOf(model);
    if (theirs.length > 0) {
      const line = document.createElement("p");
      line.className = "small";
      line.textContent = said.modelVoices(theirs.join(", "));
      told.append(line);
    }
    const forget = document.createElement("button");
    Object.assign(forget, { type: "button", className: "quiet", textContent: said.forgetModel });
    forget.title = said.forgetModelNamed(name.textContent);
    twice(
      forget,
      () => said.forgetModelSure,
      () =>
        void this.#try(async () => {
          await this.#keeping?.forgetModel(url);
          this.#say(said.modelGone(name.textContent ?? ""));
          await this.refresh();
        }),
    );
    row.append(told, forget);
    return row;
  }

  /** Asks the browser not to throw away by itself what is kept here. */
  async #promise(): Promise<void> {
    const granted = await navigator.storage.persist().catch(() => false);
    this.#say(granted ? words().storage.promised : words().storage.refused);
    await this.refresh();
  }

  async #forget(): Promise<void> {
    const said = words().storage;
    const buttons = [part(this, "sure", HTMLButtonElement), part(this, "keep", HTMLButtonElement)];
    for (const button of buttons) button.disabled = true;
    this.#problem();
    try {
      await this.#keeping?.forgetEverything();
      const forgotten = new ImprintForgetEvent();
      this.dispatchEvent(forgotten);
      await forgotten.done();
      part(this, "dialog", HTMLDialogElement).close();
      await this.refresh();
      this.#say(said.gone);
    } catch (thrown) {
      this.#problem(ImprintError.from(thrown));
    }
    for (const button of buttons) button.disabled = false;
  }

  /** Tells in the dialog why nothing was forgotten. */
  #problem(error?: ImprintError): void {
    const shown = part(this, "problem", HTMLElement);
    shown.hidden = error === undefined;
    say(shown, error && `errors.${error.code}`);
  }

  async #try(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  #fail(thrown: unknown): void {
    const error = ImprintError.from(thrown);
    if (this.dispatchEvent(new ImprintErrorEvent(error)))
      say(part(this, "live", HTMLElement), `errors.${error.code}`);
  }

  #say(sentence: string): void {
    const live = part(this, "live", HTMLElement);
    say(live);
    live.textContent = sentence;
  }
}

/** The bytes of each kind; the rest is what the browser counts beyond: this page's own files, and its books. */
function sizesOf(usage: StorageUsage, drafts: number): Record<Kind, number> {
  const { modelsBytes: models, adaptersBytes: adapters, runsBytes: runs, usedBytes = 0 } = usage;
  // What is locked is not told, and would look like the page's own.
  const rest = usage.locked ? 0 : Math.max(0, usedBytes - models - adapters - runs - drafts);
  return { models, adapters, runs, drafts, rest };
}

function piece(kind: Kind, size: number): HTMLElement {
  const made = document.createElement("span");
  made.dataset["kind"] = kind;
  made.style.flexGrow = String(size);
  return made;
}

function line(kind: Kind, name: string, size: string): HTMLElement {
  const made = document.createElement("li");
  const swatch = document.createElement("i");
  swatch.dataset["kind"] = kind;
  const figure = document.createElement("span");
  figure.className = "figure";
  figure.textContent = size;
  made.append(swatch, name, figure);
  return made;
}
