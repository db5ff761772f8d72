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
    const ways = Array.from({ length: WAYS }, (_, number): Way => {
      const seed = ((options.seed ?? 0) + number) % 2 ** 32;
      return { text: "", options: { ...options, seed }, runs: new CopiedRuns() };
    });
    const cards = ways.map((way, number) => this.#card(way, number + 1));
    part(this.#place, "cards", HTMLElement).replaceChildren(...cards);
    this.#place.hidden = false;
    this.#place.scrollIntoView({ block: "nearest" });
    return this.#pen.take("ways", async (signal) => {
      for (const [number, way] of ways.entries()) await this.#write(before, way, cards[number], signal);
    });
  }

  /** Puts the cards away. */
  close(): void {
    if (this.#pen.task === "ways") this.#pen.stop();
    this.#place.hidden = true;
  }

  async #write(before: string, way: Way, card: HTMLElement | undefined, signal: AbortSignal): Promise<void> {
    if (!card) return;
    for await (const piece of this.#pen.after(before, { ...way.options, signal })) {
      way.text += piece.text;
      way.runs.add(piece);
      part(card, "way", HTMLElement).replaceChildren(...way.runs.nodes);
      part(card, "take", HTMLButtonElement).disabled = way.text.trim() === "";
    }
  }

  #card(way: Way, number: number): HTMLElement {
    const made = part(this.#place, "card", HTMLTemplateElement).content.firstElementChild?.cloneNode(true);
    if (!(made instanceof HTMLElement)) throw new TypeError("the template of a card is empty");
    const take = part(made, "take", HTMLButtonElement);
    take.ariaLabel = words().draft.takeWay(number);
    take.addEventListener("click", () => this.#take(way));
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
    this.#continuation.remember(start, way.options);
  }
}
