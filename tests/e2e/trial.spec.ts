import type { Page } from "@playwright/test";
import type * as Package from "../../web/src/index.js";
import { beforeWorker, expect, Room, script, test } from "./fixture.js";
import { onSmallHost } from "./learner.js";

onSmallHost();

/**
 * Makes this page's driver compute wrongly: kernels that hold `text` are compiled as if they held `wrong`.
 *
 * Runs in the page, or before the script of a Worker.
 */
function spoil({ text, wrong }: { text: string; wrong: string }): void {
  const make = GPUDevice.prototype.createShaderModule;
  GPUDevice.prototype.createShaderModule = function (descriptor): GPUShaderModule {
    return make.call(this, { ...descriptor, code: descriptor.code.replaceAll(text, wrong) });
  };
}

type Opened = { device: Package.DeviceInfo; text: string } | { code: string; message: string };

/** Has this browser's GPU, which is a program on the processor, pass as a card; runs in the page, or before a Worker. */
function disguise(): void {
  const told = Object.getOwnPropertyDescriptor(GPUAdapter.prototype, "info")!.get!;
  const get = function (this: GPUAdapter): GPUAdapterInfo {
    const info = told.call(this) as GPUAdapterInfo;
    const { subgroupMinSize, subgroupMaxSize } = info;
    const card = { vendor: "acme", architecture: "", device: "", description: "", isFallbackAdapter: false };
    return { ...card, subgroupMinSize, subgroupMaxSize } as GPUAdapterInfo;
  };
  Object.defineProperty(GPUAdapter.prototype, "info", { get });
}

/** Opens the small model in the page itself, and writes a few tokens. */
function open(page: Page, device: "auto" | "webgpu" | "cpu"): Promise<Opened> {
  return page.evaluate(async (device) => {
    try {
      const opened = await imprint.Imprint.open({ model: "/small.gguf", device, worker: false });
      let text = "";
      const options = { temperature: 0, maxTokens: 12 };
      for await (const piece of opened.write("The lamp", options)) text += piece.text;
      await opened.close();
      return { device: opened.device, text };
    } catch (thrown) {
      const { code, message } = thrown as Package.ImprintError;
      return { code, message };
    }
  }, device);
}

test("a GPU that computes rightly is used, and told what its trial took", async ({ page }) => {
  const opened = await open(page, "webgpu");
  expect(opened).toMatchObject({ device: { kind: "webgpu" } });
  const { device } = opened as { device: Package.DeviceInfo };
  expect(device.reason).toBeUndefined();
  expect(device.trialMs).toBeGreaterThan(0);
});

test("of itself Imprint takes a card, and the processor where the GPU is only a program on it", async ({
  page,
}) => {
  const software = (await open(page, "auto")) as { device: Package.DeviceInfo; text: string };
  expect(software.device.kind).toBe("cpu");
  expect(software.device.reason).toMatch(/^the GPU .*swiftshader.* is a program on the processor/);
  await page.evaluate(disguise);
  const card = (await open(page, "auto")) as { device: Package.DeviceInfo; text: string };
  expect(card.device).toMatchObject({ kind: "webgpu", description: "acme" });
  expect(card.text).toBe(software.text);
});

test("a GPU that computes wrongly in every cut is refused by name", async ({ page }) => {
  await page.evaluate(spoil, { text: "dot(l0, p0)", wrong: "0.9 * dot(l0, p0)" });
  const opened = await open(page, "webgpu");
  expect(opened).toMatchObject({ code: "device-wrong" });
  expect((opened as { message: string }).message).toMatch(/^the GPU computes wrongly: .*read a token/);
});

test("where one cut of the kernels computes wrongly, another takes over, and the words are right", async ({
  page,
}) => {
  const right = (await open(page, "cpu")) as { text: string };
  // Invocations exchange numbers in no other cut.
  await page.evaluate(spoil, { text: "quadSwapX(f0)", wrong: "quadSwapY(f0)" });
  const opened = (await open(page, "webgpu")) as { device: Package.DeviceInfo; text: string };
  expect(opened.device.kind).toBe("webgpu");
  expect(opened.device.reason).toMatch(/^other kernels are used: .*read a prompt/);
  expect(opened.text).toBe(right.text);
});

test("the page writes on the processor where the GPU is a program on it, and says so", async ({ page }) => {
  const room = new Room(page);
  await room.enter();
  await room.small("auto");
  await expect(room.device).toHaveAttribute("data-kind", "cpu");
  await expect(room.device).toContainText("is a program on the processor, which is faster without it");
});

test("the page says that the GPU computes wrongly, and writes on the processor", async ({
  page,
  baseURL,
}) => {
  const text = "* scale * weight[i]";
  const wrong = script(spoil, { text, wrong: `${text} * 1.1` });
  await beforeWorker(page, baseURL, script(disguise, undefined), wrong);
  const room = new Room(page);
  await room.enter();
  await room.small("auto");
  await expect(room.device).toHaveAttribute("data-kind", "cpu");
  await expect(room.device).toContainText("the GPU computes wrongly");
  // A script that is still on its way when the page goes cannot be changed any more.
  await page.unrouteAll({ behavior: "ignoreErrors" });
});
