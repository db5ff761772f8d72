import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { endEngine, startEngine } from "../../web/src/engines.js";
import { keyring } from "../../web/src/keyring.js";
import { newDataKey, newId, unwrap, withoutExport, wrap } from "../../web/src/vault-record.js";
import { vault } from "../../web/src/vault.js";
import "./browser.js";
import { fake, resetFake } from "./fake-wasm.js";

const passphrase = "correct horse battery staple";

describe("the key of what is kept", () => {
  it("opens with its passphrase and no other", async () => {
    const made = await wrap(await newDataKey(), newId(), passphrase);
    assert.equal((await unwrap(made, passphrase)).extractable, false);
    await assert.rejects(unwrap(made, `${passphrase} `), { code: "wrong-passphrase" });
  });

  it("costs a guess at least 600,000 rounds, and nobody can make it cheaper", async () => {
    const made = await wrap(await newDataKey(), newId(), passphrase);
    assert.ok(made.iterations >= 600_000);
    await assert.rejects(unwrap({ ...made, iterations: 1 }, passphrase), { code: "wrong-passphrase" });
    await assert.rejects(unwrap({ ...made, id: newId() }, passphrase), { code: "wrong-passphrase" });
  });

  it("is wrapped anew each time: salt and nonce are never the same", async () => {
    const key = await newDataKey();
    const id = newId();
    const [a, b] = [await wrap(key, id, passphrase), await wrap(key, id, passphrase)];
    for (const part of ["salt", "nonce", "wrapped"] as const) assert.notDeepEqual(a[part], b[part]);
  });

  it("opens with the same letters from another keyboard", async () => {
    const made = await wrap(await newDataKey(), newId(), "caf\u00e9 an der Stra\u00dfe");
    await unwrap(made, "cafe\u0301 an der Stra\u00dfe");
  });

  it("cannot be taken out of the browser's hands", async () => {
    const key = await withoutExport(await newDataKey());
    await assert.rejects(crypto.subtle.exportKey("raw", key), /not extractable/);
  });

  it("is not made from a passphrase that is too short, however it is written", async () => {
    for (const short of ["", "seven77", "e\u0301".repeat(7)])
      await assert.rejects(vault.set(short), { code: "invalid-option" });
  });
});

describe("engines and the key", () => {
  beforeEach(resetFake);

  it("every engine is given the key before it is asked anything, and gives it up on a lock", async () => {
    const key = await withoutExport(await newDataKey());
    const first = startEngine(false);
    keyring.hold({ id: "one", key });
    const second = startEngine(false);
    await second.run("listAdapters", null);
    assert.deepEqual(fake.log, ["unlock one", "unlock one"]);
    await endEngine(first);
    await keyring.drop();
    assert.deepEqual(fake.log.slice(2), ["lock"], "an engine that has ended is not asked");
    assert.equal(keyring.held, undefined);
    await endEngine(second);
  });

  it("a lock waits until what learns has kept where it is", async () => {
    const engine = startEngine(false);
    await engine.run("open", { model: "m", options: { device: "cpu" } });
    fake.pauseMs = 5;
    fake.steps = 1_000;
    const learned = engine.run("learn", { texts: [], options: {} });
    await new Promise((resolve) => setTimeout(resolve, 30));
    await keyring.drop();
    assert.equal(fake.log.at(-1), "lock");
    assert.equal((await learned).state, "paused");
    await endEngine(engine);
  });

  it("what the page keeps itself is kept before the key goes", async () => {
    const order: string[] = [];
    vault.join({
      turn: async () => undefined,
      beforeLock: async () => void order.push(keyring.held ? "kept with the key" : "kept without"),
    });
    keyring.hold({ id: "two", key: await newDataKey() });
    await vault.lock();
    assert.deepEqual(order, ["kept with the key"]);
    assert.equal(keyring.held, undefined);
  });
});
