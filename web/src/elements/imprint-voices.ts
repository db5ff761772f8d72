import { printsName, type AdapterSource } from "../adapters.js";
import { ImprintError } from "../errors.js";
import type { Imprint } from "../imprint.js";
import type { Library } from "../library.js";
import { listed } from "../models.js";
import type { AdapterInfo, RunInfo, Voice } from "../voice.js";
import {
  ImprintErrorEvent,
  ImprintKeptEvent,
  ImprintResumeEvent,
  ImprintSwitchEvent,
  ImprintTextsEvent,
  ImprintVoiceEvent,
} from "./events.js";
import { bytes, count, day, megabytes } from "./format.js";
import { verdict } from "./imprint-teacher.js";
import { offerMix, together, weighed, type Beside } from "./mix.js";
import { part } from "./part.js";
import { redraw } from "./rows.js";
import { twice } from "./twice.js";
import { showError } from "./trouble.js";
import { onLanguage, words } from "../words/words.js";

/**
 * The voices kept in this browser, and the runs that can go on: use, mix, rename, export, import, delete.
 *
 * Set `imprint` to an open model, or `library` to look after them without one. Its own content holds the parts; sends `imprint-voice` when another voice is in use,
 * `imprint-switch` for one that belongs to another model, `imprint-resume` for a run that was interrupted, `imprint-texts` to learn again from texts that were kept,
 * `imprint-kept` when the list is drawn anew, and `imprint-error`.
 */
export class ImprintVoicesElement extends HTMLElement {
  #imprint: Imprint | null = null;
  #library: Library | null = null;
  #used: AdapterInfo | undefined;
  #state: Voice["state"];
  #beside: Beside | undefined;
  #deaf: (() => void) | undefined;

  connectedCallback(): void {
    const file = part(this, "file", HTMLInputElement);
    file.addEventListener("change", () => {
      const chosen = [...(file.files ?? [])];
      file.value = "";
      if (chosen.length > 0) void this.#try(() => this.#import(chosen));
    });
    this.#deaf ??= onLanguage(() => void this.refresh());
    this.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.toggleAttribute("data-over", true);
    });
    this.addEventListener("dragleave", () => this.toggleAttribute("data-over", false));
    this.addEventListener("drop", (event) => {
      event.preventDefault();
      this.toggleAttribute("data-over", false);
      const dropped = [...(event.dataTransfer?.files ?? [])];
      if (dropped.length > 0) void this.#try(() => this.#import(dropped));
    });
  }

  disconnectedCallback(): void {
    this.#deaf?.();
    this.#deaf = undefined;
  }

  /** The model that speaks, if one is open. */
  get imprint(): Imprint | null {
    return this.#imprint;
  }

  set imprint(imprint: Imprint | null) {
    this.#imprint = imprint;
    this.#used = this.#beside = undefined;
    void this.refresh();
  }

  /** What looks after the voices while no model is open. */
  get library(): Library | null {
    return this.#library;
  }

  set library(library: Library | null) {
    this.#library = library;
    void this.refresh();
  }

  get #kept(): Imprint | Library | null {
    return this.#imprint ?? this.#library;
  }

  /** The voice in use, if any. */
  get used(): AdapterInfo | undefined {
    return this.#used;
  }

  /** What is heard: the voice in use, or it and the one beside it as one. */
  get speaking(): AdapterInfo | undefined {
    return this.#used && together(this.#used, this.#beside);
  }

  /** Lists anew what is stored. */
  async refresh(): Promise<void> {
    const kept = this.#kept;
    part(this, "file", HTMLInputElement).disabled = !this.#imprint;
    part(this, "import-hint", HTMLElement).hidden = this.#imprint === null;
    part(this, "load-first", HTMLElement).hidden = this.#imprint !== null;
    if (!kept) return this.#list([], []);
    await this.#try(async () => {
      const { locked } = await kept.storageUsage();
      // Where the page asks for the passphrase, a list that cannot be read is no error.
      const [voices, runs] = locked ? [[], []] : await Promise.all([kept.adapters.list(), kept.runs.list()]);
      this.#list(voices, runs);
      if (locked) part(this, "empty", HTMLElement).hidden = true;
      this.dispatchEvent(new ImprintKeptEvent());
    });
  }

  /** Speaks in a voice from now on, where wanted together with another; `undefined` is the model's own. */
  async use(
    voice: AdapterInfo | undefined,
    state: Voice["state"] = "fullest",
    beside?: Beside,
  ): Promise<void> {
    await this.#try(async () => {
      await this.#speak(voice, state, beside);
      await this.refresh();
    });
  }

  async #speak(voice: AdapterInfo | undefined, state: Voice["state"], beside?: Beside): Promise<void> {
    await this.#imprint?.adapters.use(voice ? weighed(voice, beside) : null, voice && state ? { state } : {});
    this.#used = voice;
    this.#state = state;
    this.#beside = voice && beside;
    const { speaking } = this;
    this.dispatchEvent(new ImprintVoiceEvent(speaking ?? null));
    const { writesIn, writesPlain } = words().voices;
    this.#announce(speaking ? writesIn(speaking.name) : writesPlain);
  }

  #list(voices: readonly AdapterInfo[], runs: readonly RunInfo[]): void {
    const gone = (voice: AdapterInfo | undefined): boolean => !voices.some(({ id }) => id === voice?.id);
    if (gone(this.#used)) this.#used = undefined;
    if (!this.#used || gone(this.#beside?.voice)) this.#beside = undefined;
    const model = this.#imprint?.info.fingerprint;
    redraw(part(this, "list", HTMLElement), voices, {
      id: ({ id }) => id,
      // The row of the voice in use offers the others, its balance is the hand's.
      says: (voice) => [
        model,
        voice,
        ...(this.#used?.id === voice.id ? [this.#state, this.#beside?.voice.id ?? "alone", voices] : []),
      ],
      make: (voice) => this.#voice(voice, voices),
    });
    redraw(part(this, "runs", HTMLElement), runs, {
      id: ({ id }) => id,
      says: (run) => [model, run],
      make: (run) => this.#run(run),
    });
    part(this, "empty", HTMLElement).hidden = voices.length > 0 || runs.length > 0;
  }

  #voice(voice: AdapterInfo, all: readonly AdapterInfo[]): HTMLElement {
    const row = copy(part(this, "voice", HTMLTemplateElement));
    const inUse = this.#used?.id === voice.id;
    row.toggleAttribute("data-used", inUse);
    part(row, "name", HTMLElement).textContent = voice.name;
    const said = words().voices;
    const facts = [day(voice.createdMs), megabytes(voice.sizeBytes), verdict(voice)];
    const use = part(row, "use", HTMLButtonElement);
    use.disabled = !this.#imprint;
    if (this.#fits(voice)) {
      use.textContent = inUse ? said.stopUsing : said.use;
      use.ariaPressed = String(inUse);
      on(row, "use", said.useNamed(voice.name), () => this.use(inUse ? undefined : voice));
    } else {
      facts.push(said.belongs(modelOf(voice)));
      use.textContent = said.switch;
      on(row, "use", said.switchNamed(voice.name), () => this.#switch(voice, voice));
    }
    part(row, "facts", HTMLElement).textContent = facts.join(" · ");
    on(row, "rename", said.renameNamed(voice.name), () => this.#rename(row, voice));
    on(row, "export", said.exportNamed(voice.name), () => this.#try(() => this.#export(voice)));
    const remove = part(row, "delete", HTMLButtonElement);
    remove.title = said.deleteNamed(voice.name);
    twice(
      remove,
      () => said.deleteSure,
      () => void this.#delete(voice),
    );
    this.#states(row, voice, inUse);
    const others = all.filter(({ id, base }) => inUse && id !== voice.id && base === voice.base);
    offerMix(row, voice, others, this.#beside, {
      chosen: (beside) => void this.use(voice, this.#state, beside),
      moved: (beside) => void this.#try(() => this.#speak(voice, this.#state, beside)),
    });
    this.#texts(row, voice);
    return row;
  }

  /** Lets the fuller or the better measured of a voice's two states be chosen, where they are two. */
  #states(row: HTMLElement, voice: AdapterInfo, inUse: boolean): void {
    const { best, fullest } = voice.measures ?? {};
    const two = inUse && best !== undefined && fullest !== undefined && best.step !== fullest.step;
    part(row, "states", HTMLElement).hidden = !two;
    const choice = part(row, "state", HTMLSelectElement);
    choice.value = this.#state ?? "fullest";
    choice.addEventListener("change", () => {
      void this.use(voice, choice.value as Voice["state"], this.#beside);
    });
  }

  /** The texts that stayed beside a voice: to read, to learn from again, to forget. */
  #texts(row: HTMLElement, voice: AdapterInfo): void {
    const said = words().voices;
    part(row, "texts", HTMLElement).hidden = voice.textBytes === 0;
    part(row, "kept-texts", HTMLElement).textContent = said.textsKept(bytes(voice.textBytes));
    const read = part(row, "read", HTMLButtonElement);
    const text = part(row, "text", HTMLElement);
    const show = async (): Promise<void> => {
      const open = text.hidden;
      const texts = open ? await this.#kept?.adapters.texts(voice.id) : undefined;
      text.textContent = (await Promise.all(texts?.map((file) => file.text()) ?? [])).join("\n\n");
      text.ariaLabel = said.textOf(voice.name);
      text.hidden = !open;
      read.ariaExpanded = String(open);
      read.textContent = open ? said.hideTexts : said.readTexts;
    };
    on(row, "read", said.readNamed(voice.name), () => this.#try(show));
    on(row, "again", said.againNamed(voice.name), () =>
      this.#try(async () => {
        const texts = await this.#kept?.adapters.texts(voice.id);
        if (texts) this.dispatchEvent(new ImprintTextsEvent(texts));
      }),
    );
    on(row, "forget-texts", said.forgetTextsNamed(voice.name), () =>
      this.#try(async () => {
        await this.#kept?.adapters.forgetTexts(voice.id);
        await this.refresh();
      }),
    );
  }

  #run(run: RunInfo): HTMLElement {
    const row = copy(part(this, "run", HTMLTemplateElement));
    part(row, "name", HTMLElement).textContent = run.name;
    part(row, "facts", HTMLElement).textContent = words().voices.interrupted(
      day(run.updatedMs),
      count(run.step),
      count(run.steps),
    );
    const said = words().voices;
    const resume = part(row, "resume", HTMLButtonElement);
    resume.disabled = !this.#imprint;
    if (this.#fits(run)) {
      on(row, "resume", said.resumeNamed(run.name), () => {
        this.dispatchEvent(new ImprintResumeEvent(run));
      });
    } else {
      part(row, "facts", HTMLElement).append(` · ${said.belongs(modelOf(run))}`);
      resume.textContent = said.switch;
      on(row, "resume", said.switchNamed(run.name), () => this.#switch(run, null));
    }
    on(row, "discard", words().voices.discardNamed(run.name), () =>
      this.#try(async () => {
        await this.#kept?.runs.discard(run.id);
        await this.refresh();
      }),
    );
    return row;
  }

  /** Whether a voice or a run belongs to the open model; without one, nobody can say no. */
  #fits({ base }: AdapterInfo | RunInfo): boolean {
    return this.#imprint === null || this.#imprint.info.fingerprint === base;
  }

  #switch(of: AdapterInfo | RunInfo, voice: AdapterInfo | null): void {
    this.dispatchEvent(new ImprintSwitchEvent(of.base, modelOf(of), voice));
  }

  /** Turns the name into a field until Enter or the loss of focus. */
  #rename(row: HTMLElement, voice: AdapterInfo): void {
    const name = part(row, "name", HTMLElement);
    const field = document.createElement("input");
    Object.assign(field, { value: voice.name, ariaLabel: words().teacher.name, maxLength: 80 });
    name.replaceChildren(field);
    field.select();
    let settled = false;
    const settle = (keep: boolean): void => {
      if (settled) return;
      settled = true;
      const wanted = (keep && field.value.trim()) || voice.name;
      const focused = document.activeElement === field;
      name.textContent = wanted;
      if (focused) part(row, "rename", HTMLButtonElement).focus();
      if (wanted === voice.name) return;
      void this.#try(async () => {
        try {
          await this.#kept?.adapters.rename(voice.id, wanted);
        } catch (thrown) {
          name.textContent = voice.name;
          throw thrown;
        }
        await this.refresh();
      });
    };
    field.addEventListener("blur", () => settle(true));
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === "Escape") settle(event.key === "Enter");
    });
  }

  #delete(voice: AdapterInfo): Promise<void> {
    return this.#try(async () => {
      await this.#kept?.adapters.delete(voice.id);
      // With one of two voices the mix is over; the other goes on alone.
      if (this.#used && this.#beside?.voice.id === voice.id) await this.#speak(this.#used, this.#state);
      this.#announce(words().voices.gone(voice.name));
      await this.refresh();
      this.dispatchEvent(new ImprintVoiceEvent(this.speaking ?? null));
    });
  }

  async #export(voice: AdapterInfo): Promise<void> {
    const blob = await this.#kept?.adapters.export(voice.id);
    if (!blob) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${voice.name.replaceAll(/[^\p{L}\p{N}._-]+/gu, "-")}.zip`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  async #import(files: File[]): Promise<void> {
    const voice = await this.#imprint?.adapters.import(source(files));
    this.#announce(voice ? words().voices.imported(voice.name) : words().voices.loadFirst);
    await this.refresh();
  }

  async #try(work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.#error();
    } catch (thrown) {
      const error = ImprintError.from(thrown);
      if (this.dispatchEvent(new ImprintErrorEvent(error))) this.#error(error);
    }
  }

  #error(error?: ImprintError): void {
    showError(this, error);
  }

  #announce(sentence: string): void {
    part(this, "live", HTMLElement).textContent = sentence;
  }
}

/** What people call the model that a voice or a run belongs to. */
function modelOf({ base, model }: AdapterInfo | RunInfo): string {
  return listed(base)?.name ?? (model || base.slice(0, 12));
}

function copy(template: HTMLTemplateElement): HTMLElement {
  const made = template.content.firstElementChild?.cloneNode(true);
  if (made instanceof HTMLElement) return made;
  throw new TypeError("the template of a row is empty");
}

function on(row: HTMLElement, name: string, label: string, press: () => unknown): void {
  const button = part(row, name, HTMLButtonElement);
  button.title = label;
  button.addEventListener("click", () => void press());
}

/** An exported archive, llama.cpp's file, or the two files of a PEFT folder chosen together. */
function source(files: readonly File[]): AdapterSource {
  const config = files.find(({ name }) => name.endsWith(".json"));
  const weights = files.find(({ name }) => name.endsWith(".safetensors"));
  const [first] = files;
  const prints = files.find(({ name }) => name === printsName);
  if (config && weights) return prints ? { config, weights, prints } : { config, weights };
  if (first && files.length === 1 && first !== config && first !== weights) return first;
  throw new ImprintError(
    "invalid-option",
    "choose the exported .zip, a .gguf, or adapter_config.json together with adapter_model.safetensors",
  );
}
