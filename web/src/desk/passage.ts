import type { Editor, Tracked } from "../editor/editor.js";
import { part } from "../elements/part.js";
import { say, words } from "../words/words.js";
import { difference, edits, shown, type Stretch } from "./difference.js";
import type { Outcome, Pen } from "./pen.js";
import {
  answerOnly,
  request,
  sentencesOf,
  suits,
  tokensFor,
  wholeSentences,
  worthwhile,
  type Change,
  type Rewording,
} from "./requests.js";

/** Words that a passage must have at least, and characters that it may have at most. */
const FEWEST_WORDS = 2;
const MOST_CHARACTERS = 2_000;
/** Times that a sentence is tried, and the temperature that is added each time. */
const ATTEMPTS = 2;
const CALM = 0.3;

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
    const stretch = this.#begin(change, from, to);
    const outcome = await this.#pen.take("passage", (signal) => this.#write(change, stretch, signal));
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

  #begin(change: Change, from: number, to: number): Tracked {
    this.close();
    const stretch = this.#editor.track(from, to);
    this.#stretch = stretch;
    say(part(this.#place, "title", HTMLElement), `draft.${change}`);
    part(this.#place, "difference", HTMLElement).replaceChildren(this.#editor.slice(from, to));
    part(this.#place, "accept", HTMLButtonElement).disabled = true;
    this.#place.hidden = false;
    this.#place.scrollIntoView({ block: "nearest" });
    return stretch;
  }

  async #write(change: Change, stretch: Tracked, signal: AbortSignal): Promise<void> {
    const passage = this.#editor.slice(stretch.from, stretch.to);
    const place = part(this.#place, "difference", HTMLElement);
    const show = (text: string): void => {
      if (!signal.aborted) place.textContent = text;
    };
    const text =
      change === "longer"
        ? await this.#lengthen(stretch, show, signal)
        : await this.#reword(change, passage, show, signal);
    const same = text === passage;
    this.#offer = same ? undefined : difference(passage, text);
    place.replaceChildren(...(this.#offer ? shown(this.#offer) : [words().draft.same]));
    part(this.#place, "accept", HTMLButtonElement).disabled = same;
  }

  /** Says sentence after sentence in other words, and leaves those that the model does not master. */
  async #reword(change: Rewording, passage: string, show: Show, signal: AbortSignal): Promise<string> {
    const sentences = sentencesOf(passage);
    const said = [...sentences];
    for (const [at, sentence] of sentences.entries()) {
      if (!worthwhile(sentence)) continue;
      const around = (middle: string): string =>
        [...said.slice(0, at), middle, ...sentences.slice(at + 1)].join("");
      for (let attempt = 0; attempt < ATTEMPTS && said[at] === sentence; attempt += 1) {
        const answer = await this.#answer(change, sentence, attempt, signal, (text) => show(around(text)));
        if (suits(change, sentence, answer)) said[at] = answer;
      }
      show(said.join(""));
    }
    return said.join("");
  }

  async #answer(
    change: Rewording,
    sentence: string,
    attempt: number,
    signal: AbortSignal,
    show: Show,
  ): Promise<string> {
    const options = this.#pen.options();
    const seed = ((options.seed ?? 0) + attempt) % 2 ** 32;
    const calm = { temperature: Math.min(options.temperature ?? 0.8, CALM + attempt * CALM), stop: ["\n"] };
    const limits = { maxTokens: tokensFor(sentence.length), repetitionPenalty: 1 };
    let answer = "";
    for await (const piece of this.#pen.answer(request(change, sentence), {
      ...options,
      ...calm,
      ...limits,
      seed,
      signal,
    })) {
      answer += piece.text;
      show(answerOnly(answer, sentence));
    }
    return answerOnly(answer, sentence);
  }

  /** Writes on after the passage, with all that stands before it in mind, for about as long again. */
  async #lengthen({ from, to }: Tracked, show: Show, signal: AbortSignal): Promise<string> {
    const passage = this.#editor.slice(from, to);
    const end = /\s*$/u.exec(passage)?.[0] ?? "";
    const kept = passage.slice(0, passage.length - end.length);
    const before = this.#editor.slice(0, from) + kept;
    const options = { ...this.#pen.options(), chat: false, maxTokens: tokensFor(kept.length), stop: ["\n"] };
    let more = "";
    for await (const piece of this.#pen.after(before, { ...options, signal })) {
      more += piece.text;
      show(kept + more + end);
    }
    return kept + wholeSentences(more) + end;
  }
}

type Show = (text: string) => void;
