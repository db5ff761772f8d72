import type * as Package from "../../web/src/index.js";
import { expect, test } from "./fixture.js";
import { onSmallHost } from "./learner.js";

onSmallHost();

test("the module that only writes gives the same words, takes adapters in, and says that it does not learn", async ({
  page,
}) => {
  const told = await page.evaluate(async () => {
    const write = async (worker: boolean | URL): Promise<string> => {
      const opened = await imprint.Imprint.open({ model: "/small.gguf", device: "cpu", worker });
      let text = "";
      const options = { temperature: 0, maxTokens: 16 };
      for await (const piece of opened.write("The lamp", options)) text += piece.text;
      await opened.close();
      return text;
    };
    const writer = new URL("/pkg/writer.js", location.href);
    const texts = [await write(true), await write(writer)];
    const opened = await imprint.Imprint.open({ model: "/small.gguf", device: "cpu", worker: writer });
    const adapters = await opened.adapters.list();
    const refused = await opened
      .learn("The sea was calm and the lamp was lit. ".repeat(200))
      .done.then(() => undefined)
      .catch(({ code, message }: Package.ImprintError) => ({ code, message }));
    await opened.close();
    return { texts, adapters, refused };
  });
  expect(told.texts[0]?.length).toBeGreaterThan(0);
  expect(told.texts[1]).toBe(told.texts[0]);
  expect(told.adapters).toEqual([]);
  expect(told.refused?.code).toBe("invalid-option");
  expect(told.refused?.message).toContain("only writes");
});
