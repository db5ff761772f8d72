import type { WriteOptions } from "../engine.js";
import { language, onLanguage, say, words, type Words } from "../words/words.js";

type NumberOption = "maxTokens" | "temperature" | "topK" | "topP" | "minP" | "repetitionPenalty";
type Dial = { min: number; max: number; step: number; value: number };

/** What each dial may be set to; the values suit a small model. */
const dials: Record<NumberOption, Dial> = {
  maxTokens: { min: 8, max: 1024, step: 8, value: 128 },
  temperature: { min: 0, max: 2, step: 0.05, value: 0.8 },
  topK: { min: 0, max: 200, step: 1, value: 40 },
  topP: { min: 0.05, max: 1, step: 0.01, value: 0.95 },
  minP: { min: 0, max: 0.5, step: 0.01, value: 0 },
  repetitionPenalty: { min: 1, max: 2, step: 0.05, value: 1.1 },
};

/** The longest run of a person's text that may be repeated, where that is limited. */
const MOST_COPIED_WORDS = 7;

/** Dials for how text is written; `options()` gives them as the public API takes them. */
export class ImprintSamplingElement extends HTMLElement {
  readonly #numbers = new Map<NumberOption, HTMLInputElement>();
  readonly #seed = document.createElement("input");
  readonly #fresh = document.createElement("input");
  readonly #chat = document.createElement("input");
  readonly #original = document.createElement("input");
  readonly #nameless = document.createElement("input");
  readonly #stop = document.createElement("textarea");
  /** What is said with a number in it, in the language that is spoken now. */
  readonly #spoken: (() => void)[] = [];
  #deaf: (() => void) | undefined;

  connectedCallback(): void {
    const speak = (): void => this.#spoken.forEach((again) => again());
    this.#deaf ??= onLanguage(speak);
    if (this.#numbers.size > 0) return speak();
    for (const [name, dial] of Object.entries(dials)) this.append(this.#dial(name as NumberOption, dial));
    this.append(this.#seedRow(), this.#stopRow(), this.#chatRow());
    this.append(...this.#guardRows(), this.#resetAll());
    this.reset();
  }

  disconnectedCallback(): void {
    this.#deaf?.();
    this.#deaf = undefined;
  }

  /** The options as they stand; with "a new seed each time", a new seed is drawn and shown. */
  options(): WriteOptions {
    if (this.#fresh.checked) this.#seed.value = String(crypto.getRandomValues(new Uint32Array(1))[0] ?? 0);
    const options: WriteOptions = { seed: this.#seed.valueAsNumber || 0, chat: this.#chat.checked };
    for (const [name, input] of this.#numbers) options[name] = input.valueAsNumber;
    const stop = this.#stop.value.split("\n").filter((line) => line !== "");
    if (stop.length > 0) options.stop = stop;
    if (this.#original.checked) options.maxCopiedWords = MOST_COPIED_WORDS;
    if (this.#nameless.checked) options.withoutNames = true;
    return options;
  }

  /** Sets everything back. */
  reset(): void {
    for (const [name, input] of this.#numbers) set(input, dials[name].value);
    set(this.#seed, 0);
    this.#fresh.checked = true;
    for (const box of [this.#chat, this.#original, this.#nameless]) box.checked = false;
    this.#stop.value = "";
  }

  #say(sentence: () => void): void {
    this.#spoken.push(sentence);
    sentence();
  }

  #dial(name: NumberOption, { min, max, step, value }: Dial): HTMLElement {
    const number = input("number", { id: `imprint-${name}`, min, max, step });
    const range = input("range", { min, max, step, tabIndex: -1 });
    const reset = button("reset", () => set(number, value));
    this.#say(() => {
      const said = words().sampling;
      range.ariaLabel = `${said[name]}, ${said[`${name}Hint`]}`;
      reset.ariaLabel = said.resetOne(said[name], value.toLocaleString(language()));
    });
    this.#numbers.set(name, number);
    range.addEventListener("input", () => set(number, range.valueAsNumber));
    number.addEventListener("input", () => {
      const now = number.valueAsNumber;
      if (Number.isFinite(now)) range.value = String(now);
      reset.disabled = now === value;
    });
    number.addEventListener("change", () => {
      const now = number.valueAsNumber;
      set(number, Number.isFinite(now) ? Math.min(max, Math.max(min, now)) : value);
    });
    return row("dial", labelFor(number, name, `${name}Hint`), range, number, reset);
  }

  #seedRow(): HTMLElement {
    Object.assign(this.#seed, { type: "number", id: "imprint-seed", min: "0", max: "4294967295", step: "1" });
    Object.assign(this.#fresh, { type: "checkbox", id: "imprint-fresh" });
    this.#seed.addEventListener("input", (event) => {
      if (event.isTrusted) this.#fresh.checked = false;
    });
    const fresh = row("choice", this.#fresh, labelFor(this.#fresh, "fresh"));
    return row("dial seed", labelFor(this.#seed, "seed", "seedHint"), fresh, this.#seed);
  }

  #stopRow(): HTMLElement {
    Object.assign(this.#stop, { id: "imprint-stop", rows: 2, spellcheck: false });
    return row("field", labelFor(this.#stop, "stop", "stopHint"), this.#stop);
  }

  #chatRow(): HTMLElement {
    Object.assign(this.#chat, { type: "checkbox", id: "imprint-chat" });
    return row("choice", this.#chat, labelFor(this.#chat, "chat"));
  }

  #guardRows(): HTMLElement[] {
    Object.assign(this.#original, { type: "checkbox", id: "imprint-original" });
    Object.assign(this.#nameless, { type: "checkbox", id: "imprint-nameless" });
    const original = document.createElement("label");
    original.htmlFor = this.#original.id;
    this.#say(() => (original.textContent = words().sampling.original(MOST_COPIED_WORDS)));
    return [
      row("choice", this.#original, original),
      row("choice", this.#nameless, labelFor(this.#nameless, "nameless")),
    ];
  }

  #resetAll(): HTMLElement {
    return row(
      "foot",
      button("resetAll", () => this.reset()),
    );
  }
}

/** The words of the settings that are plain sentences. */
type Plain = {
  [Name in keyof Words["sampling"]]: Words["sampling"][Name] extends string ? Name : never;
}[keyof Words["sampling"]];

function input(type: string, settings: Record<string, string | number>): HTMLInputElement {
  const made = document.createElement("input");
  made.type = type;
  return Object.assign(made, settings);
}

/** Sets a number and lets its listeners know. */
function set(number: HTMLInputElement, value: number): void {
  number.value = String(value);
  number.dispatchEvent(new Event("input"));
}

function button(name: Plain, onClick: () => void): HTMLButtonElement {
  const made = document.createElement("button");
  Object.assign(made, { type: "button", className: "quiet" });
  say(made, `sampling.${name}`);
  made.addEventListener("click", onClick);
  return made;
}

function labelFor(field: HTMLElement, name: Plain, hint?: Plain): HTMLLabelElement {
  const label = document.createElement("label");
  label.htmlFor = field.id;
  const text = document.createElement("span");
  say(text, `sampling.${name}`);
  label.append(text);
  if (hint) {
    const small = document.createElement("small");
    say(small, `sampling.${hint}`);
    label.append(" ", small);
  }
  return label;
}

function row(className: string, ...children: HTMLElement[]): HTMLElement {
  const made = document.createElement("div");
  made.className = className;
  made.append(...children);
  return made;
}
