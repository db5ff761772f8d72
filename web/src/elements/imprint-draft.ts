import { Continuation, type Ended } from "../desk/continuation.js";
import { Passage } from "../desk/passage.js";
import { Pen, type Outcome } from "../desk/pen.js";
import type { Change } from "../desk/requests.js";
import { Speed } from "../desk/speed.js";
import { Suggestion, type Suggesting } from "../desk/suggestion.js";
import { Ways } from "../desk/ways.js";
import type { Editor } from "../editor/editor.js";
import type { WriteOptions } from "../engine.js";
import { ImprintError } from "../errors.js";
import type { Imprint } from "../imprint.js";
import type { AdapterInfo } from "../voice.js";
import { showError } from "./trouble.js";
import { onLanguage, words } from "../words/words.js";
import { marked } from "./copied-runs.js";
import { ImprintEditEvent, ImprintErrorEvent } from "./events.js";
import { count, rate } from "./format.js";
import { part } from "./part.js";

/** Quiet after the strength was moved before the last words are written again. */
const DIAL_PAUSE_MS = 600;
const COUNT_PAUSE_MS = 250;

/** Everything that works on the sheet, once the editor has come. */
type Desk = {
  editor: Editor;
  continuation: Continuation;
  suggestion: Suggestion;
  ways: Ways;
  passage: Passage;
};

/**
 * A sheet of prose that a model continues, suggests words for, and says in other ways; what it wrote stays marked.
 *
 * Set `imprint` to an open model, `voice` to the voice in use and `options` to what asks for the settings. Its own content
 * holds the parts; sends `imprint-edit` and `imprint-error`.
 */
export class ImprintDraftElement extends HTMLElement {
  readonly #pen = new Pen(() => this.#render());
  #desk: Desk | undefined;
  #opening: Promise<Desk> | undefined;
  #voice: AdapterInfo | null = null;
  #suggesting: Suggesting = "key";
  #timers = new Map<string, ReturnType<typeof setTimeout>>();
  #deaf: (() => void) | undefined;

  connectedCallback(): void {
    this.#pen.options = () => ({ ...this.options(), ...this.voiceOptions() });
    this.#deaf ??= onLanguage(() => this.#relabel());
    if (this.#opening) return;
    this.#opening = this.#open();
    this.#press("continue", () => void this.continue());
    this.#press("stop", () => this.stop());
    this.#press("another", () => void this.#another());
    this.#press("back", () => this.#takeBack());
    this.#press("close-ways", () => this.#desk?.ways.close());
    this.#press("suggest", () => void this.#desk?.suggestion.ask());
    this.#press("take-all", () => this.#desk?.suggestion.take("all"));
    this.#press("take-word", () => this.#desk?.suggestion.take("word"));
    this.#press("drop", () => this.#desk?.suggestion.drop());
    for (const change of ["mine", "shorter", "longer"] as const)
      this.#press(change, () => void this.#rephrase(change));
    part(this, "strength", HTMLInputElement).addEventListener("input", () => this.#restrengthen());
    this.addEventListener("keydown", (event) => this.#onKey(event));
    this.#relabel();
  }

  disconnectedCallback(): void {
    this.#deaf?.();
    this.#deaf = undefined;
    this.stop();
  }

  /** Asked for the settings at each start. */
  options: () => WriteOptions = () => ({});

  /** Settles once the editor is there. */
  get ready(): Promise<void> {
    return (this.#opening ?? Promise.resolve()).then(() => undefined);
  }

  /** The model that writes, if one is open. */
  get imprint(): Imprint | null {
    return this.#pen.imprint;
  }

  set imprint(imprint: Imprint | null) {
    this.#pen.imprint = imprint;
  }

  /** Whether the model is at something else, such as learning, and cannot write now. */
  get busy(): boolean {
    return this.#pen.busy;
  }

  set busy(busy: boolean) {
    this.#pen.busy = busy;
  }

  /** The voice in use, whose strength can be set beside the sheet; null for the model's own. */
  get voice(): AdapterInfo | null {
    return this.#voice;
  }

  set voice(voice: AdapterInfo | null) {
    this.#voice = voice;
    this.#render();
  }

  /** What `write` is to be told so that the voice in use speaks as strongly as is set. */
  voiceOptions(): Pick<WriteOptions, "strength" | "mode"> {
    if (!this.#voice) return {};
    // The dial means the same on every device: a scaled path would end at 2.
    return { strength: part(this, "strength", HTMLInputElement).valueAsNumber, mode: "contrast" };
  }

  /** When words are suggested at the cursor. */
  get suggesting(): Suggesting {
    return this.#suggesting;
  }

  set suggesting(suggesting: Suggesting) {
    this.#suggesting = suggesting;
    if (!this.#desk) return;
    this.#desk.suggestion.mode = suggesting;
    this.#desk.suggestion.drop();
    this.#render();
  }

  /** The text on the sheet. */
  get text(): string {
    return this.#desk?.editor.text ?? "";
  }

  /** The share of the text that the person wrote, 0 to 1. */
  get share(): number {
    return this.#desk?.editor.share ?? 1;
  }

  /** The text, and the editor's state around it, to be kept. */
  save(): { text: string; state: unknown } {
    return { text: this.text, state: this.#desk?.editor.save() };
  }

  /** Puts a kept draft on the sheet, with its undo. */
  async load(text: string, state?: unknown): Promise<void> {
    this.stop();
    const { editor, continuation, ways, passage } = await (this.#opening ?? this.#open());
    continuation.forget();
    // What was offered was offered to the draft before.
    ways.close();
    passage.close();
    editor.load(text, state);
    this.#figures("");
    this.#error();
  }

  /** Lets the model write on from the end of the text; returns when it stopped. */
  async continue(): Promise<void> {
    const desk = this.#desk;
    if (!desk || !this.#pen.free || this.text.trim() === "") return;
    this.#begin();
    this.#ended(await desk.continuation.go());
  }

  /** Stops writing within one token. */
  stop(): void {
    this.#pen.stop();
  }

  async #open(): Promise<Desk> {
    // The page is there before its editor, which is most of the script.
    const { Editor } = await import("../editor/editor.js");
    const { label, placeholder } = words().draft;
    const editor: Editor = new Editor(part(this, "sheet", HTMLElement), {
      label,
      placeholder,
      onChange: (change) => this.#changed(change),
    });
    const pen = this.#pen;
    const speed = new Speed();
    const continuation = new Continuation(pen, editor, {
      piece: (piece) => this.#figures(speed.line(piece, performance.now())),
    });
    const suggestion = new Suggestion(pen, editor, (suggested) =>
      this.#say(suggested === "" ? "" : words().draft.suggested(suggested.trim())),
    );
    suggestion.mode = this.#suggesting;
    const ways = new Ways(pen, editor, continuation, part(this, "ways", HTMLElement));
    const passage = new Passage(pen, editor, part(this, "passage", HTMLElement));
    this.#desk = { editor, continuation, suggestion, ways, passage };
    editor.bind([
      { key: "Mod-Enter", run: () => this.#key(() => void this.continue()) },
      { key: "Ctrl-Enter", run: () => this.#key(() => void this.continue()) },
      { key: "Alt-Enter", run: () => this.#key(() => void suggestion.ask()) },
      { key: "Tab", run: () => suggestion.take("all") },
      { key: "Mod-ArrowRight", run: () => suggestion.take("word") },
      { key: "Escape", run: () => suggestion.drop() },
    ]);
    this.#render();
    return this.#desk;
  }

  #key(work: () => void): boolean {
    work();
    return true;
  }

  #changed({ text, person }: { text: boolean; person: boolean }): void {
    const desk = this.#desk;
    if (!desk) return;
    desk.suggestion.changed(person && text);
    desk.passage.changed();
    if (text && person && this.#pen.task !== "continue") desk.ways.close();
    // What was said of the text before is no longer so.
    if (text && !this.#pen.task) this.#say("");
    if (text) {
      this.dispatchEvent(new ImprintEditEvent());
      this.#later("count", COUNT_PAUSE_MS, () => this.#count());
    }
    this.#render();
  }

  async #another(): Promise<void> {
    const desk = this.#desk;
    if (!desk || !this.#pen.free || this.text.trim() === "") return;
    this.#begin();
    desk.suggestion.drop();
    this.#ended(await desk.ways.write(), words().draft.waysDone);
  }

  async #rephrase(change: Change): Promise<void> {
    this.#begin();
    this.#ended(await this.#desk?.passage.ask(change), words().draft.differenceDone);
  }

  #takeBack(): void {
    if (!this.#desk?.continuation.takeBack()) return;
    this.#desk.editor.focus();
    this.#figures("");
  }

  /** Writes the last words again in the strength that the dial shows, with the seed that they were written with. */
  #restrengthen(): void {
    this.#render();
    this.#later("dial", DIAL_PAUSE_MS, () => {
      if (this.#pen.task === "continue") return this.#restrengthen();
      const writing = this.#pen.free ? this.#desk?.continuation.rewrite(this.voiceOptions()) : undefined;
      if (!writing) return;
      this.#begin();
      void writing.then((ended) => this.#ended(ended));
    });
  }

  #begin(): void {
    this.#error();
    this.#figures("");
    this.#say(words().draft.writing);
  }

  #ended(outcome: (Outcome & { finish?: Ended["finish"] }) | undefined, done = ""): void {
    if (!outcome) return;
    const { endings, stopped } = words().draft;
    if (outcome.state === "broken") {
      if (this.dispatchEvent(new ImprintErrorEvent(outcome.error))) this.#error(outcome.error);
      this.#say("");
    } else {
      const ending = outcome.finish ? endings[outcome.finish] : done;
      this.#say(outcome.state === "stopped" ? stopped : ending);
    }
    this.#render();
  }

  #onKey(event: KeyboardEvent): void {
    if (event.key !== "Escape" || event.defaultPrevented) return;
    if (this.#pen.task) this.stop();
    else if (this.#desk?.ways.open) this.#desk.ways.close();
    else if (this.#desk?.passage.open) this.#desk.passage.close();
    else return;
    event.preventDefault();
  }

  #render(): void {
    const desk = this.#desk;
    const { task, imprint, busy, free } = this.#pen;
    const writing = task !== undefined && task !== "ghost";
    const empty = this.text.trim() === "";
    const suggested = desk !== undefined && desk.editor.suggested !== "";
    const chosen = !writing && free && desk?.passage.chosen === true && !desk.passage.open;
    const stopHadFocus = document.activeElement === part(this, "stop", HTMLButtonElement);
    this.toggleAttribute("writing", writing);
    this.#show("continue", !writing, free && !empty && desk !== undefined);
    this.#show("stop", writing);
    this.#show("another", !writing, free && !empty && desk !== undefined);
    this.#show("back", !writing && desk?.continuation.start !== undefined);
    this.#show("suggest", !writing && !suggested && this.#suggesting !== "off" && free && !empty);
    part(this, "tools", HTMLElement).hidden = suggested || chosen;
    part(this, "ghost-tools", HTMLElement).hidden = !suggested;
    part(this, "passage-tools", HTMLElement).hidden = suggested || !chosen;
    this.#hint(imprint, busy, empty);
    this.#dial();
    this.#copies(desk?.editor.copies ?? []);
    if (stopHadFocus && !writing) part(this, "continue", HTMLButtonElement).focus();
  }

  #show(name: string, shown: boolean, enabled = true): void {
    const button = part(this, name, HTMLButtonElement);
    button.hidden = !shown;
    button.disabled = !enabled;
  }

  #hint(imprint: Imprint | null, busy: boolean, empty: boolean): void {
    const { loadFirst, learning, begin } = words().draft;
    const hint = !imprint ? loadFirst : busy ? learning : empty ? begin : "";
    part(this, "hint", HTMLElement).textContent = hint;
    part(this, "figures", HTMLElement).hidden = hint !== "";
  }

  #dial(): void {
    part(this, "dial", HTMLElement).hidden = this.#voice === null;
    if (!this.#voice) return;
    part(this, "voice", HTMLElement).textContent = words().draft.strength(this.#voice.name);
    const value = part(this, "strength", HTMLInputElement).valueAsNumber;
    part(this, "strength-value", HTMLElement).textContent = rate(value);
  }

  /** Says how long the text is and how much of it the person wrote; the share is only told where there is another's. */
  #count(): void {
    const { text, share } = this;
    const { count: counted, share: shared } = words().draft;
    const length = text.match(/\S+/gu)?.length ?? 0;
    const line = length === 0 ? [] : [counted(length, count(length))];
    if (length > 0 && share < 1) line.push(shared(Math.min(99, Math.round(share * 100))));
    part(this, "share", HTMLElement).textContent = line.join(" · ");
  }

  #figures(line: string): void {
    part(this, "figures", HTMLElement).textContent = line;
  }

  /** What is underlined in the text stands below it too, where a screen reader finds it. */
  #copies(runs: readonly string[]): void {
    const place = part(this, "copies", HTMLElement);
    place.hidden = runs.length === 0;
    place.replaceChildren(words().draft.copies, ...runs.flatMap((run) => [" ", marked(run.trim())]));
  }

  #relabel(): void {
    const { label, placeholder } = words().draft;
    if (this.#desk) this.#desk.editor.labels = { label, placeholder };
    this.#say("");
    this.#count();
    this.#render();
  }

  #say(sentence: string): void {
    part(this, "live", HTMLElement).textContent = sentence;
  }

  #error(error?: ImprintError): void {
    showError(this, error);
  }

  /** Shows an error that comes from elsewhere but is about this draft, such as a full storage. */
  fail(error: ImprintError): void {
    this.#error(error);
  }

  #later(name: string, ms: number, work: () => void): void {
    clearTimeout(this.#timers.get(name));
    this.#timers.set(name, setTimeout(work, ms));
  }

  #press(name: string, onClick: () => void): void {
    const button = part(this, name, HTMLButtonElement);
    button.addEventListener("click", onClick);
    // A pointer leaves the focus on the sheet, where the selection and the caret live.
    button.addEventListener("mousedown", (event) => event.preventDefault());
  }
}
