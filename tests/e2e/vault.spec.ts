import { createHash } from "node:crypto";
import { unzipSync } from "fflate";
import type { Page } from "@playwright/test";
import type * as Package from "../../web/src/index.js";
import { expect, test } from "./fixture.js";
import { adapter, enter, learn, onSmallHost, open, pride, quick, step, write } from "./learner.js";
import { rawBytes, stored, tables } from "./stored.js";

const passphrase = "correct horse battery staple";
const other = "a quiet walk by the river";
const name = "Miss Bennet's voice";

/** Hangs for good at the n-th change to a row, and says so first: a kill finds it there. */
const hanging = `
  import "/pkg/worker.js";
  let left = Number(new URL(location.href).searchParams.get("change"));
  for (const name of ["put", "delete"]) {
    const change = IDBObjectStore.prototype[name];
    IDBObjectStore.prototype[name] = function (...given) {
      const request = change.apply(this, given);
      left -= 1;
      if (left === 0) {
        new BroadcastChannel("hanging").postMessage(name);
        for (;;);
      }
      return request;
    };
  }
`;

/** Waits before it seals its first row until it is told to go on. */
const slow = `
  import "/pkg/worker.js";
  const channel = new BroadcastChannel("slow");
  const { encrypt } = SubtleCrypto.prototype;
  let first = true;
  SubtleCrypto.prototype.encrypt = async function (...given) {
    if (first) {
      first = false;
      channel.postMessage("seals");
      await new Promise((resolve) => (channel.onmessage = resolve));
    }
    return encrypt.apply(this, given);
  };
`;

const place = onSmallHost({
  "/hanging.js": new TextEncoder().encode(hanging),
  "/slow.js": new TextEncoder().encode(slow),
});

/** Learns a voice with its texts. */
async function teach(page: Page): Promise<void> {
  await open(page, "cpu");
  await learn(page, { ...quick, name, keepTexts: true }, pride.slice(0, 6000));
  await adapter(page);
}

/** Learns a voice with its texts, and leaves a run half done. */
async function fill(page: Page): Promise<void> {
  await teach(page);
  await learn(page, { ...quick, name: "Half done" }, pride.slice(6000, 12_000));
  await step(page, 1);
  await page.evaluate(async () => {
    await learning.pause();
    globalThis.halfDone = learning.id ?? "";
  });
}

/** What a vault call comes to: nothing, or the code of its error. */
function vault(page: Page, call: keyof Package.Vault, ...given: string[]): Promise<string> {
  return page.evaluate(
    async ([call, given]) => {
      const vault = imprint.vault as unknown as Record<string, (...given: string[]) => Promise<unknown>>;
      try {
        await vault[call]?.(...given);
        return "";
      } catch (thrown) {
        return (thrown as Package.ImprintError).code;
      }
    },
    [call, given] as const,
  );
}

function status(page: Page): Promise<Package.VaultStatus> {
  return page.evaluate(() => imprint.vault.status());
}

/** The codes that commands end with; "" for those that go well. */
function codes(page: Page): Promise<Record<string, string>> {
  return page.evaluate(
    async (text) => {
      const [adapters, runs] = [opened.adapters, opened.runs];
      const files = { config: new Blob(["{}"]), weights: new Blob([new Uint8Array(8)]) };
      const commands: Record<string, () => Promise<unknown>> = {
        list: () => adapters.list(),
        runs: () => runs.list(),
        use: () => adapters.use(globalThis.kept),
        export: () => adapters.export(globalThis.kept),
        texts: () => adapters.texts(globalThis.kept),
        rename: () => adapters.rename(globalThis.kept, "Another"),
        import: () => adapters.import(files),
        learn: () => opened.learn(text).done,
        resume: () => runs.resume(globalThis.halfDone).done,
      };
      const ended: Record<string, string> = {};
      for (const [name, command] of Object.entries(commands))
        ended[name] = await command().then(
          () => "",
          ({ code }: Package.ImprintError) => code,
        );
      return ended;
    },
    pride.slice(0, 4000),
  );
}

declare global {
  var kept: string;
  var halfDone: string;
}

/** The files of the only voice, as their hashes, and the hash of its texts. */
async function exported(page: Page): Promise<Record<string, string>> {
  const { archive, texts } = await page.evaluate(async () => {
    const [info] = await opened.adapters.list();
    globalThis.kept = info?.id ?? "";
    const archive = new Uint8Array(await (await opened.adapters.export(kept)).arrayBuffer());
    const [text] = await opened.adapters.texts(kept);
    return { archive: [...archive], texts: (await text?.text()) ?? "" };
  });
  const hash = (bytes: string | Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
  const files = Object.entries(unzipSync(Uint8Array.from(archive)));
  return { texts: hash(texts), ...Object.fromEntries(files.map(([name, bytes]) => [name, hash(bytes)])) };
}

test("locked means that nothing can be read in the raw database", async ({ page }) => {
  test.setTimeout(400_000);
  await fill(page);
  const before = await exported(page);
  const { databases } = await stored(page);
  // Bytes of the weights, the checkpoint and the prints, and words of the texts and the descriptions.
  const bytes = await page.evaluate(async () => {
    const [config, weights, prints] = await new Promise<Uint8Array[]>((resolve) => {
      const request = indexedDB.open("imprint");
      request.onsuccess = () => {
        const rows = request.result.transaction("adapter-files").objectStore("adapter-files").get(kept);
        rows.onsuccess = () => {
          request.result.close();
          const { config, weights, prints } = rows.result as Record<string, Uint8Array>;
          resolve([new TextEncoder().encode(String(config)), weights!, prints!]);
        };
      };
    });
    return [config, weights, prints].map((part) => [...(part ?? [])]);
  });
  const [config = [], weights = [], prints = []] = bytes.map((part) => Uint8Array.from(part));
  const words = [
    name,
    "Half done",
    "truth universally acknowledged",
    "Mr. Bingley",
    "targetModules",
    "bitsPerChar",
  ];
  const secrets = (raw: Buffer): Record<string, number> => ({
    words: words.filter((word) => raw.includes(word) || raw.includes(Buffer.from(word, "utf16le"))).length,
    config: runsIn(raw, Buffer.from(config)),
    weights: runsIn(raw, Buffer.from(weights)),
    prints: runsIn(raw, Buffer.from(prints)),
  });

  const open_ = secrets(await rawBytes(page));
  expect(open_["words"], "the search finds what lies open").toBeGreaterThanOrEqual(5);
  for (const part of ["config", "weights", "prints"]) expect(open_[part], part).toBeGreaterThan(5);

  expect(await vault(page, "set", passphrase)).toBe("");
  expect(await status(page)).toMatchObject({ state: "unlocked", settled: true, iterations: 1_000_000 });
  expect(await exported(page), "what is sealed is the same").toEqual(before);
  expect(await vault(page, "lock")).toBe("");
  expect(secrets(await rawBytes(page))).toEqual({ words: 0, config: 0, weights: 0, prints: 0 });
  expect(tables(await stored(page)), "how many rows there are is no secret").toEqual({
    ...tables({ databases, caches: [], files: [] }),
    vault: 1,
  });

  await test.step("a locked store answers with `locked`, and the model still writes", async () => {
    expect(await codes(page)).toEqual({
      ...{ list: "locked", runs: "locked", use: "locked", export: "locked", texts: "locked" },
      ...{ rename: "locked", import: "locked", learn: "locked", resume: "locked" },
    });
    expect(await page.evaluate(() => opened.storageUsage())).toMatchObject({
      locked: true,
      adaptersBytes: 0,
    });
    expect((await write(page)).length).toBeGreaterThan(0);
  });

  await test.step("only the passphrase opens it, also after a reload", async () => {
    await enter(page, place.host);
    await open(page, "cpu");
    expect(await status(page)).toMatchObject({ state: "locked" });
    expect(await vault(page, "unlock", "correct horse battery stable")).toBe("wrong-passphrase");
    expect(await vault(page, "unlock", passphrase)).toBe("");
    expect(await exported(page)).toEqual(before);
  });

  await test.step("another passphrase leaves what is sealed as it is", async () => {
    const sealed = rowsOf(await stored(page));
    expect(await vault(page, "change", "wrong passphrase", other)).toBe("wrong-passphrase");
    expect(await vault(page, "change", passphrase, "short")).toBe("invalid-option");
    expect(await vault(page, "change", passphrase, other)).toBe("");
    expect(rowsOf(await stored(page))).toEqual(sealed);
    await vault(page, "lock");
    expect(await vault(page, "unlock", passphrase)).toBe("wrong-passphrase");
    expect(await vault(page, "unlock", other)).toBe("");
  });

  await test.step("a row that was moved or changed is not believed", async () => {
    await swapRows(page);
    const refused = await page.evaluate(() =>
      opened.adapters.export(kept).catch(({ code, message }: Package.ImprintError) => `${code}: ${message}`),
    );
    expect(refused).toMatch(/^internal: .*damaged/);
    await swapRows(page);
  });

  await test.step("without a passphrase everything lies open as before", async () => {
    expect(await vault(page, "remove", passphrase)).toBe("wrong-passphrase");
    expect(await vault(page, "remove", other)).toBe("");
    expect(await status(page)).toMatchObject({ state: "off", settled: true });
    expect(rowsOf(await stored(page))).toEqual(databases);
    expect(await vault(page, "set", passphrase), "it can be set again").toBe("");
    expect(await vault(page, "set", other)).toBe("invalid-option");
    expect(await exported(page)).toEqual(before);
  });

  await test.step("whoever has lost it can forget everything", async () => {
    await vault(page, "lock");
    await page.evaluate(() => imprint.forgetEverything());
    expect(await status(page)).toMatchObject({ state: "off" });
    expect((await stored(page)).databases).toEqual({});
  });
});

test("a kill while a passphrase is set or removed loses nothing", async ({ page }) => {
  test.setTimeout(600_000);
  await teach(page);
  const before = await exported(page);
  const rows = rowsOf(await stored(page));
  const points = { set: 0, remove: 0 };

  /** Kills at the n-th change; gives whether there was one. The page is a new one then, as after a kill. */
  const killed = async (task: "set" | "remove", change: number): Promise<boolean> => {
    const hung = await page.evaluate(
      ([task, change, passphrase]) => {
        const worker = new Worker(`/hanging.js?change=${change}`, { type: "module" });
        const hangs = new Promise<boolean>((resolve) => {
          new BroadcastChannel("hanging").onmessage = () => resolve(true);
        });
        const done = imprint.vault[task](passphrase, { worker }).then(() => false);
        return Promise.race([hangs, done]).finally(() => worker.terminate());
      },
      [task, change, passphrase] as const,
    );
    await enter(page, place.host);
    return hung;
  };
  await enter(page, place.host);

  for (let change = 1; await killed("set", change); change += 1) {
    points.set += 1;
    const { state } = await status(page);
    expect(state).toBe(change === 1 ? "off" : "locked");
    if (state === "locked") {
      expect(await vault(page, "unlock", passphrase)).toBe("");
      expect(await status(page)).toMatchObject({ state: "unlocked", settled: true });
      expect(openRows(rowsOf(await stored(page))), "the next unlocking seals the rest").toEqual([]);
      expect(await vault(page, "remove", passphrase)).toBe("");
    }
    expect(rowsOf(await stored(page)), `killed at change ${change}`).toEqual(rows);
  }
  for (let change = 1; await killed("remove", change); change += 1) {
    points.remove += 1;
    const told = await status(page);
    if (change === 1) {
      expect(told).toMatchObject({ state: "locked", settled: true });
    } else {
      expect(told).toMatchObject({ state: "off", settled: false });
      await open(page, "cpu");
      expect(await exported(page), "what is not yet opened can be read").toEqual(before);
      expect(await vault(page, "settle")).toBe("");
      expect(await status(page)).toMatchObject({ state: "off", settled: true });
      expect(rowsOf(await stored(page)), `killed at change ${change}`).toEqual(rows);
      expect(await vault(page, "set", passphrase)).toBe("");
    }
    await enter(page, place.host);
  }
  // The record, three rows (the voice, its files and its texts), and the record once more.
  expect(points).toEqual({ set: 5, remove: 5 });
});

test("what is unlocked in one tab is unlocked in all, and locked likewise", async ({ page, context }) => {
  await open(page, "cpu");
  await learn(page, { ...quick, name }, pride.slice(0, 4000));
  const { id } = await adapter(page);
  const tab = await context.newPage();
  await enter(tab, place.host);
  await open(tab, "cpu");
  expect(await vault(page, "set", passphrase)).toBe("");
  const names = (page: Page): Promise<string[]> =>
    page.evaluate(() =>
      opened.adapters.list().then(
        (list) => list.map(({ name }) => name),
        ({ code }: Package.ImprintError) => [code],
      ),
    );
  await expect.poll(() => names(tab)).toEqual([name]);
  await page.evaluate((id) => opened.adapters.use(id), id);
  expect(await vault(tab, "lock")).toBe("");
  await expect.poll(() => names(page)).toEqual(["locked"]);
  expect(await page.evaluate(() => opened.adapters.current), "the voice in use is taken off").toBe(null);
  expect(await vault(tab, "unlock", passphrase)).toBe("");
  await expect.poll(() => names(page)).toEqual([name]);

  await test.step("a new tab asks the others", async () => {
    const third = await context.newPage();
    await enter(third, place.host);
    await third.evaluate(() => imprint.vault.status());
    await expect.poll(async () => (await status(third)).state).toBe("unlocked");
  });
});

test("a lock pauses what learns, and it goes on when it is unlocked", async ({ page }) => {
  await open(page, "cpu");
  expect(await vault(page, "set", passphrase)).toBe("");
  await learn(page, { ...quick, name, recipe: { ...quick.recipe, passes: 4 } });
  await step(page, 2);
  expect(await vault(page, "lock")).toBe("");
  expect(await page.evaluate(() => learning.state)).toBe("paused");
  expect(await vault(page, "unlock", passphrase)).toBe("");
  const run = await page.evaluate(async () => (await opened.runs.list())[0]);
  expect(run?.step).toBeGreaterThanOrEqual(2);
  expect(await page.evaluate(() => learning.id)).toBe(run?.id);
});

test("sealing loses no change that another tab makes meanwhile", async ({ page, context }) => {
  await teach(page);
  await exported(page);
  expect(await vault(page, "set", passphrase)).toBe("");
  const id = await page.evaluate(() => kept);
  const tab = await context.newPage();
  await enter(tab, place.host);
  await tab.evaluate(() => imprint.vault.status());
  await expect.poll(async () => (await status(tab)).state).toBe("unlocked");
  await tab.evaluate(async (id) => {
    const channel = new BroadcastChannel("slow");
    const worker = new Worker("/slow.js", { type: "module" });
    globalThis.opened = await imprint.Imprint.open({ model: "/small.gguf", device: "cpu", worker });
    const seals = new Promise((resolve) => (channel.onmessage = resolve));
    globalThis.renamed = opened.adapters.rename(id, "Another name");
    await seals;
  }, id);
  // The other tab has read the row with its texts, and waits with its own in hand.
  await page.evaluate((id) => opened.adapters.forgetTexts(id), id);
  await tab.evaluate(async () => {
    new BroadcastChannel("slow").postMessage("go on");
    await renamed;
  });
  const [info] = await page.evaluate(() => opened.adapters.list());
  expect(info).toMatchObject({ name: "Another name", textBytes: 0 });
});

declare global {
  var renamed: Promise<void>;
}

/** Runs of 16 bytes of `part`, of those that say something, that stand anywhere in `raw`. */
function runsIn(raw: Buffer, part: Buffer): number {
  let found = 0;
  for (let at = 0; at + 16 <= part.length; at += 16) {
    const run = part.subarray(at, at + 16);
    if (new Set(run).size >= 8 && raw.includes(run)) found += 1;
  }
  return found;
}

/** The rows but for the vault's own. */
function rowsOf({ databases }: Awaited<ReturnType<typeof stored>>): Record<string, string> {
  return Object.fromEntries(Object.entries(databases).filter(([key]) => !key.includes("/vault/")));
}

/** The rows that are not sealed. */
function openRows(rows: Record<string, string>): string[] {
  return Object.keys(rows).filter((key) => !rows[key]?.startsWith('{"vault":'));
}

/** Puts the sealed files of the voice and the run's checkpoint each in the other's place. */
function swapRows(page: Page): Promise<void> {
  return page.evaluate(
    () =>
      new Promise<void>((resolve, reject) => {
        const request = indexedDB.open("imprint");
        request.onerror = () => reject(request.error);
        request.onsuccess = () => {
          const transaction = request.result.transaction(["adapter-files", "run-checkpoints"], "readwrite");
          const [files, checkpoints] = ["adapter-files", "run-checkpoints"].map((table) =>
            transaction.objectStore(table),
          ) as [IDBObjectStore, IDBObjectStore];
          const [mine, its, key] = [files.get(kept), checkpoints.getAll(), checkpoints.getAllKeys()];
          key.onsuccess = () => {
            checkpoints.put(mine.result, key.result[0]!);
            files.put(its.result[0], kept);
          };
          transaction.oncomplete = () => (request.result.close(), resolve());
        };
      }),
  );
}
