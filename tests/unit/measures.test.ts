import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import {
  amount,
  flowing,
  isGerman,
  label,
  likeness,
  readable,
  rhythm,
  sentences,
  words,
} from "../../web/src/elements/measures.js";

/** The repository's root; written in by the bundler. */
declare const ROOT: string;

const pride = readFileSync(join(ROOT, "tests/fixtures/pride.txt"), "utf8");
const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0);

it("a sentence ends at its mark, and not at a title or an initial", () => {
  assert.deepEqual(sentences("Mr. Bennet was silent. Dr. A. Smith spoke! Did I? So did I. Yes."), [
    "Mr. Bennet was silent.",
    "Dr. A. Smith spoke!",
    "Did I?",
    "So did I.",
    "Yes.",
  ]);
  assert.deepEqual(sentences(""), []);
  assert.deepEqual(sentences(" \n "), []);
});

it("sentences of other scripts end too", () => {
  assert.equal(sentences("これは本です。あれも本です。").length, 2);
  assert.equal(sentences("هذا كتاب. هل قرأته؟ نعم.").length, 3);
});

it("marks and spaces are no words", () => {
  assert.deepEqual(words("Well — it's 3 o'clock, isn't it?"), [
    "Well",
    "it's",
    "3",
    "o'clock",
    "isn't",
    "it",
  ]);
  assert.deepEqual(amount("One two. Three!"), { words: 3, sentences: 2 });
  assert.deepEqual(amount(""), { words: 0, sentences: 0 });
});

it("a wrapped line ends no sentence, a line of verse does", () => {
  const wrapped = `It is a truth universally acknowledged, that a single man in\npossession of a good fortune, must be in want\nof a wife.\r\n\r\nHowever.`;
  assert.equal(sentences(flowing(wrapped)).length, 2);
  assert.equal(sentences(flowing("So much depends\nupon\na red wheel\nbarrow")).length, 4);
});

it("the shares of a spread make one, and its middle is its median", () => {
  const { sentences: spread, words: letters, beat } = rhythm([pride]);
  assert.ok(Math.abs(sum(spread.shares) - 1) < 1e-9);
  assert.ok(Math.abs(sum(letters.shares) - 1) < 1e-9);
  // Austen's figures by the core's own measure are near these.
  assert.ok(spread.median >= 12 && spread.median <= 22, `median ${spread.median}`);
  assert.ok(spread.mean > spread.median, "a few long sentences pull the mean up");
  assert.equal(beat.length, 24);
});

it("a sentence of five words stands among those of one to five", () => {
  const { sentences: spread } = rhythm(["One two three four five. One two three four five six."]);
  assert.deepEqual(spread.shares.slice(0, 3), [0.5, 0.5, 0]);
  assert.equal(spread.median, 5.5);
  assert.equal(label(spread, 0), "1–5");
  assert.equal(label(spread, 11), "56+");
  assert.equal(label({ shares: [0, 0, 0], width: 1 }, 1), "2");
});

it("a text that stops anywhere is measured without its broken sentence", () => {
  const cut = ["It rained. The sea was", "Nobody came. “Who is it?”"];
  assert.deepEqual(rhythm(cut, { broken: true }).beat, [2, 2, 3]);
  assert.deepEqual(rhythm(cut).beat, [2, 3, 2, 3]);
});

it("nothing measures as nothing", () => {
  const { sentences: spread, words: letters, beat } = rhythm(["", "…!"]);
  assert.deepEqual([spread.count, spread.mean, spread.median, letters.count, beat.length], [0, 0, 0, 0, 0]);
  assert.equal(sum(spread.shares), 0);
  assert.equal(likeness(spread, spread), 0);
});

it("a spread is like itself, and unlike what lies elsewhere", () => {
  const short = rhythm(["He came. She saw. We left."]).sentences;
  const long = rhythm([`${"and so on ".repeat(10)}it went.`]).sentences;
  assert.ok(Math.abs(likeness(short, short) - 1) < 1e-9);
  assert.equal(likeness(short, long), 0);
});

it("markup is no part of what is measured", () => {
  const page = `<head><title>No.</title></head><p>One&nbsp;day.</p><script>var a = 1. + 2.;</script><p>It <b>rained</b>.</p>`;
  assert.deepEqual(rhythm([readable(page, "a.HTML")]).beat.length, 2);
  assert.deepEqual(rhythm([readable("# Title\n\n- It rained.\n\n```\nx = 1.\n```\n", "a.md")]).beat, [1, 2]);
  assert.equal(readable("<p>", "a.txt"), "<p>");
});

it("a long text is read in part, at once", () => {
  const started = performance.now();
  const { sentences: spread } = rhythm(Array.from({ length: 100 }, () => pride));
  assert.ok(spread.count > 500);
  assert.ok(performance.now() - started < 5_000);
});

it("German is told from English", () => {
  assert.equal(isGerman(pride), false);
  assert.equal(
    isGerman("Der Mond ist aufgegangen, die goldnen Sternlein prangen, und ich bin nicht müde."),
    true,
  );
  assert.equal(isGerman(""), false);
});
