import type * as Package from "../../web/src/index.js";
import { expect, test } from "./fixture.js";
import { goldenRun } from "./golden-run.js";
import { adapter, enter, learn, pride, onSmallHost, write } from "./learner.js";

/** How far a loss may be from the golden one, in nats; natively it is within a thousandth. */
const near = 5e-3;

const place = onSmallHost();

for (const device of ["webgpu", "cpu"] as const) {
  test(`three steps on the real model match the golden run on ${device}`, async ({ page }) => {
    const { sequences, rate, losses, parameters } = goldenRun();
    // Playwright sends no typed array as it is: bytes go as text.
    const bytes = Buffer.from(parameters.buffer).toString("base64");
    const found = await page.evaluate(
      async ({ device, sequences, rate, bytes }) => {
        const raw = Uint8Array.from(atob(bytes), (character) => character.charCodeAt(0));
        const parameters = new Float32Array(raw.buffer);
        const opened = await imprint.Imprint.open({ model: "/model.gguf", device });
        const told: number[] = [];
        const onStep = (step: number): number => told.push(step);
        const test = await opened.learningTest({ sequences, parameters, steps: 3, rate }, { onStep });
        await opened.close();
        return { ...test, told };
      },
      { device, sequences, rate, bytes },
    );
    expect(found.device).toBe(device);
    expect(found.told).toEqual([1, 2, 3]);
    expect(found.losses).toHaveLength(3);
    for (const [step, loss] of found.losses.entries()) {
      const golden = losses[step] ?? NaN;
      expect(Math.abs(loss - golden), `step ${step}: loss ${loss}, golden ${golden}`).toBeLessThan(near);
    }
  });
}

test("numbers that cannot be learned from are refused before the first step", async ({ page }) => {
  const refused = await page.evaluate(async () => {
    const opened = await imprint.Imprint.open({ model: "/small.gguf", device: "cpu" });
    const good = { sequences: [[1, 2, 3]], steps: 1, rate: 1e-3 };
    const bad = [
      { ...good, sequences: [[1]] },
      { ...good, sequences: [[1, 2, 300]] },
      { ...good, steps: 0 },
      { ...good, parameters: new Float32Array(7) },
    ];
    const codes: string[] = [];
    for (const trial of bad) {
      const code = opened.learningTest(trial).then(
        () => "learned",
        (error: Package.ImprintError) => error.code,
      );
      codes.push(await code);
    }
    const { losses } = await opened.learningTest(good);
    await opened.close();
    return { codes, steps: losses.length };
  });
  expect(refused).toEqual({ codes: Array(4).fill("invalid-option"), steps: 1 });
});

test("the real model learns on the GPU, and its adapter still writes after a reload", async ({ page }) => {
  const open = async (): Promise<void> => {
    await page.evaluate(async () => {
      globalThis.opened = await imprint.Imprint.open({ model: "/model.gguf", device: "webgpu" });
    });
  };
  const few: Package.WriteOptions = { temperature: 0, maxTokens: 4 };
  await open();
  const base = await write(page, few);
  // Some 560 tokens; three large steps, as short as they come, between the only two measurements.
  const recipe = { window: 32, passes: 0.16, interval: 1, rate: 2e-3, warmup: 0 };
  await learn(page, { name: "Jane", recipe }, pride.slice(0, 2300));
  const made = await adapter(page);
  const { steps, losses } = await page.evaluate(() => ({
    steps: reports.at(-1)?.step,
    losses: reports.flatMap((report) => report.losses),
  }));
  expect(steps).toBe(3);
  expect(losses).toHaveLength(3);
  expect(losses.every(({ nll }) => nll > 1 && nll < 8)).toBe(true);
  const { before, fullest } = made.measures ?? {};
  expect(fullest?.bitsPerChar).toBeLessThan(before?.bitsPerChar ?? 0);
  await enter(page, place.host);
  await open();
  const kept = await page.evaluate(() => opened.adapters.list());
  expect(kept.map(({ id, name }) => ({ id, name }))).toEqual([{ id: made.id, name: "Jane" }]);
  const own = await write(page, { ...few, adapter: made.id, strength: 1 });
  expect(own).not.toBe("");
  expect(own).not.toBe(base);
});
