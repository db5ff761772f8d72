import type { Finish, Progress, WriteOptions } from "../engine.js";
import { ImprintError } from "../errors.js";
import type { AdapterInfo } from "../voice.js";
import { Assistant } from "./assistant.js";
import { WriterAttributes } from "./attributes.js";
import {
  ImprintDoneEvent,
  ImprintErrorEvent,
  ImprintPieceEvent,
  ImprintProgressEvent,
  ImprintStateEvent,
  type WriterState,
} from "./events.js";
import { announced, note, remember, seen } from "./sizes.js";
import type { Place } from "./place.js";
import type { Lease } from "./source.js";
import { View } from "./view.js";
import { languageOf, wordsOf, type WidgetWords } from "./words.js";

/** What tells where a model lies, and the engine with all that belongs to it: fetched on the first press. */
type Places = typeof import("./place.js");
type Source = typeof import("./source.js");
/** A model and a voice, ready to write. */
type Ready = { source: Source; lease: Lease; adapter: AdapterInfo | null };

/** After these the model is of no use any more and must be loaded anew. */
const fatal = ["device-lost", "internal", "out-of-memory"];

/**
 * A writer for any page: a button, and on a press a text in an author's voice; or, with `for`, words suggested in a textarea.
 *
 * Nothing is fetched before the press. Writers of one page share one open model. Its slots: what stands there before a text
 * does, `label` for the button's words, `note` for the small print. Its parts: `frame`, `field`, `text`, `prompt`, `written`,
 * `suggestion`, `keys`, `bar`, `button` (and `start`, `confirm`, `decline`, `take`, `drop`, `stop`, `another`, `copy`, `off`),
 * `loading`, `phase`, `progress`, `figures`, `terms`, `error`, `advice`, `detail`, `note`, `label`. Sends `imprint-state`,
 * `imprint-progress`, `imprint-piece`, `imprint-done` and `imprint-error`, all bubbling and composed.
 */
export class ImprintWriterElement extends WriterAttributes {
  static readonly observedAttributes = [
    ...["model", "model-bytes", "sha256", "adapter", "adapter-bytes", "adapter-sha256"],
    ...["prompt", "placeholder", "device", "worker", "for", "lang"],
  ];

  #view: View | undefined;
  #state: WriterState = "idle";
  #text = "";
  #round = 0;
  #abort: AbortController | undefined;
  #ready: Ready | undefined;
  #assistant: Assistant | undefined;
  #places: Places | undefined;
  #place: Place | undefined;
  /** What may be fetched: a number of bytes where they are known, null where they are not. */
  #bytes: number | null | undefined;

  connectedCallback(): void {
    this.upgrade();
    this.#view ??= this.#build();
    this.#render();
  }

  disconnectedCallback(): void {
    this.#release();
  }

  attributeChangedCallback(name: string, before: string | null, now: string | null): void {
    if (before === now || !this.#view) return;
    if (/^(model|sha256|adapter|device|worker|for)/.test(name)) {
      this.#bytes = this.#place = undefined;
      this.#release();
    }
    this.#render();
  }

  /** What the writer is at. */
  get state(): WriterState {
    return this.#state;
  }

  /** What was written last, without the opening. */
  get text(): string {
    return this.#text;
  }

  /** The opening that a text continues: what the reader wrote, or `prompt`. */
  get opening(): string {
    const written = this.#editable ? this.#view?.field.value : undefined;
    return written?.trim() ? written : (this.prompt ?? "");
  }

  /**
   * Does what a press on the button does, without asking whether files of unknown size may be fetched; terms of a model are
   * asked about.
   *
   * Returns when the text has ended, or, with `for`, when words can be suggested. Errors are shown and sent, not thrown.
   */
  async start(): Promise<void> {
    this.#bytes = this.#size();
    await this.#begin();
  }

  /** Writes another text after the same opening. */
  async another(): Promise<void> {
    this.#round += 1;
    await this.start();
  }

  /** Stops loading, within a moment, or writing, within one token; what is written stays. */
  stop(): void {
    this.#abort?.abort();
  }

  async #press(): Promise<void> {
    this.#bytes = this.#size();
    if (this.#ready || this.#bytes !== undefined) return this.#begin();
    const asking = new AbortController();
    this.#abort = asking;
    try {
      const place = this.model ? await this.#placed() : undefined;
      this.#bytes = this.#size() ?? (await announced([place?.url ?? null, this.adapter], asking.signal));
      this.#set("asking");
    } catch (thrown) {
      await this.#fail(ImprintError.from(thrown), asking);
    }
  }

  /** Fetches what may be fetched, once its terms, if it has any, are agreed to. */
  async #confirm(): Promise<void> {
    if (this.#place) this.#places?.agree(this.#place);
    this.#place = undefined;
    await this.#begin();
  }

  /** Where the model lies; what is known of it by its name comes with the first press. */
  async #placed(): Promise<Place> {
    if (!this.model) throw new ImprintError("invalid-option", this.#words.noModel);
    this.#places ??= await this.#fetched(() => import("./place.js"));
    this.#place ??= this.#places.placeOf(this.model);
    return this.#place;
  }

  async #fetched<T>(load: () => Promise<T>): Promise<T> {
    return load().catch((cause: unknown) => {
      throw new ImprintError("model-unreachable", this.#words.unreachable, { cause });
    });
  }

  #decline(): void {
    this.#bytes = undefined;
    this.#set("idle");
  }

  /** The bytes to fetch as the attributes tell them; 0 where they were fetched before, undefined where nobody knows. */
  #size(): number | null | undefined {
    if (this.#bytes !== undefined) return this.#bytes;
    if (seen(this.#place?.url ?? this.model)) return 0;
    const model = this.modelBytes ?? this.#place?.sizeBytes ?? null;
    const all = [model, this.adapter === null ? 0 : this.adapterBytes];
    return all.includes(null) ? undefined : all.reduce<number>((sum, bytes) => sum + (bytes ?? 0), 0);
  }

  async #begin(): Promise<void> {
    if (this.#state === "loading" || this.#state === "writing") return;
    const abort = new AbortController();
    this.#abort = abort;
    this.#view?.error();
    try {
      const beside = this.htmlFor === null ? undefined : this.#textarea();
      if (!beside && this.opening.trim() === "") return this.#wantOpening();
      if (!this.#ready && (await this.#placed()).terms) return this.#set("asking");
      const ready = this.#ready ?? (await this.#load(abort.signal));
      if (beside) this.#assist(beside);
      else await this.#write(ready, this.opening, this.#options(120), abort.signal);
    } catch (thrown) {
      await this.#fail(ImprintError.from(thrown), abort);
    }
  }

  #wantOpening(): void {
    this.#set(this.#ready ? "ready" : "idle");
    this.#view?.say(this.#words.nothing);
    this.#view?.field.focus();
  }

  async #load(signal: AbortSignal): Promise<Ready> {
    const place = await this.#placed();
    this.#progress({ phase: "download", doneBytes: 0, totalBytes: 0, fromCache: false }, "model");
    this.#set("loading");
    this.#view?.say(this.#words.loading);
    const source = await this.#fetched(() => import("./source.js"));
    if (signal.aborted) throw ImprintError.cancelled(signal);
    const { device, worker } = this;
    const wish = { model: place.url, sha256: this.sha256 ?? place.sha256 ?? null, device, worker };
    const lease = await source.borrow(wish, (progress) => this.#progress(progress, "model"), signal);
    try {
      const adapter = await this.#voice(source, lease, signal);
      // The element may be gone by now.
      if (signal.aborted) throw ImprintError.cancelled(signal);
      this.#ready = { source, lease, adapter };
    } catch (thrown) {
      lease.release();
      throw thrown;
    }
    remember(place.url);
    return this.#ready;
  }

  async #voice(source: Source, { imprint }: Lease, signal: AbortSignal): Promise<AdapterInfo | null> {
    if (this.adapter === null) return null;
    const wanted = { url: this.#address(this.adapter), sha256: this.adapterSha256 };
    return source.voice(imprint, wanted, (progress) => this.#progress(progress, "adapter"), signal);
  }

  async #write(
    { lease, adapter }: Ready,
    prompt: string,
    options: WriteOptions,
    signal: AbortSignal,
  ): Promise<void> {
    const beside = this.#assistant !== undefined;
    this.#text = "";
    if (this.#view) {
      this.#view.prompt.textContent = prompt;
      this.#view.written.replaceChildren();
    }
    this.#set("writing");
    if (!beside) this.#view?.say(this.#words.writing);
    let finish: Finish | null = null;
    const writing = { ...options, adapter: adapter?.id ?? null, signal };
    try {
      for await (const piece of lease.imprint.write(prompt, writing)) {
        // Last words of a suggestion that another has replaced.
        if (beside && signal.aborted) continue;
        this.#text += piece.text;
        if (beside) this.#assistant?.add(piece.text);
        else if (piece.text !== "") this.#view?.written.append(piece.text);
        this.dispatchEvent(new ImprintPieceEvent(piece));
        finish = piece.finish ?? null;
      }
    } catch (thrown) {
      if (ImprintError.from(thrown).code !== "cancelled") throw thrown;
    }
    if (beside && signal.aborted && this.#abort?.signal !== signal) return;
    this.#set(this.#ready ? "ready" : "idle");
    this.#tell(finish, beside);
    this.dispatchEvent(new ImprintDoneEvent(this.#text, finish));
  }

  #tell(finish: Finish | null, beside: boolean): void {
    const words = this.#text.split(/\s+/).filter(Boolean).length;
    if (beside) this.#view?.say(finish && this.#text ? this.#words.suggestion(this.#text) : "");
    else this.#view?.say(finish ? this.#words.done(String(words)) : this.#words.stopped);
  }

  /** Begins to help in a textarea, and at once where there is something to go on from. */
  #assist(field: HTMLTextAreaElement): void {
    if (this.#assistant?.field.element !== field) {
      this.#assistant?.leave();
      this.#assistant = new Assistant(field, {
        pauses: () => this.suggest === "pause",
        suggest: (before) => void this.#suggest(before),
        stop: () => this.stop(),
        show: (suggestion) => {
          if (this.#view) this.#view.suggestion.textContent = suggestion;
          this.#render();
        },
      });
    }
    this.#set("ready");
    // In a field that nobody has been in yet, the caret stands before the text.
    if (field.selectionEnd === 0) field.setSelectionRange(field.value.length, field.value.length);
    field.focus({ preventScroll: true });
    this.#assistant.ask();
  }

  async #suggest(before: string): Promise<void> {
    const ready = this.#ready;
    if (!ready) return;
    const abort = new AbortController();
    this.#abort = abort;
    this.#view?.error();
    try {
      await this.#write(ready, before, { ...this.#options(24), stop: ["\n"] }, abort.signal);
      this.#round += 1;
    } catch (thrown) {
      await this.#fail(ImprintError.from(thrown), abort);
    }
  }

  #options(maxTokens: number): WriteOptions {
    const seed = (this.seed ?? Math.floor(Math.random() * 1e9)) + this.#round;
    const { strength, temperature, maxCopiedWords } = this;
    const numbers = { maxTokens: this.maxTokens ?? maxTokens, seed, strength, temperature, maxCopiedWords };
    const given = Object.entries(numbers).filter(([, value]) => value !== null);
    for (const [name, value] of given) {
      if (!Number.isFinite(value))
        throw new ImprintError("invalid-option", this.#words.badNumber(name, String(value)));
    }
    const options: WriteOptions = Object.fromEntries(given);
    // A strength is of a voice; by contrast it means the same on every device.
    if (this.adapter === null) delete options.strength;
    else options.mode = "contrast";
    if (this.withoutNames) options.withoutNames = true;
    return options;
  }

  #textarea(): HTMLTextAreaElement {
    const found = (this.getRootNode() as Document | ShadowRoot).getElementById?.(this.htmlFor ?? "");
    if (found instanceof HTMLTextAreaElement) return found;
    throw new ImprintError("invalid-option", this.#words.noField(this.htmlFor ?? ""));
  }

  #address(url: string): string {
    try {
      return new URL(url, document.baseURI).href;
    } catch (cause) {
      throw new ImprintError("invalid-option", `\`${url}\` is no address`, { cause });
    }
  }

  async #fail(error: ImprintError, abort: AbortController): Promise<void> {
    const ready = this.#ready;
    if (fatal.includes(error.code) && ready) {
      ready.source.discard(ready.lease.imprint);
      this.#release();
    }
    if (this.#abort !== abort && this.#abort !== undefined) return;
    this.#set(this.#ready ? "ready" : "idle");
    if (error.code === "cancelled") return this.#view?.say(this.#words.stopped);
    if (!this.dispatchEvent(new ImprintErrorEvent(error))) return;
    const source = ready?.source ?? (await import("./source.js").catch(() => undefined));
    this.#view?.error(source?.advice(error, languageOf(this)) ?? error.message, error.message, error.code);
  }

  #release(): void {
    this.stop();
    this.#abort = undefined;
    this.#assistant?.leave();
    this.#assistant = undefined;
    this.#ready?.lease.release();
    this.#ready = undefined;
    this.#set("idle");
  }

  #progress(progress: Progress, of: "model" | "adapter"): void {
    this.#view?.progress(progress, of, this.#words, languageOf(this));
    this.dispatchEvent(new ImprintProgressEvent(progress, of));
  }

  async #copy(): Promise<void> {
    const text = this.opening + this.#text;
    const copied = await navigator.clipboard?.writeText(text).then(
      () => true,
      () => false,
    );
    if (copied) this.#view?.say(this.#words.copied);
    else if (this.#view) getSelection()?.selectAllChildren(this.#view.text);
    if (copied && this.#view) this.#view.copy.textContent = this.#words.copied;
  }

  #set(state: WriterState): void {
    const before = this.#state;
    this.#state = state;
    this.#render();
    if (before !== state) this.dispatchEvent(new ImprintStateEvent(state));
  }

  #render(): void {
    const view = this.#view;
    if (!view) return;
    const [beside, words] = [this.htmlFor !== null, this.#words];
    const terms = this.#state === "asking" ? this.#place?.terms : undefined;
    view.speak(words, { beside, placeholder: this.placeholder, terms: terms !== undefined });
    view.terms(terms ? words.terms(terms.name) : "", terms?.licence);
    if (this.#text === "") view.prompt.textContent = this.opening;
    const written = beside ? view.suggestion.textContent !== "" : this.#text !== "";
    const told = {
      bytes: this.#size() ?? null,
      state: this.#state,
      ready: this.#ready?.lease.imprint.device.kind,
    };
    const small = note(told, this.model, words, languageOf(this));
    view.show({ state: this.#state, beside, editable: this.#editable, written, note: small });
  }

  get #words(): WidgetWords {
    return wordsOf(languageOf(this));
  }

  get #editable(): boolean {
    return this.placeholder !== null || this.prompt === null;
  }

  #build(): View {
    const view = new View(this.attachShadow({ mode: "open" }));
    if (this.#editable) view.field.value = this.prompt ?? "";
    const press = (button: HTMLElement, act: () => unknown): void =>
      button.addEventListener("click", () => void act());
    press(view.start, () => this.#press());
    press(view.confirm, () => this.#confirm());
    press(view.decline, () => this.#decline());
    press(view.another, () => (this.#assistant ? this.#assistant.ask() : this.another()));
    press(view.take, () => this.#assistant?.take());
    press(view.drop, () => this.#assistant?.drop());
    press(view.copy, () => this.#copy());
    press(view.stop, () => this.stop());
    press(view.off, () => this.#release());
    return view;
  }
}
