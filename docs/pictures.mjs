// Takes the documentation's pictures of the page and its recording, from the page as it stands, in a real Chromium.
//
//   cargo xtask run                                       # serves the page
//   node docs/pictures.mjs --site http://localhost:8090/  # about 10 minutes on two cores, half of it learning
//
// The voice is taught from the sample on the page. With `--voice ARCHIVE` an exported one takes its place, and the picture of
// learning stays as it is.
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "@playwright/test";
import { build } from "esbuild";
import { film } from "./film.mjs";

const out = resolve(fileURLToPath(import.meta.url), "../pictures");
const { values: given } = parseArgs({ options: { site: { type: "string" }, voice: { type: "string" } } });
if (!given.site) {
  console.error("say where the page is served: --site ADDRESS");
  process.exit(1);
}
const opening =
  "On mornings like this, when the harbour lay still and the tide had not yet made up its mind,";
const desk = { width: 1120, height: 880 };

const browser = await chromium.launch(await launching());
try {
  const context = await browser.newContext({ viewport: desk, deviceScaleFactor: 1, locale: "en-GB" });
  const page = await context.newPage();
  page.on("pageerror", (error) => console.error(error));
  const part = (element, name) => page.locator(`${element} [data-part="${name}"]`);
  const go = (place) => page.locator(`nav a[href="#${place}"]`).click();

  await page.goto(given.site);
  await open();
  await (given.voice ? bring(given.voice) : teach());
  await write();
  await hear();
  await keep();
  await record();

  /** Opens the default model on the processor, the quickest there is without a graphics card. */
  async function open() {
    await page.getByText("Another model, another device").click();
    await page.locator("#imprint-device").selectOption("cpu");
    await part("imprint-model", "load").click();
    await part("imprint-model", "change").waitFor({ timeout: 300_000 });
  }

  async function bring(archive) {
    await go("library");
    await page.locator('imprint-voices input[type="file"]').setInputFiles(archive);
    await part("imprint-voices", "use").first().click();
  }

  /** Teaches the sample, and is there when it is half done. */
  async function teach() {
    await go("voice");
    await page.locator('[data-sample="melville"]').click();
    await page.getByLabel("Name of the voice").fill("Melville");
    await page.getByRole("checkbox", { name: /Keep these texts/ }).check();
    await page.getByRole("radio", { name: /Light/ }).check();
    await page.getByRole("button", { name: "Learn", exact: true }).click();
    const line = part("imprint-teacher", "figures");
    const half = () => {
      const said = document.querySelector('imprint-teacher [data-part="figures"]')?.textContent ?? "";
      const [, step = "0", steps = "1"] = /step (\d+) of (\d+)/.exec(said) ?? [];
      return Number(step) >= 0.6 * Number(steps);
    };
    await line.waitFor();
    await page.waitForFunction(half, undefined, { timeout: 1_800_000, polling: 500 });
    await page.locator("imprint-teacher").scrollIntoViewIfNeeded();
    await shoot("learning", ["light"], page.locator("imprint-teacher"));
    await page.getByRole("region", { name: "What was learned" }).waitFor({ timeout: 1_800_000 });
  }

  /** The draft, continued in the voice, and three other ways. */
  async function write() {
    await go("write");
    await settings({ length: 72, seed: 12 });
    await page.locator(".cm-content").click();
    await page.keyboard.type(opening);
    await continued();
    await page.mouse.move(0, 0);
    await shoot("write", ["light", "dark"]);
    await page.setViewportSize({ width: 390, height: 844 });
    await shoot("phone", ["light"]);
    await page.setViewportSize(desk);
    await settings({ length: 40, seed: 31 });
    await part("imprint-draft", "another").click();
    await idle();
    await page.locator("imprint-draft section.ways").first().scrollIntoViewIfNeeded();
    await shoot("ways", ["light"], page.locator('imprint-draft [data-part="ways"]'));
  }

  /** The voice beside the base model, in words and in pictures. */
  async function hear() {
    await go("voice");
    await part("imprint-comparison", "compare").click();
    await part("imprint-comparison", "halt").waitFor({ state: "hidden", timeout: 120_000 });
    await page.getByText("Both are written.").waitFor({ timeout: 120_000 });
    await shoot("compared", ["light", "dark"], page.locator("imprint-comparison"));
    if (given.voice) return;
    await part("imprint-rhythm", "measure").click();
    await page.getByText("Both are written and pictured.").waitFor({ timeout: 300_000 });
    await shoot("rhythm", ["light", "dark"], page.locator("imprint-rhythm"));
  }

  async function keep() {
    await go("library");
    await page.waitForTimeout(1_000);
    await shoot("library", ["light", "dark"]);
  }

  /** A suggestion is taken by the word and whole; then the strength is turned, and the same words are written anew. */
  async function record() {
    await page.emulateMedia({ colorScheme: "light" });
    await page.setViewportSize({ width: 880, height: 720 });
    await go("write");
    await settings({ length: 36, seed: 8, suggesting: "key" });
    await page.getByRole("button", { name: "New draft" }).click();
    await page.locator(".cm-content").click();
    const reel = await film(page);
    await page.waitForTimeout(600);
    await page.keyboard.type("The first time I saw the sea,", { delay: 55 });
    await page.waitForTimeout(300);
    await page.keyboard.press("Alt+Enter");
    await page.locator(".ghost").waitFor();
    await idle();
    await page.waitForTimeout(1_200);
    for (let word = 0; word < 3; word += 1) {
      await page.keyboard.press("Control+ArrowRight");
      await page.waitForTimeout(450);
    }
    await page.keyboard.press("Tab");
    await page.waitForTimeout(900);
    await continued();
    await page.waitForTimeout(1_200);
    const dial = page.locator("#imprint-strength");
    for (const [key, times] of [
      ["ArrowLeft", 15],
      ["ArrowRight", 30],
    ]) {
      await dial.focus();
      for (let step = 0; step < times; step += 1) await page.keyboard.press(key, { delay: 25 });
      await page.waitForTimeout(900);
      await idle();
      await page.waitForTimeout(1_800);
    }
    const video = await reel.develop();
    await writeFile(join(out, "write.webm"), video);
    console.log(`write.webm ${(video.length / 1000).toFixed(0)} kB`);
  }

  /** Sets how it writes, so that a picture can be taken again. */
  async function settings({ length, seed, suggesting = "off" }) {
    const all = page.locator("details.settings");
    await all.evaluate((details) => (details.open = true));
    await page.locator("#imprint-suggesting").selectOption(suggesting);
    await page.locator("#imprint-maxTokens").fill(String(length));
    await page.locator("#imprint-fresh").uncheck();
    await page.locator("#imprint-seed").fill(String(seed));
    await all.evaluate((details) => (details.open = false));
    await page.evaluate(() => scrollTo(0, 0));
  }

  async function continued() {
    await page.keyboard.press("Control+Enter");
    await page.waitForTimeout(500);
    await idle();
  }

  /** Waits until nothing is being written. */
  async function idle() {
    await page.locator("imprint-draft:not([writing])").waitFor({ timeout: 120_000 });
  }

  /** Takes a picture in each scheme: of what is in sight, or of one thing with a little air around it. */
  async function shoot(name, schemes, thing) {
    for (const colorScheme of schemes) {
      await page.emulateMedia({ colorScheme });
      await page.waitForTimeout(400);
      const file = `${name}-${colorScheme}.webp`;
      const data = await picture(thing && (await around(thing)));
      await writeFile(join(out, file), data);
      console.log(`${file} ${(data.length / 1000).toFixed(0)} kB`);
    }
    await page.emulateMedia({ colorScheme: "light" });
  }

  async function around(thing) {
    const air = 10;
    const { x, y, width, height } = await thing.evaluate((element) => {
      const { left, top, width, height } = element.getBoundingClientRect();
      return { x: left + scrollX, y: top + scrollY, width, height };
    });
    return { x: x - air, y: y - air, width: width + 2 * air, height: height + 2 * air, scale: 1 };
  }

  async function picture(clip) {
    const session = await page.context().newCDPSession(page);
    const more = clip ? { clip, captureBeyondViewport: true } : {};
    const { data } = await session.send("Page.captureScreenshot", { format: "webp", quality: 82, ...more });
    await session.detach();
    return Buffer.from(data, "base64");
  }
} finally {
  await browser.close();
}

/** Starts Chromium as the tests do. */
async function launching() {
  const entryPoints = [resolve(out, "../../tests/e2e/chromium.ts")];
  const made = await build({ entryPoints, format: "esm", write: false });
  return import(`data:text/javascript,${encodeURIComponent(made.outputFiles[0].text)}`);
}
