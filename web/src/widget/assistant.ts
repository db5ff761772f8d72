import { Field, firstWord } from "./field.js";

/** Typing that rests so long is a pause in which words may be suggested. */
const PAUSE_MS = 700;

/** What an assistant asks of its writer. */
export type Desk = {
  /** Whether a pause in typing asks for words, or the key alone. */
  pauses(): boolean;
  /** Writes on after `before`; what is written comes back through `add`. */
  suggest(before: string): void;
  /** Stops writing. */
  stop(): void;
  /** The suggestion changed. */
  show(suggestion: string): void;
};

/** Helps in a textarea of the page: suggests after a pause or on Ctrl or Cmd with Enter, Tab takes, Esc drops. */
export class Assistant {
  readonly field: Field;
  readonly #desk: Desk;
  readonly #listening = new AbortController();
  #suggestion = "";
  /** Where the suggestion belongs; it goes with the caret. */
  #at = -1;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(element: HTMLTextAreaElement, desk: Desk) {
    this.field = new Field(element);
    this.#desk = desk;
    const { signal } = this.#listening;
    element.addEventListener("keydown", (event) => this.#onKey(event), { signal });
    element.addEventListener("input", (event) => this.#onInput(event as InputEvent), { signal });
    document.addEventListener("selectionchange", () => this.#onCaret(), { signal });
    element.addEventListener("selectionchange", () => this.#onCaret(), { signal });
  }

  /** Leaves the textarea as it is. */
  leave(): void {
    this.drop();
    this.#listening.abort();
  }

  /** Asks for words at the caret, in place of those that are there. */
  ask(): void {
    const { before } = this.field;
    this.drop();
    if (before === undefined || before.trim() === "") return;
    this.#at = before.length;
    // A prompt that ends in a space makes the model begin inside a word.
    this.#desk.suggest(before.replace(/[ \t]+$/, ""));
  }

  /** Takes the next piece of the suggestion. */
  add(text: string): void {
    if (this.#at < 0) return;
    const joined = this.#suggestion + text;
    this.#suggestion = /[ \t]$/.test(this.field.before ?? "") ? joined.trimStart() : joined;
    this.#desk.show(this.#suggestion);
  }

  /** Puts the suggestion into the text. */
  take(): void {
    const words = this.#suggestion;
    this.drop();
    if (words !== "") this.field.insert(words);
    clearTimeout(this.#timer);
  }

  drop(): void {
    clearTimeout(this.#timer);
    this.#at = -1;
    this.#desk.stop();
    if (this.#suggestion === "") return;
    this.#suggestion = "";
    this.#desk.show("");
  }

  #takeWord(): void {
    const [word, rest] = firstWord(this.#suggestion);
    this.#at += word.length;
    this.#suggestion = rest;
    this.field.insert(word);
    clearTimeout(this.#timer);
    this.#desk.show(rest);
  }

  #onKey(event: KeyboardEvent): void {
    const { key, shiftKey, altKey, isComposing } = event;
    if (isComposing || altKey) return;
    const command = event.ctrlKey || event.metaKey;
    const there = this.#suggestion !== "";
    let act: (() => void) | undefined;
    if (key === "Enter" && command) act = () => this.ask();
    else if (key === "Tab" && there && !command && !shiftKey) act = () => this.take();
    else if (key === "ArrowRight" && there && command && !shiftKey) act = () => this.#takeWord();
    else if (key === "Escape" && this.#at >= 0) act = () => this.drop();
    if (!act) return;
    event.preventDefault();
    act();
  }

  #onInput({ isComposing }: InputEvent): void {
    if (this.#at >= 0 && this.field.element.selectionStart !== this.#at) this.drop();
    clearTimeout(this.#timer);
    if (isComposing || !this.#desk.pauses() || this.#at >= 0) return;
    this.#timer = setTimeout(() => {
      if ((this.field.element.getRootNode() as Document).activeElement === this.field.element) this.ask();
    }, PAUSE_MS);
  }

  #onCaret(): void {
    if (this.#at >= 0 && this.field.before?.length !== this.#at) this.drop();
  }
}
