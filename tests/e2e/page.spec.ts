import { chromium, type Page } from "@playwright/test";
import { executablePath } from "./chromium.js";
import { expect, golden, gpuProcess, Laws, Room, test } from "./fixture.js";

test("a first visit offers the model, says its size and fetches none of it", async ({ page }) => {
  const fetched: string[] = [];
  page.on("request", (request) => {
    if (request.url().endsWith(".gguf") && request.method() !== "HEAD") fetched.push(request.url());
  });
  const room = new Room(page);
  await room.enter();
  await expect(page.locator('[data-part="size"]')).toHaveText("98.4 MB");
  await room.text.fill("Hello");
  await expect(room.continue).toBeDisabled();
  expect(fetched).toEqual([]);
});

test("the model loads on the GPU and continues the golden sentence with the golden words", async ({
  page,
}) => {
  const { text, greedy_text, greedy_margin } = golden("short-fact");
  const room = new Room(page);
  await room.enter();
  await room.choose("webgpu");
  await room.load.click();
  await expect(page.getByRole("progressbar")).toBeVisible();
  await room.ready();
  await expect(room.device).toContainText("on the GPU");
  await room.text.fill(text);
  const length = 8;
  expect(Math.min(...greedy_margin.slice(0, length)), "the margins allow a comparison").toBeGreaterThan(0.05);
  await room.dial({ length, temperature: 0, repetition: 1 });
  const written = await room.write();
  expect(written.length).toBeGreaterThan(length);
  expect(greedy_text.slice(0, written.length)).toBe(written);
  await expect(page.getByText(`${length} written`)).toBeVisible();

  await test.step("what was written can be taken back, and undone", async () => {
    await page.getByRole("button", { name: "Take back" }).click();
    await expect.poll(() => room.value()).toBe(text);
    await page.keyboard.press("Control+z");
    await expect.poll(() => room.value()).toBe(text + written);
  });

  await test.step("the same seed writes the same text", async () => {
    await page.getByRole("button", { name: "Take back" }).click();
    await room.dial({ length, temperature: 1, seed: 7 });
    const first = await room.write();
    await page.getByRole("button", { name: "Take back" }).click();
    expect(await room.write()).toBe(first);
  });
});

test("Stop and Escape end the writing within one token, and it can go on", async ({ page }) => {
  const room = new Room(page);
  await room.enter();
  await room.load.click();
  await room.ready();
  await room.dial({ length: 512, temperature: 0.8, seed: 1 });
  await room.text.fill("Once upon a time");
  for (const stop of [() => room.stop.click(), () => page.keyboard.press("Escape")]) {
    const before = await room.value();
    await room.text.press("Control+Enter");
    await expect.poll(() => room.value()).not.toBe(before);
    await stop();
    await expect(room.continue).toBeVisible({ timeout: 1_000 });
    const stopped = await room.value();
    await page.waitForTimeout(3_000);
    expect(await room.value(), "no word comes after the stop").toBe(stopped);
  }
});

test("a reload works with the network cut", async ({ page, context }) => {
  const room = new Room(page);
  await room.enter();
  await room.load.click();
  await room.ready();
  await page.evaluate(async () => {
    const { active } = await navigator.serviceWorker.ready;
    if (active?.state === "activated") return;
    await new Promise((resolve) => active?.addEventListener("statechange", resolve, { once: true }));
  });
  await room.text.fill("The old house at the end of the road");
  await page.waitForTimeout(1_000);

  await context.setOffline(true);
  await context.route("**/*", (route) => route.abort());
  await page.reload();
  await room.ready();
  await expect.poll(() => room.value()).toBe("The old house at the end of the road");
  await room.dial({ length: 8, temperature: 0 });
  expect((await room.write()).length).toBeGreaterThan(0);
});

test("the processor writes when chosen, and the page says so", async ({ page }) => {
  const room = new Room(page);
  await room.enter();
  await room.choose("cpu");
  await room.load.click();
  await room.ready();
  await expect(room.device).toContainText("on the processor");
  await room.text.fill(golden("short-fact").text);
  await room.dial({ length: 8, temperature: 0, repetition: 1 });
  const written = await room.write(200_000);
  expect(golden("short-fact").greedy_text.slice(0, written.length)).toBe(written);
});

for (const [name, args] of [
  ["without WebGPU", ["--disable-blink-features=WebGPU"]],
  ["with WebGPU but no adapter", ["--disable-gpu", "--disable-software-rasterizer"]],
] as const) {
  test(`a browser ${name} falls back to the processor and says why`, async ({ baseURL }) => {
    const browser = await chromium.launch({
      executablePath,
      args: ["--no-sandbox", "--disable-quic", ...args],
    });
    try {
      const context = await browser.newContext({ baseURL: baseURL ?? "" });
      const laws = new Laws(context, baseURL ?? "");
      await laws.watch();
      const room = new Room(await context.newPage());
      await room.enter();
      await room.load.click();
      await room.ready();
      await expect(room.device).toContainText(/on the processor.*: .{10,}/);
      laws.check();
    } finally {
      await browser.close();
    }
  });
}

test("a file that is no model is refused with a sentence that says what to do", async ({ page }) => {
  const room = new Room(page);
  await room.enter();
  await page.getByText("Another model, another device").click();
  const buffer = Buffer.from("This is a letter, not a model. ".repeat(100));
  await page.getByLabel("A GGUF file of yours").setInputFiles({ name: "letter.gguf", mimeType: "", buffer });
  const error = page.getByRole("alert");
  await expect(error).toContainText("The model file is damaged");
  await expect(error).toHaveAttribute("data-code", "model-corrupt");
  await expect(room.load).toBeVisible();
});

test("loading can be cancelled and begun again at once", async ({ page }) => {
  const room = new Room(page);
  await room.enter();
  await room.load.click();
  await page.getByRole("button", { name: "Cancel" }).click();
  await expect(page.getByRole("alert")).toHaveAttribute("data-code", "cancelled");
  await room.load.click();
  await room.ready();
});

test("a GPU that goes away is told in a sentence, and the model can be loaded again", async ({
  page,
  browser,
}) => {
  const room = new Room(page);
  await room.enter();
  await room.choose("webgpu");
  await room.load.click();
  await room.ready();
  await room.text.fill("The lamp went out");
  await room.dial({ length: 8, temperature: 0 });
  process.kill((await gpuProcess(browser)).id, "SIGKILL");
  await room.continue.click();
  const error = page.getByRole("alert");
  await expect(error).toHaveAttribute("data-code", "device-lost");
  await expect(error).toContainText("Load the model again");
  await room.load.click();
  await room.ready();
  expect((await room.write()).length).toBeGreaterThan(0);
});

test("the site carries the licences of what it is made of", async ({ request, baseURL }) => {
  const answer = await request.get(new URL("THIRD-PARTY.txt", baseURL).href);
  const text = await answer.text();
  expect(answer.ok(), text.slice(0, 200)).toBe(true);
  for (const name of ["uplot", "fflate", "tokenizers", "wgpu"])
    expect(text).toMatch(new RegExp(`^- ${name} `, "m"));
});

test("the keyboard alone is enough, and the page has no unnamed control", async ({ page }) => {
  const room = new Room(page);
  await room.enter();
  const seen: string[] = [];
  for (let step = 0; step < 12; step += 1) {
    await page.keyboard.press("Tab");
    seen.push(
      await page.evaluate(
        () => document.activeElement?.getAttribute("data-part") ?? document.activeElement?.tagName ?? "",
      ),
    );
  }
  expect(seen).toEqual(expect.arrayContaining(["load", "sheet", "SUMMARY"]));
  await page.getByText("How it writes").click();
  expect(await unnamed(page)).toEqual([]);
});

test("whatever has the keyboard shows it, in every place", async ({ page }) => {
  const room = new Room(page);
  await room.enter();
  for (const place of ["Write", "Voice", "Library"] as const) {
    await room.go(place);
    const seen = new Set<string>();
    for (let step = 0; step < 40; step += 1) {
      await page.keyboard.press("Tab");
      const { name, shown } = await page.evaluate(() => {
        let element = document.activeElement ?? document.body;
        while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
        const { outlineStyle, outlineWidth } = getComputedStyle(element);
        const ringed = outlineStyle !== "none" && Number.parseFloat(outlineWidth) >= 2;
        // In the sheet the caret shows it.
        const caret =
          element.matches(".cm-content") && getComputedStyle(element).caretColor !== "transparent";
        return { name: element.outerHTML.slice(0, 80), shown: ringed || caret || element === document.body };
      });
      expect(shown, name).toBe(true);
      seen.add(name);
    }
    expect(seen.size, place).toBeGreaterThan(8);
  }
});

/** Controls in sight that have no name for a screen reader. */
function unnamed(page: Page): Promise<string[]> {
  return page.evaluate(() =>
    [...document.querySelectorAll<HTMLInputElement>("button, input, select, textarea, summary, progress")]
      .filter((control) => control.checkVisibility())
      .filter((control) => !(control.labels?.length || control.textContent?.trim() || control.ariaLabel))
      .map((control) => control.outerHTML),
  );
}
