import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { smallModel } from "./small-model.js";
import { expect, test as base, type Browser, type BrowserContext, type Page } from "@playwright/test";

export { expect };

/**
 * Every test also holds these laws: no request leaves the origin or carries anything, the page throws nothing and opens no
 * dialog, and nothing tries what the page's policy forbids.
 */
export const test = base.extend<{ laws: Laws }>({
  laws: [
    async ({ context, baseURL }, use) => {
      const laws = new Laws(context, baseURL ?? "");
      await laws.watch();
      await use(laws);
      laws.check();
    },
    { auto: true },
  ],
});

/** Watches a context for requests to elsewhere, from page, Worker and service worker alike, and for errors. */
export class Laws {
  readonly #origins: Set<string>;
  readonly #broken: string[] = [];
  readonly #context: BrowserContext;
  #provoked = false;

  constructor(context: BrowserContext, baseURL: string) {
    this.#context = context;
    this.#origins = new Set([new URL(baseURL).origin]);
    context.on("request", (request) => {
      const { protocol, origin, href } = new URL(request.url());
      const own = protocol === "data:" || protocol === "blob:" || this.#origins.has(origin);
      if (!own) this.#broken.push(`a request went to ${href}`);
      if (!["GET", "HEAD"].includes(request.method()) || request.postData() !== null)
        this.#broken.push(`a ${request.method()} request carried something to ${href}`);
    });
    context.on("dialog", (dialog) => {
      this.#broken.push(`a dialog said ${dialog.message()}`);
      void dialog.dismiss();
    });
    context.on("weberror", (error) => this.#broken.push(`the page threw ${String(error.error())}`));
    context.on("console", (message) => {
      // A Worker's violations show up here only.
      if (/Content Security Policy|policy violation/i.test(message.text()) && !this.#provoked)
        this.#broken.push(message.text());
    });
  }

  /** Counts what a policy forbids, Trusted Types among it, in every page and frame to come. */
  async watch(): Promise<void> {
    await this.#context.addInitScript(() =>
      addEventListener("securitypolicyviolation", ({ effectiveDirective, blockedURI, sample }) =>
        console.error(`policy violation: ${effectiveDirective} ${blockedURI} ${sample}`),
      ),
    );
  }

  /** Lets requests go to one more origin of the test's own. */
  allow(origin: string): void {
    this.#origins.add(origin);
  }

  /** Says that the test itself tries what the page's policy forbids. */
  provoke(): void {
    this.#provoked = true;
  }

  check(): void {
    expect(this.#broken).toEqual([]);
  }
}

/** The parts of the page, by the names a person sees. */
export class Room {
  readonly text;
  readonly load;
  readonly continue;
  readonly stop;

  constructor(readonly page: Page) {
    this.text = page.getByLabel("Your text");
    this.load = page.getByRole("button", { name: "Load the model" });
    this.continue = page.getByRole("button", { name: "Continue", exact: true });
    this.stop = page.getByRole("button", { name: "Stop", exact: true });
  }

  /** Opens the page at its offer to load. */
  async enter(): Promise<void> {
    await this.page.goto("./");
    await expect(this.load).toBeVisible();
  }

  /** Goes to a place of the page. */
  async go(place: "Write" | "Voice" | "Library"): Promise<void> {
    await this.page.getByRole("navigation").getByRole("link", { name: place }).click();
    await expect(this.page.getByRole("heading", { name: place, exact: true })).toBeVisible();
  }

  /** The text on the sheet. */
  value(): Promise<string> {
    return this.page
      .locator("imprint-draft")
      .evaluate((draft) => (draft as HTMLElement & { text: string }).text);
  }

  /** The text that stands under a kind of mark, joined. */
  async marked(kind: "written" | "copied"): Promise<string> {
    return (await this.page.locator(`imprint-draft .${kind}`).allTextContents()).join("");
  }

  /** Waits until what is on the sheet is kept. */
  async saved(): Promise<void> {
    await this.page.waitForTimeout(1_000);
  }

  /** Chooses when words are suggested. */
  async suggesting(when: "off" | "key" | "pause"): Promise<void> {
    const summary = this.page.getByText("How it writes");
    await summary.click();
    await this.page.locator("#imprint-suggesting").selectOption(when);
    await summary.click();
  }

  /** Opens the small model, for what does not depend on the words. */
  async small(device: "auto" | "webgpu" | "cpu" = "cpu"): Promise<void> {
    await this.choose(device);
    await this.page.getByLabel("A GGUF file of yours").setInputFiles({
      name: "small.gguf",
      mimeType: "application/octet-stream",
      buffer: Buffer.from(smallModel()),
    });
    await this.ready();
  }

  /** Chooses a device before the load. */
  async choose(device: "auto" | "webgpu" | "cpu"): Promise<void> {
    await this.page.getByText("Another model, another device").click();
    await this.page.getByLabel("Run on").selectOption(device);
  }

  /** Waits until a model is ready to write. */
  async ready(): Promise<void> {
    await expect(this.page.getByRole("button", { name: "Change" })).toBeVisible({ timeout: 180_000 });
  }

  /** The line that says which device runs the model. */
  get device() {
    return this.page.locator('[data-part="device-line"]');
  }

  /** Sets the dials for short, repeatable writing. */
  async dial(settings: {
    length?: number;
    temperature?: number;
    repetition?: number;
    seed?: number;
  }): Promise<void> {
    const summary = this.page.getByText("How it writes");
    if (!(await this.page.locator("imprint-sampling").isVisible())) await summary.click();
    const names = {
      length: "maxTokens",
      temperature: "temperature",
      repetition: "repetitionPenalty",
      seed: "seed",
    } as const;
    for (const [name, id] of Object.entries(names)) {
      const value = settings[name as keyof typeof settings];
      if (value !== undefined) await this.page.locator(`#imprint-${id}`).fill(String(value));
    }
    await summary.click();
  }

  /** Waits until the text is another than `before` and nothing more is being written; gives it. */
  async written(before: string, timeout = 120_000): Promise<string> {
    await expect.poll(() => this.value(), { timeout }).not.toBe(before);
    await expect(this.page.locator("imprint-draft")).not.toHaveAttribute("writing", { timeout });
    return this.value();
  }

  /** Continues the text and waits until the writing has ended. */
  async write(timeout = 120_000): Promise<string> {
    const before = await this.value();
    await expect(this.continue).toBeEnabled();
    await this.continue.click();
    const after = await this.written(before, timeout);
    expect(after.startsWith(before), "the person's text stays").toBe(true);
    return after.slice(before.length);
  }
}

/** A script that calls `change`, which may use nothing from around it, with `given`. */
export function script<Given>(change: (given: Given) => void, given: Given): string {
  return `(${change.toString()})(${JSON.stringify(given)});`;
}

/** Runs `scripts` in the page's Worker before its own begins: for a driver that is not as it should be. */
export async function beforeWorker(
  page: Page,
  site: string | undefined,
  ...scripts: string[]
): Promise<void> {
  // Scripts that a service worker hands out cannot be changed on their way.
  await page.addInitScript(() => {
    ServiceWorkerContainer.prototype.register = () => Promise.reject(new Error("not in this test"));
  });
  await page.route(new RegExp(`^${site}.*worker.*\\.js$`), async (route) => {
    const answer = await route.fetch();
    const body = `${scripts.join("")}${await answer.text()}`;
    await route.fulfill({ response: answer, body });
  });
}

/** One prompt of the golden run; the fixture says how it was made. */
export type Golden = {
  name: string;
  text: string;
  mean_nll: number;
  greedy_margin: number[];
  greedy_text: string;
};

/** The golden run of the prompt called `name`. */
export function golden(name: string): Golden {
  const path = resolve(import.meta.dirname, "../fixtures/smollm2.json");
  const { prompts } = JSON.parse(readFileSync(path, "utf8")) as { prompts: Golden[] };
  const found = prompts.find((prompt) => prompt.name === name);
  if (!found) throw new Error(`the fixture has no prompt called ${name}`);
  return found;
}

/** The process of Chromium that does the GPU's work; with a software GPU its memory is the GPU's. */
export async function gpuProcess(browser: Browser): Promise<{ id: number; cpuTime: number }> {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  await session.detach();
  const gpu = processInfo.find(({ type }) => type === "GPU");
  if (!gpu) throw new Error("Chromium runs no GPU process");
  return gpu;
}
