import type { Page } from "@playwright/test";
import type { AdapterInfo, AdapterUse } from "../../web/src/index.js";
import { expect, Room, test } from "./fixture.js";
import { adapter, learn, onSmallHost, open, pride, quick, write } from "./learner.js";
import { smallModel } from "./small-model.js";

onSmallHost();

/** Two voices of the small model, of two halves of a text. */
async function two(page: Page): Promise<[AdapterInfo, AdapterInfo]> {
  const recipe = { ...quick.recipe, passes: 1, rate: 0.02 };
  await learn(page, { name: "Jane", recipe }, pride.slice(0, 6000));
  const jane = await adapter(page);
  await learn(page, { name: "Miss Austen", recipe: { ...recipe, seed: 3 } }, pride.slice(9000, 15_000));
  return [jane, await adapter(page)];
}

/** How well the small model foresees a text with what speaks; the code of the error where it does not. */
function nll(page: Page, adapter: AdapterUse): Promise<number | string> {
  return page.evaluate(async (adapter) => {
    const text = "It was a pleasure to be in her company, and he was very much in love with her.";
    return opened.score(text, { adapter }).then(
      ({ nll }) => nll,
      (error: { code: string }) => error.code,
    );
  }, adapter);
}

for (const device of ["cpu", "webgpu"] as const) {
  test(`two voices speak at once, and travel to llama.cpp and back, on ${device}`, async ({ page }) => {
    test.setTimeout(300_000);
    await open(page, device);
    const [jane, miss] = await two(page);
    const [first, second] = [jane.id, miss.id];
    const mix = [
      { id: first, weight: 0.6 },
      { id: second, weight: 0.4 },
    ];

    await test.step("a mix is neither voice, and one voice in two parts is that voice", async () => {
      const alone = Number(await nll(page, first));
      const mixed = await nll(page, mix);
      expect(mixed).not.toBe(alone);
      expect(mixed).not.toBe(await nll(page, second));
      const parts = await nll(page, [
        { id: first, weight: 0.25 },
        { id: first, weight: 0.75 },
      ]);
      expect(parts).toBeCloseTo(alone, 3);
      expect(await nll(page, [{ id: first, weight: 1 }])).toBe(alone);
      expect(await nll(page, mix), "a mix is the same again").toBe(mixed);
    });

    await test.step("strength stands on top of it, and copying and names are held against both texts", async () => {
      await page.evaluate((mix) => opened.adapters.use(mix, { strength: 1 }), mix);
      expect(await page.evaluate(() => opened.adapters.current)).toEqual(mix);
      const base = await write(page, { adapter: null });
      const mixed = await write(page);
      expect(mixed).not.toBe(base);
      expect(await write(page, { strength: 0 })).toBe(base);
      expect(await write(page, { strength: 2, mode: "contrast" })).not.toBe(mixed);
      expect(await write(page), "the same seed writes the same text").toBe(mixed);
      await write(page, { maxCopiedWords: 7, withoutNames: true });
    });

    await test.step("what cannot be mixed is refused, and what was in use goes on", async () => {
      const wrong: AdapterUse[] = [
        [],
        [{ id: first, weight: 2.5 }],
        [{ id: first, weight: Number.NaN }],
        [
          { id: first, weight: 0 },
          { id: second, weight: 0 },
        ],
        [
          { id: first, weight: 1 },
          { id: "nobody", weight: 1 },
        ],
        Array.from({ length: 9 }, () => ({ id: first, weight: 0.1 })),
        7 as unknown as string,
      ];
      for (const adapter of wrong) {
        expect(await nll(page, adapter), JSON.stringify(adapter)).toBe("invalid-option");
        const refused = await page.evaluate(
          (adapter) => opened.adapters.use(adapter).catch(({ code }: { code: string }) => code),
          adapter,
        );
        expect(refused, JSON.stringify(adapter)).toBe("invalid-option");
      }
      expect(await page.evaluate(() => opened.adapters.current)).toEqual(mix);
    });

    await test.step("a voice goes out as llama.cpp's file and comes in again as it was", async () => {
      const again = await page.evaluate(async (id) => {
        const file = await opened.adapters.export(id, { format: "gguf" });
        return { info: await opened.adapters.import(file), magic: await file.slice(0, 4).text() };
      }, first);
      expect(again.magic).toBe("GGUF");
      expect(again.info).toMatchObject({ name: "Jane", prints: true, base: jane.base });
      expect(await nll(page, again.info.id)).toBe(await nll(page, first));
      await page.evaluate((id) => opened.adapters.delete(id), again.info.id);
      const refused = (bytes: number[]): Promise<string> =>
        page.evaluate(
          (bytes) =>
            opened.adapters.import(new Blob([new Uint8Array(bytes)])).then(
              () => "taken in",
              ({ code }: { code: string }) => code,
            ),
          bytes,
        );
      expect(await refused([...smallModel()]), "a model is no adapter").toBe("adapter-unsupported");
      expect(await refused([...new TextEncoder().encode("GGUF")])).toBe("adapter-corrupt");
      expect(await page.evaluate(() => opened.adapters.list())).toHaveLength(2);
    });

    await test.step("with one of its voices deleted the mix is over", async () => {
      await page.evaluate((id) => opened.adapters.delete(id), second);
      expect(await page.evaluate(() => opened.adapters.current)).toBe(null);
      expect(await write(page)).toBe(await write(page, { adapter: null }));
      expect(await nll(page, mix)).toBe("invalid-option");
    });
  });
}

test("a person lets a second voice speak with the one in use, and sets the balance", async ({ page }) => {
  test.setTimeout(120_000);
  const room = new Room(page);
  await room.enter();
  await room.small();
  await page.locator("imprint-voices").evaluate(async (element, text) => {
    const { imprint, refresh } = element as HTMLElement & {
      imprint: typeof opened;
      refresh(): Promise<void>;
    };
    const recipe = { passes: 1, window: 64, interval: 0.5, rate: 0.02 };
    await imprint.learn(text.slice(0, 6000), { name: "Jane", recipe }).done;
    await imprint.learn(text.slice(9000, 15_000), { name: "Herman", recipe }).done;
    await refresh.call(element);
  }, pride);

  const voices = page.locator("imprint-voices");
  const jane = voices.getByRole("listitem").filter({ has: page.getByTitle("Delete Jane") });
  const beside = jane.getByLabel("Together with");
  const balance = jane.getByRole("slider", { name: /% Jane/ });
  await room.go("Write");
  await room.dial({ length: 24, temperature: 0, seed: 2 });
  const written = async (): Promise<string> => {
    await room.go("Write");
    await room.text.fill("Mr. Bennet");
    const text = await room.write();
    await room.go("Library");
    return text;
  };

  const refresh = (): Promise<void> =>
    voices.evaluate((element) => (element as HTMLElement & { refresh(): Promise<void> }).refresh());

  await room.go("Library");
  await expect(beside, "only beside a voice in use").toBeHidden();
  await voices.getByTitle("Use the voice Jane").press("Enter");
  await expect(voices.getByTitle("Use the voice Jane"), "the keyboard stays").toBeFocused();
  await expect(voices.getByTitle("Use the voice Jane")).toHaveText("Stop using");
  await expect(balance).toBeHidden();
  const alone = await written();
  await beside.selectOption("Herman");
  await expect(voices.getByText("Writes in the voice Jane and Herman.")).toBeVisible();
  await expect(balance).toHaveAccessibleName("50 % Jane, 50 % Herman");
  const half = await written();
  expect(half).not.toBe(alone);
  await balance.evaluate((slider: HTMLInputElement) => {
    slider.focus();
    slider.value = "75";
    slider.dispatchEvent(new Event("input"));
  });
  await refresh();
  await expect(balance, "news leaves a hand on the balance alone").toHaveAccessibleName(
    "25 % Jane, 75 % Herman",
  );
  await balance.fill("90");
  await expect(balance).toHaveAccessibleName("10 % Jane, 90 % Herman");
  await expect(balance, "the hand keeps the balance").toBeFocused();
  expect(await written()).not.toBe(half);
  await page.screenshot({ path: "tests/e2e/output/mix.png", fullPage: true });

  await room.go("Write");
  await expect(page.getByRole("slider", { name: /^Strength of Jane and Herman/ })).toBeVisible();
  await room.go("Library");
  await beside.selectOption("no other voice");
  expect(await written(), "alone it is as before").toBe(alone);

  await beside.selectOption("Herman");
  await voices.getByTitle("Delete Herman").click();
  await refresh();
  await voices.getByRole("button", { name: "Really delete?" }).click();
  await expect(beside, "with nobody left to mix with").toBeHidden();
  expect(await written(), "the other goes on alone").toBe(alone);
});
