import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { brotliCompressSync } from "node:zlib";
import type { Locator, Page } from "@playwright/test";
import type * as Package from "../../web/src/index.js";
import { Blog } from "./blog.js";
import { expect, test } from "./fixture.js";
import { pride, quick } from "./learner.js";
import { smallModel } from "./small-model.js";

const real = process.env["IMPRINT_MODEL"] ?? "";
const strict =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; style-src 'self'";
const script = '<script type="module" src="/pkg/define.js"></script>';
const plain = 'model="/small.gguf" model-bytes="120000" device="cpu" seed="3" max-tokens="12"';

let blog: Blog;
let other: Blog;
test.beforeAll(async ({ browser }) => {
  [blog, other] = await Promise.all([Blog.open(), Blog.open()]);
  for (const place of [blog, other]) place.files.set("/small.gguf", smallModel());
  blog.files.set("/real.gguf", readFileSync(real));
  const page = await browser.newPage();
  await page.goto(blog.page("/learn", "<p>Somebody learns here.</p>"));
  const made = await page.evaluate(
    async ([text, options]) => {
      const address = "/pkg/index.js";
      const { Imprint } = (await import(address)) as typeof Package;
      const imprint = await Imprint.open({ model: "/small.gguf", device: "cpu" });
      const adapter = await imprint.learn(text, options).done;
      const archive = await imprint.adapters.export(adapter.id);
      await imprint.close();
      return [...new Uint8Array(await archive.arrayBuffer())];
    },
    [pride, quick] as const,
  );
  await page.close();
  blog.files.set("/voice.zip", new Uint8Array(made));
});
test.afterAll(() => Promise.all([blog.close(), other.close()]));
test.beforeEach(({ laws }) => {
  blog.asked.length = other.asked.length = 0;
  laws.allow(blog.url);
  laws.allow(other.url);
});

const text = (writer: Locator): Promise<string> =>
  writer.evaluate((element) => (element as Package.ImprintWriterElement).text);

/** Presses the button and waits for the text. */
async function written(page: Page, at = 0): Promise<string> {
  const writer = page.locator("imprint-writer").nth(at);
  await writer.getByRole("button", { name: /Write on/ }).click();
  await expect(writer.getByRole("button", { name: "Another way" })).toBeVisible();
  return text(writer);
}

/** The adapters that the browser keeps for the blog. */
function adapters(page: Page): Promise<string[]> {
  return page.evaluate(async () => {
    const address = "/pkg/index.js";
    const { Imprint } = (await import(address)) as typeof Package;
    const imprint = await Imprint.open({ model: "/small.gguf", device: "cpu" });
    const ids = (await imprint.adapters.list()).map(({ id }) => id);
    await imprint.close();
    return ids;
  });
}

test("before the press a page fetches at most 12 kB of script and nothing else", async ({ page }) => {
  await page.goto(
    blog.page(
      "/before",
      `<imprint-writer ${plain} adapter="/voice.zip" prompt="Mr. Bennet"></imprint-writer>${script}`,
    ),
  );
  await expect(page.getByRole("button", { name: "Write on in this voice" })).toBeVisible();
  await expect(page.getByText("Pressing it fetches")).toHaveCount(0);
  await page.waitForLoadState("networkidle");
  const paths = blog.asked.map((line) => line.replace("GET ", "")).filter((path) => path !== "/favicon.ico");
  const scripts = paths.filter((path) => path.startsWith("/pkg/"));
  expect(paths.filter((path) => !scripts.includes(path))).toEqual(["/before"]);
  const folder = resolve(import.meta.dirname, "../../pkg/dist");
  const bytes = scripts.map((path) => brotliCompressSync(readFileSync(folder + path.slice(4))).length);
  const sum = bytes.reduce((all, one) => all + one, 0);
  expect(sum, `${scripts.join(", ")}: ${bytes.join(", ")}`).toBeLessThan(12_000);
  expect(sum).toBeGreaterThan(3_000);
});

test("a model with a name and terms is fetched only once its reader has accepted them", async ({ page }) => {
  const body = `<imprint-writer model="gemma-3-270m" prompt="Mr. Bennet" device="cpu"></imprint-writer>${script}`;
  await page.goto(blog.page("/terms", body));
  const writer = page.locator("imprint-writer");
  const press = (): Promise<void> => writer.getByRole("button", { name: /Write on/ }).click();
  await press();
  const link = writer.getByRole("link", { name: "Gemma Terms of Use" });
  await expect(link).toHaveAttribute("href", "https://ai.google.dev/gemma/terms");
  await expect(writer.getByText("253.1 MB must be fetched")).toBeVisible();
  await page.screenshot({ path: "tests/e2e/output/widget-terms.png" });
  await writer.getByRole("button", { name: "Not now" }).click();
  await expect(link).toBeHidden();
  await press();
  const asked = (): number => blog.asked.filter((line) => line.endsWith("gguf")).length;
  expect(asked(), "not even its size is asked for before").toBe(0);
  await writer.getByRole("button", { name: "I accept" }).click();
  const error = writer.getByRole("alert");
  await expect(error).toHaveAttribute("data-code", "model-unreachable");
  expect(blog.asked).toContain("GET /models/gemma-3-270m-Q4_K_M.gguf");
  await page.reload();
  await press();
  await expect(writer.getByText("253.1 MB must be fetched"), "the size is told again").toBeVisible();
  await expect(link, "the terms are not").toBeHidden();
});

test("a press writes in the author's voice, whose file is kept once", async ({ page }) => {
  const body = (file: string): string =>
    `<imprint-writer ${plain} adapter="${file}" adapter-bytes="90000" strength="2" prompt="Mr. Bennet"></imprint-writer>${script}`;
  blog.files.set("/again.zip", blog.files.get("/voice.zip") ?? new Uint8Array());
  await page.goto(blog.page("/voice", body("/voice.zip")));
  await expect(page.getByText("Pressing it fetches 0.2 MB once")).toBeVisible();
  await page.evaluate(() => {
    const seen: string[] = [];
    Object.assign(globalThis, { seen });
    for (const type of ["imprint-state", "imprint-progress", "imprint-piece", "imprint-done"])
      document.addEventListener(type, () => seen.at(-1) !== type && seen.push(type));
  });
  const first = await written(page);
  expect(first.length).toBeGreaterThan(3);
  const seen = await page.evaluate(() => (globalThis as unknown as { seen: string[] }).seen);
  for (const type of ["imprint-state", "imprint-progress", "imprint-piece", "imprint-done"])
    expect(seen).toContain(type);
  const [id] = await adapters(page);
  const own = await page.evaluate(async (id) => {
    const address = "/pkg/index.js";
    const { Imprint } = (await import(address)) as typeof Package;
    const imprint = await Imprint.open({ model: "/small.gguf", device: "cpu" });
    const write = async (adapter: string | null): Promise<string> => {
      let text = "";
      const voice = adapter === null ? {} : { strength: 2, mode: "contrast" as const };
      const options = { adapter, ...voice, seed: 3, maxTokens: 12 };
      for await (const piece of imprint.write("Mr. Bennet", options)) text += piece.text;
      return text;
    };
    const both = [await write(id ?? ""), await write(null)];
    await imprint.close();
    return both;
  }, id);
  expect(first, "the engine writes the same with this adapter").toBe(own[0]);
  expect(first, "and something else without").not.toBe(own[1]);

  await page.goto(blog.page("/voice-again", body("/again.zip")));
  expect(await written(page)).toBe(first);
  expect(await adapters(page), "the same bytes from another address are kept once").toEqual([id]);
});

test("an adapter with its hash in the markup is not fetched a second time, and another file is refused", async ({
  page,
}) => {
  const bytes = blog.files.get("/voice.zip") ?? new Uint8Array();
  const hash = Buffer.from(await crypto.subtle.digest("SHA-256", bytes as BufferSource)).toString("hex");
  const body = (sha256: string): string =>
    `<imprint-writer ${plain} adapter="/voice.zip" adapter-sha256="${sha256}" prompt="Mr."></imprint-writer>${script}`;
  const url = blog.page("/hash", body(hash));
  const loads = (): number => blog.asked.filter((line) => line === "GET /voice.zip").length;
  await page.goto(url);
  await page.getByRole("button", { name: /Write on/ }).click();
  await page.getByRole("button", { name: "Fetch and write" }).click();
  await expect(page.getByRole("button", { name: "Another way" })).toBeVisible();
  expect(loads()).toBe(1);
  await page.goto(url);
  await written(page);
  expect(loads()).toBe(1);
  await page.goto(blog.page("/wrong-hash", body(hash.replace(/^./, (c) => (c === "0" ? "1" : "0")))));
  await page.getByRole("button", { name: /Write on/ }).click();
  await expect(page.locator("imprint-writer .error")).toHaveAttribute("data-code", "adapter-corrupt");
});

test("the weights of an export are enough by themselves", async ({ page }) => {
  const { unzipSync } = await import("fflate");
  const files = unzipSync(blog.files.get("/voice.zip") ?? new Uint8Array());
  const weights = Object.entries(files).find(([path]) => path.endsWith(".safetensors"))?.[1];
  blog.files.set("/voice.safetensors", weights ?? new Uint8Array());
  const body = (file: string): string =>
    `<imprint-writer ${plain} adapter="${file}" adapter-bytes="1" prompt="Mr. Bennet"></imprint-writer>${script}`;
  await page.goto(blog.page("/zip", body("/voice.zip")));
  const whole = await written(page);
  await page.goto(blog.page("/weights", body("/voice.safetensors")));
  // Prints make text come in whole words; up to there it is the same.
  const alone = await written(page);
  expect(alone.startsWith(whole) || whole.startsWith(alone), `${whole} | ${alone}`).toBe(true);
});

test("two writers on a page fetch one model and write by turns", async ({ page }) => {
  const one = `<imprint-writer ${plain} prompt="One"></imprint-writer>`;
  await page.goto(blog.page("/two", `${one}${one.replace("One", "Two")}${script}`));
  const buttons = page.getByRole("button", { name: /Write on/ });
  await expect(buttons).toHaveCount(2);
  await page.evaluate(() =>
    Promise.all(
      [...document.querySelectorAll<Package.ImprintWriterElement>("imprint-writer")].map((writer) =>
        writer.start(),
      ),
    ),
  );
  await expect(page.getByRole("button", { name: "Another way" })).toHaveCount(2);
  expect(page.workers().length, "one Worker serves both").toBe(1);
  const fetched = blog.asked.filter((line) => line === "GET /small.gguf").length;
  await page.getByRole("button", { name: "Another way" }).first().click();
  await expect(page.getByRole("button", { name: "Another way" })).toHaveCount(2);
  expect(blog.asked.filter((line) => line === "GET /small.gguf").length).toBe(fetched);
  expect(fetched).toBe(1);
  await page.evaluate(() => document.querySelector("imprint-writer")?.remove());
  await page.getByRole("button", { name: "Another way" }).click();
  await expect(page.getByRole("button", { name: "Another way" })).toBeVisible();
});

test("a size that nobody told is asked for before anything is fetched", async ({ page }) => {
  await page.goto(
    blog.page(
      "/ask",
      `<imprint-writer model="/small.gguf" device="cpu" prompt="One" max-tokens="4"></imprint-writer>${script}`,
    ),
  );
  await page.getByRole("button", { name: /Write on/ }).click();
  await expect(page.getByText(/0\.1 MB must be fetched once/)).toBeVisible();
  expect(blog.asked.filter((line) => line.includes("small.gguf"))).toEqual(["HEAD /small.gguf"]);
  await page.getByRole("button", { name: "Not now" }).click();
  await page.getByRole("button", { name: /Write on/ }).click();
  await page.getByRole("button", { name: "Fetch and write" }).click();
  await expect(page.getByRole("button", { name: "Another way" })).toBeVisible();
});

test("hostile style and a strict policy leave the writer as it is", async ({ page }) => {
  blog.files.set(
    "/hostile.css",
    new TextEncoder().encode(
      "body * { all: unset !important; display: none !important; opacity: 0 !important; color: transparent !important } body { font-size: 0; visibility: hidden; text-transform: uppercase }",
    ),
  );
  const body = `<link rel="stylesheet" href="/hostile.css"><p>Gone.</p><imprint-writer ${plain} prompt="Mr. Bennet"></imprint-writer>${script}`;
  await page.goto(blog.page("/hostile", body, strict));
  await expect(page.getByText("Gone.")).toBeHidden();
  const writer = page.locator("imprint-writer");
  const shown = await writer.evaluate((element) => {
    const { display, opacity, visibility, textTransform, fontSize } = getComputedStyle(element);
    return { display, opacity, visibility, textTransform, fontSize };
  });
  expect(shown).toEqual({
    display: "block",
    opacity: "1",
    visibility: "visible",
    textTransform: "none",
    fontSize: "16px",
  });
  expect((await written(page)).length).toBeGreaterThan(3);
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(false);
  const box = await writer.boundingBox();
  expect(box?.height).toBeGreaterThan(80);
});

test("its look and words are the author's: properties, parts, slots, and content until there is a text", async ({
  page,
}) => {
  const style =
    "<style>imprint-writer { --imprint-accent: rgb(0 90 60) } imprint-writer::part(start) { letter-spacing: 3px }</style>";
  const body = `${style}<imprint-writer ${plain} prompt="Mr. Bennet"><span slot="label">Go on, Jane</span><em slot="note">By a machine.</em><p>What I wrote.</p></imprint-writer>${script}`;
  await page.goto(blog.page("/look", body));
  const writer = page.locator("imprint-writer");
  const start = writer.getByRole("button", { name: "Go on, Jane" });
  await expect(start).toHaveCSS("letter-spacing", "3px");
  await expect(start).toHaveCSS("background-color", "rgb(0, 90, 60)");
  await expect(page.getByText("By a machine.")).toBeVisible();
  await expect(page.getByText("What I wrote.")).toBeVisible();
  const told = await writer.evaluate((element) => {
    const own = element as Package.ImprintWriterElement;
    Object.assign(own, { strength: 2, maxTokens: 9, modelBytes: 5, withoutNames: true });
    own.setAttribute("temperature", "0.25");
    const names = ["strength", "max-tokens", "model-bytes", "without-names"];
    return [...names.map((name) => own.getAttribute(name)), own.temperature, own.prompt];
  });
  expect(told).toEqual(["2", "9", "5", "", 0.25, "Mr. Bennet"]);
  await start.click();
  await expect(writer.getByRole("button", { name: "Another way" })).toBeVisible();
  await expect(page.getByText("What I wrote.")).toBeHidden();
});

test("a package from another origin starts its Worker, and does without where the policy forbids it", async ({
  page,
  browser,
}) => {
  const foreign = `<imprint-writer model="${other.url}/small.gguf" model-bytes="9" device="cpu" seed="3" max-tokens="12" prompt="Mr. Bennet"></imprint-writer><script type="module" src="${other.url}/pkg/define.js"></script>`;
  const from = other.url;
  const policy = (worker: string): string =>
    `default-src 'none'; script-src ${from} 'wasm-unsafe-eval'; worker-src ${worker}; connect-src ${from}`;
  await page.goto(blog.page("/foreign", foreign, policy(`blob: ${from}`)));
  const first = await written(page);
  expect(page.workers().map((worker) => worker.url().split(":")[0])).toEqual(["blob"]);
  // The browser reports what the policy forbids, so the laws of the other pages do not hold for this one.
  const alone = await browser.newPage();
  await alone.goto(blog.page("/foreign-alone", foreign, policy("'none'")));
  expect(await written(alone), "on the page's own thread").toBe(first);
  expect(alone.workers()).toEqual([]);
  await alone.close();
});

test("what is wrong is said as a sentence, in the page's language, with a code", async ({ page }) => {
  const german = `<div lang="de"><imprint-writer model="/nothing.gguf" model-bytes="1" prompt="Es war"></imprint-writer></div>`;
  const none = `<imprint-writer model-bytes="1" prompt="x"></imprint-writer>`;
  const field = `<imprint-writer model="/small.gguf" model-bytes="1" for="nowhere"></imprint-writer>`;
  const number = `<imprint-writer ${plain} temperature="warm" prompt="x"></imprint-writer>`;
  await page.goto(blog.page("/wrong", `${german}${none}${field}${number}${script}`));
  await page.evaluate(() => {
    const codes: string[] = [];
    Object.assign(globalThis, { codes });
    document.body.addEventListener("imprint-error", ({ error }) => codes.push(error.code));
  });
  const writers = page.locator("imprint-writer");
  await page.getByRole("button", { name: "In dieser Stimme weiterschreiben" }).click();
  await expect(writers.nth(0).getByRole("alert")).toContainText("Das Modell war nicht zu erreichen");
  await expect(writers.nth(0).getByRole("alert")).toContainText("404");
  for (const at of [1, 2, 3]) await writers.nth(at).getByRole("button").first().click();
  await expect(writers.nth(1).getByRole("alert")).toContainText("`model` is missing");
  await expect(writers.nth(2).getByRole("alert")).toContainText("`nowhere`");
  await expect(writers.nth(3).getByRole("alert")).toContainText("`temperature`");
  const codes = await page.evaluate(() => (globalThis as unknown as { codes: string[] }).codes);
  expect(codes).toEqual(["model-unreachable", "invalid-option", "invalid-option", "invalid-option"]);
});

test("beside a textarea the default model suggests: Tab takes, undo takes back, a word at a time, Esc drops", async ({
  page,
}) => {
  const body = `<textarea id="post" rows="5" cols="60">The sea was calm, and</textarea><imprint-writer for="post" model="/real.gguf" model-bytes="98362432" device="cpu" seed="1" max-tokens="12" suggest="key"></imprint-writer>${script}`;
  await page.goto(blog.page("/cms", body));
  const post = page.locator("#post");
  const suggestion = page.locator("imprint-writer .suggestion");
  const whole = async (): Promise<string> => {
    await expect
      .poll(() =>
        page.locator("imprint-writer").evaluate((element) => (element as Package.ImprintWriterElement).state),
      )
      .toBe("ready");
    return (await suggestion.textContent()) ?? "";
  };
  await page.getByRole("button", { name: "Suggest words as I write" }).click();
  await expect(suggestion).not.toBeEmpty();
  const words = await whole();
  expect(words).toMatch(/^ \w+ .*\w/);
  await expect(post).toBeFocused();
  await page.keyboard.press("Tab");
  await expect(post).toHaveValue(`The sea was calm, and${words}`);
  await expect(suggestion).toBeHidden();
  await page.keyboard.press("Control+z");
  await expect(post).toHaveValue("The sea was calm, and");
  await page.keyboard.press("Control+End");
  await page.keyboard.press("Control+Enter");
  await expect(suggestion).not.toBeEmpty();
  const next = await whole();
  await page.keyboard.press("Control+ArrowRight");
  await expect(post).toHaveValue(`The sea was calm, and${/^\s*\S+/.exec(next)?.[0]}`);
  await page.keyboard.press("Escape");
  await expect(suggestion).toBeHidden();
  await page.keyboard.press("Tab");
  await expect(post, "without a suggestion Tab leaves the field").not.toBeFocused();
});

test("loading and writing stop when asked, and what is written stays", async ({ page }) => {
  await page.goto(
    blog.page(
      "/stop",
      `<imprint-writer model="/real.gguf" model-bytes="98362432" device="cpu" seed="3" max-tokens="400" prompt="Mr. Bennet"></imprint-writer>${script}`,
    ),
  );
  await page.getByRole("button", { name: /Write on/ }).click();
  const writer = page.locator("imprint-writer");
  await expect.poll(() => text(writer)).not.toBe("");
  await page.getByRole("button", { name: "Stop" }).click();
  await expect(page.getByRole("button", { name: "Another way" })).toBeVisible();
  const kept = await text(writer);
  expect(kept.length).toBeGreaterThan(0);
  await expect(writer.locator(".written")).toHaveText(kept, { useInnerText: false });
  await expect(page.getByRole("button", { name: "Another way" }), "the keyboard is handed on").toBeFocused();
});

/** The address of the frame's page, whose own markup allows some origins. */
function frame(origins: string): string {
  const html = readFileSync(resolve(import.meta.dirname, "../../pkg/dist/embed.html"), "utf8");
  const named = html.replace(
    'name="imprint-origins" content="self"',
    `name="imprint-origins" content="${origins}"`,
  );
  expect(named).toContain(origins);
  other.pages.set("/pkg/embed.html", { html: named });
  const query = new URLSearchParams({
    model: "/small.gguf",
    "model-bytes": "120000",
    device: "cpu",
    seed: "3",
    "max-tokens": "8",
    prompt: "Mr.",
  });
  return `${other.url}/pkg/embed.html?${query}`;
}

/** Puts the frame's page into a page of the blog and notes what it says. */
async function framed(page: Page, path: string, origins: string): Promise<void> {
  await page.goto(blog.page(path, `<iframe id="frame" src="${frame(origins)}"></iframe>`));
  await page.evaluate(() => {
    const heard: unknown[] = [];
    Object.assign(globalThis, { heard });
    addEventListener("message", ({ data }) => heard.push(data));
  });
  await expect(page.frameLocator("#frame").locator("imprint-writer button, body > p").first()).toBeVisible();
}

const send = (page: Page, message: unknown): Promise<void> =>
  page.evaluate((message) => {
    document.querySelector("iframe")?.contentWindow?.postMessage(message, "*");
  }, message);
type Heard = {
  type: string;
  id?: string;
  text?: string;
  code?: string;
  message?: string;
  height?: number;
  state?: string;
};
const heard = (page: Page): Promise<Heard[]> =>
  page.evaluate(() => (globalThis as unknown as { heard: Heard[] }).heard);

/** The wasm modules and Worker scripts that a host was asked for. */
const programs = (place: Blog): string[] =>
  place.asked.map((line) => line.split("/").at(-1) ?? "").filter((name) => /\.wasm$|^w\w+\.js$/.test(name));

test("a widget fetches the module that only writes: in a Worker, without one and in a frame", async ({
  page,
}) => {
  for (const [off, expected] of [
    ["", ["writer.js", "imprint_writer_bg.wasm"]],
    ['worker="off"', ["imprint_writer_bg.wasm"]],
  ] as const) {
    blog.asked.length = 0;
    const body = `<imprint-writer ${plain} ${off} adapter="/voice.zip" adapter-bytes="90000" prompt="Mr."></imprint-writer>${script}`;
    await page.goto(blog.page("/small", body));
    expect((await written(page)).length).toBeGreaterThan(0);
    expect(programs(blog), off).toEqual(expected);
  }
  await framed(page, "/small-frame", blog.url);
  await send(page, { imprint: 1, type: "write" });
  await expect.poll(async () => (await heard(page)).some(({ type }) => type === "done")).toBe(true);
  expect(programs(other)).toEqual(["writer.js", "imprint_writer_bg.wasm"]);
});

test("a frame obeys the page of an allowed origin and names what is malformed", async ({ page }) => {
  await framed(page, "/frame", `https://example.com ${blog.url}`);
  const wrong = [
    null,
    "write",
    { type: "write" },
    { imprint: 2, type: "write" },
    { imprint: 1, type: "eval" },
    { imprint: 1, type: "set", options: { strength: "2" } },
    { imprint: 1, type: "set", options: { model: "/other.gguf" } },
    { imprint: 1, type: "set", options: { ["__proto__x"]: 1 } },
    { imprint: 1, type: "write", id: 7 },
  ];
  for (const message of wrong) await send(page, message);
  await expect
    .poll(async () => (await heard(page)).filter(({ type }) => type === "error").length)
    .toBe(wrong.length);
  for (const { code, message } of (await heard(page)).filter(({ type }) => type === "error")) {
    expect(code).toBe("invalid-option");
    expect(message).toMatch(/must be|knows no/);
  }
  await send(page, { imprint: 1, type: "state", id: "s" });
  await expect.poll(async () => (await heard(page)).find(({ id }) => id === "s")?.state).toBe("idle");
  await send(page, { imprint: 1, type: "write", id: "w", options: { prompt: "Mrs.", strength: 1, seed: 4 } });
  const done = (): Promise<Heard | undefined> =>
    heard(page).then((all) => all.find(({ type, id }) => type === "done" && id === "w"));
  await expect.poll(async () => (await done())?.text?.length ?? 0, { timeout: 60_000 }).toBeGreaterThan(0);
  const pieces = (await heard(page)).filter(({ type }) => type === "piece").map(({ text }) => text);
  expect(pieces.join("")).toBe((await done())?.text);
  await expect(page.frameLocator("#frame").locator("imprint-writer .prompt")).toHaveText("Mrs.");
  expect((await heard(page)).some(({ type, height }) => type === "size" && (height ?? 0) > 50)).toBe(true);
});

test("a frame in a page of another origin stays empty, tells it nothing and does nothing for it", async ({
  page,
}) => {
  const strangers = { "/refused": "self https://example.com * null", "/own": "self" };
  for (const [path, origins] of Object.entries(strangers)) {
    await framed(page, path, origins);
    await send(page, { imprint: 1, type: "write" });
    await send(page, { imprint: 1, type: "state" });
    await page.waitForTimeout(500);
    expect(await heard(page)).toEqual([]);
    const inside = page.frameLocator("#frame");
    await expect(inside.locator("body")).toContainText(`not allowed inside one of ${blog.url}`);
    await expect(inside.locator("imprint-writer")).toHaveCount(0);
  }
  await test.step("nor does one whose own page stands in a page of another origin", async () => {
    const near = other.page("/near", `<iframe id="frame" src="${frame("self")}"></iframe>`);
    await page.goto(near);
    await expect(page.frameLocator("#frame").getByRole("button", { name: /Write on/ })).toBeVisible();
    await page.goto(blog.page("/far", `<iframe id="near" src="${near}"></iframe>`));
    const inside = page.frameLocator("#near").frameLocator("#frame");
    await expect(inside.locator("body")).toContainText(`not allowed inside one of ${blog.url}`);
  });
  expect(other.asked.filter((line) => line.endsWith("/small.gguf"))).toHaveLength(0);
});

test("the frame's page makes no text markup, starts our Worker alone, and holds it to the frame's policy", async ({
  page,
  laws,
}) => {
  laws.provoke();
  await page.goto(frame("self"));
  expect((await written(page)).length).toBeGreaterThan(0);
  const refused = await page.workers()[0]?.evaluate(
    () =>
      new Promise((resolve) => {
        addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
        const late = (): void => void setTimeout(() => resolve("nothing"), 1_000);
        fetch("https://elsewhere.test/").then(late, late);
      }),
  );
  expect(refused).toBe("connect-src");
  const tried = await page.evaluate(() => {
    const attempts = [
      () => (document.body.innerHTML = "<p>hello</p>"),
      () => new Worker("/other.js"),
      () => new Worker(URL.createObjectURL(new Blob(["1"]))),
    ];
    return attempts.map((attempt) => {
      try {
        attempt();
        return "allowed";
      } catch (thrown) {
        return (thrown as Error).name;
      }
    });
  });
  expect(tried).toEqual(["TypeError", "TypeError", "TypeError"]);
});
