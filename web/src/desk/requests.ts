/** What can be asked for a passage. */
export type Change = "mine" | "shorter" | "longer";

/** What is asked of the model for each sentence; a small one keeps to a sentence where it loses a paragraph. */
const tasks = {
  mine: "Rewrite this sentence in other words:",
  shorter: "Rewrite this sentence with fewer words:",
} as const satisfies Partial<Record<Change, string>>;

/** A change that is made sentence by sentence. */
export type Rewording = keyof typeof tasks;

/** Words that a rewording may have for each word of the sentence, and the share of its words that must be known from it. */
const limits: Record<Rewording, { most: number; known: number }> = {
  mine: { most: 1.4, known: 0.3 },
  shorter: { most: 0.95, known: 0.6 },
};

/** A sentence with fewer words than this is left as it is. */
const FEWEST_WORDS = 4;

/** The message to the model, in the language that its instructions were learned in. */
export function request(change: Rewording, sentence: string): string {
  return `${tasks[change]}\n\n${sentence.trim()}`;
}

/** Tokens that a text of about so many characters may take. */
export function tokensFor(characters: number): number {
  return Math.ceil(characters / 2.5) + 16;
}

/** The sentences of a passage, each with the white space after it. */
export function sentencesOf(passage: string): string[] {
  const segments = new Intl.Segmenter(undefined, { granularity: "sentence" }).segment(passage);
  return Array.from(segments, ({ segment }) => segment);
}

/** Whether a sentence is long enough to be said in another way. */
export function worthwhile(sentence: string): boolean {
  return wordsOf(sentence).length >= FEWEST_WORDS;
}

/** Whether an answer is another version of the sentence, and not something else that came to the model's mind. */
export function suits(change: Rewording, sentence: string, answer: string): boolean {
  const before = wordsOf(sentence);
  const after = wordsOf(answer);
  if (after.length === 0 || answer.trim() === sentence.trim()) return false;
  const { most, known } = limits[change];
  const seen = new Set(before);
  return (
    after.length <= before.length * most &&
    after.filter((word) => seen.has(word)).length >= after.length * known
  );
}

/** An answer without what a small model likes to put around it, in the white space of the sentence. */
export function answerOnly(answer: string, sentence: string): string {
  let text = answer.trim();
  const quoted = /^["“„«](?<inside>[^"”“»]*)["”“»]$/u.exec(text)?.groups?.["inside"];
  if (quoted !== undefined && !/^["“„«]/u.test(sentence.trim())) text = quoted.trim();
  const [before = ""] = /^\s*/u.exec(sentence) ?? [];
  const [after = ""] = /\s*$/u.exec(sentence) ?? [];
  return `${before}${text}${after}`;
}

/** A text up to the end of its last whole sentence, where it has one. */
export function wholeSentences(text: string): string {
  const last = [...text.matchAll(/[.!?…。！？]["'”’»)]*(?=\s|$)/gu)].at(-1);
  return last ? text.slice(0, last.index + last[0].length) : text.trimEnd();
}

function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}'’]+/gu) ?? [];
}
