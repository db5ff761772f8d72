import type { Page } from "@playwright/test";
import type * as Package from "../../web/src/index.js";
import { expect, test } from "./fixture.js";
import { adapter, done, learn, open, pride, quick, onSmallHost } from "./learner.js";
import { stored, tables } from "./stored.js";

/**
 * A Worker that hangs for good at the n-th change to a row, and says so first: a kill finds it there. Its clock stands
 * still, so that no checkpoint falls due and the changes are the same on every machine.
 */
const hanging = `
  import "/pkg/worker.js";
  performance.now = () => 0;
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

const place = onSmallHost({ "/hanging.js": new TextEncoder().encode(hanging) });

/** What is done to the store, as a kill may meet it; each runs on an open Imprint, in the page. */
const doings = {
  "a new run": async () => {
    await opened.learn(globalThis.text, globalThis.options).done;
  },
  "the end of a run": async () => {
    const [run] = await opened.runs.list();
    await opened.runs.resume(run?.id ?? "").done;
  },
  "a discarded run": async () => {
    const [run] = await opened.runs.list();
    await opened.runs.discard(run?.id ?? "");
  },
  "another name": async () => {
    const [kept] = await opened.adapters.list();
    await opened.adapters.rename(kept?.id ?? "", "Another");
  },
  "a deleted adapter": async () => {
    const [kept] = await opened.adapters.list();
    await opened.adapters.delete(kept?.id ?? "");
  },
  "an imported adapter": async () => {
    const [kept] = await opened.adapters.list();
    await opened.adapters.import(await opened.adapters.export(kept?.id ?? ""));
  },
};

/** Measured at its end only, a run keeps checkpoints at its beginning and before its one preview. */
const once = { ...quick, recipe: { ...quick.recipe, interval: 1 } };

declare global {
  var text: string;
  var options: Package.LearnOptions;
}

/** Does something in the hanging Worker; gives whether it hung and was killed, or got through. */
async function killed(page: Page, doing: keyof typeof doings, change: number): Promise<boolean> {
  return page.evaluate(
    async ({ doing, change, text, options }) => {
      Object.assign(globalThis, { text, options });
      const worker = new Worker(`/hanging.js?change=${change}`, { type: "module" });
      const hangs = new Promise<boolean>((resolve) => {
        const channel = new BroadcastChannel("hanging");
        channel.onmessage = () => {
          channel.close();
          resolve(true);
        };
      });
      const done = (async () => {
        globalThis.opened = await imprint.Imprint.open({ model: "/small.gguf", device: "cpu", worker });
        await (0, eval)(`(${doing})`)();
        await opened.close();
        return false;
      })();
      const hung = await Promise.race([hangs, done]);
      worker.terminate();
      return hung;
    },
    { doing: String(doings[doing]), change, text: pride.slice(0, 4000), options: once },
  );
}

test("a kill at any write loses nothing", async ({ page }) => {
  test.setTimeout(900_000);
  await open(page, "cpu");
  await learn(page, quick, pride.slice(0, 6000));
  await adapter(page);
  await page.evaluate(() => opened.close());
  let old = await stored(page);
  expect(tables(old)).toEqual({ adapters: 1, "adapter-files": 1 });
  const points: Record<string, number> = {};

  /** Kills at every change in turn until it gets through; what is kept must be as it was each time. */
  const survive = async (doing: keyof typeof doings, most = Infinity): Promise<void> => {
    for (let change = 1; change <= most; change += 1) {
      if (!(await killed(page, doing, change))) return;
      points[doing] = (points[doing] ?? 0) + 1;
      expect((await stored(page)).databases, `${doing}, killed at change ${change}`).toEqual(old.databases);
    }
  };

  await survive("another name");
  old = await stored(page);
  await survive("an imported adapter");
  old = await stored(page);
  expect(tables(old)).toEqual({ adapters: 2, "adapter-files": 2 });
  await survive("a deleted adapter");
  old = await stored(page);
  expect(tables(old)).toEqual({ adapters: 1, "adapter-files": 1 });

  await survive("a new run", 3);
  // The fourth and fifth change are the checkpoint before the preview: what is there is the run as it began.
  expect(await killed(page, "a new run", 4)).toBe(true);
  old = await stored(page);
  expect(tables(old)).toMatchObject({ adapters: 1, runs: 1, "run-checkpoints": 1, "run-texts": 1 });
  await survive("the end of a run", 2);
  // The third is the first one of its end: the run is there with all its steps, the adapter not yet.
  expect(await killed(page, "the end of a run", 3)).toBe(true);
  old = await stored(page);
  expect(tables(old)).toMatchObject({ adapters: 1, runs: 1, "run-checkpoints": 1, "run-texts": 1 });
  await survive("the end of a run");
  expect(tables(await stored(page))).toEqual({ adapters: 2, "adapter-files": 2 });

  expect(await killed(page, "a new run", 4)).toBe(true);
  old = await stored(page);
  await survive("a discarded run");
  expect(tables(await stored(page))).toEqual({ adapters: 2, "adapter-files": 2 });
  expect(points).toEqual({
    "another name": 1,
    "an imported adapter": 2,
    "a deleted adapter": 3,
    "a new run": 3,
    "the end of a run": 7,
    "a discarded run": 3,
  });
});

for (const version of [1, 2])
  test(`a database of version ${version} is brought up to date with what is in it`, async ({ page }) => {
    const row = {
      ...{ id: "old", name: "From before", createdMs: 1, updatedMs: 2, base: "f", model: "Small" },
      ...{ sizeBytes: 3, recipe: null, measures: null },
    };
    await page.evaluate(
      ([row, version]) =>
        new Promise<void>((resolve, reject) => {
          const request = indexedDB.open("imprint", version);
          request.onupgradeneeded = () => {
            if (version === 2)
              for (const table of ["runs", "run-checkpoints", "run-texts"])
                request.result.createObjectStore(table);
            request.result.createObjectStore("adapters").put(row, row.id);
            const files = { config: "{}", weights: new Uint8Array([1, 2, 3]) };
            request.result.createObjectStore("adapter-files").put(files, row.id);
          };
          request.onsuccess = () => (request.result.close(), resolve());
          request.onerror = () => reject(request.error);
        }),
      [row, version] as const,
    );
    await open(page, "cpu");
    const told = await page.evaluate(async () => {
      const list = await opened.adapters.list();
      const { size } = await opened.adapters.export("old");
      return { list, size, runs: await opened.runs.list() };
    });
    // What that version did not know has its quiet value.
    const known = { ...row, prints: false, textBytes: 0 };
    expect(told).toEqual({ list: [known], size: expect.any(Number), runs: [] });
    expect(await page.evaluate(async () => (await indexedDB.databases())[0]?.version)).toBe(3);
    expect(await page.evaluate(() => imprint.vault.status())).toEqual({ state: "off", settled: true });
    await learn(page, quick, pride.slice(0, 4000));
    await adapter(page);
  });

test("a database of a later Imprint is left alone", async ({ page }) => {
  await page.evaluate(
    () =>
      new Promise<void>((resolve) => {
        const request = indexedDB.open("imprint", 99);
        request.onupgradeneeded = () => void request.result.createObjectStore("treasure").put("gold", "all");
        request.onsuccess = () => (request.result.close(), resolve());
      }),
  );
  await open(page, "cpu");
  const refused = await page.evaluate(() =>
    opened.adapters.list().catch((error: Package.ImprintError) => `${error.code}: ${error.message}`),
  );
  expect(refused).toMatch(/^internal: .*later Imprint; reload/);
  expect((await stored(page)).databases).toEqual({ "imprint/treasure/all": '"gold"' });
});

test("a full storage is told with its figures, and what was there stays", async ({ page, context }) => {
  await open(page, "cpu");
  const session = await context.newCDPSession(page);
  const usage = await page.evaluate(async () => (await navigator.storage.estimate()).usage ?? 0);
  await session.send("Storage.overrideQuotaForOrigin", {
    origin: place.host.url,
    quotaSize: usage + 2_000_000,
  });
  await learn(page, quick, pride.slice(0, 4000));
  await adapter(page);
  // The browser counts in its own way and remembers for a while, so it is filled until it refuses.
  const told = await page.evaluate(async () => {
    const [kept] = await opened.adapters.list();
    const blob = await opened.adapters.export(kept?.id ?? "");
    let refused = "";
    let taken = 1;
    for (; taken < 100 && refused === ""; taken += 1) {
      await opened.adapters.import(blob).catch((error: Package.ImprintError) => {
        refused = `${error.code}: ${error.message}`;
      });
    }
    const exports = await Promise.all(
      (await opened.adapters.list()).map(({ id }) => opened.adapters.export(id)),
    );
    return {
      refused,
      taken: taken - 1,
      left: exports.length,
      sizes: new Set(exports.map(({ size }) => size)).size,
    };
  });
  expect(told.refused).toMatch(/^storage-full: .* MB of .* MB are in use/);
  expect(told.left).toBe(told.taken);
  expect(told.sizes, "each is whole").toBeLessThanOrEqual(2);
  const before = await stored(page);
  await learn(page, quick);
  expect(await done(page)).toMatch(/^storage-full/);
  expect((await stored(page)).databases).toEqual(before.databases);
});
