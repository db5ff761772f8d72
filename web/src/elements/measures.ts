/** How a text moves, measured in the page: pure functions over strings, without a model. */

/** How a measure is spread over stretches of equal width; the last stretch holds all that is longer. */
export type Spread = {
  /** How many were measured. */
  count: number;
  /** Their mean, and the one in the middle; 0 of none. */
  mean: number;
  median: number;
  /** The share of them in each stretch. */
  shares: number[];
  width: number;
};

/** The movement of a text. */
export type Rhythm = {
  /** Words in each sentence. */
  sentences: Spread;
  /** Letters in each word. */
  words: Spread;
  /** Words of the first sentences, in the order in which they stand. */
  beat: number[];
};

/** Words and sentences of a text. */
export type Amount = { words: number; sentences: number };

/** Stretches of a picture: sentences by five words, words by the letter. */
const SENTENCE = { width: 5, stretches: 12 };
const WORD = { width: 1, stretches: 14 };
/** Sentences of a beat: as many as bars fit on a phone. */
const BEAT = 24;
/** Characters that are measured of a text: far more than a picture needs, and read at once. */
const MOST = 200_000;

/** Words that a full stop shortens before a name; the same as in the core. */
const TITLES = new Set(
  "mr mrs ms dr st prof rev capt col gen lt sr jr hon mme mlle messrs hr fr vs".split(" "),
);

const bySentence = new Intl.Segmenter(undefined, { granularity: "sentence" });
const byWord = new Intl.Segmenter(undefined, { granularity: "word" });

/** The sentences of `text` by Unicode's rules, but a title or an initial ends none. */
export function sentences(text: string): string[] {
  const found: string[] = [];
  let open = "";
  for (const { segment } of bySentence.segment(text)) {
    open += segment;
    if (shortened(segment)) continue;
    found.push(open.trim());
    open = "";
  }
  found.push(open.trim());
  return found.filter((sentence) => sentence !== "");
}

/** The words of `text` by Unicode's rules: no spaces and no marks. */
export function words(text: string): string[] {
  const found: string[] = [];
  for (const { segment, isWordLike } of byWord.segment(text)) if (isWordLike) found.push(segment);
  return found;
}

/** Counts the words and sentences of `text`. */
export function amount(text: string): Amount {
  return { words: words(text).length, sentences: sentences(flowing(text)).length };
}

/**
 * Measures `texts` as one.
 *
 * `broken` texts stop anywhere, as a model does at its last token: the last sentence of each counts only where it is
 * finished.
 */
export function rhythm(texts: readonly string[], { broken = false } = {}): Rhythm {
  const lengths: number[] = [];
  const letters: number[] = [];
  let room = MOST;
  for (const text of texts) {
    const taken = text.slice(0, room);
    const cut = broken || taken.length < text.length;
    room -= taken.length;
    for (const sentence of whole(sentences(flowing(taken)), cut)) {
      const said = words(sentence);
      if (said.length === 0) continue;
      lengths.push(said.length);
      for (const word of said) letters.push([...word].length);
    }
  }
  return { sentences: spread(lengths, SENTENCE), words: spread(letters, WORD), beat: lengths.slice(0, BEAT) };
}

/** How much two spreads have in common: the share of the one that also lies in the other, from 0 to 1. */
export function likeness(one: Spread, other: Spread): number {
  return one.shares.reduce((sum, share, i) => sum + Math.min(share, other.shares[i] ?? 0), 0);
}

/** Whether `text` reads as German rather than English, by its commonest words. */
export function isGerman(text: string): boolean {
  const said = words(text.slice(0, 20_000)).map((word) => word.toLowerCase());
  const hits = (common: ReadonlySet<string>): number => said.filter((word) => common.has(word)).length;
  return hits(GERMAN) > hits(ENGLISH);
}

const GERMAN = new Set("der die das und ist nicht ich ein eine zu den mit sich auf dem es".split(" "));
const ENGLISH = new Set("the and of to a in that it is was i he she with not his her".split(" "));

/** `text` with the breaks of wrapped lines undone: they end no sentence. Verse, whose lines are short, stays. */
export function flowing(text: string): string {
  return text
    .replaceAll(/\r\n?/g, "\n")
    .split(/\n[ \t]*\n/)
    .map((paragraph) => {
      const lines = paragraph.split("\n");
      const widest = Math.max(...lines.map((line) => line.trim().length));
      return widest >= WRAPPED ? lines.map((line) => line.trim()).join(" ") : paragraph;
    })
    .join("\n\n");
}

/** A paragraph with a line of so many characters is prose. */
const WRAPPED = 50;

/** The readable part of a file's text: markup is no sentence. It is only measured, never shown. */
export function readable(text: string, name: string): string {
  if (/\.html?$/i.test(name)) {
    return text
      .replaceAll(/<(script|style|head)\b[\s\S]*?<\/\1\s*>/gi, " ")
      .replaceAll(/<\/?(p|div|br|h[1-6]|li|blockquote|tr)\b[^>]*>/gi, "\n\n")
      .replaceAll(/<[^>]*>/g, "")
      .replaceAll(/&(#\d+|#x[\da-f]+|[a-z]+);/gi, "’");
  }
  if (/\.(md|markdown)$/i.test(name)) {
    return text.replaceAll(/^(```|~~~)[\s\S]*?^\1.*$/gm, "").replaceAll(/^[ \t]*(#{1,6}|[-*+>])[ \t]+/gm, "");
  }
  return text;
}

function whole(found: readonly string[], cut: boolean): readonly string[] {
  const finished = /[.!?…。！？؟۔]["'”’»“)\]]*$/u.test(found.at(-1) ?? "");
  return cut && !finished ? found.slice(0, -1) : found;
}

function shortened(segment: string): boolean {
  const match = /([\p{L}\p{N}]+)\.\s*$/u.exec(segment);
  const word = match?.[1] ?? "";
  // "I" ends sentences.
  const initial = [...word].length === 1 && word !== "I" && /\p{Lu}/u.test(word);
  return initial || TITLES.has(word.toLowerCase());
}

function spread(values: number[], { width, stretches }: { width: number; stretches: number }): Spread {
  const count = values.length;
  const shares = new Array<number>(stretches).fill(0);
  // A sentence of five words stands in the stretch 1–5.
  for (const value of values) shares[stretch(value, width, stretches)]! += 1 / count;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted[(count - 1) >> 1] ?? 0) + (sorted[count >> 1] ?? 0);
  const mean = count === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / count;
  return { count, mean, median: middle / 2, shares, width };
}

function stretch(value: number, width: number, stretches: number): number {
  return Math.min(Math.floor((value - 1) / width), stretches - 1);
}

/** What a stretch of a spread holds, in figures: `6–10`, `13`, `56+`. */
export function label({ shares, width }: Pick<Spread, "shares" | "width">, at: number): string {
  const from = at * width + 1;
  if (at === shares.length - 1) return `${from}+`;
  return width === 1 ? String(from) : `${from}–${from + width - 1}`;
}
