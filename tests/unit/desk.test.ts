import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { difference, edits } from "../../web/src/desk/difference.js";
import { lastOf, Pen } from "../../web/src/desk/pen.js";
import {
  answerOnly,
  request,
  sentencesOf,
  suits,
  wholeSentences,
  worthwhile,
} from "../../web/src/desk/requests.js";
import type { WriteOptions } from "../../web/src/engine.js";
import { ImprintError } from "../../web/src/errors.js";
import type { Imprint } from "../../web/src/imprint.js";
import { titleOf } from "../../web/src/page/drafts.js";

/** A model that says what it is told to, for prompts that are short enough. */
function model(says: string[], longest = Infinity) {
  const prompts: string[] = [];
  const imprint = {
    info: { contextTokens: 300 },
    async *write(prompt: string, { signal }: WriteOptions & { signal: AbortSignal }) {
      prompts.push(prompt);
      if (prompt.length > longest) throw new ImprintError("context-full");
      for (const [at, text] of says.entries()) {
        await Promise.resolve();
        if (signal.aborted) throw ImprintError.cancelled(signal);
        yield { text, tokens: at + 1, promptTokens: 1, prefilled: 1, copiedFrom: at > 1 ? 3 : undefined };
      }
    },
  };
  return { imprint: imprint as unknown as Imprint, prompts };
}

async function written(pen: Pen, text: string): Promise<string> {
  let all = "";
  const { signal } = new AbortController();
  for await (const piece of pen.after(text, { signal, maxTokens: 100 })) all += piece.text;
  return all;
}

describe("the pen", () => {
  it("shows the model no space at the end, and adds none twice", async () => {
    const { imprint, prompts } = model([" was", " calm"]);
    const pen = new Pen(() => undefined);
    pen.imprint = imprint;
    assert.equal(await written(pen, "The sea "), "was calm");
    assert.equal(await written(pen, "The sea"), " was calm");
    assert.deepEqual(prompts, ["The sea", "The sea"]);
  });

  it("keeps lines apart that the person set apart", async () => {
    const { imprint, prompts } = model(["It"]);
    const pen = new Pen(() => undefined);
    pen.imprint = imprint;
    await written(pen, "One.\n\n");
    assert.deepEqual(prompts, ["One.\n\n"]);
  });

  it("lets the model read the end of a text that is too long for it", async () => {
    const { imprint, prompts } = model([" end"], 350);
    const pen = new Pen(() => undefined);
    pen.imprint = imprint;
    const text = Array.from({ length: 200 }, (_, n) => `Sentence ${n} is here.`).join(" ");
    assert.equal(await written(pen, text), " end");
    assert.equal(prompts.length, 2);
    for (const prompt of prompts) assert.ok(text.endsWith(prompt) && prompt.startsWith("Sentence"), prompt);
  });

  it("is in one hand at a time, and a suggestion gives way", async () => {
    const pen = new Pen(() => undefined);
    pen.imprint = model([]).imprint;
    let stopped = false;
    const ghost = pen.take("ghost", (signal) => {
      const stop = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      return stop.then(() => void (stopped = true));
    });
    let release = (): void => undefined;
    const first = pen.take("continue", () => new Promise((resolve) => (release = resolve)));
    assert.equal(await pen.take("ways", async () => undefined), undefined);
    assert.deepEqual(await ghost, { state: "stopped" });
    assert.ok(stopped);
    assert.equal(pen.task, "continue");
    release();
    assert.deepEqual(await first, { state: "done" });
    assert.equal(pen.task, undefined);
  });

  it("tells an error as one, and a stop as a stop", async () => {
    const pen = new Pen(() => undefined);
    pen.imprint = model([]).imprint;
    const broken = await pen.take("continue", () => Promise.reject(new ImprintError("device-lost")));
    assert.equal(broken?.state === "broken" && broken.error.code, "device-lost");
    const stopped = await pen.take("continue", () => Promise.reject(new ImprintError("cancelled")));
    assert.deepEqual(stopped, { state: "stopped" });
  });

  it("reads from the beginning of a paragraph, a sentence or a word", () => {
    assert.equal(lastOf("One two.\nThree four five six.", 24), "Three four five six.");
    assert.equal(lastOf("One two. Three four five six seven", 28), "Three four five six seven");
    assert.equal(lastOf("onetwothree four five six seven eight", 30), "four five six seven eight");
    assert.equal(lastOf("short", 30), "short");
  });
});

describe("a difference", () => {
  const apply = (old: string, other: string): string => {
    let text = old;
    for (const { from, to, insert } of edits(difference(old, other), 0).reverse())
      text = text.slice(0, from) + insert + text.slice(to);
    return text;
  };

  it("makes one text the other, whatever they are", () => {
    const texts = [
      "The sea was calm and grey.",
      "The old sea was grey.",
      "",
      "  Ganz anders,\n\nund länger. ",
      "שלום",
    ];
    for (const old of texts) for (const other of texts) assert.equal(apply(old, other), other);
  });

  it("shows changes that stand close together as one", () => {
    const stretches = difference(
      "a row of old trees stood there for years",
      "a line of tall trees stood there for years",
    );
    assert.deepEqual(
      stretches.map((stretch) => stretch.in),
      ["both", "old", "new", "both"],
    );
  });

  it("leaves the words alone that both texts share", () => {
    const stretches = difference("The sea was calm.", "The sea was very calm.");
    assert.deepEqual(
      stretches.filter((stretch) => stretch.in !== "both").map(({ text }) => text.trim()),
      ["very"],
    );
  });
});

describe("what is asked for a passage", () => {
  it("is asked by the sentence, and nothing of the passage is lost between them", () => {
    const passage = " The sea was calm. I swam!  Then we slept.\n";
    assert.equal(sentencesOf(passage).join(""), passage);
    assert.equal(sentencesOf(passage).length, 3);
    assert.ok(request("shorter", " The sea. ").endsWith("\n\nThe sea."));
    assert.equal(worthwhile("I swam."), false);
  });

  it("an answer loses its quotes and gets the white space of the sentence", () => {
    assert.equal(answerOnly('"Calm sea."', " The sea was calm. "), " Calm sea. ");
    assert.equal(answerOnly('"Calm," he said.', "It was calm."), '"Calm," he said.');
  });

  it("an answer that is longer, the same, or about something else is not taken", () => {
    const sentence = "I think that we should probably try to meet again sometime next week.";
    assert.ok(suits("shorter", sentence, "I think we should meet again next week."));
    assert.ok(!suits("shorter", sentence, sentence));
    assert.ok(!suits("shorter", sentence, `${sentence} It would be good to meet.`));
    assert.ok(!suits("shorter", sentence, "I am a helpful assistant."));
    assert.ok(suits("mine", sentence, "We should meet once more next week, I think."));
    assert.ok(!suits("mine", sentence, "A child's distress is a common misinterpretation of experience."));
  });

  it("a text that was cut off ends with its last whole sentence", () => {
    assert.equal(wholeSentences(" It was calm. Then the"), " It was calm.");
    assert.equal(wholeSentences(" no end at all "), " no end at all");
  });
});

it("a draft is called by its first line that says something", () => {
  assert.equal(titleOf("\n\n  The sea  \nand more"), "The sea");
  assert.equal(titleOf(" \n "), "");
  const long = titleOf("word ".repeat(40));
  assert.ok(long.length <= 61 && long.endsWith("word…"), long);
});
