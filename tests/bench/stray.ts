// Whether an engine runs the model that it is said to run: it goes on from a golden text as the golden run did.
import { readFileSync } from "node:fs";

/** A text, its tokens, what greedy writing made of it, and how far ahead of the next token each of these was. */
export type Golden = { text: string; ids: number[]; greedy_ids: number[]; greedy_margin: number[] };

/** A margin in logits that rounded weights hardly overturn. */
const sureMargin = 2;

/** The first golden text of a file of golden numbers. */
export function golden(path: string): Golden {
  const { prompts } = JSON.parse(readFileSync(path, "utf8")) as { prompts: Golden[] };
  const [first] = prompts;
  if (!first) throw new Error(`${path} holds no text`);
  return first;
}

/**
 * Why `ids`, written greedily after `prompt`, are not what this model writes after the golden text; `undefined` where they may
 * be.
 *
 * Up to the first token that differs both runs read the same. There the golden run must have been unsure; the texts differ
 * from then on, and the rest tells nothing. The first token of all must be the golden one.
 */
export function stray(golden: Golden, prompt: number[], ids: number[]): string | undefined {
  if (prompt.join() !== golden.ids.join())
    return `it reads “${golden.text}” as other tokens: ${prompt.join(", ")}`;
  if (ids.length === 0) return "it writes nothing after a known text";
  const at = ids.findIndex((id, i) => id !== golden.greedy_ids[i]);
  const margin = golden.greedy_margin[at] ?? Infinity;
  if (at < 0 || (at > 0 && margin < sureMargin)) return undefined;
  return `it writes token ${ids[at]} where the model writes ${golden.greedy_ids[at]}, ${at} tokens after a known text`;
}
