import type { Editor } from "../editor/editor.js";
import { lastOf, type Pen } from "./pen.js";

/** When words are suggested at the cursor. */
export type Suggesting = "off" | "key" | "pause";

/** Quiet after the last key before words are suggested. */
const PAUSE_MS = 700;
const TOKENS = 24;
/** A suggestion must come soon, so the model reads no more than this before it. */
const CHARACTERS = 800;

/** Suggests words at the cursor; it never holds a key up, and any other task goes before it. */
export class Suggestion {
  mode: Suggesting = "key";
  readonly #pen: Pen;
  readonly #editor: Editor;
  readonly #onDone: (words: string) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Where the suggestion began, and all that was suggested there. */
  #begun: { at: number; text: string } | undefined;

  /** `onDone` hears a suggestion once it is complete and still stands, and nothing when one is begun. */
  constructor(pen: Pen, editor: Editor, onDone: (words: string) => void) {
    this.#pen = pen;
    this.#editor = editor;
    this.#onDone = onDone;
  }

  /** Follows what the person does: keeps a suggestion that is being typed, drops any other. */
  changed(person: boolean): void {
    clearTimeout(this.#timer);
    if (this.#begun && !this.#fits()) this.drop();
    if (person && this.mode === "pause" && !this.#begun)
      this.#timer = setTimeout(() => {
        if (this.#welcome()) void this.ask();
      }, PAUSE_MS);
  }

  /** Suggests words now. */
  async ask(): Promise<void> {
    const editor = this.#editor;
    const { from, to } = editor.selection;
    if (this.mode === "off" || !this.#pen.free || from !== to || editor.composing) return;
    const before = editor.slice(0, to);
    if (before.trim() === "") return;
    this.drop();
    this.#onDone("");
    const begun = { at: to, text: "" };
    this.#begun = begun;
    await this.#pen.take("ghost", async (signal) => {
      const options = { ...this.#pen.options(), maxTokens: TOKENS, chat: false, stop: ["\n"] };
      for await (const { text } of this.#pen.after(lastOf(before, CHARACTERS), { ...options, signal })) {
        if (this.#begun !== begun) return;
        begun.text += text;
        if (!this.#fits()) {
          this.drop();
          return;
        }
        editor.suggest(begun.text.slice(this.#typed().length));
      }
    });
    if (this.#begun !== begun) return;
    if (editor.suggested === "") this.drop();
    else this.#onDone(editor.suggested);
  }

  /** Takes what is suggested, or its first word. */
  take(what: "all" | "word"): boolean {
    if (what === "all") {
      const taken = this.#editor.take("all");
      if (taken) this.drop();
      return taken;
    }
    return this.#editor.take("word");
  }

  /** Drops what is suggested; says whether there was anything. */
  drop(): boolean {
    const any = this.#begun !== undefined;
    clearTimeout(this.#timer);
    this.#begun = undefined;
    if (this.#pen.task === "ghost") this.#pen.stop();
    this.#editor.suggest("");
    return any;
  }

  /** Whether a suggestion is welcome without being asked for: at the end of a line, while nobody composes. */
  #welcome(): boolean {
    const { from, to } = this.#editor.selection;
    const after = this.#editor.slice(to, to + 1);
    return from === to && this.#editor.focused && (after === "" || after === "\n");
  }

  #typed(): string {
    return this.#editor.slice(this.#begun?.at ?? 0, this.#editor.selection.to);
  }

  /** Whether what was typed since is the beginning of what is suggested. */
  #fits(): boolean {
    const { from, to } = this.#editor.selection;
    const begun = this.#begun;
    if (!begun || from !== to || to < begun.at) return false;
    const typed = this.#typed();
    return begun.text.startsWith(typed) && (typed === "" || typed.length < begun.text.length);
  }
}
