import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import "./browser.js";
import { fake, resetFake } from "./fake-wasm.js";
import { Imprint, ImprintError, Library } from "../../web/src/index.js";

const model = "https://example.test/model.gguf";

for (const place of ["worker", "local"] as const) {
  describe(`the library in the ${place}`, { timeout: 10_000 }, () => {
    const worker = place === "worker";
    beforeEach(() => resetFake());

    it("what is kept is listed, renamed, exported and removed without a model", async () => {
      const imprint = await Imprint.open({ model, worker });
      const { id } = await imprint.learn("a", { name: "Mine" }).done;
      await imprint.close();
      const library = Library.open({ worker });
      assert.deepEqual(
        (await library.adapters.list()).map(({ name }) => name),
        ["Mine"],
      );
      await library.adapters.rename(id, "Yours");
      assert.equal((await library.adapters.list())[0]?.name, "Yours");
      assert.ok((await library.adapters.export(id)).size > 0);
      await library.adapters.delete(id);
      assert.deepEqual(await library.adapters.list(), []);
      assert.equal((await library.models()).length, 1);
      await library.forgetModel("kept.gguf");
      assert.equal((await library.storageUsage()).modelsBytes, 1);
      await library.forgetEverything();
      await library.close();
      assert.equal(fake.openEngines, 0, "no model was opened");
    });

    it("what needs a model is refused", async () => {
      const library = Library.open({ worker });
      const refused = (thrown: unknown): boolean => thrown instanceof ImprintError;
      await assert.rejects(library.adapters.use("any"), refused);
      await library.close();
    });
  });
}
