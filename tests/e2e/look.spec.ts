import { expect, Room, test } from "./fixture.js";

const sizes = {
  desk: { width: 1280, height: 900 },
  phone: { width: 390, height: 844 },
  small: { width: 320, height: 568 },
};

// The pictures are for people to look at; what is asserted is that nothing hangs over the edge.
for (const [place, viewport] of Object.entries(sizes)) {
  for (const colorScheme of ["light", "dark"] as const) {
    test.describe(`${place}, ${colorScheme}`, () => {
      test.use({ viewport, colorScheme, isMobile: place !== "desk", hasTouch: place !== "desk" });

      test("the page fits and is drawn", async ({ page }) => {
        const room = new Room(page);
        const draw = async (name: string, fullPage = false): Promise<void> => {
          await page.screenshot({ path: `tests/e2e/output/${place}-${colorScheme}-${name}.png`, fullPage });
          const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          expect(over, `${name} hangs over by ${over} px`).toBeLessThanOrEqual(0);
        };
        await room.enter();
        await draw("offer");
        await room.text.fill("The first time I saw the sea,");
        await page.getByText("How it writes").click();
        await draw("settings", true);
        await page.getByText("How it writes").click();
        for (const name of ["Voice", "Library"] as const) {
          await room.go(name);
          await draw(name.toLowerCase(), true);
        }
        await room.go("Write");
        if (place === "small") {
          // German words are longer, and want the narrow screen too.
          await page.locator("#imprint-language").selectOption("de");
          for (const name of ["write", "voice", "library"]) {
            await page.goto(`./#${name}`);
            await draw(`${name}-german`, true);
          }
          return;
        }
        // In the dark nothing lies elsewhere: a machine on which nobody looks need not draw it twice.
        if (process.env["CI"] && colorScheme === "dark") return;
        await room.load.click();
        await expect(page.getByText(/ of 98\.4 MB/)).toBeVisible();
        await draw("loading");
        await room.ready();
        await room.dial({ length: 512, temperature: 0.7, seed: 11 });
        await room.continue.click();
        await expect.poll(async () => (await room.value()).length, { timeout: 120_000 }).toBeGreaterThan(60);
        await draw("writing");
        // It may have ended by itself.
        await page.keyboard.press("Escape");
        await expect(room.continue).toBeVisible();
        await draw("written");
      });
    });
  }
}
