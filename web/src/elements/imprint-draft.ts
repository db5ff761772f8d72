import type { Finish, WriteOptions } from "../engine.js";
import { ImprintError } from "../errors.js";
import type { Imprint, Piece } from "../imprint.js";
import { CopiedRuns, marked } from "./copied-runs.js";
import { ImprintErrorEvent } from "./events.js";
import { count, rate } from "./format.js";
import { part } from "./part.js";
import { Sheet } from "./sheet.js";
import { words } from "../words/words.js";

const endings: Record<Finish, string> = {
  end: "The model came to its end.",
  stop: "Stopped at one of your strings.",
  length: "Reached the length you set.",
  context: "The text has become as long as the model can read at once.",
};

/** Why a writing was stopped whose last words have no sheet to stand on. */
const cleared = Symbol("cleared");

/**
 * A sheet of text that a model continues: Ctrl or Cmd with Enter writes on, Escape stops.
 *
 * Set `imprint` to an open model and `options` to what asks for the settings. Its own content holds the parts;
 * sends `imprint-error`.
 */
export class ImprintDraftElement extends HTMLElement {
  /** Asked for the settings at each start. */
  options: () => WriteOptions = () => ({});
  #imprint: Imprint | null = null;
  #busy = false;
  #sheet: Sheet | undefined;
  #writing: AbortController | undefined;
  /** What was written last: where it starts, and the whole text after it. */
  #last: { start: number; text: string } | undefined;

  connectedCallback(): void {
    this.#sheet ??= new Sheet(part(this, "text", HTMLTextAreaElement));
    part(this, "text", HTMLTextAreaElement).addEventListener("input", () => this.#render());
    this.#button("continue", () => void this.continue());
    this.#button("stop", () => this.stop());
    this.#button("again", () => this.#again());
    this.#button("back", () => this.#takeBack());
    this.#button("clear", () => this.#clear());
    this.addEventListener("keydown", (event) => this.#onKey(event));
    this.#render();
  }

  disconnectedCallback(): void {
    this.stop();
  }

  /** The model that writes, if one is open. */
  get imprint(): Imprint | null {
    return this.#imprint;
  }

  set imprint(imprint: Imprint | null) {
    this.stop();
    this.#imprint = imprint;
    this.#render();
  }

  /** Whether the model is at something else, such as learning, and cannot write now. */
  get busy(): boolean {
    return this.#busy;
  }

  set busy(busy: boolean) {
    this.#busy = busy;
    this.#render();
  }

  /** The text on the sheet. */
  get text(): string {
    return this.#sheet?.text ?? "";
  }

  set text(text: string) {
    this.#sheet?.restore(text);
    this.#render();
  }

  /** Lets the model write on from the end of the text; returns when it stopped. */
  async continue(): Promise<void> {
    const imprint = this.#imprint;
    const sheet = this.#sheet;
    if (!imprint || !sheet || this.#busy || this.#writing || sheet.text.trim() === "") return;
    const writing = new AbortController();
    this.#writing = writing;
    const options = this.options();
    const prompt = sheet.text;
    this.#error();
    this.#copies([]);
    this.#render();
    sheet.hold(true);
    this.#say("Writing.");
    let ending: string;
    try {
      if (options.chat && !prompt.endsWith("\n\n")) sheet.append(prompt.endsWith("\n") ? "\n" : "\n\n");
      ending = await this.#write(imprint, prompt, { ...options, signal: writing.signal });
    } catch (thrown) {
      ending = this.#broke(ImprintError.from(thrown));
    }
    sheet.hold(false);
    this.#writing = undefined;
    this.#last = sheet.text.length > prompt.length ? { start: prompt.length, text: sheet.text } : undefined;
    this.#say(ending);
    this.#render();
  }

  /** Stops writing within one token. */
  stop(): void {
    this.#writing?.abort();
  }

  async #write(
    imprint: Imprint,
    prompt: string,
    options: WriteOptions & { signal: AbortSignal },
  ): Promise<string> {
    const speed = new Speed();
    const written = new CopiedRuns();
    for await (const piece of imprint.write(prompt, options)) {
      if (options.signal.reason === cleared) break;
      this.#sheet?.append(piece.text);
      written.add(piece);
      this.#copies(written.runs);
      this.#figures(speed.line(piece, performance.now()));
      if (piece.finish) return endings[piece.finish];
    }
    return "Stopped.";
  }

  #broke(error: ImprintError): string {
    if (error.code === "cancelled") return "Stopped.";
    if (this.dispatchEvent(new ImprintErrorEvent(error))) this.#error(error);
    return "";
  }

  /** Takes the last words back and writes others. */
  #again(): void {
    if (this.#takeBack()) void this.continue();
  }

  /** Removes what was written last, unless the text has changed since. */
  #takeBack(): boolean {
    const last = this.#last;
    if (!last || !this.#sheet || this.#sheet.text !== last.text) return false;
    this.#sheet.focus();
    this.#sheet.cut(last.start);
    this.#figures("");
    this.#copies([]);
    return true;
  }

  #clear(): void {
    this.#writing?.abort(cleared);
    this.#sheet?.focus();
    this.#sheet?.cut(0);
    this.#figures("");
    this.#copies([]);
    this.#say("The sheet is empty.");
  }

  #onKey(event: KeyboardEvent): void {
    if (event.key === "Escape" && this.#writing) {
      event.preventDefault();
      this.stop();
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
      event.preventDefault();
      void this.continue();
    }
  }

  #render(): void {
    const writing = this.#writing !== undefined;
    const empty = this.text.trim() === "";
    const stopHadFocus = document.activeElement === part(this, "stop", HTMLButtonElement);
    this.toggleAttribute("writing", writing);
    part(this, "continue", HTMLButtonElement).hidden = writing;
    part(this, "continue", HTMLButtonElement).disabled = !this.#imprint || this.#busy || empty;
    part(this, "stop", HTMLButtonElement).hidden = !writing;
    const untouched = this.#last !== undefined && this.#last.text === this.text;
    part(this, "again", HTMLButtonElement).hidden = writing || !this.#imprint || this.#busy || !untouched;
    part(this, "back", HTMLButtonElement).hidden = writing || !untouched;
    part(this, "clear", HTMLButtonElement).disabled = this.text === "";
    const hint = this.#hint(empty);
    part(this, "hint", HTMLElement).textContent = hint;
    part(this, "figures", HTMLElement).hidden = hint !== "";
    if (stopHadFocus && !writing) part(this, "continue", HTMLButtonElement).focus();
  }

  #hint(empty: boolean): string {
    if (!this.#imprint) return "Load the model to continue.";
    if (this.#busy) return "The model is learning; it writes again when that is done or stopped.";
    return empty ? "Write a few words to begin." : "";
  }

  #figures(line: string): void {
    part(this, "figures", HTMLElement).textContent = line;
  }

  /** A text field underlines nothing, so what was copied stands below it. */
  #copies(runs: readonly string[]): void {
    part(this, "copies", HTMLElement).hidden = runs.length === 0;
    const list = runs.flatMap((run) => [" ", marked(run)]);
    part(this, "copies", HTMLElement).replaceChildren("From your texts, word for word:", ...list);
  }

  #say(sentence: string): void {
    part(this, "live", HTMLElement).textContent = sentence;
  }

  #error(error?: ImprintError): void {
    const shown = part(this, "error", HTMLElement);
    shown.hidden = error === undefined;
    part(this, "advice", HTMLElement).textContent = error ? words().errors[error.code] : "";
    part(this, "detail", HTMLElement).textContent = error?.message ?? "";
    if (error) shown.dataset["code"] = error.code;
    else delete shown.dataset["code"];
  }

  #button(name: string, onClick: () => void): void {
    const button = part(this, name, HTMLButtonElement);
    button.addEventListener("click", onClick);
    // A pointer leaves the focus on the sheet, where undo and the caret live.
    button.addEventListener("mousedown", (event) => event.preventDefault());
  }
}

/** Tokens a second, counted from the first written token on. */
class Speed {
  #first: { tokens: number; atMs: number } | undefined;

  line(piece: Piece, atMs: number): string {
    if (piece.tokens === 0) {
      return `Reading your text: ${count(piece.prefilled)} of ${count(piece.promptTokens)} tokens`;
    }
    this.#first ??= { tokens: piece.tokens, atMs };
    const figures = [`${count(piece.promptTokens)} tokens read, ${count(piece.tokens)} written`];
    const seconds = (atMs - this.#first.atMs) / 1000;
    const tokens = piece.tokens - this.#first.tokens;
    if (seconds > 0 && tokens > 0) figures.push(`${rate(tokens / seconds)} tokens/s`);
    return figures.join(" · ");
  }
}
