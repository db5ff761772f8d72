import type { Page } from "@playwright/test";
import type * as Package from "../../web/src/index.js";
import { expect, gpuProcess, test } from "./fixture.js";
import { adapter, done, enter, learn, open, pride, resume, onSmallHost, step } from "./learner.js";
import { stored, tables } from "./stored.js";

/** Some sixty steps with four measurements between the first and the last. */
const options: Package.LearnOptions = {
  name: "Resumed",
  recipe: { passes: 1, window: 64, interval: 0.2, rate: 0.005 },
};
const text = pride.slice(0, 4500);

const place = onSmallHost();

/** All that was reported of a run. */
type Journal = { losses: Package.Loss[]; measurements: Package.Measurement[] };

function journal(page: Page): Promise<Journal> {
  return page.evaluate(() => ({
    losses: reports.flatMap((report) => report.losses),
    measurements: reports.flatMap((report) => report.measurements),
  }));
}

for (const device of ["cpu", "webgpu"] as const) {
  test(`a run on ${device} that was paused and resumed in another page learns what an unbroken one learns`, async ({
    page,
  }) => {
    await open(page, device);
    await learn(page, options, text);
    const unbroken = await adapter(page);
    const expected = await journal(page);
    expect(expected.losses.length).toBeGreaterThan(50);
    expect(expected.measurements).toHaveLength(6);

    await learn(page, options, text);
    // From within the page, so that the run cannot end before.
    const paused = await page.evaluate(async () => {
      while ((reports.at(-1)?.step ?? 0) < 10) await new Promise((resolve) => setTimeout(resolve, 5));
      await learning.pause();
      const [run] = await opened.runs.list();
      return run?.step ?? 0;
    });
    expect(paused).toBeGreaterThanOrEqual(10);
    expect(paused).toBeLessThan(expected.losses.length);
    await enter(page, place.host);
    await open(page, device);
    await resume(page);
    const resumed = await adapter(page);
    // The first report of a resumed run tells all that was before.
    const found = await journal(page);
    expect(found.losses.map(({ step }) => step)).toEqual(expected.losses.map(({ step }) => step));
    expect(found.measurements.map(({ step }) => step)).toEqual(expected.measurements.map(({ step }) => step));
    for (const kind of ["losses", "measurements"] as const) {
      for (const [i, { step, nll }] of found[kind].entries()) {
        const other = expected[kind][i]?.nll ?? NaN;
        expect(Math.abs(nll - other), `${kind} at step ${step}: ${nll}, unbroken ${other}`).toBeLessThan(
          1e-4,
        );
      }
    }
    expect(resumed.measures?.ending).toBe(unbroken.measures?.ending);
    expect(resumed.measures?.fullest.step).toBe(unbroken.measures?.fullest.step);
  });
}

test("a run whose GPU goes away is kept, and ends on the next one", async ({ page, browser }) => {
  await open(page, "webgpu");
  await learn(page, { ...options, recipe: { ...options.recipe, passes: 2 } }, text);
  await step(page, 5);
  process.kill((await gpuProcess(browser)).id, "SIGKILL");
  expect(await done(page)).toMatch(/^device-lost: .*resume/);
  expect(await page.evaluate(() => learning.state)).toBe("failed");
  expect(tables(await stored(page))).toEqual({ runs: 1, "run-checkpoints": 1, "run-texts": 1 });
  await page.evaluate(() => opened.close());
  await open(page, "webgpu");
  await resume(page);
  const made = await adapter(page);
  expect(made.name).toBe("Resumed");
  expect(made.measures?.fullest.bitsPerChar).toBeLessThan(made.measures?.before.bitsPerChar ?? 0);
  expect(tables(await stored(page))).toEqual({ adapters: 1, "adapter-files": 1 });
});
