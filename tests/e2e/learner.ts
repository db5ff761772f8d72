import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Page } from "@playwright/test";
import type * as Package from "../../web/src/index.js";
import { expect, test } from "./fixture.js";
import { Host } from "./server.js";
import { smallModel } from "./small-model.js";

declare global {
  var imprint: typeof Package;
  var opened: Package.Imprint;
  var learning: Package.LearningRun;
  var reports: Package.LearnProgress[];
}

/** The beginning of "Pride and Prejudice" (Jane Austen, 1813): 20 kB in the public domain. */
export const pride = readFileSync(resolve(import.meta.dirname, "../fixtures/pride.txt"), "utf8");
/** A few steps on half of it, where a test needs an adapter and not a good one. */
export const quick: Package.LearnOptions = {
  name: "Quick",
  recipe: { passes: 0.25, window: 64, interval: 0.125, rate: 0.005 },
};

/** Serves the package, the small model and `files` to each test of a file, which begins on a page of that host. */
export function onSmallHost(files: Record<string, Uint8Array> = {}): { host: Host } {
  const place = {} as { host: Host };
  test.beforeAll(async ({ baseURL }) => {
    const host = new Host(new URL("models/SmolLM2-135M-Instruct-Q4_1.gguf", baseURL).href);
    host.files.set("/small.gguf", smallModel());
    for (const [path, bytes] of Object.entries(files)) host.files.set(path, bytes);
    await host.start();
    place.host = host;
  });
  test.afterAll(() => place.host.stop());
  test.beforeEach(async ({ page, laws }) => {
    laws.allow(place.host.url);
    await enter(page, place.host);
  });
  return place;
}

/** Loads the package into a page of the host. */
export async function enter(page: Page, host: Host): Promise<void> {
  await page.goto(host.url);
  await page.evaluate(async () => {
    const address = "/pkg/index.js";
    globalThis.imprint = (await import(address)) as typeof Package;
  });
}

/** Opens the small model on a device, in a Worker unless `worker` is false. */
export async function open(page: Page, device: "cpu" | "webgpu", worker = true): Promise<void> {
  const kind = await page.evaluate(
    async (options) => {
      globalThis.opened = await imprint.Imprint.open({ model: "/small.gguf", ...options });
      return opened.device.kind;
    },
    { device, worker },
  );
  expect(kind).toBe(device);
}

/** Begins to learn; what it reports is in `reports`. */
export async function learn(page: Page, options: Package.LearnOptions, text = pride): Promise<void> {
  await page.evaluate(
    ([text, options]) => {
      globalThis.reports = [];
      globalThis.learning = opened.learn(text, { ...options, onProgress: (report) => reports.push(report) });
    },
    [text, options] as const,
  );
}

/** Goes on with the only run that is kept. */
export async function resume(page: Page): Promise<void> {
  await page.evaluate(async () => {
    globalThis.reports = [];
    const [run] = await opened.runs.list();
    if (!run) throw new Error("no run is kept");
    globalThis.learning = opened.runs.resume(run.id, { onProgress: (report) => reports.push(report) });
  });
}

/** Waits until a step is reported. */
export async function step(page: Page, wanted: number): Promise<void> {
  await page.waitForFunction((wanted) => (reports.at(-1)?.step ?? -1) >= wanted, wanted, {
    timeout: 120_000,
  });
}

/** Waits for the end; gives the adapter or the code of the error where there is one. */
export function done(page: Page): Promise<Package.AdapterInfo | string> {
  return page.evaluate(() =>
    learning.done.catch((error: Package.ImprintError) => `${error.code}: ${error.message}`),
  );
}

/** Waits for the adapter. */
export async function adapter(page: Page): Promise<Package.AdapterInfo> {
  const made = await done(page);
  if (typeof made === "string") throw new Error(made);
  return made;
}

/** Writes a little, always with the same seed. */
export function write(page: Page, options: Package.WriteOptions = {}): Promise<string> {
  return page.evaluate(async (options) => {
    let text = "";
    for await (const piece of opened.write("Mr. Bennet", { maxTokens: 24, seed: 5, ...options }))
      text += piece.text;
    return text;
  }, options);
}
