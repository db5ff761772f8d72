import { strFromU8, strToU8, unzipSync, zipSync, type Zippable } from "fflate";
import type { Page } from "@playwright/test";
import type * as Package from "../../web/src/index.js";
import { expect, Room, test } from "./fixture.js";
import { hostile, together } from "./hostile.js";
import { adapter, learn, onSmallHost, open, pride, quick, write } from "./learner.js";
import { stored } from "./stored.js";

onSmallHost();

/** Nothing of a text was executed, and nothing of it became an element or an attribute that does something. */
async function nothingRan(page: Page): Promise<void> {
  const found = await page.evaluate(() => {
    const roots: ParentNode[] = [document];
    for (const element of document.querySelectorAll("*"))
      if (element.shadowRoot) roots.push(element.shadowRoot);
    const elements = roots.flatMap((root) => [...root.querySelectorAll("*")]);
    return {
      ran: (globalThis as { __pwned?: unknown }).__pwned,
      polluted: ({} as { pwned?: unknown }).pwned,
      scripts: elements.filter((element) =>
        element.matches("script:not([src*='assets/']), iframe, object, embed"),
      ).length,
      handlers: elements.filter((element) =>
        [...element.attributes].some(({ name }) => name.startsWith("on")),
      ).length,
      links: elements.filter((element) => /^\s*javascript:/i.test(element.getAttribute("href") ?? "")).length,
    };
  });
  expect(found).toEqual({ ran: undefined, polluted: undefined, scripts: 0, handlers: 0, links: 0 });
}

/** What hangs over the right edge, where the page can be scrolled sideways. */
function hangingOver(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    if (document.documentElement.scrollWidth <= innerWidth) return [];
    return [...document.querySelectorAll("body *")]
      .filter((element) => element.getBoundingClientRect().right > innerWidth)
      .map((element) => element.outerHTML.slice(0, 120));
  });
}

/** The files of a voice that the small model takes. */
async function voice(page: Page): Promise<Record<string, Uint8Array>> {
  await open(page, "cpu");
  await learn(page, { ...quick, keepTexts: true }, pride.slice(0, 4000));
  const { id } = await adapter(page);
  const archive = await page.evaluate(
    async (id) => [...new Uint8Array(await (await opened.adapters.export(id)).arrayBuffer())],
    id,
  );
  return unzipSync(Uint8Array.from(archive));
}

/** A voice with another name and another description. */
function told(files: Record<string, Uint8Array>, change: object): Zippable {
  const info = JSON.parse(strFromU8(files["imprint.json"] ?? new Uint8Array())) as object;
  return { ...files, "imprint.json": strToU8(JSON.stringify({ ...info, ...change })) };
}

test("hostile texts stay texts on the sheet, in the list of drafts and in what the model is told", async ({
  page,
  baseURL,
}) => {
  const room = new Room(page);
  await page.goto(baseURL ?? "");
  await expect(room.load).toBeVisible();
  await room.small();

  await test.step("pasted, also as markup", async () => {
    await room.text.click();
    await room.text.evaluate(
      (sheet, [plain, markup]) => {
        const data = new DataTransfer();
        data.setData("text/plain", plain);
        data.setData("text/html", markup);
        const paste = { clipboardData: data, bubbles: true, cancelable: true, composed: true };
        sheet.dispatchEvent(new ClipboardEvent("paste", paste));
      },
      [together, `<p>${hostile.handler}${hostile.script}${hostile.svg}</p>`] as const,
    );
    const value = await room.value();
    for (const name of ["script", "handler", "entities", "template", "backwards", "tokens", "long"] as const)
      expect(value, name).toContain(hostile[name]);
    await nothingRan(page);
    expect(await hangingOver(page)).toEqual([]);
  });

  await test.step("kept and brought back", async () => {
    const before = await room.value();
    await room.saved();
    await page.reload();
    await expect.poll(() => room.value()).toBe(before);
    await nothingRan(page);
  });

  await test.step("as the beginning that is written on", async () => {
    await room.small();
    await room.dial({ length: 8, temperature: 0.5, seed: 3 });
    for (const name of ["tokens", "handler", "backwards", "control"] as const) {
      await room.text.fill(hostile[name]);
      const before = await room.value();
      await expect(room.continue).toBeEnabled();
      await room.continue.click();
      await expect.poll(async () => (await room.value()).length, name).toBeGreaterThan(before.length);
      await expect(room.continue).toBeEnabled();
      expect((await room.value()).startsWith(before), name).toBe(true);
      await nothingRan(page);
    }
  });
});

test("hostile texts and file names are learned from as texts, and name voices and runs as texts", async ({
  page,
  baseURL,
}) => {
  test.setTimeout(300_000);
  const files = await voice(page);
  const room = new Room(page);
  await page.goto(baseURL ?? "");
  await room.small();
  await room.go("Voice");

  await test.step("files with names and contents", async () => {
    const texts = [
      { name: `${hostile.handler}.txt`.replaceAll("/", ""), mimeType: "text/plain", text: together + pride },
      {
        name: "page.html",
        mimeType: "text/html",
        text: `<title>${hostile.handler}</title>${hostile.script}${hostile.svg}<p>${pride.slice(0, 6000)}`,
      },
      { name: "\u202egpj.txt", mimeType: "text/plain", text: hostile.control },
    ];
    await page
      .locator('imprint-teacher input[type="file"]')
      .setInputFiles(
        texts.map(({ name, mimeType, text }) => ({ name, mimeType, buffer: Buffer.from(text) })),
      );
    await expect(page.locator("imprint-teacher")).toContainText("onerror");
    await nothingRan(page);
    expect(await hangingOver(page)).toEqual([]);
  });

  await test.step("voices with names of others", async () => {
    await room.go("Library");
    const archives = Object.entries(hostile).map(([kind, name]) => ({
      name: `${kind}.zip`,
      mimeType: "application/zip",
      buffer: Buffer.from(zipSync(told(files, { name, model: name, recipe: hostile.script }), { level: 0 })),
    }));
    const list = page.locator('imprint-voices [data-part="list"] > li');
    const before = await list.count();
    for (const [at, archive] of archives.entries()) {
      await page.locator('imprint-voices input[type="file"]').setInputFiles([archive]);
      await expect(list).toHaveCount(before + at + 1);
    }
    await nothingRan(page);
    const text = await page.locator("imprint-voices").innerText();
    expect(text).toContain(hostile.handler);
    expect(text, "no name turns the words around it").not.toMatch(/[\u202a-\u202e\u2066-\u2069]/);
    expect(text, "no name is longer than a name").not.toContain("w".repeat(100));
    await page.setViewportSize({ width: 390, height: 844 });
    expect(await hangingOver(page)).toEqual([]);
    await page.screenshot({ path: "tests/e2e/output/hostile-voices.png", fullPage: true });
  });
});

test("a hostile archive is refused with its code, or only what makes sense in it is believed", async ({
  page,
}) => {
  const files = await voice(page);
  const config = files["adapter_config.json"] ?? new Uint8Array();
  const weights = files["adapter_model.safetensors"] ?? new Uint8Array();
  const { "imprint.json": _, ...bare } = files;
  const sound = zipSync(files, { level: 6 });
  const before = await stored(page);
  const code = (archive: Uint8Array): Promise<string> =>
    page.evaluate(
      (bytes) =>
        opened.adapters.import(new Blob([Uint8Array.from(bytes)])).then(
          ({ name }) => `kept as ${name}`,
          ({ code, message }: Package.ImprintError) => `${code}: ${message}`,
        ),
      [...archive],
    );
  const header = (length: number, json = ""): Uint8Array => {
    const bytes = new Uint8Array(8 + json.length);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
    bytes.set(strToU8(json), 8);
    return bytes;
  };
  const json = (text: string): Zippable => ({ ...bare, "adapter_config.json": strToU8(text) });
  const model = (bytes: Uint8Array): Zippable => ({ ...bare, "adapter_model.safetensors": bytes });

  const refused: Record<string, Uint8Array> = {
    "no archive": strToU8(together),
    nothing: new Uint8Array(),
    "cut off": sound.slice(0, sound.length >> 1),
    "without weights": zipSync({ "adapter_config.json": config }),
    "a size of four gigabytes": withSize(sound, 0xffff_fff0),
    "sizes that are too small": withSize(sound, 40),
    "a bomb": zipSync({ "adapter_config.json": config, "adapter_model.safetensors": new Uint8Array(5e7) }),
    "a config of brackets": zipSync(json("[".repeat(200_000))),
    "a config of another kind": zipSync(json(JSON.stringify({ peft_type: hostile.script }))),
    "a huge rank": zipSync(json(strFromU8(config).replace(/"r":\s*\d+/, '"r": 4294967295'))),
    "a header of more than there is": zipSync(model(header(2 ** 52, "{}"))),
    "a header of brackets": zipSync(model(header(100_000, "[".repeat(100_000)))),
    "weights of none": zipSync(model(weights.slice(0, 200))),
    "prints of none": zipSync({ ...files, "imprint_prints.bin": strToU8(hostile.script) }),
  };
  for (const [name, archive] of Object.entries(refused))
    expect(await code(archive), name).toMatch(/^adapter-(corrupt|unsupported|wrong-base): ./);
  expect((await stored(page)).databases, "nothing of it is kept").toEqual(before.databases);

  const believed: Record<string, Zippable> = {
    "names that climb": Object.fromEntries(
      Object.entries(bare).map(([name, bytes]) => [`../../../../tmp/${name}`, bytes]),
    ),
    "more than a voice": { ...bare, "index.html": strToU8(hostile.script), "../sw.js": strToU8("1") },
    "told nonsense": { ...bare, "imprint.json": strToU8(hostile.prototype) },
    "told no JSON": { ...bare, "imprint.json": strToU8(hostile.script) },
    "told deep": { ...bare, "imprint.json": strToU8(`{"recipe":${"[".repeat(5000)}${"]".repeat(5000)}}`) },
  };
  for (const [name, archive] of Object.entries(believed))
    expect(await code(zipSync(archive)), name).toBe("kept as Untitled");
  expect(await code(zipSync(told(files, { name: hostile.backwards })))).toBe(
    "kept as usergnp.exe right to left",
  );
  expect(await code(zipSync(told(files, { name: { toString: 1 } })))).toBe("kept as Untitled");
  expect(await code(zipSync(told(files, { name: hostile.long })))).toBe(`kept as ${"w".repeat(80)}`);
  await nothingRan(page);
  const forged = "<|endoftext|>";
  const promptTokens = await page.evaluate(async (forged) => {
    for await (const { promptTokens } of opened.write(forged, { maxTokens: 1 })) return promptTokens;
    return 0;
  }, forged);
  expect(promptTokens, "the name of a control token is its letters").toBeGreaterThanOrEqual(forged.length);
  expect((await write(page)).length, "the model still writes").toBeGreaterThan(0);
});

/** An archive whose entries claim to have so many bytes. */
function withSize(archive: Uint8Array, size: number): Uint8Array {
  const lied = archive.slice();
  const view = new DataView(lied.buffer);
  for (let at = 0; at + 46 < lied.length; at += 1) {
    if (view.getUint32(at, true) === 0x04034b50) view.setUint32(at + 22, size, true);
    if (view.getUint32(at, true) === 0x02014b50) view.setUint32(at + 24, size, true);
  }
  return lied;
}
