import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "./fixture.js";
import { onSmallHost } from "./learner.js";

/** Where Gemma 3 270M lies; without it the test must fail, not pass. */
const file = process.env["IMPRINT_GEMMA"] ?? "";
const fixture = resolve(import.meta.dirname, "../fixtures/gemma3.json");
const { prompts } = JSON.parse(readFileSync(fixture, "utf8")) as {
  prompts: { name: string; text: string; ids: number[]; greedy_text: string; greedy_margin: number[] }[];
};
/** Ten words that the golden run is sure of. */
const tokens = 10;

onSmallHost({ "/gemma.gguf": file ? readFileSync(file) : new Uint8Array() });

test("Gemma 3 loads on the GPU, writes the golden words and takes two steps of learning", async ({
  page,
}) => {
  test.setTimeout(480_000);
  const prompt = prompts.find(({ name }) => name === "short-fact");
  if (!prompt) throw new Error("the golden numbers have no short fact");
  expect(
    Math.min(...prompt.greedy_margin.slice(0, tokens)),
    "the margins allow a comparison",
  ).toBeGreaterThan(0.05);
  const found = await page.evaluate(
    async ({ text, ids, tokens }) => {
      const opened = await imprint.Imprint.open({ model: "/gemma.gguf", device: "webgpu" });
      let written = "";
      for await (const piece of opened.write(text, { temperature: 0, maxTokens: tokens }))
        written += piece.text;
      const learned = await opened.learningTest({ sequences: [ids], steps: 2, rate: 1e-3 });
      const { kind, reason } = opened.device;
      await opened.close();
      return { written, kind, reason, architecture: opened.info.architecture, ...learned };
    },
    { text: prompt.text, ids: prompt.ids, tokens },
  );
  expect(found.reason).toBeUndefined();
  expect(found).toMatchObject({ kind: "webgpu", device: "webgpu", architecture: "gemma3" });
  expect(found.written.length).toBeGreaterThan(tokens);
  expect(prompt.greedy_text.slice(0, found.written.length)).toBe(found.written);
  expect(found.losses).toHaveLength(2);
  const [first = NaN, second = NaN] = found.losses;
  expect(second, `losses ${found.losses.join(", ")}`).toBeLessThan(first - 0.01);
});
