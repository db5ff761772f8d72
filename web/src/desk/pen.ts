import type { WriteOptions } from "../engine.js";
import { ImprintError } from "../errors.js";
import type { Imprint, Piece } from "../imprint.js";

/** What the model can be writing on a draft. */
export type Task = "continue" | "ways" | "passage" | "ghost";

/** How writing ended: by itself, stopped by the person, or broken by an error. */
export type Outcome = { state: "done" } | { state: "stopped" } | { state: "broken"; error: ImprintError };

/** A piece of what is written, as it goes on the sheet. */
export type Stroke = Pick<Piece, "text" | "tokens" | "promptTokens" | "prefilled" | "finish" | "copiedFrom">;

/** Characters of a prompt for each token of context, at first and after the model found it too long. */
const CHARACTERS_PER_TOKEN = [3, 1.5, 0.75];

/** The pen is in one hand at a time: what is asked for waits for nothing but takes the place of a mere suggestion. */
export class Pen {
  /** Asked for the settings at each start. */
  options: () => WriteOptions = () => ({});
  readonly #onChange: () => void;
  #imprint: Imprint | null = null;
  #busy = false;
  #now: { task: Task; stop: AbortController } | undefined;

  /** `onChange` hears whenever something begins or ends. */
  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  /** The model that writes, if one is open. */
  get imprint(): Imprint | null {
    return this.#imprint;
  }

  set imprint(imprint: Imprint | null) {
    this.stop();
    this.#imprint = imprint;
    this.#onChange();
  }

  /** Whether the model is at something else, such as learning. */
  get busy(): boolean {
    return this.#busy;
  }

  set busy(busy: boolean) {
    this.#busy = busy;
    if (busy) this.stop();
    this.#onChange();
  }

  /** What is being written. */
  get task(): Task | undefined {
    return this.#now?.task;
  }

  /** Whether something can be asked for now. */
  get free(): boolean {
    return this.#imprint !== null && !this.#busy && (!this.#now || this.#now.task === "ghost");
  }

  /** Stops what is being written within one token. */
  stop(): void {
    this.#now?.stop.abort();
  }

  /** Does a task with the pen, unless another has it; `work` gets a signal for each writing. */
  async take(task: Task, work: (signal: AbortSignal) => Promise<void>): Promise<Outcome | undefined> {
    if (!this.free) return undefined;
    this.stop();
    const now = { task, stop: new AbortController() };
    this.#now = now;
    this.#onChange();
    let outcome: Outcome = { state: "done" };
    try {
      await work(now.stop.signal);
      if (now.stop.signal.aborted) outcome = { state: "stopped" };
    } catch (thrown) {
      const error = ImprintError.from(thrown);
      outcome = error.code === "cancelled" ? { state: "stopped" } : { state: "broken", error };
    }
    if (this.#now === now) this.#now = undefined;
    this.#onChange();
    return outcome;
  }

  /**
   * Writes on after a text, of which the model reads as much of the end as it can.
   *
   * Spaces at the end are not shown to it, since a word of its vocabulary begins with its space; those that it writes first
   * are left out in turn.
   */
  async *after(text: string, options: WriteOptions & { signal: AbortSignal }): AsyncGenerator<Stroke> {
    const imprint = this.#imprint;
    if (!imprint) return;
    const trimmed = text.replace(/[ \t]+$/, "");
    const room = imprint.info.contextTokens - (options.maxTokens ?? 256);
    for (const [attempt, characters] of CHARACTERS_PER_TOKEN.entries()) {
      let begun = false;
      try {
        const prompt = lastOf(trimmed, Math.max(64, room * characters));
        for await (const piece of joined(imprint.write(prompt, options), text.length - trimmed.length)) {
          begun ||= piece.text !== "";
          yield piece;
        }
        return;
      } catch (thrown) {
        const shorter = ImprintError.from(thrown).code === "context-full" && !begun;
        if (!shorter || attempt + 1 === CHARACTERS_PER_TOKEN.length) throw thrown;
      }
    }
  }

  /** Answers a message. */
  async *answer(message: string, options: WriteOptions & { signal: AbortSignal }): AsyncGenerator<Piece> {
    if (this.#imprint) yield* this.#imprint.write(message, { ...options, chat: true });
  }
}

/** The end of a text, from the beginning of a paragraph, a sentence or at least a word on. */
export function lastOf(text: string, characters: number): string {
  if (text.length <= characters) return text;
  const end = text.slice(-Math.floor(characters));
  for (const border of [/\n\s*/u, /[.!?…]["'”’»)]*\s+/u, /\s+/u]) {
    const found = border.exec(end);
    if (found && found.index < end.length / 2) return end.slice(found.index + found[0].length);
  }
  return end;
}

/** Pieces without the first spaces, of which `spaces` stand in the text already. */
async function* joined(pieces: AsyncIterable<Piece>, spaces: number): AsyncGenerator<Stroke> {
  let begun = spaces === 0;
  let cut = 0;
  for await (const { text, tokens, promptTokens, prefilled, finish, copiedFrom } of pieces) {
    const kept = begun ? text : text.replace(/^[ \t]+/, "");
    cut += text.length - kept.length;
    begun ||= text !== "";
    const from = copiedFrom === undefined ? undefined : Math.max(0, copiedFrom - cut);
    yield { text: kept, tokens, promptTokens, prefilled, finish, copiedFrom: from };
  }
}
