import { createHash } from "node:crypto";
import { expect, Room, test } from "./fixture.js";
import { pride } from "./learner.js";
import { smallModel } from "./small-model.js";
import { stored, tables } from "./stored.js";

test("the library looks after everything that is kept without a model, and forgets all of it", async ({
  page,
  context,
}) => {
  test.setTimeout(180_000);
  const room = new Room(page);
  // A model that comes from this site is stored; a file that a person chose is not.
  const model = Buffer.from(smallModel());
  await context.route("**/models/*.gguf", (route) => route.fulfill({ body: model }));
  await room.enter();
  const load = async (): Promise<void> => {
    // The page offers another after a reload, so that this one is not opened by itself.
    await page.locator("imprint-model").evaluate((element, hash) => {
      element.setAttribute("src", "models/small.gguf");
      element.setAttribute("sha256", hash);
    }, createHash("sha256").update(model).digest("hex"));
    await room.load.click();
    await room.ready();
  };
  const voices = page.locator("imprint-voices");
  const drafts = page.locator("imprint-kept-drafts");
  const storage = page.locator("imprint-storage");
  const dialog = page.getByRole("dialog", { name: "Forget everything?" });

  await test.step("an empty library says what will be here", async () => {
    await room.go("Library");
    await expect(voices).toContainText("Teach it a voice");
    await expect(drafts).toContainText("What you write on the sheet is kept here by itself.");
    await expect(storage).toContainText("Nothing is kept in this browser.");
    await expect(storage).toContainText("A model that is fetched from this site is kept here");
  });

  await test.step("a model, a voice with its texts, two drafts and a choice are kept", async () => {
    await room.go("Write");
    await room.choose("cpu");
    await load();
    await room.suggesting("off");
    await room.text.fill("A letter to my sister about the sea.");
    await room.saved();
    await page.getByRole("button", { name: "New draft" }).click();
    await room.text.fill("The second chapter.");
    await room.saved();
    await room.go("Voice");
    await page.getByLabel("Texts to learn from").fill(pride.slice(0, 8000));
    await page.getByLabel("Name of the voice").fill("Jane");
    await page.getByRole("radio", { name: /Light/ }).check();
    await page.getByRole("checkbox", { name: /Keep these texts/ }).check();
    await page.getByRole("button", { name: "Learn", exact: true }).click();
    await expect(page.getByRole("region", { name: "What was learned" })).toContainText("better", {
      timeout: 120_000,
    });
  });

  await test.step("all of it is listed and looked after without a model", async () => {
    await room.go("Library");
    // The model of last time would open again.
    await page.evaluate(() => localStorage.removeItem("imprint-model"));
    await page.reload();
    await expect(room.load).toBeVisible();
    await expect(voices.getByTitle("Use the voice Jane")).toBeDisabled();
    await expect(voices).toContainText("Load the model first");
    await voices.getByRole("button", { name: "Read", exact: true }).click();
    await expect(voices.getByRole("group", { name: "The texts of Jane" })).toContainText(pride.slice(0, 60));
    await voices.getByRole("button", { name: "Rename" }).click();
    await voices.getByLabel("Name of the voice").fill("Miss Austen");
    await page.keyboard.press("Enter");
    await expect(voices.getByTitle("Export Miss Austen")).toBeVisible();
    await expect(storage.getByRole("img")).toHaveAccessibleName(
      /^Models: .*, Voices and their texts: .*, Drafts: /,
    );
    await page.screenshot({ path: "tests/e2e/output/library.png", fullPage: true });
  });

  await test.step("a draft is deleted and brought back, and opens on the sheet", async () => {
    const names = drafts.locator('[data-part="list"] strong');
    await expect(names).toHaveText(["The second chapter.", "A letter to my sister about the sea."]);
    await drafts.getByRole("button", { name: "Delete A letter to my sister about the sea." }).click();
    await expect(names).toHaveText(["The second chapter."]);
    await drafts.getByRole("button", { name: "Bring it back" }).click();
    await expect(names).toHaveCount(2);
    await drafts.getByRole("button", { name: /^The second chapter/ }).click();
    await expect(page.getByRole("heading", { name: "Write", exact: true })).toBeVisible();
    await expect.poll(() => room.value()).toBe("The second chapter.");
  });

  await test.step("a stored model is forgotten after asking back", async () => {
    await room.go("Library");
    const forget = storage.getByTitle("Forget the model small.gguf");
    await forget.click();
    await forget.click();
    await expect(storage).toContainText("A model that is fetched from this site is kept here");
    expect((await stored(page)).files.filter((name) => name.endsWith(".gguf"))).toEqual([]);
  });

  await test.step("forgetting everything can be left alone, by Escape too", async () => {
    const before = tables(await stored(page));
    await storage.getByRole("button", { name: "Forget everything" }).click();
    await expect(dialog.getByRole("button", { name: "Keep everything" })).toBeFocused();
    await page.screenshot({ path: "tests/e2e/output/library-forget.png" });
    await page.keyboard.press("Escape");
    await expect(dialog).toBeHidden();
    await storage.getByRole("button", { name: "Forget everything" }).click();
    await dialog.getByRole("button", { name: "Keep everything" }).click();
    await expect(dialog).toBeHidden();
    expect(tables(await stored(page))).toEqual(before);
  });

  await test.step("forgetting everything leaves nothing at all", async () => {
    await load();
    await page.locator("#imprint-language").selectOption("de");
    await page.locator("#imprint-language").selectOption("en");
    const kept = await stored(page);
    expect(kept.caches).not.toEqual([]);
    expect(kept.files).not.toEqual([]);
    await storage.getByRole("button", { name: "Forget everything" }).click();
    await dialog.getByRole("button", { name: "Forget it all" }).click();
    await expect(dialog).toBeHidden();
    await expect(storage).toContainText("Nothing is kept in this browser.");
    const left = await stored(page);
    // The folder of the models is made anew, empty, by whoever asks what is in it.
    const files = left.files.filter((name) => name !== "imprint-models");
    expect({ ...left, files }).toEqual({ databases: {}, caches: [], files: [] });
    const keys = (): Promise<string[]> =>
      page.evaluate(() => [...Object.keys(localStorage), ...Object.keys(sessionStorage)]);
    expect(await keys()).toEqual([]);
    await expect(drafts).toContainText("None yet.");
    expect(await room.value()).toBe("");
  });
});
