import { createHash } from "node:crypto";
import type { BrowserContext, Locator, Page } from "@playwright/test";
import type { DeviceLimits } from "../../web/src/limits.js";
import { expect, Room, test } from "./fixture.js";
import { pride } from "./learner.js";
import { smallModel } from "./small-model.js";

const small = Buffer.from(smallModel());
const other = Buffer.from(smallModel({ seed: 11 }));
const hash = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** Models on the page's own site, sent in parts where parts are asked for; notes what was sent. */
class Site {
  readonly files = new Map<string, Buffer>();
  readonly sent: { name: string; bytes: number; whole: boolean }[] = [];

  constructor(readonly url: string) {}

  static async open(context: BrowserContext, baseURL: string | undefined): Promise<Site> {
    const site = new Site(new URL("models/", baseURL).href);
    await context.route(/\/models\/[^/]+$/, async (route) => {
      const name = decodeURIComponent(route.request().url().split("/").at(-1) ?? "");
      const body = site.files.get(name);
      // The page's own model is there for whoever only asks.
      if (!body) return route.fulfill({ status: route.request().method() === "HEAD" ? 200 : 404 });
      const range = /^bytes=(\d+)-(\d*)$/.exec(route.request().headers()["range"] ?? "");
      const [from, to] = [Number(range?.[1] ?? 0), Math.min(Number(range?.[2] || Infinity), body.length - 1)];
      const part = body.subarray(from, to + 1);
      if (route.request().method() === "GET") site.sent.push({ name, bytes: part.length, whole: !range });
      const headers = range ? { "content-range": `bytes ${from}-${to}/${body.length}` } : {};
      return route.fulfill({ status: range ? 206 : 200, body: part, headers });
    });
    return site;
  }

  /** Says in `models.json` what lies here. */
  list(): void {
    const models = [...this.files].filter(([name]) => name.endsWith(".gguf"));
    const told = models.map(([file, bytes]) => ({ file, sizeBytes: bytes.length, sha256: hash(bytes) }));
    this.files.set("models.json", Buffer.from(JSON.stringify(told)));
  }

  /** Which files were asked for as a whole. */
  get wholes(): string[] {
    return this.sent.filter(({ whole, name }) => whole && name.endsWith(".gguf")).map(({ name }) => name);
  }
}

/** The offer of models, by what a person sees. */
class Offer {
  readonly element: Locator;
  readonly about: Locator;
  readonly unfit: Locator;
  readonly error: Locator;
  readonly accept: Locator;

  constructor(readonly page: Page) {
    this.element = page.locator("imprint-model");
    this.about = this.element.locator('[data-part="about"]');
    this.unfit = this.element.locator('[data-part="unfit"]');
    this.error = this.element.getByRole("alert");
    this.accept = this.element.getByRole("button", { name: "I accept" });
  }

  /** A model of the list. */
  row(name: string): Locator {
    return this.element.locator(".model").filter({ hasText: name });
  }

  /** Removes a kept model, which is asked back. */
  async forget(name: string): Promise<void> {
    const button = this.row(name).getByRole("button");
    await button.click();
    await button.click();
    await expect(button).toBeHidden();
  }

  async look(url: string, sha256 = ""): Promise<void> {
    await this.page.getByLabel("From an address").fill(url);
    if (sha256 !== "") {
      const field = this.page.getByLabel("SHA-256 of the file");
      if (!(await field.isVisible())) await this.page.getByText("Hold it to a hash").click();
      await field.fill(sha256);
    }
    await this.page.getByRole("button", { name: "Look at it" }).click();
  }

  async drop(name: string, bytes: Buffer): Promise<void> {
    const transfer = await this.page.evaluateHandle(
      ([name, bytes]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0))], name));
        return transfer;
      },
      [name, bytes.toString("base64")] as const,
    );
    await this.element.dispatchEvent("drop", { dataTransfer: transfer });
  }

  async fake(limits: DeviceLimits): Promise<void> {
    await this.element.evaluate(
      (element, limits) => Object.assign(element, { limits }),
      limits as Record<string, number>,
    );
  }
}

/** Opens the page at its offer, with the choices unfolded and the processor chosen. */
async function begin(page: Page): Promise<[Room, Offer]> {
  const room = new Room(page);
  await room.enter();
  await room.choose("cpu");
  return [room, new Offer(page)];
}

test("a model is looked at by its address before it is fetched, and held to a hash", async ({
  page,
  context,
  baseURL,
}) => {
  const site = await Site.open(context, baseURL);
  site.files.set("mine.gguf", small);
  const [room, offer] = await begin(page);
  const url = `${site.url}mine.gguf`;

  await test.step("its header tells what it needs, and a wrong hash is refused", async () => {
    await offer.look(url, "0".repeat(64));
    await expect(offer.about).toHaveText(
      /^mine · needs \d+\.\d MB on the GPU or \d+\.\d MB on the processor$/,
    );
    expect(site.wholes, "nothing but its beginning is fetched").toEqual([]);
    await room.load.click();
    await expect(offer.error).toHaveAttribute("data-code", "model-corrupt");
    await expect(offer.error).toContainText("0".repeat(64));
    await expect(offer.row("mine").getByRole("button", { name: "Forget" })).toBeHidden();
  });

  await test.step("the right one is kept", async () => {
    await offer.look(url, hash(small));
    await room.load.click();
    await room.ready();
    await page.getByRole("button", { name: "Change" }).click();
    await expect(offer.row("mine")).toContainText("open now");
  });

  await test.step("what the address gave first it must give again, also after it was forgotten", async () => {
    await offer.forget("mine");
    site.files.set("mine.gguf", other);
    await page.reload();
    await room.choose("cpu");
    await offer.look(url);
    await expect(offer.about).toContainText("mine");
    await room.load.click();
    await expect(offer.error).toHaveAttribute("data-code", "model-changed");
    await expect(offer.error).toContainText(hash(small));
    await expect(offer.error).toContainText(hash(other));
    await page.screenshot({ path: "tests/e2e/output/models-changed.png", fullPage: true });
  });

  await test.step("unless a person takes the new file", async () => {
    await page.getByRole("button", { name: "Take the new file" }).click();
    await room.ready();
    await page.reload();
    await room.ready();
    await expect(page.locator('imprint-model [data-part="name"]'), "the last one opens again").toHaveText(
      "mine",
    );
  });
});

test("where this page may not fetch from is said before anything is asked for", async ({ page }) => {
  const [, offer] = await begin(page);
  await offer.look("https://hub.example/model.gguf");
  await expect(offer.error).toHaveAttribute("data-code", "model-unreachable");
  await expect(offer.error).toContainText("may not fetch from hub.example");
  await expect(offer.error).toContainText("connect-src");
  await offer.look("model.gguf");
  await expect(offer.error).toHaveAttribute("data-code", "invalid-option");
});

test("models are kept side by side, and a voice brings its own model along", async ({
  page,
  context,
  baseURL,
}) => {
  test.setTimeout(240_000);
  const site = await Site.open(context, baseURL);
  site.files.set("one.gguf", small).set("two.gguf", other);
  site.list();
  const [room, offer] = await begin(page);
  const voices = page.locator("imprint-voices");
  const name = page.locator('imprint-model [data-part="name"]');

  await test.step("the site says what it has, and a model that it does not have says what to do", async () => {
    await expect(offer.row("one")).toBeVisible();
    await offer.row("Gemma 3 270M").getByRole("radio").check();
    await expect(offer.unfit).toContainText("Gemma 3 270M is not on this site. Drop its file here");
    await expect(room.load).toBeDisabled();
  });

  await test.step("a voice is learned on the first", async () => {
    await offer.row("one").getByRole("radio").check();
    await room.load.click();
    await room.ready();
    await room.go("Voice");
    await page.getByLabel("Texts to learn from").fill(pride.slice(0, 8000));
    await page.getByLabel("Name of the voice").fill("Jane");
    await page.getByRole("radio", { name: /Light/ }).check();
    await page.getByRole("button", { name: "Learn", exact: true }).click();
    await expect(page.getByRole("region", { name: "What was learned" })).toContainText("better", {
      timeout: 120_000,
    });
  });

  await test.step("with the second open it is not used, but offers its own", async () => {
    await page.getByRole("button", { name: "Change" }).click();
    await offer.row("two").getByRole("radio").check();
    await room.load.click();
    await room.ready();
    await expect(name).toHaveText("two");
    await room.go("Library");
    await expect(voices).toContainText("belongs to Small");
    await page.screenshot({ path: "tests/e2e/output/models-voice.png", fullPage: true });
    await voices.getByTitle("Open the model of Jane").click();
    await room.ready();
    await expect(name).toHaveText("one");
    await expect(voices.getByTitle("Use the voice Jane")).toHaveText("Stop using");
  });

  await test.step("both are listed with what belongs to them, and one goes without the other", async () => {
    const storage = page.locator("imprint-storage");
    await expect(storage.locator("li").filter({ hasText: "one.gguf" })).toContainText("Jane");
    await page.getByRole("button", { name: "Change" }).click();
    await expect(offer.row("one")).toContainText("open now · voices: Jane");
    await expect(offer.row("two")).toContainText("kept here");
    await page.screenshot({ path: "tests/e2e/output/models-two.png", fullPage: true });
    await offer.forget("two");
    await expect(offer.row("two")).not.toContainText("kept here");
    await expect(offer.row("one")).toContainText("open now");
    expect(site.wholes, "each was fetched once").toEqual(["one.gguf", "two.gguf"]);
  });

  await test.step("where its model is gone, the page says which one a voice needs", async () => {
    await offer.row("two").getByRole("radio").check();
    await room.load.click();
    await room.ready();
    await page.getByRole("button", { name: "Change" }).click();
    await offer.forget("one");
    site.files.delete("one.gguf");
    site.list();
    await page.reload();
    await room.ready();
    await room.go("Library");
    await voices.getByTitle("Open the model of Jane").click();
    await expect(offer.unfit).toContainText(`SHA-256 ${hash(small).slice(0, 12)}…`);
    await offer.drop("found again.gguf", small);
    await room.ready();
    await expect(voices.getByTitle("Use the voice Jane")).toHaveText("Stop using");
  });
});

test("terms stand before the use of a model, once", async ({ page }) => {
  const [room, offer] = await begin(page);
  const gemma = Buffer.from(smallModel({ licence: "gemma" }));
  await offer.drop("gem.gguf", gemma);
  await expect(offer.about).toContainText("Gemma Terms of Use");
  const link = offer.element.getByRole("link", { name: "Gemma Terms of Use" });
  await expect(link).toHaveAttribute("href", "https://ai.google.dev/gemma/terms");
  await expect(link).toHaveAttribute("rel", /noopener/);
  await expect(room.load, "nothing is used before").toBeHidden();
  await page.screenshot({ path: "tests/e2e/output/models-terms.png", fullPage: true });
  await offer.accept.click();
  await room.ready();
  await page.reload();
  await room.choose("cpu");
  await offer.drop("gem.gguf", gemma);
  await room.ready();
});

test("a model that the page names and the site has not is told before it is fetched", async ({
  page,
  context,
}) => {
  await context.route(/\.gguf$/, (route) => route.fulfill({ status: 404 }));
  const [room, offer] = await begin(page);
  await expect(offer.unfit).toContainText("is not on this site. Drop its file here");
  await expect(room.load).toBeDisabled();
  await expect(offer.element.locator('[data-part="from-site"]')).toBeHidden();
  await offer.drop("mine.gguf", small);
  await room.ready();
});

test("a device that was chosen is chosen again on the next visit", async ({ page }) => {
  await begin(page);
  await page.reload();
  await page.getByText("Another model, another device").click();
  await expect(page.getByLabel("Run on")).toHaveValue("cpu");
});

test("what does not fit the device is said before any of it is fetched", async ({
  page,
  context,
  baseURL,
}) => {
  const site = await Site.open(context, baseURL);
  site.files.set("mine.gguf", small);
  const [room, offer] = await begin(page);
  await offer.fake({ memoryBytes: 100_000_000 });
  await expect(offer.unfit).toContainText(/needs \d+ MB of memory, and there are 100 MB in all/);
  await expect(room.load).toBeDisabled();
  await page.screenshot({ path: "tests/e2e/output/models-unfit.png", fullPage: true });
  await offer.fake({ storageBytes: 50_000_000 });
  await expect(offer.unfit).toContainText("It does not fit this browser's storage: it has 98.4 MB");
  await offer.fake({ gpuPieceBytes: 1_000_000 });
  await expect(room.load, "the processor is chosen").toBeEnabled();
  await page.getByLabel("Run on").selectOption("webgpu");
  await expect(offer.unfit).toContainText(/one piece of it has \d+ MB, and the GPU takes 1\.0 MB at once/);
  await page.getByLabel("Run on").selectOption("auto");
  await expect(offer.unfit, "then the processor runs it").toBeHidden();

  await offer.fake({ memoryBytes: 500_000 });
  await offer.look(`${site.url}mine.gguf`);
  await expect(offer.about).toContainText("mine");
  await expect(offer.unfit).toContainText("there are 0.5 MB in all");
  await offer.drop("dropped.gguf", small);
  await expect(offer.about).toContainText("dropped");
  await expect(room.load).toBeDisabled();
  expect(site.wholes).toEqual([]);
});
