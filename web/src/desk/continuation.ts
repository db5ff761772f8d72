import type { Editor } from "../editor/editor.js";
import { CopiedRuns } from "../elements/copied-runs.js";
import type { Finish, WriteOptions } from "../engine.js";
import type { Outcome, Pen, Stroke } from "./pen.js";

/** Told while a continuation is written. */
export type Hearing = { piece(piece: Stroke): void };

/** What was written last: where it begins, the whole text with it, and how it was written. */
type Last = { start: number; text: string; options: WriteOptions };

/** Writes on at the end of the draft, takes the last words back, and writes them again in another strength. */
export class Continuation {
  readonly #pen: Pen;
  readonly #editor: Editor;
  readonly #hearing: Hearing;
  #last: Last | undefined;

  constructor(pen: Pen, editor: Editor, hearing: Hearing) {
    this.#pen = pen;
    this.#editor = editor;
    this.#hearing = hearing;
  }

  /** Where the last words begin, while nothing has changed since, or all of it was undone. */
  get start(): number | undefined {
    const last = this.#last;
    if (!last || last.start === last.text.length || last.text.length !== this.#editor.length)
      return undefined;
    return last.text === this.#editor.text ? last.start : undefined;
  }

  /** Writes on; gives how it ended, or nothing where the model has no time. */
  go(): Promise<Ended | undefined> {
    return this.#write(this.#pen.options(), this.#editor.length);
  }

  /** Writes the last words again with the same seed and other settings, such as another strength. */
  rewrite(changed: WriteOptions): Promise<Ended | undefined> | undefined {
    const { start } = this;
    if (start === undefined || !this.#last) return undefined;
    return this.#write({ ...this.#last.options, ...changed }, start);
  }

  /** Takes the last words back, unless they have changed since. */
  takeBack(): boolean {
    const { start } = this;
    if (start === undefined) return false;
    this.#editor.cut(start, this.#editor.length);
    return true;
  }

  /** Remembers the words from `start` on as the last ones. */
  remember(start: number, options: WriteOptions): void {
    this.#last = { start, text: this.#editor.text, options };
  }

  /** Leaves the last words as they are. */
  forget(): void {
    this.#last = undefined;
  }

  async #write(options: WriteOptions, start: number): Promise<Ended | undefined> {
    let finish: Finish | undefined;
    const outcome = await this.#pen.take("continue", async (signal) => {
      finish = await this.#stream({ ...options, signal }, start);
    });
    return outcome && { ...outcome, finish };
  }

  async #stream(options: WriteOptions & { signal: AbortSignal }, start: number): Promise<Finish | undefined> {
    const editor = this.#editor;
    const before = editor.slice(0, start);
    const { signal: _, ...kept } = options;
    const written = new CopiedRuns();
    this.forget();
    editor.hold(true);
    try {
      if (start < editor.length) editor.cut(start, editor.length, { joined: true });
      if (options.chat) editor.write(start, gap(before));
      const from = editor.length;
      const pieces = options.chat ? this.#pen.answer(before, options) : this.#pen.after(before, options);
      for await (const piece of pieces) {
        editor.write(editor.length, piece.text);
        written.add(piece);
        if (piece.copiedFrom !== undefined && written.latest)
          editor.markCopied(from + written.latest.from, from + written.latest.to);
        this.#hearing.piece(piece);
        if (piece.finish) return piece.finish;
      }
      return undefined;
    } finally {
      editor.hold(false);
      this.remember(start, kept);
    }
  }
}

/** How a continuation ended, and why the model came to an end where it did. */
export type Ended = Outcome & { finish: Finish | undefined };

/** What stands between a message and its answer. */
function gap(text: string): string {
  if (text.endsWith("\n\n")) return "";
  return text.endsWith("\n") ? "\n" : "\n\n";
}
