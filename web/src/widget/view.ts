import type { Progress } from "../engine.js";
import type { WriterState } from "./events.js";
import { style } from "./style.js";
import type { WidgetWords } from "./words.js";

/** What is shown, beside the texts. */
export type Shown = {
  state: WriterState;
  /** Whether a textarea of the page is helped, instead of a text shown here. */
  beside: boolean;
  /** Whether the opening can be written here. */
  editable: boolean;
  /** Whether there is a text, or a suggestion, by the model. */
  written: boolean;
  note: string;
};

let sheet: CSSStyleSheet | undefined;

/** The shadow tree of a writer; made without any markup in strings, so that no policy of the page forbids it. */
export class View {
  readonly content = make("slot", "");
  readonly label = make("label", "hearable", "label");
  readonly field = make("textarea", "", "field");
  readonly text = make("p", "text", "text");
  readonly prompt = make("span", "prompt", "prompt");
  readonly written = make("span", "written", "written");
  readonly suggestion = make("p", "suggestion", "suggestion");
  readonly start = make("button", "primary", "button start");
  readonly confirm = make("button", "primary", "button confirm");
  readonly decline = make("button", "", "button decline");
  readonly take = make("button", "primary", "button take");
  readonly drop = make("button", "", "button drop");
  readonly another = make("button", "", "button another");
  readonly copy = make("button", "", "button copy");
  readonly stop = make("button", "", "button stop");
  readonly off = make("button", "", "button off");
  readonly #startLabel = make("slot", "");
  readonly #frame = make("section", "frame", "frame");
  readonly #loading = make("div", "loading", "loading");
  readonly #phase = make("p", "", "phase");
  readonly #bar = make("progress", "", "progress");
  readonly #figures = make("p", "small", "figures");
  readonly #error = make("div", "error", "error");
  readonly #advice = make("p", "", "advice");
  readonly #detail = make("p", "small", "detail");
  readonly #keys = make("p", "small", "keys");
  readonly #terms = make("p", "small", "terms");
  readonly #note = make("p", "small", "note");
  readonly #noteText = make("slot", "");
  readonly #live = make("p", "hearable");
  readonly #root: ShadowRoot;

  constructor(root: ShadowRoot) {
    this.#root = root;
    if (!sheet) {
      sheet = new CSSStyleSheet();
      sheet.replaceSync(style);
    }
    root.adoptedStyleSheets = [sheet];
    this.#startLabel.name = "label";
    this.#noteText.name = "note";
    this.field.id = "field";
    this.field.rows = 2;
    this.label.htmlFor = "field";
    this.text.dir = this.suggestion.dir = this.field.dir = "auto";
    this.#error.role = "alert";
    this.#live.role = "status";
    this.start.append(this.#startLabel);
    this.text.append(this.prompt, this.written);
    this.#loading.append(this.#phase, this.#bar, this.#figures);
    this.#error.append(this.#advice, this.#detail);
    this.#note.append(this.#noteText);
    const bar = make("div", "bar", "bar");
    const { start, confirm, decline, take, drop, stop, another, copy, off } = this;
    bar.append(start, confirm, decline, take, drop, stop, another, copy, off);
    this.#frame.append(this.content, this.label, this.field, this.text, this.suggestion, this.#keys);
    this.#frame.append(this.#error, this.#loading, this.#terms, bar, this.#note, this.#live);
    root.append(this.#frame);
    this.error();
  }

  /** Says everything that does not change with what the writer is at. */
  speak(
    words: WidgetWords,
    { beside, placeholder, terms }: { beside: boolean; placeholder: string | null; terms: boolean },
  ): void {
    this.#frame.ariaLabel = words.frame;
    this.label.textContent = words.opening;
    this.field.placeholder = placeholder || words.placeholder;
    this.#startLabel.textContent = beside ? words.suggest : words.start;
    this.confirm.textContent = terms ? words.accept : words.fetch;
    this.decline.textContent = words.notNow;
    this.take.textContent = words.take;
    this.drop.textContent = words.drop;
    this.another.textContent = words.another;
    this.copy.textContent = words.copy;
    this.stop.textContent = words.stop;
    this.off.textContent = words.off;
    this.#keys.textContent = words.keys;
  }

  /** Shows what belongs to a state, and hands the keyboard on when its button goes. */
  show({ state, beside, editable, written, note }: Shown): void {
    const focused = this.#root.activeElement;
    const idle = state === "idle" || state === "ready";
    const working = state === "loading" || state === "writing";
    const hidden: [HTMLElement, boolean][] = [
      [this.content, !beside && written],
      [this.field, beside || !editable || written || working],
      [this.label, beside || !editable || written || working],
      [this.text, beside || (editable && !written && state !== "writing")],
      [this.suggestion, !beside || !written],
      [this.#keys, !beside || !written],
      [this.#loading, state !== "loading"],
      [this.start, !idle || (beside ? state === "ready" : written)],
      [this.confirm, state !== "asking"],
      [this.decline, state !== "asking"],
      [this.take, !beside || !written],
      [this.drop, !beside || !written],
      [this.stop, !working],
      [this.another, !idle || (beside ? state !== "ready" : !written)],
      [this.copy, beside || !idle || !written],
      [this.off, !beside || state !== "ready"],
    ];
    for (const [node, away] of hidden) node.hidden = away;
    this.text.ariaBusy = String(state === "writing");
    this.#noteText.textContent = note;
    if (focused instanceof HTMLElement && focused.hidden) this.#next().focus({ preventScroll: true });
  }

  progress(
    { phase, doneBytes, totalBytes, fromCache }: Progress,
    of: "model" | "adapter",
    words: WidgetWords,
    language: string,
  ): void {
    const what = of === "model" ? words.model : words.adapter;
    this.#phase.textContent = `${what} ${phase === "download" && fromCache ? words.cached : words[phase]}`;
    if (totalBytes > 0) this.#bar.value = doneBytes / totalBytes;
    else this.#bar.removeAttribute("value");
    this.#bar.ariaLabel = what;
    this.#figures.textContent =
      totalBytes > 0 ? words.amount(size(doneBytes, language), size(totalBytes, language)) : "";
  }

  /** Shows the terms of a model, with where they stand; nothing hides them. */
  terms(sentence: string, licence: { name: string; url: string } | undefined): void {
    this.#terms.hidden = licence === undefined;
    if (!licence) return this.#terms.replaceChildren();
    const link = make("a", "");
    link.textContent = licence.name;
    link.href = licence.url;
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    this.#terms.replaceChildren(`${sentence} `, link);
  }

  error(advice = "", detail = "", code = ""): void {
    this.#error.hidden = advice === "";
    this.#advice.textContent = advice;
    this.#detail.textContent = detail === advice ? "" : detail;
    this.#error.dataset["code"] = code;
  }

  /** Says something to screen readers. */
  say(sentence: string): void {
    this.#live.textContent = sentence;
  }

  #next(): HTMLElement {
    const buttons = [this.stop, this.confirm, this.take, this.another, this.start];
    return buttons.find((button) => !button.hidden) ?? this.start;
  }
}

/** Megabytes of a million bytes, as the language writes them. */
export function size(bytes: number, language: string): string {
  const digits = bytes < 1e5 ? 2 : 1;
  return `${new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(bytes / 1e6)} MB`;
}

function make<K extends keyof HTMLElementTagNameMap>(
  name: K,
  className: string,
  part = "",
): HTMLElementTagNameMap[K] {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (part) node.setAttribute("part", part);
  if (node instanceof HTMLButtonElement) node.type = "button";
  return node;
}
