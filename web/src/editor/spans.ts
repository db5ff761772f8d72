/** Stretches of a text, sorted and apart: where each begins, and where it ends, in turn. */
export type Spans = readonly number[];

/** Where a place of the old text is in the new one; `side` says on which side of an insertion it stays. */
export type Move = (at: number, side: -1 | 1) => number;

/** The stretches together with `from` to `to`. */
export function add(spans: Spans, from: number, to: number): Spans {
  if (from >= to) return spans;
  const made: number[] = [];
  let [start, end] = [from, to];
  each(spans, (a, b) => {
    if (b < start || a > end) made.push(a, b);
    else [start, end] = [Math.min(start, a), Math.max(end, b)];
  });
  made.push(start, end);
  return sorted(made);
}

/** The stretches without what stands between `from` and `to`. */
export function remove(spans: Spans, from: number, to: number): Spans {
  if (from >= to) return spans;
  const made: number[] = [];
  each(spans, (a, b) => {
    if (a < Math.min(b, from)) made.push(a, Math.min(b, from));
    if (Math.max(a, to) < b) made.push(Math.max(a, to), b);
  });
  return made;
}

/** The stretches after a change of the text; what is inserted at a border is not part of them. */
export function move(spans: Spans, moved: Move): Spans {
  let made: Spans = [];
  each(spans, (a, b) => {
    made = add(made, moved(a, 1), moved(b, -1));
  });
  return made;
}

/** Calls `visit` for each stretch. */
export function each(spans: Spans, visit: (from: number, to: number) => void): void {
  for (let at = 0; at + 1 < spans.length; at += 2) visit(spans[at] ?? 0, spans[at + 1] ?? 0);
}

/** Whether anything between `from` and `to` stands in a stretch. */
export function touches(spans: Spans, from: number, to: number): boolean {
  let touched = false;
  each(spans, (a, b) => {
    touched ||= a < to && from < b;
  });
  return touched;
}

const letter = /[\p{L}\p{M}\p{N}'’-]/u;

/**
 * What a change touched of a text: itself, and the words that it cut or grew.
 *
 * `from` to `to` is what stands there now, `removed` what stood there before. A word beside the change is touched where a
 * letter came or went next to it, and not where only a space did.
 */
export function touchedBy(
  text: string,
  from: number,
  to: number,
  removed: string,
): [from: number, to: number] {
  const now = text.slice(from, to);
  const edge = (at: 0 | -1): boolean => letter.test(now.at(at) ?? "") || letter.test(removed.at(at) ?? "");
  let [start, end] = [from, to];
  if (edge(0)) while (start > 0 && letter.test(text.charAt(start - 1))) start -= 1;
  if (edge(-1)) while (end < text.length && letter.test(text.charAt(end))) end += 1;
  return [start, end];
}

/** The share of a text that does not stand in the stretches, 0 to 1, white space left out; 1 for an empty text. */
export function shareOutside(spans: Spans, text: string): number {
  const letters = (piece: string): number => piece.replaceAll(/\s+/g, "").length;
  const all = letters(text);
  let inside = 0;
  each(spans, (a, b) => {
    inside += letters(text.slice(a, b));
  });
  return all === 0 ? 1 : (all - inside) / all;
}

function sorted(spans: number[]): Spans {
  const pairs: [number, number][] = [];
  each(spans, (a, b) => void pairs.push([a, b]));
  return pairs.sort(([a], [b]) => a - b).flat();
}
