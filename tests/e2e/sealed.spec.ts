import type { Page } from "@playwright/test";
import { expect, Room, test } from "./fixture.js";
import { rawBytes, tables, stored } from "./stored.js";

const passphrase = "correct horse battery staple lantern";
const secret = "The treaty is hidden behind the third stone";
const meanwhile = "Written while it was locked";

/** The passphrase's form in the Library. */
function vaultOf(page: Page) {
  const vault = page.locator("imprint-vault");
  return {
    passphrase: vault.getByLabel("Passphrase", { exact: true }),
    again: vault.getByLabel("Once more").first(),
    set: vault.getByRole("button", { name: "Set the passphrase" }),
    lock: vault.getByRole("button", { name: "Lock now" }),
    told: vault.locator('[data-part="told"]'),
  };
}

/** The question for it at the top of the page. */
function promptOf(page: Page) {
  const prompt = page.locator("imprint-unlock");
  return {
    prompt,
    field: prompt.getByLabel("Passphrase"),
    unlock: prompt.getByRole("button", { name: "Unlock", exact: true }),
    error: prompt.getByRole("alert"),
  };
}

test("a person seals what is kept, locks it, and opens it again", async ({ page }) => {
  const room = new Room(page);
  await room.enter();
  const { prompt, field, unlock, error } = promptOf(page);
  await expect(prompt).toBeHidden();
  await room.text.click();
  await page.keyboard.type(secret);
  await room.saved();
  expect((await rawBytes(page)).includes("third stone"), "the search finds what lies open").toBe(true);

  const vault = vaultOf(page);
  await test.step("a passphrase is set, once it is the same twice", async () => {
    await room.go("Library");
    const hint = page.locator("#vault-hint");
    await vault.passphrase.fill("short");
    await expect(hint).toHaveText("Too short yet: at least 8 letters.");
    await vault.passphrase.fill(passphrase);
    await expect(hint).toHaveText("Hard to guess.");
    await page.locator('imprint-vault [data-part="set"]').getByRole("button", { name: "Show" }).click();
    await expect(vault.passphrase).toHaveAttribute("type", "text");
    await vault.again.fill(`${passphrase}s`);
    await vault.set.click();
    await expect(vault.set).toBeVisible();
    await vault.again.fill(passphrase);
    await vault.set.click();
    await expect(vault.told).toHaveText("What is kept here is sealed from now on.");
  });

  await test.step("a draft goes on as before, and cannot be read where it lies", async () => {
    await room.go("Write");
    await room.text.click();
    await page.keyboard.press("Control+End");
    await page.keyboard.type(" from the left.");
    await room.saved();
    expect(tables(await stored(page))).toMatchObject({ drafts: 1 });
    const other = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
    const raw = Buffer.concat([await rawBytes(page), Buffer.from(other)]);
    for (const word of ["treaty", "third stone", "from the left", "title", "words"])
      expect(raw.includes(word), word).toBe(false);
  });

  await test.step("locked, the sheet is empty and the page asks for the passphrase", async () => {
    await room.go("Library");
    await vault.lock.click();
    await expect(prompt).toBeVisible();
    await room.go("Write");
    expect(await room.value()).toBe("");
    await expect(page.locator("imprint-drafts")).not.toContainText("treaty");
    expect(await page.content(), "nothing of it is left in the page").not.toContain("treaty");
    await page.reload();
    await expect(prompt).toBeVisible();
    await expect(field).toHaveAttribute("autocomplete", "current-password");
    expect(await room.value()).toBe("");
  });

  await test.step("what is written meanwhile is kept after the unlocking, and the draft is there", async () => {
    await room.text.click();
    await page.keyboard.type(meanwhile);
    await room.saved();
    expect((await rawBytes(page)).includes(meanwhile)).toBe(false);
    await field.fill("correct horse battery stable lantern");
    await unlock.click();
    await expect(error).toContainText("That is not the passphrase");
    await field.fill(passphrase);
    await field.press("Enter");
    await expect(prompt).toBeHidden();
    await room.saved();
    expect(tables(await stored(page))).toMatchObject({ drafts: 2 });
    expect((await rawBytes(page)).includes(meanwhile)).toBe(false);
    expect(await room.value()).toBe(meanwhile);
    await expect(page.locator("imprint-drafts")).toContainText("The treaty is hidden");
  });

  await test.step("without its passphrase it can only be forgotten", async () => {
    await room.go("Library");
    await vault.lock.click();
    await expect(prompt).toBeVisible();
    await prompt.getByText("The passphrase is lost").click();
    await expect(prompt).toContainText("Nobody can open it without the passphrase");
    await prompt.getByRole("button", { name: "Forget everything" }).click();
    await prompt.getByRole("button", { name: "Really everything?" }).click();
    await expect(prompt).toBeHidden();
    await expect.poll(async () => (await stored(page)).databases).toEqual({});
    await expect(vault.set).toBeVisible();
  });
});
