import { count, rate } from "../elements/format.js";
import { words } from "../words/words.js";
import type { Stroke } from "./pen.js";

/** Tokens a second, counted from the first written token on. */
export class Speed {
  #first: { tokens: number; atMs: number } | undefined;

  /** What there is to say about a text after its next piece. */
  line(piece: Stroke, atMs: number): string {
    const { reading, counts, speed } = words().draft;
    if (piece.tokens === 0) {
      this.#first = undefined;
      return reading(count(piece.prefilled), count(piece.promptTokens));
    }
    // A text begins with its first token; the one before it may have been longer.
    if (!this.#first || piece.tokens < this.#first.tokens || piece.tokens <= 1)
      this.#first = { tokens: piece.tokens, atMs };
    const line = [counts(count(piece.promptTokens), count(piece.tokens))];
    const seconds = (atMs - this.#first.atMs) / 1000;
    const tokens = piece.tokens - this.#first.tokens;
    if (seconds > 0 && tokens > 0) line.push(speed(rate(tokens / seconds)));
    return line.join(" · ");
  }
}
