import type { WriteOptions } from "../engine.js";

type NumberOption = "maxTokens" | "temperature" | "topK" | "topP" | "minP" | "repetitionPenalty";
type Dial = { label: string; hint: string; min: number; max: number; step: number; value: number };

/** What each dial may be set to; the values suit a small model. */
const dials: Record<NumberOption, Dial> = {
  maxTokens: { label: "Length", hint: "most tokens to write", min: 8, max: 1024, step: 8, value: 128 },
  temperature: {
    label: "Temperature",
    hint: "0 is plain, 1 is lively",
    min: 0,
    max: 2,
    step: 0.05,
    value: 0.8,
  },
  topK: {
    label: "Top k",
    hint: "choose among the k likeliest; 0 is off",
    min: 0,
    max: 200,
    step: 1,
    value: 40,
  },
  topP: {
    label: "Top p",
    hint: "choose within this share of likelihood",
    min: 0.05,
    max: 1,
    step: 0.01,
    value: 0.95,
  },
  minP: {
    label: "Min p",
    hint: "leave out what is this much less likely",
    min: 0,
    max: 0.5,
    step: 0.01,
    value: 0,
  },
  repetitionPenalty: {
    label: "Repetition",
    hint: "above 1 avoids words used",
    min: 1,
    max: 2,
    step: 0.05,
    value: 1.1,
  },
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

  connectedCallback(): void {
    if (this.#numbers.size > 0) return;
    for (const [name, dial] of Object.entries(dials)) this.append(this.#dial(name as NumberOption, dial));
    this.append(this.#seedRow(), this.#stopRow(), this.#chatRow());
    this.append(...this.#guardRows(), this.#resetAll());
    this.reset();
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

  #dial(name: NumberOption, { label, hint, min, max, step, value }: Dial): HTMLElement {
    const number = input("number", { id: `imprint-${name}`, min, max, step });
    const range = input("range", { min, max, step, ariaLabel: `${label}, ${hint}`, tabIndex: -1 });
    const reset = button("Reset", `Reset ${label.toLowerCase()} to ${value}`, () => set(number, value));
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
    return row("dial", labelFor(number, label, hint), range, number, reset);
  }

  #seedRow(): HTMLElement {
    Object.assign(this.#seed, { type: "number", id: "imprint-seed", min: "0", max: "4294967295", step: "1" });
    Object.assign(this.#fresh, { type: "checkbox", id: "imprint-fresh" });
    this.#seed.addEventListener("input", (event) => {
      if (event.isTrusted) this.#fresh.checked = false;
    });
    const fresh = row("choice", this.#fresh, labelFor(this.#fresh, "A new one each time"));
    return row(
      "dial seed",
      labelFor(this.#seed, "Seed", "the same seed writes the same text"),
      fresh,
      this.#seed,
    );
  }

  #stopRow(): HTMLElement {
    Object.assign(this.#stop, { id: "imprint-stop", rows: 2, spellcheck: false });
    return row("field", labelFor(this.#stop, "Stop at", "one string a line"), this.#stop);
  }

  #chatRow(): HTMLElement {
    Object.assign(this.#chat, { type: "checkbox", id: "imprint-chat" });
    return row(
      "choice",
      this.#chat,
      labelFor(this.#chat, "Answer my text as a message, instead of continuing it"),
    );
  }

  #guardRows(): HTMLElement[] {
    const rows = [
      [this.#original, "original", `Never repeat more than ${MOST_COPIED_WORDS} words in a row of my texts`],
      [this.#nameless, "nameless", "Keep names from my texts out"],
    ] as const;
    return rows.map(([box, name, text]) => {
      Object.assign(box, { type: "checkbox", id: `imprint-${name}` });
      return row("choice", box, labelFor(box, text));
    });
  }

  #resetAll(): HTMLElement {
    return row(
      "foot",
      button("Reset all", "Reset all settings", () => this.reset()),
    );
  }
}

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

function button(text: string, label: string, onClick: () => void): HTMLButtonElement {
  const made = document.createElement("button");
  Object.assign(made, { type: "button", textContent: text, ariaLabel: label, className: "quiet" });
  made.addEventListener("click", onClick);
  return made;
}

function labelFor(field: HTMLElement, text: string, hint = ""): HTMLLabelElement {
  const label = document.createElement("label");
  label.htmlFor = field.id;
  label.append(text);
  if (hint) {
    const small = document.createElement("small");
    small.textContent = hint;
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
