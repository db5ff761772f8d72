// What `cargo xtask bench` asks of the browser half.
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    /** Where the package, wllama and the model are served. */
    site: { type: "string" },
    model: { type: "string" },
    /** A text whose words and stops are a token each; it is repeated. */
    text: { type: "string" },
    prompt: { type: "string" },
    tokens: { type: "string" },
    runs: { type: "string" },
    /** `writing`, or `learning`, which also wants the windows' lengths and the address of an adapter in PEFT's layout. */
    part: { type: "string" },
    windows: { type: "string" },
    adapter: { type: "string" },
    /** Another engine to write with; only `transformers.js` is known. */
    against: { type: "string" },
    /** For it: the golden numbers that it is held to, the seconds that a prompt may take on a GPU, and its wasm module. */
    golden: { type: "string" },
    limit: { type: "string" },
    runtime: { type: "string" },
    out: { type: "string" },
  },
});
export const given = (name: keyof typeof values): boolean => values[name] !== undefined;
export const text = (name: keyof typeof values): string => {
  const value = values[name];
  if (value === undefined) throw new Error(`--${name} is missing`);
  return value;
};
export const number = (name: keyof typeof values): number => Number(text(name));
/** The first words and stops of the text, over and over. */
export function prompt(tokens: number): string {
  const words = text("text").match(/ ?\p{L}+|[^\p{L}\s]/gu) ?? [];
  return Array.from({ length: tokens }, (_, i) => {
    const word = words[i % words.length] ?? "";
    return i > 0 && i % words.length === 0 ? ` ${word}` : word;
  }).join("");
}
