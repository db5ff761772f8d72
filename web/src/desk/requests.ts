/** What can be asked for a passage. */
export type Change = "mine" | "shorter" | "longer";

/** Words of the result for each word of the passage, at most. */
const MOST: Record<Change, number> = { mine: 1.5, shorter: 0.8, longer: 2.5 };

/** The message to the model, in the one language that its instructions were learned in. */
export function request(change: Change, passage: string): string {
  const tasks: Record<Change, string> = {
    mine: "Rewrite this text in other words, with the same meaning. Answer with the rewritten text only.",
    shorter: "Make this text much shorter and keep its meaning. Answer with the shortened text only.",
    longer: "Make this text longer with more detail. Answer with the longer text only.",
  };
  return `${tasks[change]}\n\n${passage.trim()}`;
}

/** Tokens that an answer may have, for a passage of so many characters. */
export function tokensFor(change: Change, characters: number): number {
  return Math.ceil((characters / 3) * MOST[change]) + 24;
}

/** The answer without what a small model likes to put around it, and with the white space of the passage. */
export function answerOnly(answer: string, passage: string, whole: boolean): string {
  let text = answer.trim();
  // "Here is the shortened text:" and its like, on a line of their own.
  text = text.replace(/^(?:sure|here|the (?:rewritten|shortened|longer))\b[^\n]*:\s*\n*/iu, "");
  const quoted = /^["“„«](?<inside>[\s\S]*)["”“»]$/u.exec(text)?.groups?.["inside"];
  if (quoted !== undefined && !/^["“„«]/u.test(passage.trim())) text = quoted;
  // A passage of one paragraph stays one.
  if (!/\n/u.test(passage.trim())) text = text.split(/\n+/u, 1)[0] ?? "";
  if (!whole) text = wholeSentences(text);
  const [before = ""] = /^\s*/u.exec(passage) ?? [];
  const [after = ""] = /\s*$/u.exec(passage) ?? [];
  return `${before}${text.trim()}${after}`;
}

/** A text up to the end of its last whole sentence, where it has one. */
function wholeSentences(text: string): string {
  const ends = [...text.matchAll(/[.!?…]["'”’»)]*(?=\s|$)/gu)];
  const last = ends.at(-1);
  return last ? text.slice(0, last.index + last[0].length) : text;
}
