import type { DeviceChoice, ModelInfo, Progress } from "../engine.js";
import { ImprintError, type ErrorCode } from "../errors.js";
import { forgetModel, Imprint, inspect } from "../imprint.js";
import { Library } from "../library.js";
import { deviceLimits, type DeviceLimits } from "../limits.js";
import { connectSources, mayFetch } from "../policy.js";
import { accept, isAccepted } from "../terms.js";
import { onLanguage, say, words } from "../words/words.js";
import { choices, looked, servedModels, type Choice, type Known } from "./choices.js";
import { ImprintErrorEvent, ImprintModelEvent, ImprintProgressEvent } from "./events.js";
import { megabytes, parameters, timeLeft } from "./format.js";
import { drawList, needsOf, obstacle } from "./model-list.js";
import { Pace } from "./pace.js";
import { part } from "./part.js";
import { showError } from "./trouble.js";

type State = "offer" | "loading" | "ready";
/** What is known of models beside the page's own. */
type Gathered = Omit<Known, "offered" | "base">;

/** How long a visitor looks at nothing while it is asked whether the model is kept. */
const PATIENCE_MS = 400;
/** Which model was open last, by its address. */
const lastKey = "imprint-model";
/** Where the device that a person chose is kept. */
const deviceKey = "imprint-device";

/** Where the words for each phase stand. */
const phases = {
  download: "download",
  verify: "verify",
  load: "unpack",
  compile: "compile",
  ready: "ready",
} as const satisfies Record<Progress["phase"], string>;

/**
 * Lets a model be chosen (of the page, of the list, by address, by a file that is dropped or picked), loads it with
 * progress, cancel and errors as sentences, and says on which device it runs.
 *
 * Takes `src`, `sha256` and `size-bytes` of the model it offers first; its own content holds the parts. What does not fit
 * the device is said before it is fetched, and terms are shown before use. Sends `imprint-progress`, `imprint-error` and
 * `imprint-model`.
 */
export class ImprintModelElement extends HTMLElement {
  #imprint: Imprint | undefined;
  #loading: AbortController | undefined;
  #pace = new Pace();
  #announced = "";
  #known: Gathered = { served: [], stored: [], voices: [], added: [] };
  #sizeBytes = 0;
  /** Whether the site does not have the model that its page names. */
  #absent = false;
  #limits: DeviceLimits = {};
  #told: DeviceLimits | undefined;
  /** The model of the offer, and the one that is open or was tried last. */
  #chosen: string | Blob | undefined;
  #opened: Choice | undefined;
  /** A model that a voice needs and that is not here. */
  #missing = "";
  #deaf: (() => void) | undefined;
  readonly #onForget = (): void => this.#learn({ stored: [], voices: [] });

  connectedCallback(): void {
    this.#button("load", () => void this.#load());
    this.#button("accept", () => this.#accept());
    this.#button("cancel", () => {
      this.#loading?.abort();
      part(this, "phase", HTMLElement).textContent = words().model.stopping;
    });
    this.#button("change", () => {
      this.#offer();
      if (part(this, "choosing", HTMLDetailsElement).open) void this.#refresh();
    });
    this.#button("back", () => this.#show(this.#imprint ? "ready" : "offer"));
    this.#button("look", () => void this.#look());
    this.#button("take-new", () => void this.#takeNew());
    const device = part(this, "device", HTMLSelectElement);
    const kept = attempt(() => localStorage.getItem(deviceKey));
    if ([...device.options].some(({ value }) => value === kept)) device.value = kept ?? device.value;
    device.addEventListener("change", () => {
      attempt(() => localStorage.setItem(deviceKey, device.value));
      this.#describe();
    });
    part(this, "choosing", HTMLDetailsElement).addEventListener("toggle", ({ target }) => {
      if ((target as HTMLDetailsElement).open) void this.#refresh();
    });
    this.#deaf ??= onLanguage(() => this.#describe());
    document.addEventListener("imprint-forget", this.#onForget);
    this.#takeFiles();
    void this.#begin();
  }

  disconnectedCallback(): void {
    this.#deaf?.();
    this.#deaf = undefined;
    document.removeEventListener("imprint-forget", this.#onForget);
    this.#loading?.abort();
    void this.#close();
  }

  /** The device asked for at the next load. */
  get device(): DeviceChoice {
    return part(this, "device", HTMLSelectElement).value as DeviceChoice;
  }

  /** What the device can hold: what the browser tells, unless it is set. */
  get limits(): DeviceLimits {
    return this.#told ?? this.#limits;
  }

  set limits(limits: DeviceLimits) {
    this.#told = limits;
    this.#describe();
  }

  /** Loads a model from its address or from a file that the person chose; errors are shown, not thrown. */
  async load(model: string | Blob, sha256?: string): Promise<void> {
    const loading = new AbortController();
    this.#loading = loading;
    this.#chosen = model;
    this.#pace = new Pace();
    this.#error();
    this.#show("loading");
    this.#progress({ phase: "download", doneBytes: 0, totalBytes: 0, fromCache: model instanceof Blob });
    await this.#close();
    const choice = this.#choice;
    try {
      this.#imprint = await Imprint.open({
        model,
        device: this.device,
        limits: this.limits,
        signal: loading.signal,
        onProgress: (progress) => this.#progress(progress),
        ...(sha256 === undefined ? {} : { sha256 }),
      });
      this.#ready(this.#imprint, choice);
    } catch (thrown) {
      this.fail(ImprintError.from(thrown));
    }
  }

  /**
   * Opens the model with a fingerprint, if it is kept; offers it with its size and its terms where it can be fetched.
   *
   * Where it can be had nowhere, the offer says which one is needed.
   */
  async want(sha256: string, name: string): Promise<void> {
    await this.#refresh();
    const found = this.#all.filter((choice) => choice.sha256 === sha256 && choice.here);
    const choice = found.find(({ kept }) => kept) ?? found[0];
    this.#offer();
    if (choice) {
      this.#chosen = choice.model;
      this.#describe();
      if (choice.kept && this.#mayLoad(choice)) return this.#load();
    } else {
      this.#missing = words().model.missing(name, sha256.slice(0, 12));
      part(this, "choosing", HTMLDetailsElement).open = true;
      this.#describe();
    }
    this.scrollIntoView({ block: "nearest" });
  }

  /** Gives the model up because of an error, shows its sentence and offers to load again. */
  fail(error: ImprintError): void {
    this.#loading = undefined;
    void this.#close();
    this.#offer();
    this.#error(error);
    this.dispatchEvent(new ImprintErrorEvent(error));
  }

  async #begin(): Promise<void> {
    this.#sizeBytes = Number(this.getAttribute("size-bytes")) || 0;
    this.#describe();
    void this.#askSize();
    void deviceLimits().then((limits) => {
      this.#limits = limits;
      this.#describe();
    });
    void servedModels(this.#base).then((served) => this.#learn({ served }));
    // Asking the storage needs the wasm module; on a slow network the offer must not wait for it.
    setTimeout(() => this.#settle(), PATIENCE_MS);
    await this.#askKept({ voices: false });
    const kept = this.#all.filter((choice) => choice.kept);
    const last = attempt(() => localStorage.getItem(lastKey));
    const open = kept.find(({ model }) => model === last) ?? kept.find(({ model }) => model === this.#src);
    if (open && !this.#loading && !this.#imprint && this.#mayLoad(open)) {
      this.#chosen = open.model;
      await this.#load();
    } else {
      this.#settle();
    }
  }

  /** Shows the offer, unless something else has begun. */
  #settle(): void {
    if (this.dataset["state"] === undefined) this.#show("offer");
  }

  /** Lists anew what is kept and whose voices belong to it. */
  async #refresh(): Promise<void> {
    await this.#askKept({ voices: true });
  }

  async #askKept({ voices }: { voices: boolean }): Promise<void> {
    const library = Library.open();
    try {
      const stored = await library.models();
      // What is locked belongs to nobody for now.
      const adapters = voices && stored.length > 0 ? await library.adapters.list().catch(() => []) : [];
      this.#learn(voices ? { stored, voices: adapters } : { stored });
    } catch (thrown) {
      // Without storage the model can still be fetched; the reason belongs to developers.
      console.warn("stored models cannot be listed", thrown);
    } finally {
      void library.close();
    }
  }

  async #askSize(): Promise<void> {
    const answer = await fetch(this.#src, { method: "HEAD" }).catch(() => undefined);
    this.#absent = answer?.status === 404;
    if (this.#absent) this.#describe();
    const bytes = answer?.ok ? Number(answer.headers.get("content-length")) : 0;
    if (bytes <= 0) return;
    this.#sizeBytes = bytes;
    this.#describe();
  }

  #learn(known: Partial<Gathered>): void {
    this.#known = { ...this.#known, ...known };
    this.#describe();
  }

  get #all(): Choice[] {
    const sha256 = this.getAttribute("sha256") ?? undefined;
    const offered = { url: this.#src, sha256, sizeBytes: this.#sizeBytes };
    return choices({ ...this.#known, offered, base: this.#base });
  }

  /** The model that is chosen: the page's own at first. */
  get #choice(): Choice {
    const all = this.#all;
    const found = all.find(({ model }) => model === this.#chosen) ?? all[0];
    if (!found) throw new TypeError("a page offers at least one model");
    return found;
  }

  #mayLoad(choice: Choice): boolean {
    return obstacle(choice, this.limits, this.device) === "" && isAccepted(nameFor(choice), choice.licence);
  }

  async #load(): Promise<void> {
    const { model, sha256 } = this.#choice;
    await this.load(model, sha256);
  }

  #accept(): void {
    const choice = this.#choice;
    if (choice.licence) accept(nameFor(choice), choice.licence);
    void this.#load();
  }

  /** Loads the model from an address that gives another file than it did, and holds it to the new one. */
  async #takeNew(): Promise<void> {
    const { model } = this.#choice;
    if (typeof model !== "string") return;
    await forgetModel(model, true, { hash: true });
    await this.load(model);
  }

  /** Reads the header of the model at the address that the person named, and offers it. */
  async #look(): Promise<void> {
    const field = part(this, "address", HTMLInputElement);
    const hash = part(this, "hash", HTMLInputElement).value.trim().toLowerCase();
    this.#error();
    this.#looks(true);
    try {
      const url = address(field.value);
      if (hash !== "" && !/^[0-9a-f]{64}$/.test(hash)) throw spoken("invalid-option", words().model.noHash);
      this.#add(looked(url, await inspect(url), hash || undefined));
      field.value = "";
      part(this, "hash", HTMLInputElement).value = "";
    } catch (thrown) {
      this.#fault(ImprintError.from(thrown));
    }
    this.#looks(false);
  }

  /** Waits for what is looked at: until it is here, another one would be loaded. */
  #looks(looking: boolean): void {
    part(this, "look", HTMLButtonElement).disabled = looking;
    part(this, "looking", HTMLElement).textContent = looking ? words().model.looking : "";
    this.#describe();
  }

  /** Offers a file that the person picked or dropped, and loads it unless something stands against that. */
  async #take(file: File): Promise<void> {
    this.#loading?.abort();
    this.#offer();
    try {
      const choice = looked(file, await inspect(file));
      this.#add(choice);
      if (this.#mayLoad(choice)) await this.#load();
    } catch (thrown) {
      this.#fault(ImprintError.from(thrown));
    }
  }

  #add(choice: Choice): void {
    this.#missing = "";
    this.#chosen = choice.model;
    this.#learn({ added: [...this.#known.added, choice] });
    part(this, "about", HTMLElement).scrollIntoView({ block: "nearest" });
  }

  #takeFiles(): void {
    const file = part(this, "file", HTMLInputElement);
    const take = (files: FileList | null | undefined): void => {
      const chosen = files?.[0];
      if (chosen) void this.#take(chosen);
    };
    file.addEventListener("change", () => {
      take(file.files);
      file.value = "";
    });
    this.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.toggleAttribute("data-over", true);
    });
    this.addEventListener("dragleave", () => this.toggleAttribute("data-over", false));
    this.addEventListener("drop", (event) => {
      event.preventDefault();
      this.toggleAttribute("data-over", false);
      take(event.dataTransfer?.files);
    });
    const address = part(this, "address", HTMLInputElement);
    address.addEventListener("keydown", (event) => {
      if (event.key === "Enter") void this.#look();
    });
  }

  #progress(progress: Progress): void {
    const { phase, doneBytes, totalBytes, fromCache } = progress;
    const bar = part(this, "bar", HTMLProgressElement);
    const title = words().model[phase === "download" && fromCache ? "reading" : phases[phase]];
    part(this, "phase", HTMLElement).textContent = title;
    if (totalBytes > 0) bar.value = doneBytes / totalBytes;
    else bar.removeAttribute("value");
    part(this, "figures", HTMLElement).textContent = this.#figures(progress);
    const quarter = totalBytes > 0 ? Math.floor((doneBytes / totalBytes) * 4) * 25 : 0;
    this.#announce(quarter > 0 && quarter < 100 ? words().model.percent(title, quarter) : title);
    this.dispatchEvent(new ImprintProgressEvent(progress));
  }

  #figures({ phase, doneBytes, totalBytes }: Progress): string {
    if (totalBytes <= 0) return "";
    const percent = Math.floor((doneBytes / totalBytes) * 100);
    const figures = [words().model.of(megabytes(doneBytes), megabytes(totalBytes)), `${percent} %`];
    if (phase !== "download") return figures.join(" · ");
    this.#pace.mark(doneBytes, performance.now());
    const speed = this.#pace.perSecond;
    if (speed > 0)
      figures.push(`${megabytes(speed)}/s`, words().model.left(timeLeft((totalBytes - doneBytes) / speed)));
    return figures.join(" · ");
  }

  #ready(imprint: Imprint, choice: Choice): void {
    this.#loading = undefined;
    const { model } = choice;
    const { fingerprint: sha256, sizeBytes, stored: keeps } = imprint.info;
    this.#opened = choice;
    if (typeof model === "string") {
      attempt(() => localStorage.setItem(lastKey, model));
      const others = this.#known.stored.filter(({ url }) => url !== model);
      if (keeps) this.#known.stored = [...others, { url: model, sizeBytes, sha256 }];
    }
    this.#describe();
    this.#show("ready");
    const { readyOnGpu, readyOnProcessor } = words().model;
    this.#announce(imprint.device.kind === "webgpu" ? readyOnGpu : readyOnProcessor);
    this.dispatchEvent(new ImprintModelEvent(imprint));
  }

  /** Says what is offered and what is open. */
  #describe(): void {
    this.#describeOffer();
    if (!this.#imprint) return;
    const { kind, description, reason } = this.#imprint.device;
    const place = kind === "webgpu" ? words().model.onGpu : words().model.onProcessor;
    part(this, "name", HTMLElement).textContent =
      this.#opened?.name || this.#imprint.info.name || words().model.yours;
    part(this, "facts", HTMLElement).textContent = facts(this.#imprint.info);
    const device = part(this, "device-line", HTMLElement);
    const what = kind === "webgpu" && description ? ` (${description})` : "";
    // A driver may tell a long story; its first line is for people.
    const why = reason?.split("\n", 1)[0];
    device.textContent = `${place}${what}${why ? `: ${why}` : ""}`;
    device.dataset["kind"] = kind;
  }

  /** Says of the chosen model where it comes from, what it needs, what stands against it and under which terms it comes. */
  #describeOffer(): void {
    const said = words().model;
    const [all, choice] = [this.#all, this.#choice];
    const size = choice.sizeBytes > 0 ? megabytes(choice.sizeBytes) : said.unknownSize;
    const own = typeof choice.model === "string" && new URL(choice.model).origin === location.origin;
    part(this, "size", HTMLElement).textContent = size;
    part(this, "about", HTMLElement).textContent = needsOf(choice);
    // A site may have been put up without the model that its page names.
    const absent = this.#absent && !choice.kept && choice.model === this.#src;
    const against =
      this.#missing || obstacle(choice, this.limits, this.device) || (absent ? said.whence(choice.name) : "");
    const note = part(this, "unfit", HTMLElement);
    note.hidden = against === "";
    note.textContent = against;
    // What is not there is not said to be fetched from there.
    const fetched = choice.kept || (choice.here && !absent);
    part(this, "from-site", HTMLElement).hidden = choice.kept || !own || !fetched;
    const elsewhere = part(this, "from-elsewhere", HTMLElement);
    elsewhere.hidden = (own && !choice.kept) || !fetched;
    if (choice.model instanceof Blob) elsewhere.textContent = said.isFile;
    else
      elsewhere.textContent = choice.kept
        ? said.keptHere
        : said.fetchesFrom(size, new URL(choice.model).host);
    const gate = against === "" && !isAccepted(nameFor(choice), choice.licence) ? choice.licence : undefined;
    part(this, "terms", HTMLElement).hidden = gate === undefined;
    part(this, "terms-note", HTMLElement).textContent = said.terms(choice.name);
    const link = part(this, "terms-link", HTMLAnchorElement);
    link.textContent = gate?.name ?? "";
    if (gate?.url) link.href = gate.url;
    else link.removeAttribute("href");
    const load = part(this, "load", HTMLButtonElement);
    load.hidden = gate !== undefined;
    load.disabled = against !== "" || part(this, "look", HTMLButtonElement).disabled;
    const open = this.#imprint?.info.fingerprint;
    const actions = {
      choose: (choice: Choice): void => {
        this.#missing = "";
        this.#chosen = choice.model;
        this.#error();
        this.#describe();
      },
      forget: (choice: Choice): void => void this.#forget(choice),
    };
    drawList(this, { all, chosen: choice, open }, actions);
  }

  #offer(): void {
    part(this, "back", HTMLButtonElement).hidden = !this.#imprint;
    this.#missing = "";
    this.#error();
    this.#show("offer");
    this.#describe();
  }

  async #forget({ model, name }: Choice): Promise<void> {
    try {
      if (typeof model === "string") await forgetModel(model);
      this.#announce(words().storage.modelGone(name));
      await this.#refresh();
    } catch (thrown) {
      this.#error(ImprintError.from(thrown));
    }
  }

  async #close(): Promise<void> {
    const closing = this.#imprint;
    this.#imprint = undefined;
    if (!closing) return;
    this.dispatchEvent(new ImprintModelEvent(null));
    await closing.close();
  }

  /** Shows an error of what was looked at; the model that is open stays so. */
  #fault(error: ImprintError): void {
    this.#error(error);
    this.dispatchEvent(new ImprintErrorEvent(error));
  }

  #error(error?: ImprintError): void {
    showError(this, error, error?.code === "cancelled" || error?.cause === whole ? "" : undefined);
    if (error?.cause === whole) {
      const advice = part(this, "advice", HTMLElement);
      say(advice, undefined);
      advice.textContent = error.message;
    }
    part(this, "take-new", HTMLButtonElement).hidden = error?.code !== "model-changed";
  }

  #show(state: State): void {
    const hadFocus = this.contains(document.activeElement);
    this.dataset["state"] = state;
    for (const name of ["offer", "loading", "ready"]) part(this, name, HTMLElement).hidden = name !== state;
    // The button that was pressed is gone; the next one takes its place for the keyboard.
    if (hadFocus) this.querySelector<HTMLElement>(`[data-part="${state}"] button:not([hidden])`)?.focus();
  }

  /** Says something to screen readers, once. */
  #announce(sentence: string): void {
    if (sentence === this.#announced) return;
    this.#announced = sentence;
    part(this, "live", HTMLElement).textContent = sentence;
  }

  #button(name: string, onClick: () => void): void {
    part(this, name, HTMLButtonElement).addEventListener("click", onClick);
  }

  get #src(): string {
    return new URL(this.getAttribute("src") ?? "", document.baseURI).href;
  }

  /** Where the site's models lie. */
  get #base(): string {
    return new URL("models/", document.baseURI).href;
  }
}

/** Under which name a model's terms are accepted. */
function nameFor({ model, name }: Choice): string {
  return typeof model === "string" ? model : name;
}

/** The address that a person typed; refused where this page may not fetch from there, with who can change that. */
function address(typed: string): string {
  const url = URL.parse(typed.trim());
  if (!url || !/^https?:$/.test(url.protocol)) throw spoken("invalid-option", words().model.noAddress);
  if (mayFetch(url.href, connectSources(), location.origin)) return url.href;
  throw spoken("model-unreachable", words().model.forbidden(url.host));
}

/** Marks an error whose message says all there is to say, in the language of the page. */
const whole = Symbol("whole");

function spoken(code: ErrorCode, sentence: string): ImprintError {
  return new ImprintError(code, sentence, { cause: whole });
}

function facts(info: ModelInfo): string {
  const known = [
    info.parameters > 0 ? words().model.parameters(parameters(info.parameters)) : "",
    info.sizeBytes > 0 ? megabytes(info.sizeBytes) : "",
  ];
  return known.filter(Boolean).join(" · ");
}

/** Storage can be switched off. */
function attempt<T>(storage: () => T): T | undefined {
  try {
    return storage();
  } catch {
    return undefined;
  }
}
