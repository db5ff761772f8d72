import type { Editor } from "../editor/editor.js";
import { CopiedRuns } from "../elements/copied-runs.js";
import { part } from "../elements/part.js";
import type { WriteOptions } from "../engine.js";
import { words } from "../words/words.js";
import type { Continuation } from "./continuation.js";
import type { Outcome, Pen } from "./pen.js";

const WAYS = 3;

/** A way that was written, and how. */
type Way = { text: string; options: WriteOptions; runs: CopiedRuns };

/** Three continuations of the same text, side by side, of which the person takes one. */
export class Ways {
  readonly #pen: Pen;
  readonly #editor: Editor;
  readonly #continuation: Continuation;
  readonly #place: HTMLElement;
  readonly #ways: Way[] = [];
  /** Where the chosen one goes; what stands behind it was written last and is replaced. */
  #start = 0;

  /** `place` holds the cards, which are made from its template. */
  constructor(pen: Pen, editor: Editor, continuation: Continuation, place: HTMLElement) {
    this.#pen = pen;
    this.#editor = editor;
    this.#continuation = continuation;
    this.#place = place;
  }

  /** Whether the ways are in sight. */
  get open(): boolean {
    return !this.#place.hidden;
  }

  /** Writes three ways, one after the other. */
  async write(): Promise<Outcome | undefined> {
    if (!this.#pen.free) return undefined;
    this.#start = this.#continuation.start ?? this.#editor.length;
    const before = this.#editor.slice(0, this.#start);
    const options = { ...this.#pen.options(), chat: false };
    this.#ways.length = 0;
    part(this.#place, "cards", HTMLElement).replaceChildren();
    this.#place.hidden = false;
    return this.#pen.take("ways", async (signal) => {
      for (let number = 0; number < WAYS; number += 1) {
        const seed = ((options.seed ?? 0) + number) % 2 ** 32;
        await this.#write(before, { ...options, seed }, signal);
      }
    });
  }

  /** Puts the cards away. */
  close(): void {
    if (this.#pen.task === "ways") this.#pen.stop();
    this.#place.hidden = true;
  }

  async #write(before: string, options: WriteOptions, signal: AbortSignal): Promise<void> {
    const way: Way = { text: "", options, runs: new CopiedRuns() };
    this.#ways.push(way);
    const card = this.#card(way);
    for await (const piece of this.#pen.after(before, { ...options, signal })) {
      way.text += piece.text;
      way.runs.add(piece);
      part(card, "way", HTMLElement).replaceChildren(...way.runs.nodes);
      part(card, "take", HTMLButtonElement).disabled = way.text.trim() === "";
    }
  }

  #card(way: Way): HTMLElement {
    const made = part(this.#place, "card", HTMLTemplateElement).content.firstElementChild?.cloneNode(true);
    if (!(made instanceof HTMLElement)) throw new TypeError("the template of a card is empty");
    const take = part(made, "take", HTMLButtonElement);
    take.ariaLabel = words().draft.takeWay(this.#ways.length);
    take.addEventListener("click", () => this.#take(way));
    part(this.#place, "cards", HTMLElement).append(made);
    return made;
  }

  #take(way: Way): void {
    const editor = this.#editor;
    this.close();
    const [start, end] = [Math.min(this.#start, editor.length), editor.length];
    editor.revise([{ from: start, to: end, insert: way.text }]);
    for (const { from, to } of way.runs.spans) editor.markCopied(start + from, start + to);
    editor.select(start + way.text.length);
    editor.focus();
    this.#continuation.remember(start, start + way.text.length, way.options);
  }
}
