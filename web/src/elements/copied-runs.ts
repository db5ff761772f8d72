import type { Piece } from "../imprint.js";
import { words } from "../words/words.js";

/** Gathers a text from its pieces and knows which stretches of it stand in copied runs. */
export class CopiedRuns {
  #text = "";
  readonly #runs: { from: number; to: number }[] = [];

  /** Takes the next piece. */
  add({ text, copiedFrom }: Pick<Piece, "text" | "copiedFrom">): void {
    this.#text += text;
    if (copiedFrom === undefined) return;
    const to = this.#text.trimEnd().length;
    const last = this.#runs.at(-1);
    if (last && copiedFrom <= last.to) last.to = to;
    else this.#runs.push({ from: copiedFrom, to });
  }

  /** Where the runs stand. */
  get spans(): readonly { from: number; to: number }[] {
    return this.#runs;
  }

  /** Where the latest run stands, if there is one. */
  get latest(): { from: number; to: number } | undefined {
    return this.#runs.at(-1);
  }

  /** The runs word for word. */
  get runs(): string[] {
    return this.#runs.map(({ from, to }) => this.#text.slice(from, to).trim());
  }

  /** The text with its copied runs marked, to be shown. */
  get nodes(): (string | HTMLElement)[] {
    const nodes: (string | HTMLElement)[] = [];
    let end = 0;
    for (const { from, to } of this.#runs) {
      nodes.push(this.#text.slice(end, from), marked(this.#text.slice(from, to)));
      end = to;
    }
    return [...nodes, this.#text.slice(end)];
  }
}

/** Words as they are underlined where they are copied. */
export function marked(run: string): HTMLElement {
  const mark = document.createElement("mark");
  mark.className = "copied";
  mark.dataset["wordsTitle"] = "draft.inYours";
  mark.title = words().draft.inYours;
  mark.textContent = run;
  return mark;
}
