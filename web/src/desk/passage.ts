import type { Editor, Tracked } from "../editor/editor.js";
import { part } from "../elements/part.js";
import type { Finish } from "../engine.js";
import { words } from "../words/words.js";
import { difference, edits, shown, type Stretch } from "./difference.js";
import type { Outcome, Pen } from "./pen.js";
import { answerOnly, request, tokensFor, type Change } from "./requests.js";

/** Words that a passage must have at least, and characters that it may have at most. */
const FEWEST_WORDS = 2;
const MOST_CHARACTERS = 2_000;

/** Another version of a passage, shown as a difference that is accepted or refused. */
export class Passage {
  readonly #pen: Pen;
  readonly #editor: Editor;
  readonly #place: HTMLElement;
  #stretch: Tracked | undefined;
  #offer: Stretch[] | undefined;

  /** `place` holds the parts that show the difference. */
  constructor(pen: Pen, editor: Editor, place: HTMLElement) {
    this.#pen = pen;
    this.#editor = editor;
    this.#place = place;
    part(place, "accept", HTMLButtonElement).addEventListener("click", () => this.accept());
    part(place, "refuse", HTMLButtonElement).addEventListener("click", () => this.close());
  }

  /** Whether a difference is in sight. */
  get open(): boolean {
    return !this.#place.hidden;
  }

  /** Whether the selection is a passage that can be asked about. */
  get chosen(): boolean {
    const { from, to } = this.#editor.selection;
    if (to - from < 2 || to - from > MOST_CHARACTERS) return false;
    return (this.#editor.slice(from, to).match(/\S+/gu)?.length ?? 0) >= FEWEST_WORDS;
  }

  /** Asks for another version of the selected passage. */
  async ask(change: Change): Promise<Outcome | undefined> {
    if (!this.chosen || !this.#pen.free) return undefined;
    const { from, to } = this.#editor.selection;
    const passage = this.#editor.slice(from, to);
    this.#begin(change, from, to);
    const outcome = await this.#pen.take("passage", (signal) => this.#write(change, passage, signal));
    if (outcome?.state !== "done") this.close();
    return outcome;
  }

  /** Puts the offered version in the place of the passage, in one step. */
  accept(): void {
    const stretch = this.#stretch;
    if (!stretch || !this.#offer || stretch.touched) return this.close();
    const { from } = stretch;
    const made = edits(this.#offer, from);
    const grown = made.reduce((sum, edit) => sum + edit.insert.length - (edit.to - edit.from), 0);
    const to = stretch.to + grown;
    this.close();
    this.#editor.revise(made);
    this.#editor.select(to);
    this.#editor.focus();
  }

  /** Leaves the passage as it is. */
  close(): void {
    if (this.#pen.task === "passage") this.#pen.stop();
    const hadFocus = this.#place.contains(document.activeElement);
    this.#editor.untrack(this.#stretch);
    this.#stretch = undefined;
    this.#offer = undefined;
    this.#place.hidden = true;
    if (hadFocus) this.#editor.focus();
  }

  /** Follows a change of the text: a passage that is no longer what it was has no other version. */
  changed(): void {
    if (this.#stretch?.touched) this.close();
  }

  #begin(change: Change, from: number, to: number): void {
    this.close();
    this.#stretch = this.#editor.track(from, to);
    part(this.#place, "title", HTMLElement).textContent = words().draft[change];
    part(this.#place, "difference", HTMLElement).replaceChildren(this.#editor.slice(from, to));
    part(this.#place, "accept", HTMLButtonElement).disabled = true;
    this.#place.hidden = false;
    this.#place.scrollIntoView({ block: "nearest" });
  }

  async #write(change: Change, passage: string, signal: AbortSignal): Promise<void> {
    const options = { ...this.#pen.options(), maxTokens: tokensFor(change, passage.length), signal };
    const place = part(this.#place, "difference", HTMLElement);
    let answer = "";
    let finish: Finish | undefined;
    for await (const piece of this.#pen.answer(request(change, passage), options)) {
      answer += piece.text;
      finish = piece.finish;
      if (!signal.aborted && answer !== "") place.textContent = answerOnly(answer, passage, true);
    }
    const text = answerOnly(answer, passage, finish === "end");
    const same = text.trim() === "" || text === passage;
    this.#offer = same ? undefined : difference(passage, text);
    place.replaceChildren(...(this.#offer ? shown(this.#offer) : [words().draft.same]));
    part(this.#place, "accept", HTMLButtonElement).disabled = same;
  }
}
