import { AxeBuilder } from "@axe-core/playwright";
import type { Page } from "@playwright/test";
import { expect, Room, test } from "./fixture.js";
import { pride } from "./learner.js";

const sizes = { desk: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

/** What axe finds in a view: on a desk and a phone, light and dark, that nothing hangs over the edge included. */
async function look(page: Page, view: string, before = async (): Promise<void> => {}): Promise<void> {
  const found: string[] = [];
  for (const [size, viewport] of Object.entries(sizes))
    for (const colorScheme of ["light", "dark"] as const) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await before();
      // The page has no frames, for which it would open another page each time.
      const axe = new AxeBuilder({ page }).setLegacyMode();
      // The dark differs from the light in its colours alone.
      if (colorScheme === "dark") axe.withRules(["color-contrast"]);
      const { violations } = await axe.analyze();
      for (const { id, nodes } of violations)
        for (const { target, failureSummary } of nodes)
          found.push(`${size}, ${colorScheme}: ${id} at ${target.join(" ")}: ${failureSummary}`);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (over > 0) found.push(`${size}: hangs over by ${over} px`);
      // For whoever looks: a machine that only tests need not draw them.
      if (process.env["CI"]) continue;
      await page.screenshot({
        path: `tests/e2e/output/axe-${view.replaceAll(/\W+/g, "-")}-${size}-${colorScheme}.png`,
        fullPage: true,
      });
    }
  expect.soft(found, view).toEqual([]);
}

async function openAll(page: Page, within: string): Promise<void> {
  await page
    .locator(`${within} details`)
    .evaluateAll((all) => all.forEach((details) => ((details as HTMLDetailsElement).open = true)));
}

test("axe finds nothing in any view", async ({ page }) => {
  test.setTimeout(400_000);
  const room = new Room(page);
  await room.enter();
  await look(page, "first visit");
  await page.getByText("Another model, another device").click();
  await look(page, "choices");
  await page.getByText("Another model, another device").click();
  await test.step("loading", async () => {
    // A host that never answers.
    await page.route(/models\//, () => undefined);
    await room.load.click();
    await expect(page.getByRole("progressbar")).toBeVisible();
    await look(page, "model loading");
    await page.getByRole("button", { name: "Cancel" }).click();
    await expect(page.getByRole("alert")).toBeVisible();
    await look(page, "model cancelled");
    await page.unroute(/models\//);
  });
  await page.locator("#imprint-update").evaluate((offer) => offer.removeAttribute("hidden"));
  await look(page, "a new version");
  await page.locator("#imprint-update").evaluate((offer) => offer.setAttribute("hidden", ""));
  await room.go("Voice");
  await look(page, "voice without a model");
  await room.go("Library");
  await openAll(page, "imprint-requests");
  await look(page, "library without anything");
  await page.locator("imprint-vault").getByLabel("Passphrase", { exact: true }).fill("correct horse");
  await look(page, "a passphrase that is easy to guess");

  await test.step("writing", async () => {
    await room.go("Write");
    await room.small();
    await look(page, "sheet, empty");
    await page.getByText("How it writes").click();
    await look(page, "settings");
    await page.getByText("How it writes").click();
    await room.text.fill(pride.slice(0, 400));
    await room.saved();
    await look(page, "sheet with text");
    await openAll(page, "imprint-drafts");
    await look(page, "drafts");
    await room.dial({ length: 512, temperature: 0, seed: 1 });
    await look(page, "writing", async () => {
      await expect(room.continue).toBeEnabled();
      const before = await room.value();
      await room.text.press("Control+Enter");
      // The small model may be done before anybody sees it begin.
      await expect.poll(() => room.value()).not.toBe(before);
    });
    await expect(room.continue).toBeVisible();
    await look(page, "written");
  });

  await test.step("learning", async () => {
    await room.go("Voice");
    await page.getByLabel("Texts to learn from").fill("Too short.");
    await expect(page.getByText(/learning needs at least/)).toBeVisible();
    await look(page, "voice, too little text");
    await page.getByLabel("Texts to learn from").fill(pride.slice(0, 8000));
    await page.getByLabel("Name of the voice").fill("Jane");
    await page.getByRole("radio", { name: /Light/ }).check();
    await page.getByRole("button", { name: "Learn", exact: true }).click();
    await expect(page.locator("imprint-teacher").getByText(/step [1-9]\d* of/)).toBeVisible();
    await page.getByRole("button", { name: "Pause" }).click();
    await expect(page.getByRole("button", { name: "Go on", exact: true })).toBeVisible();
    await look(page, "voice, learning");
    await page.getByRole("button", { name: "Go on", exact: true }).click();
    const result = page.getByRole("region", { name: "What was learned" });
    await expect(result).toContainText("better", { timeout: 120_000 });
    await look(page, "voice, learned");
    await page.getByRole("button", { name: "Let both write" }).click();
    await expect(page.getByText("Both are written and pictured.")).toBeVisible();
    await openAll(page, "imprint-rhythm");
    await look(page, "voice, pictured");
  });

  await test.step("keeping", async () => {
    await room.go("Library");
    await look(page, "library with a voice");
    await page.locator("imprint-storage").getByRole("button", { name: "Forget everything" }).click();
    await look(page, "forget everything?");
    await page.getByRole("button", { name: "Keep everything" }).click();
    const vault = page.locator("imprint-vault");
    await vault.getByLabel("Passphrase", { exact: true }).fill("correct horse battery staple");
    await vault.getByLabel("Once more").first().fill("correct horse battery staple");
    await vault.getByRole("button", { name: "Set the passphrase" }).click();
    await expect(vault.getByRole("button", { name: "Lock now" })).toBeVisible();
    await openAll(page, "imprint-vault");
    await look(page, "a passphrase is set");
    await vault.getByRole("button", { name: "Lock now" }).click();
    const prompt = page.locator("imprint-unlock");
    await prompt.getByLabel("Passphrase").fill("something else");
    await prompt.getByRole("button", { name: "Unlock", exact: true }).click();
    await expect(prompt.getByRole("alert")).toBeVisible();
    await openAll(page, "imprint-unlock");
    await look(page, "locked");
    await room.go("Write");
    await look(page, "sheet while locked");
  });

  await test.step("another language", async () => {
    await page.locator("#imprint-language").selectOption("de");
    await look(page, "library in German");
  });
});
