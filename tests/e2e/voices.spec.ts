import { readFile } from "node:fs/promises";
import type { Imprint } from "../../web/src/index.js";
import { expect, Room, test } from "./fixture.js";
import { pride } from "./learner.js";

test("a person teaches a voice, hears it beside the base, carries it away and forgets it", async ({
  page,
}) => {
  test.setTimeout(240_000);
  const room = new Room(page);
  await room.enter();
  await room.small();
  const voices = page.locator("imprint-voices");
  const teacher = page.locator("imprint-teacher");
  const texts = page.getByLabel("Texts to learn from");

  await room.go("Voice");

  await test.step("what is pasted is counted, and too little is told", async () => {
    await texts.fill("Too short.");
    await expect(teacher.getByText(/learning needs at least 512; add some \d+ words/)).toBeVisible();
    await texts.fill(pride.slice(0, 8000));
    const counts = teacher.getByText(/[\d,]+ words in \d+ passages to learn from/);
    await expect(counts).toBeVisible();
    const steps = async (): Promise<number> =>
      Number(/([\d,]+) steps/.exec((await counts.textContent()) ?? "")?.[1]?.replace(",", ""));
    const normal = await steps();
    await page.getByRole("radio", { name: /Light/ }).check();
    await expect.poll(steps).toBeLessThan(normal);
  });

  await test.step("a file that is dropped is counted with it, and can be taken out again", async () => {
    const counted = teacher.getByText(/[\d,]+ words in \d+ passages to learn from/);
    const before = await counted.textContent();
    const file = await page.evaluateHandle(
      (text) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([text], "more.txt", { type: "text/plain" }));
        return transfer;
      },
      pride.slice(8000, 14_000),
    );
    await teacher.dispatchEvent("drop", { dataTransfer: file });
    await expect(counted).not.toHaveText(before ?? "");
    await teacher.getByRole("button", { name: "Remove more.txt" }).click();
    await expect(counted).toHaveText(before ?? "");
  });

  await test.step("it learns, pauses and goes on, with a chart", async () => {
    await page.getByLabel("Name of the voice").fill("Jane");
    await page.getByRole("checkbox", { name: /Keep these texts/ }).check();
    await page.getByRole("button", { name: "Learn", exact: true }).click();
    await expect(teacher.getByText(/step [1-9]\d* of .* tokens\/s · (about|a moment)/)).toBeVisible({
      timeout: 60_000,
    });
    await page.getByRole("button", { name: "Pause" }).click();
    await expect(teacher.getByText("Saved in this browser: go on now")).toBeVisible();
    await page.screenshot({ path: "tests/e2e/output/voices-paused.png", fullPage: true });
    await page.getByRole("button", { name: "Go on", exact: true }).click();
    await expect(
      page.getByRole("img", { name: /^Loss over \d+ steps\. On the text held out/ }),
    ).toBeVisible();
    const result = page.getByRole("region", { name: "What was learned" });
    await expect(result.getByText(/It predicts your held-out text [\d.]+ % better/)).toBeVisible({
      timeout: 120_000,
    });
    await expect(result.getByText(/copies/)).toBeVisible();
  });

  await test.step("it is used at once", async () => {
    await room.go("Library");
    await expect(voices.getByTitle("Use the voice Jane")).toHaveText("Stop using");
  });

  await test.step("its strength is set beside the draft, where the last words follow it with the same seed", async () => {
    await room.go("Write");
    const dial = page.getByRole("slider", { name: /^Strength of Jane/ });
    await expect(dial).toHaveValue("1.5");
    await room.dial({ length: 16, temperature: 0.7, seed: 2 });
    await room.text.fill("Mr. Bennet");
    const written = await room.write();
    const rewritten = async (strength: string): Promise<string> => {
      const before = await room.value();
      await dial.fill(strength);
      return (await room.written(before)).slice("Mr. Bennet".length);
    };
    expect(await rewritten("3")).not.toBe(written);
    expect(await rewritten("1.5"), "the same strength and seed write the same words").toBe(written);
    await page.getByRole("button", { name: "Take back" }).click();
    expect(await room.value()).toBe("Mr. Bennet");
  });

  await test.step("it is heard beside the base", async () => {
    await room.go("Voice");
    await page.getByRole("button", { name: "Compare" }).click();
    await expect(page.getByText("Both are written.")).toBeVisible({ timeout: 60_000 });
    const [base, personal] = await page.locator("imprint-comparison figure p").allTextContents();
    expect(base?.length).toBeGreaterThan(40);
    expect(personal?.length).toBeGreaterThan(40);
    expect(personal).not.toBe(base);
    await page.screenshot({ path: "tests/e2e/output/voices-learned.png", fullPage: true });
  });

  await test.step("its sentences and words are pictured beside the author's and the base's", async () => {
    const sentences = page.getByRole("img", { name: /^How long the sentences are/ });
    await expect(sentences, "the author is pictured at once").toHaveAccessibleName(
      /On average \d+\.\d: the author\.$/,
    );
    const measure = page.getByRole("button", { name: "Let both write" });
    // In one turn: the small model may be done before a hand reaches the second button.
    await page.locator("imprint-rhythm").evaluate((element) => {
      for (const name of ["measure", "halt"])
        element.querySelector<HTMLButtonElement>(`[data-part=${name}]`)?.click();
    });
    await expect(page.getByText("Stopped; what was measured before still stands.")).toBeVisible();
    await measure.click();
    await expect(page.getByText("Both are written and pictured.")).toBeVisible({ timeout: 120_000 });
    await page.getByText("The same in figures").click();
    const figures = page.getByRole("table", { name: "How long the words are, in letters" });
    await expect(figures.getByRole("columnheader")).toHaveText([
      "Letters",
      "the author",
      "the base model",
      "Jane",
    ]);
    await expect(figures.getByRole("rowheader")).toHaveCount(15);
    for (const column of [1, 2, 3]) {
      const shares = await figures.locator(`tbody tr td:nth-of-type(${column})`).allTextContents();
      // A small model with random weights may finish no sentence; an author does.
      if (column > 1 && shares.every((share) => share === "–")) continue;
      const sum = shares.reduce((sum, share) => sum + Number.parseFloat(share), 0);
      expect(Math.abs(sum - 100), `the shares of column ${column} are all of it`).toBeLessThan(1);
    }
    await page.screenshot({ path: "tests/e2e/output/voices-pictured.png", fullPage: true });
  });

  await test.step("its kept texts can be learned from again, or forgotten", async () => {
    await room.go("Library");
    await expect(voices.getByText("Its texts are kept: 8 kB.")).toBeVisible();
    await voices.getByRole("button", { name: "Read", exact: true }).click();
    await expect(voices.getByRole("group", { name: "The texts of Jane" })).toContainText(pride.slice(0, 60));
    await voices.getByRole("button", { name: "Learn again" }).click();
    await expect(teacher.getByRole("button", { name: "Remove text.txt" })).toBeVisible();
    await room.go("Library");
    await voices.getByRole("button", { name: "Forget them" }).click();
    await expect(voices.getByText("Its texts are kept")).toBeHidden();
  });

  await test.step("it goes out as a file and comes in again", async () => {
    const saving = page.waitForEvent("download");
    await voices.getByRole("button", { name: "Export" }).click();
    const file = await (await saving).path();
    await voices.getByRole("button", { name: "Delete" }).click();
    await voices.getByRole("button", { name: "Really delete?" }).click();
    await expect(voices.getByText("The model writes like everybody and nobody.")).toBeVisible();
    const bytes = [...(await readFile(file))];
    const dropped = await page.evaluateHandle((bytes) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], "Jane.zip"));
      return transfer;
    }, bytes);
    await voices.dispatchEvent("drop", { dataTransfer: dropped });
    await expect(voices.getByTitle("Use the voice Jane")).toHaveText("Use");
  });
});

test("where a voice's best and fullest states are two, either can be chosen, and it writes what is chosen", async ({
  page,
}) => {
  const room = new Room(page);
  await room.enter();
  await room.small();
  // Enough passes over little text that what is foreseen best comes early, and more of the voice later.
  const measures = await page.locator("imprint-voices").evaluate(
    async (element, text) => {
      const { imprint } = element as HTMLElement & { imprint: Imprint };
      const recipe = { passes: 8, window: 64, interval: 0.5, rate: 0.02, hold: 0.3, rank: 16 };
      const { measures } = await imprint.learn(text, { name: "Jane", recipe }).done;
      await (element as HTMLElement & { refresh(): Promise<void> }).refresh();
      return measures;
    },
    pride.slice(0, 4000),
  );
  expect(measures?.best.step).toBeLessThan(measures?.fullest.step ?? 0);
  expect(measures?.best.bitsPerChar).toBeLessThan(measures?.fullest.bitsPerChar ?? 0);

  await room.go("Library");
  const state = page.locator("imprint-voices").getByLabel("State");
  await expect(state, "only the voice in use has a state").toBeHidden();
  await page.getByTitle("Use the voice Jane").click();
  await expect(state).toHaveValue("fullest");

  const written = async (): Promise<string> => {
    await room.go("Write");
    await room.text.fill("Mr. Bennet");
    const text = await room.write();
    await room.go("Library");
    return text;
  };
  await room.go("Write");
  await room.dial({ length: 24, temperature: 0, seed: 2 });
  const fullest = await written();
  await state.selectOption("best");
  const best = await written();
  expect(best).not.toBe(fullest);
  await expect(state).toHaveValue("best");
  await state.selectOption("fullest");
  expect(await written()).toBe(fullest);
});

test("words copied from a person's texts are underlined on the sheet and named under it, or not written at all", async ({
  page,
}) => {
  const room = new Room(page);
  await room.enter();
  await room.choose("cpu");
  await room.load.click();
  await room.ready();
  await page.locator("imprint-voices").evaluate(
    async (element, text) => {
      const { imprint } = element as HTMLElement & { imprint: Imprint };
      const recipe = { window: 64, passes: 0.3, interval: 1, rate: 2e-3, warmup: 0 };
      await imprint.learn(text, { name: "Jane", recipe }).done;
      await (element as HTMLElement & { refresh(): Promise<void> }).refresh();
    },
    pride.slice(0, 2300),
  );
  await room.go("Library");
  await page.getByTitle("Use the voice Jane").click();
  await room.go("Write");
  await room.dial({ length: 8, temperature: 0, repetition: 1, seed: 1 });
  // The model knows by heart how this goes on, and the text that was learned from begins with it.
  const known = "It is a truth universally acknowledged, that a single man in possession of a good";
  await room.text.fill(known);
  const written = await room.write();
  expect(written).toContain("fortune");
  const copied = page.locator("imprint-draft .copied").first();
  expect(await room.marked("copied")).toContain("fortune");
  await expect(copied).toHaveCSS("text-decoration-line", "underline");
  await expect(page.getByText("From your texts, word for word:")).toContainText("fortune");

  await page.getByText("How it writes").click();
  await page.getByLabel(/Never repeat more than 7 words/).check();
  await room.text.fill(known);
  expect(await room.write()).not.toMatch(/^ fortune, must be/);
  expect(await room.marked("copied")).toBe("");
});
