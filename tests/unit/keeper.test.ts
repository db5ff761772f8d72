import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Keeper } from "../../web/src/page/keeper.js";

const opened = (stored: boolean) => ({ info: { stored } });

describe("keeping models from eviction", () => {
  it("is asked for once, after the first model that is stored", async () => {
    let asked = 0;
    const keeper = new Keeper({ persist: async () => (asked += 1) > 0 });
    await keeper.keep(null);
    await keeper.keep(opened(false));
    assert.equal(asked, 0, "there is nothing to keep yet");
    await keeper.keep(opened(true));
    await keeper.keep(opened(true));
    assert.equal(asked, 1);
  });

  it("can be refused or unknown", async () => {
    await new Keeper({ persist: () => Promise.reject(new Error("no")) }).keep(opened(true));
    await new Keeper({} as StorageManager).keep(opened(true));
    await new Keeper(undefined).keep(opened(true));
  });
});
