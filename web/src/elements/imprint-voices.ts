import { printsName, type AdapterSource } from "../adapters.js";
import { ImprintError } from "../errors.js";
import type { Imprint } from "../imprint.js";
import type { AdapterInfo, RunInfo, StorageUsage } from "../voice.js";
import {
  ImprintErrorEvent,
  ImprintForgetEvent,
  ImprintResumeEvent,
  ImprintTextsEvent,
  ImprintVoiceEvent,
} from "./events.js";
import { bytes, megabytes } from "./format.js";
import { verdict } from "./imprint-teacher.js";
import { part } from "./part.js";
import { words } from "../words/words.js";

const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

/**
 * The voices kept in this browser: use, rename, export, import, delete, and what all of it takes.
 *
 * Set `imprint` to an open model. Its own content holds the parts; sends `imprint-voice` when another voice is in use,
 * `imprint-resume` for a run that was interrupted, `imprint-texts` to learn again from texts that were kept,
 * `imprint-forget` when everything is gone, and `imprint-error`.
 */
export class ImprintVoicesElement extends HTMLElement {
  #imprint: Imprint | null = null;
  #used: AdapterInfo | undefined;

  connectedCallback(): void {
    const file = part(this, "file", HTMLInputElement);
    file.addEventListener("change", () => {
      const chosen = [...(file.files ?? [])];
      file.value = "";
      if (chosen.length > 0) void this.#try(() => this.#import(chosen));
    });
    const forget = part(this, "forget", HTMLButtonElement);
    twice(forget, "Really everything?", () =>
      this.#try(async () => {
        await this.#imprint?.forgetEverything();
        this.#announce("Everything that was kept in this browser is gone.");
        await this.refresh();
        this.dispatchEvent(new ImprintVoiceEvent(null));
        this.dispatchEvent(new ImprintForgetEvent());
      }),
    );
  }

  /** The model that speaks, if one is open. */
  get imprint(): Imprint | null {
    return this.#imprint;
  }

  set imprint(imprint: Imprint | null) {
    this.#imprint = imprint;
    this.#used = undefined;
    void this.refresh();
  }

  /** The voice in use, if any. */
  get used(): AdapterInfo | undefined {
    return this.#used;
  }

  /** Lists anew what is stored. */
  async refresh(): Promise<void> {
    const imprint = this.#imprint;
    part(this, "file", HTMLInputElement).disabled = !imprint;
    part(this, "kept", HTMLElement).hidden = !imprint;
    if (!imprint) return this.#list([], []);
    await this.#try(async () => {
      const kept = await imprint.storageUsage();
      // Where the page asks for the passphrase, a list that cannot be read is no error.
      const [voices, runs] = kept.locked
        ? [[], []]
        : await Promise.all([imprint.adapters.list(), imprint.runs.list()]);
      this.#list(voices, runs);
      part(this, "usage", HTMLElement).textContent = usage(kept);
    });
  }

  /** Speaks in a voice from now on; `undefined` is the model's own. */
  async use(voice: AdapterInfo | undefined): Promise<void> {
    await this.#try(async () => {
      await this.#imprint?.adapters.use(voice?.id ?? null);
      this.#used = voice;
      this.dispatchEvent(new ImprintVoiceEvent(voice ?? null));
      this.#announce(voice ? `Writes in the voice ${voice.name}.` : "Writes in the model's own voice.");
      await this.refresh();
    });
  }

  #list(voices: readonly AdapterInfo[], runs: readonly RunInfo[]): void {
    if (this.#used && !voices.some(({ id }) => id === this.#used?.id)) this.#used = undefined;
    part(this, "list", HTMLElement).replaceChildren(...voices.map((voice) => this.#voice(voice)));
    part(this, "runs", HTMLElement).replaceChildren(...runs.map((run) => this.#run(run)));
    part(this, "empty", HTMLElement).hidden = voices.length > 0 || runs.length > 0;
  }

  #voice(voice: AdapterInfo): HTMLElement {
    const row = copy(part(this, "voice", HTMLTemplateElement));
    const inUse = this.#used?.id === voice.id;
    row.toggleAttribute("data-used", inUse);
    part(row, "name", HTMLElement).textContent = voice.name;
    part(row, "facts", HTMLElement).textContent =
      `${day.format(voice.createdMs)} · ${megabytes(voice.sizeBytes)} · ${verdict(voice)}`;
    const use = part(row, "use", HTMLButtonElement);
    use.textContent = inUse ? "Stop using" : "Use";
    use.ariaPressed = String(inUse);
    on(row, "use", `Use the voice ${voice.name}`, () => this.use(inUse ? undefined : voice));
    on(row, "rename", `Rename ${voice.name}`, () => this.#rename(row, voice));
    on(row, "export", `Export ${voice.name}`, () => this.#try(() => this.#export(voice)));
    part(row, "delete", HTMLButtonElement).title = `Delete ${voice.name}`;
    twice(part(row, "delete", HTMLButtonElement), "Really delete?", () => this.#delete(voice));
    part(row, "texts", HTMLElement).hidden = voice.textBytes === 0;
    part(row, "kept-texts", HTMLElement).textContent = `Its texts are kept: ${bytes(voice.textBytes)}.`;
    on(row, "again", `Learn again from the texts of ${voice.name}`, () =>
      this.#try(async () => {
        const texts = await this.#imprint?.adapters.texts(voice.id);
        if (texts) this.dispatchEvent(new ImprintTextsEvent(texts));
      }),
    );
    on(row, "forget-texts", `Forget the texts of ${voice.name}`, () =>
      this.#try(async () => {
        await this.#imprint?.adapters.forgetTexts(voice.id);
        await this.refresh();
      }),
    );
    return row;
  }

  #run(run: RunInfo): HTMLElement {
    const row = copy(part(this, "run", HTMLTemplateElement));
    part(row, "name", HTMLElement).textContent = run.name;
    part(row, "facts", HTMLElement).textContent =
      `interrupted on ${day.format(run.updatedMs)} at step ${run.step} of ${run.steps}`;
    on(row, "resume", `Go on learning ${run.name}`, () => {
      this.dispatchEvent(new ImprintResumeEvent(run));
    });
    on(row, "discard", `Discard the run ${run.name}`, () =>
      this.#try(async () => {
        await this.#imprint?.runs.discard(run.id);
        await this.refresh();
      }),
    );
    return row;
  }

  /** Turns the name into a field until Enter or the loss of focus. */
  #rename(row: HTMLElement, voice: AdapterInfo): void {
    const name = part(row, "name", HTMLElement);
    const field = document.createElement("input");
    Object.assign(field, { value: voice.name, ariaLabel: "Name of the voice", maxLength: 80 });
    name.replaceChildren(field);
    field.select();
    let settled = false;
    const settle = (keep: boolean): void => {
      if (settled) return;
      settled = true;
      const wanted = field.value.trim();
      void this.#try(async () => {
        if (keep && wanted !== "" && wanted !== voice.name)
          await this.#imprint?.adapters.rename(voice.id, wanted);
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
      await this.#imprint?.adapters.delete(voice.id);
      this.#announce(`The voice ${voice.name} is gone.`);
      await this.refresh();
      this.dispatchEvent(new ImprintVoiceEvent(this.#used ?? null));
    });
  }

  async #export(voice: AdapterInfo): Promise<void> {
    const blob = await this.#imprint?.adapters.export(voice.id);
    if (!blob) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${voice.name.replaceAll(/[^\p{L}\p{N}._-]+/gu, "-")}.zip`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  async #import(files: File[]): Promise<void> {
    const voice = await this.#imprint?.adapters.import(source(files));
    if (voice) this.#announce(`The voice ${voice.name} is imported.`);
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
    const shown = part(this, "error", HTMLElement);
    shown.hidden = error === undefined;
    part(this, "advice", HTMLElement).textContent = error ? words().errors[error.code] : "";
    part(this, "detail", HTMLElement).textContent = error?.message ?? "";
    if (error) shown.dataset["code"] = error.code;
    else delete shown.dataset["code"];
  }

  #announce(sentence: string): void {
    part(this, "live", HTMLElement).textContent = sentence;
  }
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

/** Asks back at the first press, in the button itself: nothing brings back what is gone. */
function twice(button: HTMLButtonElement, question: string, press: () => unknown): void {
  const label = button.textContent;
  const calm = (): void => {
    button.textContent = label;
    delete button.dataset["sure"];
  };
  button.addEventListener("blur", calm);
  button.addEventListener("click", () => {
    if (button.dataset["sure"] === undefined) {
      button.dataset["sure"] = "";
      button.textContent = question;
      return;
    }
    calm();
    void press();
  });
}

/** What is kept, as a sentence. */
function usage({ modelsBytes, adaptersBytes, runsBytes, persisted }: StorageUsage): string {
  const kinds = [
    modelsBytes > 0 ? `models ${bytes(modelsBytes)}` : "",
    adaptersBytes > 0 ? `voices ${bytes(adaptersBytes)}` : "",
    runsBytes > 0 ? `unfinished runs ${bytes(runsBytes)}` : "",
  ].filter(Boolean);
  if (kinds.length === 0) return "Nothing is kept in this browser.";
  const promise = persisted ? "" : " The browser may clear it when space runs short: export what matters.";
  return `Kept in this browser: ${kinds.join(", ")}.${promise}`;
}

/** An exported archive, or the two files of a PEFT folder chosen together. */
function source(files: readonly File[]): AdapterSource {
  const config = files.find(({ name }) => name.endsWith(".json"));
  const weights = files.find(({ name }) => name.endsWith(".safetensors"));
  const [first] = files;
  const prints = files.find(({ name }) => name === printsName);
  if (config && weights) return prints ? { config, weights, prints } : { config, weights };
  if (first && files.length === 1 && first !== config && first !== weights) return first;
  throw new ImprintError(
    "invalid-option",
    "choose the exported .zip, or adapter_config.json together with adapter_model.safetensors",
  );
}
