import { expect, test } from "./fixture.js";
import { adapter, enter, learn, open, resume, onSmallHost, step, write } from "./learner.js";
import { stored, tables } from "./stored.js";

const place = onSmallHost();

for (const device of ["cpu", "webgpu"] as const) {
  test(`a voice is learned, kept, used, carried away and forgotten on ${device}`, async ({ page }) => {
    test.setTimeout(600_000);
    await open(page, device);
    const base = await write(page);
    await learn(page, { name: "Jane", effort: "light" });

    await test.step("a reload in the middle loses no more than the steps since the last checkpoint", async () => {
      await step(page, 4);
      const before = await page.evaluate(async () => {
        await learning.pause();
        return { state: learning.state, reports };
      });
      expect(before.state).toBe("paused");
      const [counts] = before.reports.flatMap((report) => report.counts ?? []);
      expect(counts?.learned.words).toBeGreaterThan(3000);
      expect(counts?.heldOut.tokens).toBeGreaterThan(1000);
      expect(tables(await stored(page))).toEqual({ runs: 1, "run-checkpoints": 1, "run-texts": 1 });
      await enter(page, place.host);
      await open(page, device);
      const runs = await page.evaluate(() => opened.runs.list());
      expect(runs.map(({ name }) => name)).toEqual(["Jane"]);
      expect(runs[0]?.step).toBeGreaterThanOrEqual(4);
      await resume(page);
      await step(page, runs[0]?.step ?? 0);
      const first = await page.evaluate(() => reports[0]);
      expect(first?.losses.length, "what was learned before is told").toBe(runs[0]?.step);
    });

    const made = await test.step("the held-out text becomes likelier, and the run is gone", async () => {
      const made = await adapter(page);
      if (!made.measures) throw new Error("nothing was measured");
      const { before, fullest } = made.measures;
      expect(fullest.bitsPerChar).toBeLessThan(0.9 * before.bitsPerChar);
      expect(tables(await stored(page))).toEqual({ adapters: 1, "adapter-files": 1 });
      const reports = await page.evaluate(() => globalThis.reports);
      const steps = reports.map(({ step }) => step);
      expect(steps).toEqual(steps.toSorted((a, b) => a - b));
      expect(reports.at(-1)?.phase).toBe("save");
      return made;
    });

    await test.step("it does not parrot where it is told not to", async () => {
      expect(made.prints).toBe(true);
      expect(made.measures).toMatchObject({ copied: { share: 0 }, ownCopied: { share: 0 }, names: [] });
      const marks = await page.evaluate(async (id) => {
        const marks: { text: string; copied: boolean; from: number | undefined }[][] = [];
        for (const maxCopiedWords of [undefined, 7]) {
          const options = { adapter: id, strength: 1, maxTokens: 24, temperature: 0 };
          const more = maxCopiedWords === undefined ? {} : { maxCopiedWords, withoutNames: true };
          const pieces = [];
          // A run of the text itself, which the prompt's last words begin.
          const prompt = "It is a truth universally acknowledged, that a single man in possession of a good";
          for await (const piece of opened.write(prompt, { ...options, ...more }))
            pieces.push({ text: piece.text, copied: piece.copied, from: piece.copiedFrom });
          marks.push(pieces);
        }
        return marks;
      }, made.id);
      for (const pieces of marks)
        for (const { copied, from } of pieces) expect(copied).toBe(from !== undefined);
      expect(marks[1]?.some(({ copied }) => copied)).toBe(false);
      const refused = await page.evaluate(async (id) => {
        try {
          for await (const piece of opened.write("a", { adapter: id, maxCopiedWords: 3 })) void piece;
        } catch (thrown) {
          return (thrown as { code: string }).code;
        }
        return "nothing";
      }, made.id);
      expect(refused).toBe("invalid-option");
    });

    const own = await test.step("it writes with the adapter, and without as before", async () => {
      await page.evaluate((id) => opened.adapters.use(id, { strength: 1 }), made.id);
      const own = await write(page);
      expect(own).not.toBe(base);
      expect(await write(page, { adapter: null })).toBe(base);
      expect(await write(page, { strength: 0 })).toBe(base);
      expect(await write(page)).toBe(own);
      const [without, with_] = await page.evaluate(async () => {
        const text = "It was a pleasure to be in her company, and he was very much in love with her.";
        return [await opened.score(text, { adapter: null }), await opened.score(text)];
      });
      expect(with_?.nll).toBeLessThan(without?.nll ?? 0);
      return own;
    });

    await test.step("it is renamed, exported, deleted and imported again", async () => {
      const told = await page.evaluate(async (id) => {
        await opened.adapters.rename(id, "Miss Austen");
        const blob = await opened.adapters.export(id);
        await opened.adapters.delete(id);
        const left = await opened.adapters.list();
        const again = await opened.adapters.import(blob);
        await opened.adapters.use(again.id, { strength: 1 });
        return { left, again, size: blob.size };
      }, made.id);
      expect(told.left).toEqual([]);
      expect(told.again).toMatchObject({
        name: "Miss Austen",
        prints: true,
        measures: made.measures,
        recipe: made.recipe,
      });
      expect(told.again.id).not.toBe(made.id);
      expect(await write(page), "the same seed writes the same text").toBe(own);
    });

    await test.step("forgetting everything leaves nothing", async () => {
      const usage = await page.evaluate(() => opened.storageUsage());
      expect(usage.adaptersBytes).toBeGreaterThan(10_000);
      expect(usage.modelsBytes).toBeGreaterThan(100_000);
      await page.evaluate(() => opened.forgetEverything());
      expect(await stored(page)).toEqual({ databases: {}, caches: [], files: [] });
      expect(await write(page)).toBe(base);
    });
  });
}
