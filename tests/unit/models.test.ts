import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, it } from "node:test";
import "./browser.js";
import { fake, resetFake } from "./fake-wasm.js";
import { choices, type Known } from "../../web/src/elements/choices.js";
import { forgetModel, Imprint, inspect, models, unfit } from "../../web/src/index.js";
import type { AdapterInfo } from "../../web/src/voice.js";
import { mayFetch } from "../../web/src/policy.js";
import { accept, isAccepted, licenceOf } from "../../web/src/terms.js";

/** The repository's root; written in by the bundler. */
declare const ROOT: string;

const [first, second] = models;
if (!first || !second) throw new Error("the list has fewer than two models");
const base = "https://example.test/models/";
const bare: Known = {
  offered: { url: base + first.file, sha256: first.sha256, sizeBytes: first.sizeBytes },
  served: [],
  stored: [],
  voices: [],
  added: [],
  base,
};
const voice = (name: string, base: string): AdapterInfo => ({ name, base }) as AdapterInfo;
Object.assign(globalThis, { document: { baseURI: "https://example.test/" } });

it("the page offers the first model of the list", () => {
  const page = readFileSync(join(ROOT, "index.html"), "utf8");
  const [element = ""] = /<imprint-model[^>]*>/.exec(page) ?? [];
  const attribute = (name: string): string | undefined => new RegExp(`${name}="([^"]*)"`).exec(element)?.[1];
  assert.equal(attribute("src"), `models/${first.file}`);
  assert.equal(attribute("sha256"), first.sha256);
  assert.equal(attribute("size-bytes"), String(first.sizeBytes));
});

describe("the models to choose from", () => {
  it("are the page's own at first, and the listed ones, which are not on the site unless it says so", () => {
    const all = choices(bare);
    assert.deepEqual(
      all.map(({ name, here, kept }) => [name, here, kept]),
      [
        [first.name, true, false],
        [second.name, false, false],
      ],
    );
    assert.deepEqual(all[1]?.licence, second.licence);
    const served = choices({
      ...bare,
      served: [second, { file: "a b.gguf", sizeBytes: 7, sha256: "77" }].map(
        ({ file, sizeBytes, sha256 }) => ({ file, sizeBytes, sha256 }),
      ),
    });
    assert.deepEqual(
      served.map(({ name, here }) => [name, here]),
      [
        [first.name, true],
        [second.name, true],
        ["a b", true],
      ],
    );
    assert.equal(served[2]?.model, `${base}a%20b.gguf`);
  });

  it("are also those that are kept, each with its own voices, wherever they came from", () => {
    const elsewhere = "https://elsewhere.test/gemma.gguf";
    const all = choices({
      ...bare,
      stored: [
        { url: bare.offered.url, sizeBytes: first.sizeBytes, sha256: first.sha256 },
        { url: elsewhere, sizeBytes: second.sizeBytes, sha256: second.sha256 },
      ],
      voices: [voice("Jane", first.sha256), voice("Ann", second.sha256), voice("Lost", "00")],
    });
    assert.deepEqual(
      all.map(({ model, name, kept, voices }) => [model, name, kept, voices]),
      [
        [bare.offered.url, first.name, true, ["Jane"]],
        [elsewhere, second.name, true, ["Ann"]],
      ],
    );
  });
});

describe("what does not fit a device is told with both figures", () => {
  const model = {
    sizeBytes: 100,
    memory: { gpuBytes: 200, gpuPieceBytes: 50, cpuBytes: 150 },
  };
  const told = [
    ["nothing is known", {}, "auto", undefined],
    ["too little storage", { storageBytes: 99 }, "auto", ["storage", 100, 99]],
    ["memory for the processor alone", { memoryBytes: 160 }, "auto", undefined],
    ["memory for the processor alone", { memoryBytes: 160 }, "webgpu", ["memory", 200, 160]],
    ["memory for neither", { memoryBytes: 140 }, "auto", ["memory", 150, 140]],
    ["memory for neither", { memoryBytes: 140 }, "cpu", ["memory", 150, 140]],
    ["a GPU that takes smaller pieces", { gpuPieceBytes: 40 }, "webgpu", ["gpu", 50, 40]],
    ["a GPU that takes smaller pieces", { gpuPieceBytes: 40 }, "auto", undefined],
    ["no GPU", { gpuPieceBytes: 0 }, "cpu", undefined],
  ] as const;
  for (const [what, limits, device, expected] of told) {
    it(`${what}, on ${device}`, () => {
      const found = unfit(model, limits, device);
      assert.deepEqual(found && [found.kind, found.needBytes, found.haveBytes], expected);
    });
  }

  it("a page holds no more than WebAssembly does, whatever the device", () => {
    const memory = { gpuBytes: 2 ** 33, gpuPieceBytes: 2 ** 20, cpuBytes: 2 ** 33 };
    assert.equal(unfit({ sizeBytes: 2 ** 33, memory }, {}, "cpu")?.kind, "page");
    assert.equal(unfit({ sizeBytes: 2 ** 33, memory }, {}, "auto"), undefined);
  });

  it("of what nobody looked into, the size alone counts, and what is kept needs no storage", () => {
    assert.equal(unfit({ sizeBytes: 100 }, { memoryBytes: 99 })?.kind, "memory");
    assert.equal(unfit({ sizeBytes: 100, kept: true }, { storageBytes: 0 }), undefined);
  });
});

describe("licences", () => {
  const inspected = (licence: { id?: string; name?: string; url?: string }): ReturnType<typeof licenceOf> =>
    licenceOf({ licence } as Parameters<typeof licenceOf>[0]);

  it("plain ones ask for nothing, all others are terms", () => {
    assert.deepEqual(inspected({ id: "apache-2.0" }), {
      name: "Apache-2.0",
      url: "https://www.apache.org/licenses/LICENSE-2.0",
      terms: false,
    });
    assert.deepEqual(inspected({ id: "gemma" }), second.licence);
    const own = { id: "other", name: "Mine", url: "https://example.test/terms" };
    assert.deepEqual(inspected(own), { name: "Mine", url: own.url, terms: true });
    assert.equal(
      inspected({ id: "x", url: "javascript:alert(1)" })?.url,
      "",
      "a stranger's file makes no link",
    );
    assert.equal(inspected({}), undefined);
  });

  it("terms are accepted once for a model, and again when they change", () => {
    const kept = new Map<string, string>();
    Object.assign(globalThis, {
      localStorage: {
        getItem: (key: string) => kept.get(key) ?? null,
        setItem: (key: string, value: string) => kept.set(key, value),
      },
    });
    assert.equal(isAccepted("m", first.licence), true);
    assert.equal(isAccepted("m", second.licence), false);
    accept("m", second.licence);
    assert.equal(isAccepted("m", second.licence), true);
    assert.equal(isAccepted("other", second.licence), false);
    assert.equal(isAccepted("m", { ...second.licence, url: "https://example.test/new" }), false);
    kept.set("imprint-terms", "{");
    assert.equal(isAccepted("m", second.licence), false);
  });
});

it("a page's policy says where it may fetch from", () => {
  const own = "https://example.test";
  const may = (url: string, ...sources: string[]): boolean => mayFetch(url, sources, own);
  assert.equal(may(`${own}/m.gguf`, "'self'"), true);
  assert.equal(may("https://hub.test/m.gguf", "'self'"), false);
  assert.equal(may("https://hub.test/m.gguf", "'self'", "https://hub.test"), true);
  assert.equal(may("https://hub.test.evil/m.gguf", "https://hub.test"), false);
  assert.equal(may("https://hub.test/m.gguf", "https:"), true);
  assert.equal(may("https://hub.test/m.gguf", "'none'"), false);
  assert.equal(mayFetch("https://hub.test/m.gguf", undefined, own), true);
});

for (const worker of [true, false]) {
  describe(`a listed model in the ${worker ? "worker" : "page"}`, { timeout: 10_000 }, () => {
    beforeEach(() => resetFake());

    it("is found by its name, and held to the list's hash", async () => {
      const imprint = await Imprint.open({ model: second.id, worker, limits: { memoryBytes: 5 } });
      await imprint.close();
      await inspect(second.id, { worker });
      await forgetModel(second.id, worker, { hash: true });
      const url = base + second.file;
      assert.deepEqual(fake.log, [`open ${url}`, "close", `inspect ${url}`, `forget ${url} and its hash`]);
      assert.equal(fake.options.sha256, second.sha256);
      assert.equal(fake.options.mostBytes, 5);
      await (await Imprint.open({ model: second.id, sha256: "00", worker })).close();
      assert.equal(fake.options.sha256, "00", "a hash that is given goes before the list's");
    });
  });
}
