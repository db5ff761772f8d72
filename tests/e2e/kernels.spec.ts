import type { Page } from "@playwright/test";
import type * as Package from "../../web/src/index.js";
import { expect, test } from "./fixture.js";
import { onSmallHost } from "./learner.js";

onSmallHost();

type Told = { device: Package.DeviceInfo; text: string };

/** Opens the small model, writes a few tokens, and tells which kernels did it. */
function open(page: Page, given: { device: Package.DeviceChoice; measureKernels?: boolean }): Promise<Told> {
  return page.evaluate(async (given) => {
    const opened = await imprint.Imprint.open({ model: "/small.gguf", worker: false, ...given });
    let text = "";
    for await (const piece of opened.write("The lamp", { temperature: 0, maxTokens: 12 })) text += piece.text;
    await opened.close();
    return { device: opened.device, text };
  }, given);
}

/** What is kept of measurements, or what `change` makes of it. */
function kept(page: Page, change?: string): Promise<string[]> {
  return page.evaluate(async (change) => {
    const cache = await caches.open("imprint-kernels");
    const keys = await cache.keys();
    if (change !== undefined) for (const key of keys) await cache.put(key, new Response(change));
    return Promise.all(keys.map(async (key) => (await cache.match(key))!.text()));
  }, change);
}

test("kernels are measured when asked for, kept for the next time, and write the same", async ({ page }) => {
  const cpu = await open(page, { device: "cpu" });
  expect(cpu.device.kernels).toBeUndefined();

  // A processor that poses as a GPU is not measured by itself.
  const plain = await open(page, { device: "webgpu" });
  expect(plain.device.tried).toBeUndefined();
  expect(plain.device.kernels).toMatch(/^walking along the rows, /);
  expect(await kept(page)).toEqual([]);

  const measured = await open(page, { device: "webgpu", measureKernels: true });
  const tried = measured.device.tried!;
  expect(tried.length).toBeGreaterThan(1);
  expect(tried[0]!.kernels).toBe(plain.device.kernels);
  expect(new Set(tried.map(({ kernels }) => kernels)).size).toBe(tried.length);
  for (const { tokenMs, promptMs } of tried) expect(Math.min(tokenMs, promptMs)).toBeGreaterThan(0);
  expect(tried.map(({ kernels }) => kernels)).toContain(measured.device.kernels);
  const found = await kept(page);
  expect(found).toHaveLength(1);

  // What was found is what the next opening begins with, whatever that is.
  const other = JSON.parse(found[0]!) as { cut: Record<string, unknown> };
  Object.assign(other.cut, { rows: 2, lanes: 8, group: 64, subgroup: null, walk: false });
  await kept(page, JSON.stringify(other));
  const again = await open(page, { device: "webgpu" });
  expect(again.device.tried).toBeUndefined();
  expect(again.device.kernels).toMatch(/^2 rows, 8 lanes, /);
  for (const { text } of [plain, measured, again]) expect(text).toBe(cpu.text);
});

test("what is kept of a measurement and makes no sense is not believed", async ({ page }) => {
  await open(page, { device: "webgpu", measureKernels: true });
  // The core's own laws know more of it.
  for (const nonsense of [
    "{",
    '{"cut":{"rows":3,"lanes":7,"group":64,"subgroup":null,"tile":{"Apart":4}}}',
  ]) {
    await kept(page, nonsense);
    expect((await open(page, { device: "webgpu" })).device.kernels).toMatch(/^walking along the rows, /);
  }
});
