import type * as Package from "../../web/src/index.js";
import { beforeWorker, expect, Room, script, test } from "./fixture.js";
import {
  adapter,
  done,
  enter,
  learn,
  open,
  pride,
  quick,
  resume,
  onSmallHost,
  step,
  write,
} from "./learner.js";
import { stored, tables } from "./stored.js";

const place = onSmallHost();

for (const device of ["cpu", "webgpu"] as const) {
  test(`a run on ${device} that is broken off by closing its page goes on in the next one`, async ({
    page,
    context,
  }) => {
    await open(page, device);
    await learn(page, { name: "Broken off", recipe: { passes: 2, window: 64 } });
    await step(page, 2);
    await page.close();
    const next = await context.newPage();
    await enter(next, place.host);
    await open(next, device);
    await resume(next);
    await step(next, 3);
    await next.evaluate(() => learning.pause());
    expect(await next.evaluate(() => learning.state)).toBe("paused");
  });
}

test("a cancel ends the run within one step and removes it with its texts", async ({ page }) => {
  await open(page, "cpu");
  const code = await page.evaluate(async (text) => {
    const abort = new AbortController();
    const onProgress = ({ step }: Package.LearnProgress): void => {
      if (step >= 2) abort.abort();
    };
    const recipe = { passes: 5, window: 64 };
    const run = opened.learn(text, { recipe, onProgress, signal: abort.signal });
    return run.done.catch((error: Package.ImprintError) => error.code);
  }, pride);
  expect(code).toBe("cancelled");
  await page.evaluate(() => opened.score("The worker is free again."));
  expect(tables(await stored(page))).toEqual({});
});

test("one tab learns, another is told", async ({ page, context }) => {
  await open(page, "cpu");
  await learn(page, { recipe: { passes: 10, window: 64 } });
  await step(page, 1);
  const other = await context.newPage();
  await enter(other, place.host);
  await open(other, "cpu");
  await learn(other, quick);
  expect(await done(other)).toMatch(/^busy: another tab/);
  const refused = await other.evaluate(() =>
    opened.forgetEverything().catch((error: Package.ImprintError) => error.code),
  );
  expect(refused).toBe("busy");
  await page.evaluate(() => learning.pause());
  await resume(other);
  await step(other, 1);
});

test("what cannot be learned from is refused with its code, and nothing is kept", async ({ page }) => {
  await open(page, "cpu");
  const refused = async (text: string, options: Package.LearnOptions = {}): Promise<unknown> => {
    await learn(page, options, text);
    return done(page);
  };
  expect(await refused("Too short.")).toMatch(/^text-too-short/);
  expect(await refused(pride.repeat(110))).toMatch(/^text-too-long/);
  expect(await refused(pride, { recipe: { rank: 0 } })).toMatch(/^invalid-option: rank is 0/);
  // Steps too small to move a number.
  const still = { ...quick.recipe, rate: 1e-7, clip: 1e-6, eps: 1e-2 };
  expect(await refused(pride, { recipe: still })).toMatch(/^nothing-learned: the held-out text/);
  expect(tables(await stored(page))).toEqual({});
});

/** Makes this page's GPU tell of too little memory, where somebody asks, the next `times`. */
function starve(times: number): void {
  const { pushErrorScope: push, popErrorScope: pop } = GPUDevice.prototype;
  const asked: GPUErrorFilter[] = [];
  GPUDevice.prototype.pushErrorScope = function (filter): void {
    asked.push(filter);
    return push.call(this, filter);
  };
  GPUDevice.prototype.popErrorScope = async function (): Promise<GPUError | null> {
    const starved = asked.pop() === "out-of-memory" && times-- > 0;
    const error = await pop.call(this);
    return starved ? new GPUOutOfMemoryError("too little memory") : error;
  };
}

test("on a GPU with less memory than hoped a run does with less, and one with none harms no writing", async ({
  page,
}) => {
  await open(page, "webgpu", false);
  const written = await write(page);
  await page.evaluate(starve, 1);
  await learn(page, quick);
  expect((await adapter(page)).name).toBe("Quick");
  await page.evaluate(starve, 1e9);
  await learn(page, quick);
  expect(await done(page)).toMatch(/^out-of-memory: the GPU has too little memory to learn from 64 tokens/);
  expect(await write(page)).toBe(written);
});

test("the page tells of a run that finds no memory, and its model goes on writing", async ({
  page,
  baseURL,
}) => {
  await beforeWorker(page, baseURL, script(starve, 1e9));
  const room = new Room(page);
  await room.enter();
  await room.small("webgpu");
  await expect(room.device).toHaveAttribute("data-kind", "webgpu");
  await room.go("Voice");
  await page.getByLabel("Texts to learn from").fill(pride.slice(0, 8000));
  await page.getByRole("button", { name: "Learn", exact: true }).click();
  await expect(page.locator("imprint-teacher").getByRole("alert")).toContainText(/not enough memory/);
  await room.go("Write");
  await room.dial({ length: 8, temperature: 0 });
  await room.text.fill("The lamp");
  expect((await room.write()).length).toBeGreaterThan(0);
  await page.unrouteAll({ behavior: "ignoreErrors" });
});

test("what learning would do is told before it begins, with the counts of the run itself", async ({
  page,
}) => {
  await open(page, "cpu");
  const plan = await page.evaluate((text) => {
    const rubbish = new File([Uint8Array.from({ length: 4000 }, (_, i) => (i * i * 31) % 256)], "photo.txt");
    return opened.plan([text, text, rubbish], { effort: "light" });
  }, pride);
  expect(plan.counts.learned.documents).toBe(1);
  expect(plan.counts.dropped.map(({ reason }) => reason)).toContain("repeated");
  expect(plan.counts.problems.map(({ name }) => name)).toEqual(["photo.txt"]);
  expect(plan.recipe.passes).toBe(1);
  expect(plan.memoryBytes).toBeGreaterThan(100_000);
  await learn(page, { effort: "light" }, pride);
  await step(page, 1);
  const [first] = await page.evaluate(() => reports);
  expect(first?.steps).toBe(plan.steps);
  expect(first?.counts?.learned).toEqual(plan.counts.learned);
  const short = await page.evaluate(() =>
    opened.plan("Too short.").catch((error: Package.ImprintError) => error.code),
  );
  expect(short).toBe("text-too-short");
});

test("texts stay only where that was asked for, and go on their own or with the adapter", async ({
  page,
}) => {
  await open(page, "cpu");
  await learn(page, { ...quick, keepTexts: true }, pride.slice(0, 6000));
  const made = await adapter(page);
  expect(made.textBytes).toBe(6000);
  const kept = await page.evaluate(async (id) => {
    const [file] = await opened.adapters.texts(id);
    return file?.text();
  }, made.id);
  expect(kept).toBe(pride.slice(0, 6000));
  expect(tables(await stored(page))).toEqual({ adapters: 1, "adapter-files": 1, "run-texts": 1 });
  const after = await page.evaluate(async (id) => {
    await opened.adapters.forgetTexts(id);
    const [left] = await opened.adapters.list();
    const code = await opened.adapters.texts(id).catch((error: Package.ImprintError) => error.code);
    return { bytes: left?.textBytes, code };
  }, made.id);
  expect(after).toEqual({ bytes: 0, code: "invalid-option" });
  expect(tables(await stored(page))).toEqual({ adapters: 1, "adapter-files": 1 });
  await learn(page, { ...quick, keepTexts: true }, pride.slice(0, 6000));
  const other = await adapter(page);
  await page.evaluate((id) => opened.adapters.delete(id), other.id);
  expect(tables(await stored(page))).toEqual({ adapters: 1, "adapter-files": 1 });
});
