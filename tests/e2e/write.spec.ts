import type { Page } from "@playwright/test";
import { sentences } from "../../web/src/errors.js";
import { errorsDe } from "../../web/src/words/errors-de.js";
import { expect, Room, test } from "./fixture.js";

const tale = "It is a truth universally acknowledged";

/** Opens the page with the small model, whose words mean nothing and are the same everywhere. */
async function enter(page: Page): Promise<Room> {
  const room = new Room(page);
  await room.enter();
  await room.small();
  return room;
}

test("a draft saves itself, comes back with its undo and its marks, and can be told apart from the model's", async ({
  page,
}) => {
  const room = await enter(page);
  await room.dial({ length: 16, temperature: 0.5, seed: 3 });
  await room.text.fill(tale);
  const written = await room.write();
  expect(written.length).toBeGreaterThan(8);
  const share = page.locator('imprint-draft [data-part="share"]');
  await expect(share).toHaveText(/words? · \d+ % yours/);
  const before = await share.textContent();

  await test.step("a reload brings all of it back", async () => {
    await room.saved();
    await page.reload();
    await expect.poll(() => room.value()).toBe(tale + written);
    await expect(share).toHaveText(before ?? "");
    expect(await room.marked("written")).toBe(written);
  });

  await test.step("undo goes on where it was, and redo brings the marks back", async () => {
    await room.text.focus();
    await page.keyboard.press("Control+z");
    await expect.poll(() => room.value()).toBe(tale);
    expect(await room.marked("written")).toBe("");
    await expect(share).not.toHaveText(/yours/);
    await page.keyboard.press("Control+y");
    await expect.poll(() => room.value()).toBe(tale + written);
    expect(await room.marked("written")).toBe(written);
  });

  await test.step("a word that the person changes is the person's", async () => {
    await page.keyboard.press("Control+End");
    await page.keyboard.type(" Mine.");
    expect(await room.marked("written")).toBe(written);
    await page.keyboard.press("Control+a");
    await page.keyboard.type("All mine.");
    expect(await room.marked("written")).toBe("");
    await page.keyboard.press("Control+z");
    expect(await room.marked("written")).toBe(written);
  });
});

test("words are suggested on a key, taken whole or by the word, kept while typed, and dropped", async ({
  page,
}) => {
  const room = await enter(page);
  await room.dial({ temperature: 0, repetition: 1 });
  await room.text.fill(tale);
  const ghost = page.locator("imprint-draft .ghost");
  const suggest = async (): Promise<string> => {
    await page.keyboard.press("Alt+Enter");
    await expect(page.locator("imprint-draft [data-part=live]")).toHaveText(/^Suggested: /);
    return (await ghost.textContent()) ?? "";
  };

  await test.step("it is no part of the text, and Escape drops it", async () => {
    expect((await suggest()).length).toBeGreaterThan(0);
    expect(await room.value()).toBe(tale);
    await page.keyboard.press("Escape");
    await expect(ghost).toHaveCount(0);
    expect(await room.value()).toBe(tale);
  });

  await test.step("typing its first letter keeps the rest, another letter drops it", async () => {
    const words = await suggest();
    await page.keyboard.insertText(words.slice(0, 1));
    await expect(ghost).toHaveText(words.slice(1), { useInnerText: false });
    await page.keyboard.insertText("~~");
    await expect(ghost).toHaveCount(0);
    await room.text.fill(tale);
  });

  await test.step("Tab takes it all, marked as the model's, and one undo gives it back", async () => {
    const words = await suggest();
    await page.keyboard.press("Tab");
    expect(await room.value()).toBe(tale + words);
    expect(await room.marked("written")).toBe(words);
    await page.keyboard.press("Control+z");
    expect(await room.value()).toBe(tale);
  });

  await test.step("Ctrl with the right arrow takes a word, and leaves the rest suggested", async () => {
    const words = await suggest();
    const word = /^\s*\S+/u.exec(words)?.[0] ?? words;
    await page.keyboard.press("Control+ArrowRight");
    expect(await room.value()).toBe(tale + word);
    if (word.length < words.length)
      await expect(ghost).toHaveText(words.slice(word.length), { useInnerText: false });
    await page.keyboard.press("Escape");
  });

  await test.step("Tab moves on where nothing is suggested", async () => {
    await page.keyboard.press("Tab");
    await expect(room.text).not.toBeFocused();
  });

  await test.step("it comes by itself after a pause where that is wanted, and never where it is not", async () => {
    await room.suggesting("pause");
    await room.text.fill("It is a truth");
    await expect(ghost).toHaveCount(1);
    await page.keyboard.press("Escape");
    await room.suggesting("off");
    await room.text.fill("It is a lie");
    await page.keyboard.press("Alt+Enter");
    await page.waitForTimeout(1_500);
    await expect(ghost).toHaveCount(0);
  });
});

test("three other ways stand side by side, and the one that is taken goes into the text", async ({
  page,
}) => {
  const room = await enter(page);
  await room.dial({ length: 12, temperature: 1, seed: 5 });
  await room.text.fill(tale);
  const written = await room.write();
  await page.getByRole("button", { name: "Another way" }).click();
  const ways = page.getByRole("region", { name: "Another way" });
  await expect(page.getByText("Three ways are written.")).toBeAttached();
  const cards = await ways.locator('[data-part="way"]').allTextContents();
  expect(cards).toHaveLength(3);
  expect(new Set(cards).size).toBe(3);
  expect(cards[0], "the first has the seed of the last words").toBe(written);
  await ways.getByRole("button", { name: "Take this, way 2" }).click();
  await expect(ways).toBeHidden();
  expect(await room.value()).toBe(tale + cards[1]);
  await page.keyboard.press("Control+z");
  expect(await room.value()).toBe(tale + written);

  await test.step("another draft has none of them", async () => {
    await page.getByRole("button", { name: "Another way" }).click();
    await expect(ways).toBeVisible();
    await page.getByRole("button", { name: "New draft" }).click();
    await expect(ways).toBeHidden();
    expect(await room.value()).toBe("");
  });
});

test("a passage is said in another way, shown as a difference, and refused or accepted", async ({ page }) => {
  const room = await enter(page);
  await room.dial({ temperature: 0.5, seed: 1 });
  const passage = "The sea was calm and grey.";
  await room.text.fill(`${passage} I swam.`);
  const select = async (): Promise<void> => {
    await room.text.focus();
    await page.keyboard.press("Control+Home");
    for (let letter = 0; letter < passage.length; letter += 1) await page.keyboard.press("Shift+ArrowRight");
  };
  await select();
  await page.getByRole("button", { name: "Longer" }).click();
  const offer = page.getByRole("region", { name: "Longer" });
  const accept = offer.getByRole("button", { name: "Accept" });
  await expect(accept).toBeEnabled();
  await expect(offer.locator("ins").first()).toBeVisible();
  await offer.getByRole("button", { name: "Refuse" }).click();
  expect(await room.value()).toBe(`${passage} I swam.`);

  await select();
  await page.getByRole("button", { name: "Longer" }).click();
  await expect(accept).toBeEnabled();
  const difference = offer.locator('[data-part="difference"]');
  const other = await difference.evaluate((place) =>
    [...place.childNodes].map((node) => (node.nodeName === "DEL" ? "" : node.textContent)).join(""),
  );
  await accept.click();
  expect(await room.value()).toBe(`${other} I swam.`);
  await page.keyboard.press("Control+z");
  expect(await room.value()).toBe(`${passage} I swam.`);

  await test.step("editing the passage takes the offer back", async () => {
    await select();
    await page.getByRole("button", { name: "Longer" }).click();
    await expect(page.getByRole("region", { name: "Longer" })).toBeVisible();
    await room.text.press("Control+Home");
    await page.keyboard.insertText("Oh. ");
    await expect(page.getByRole("region", { name: "Longer" }), "beside it nothing is edited").toBeVisible();
    await page.keyboard.press("ArrowRight");
    await page.keyboard.insertText("x");
    await expect(page.getByRole("region", { name: "Longer" })).toBeHidden();
  });
});

test("while text streams in, a screen reader is told that it begins and how it ends, not every word", async ({
  page,
}) => {
  const room = await enter(page);
  await room.dial({ length: 64, temperature: 0.5, seed: 1 });
  await room.text.fill(tale);
  await page.evaluate(() => {
    const told: string[] = [];
    Object.assign(globalThis, { told });
    const live = [...document.querySelectorAll("[role=status], [role=alert], [role=log], [aria-live]")];
    const seen = new MutationObserver((changes) => {
      for (const { target } of changes) told.push(target.textContent ?? "");
    });
    for (const region of live) seen.observe(region, { childList: true, characterData: true, subtree: true });
  });
  const written = await room.write();
  expect(written.length).toBeGreaterThan(30);
  const told = await page.evaluate(() => (globalThis as unknown as { told: string[] }).told);
  for (const part of ["imprint-draft", "imprint-draft .sheet", "imprint-draft .cm-content"])
    await expect(page.locator(part), "the sheet itself is no live region").not.toHaveAttribute(
      "aria-live",
      /polite|assertive/,
    );
  expect(told.length, told.join(" | ")).toBeGreaterThan(0);
  expect(told.length, told.join(" | ")).toBeLessThanOrEqual(3);
  expect(told.join(" ")).not.toContain(written.trim().slice(0, 12));
});

test("a line that is written from right to left stands so", async ({ page }) => {
  const room = new Room(page);
  await room.enter();
  await room.text.fill("The sea.\nالبحر كان هادئا.\nהים היה שקט.");
  const directions = await page
    .locator("imprint-draft .cm-line")
    .evaluateAll((lines) => lines.map((line) => getComputedStyle(line).direction));
  expect(directions).toEqual(["ltr", "rtl", "rtl"]);
});

test("with less motion asked for, nothing moves", async ({ page }) => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  const room = new Room(page);
  await room.enter();
  // A bar that does not know yet how far it is moves otherwise.
  const moving = (): Promise<number> =>
    page.evaluate(() => {
      const bar = document.querySelector("progress");
      for (let shown: Element | null = bar; shown; shown = shown.parentElement)
        shown.removeAttribute("hidden");
      bar?.removeAttribute("value");
      return document.getAnimations().length;
    });
  expect(await moving()).toBe(0);
  await page.emulateMedia({ reducedMotion: "no-preference" });
  expect(await moving()).toBeGreaterThan(0);
});

test("drafts are listed, opened, begun, deleted and brought back", async ({ page }) => {
  const room = new Room(page);
  await room.enter();
  await room.text.fill("The first draft");
  await room.saved();
  await page.getByRole("button", { name: "New draft" }).click();
  await expect.poll(() => room.value()).toBe("");
  await room.text.fill("The second draft");
  await room.saved();
  await page.locator("imprint-drafts summary").click();
  const open = (title: string) => page.locator("imprint-drafts [data-part=open]", { hasText: title });
  await expect(open("The first draft")).toBeVisible();
  await open("The first draft").click();
  await expect.poll(() => room.value()).toBe("The first draft");
  await page.getByRole("button", { name: "Delete The first draft" }).click();
  await expect.poll(() => room.value()).toBe("");
  await expect(open("The first draft")).toHaveCount(0);
  await page.getByRole("button", { name: "Bring it back" }).click();
  await expect.poll(() => room.value()).toBe("The first draft");
  await open("The second draft").click();
  await expect.poll(() => room.value()).toBe("The second draft");
});

test("two tabs never overwrite each other", async ({ page, context }) => {
  const room = new Room(page);
  await room.enter();
  await room.text.fill("Begun");
  await room.saved();
  const other = new Room(await context.newPage());
  await other.enter();
  await expect.poll(() => other.value()).toBe("Begun");
  await other.text.fill("Begun, and gone on in another tab");
  await expect
    .poll(() => room.value(), "what another tab saved is taken over")
    .toBe("Begun, and gone on in another tab");
  // Both write before either has saved.
  await Promise.all([
    room.text.fill("The words of the first tab"),
    other.text.fill("The words of the second tab"),
  ]);
  await room.saved();
  await other.saved();
  await page.reload();
  await page.locator("imprint-drafts summary").click();
  await expect(page.locator("imprint-drafts [data-part=name]")).toHaveCount(2);
  const titles = await page.locator("imprint-drafts [data-part=name]").allTextContents();
  expect(titles.sort()).toEqual(["The words of the first tab", "The words of the second tab"]);
});

test("the one draft of an earlier version is taken over", async ({ page }) => {
  await page.addInitScript(() => {
    if (!sessionStorage.getItem("seen")) localStorage.setItem("imprint-draft", "From before");
    sessionStorage.setItem("seen", "yes");
  });
  const room = new Room(page);
  await room.enter();
  await expect.poll(() => room.value()).toBe("From before");
  expect(await page.evaluate(() => localStorage.getItem("imprint-draft"))).toBeNull();
  await page.reload();
  await expect.poll(() => room.value()).toBe("From before");
});

test("the places are links: one is shown, the back button works, and the focus goes along", async ({
  page,
}) => {
  const room = new Room(page);
  await room.enter();
  await room.go("Voice");
  await expect(page).toHaveTitle("Voice · Imprint");
  await expect(page.getByRole("heading", { name: "Voice", exact: true })).toBeFocused();
  await expect(room.text).toBeHidden();
  await room.go("Library");
  await page.goBack();
  await expect(page.getByRole("link", { name: "Voice", exact: true })).toHaveAttribute(
    "aria-current",
    "page",
  );
  await page.goto("./#library");
  await page.reload();
  await expect(page.getByRole("heading", { name: "Library" })).toBeVisible();
});

test("a sample voice can be tried before any text of one's own", async ({ page }) => {
  const room = new Room(page);
  await room.enter();
  await page.getByRole("link", { name: "Try a sample voice" }).click();
  await page.getByRole("button", { name: "Jane Austen, 1813" }).click();
  await expect(page.getByRole("button", { name: "Remove Jane Austen.txt" })).toBeVisible();
});

test("with the real model, a sentence gets shorter, and a suggestion is words", async ({ page }) => {
  const room = new Room(page);
  await room.enter();
  await room.choose("cpu");
  await room.load.click();
  await room.ready();
  const sentence =
    "I think that we should probably try to meet again sometime next week in order to talk about the plan.";
  await room.text.fill(sentence);
  await room.dial({ seed: 1 });
  await room.text.focus();
  await page.keyboard.press("Control+a");
  await page.getByRole("button", { name: "In my words" }).click();
  const mine = page.getByRole("region", { name: "In my words" });
  await expect(page.locator("imprint-draft")).not.toHaveAttribute("writing");
  await expect(mine.locator('[data-part="difference"]')).toContainText(/\w+ \w+/);
  await mine.getByRole("button", { name: "Refuse" }).click();
  expect(await room.value()).toBe(sentence);

  await room.text.focus();
  await page.keyboard.press("Control+a");
  await page.getByRole("button", { name: "Shorter" }).click();
  const offer = page.getByRole("region", { name: "Shorter" });
  await expect(offer.getByRole("button", { name: "Accept" })).toBeEnabled();
  await offer.getByRole("button", { name: "Accept" }).click();
  const shorter = await room.value();
  expect(shorter.split(" ").length).toBeLessThan(sentence.split(" ").length);
  const kept = new Set(sentence.toLowerCase().match(/\w+/g));
  expect(
    shorter
      .toLowerCase()
      .match(/\w+/g)
      ?.some((word) => kept.has(word)),
  ).toBe(true);

  await page.keyboard.press("Control+End");
  await page.keyboard.press("Alt+Enter");
  await expect(page.locator("imprint-draft [data-part=live]")).toHaveText(/^Suggested: .*\p{L}{2}/u);
  await page.keyboard.press("Tab");
  expect((await room.value()).startsWith(shorter)).toBe(true);
  expect((await room.value()).length).toBeGreaterThan(shorter.length);
});

test.describe("in German", () => {
  test.use({ locale: "de-DE" });

  test("the page speaks the browser's language, and another one when it is chosen", async ({ page }) => {
    await page.goto("./");
    await expect(page.locator("html")).toHaveAttribute("lang", "de");
    await expect(page.getByRole("button", { name: "Modell laden" })).toBeVisible();
    await expect(page.getByRole("textbox", { name: "Dein Text" })).toBeVisible();
    await page.getByLabel("Sprache").selectOption("en");
    await expect(page.getByRole("button", { name: "Load the model" })).toBeVisible();
    await page.reload();
    await expect(page.getByRole("button", { name: "Load the model" })).toBeVisible();
    await expect(page.locator("html")).toHaveAttribute("lang", "en");
  });

  test("what went wrong is said anew in the language that is chosen then", async ({ page }) => {
    await page.goto("./");
    await page.getByText("Anderes Modell, anderes Gerät").click();
    const letter = {
      name: "letter.gguf",
      mimeType: "",
      buffer: Buffer.from("This is a letter. ".repeat(100)),
    };
    await page.getByLabel("Eine eigene GGUF-Datei").setInputFiles(letter);
    const error = page.getByRole("alert").filter({ visible: true });
    await expect(error).toContainText(errorsDe["model-corrupt"]);
    await page.getByLabel("Sprache").selectOption("en");
    await expect(error).toContainText(sentences["model-corrupt"]);
    await expect(error).not.toContainText(errorsDe["model-corrupt"]);
    await page.getByLabel("Language").selectOption("de");
    await expect(error).toContainText(errorsDe["model-corrupt"]);
  });

  test("nothing on the page stays English", async ({ page }) => {
    const said = async (): Promise<Set<string>> => {
      const all: string[] = [];
      for (const place of ["#write", "#voice", "#library"]) {
        await page.goto(`./${place}`);
        await expect(page.locator(`[data-place="${place.slice(1)}"]`)).toBeVisible();
        all.push(...(await page.evaluate(sayings)));
      }
      return new Set(all);
    };
    await page.goto("./");
    const german = await said();
    await page.locator("#imprint-language").selectOption("en");
    const english = await said();
    expect(english.size).toBeGreaterThan(120);
    // What is the same in both: names, keys, and words that German took over.
    const same = [...german].filter((text) => english.has(text));
    expect(same.filter((text) => !alike.has(text))).toEqual([]);
  });
});

const alike = new Set([
  ...["Imprint", "SmolLM2-135M-Instruct-Q4_1", "Jane Austen, 1813", "Herman Melville, 1851"],
  ...["Enter", "Alt", "Esc", "Normal", "Passphrase"],
  ...["SmolLM2 135M Instruct", "Gemma 3 270M", "https://…/model.gguf"],
]);

/** All that the page has to say in sight and for screen readers, with everything opened. */
function sayings(): string[] {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const found: string[] = [];
  for (const element of document.querySelectorAll<HTMLElement>("body *")) {
    // Addresses and the policy are no words.
    if (!element.checkVisibility() || element.closest("imprint-requests :is(pre, li)")) continue;
    for (const name of ["aria-label", "placeholder", "title"]) found.push(element.getAttribute(name) ?? "");
    for (const node of element.childNodes)
      if (node.nodeType === Node.TEXT_NODE) found.push(node.nodeValue ?? "");
  }
  return found.map((text) => text.replaceAll(/\s+/g, " ").trim()).filter((text) => /\p{L}{2}/u.test(text));
}
