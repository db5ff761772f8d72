import { readFileSync } from "node:fs";
import type { Browser, Page } from "@playwright/test";
import type * as Package from "../../web/src/index.js";
import { expect, golden, gpuProcess, test } from "./fixture.js";
import { Host } from "./server.js";
import { smallModel } from "./small-model.js";

const sizeBytes = 98_362_432;
const sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

declare global {
  var imprint: typeof Package;
}

let host: Host;
test.beforeAll(async ({ baseURL }) => {
  host = new Host(new URL("models/SmolLM2-135M-Instruct-Q4_1.gguf", baseURL).href);
  await host.start();
});
test.afterAll(() => host.stop());
test.beforeEach(async ({ page, laws }) => {
  laws.allow(host.url);
  host.served.length = 0;
  await page.goto(host.url);
  await page.evaluate(async () => {
    const address = "/pkg/index.js";
    globalThis.imprint = (await import(address)) as typeof Package;
  });
});

/** Opens the model and closes it again; gives the error's code, or `open` and whether it came from storage. */
function open(
  page: Page,
  options: { model?: string; sha256?: string; limits?: Package.DeviceLimits } = {},
): Promise<{ result: string; advice: string; message: string }> {
  return page.evaluate(async (given) => {
    let fromCache = false;
    try {
      const opened = await imprint.Imprint.open({
        model: "/model.gguf",
        ...given,
        onProgress: (progress) => (fromCache = progress.fromCache),
      });
      await opened.close();
      return { result: fromCache ? "from storage" : "from network", advice: "", message: "" };
    } catch (thrown) {
      const { code, advice, message } = thrown as Package.ImprintError;
      return { result: code, advice, message };
    }
  }, options);
}

const stored = (page: Page): Promise<Package.StoredModel[]> => page.evaluate(() => imprint.storedModels());

test("a model is fetched once, kept, and can be forgotten", async ({ page }) => {
  expect((await open(page, { sha256 })).result).toBe("from network");
  expect(bytesServed()).toBe(sizeBytes);
  expect(await stored(page)).toEqual([{ url: `${host.url}/model.gguf`, sizeBytes, sha256 }]);
  expect((await open(page, { sha256 })).result).toBe("from storage");
  expect(bytesServed(), "the second time needs no network").toBe(sizeBytes);
  await page.evaluate(() => imprint.forgetModel("/model.gguf"));
  expect(await stored(page)).toEqual([]);
});

test("an interrupted download goes on where it stopped", async ({ page }) => {
  host.cutAfter = 40_000_000;
  const first = await open(page, { sha256 });
  if (first.result === "model-unreachable") {
    expect(first.advice).toContain("load again");
    expect(await stored(page), "half a model is not listed").toEqual([]);
    expect((await open(page, { sha256 })).result).toBe("from network");
  } else {
    // The engine may try again by itself.
    expect(first.result).toBe("from network");
  }
  const last = host.served.at(-1);
  expect(last?.from, "the second request asks for the rest").toBeGreaterThan(10_000_000);
  expect((last?.from ?? 0) + (last?.bytes ?? 0)).toBe(sizeBytes);
});

/** Opens the model and gives up once so many bytes have come; gives the error's code. */
function giveUp(page: Page, after: number): Promise<string> {
  return page.evaluate((after) => {
    const abort = new AbortController();
    const onProgress = ({ doneBytes }: Package.Progress): void => {
      if (doneBytes >= after) abort.abort();
    };
    return imprint.Imprint.open({ model: "/model.gguf", onProgress, signal: abort.signal }).then(
      () => "opened",
      (error: Package.ImprintError) => error.code,
    );
  }, after);
}

test("an aborted download goes on where it stopped", async ({ page }) => {
  host.holdAfter = 40_000_000;
  expect(await giveUp(page, 30_000_000)).toBe("cancelled");
  expect((await open(page, { sha256 })).result).toBe("from network");
  expect(host.served.at(-1)?.from).toBeGreaterThan(1_000_000);
});

test("a download that was killed after its last byte is not fetched again", async ({ page }) => {
  expect((await open(page, { sha256 })).result).toBe("from network");
  await page.evaluate(async () => {
    const root = await navigator.storage.getDirectory();
    const models = await root.getDirectoryHandle("imprint-models");
    for await (const [name, handle] of models.entries()) {
      if (!name.endsWith(".json")) continue;
      const file = handle as FileSystemFileHandle;
      const description = JSON.parse(await (await file.getFile()).text()) as object;
      const stream = await file.createWritable();
      await stream.write(JSON.stringify({ ...description, complete: false, sha256: "" }));
      await stream.close();
    }
  });
  expect(await stored(page)).toEqual([]);
  expect((await open(page, { sha256 })).result).toBe("from storage");
  expect(host.served.length).toBe(1);
  expect(await stored(page)).toEqual([{ url: `${host.url}/model.gguf`, sizeBytes, sha256 }]);
});

test("a file with another hash is refused and not kept", async ({ page }) => {
  const { result, advice } = await open(page, { sha256: sha256.replace(/^b/, "c") });
  expect(result).toBe("model-corrupt");
  expect(advice).toContain("none of it was kept");
  expect(await stored(page)).toEqual([]);
  const kept = await page.evaluate(async () => (await navigator.storage.estimate()).usage ?? 0);
  expect(kept, "no bytes stay behind").toBeLessThan(1_000_000);
});

test("a model that this device cannot hold is refused before it is fetched", async ({ page }) => {
  const { result, message } = await open(page, { limits: { memoryBytes: 90_000_000 } });
  expect(result).toBe("out-of-memory");
  expect(message).toContain("needs 98.4 MB of memory and this device has 90.0 MB");
  expect(bytesServed(), "what was on its way when the answer was refused").toBeLessThan(10_000_000);
  expect(await stored(page)).toEqual([]);
});

test("a listed model is found by its name under models/, and only its own file is taken for it", async ({
  page,
}) => {
  host.files.set("/models/SmolLM2-135M-Instruct-Q4_1.gguf", smallModel());
  const { result, message } = await open(page, { model: "smollm2-135m" });
  expect(result).toBe("model-corrupt");
  expect(message).toContain(sha256);
  const [listed] = await page.evaluate(() => imprint.models);
  expect(listed).toMatchObject({ id: "smollm2-135m", sizeBytes, sha256 });
});

test("what is no model, and what is not there, is refused with its code", async ({ page }) => {
  expect((await open(page, { model: "/letter.gguf" })).result).toBe("model-corrupt");
  const missing = await open(page, { model: "/nothing.gguf" });
  expect(missing.result).toBe("model-unreachable");
  expect(missing.message).toContain("404");
  expect((await open(page, { model: "https://[" })).result).toBe("invalid-option");
});

test("a model is inspected by its header alone, and a reason is given where it cannot be", async ({
  page,
}) => {
  const told = await page.evaluate(async () => {
    const code = (error: Package.ImprintError): string => `${error.code}: ${error.message}`;
    const found = await imprint.inspect("/model.gguf");
    const nothing = await imprint.inspect("/nothing.gguf").then(String, code);
    const whole = await imprint.inspect("/letter.gguf").then(String, code);
    const letter = await imprint.inspect(new Blob(["This is a letter."])).then(String, code);
    return { found, nothing, whole, letter, listed: imprint.models[0]?.memory };
  });
  expect(told.found).toEqual({
    name: expect.stringMatching(/smollm2/i),
    architecture: "llama",
    parameters: 134_515_008,
    sizeBytes,
    contextTokens: 8_192,
    formats: { F32: 61, Q4_1: 210, Q8_0: 1 },
    licence: { id: "apache-2.0" },
    memory: told.listed,
    runsOn: ["webgpu", "cpu"],
  });
  expect(bytesServed(), "the header is enough").toBeLessThan(4_000_000);
  expect(host.served.length).toBeGreaterThan(1);
  expect(await stored(page), "nothing is kept of it").toEqual([]);
  expect(told.nothing).toMatch(/^model-unreachable: .*404/);
  expect(told.whole, "that server sends no parts").toMatch(/^model-unreachable: .*only as a whole/);
  expect(told.letter).toMatch(/^model-corrupt/);
});

test("scores equal the golden ones, options are checked, and writing waits its turn", async ({ page }) => {
  const { text, mean_nll, greedy_text } = golden("short-fact");
  const told = await page.evaluate(async (prompt) => {
    const opened = await imprint.Imprint.open({ model: "/model.gguf", device: "webgpu" });
    const write = async (options: Package.WriteOptions): Promise<string> => {
      let written = "";
      for await (const piece of opened.write(prompt, options)) written += `${piece}`;
      return written;
    };
    const refused = await write({ temperature: -1 }).catch((error: Package.ImprintError) => error.code);
    const greedy = { temperature: 0, repetitionPenalty: 1, maxTokens: 4 };
    const [first, second, stopped] = await Promise.all([
      write(greedy),
      write(greedy),
      write({ ...greedy, stop: [" and"] }),
    ]);
    const score = await opened.score(prompt);
    const { device, info } = opened;
    await opened.close();
    return { refused, first, second, stopped, score, device, info };
  }, text);
  expect(told.refused).toBe("invalid-option");
  expect(told.device.kind).toBe("webgpu");
  expect(told.info.sizeBytes).toBe(sizeBytes);
  expect(greedy_text.startsWith(told.first)).toBe(true);
  expect(told.second).toBe(told.first);
  expect(told.stopped).toBe(" Tokyo,");
  expect(Math.abs(told.score.nll - mean_nll) / mean_nll, `nll ${told.score.nll}`).toBeLessThan(0.013);
});

test("the page's own thread and a Worker of the caller's write the same", async ({ page }) => {
  const written = await page.evaluate(async (prompt) => {
    const texts: string[] = [];
    const own = new Worker("/pkg/worker.js", { type: "module" });
    for (const worker of [false, own]) {
      const opened = await imprint.Imprint.open({ model: "/model.gguf", device: "cpu", worker });
      let text = "";
      for await (const piece of opened.write(prompt, { temperature: 0, maxTokens: 4 })) text += piece.text;
      await opened.close();
      texts.push(text);
    }
    own.terminate();
    return texts;
  }, golden("short-fact").text);
  expect(written[0]).toBeTruthy();
  expect(written[1]).toBe(written[0]);
});

test("an abort loses no letter of what was written", async ({ page }) => {
  const told = await page.evaluate(async () => {
    const opened = await imprint.Imprint.open({ model: "/model.gguf", device: "cpu" });
    const abort = new AbortController();
    const aborted = { text: "", tokens: 0, code: "" };
    try {
      const options = { temperature: 0, maxTokens: 40, signal: abort.signal };
      for await (const piece of opened.write("The sea was", options)) {
        aborted.text += piece.text;
        aborted.tokens = piece.tokens;
        if (piece.tokens === 3) abort.abort();
      }
    } catch (thrown) {
      aborted.code = (thrown as Package.ImprintError).code;
    }
    let whole = "";
    const options = { temperature: 0, maxTokens: aborted.tokens };
    for await (const piece of opened.write("The sea was", options)) whole += piece.text;
    await opened.close();
    return { aborted, whole };
  });
  expect(told.aborted.code).toBe("cancelled");
  expect(told.aborted.tokens).toBeLessThan(40);
  expect(told.aborted.text).toBe(told.whole);
});

test("the GPU computes what the processor computes, in every cut, with subgroups and without", async ({
  page,
}) => {
  test.setTimeout(480_000);
  const { device, cuts } = await page.evaluate(async () => {
    const opened = await imprint.Imprint.open({ model: "/model.gguf", device: "webgpu" });
    const found = await opened.selfTest({ allCuts: true });
    await opened.close();
    return found;
  });
  expect(device).toBe("webgpu");
  // The browser's software adapter has subgroups of four: the cut with four lanes must really use them.
  expect(cuts.map(({ lanes, shuffles }) => ({ lanes, shuffles }))).toEqual([
    { lanes: 1, shuffles: false },
    { lanes: 4, shuffles: true },
    { lanes: 8, shuffles: false },
  ]);
  expect(cuts.map(({ subgroup }) => subgroup)).toEqual([4, 4, undefined]);
  for (const { prefill, decode } of cuts) {
    for (const apart of [prefill, decode]) {
      expect(apart.maxRelative).toBeLessThan(1e-3);
      expect(apart.sameBest).toBe(true);
    }
  }
});

test("five rounds of opening and closing leave GPU memory where it was", async ({ page, browser }) => {
  test.setTimeout(480_000);
  const counted: number[] = [];
  const resident: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    counted.push(
      await page.evaluate(async () => {
        const opened = await imprint.Imprint.open({ model: "/model.gguf", device: "webgpu" });
        for await (const piece of opened.write("One", { maxTokens: 1 })) if (piece.finish) break;
        const { gpuBytes } = await opened.stats();
        await opened.close();
        return gpuBytes;
      }),
    );
    await page.waitForTimeout(500);
    resident.push(await gpuResidentBytes(browser));
  }
  expect(counted[0]).toBeGreaterThan(50_000_000);
  expect(counted.at(-1), `GPU bytes ${counted.join(", ")}`).toBe(counted[0]);
  // The model is 98 MB: a leak of one round would show at once. The software GPU's memory is its process's own.
  const grown = (resident.at(-1) ?? 0) - (resident[1] ?? 0);
  expect(grown, `the GPU process holds ${resident.join(", ")}`).toBeLessThan(50_000_000);
});

/** What Chromium's GPU process holds in memory. */
async function gpuResidentBytes(browser: Browser): Promise<number> {
  const { id } = await gpuProcess(browser);
  const [, pages] = readFileSync(`/proc/${id}/statm`, "utf8").split(" ");
  return Number(pages) * 4096;
}

function bytesServed(): number {
  return host.served.reduce((sum, { bytes }) => sum + bytes, 0);
}
