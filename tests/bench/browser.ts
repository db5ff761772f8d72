// The browser half of `cargo xtask bench`: measures in Chromium and writes the samples into a JSON file.
//
// Writing: Imprint, wllama and, where asked for, transformers.js, round by round, on the same file. Learning: Imprint on both devices, window by window.
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { brotliCompressSync, constants } from "node:zlib";
import { Bench } from "./bench.js";
import { imprint, unasked, wllama, type Engine } from "./engines.js";
import { Lesson } from "./learning.js";
import { given, number, text } from "./options.js";
import { golden } from "./stray.js";
import { transformers } from "./transformers.js";

/** The size of a module, raw and as a good host sends it. */
function size(path: string): { raw: number; brotli: number } {
  const bytes = readFileSync(resolve(path));
  const packed = brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  });
  return { raw: bytes.length, brotli: packed.length };
}

/** transformers.js, where it is asked for. */
function asked(): Engine[] {
  if (!given("against")) return [];
  const known = golden(text("golden"));
  return [
    transformers("transformers-gpu", true, known, number("limit")),
    transformers("transformers-cpu", false, known, number("limit")),
  ];
}

/** Measures all engines in turn, so that what else the machine does falls on all of them. */
async function writing(benches: Bench[]): Promise<object> {
  const engines = [
    imprint("imprint-gpu", "webgpu"),
    imprint("imprint-cpu", "cpu"),
    wllama("wllama-gpu", true),
    wllama("wllama-cpu", false),
    ...asked(),
  ];
  for (const engine of engines) benches.push(await Bench.start(engine));
  for (const bench of benches) await bench.attempt("first load", () => bench.fetch());
  for (let run = 1; run <= number("runs"); run += 1) {
    const due = benches.filter(({ engine }) => run <= (engine.sparing?.rounds ?? Infinity));
    for (const bench of due) await bench.attempt(`round ${run}`, () => bench.round());
  }
  const [gpu] = benches;
  let auto: string | undefined;
  await gpu?.attempt("unasked", async () => void (auto = await unasked(gpu.page, text("model"))));
  return {
    auto,
    isolated: await benches[0]?.page.evaluate(() => crossOriginIsolated),
    engines: benches.map((bench) => bench.report()),
    wasm: {
      imprint: size("pkg/dist/imprint_wasm_bg.wasm"),
      writer: size("pkg/dist/imprint_writer_bg.wasm"),
      wllama: size("node_modules/@wllama/wllama/esm/wasm/wllama.wasm"),
      ...(given("runtime") ? { transformers: size(text("runtime")) } : {}),
    },
  };
}

/** Measures one device after the other: each would only wait for the other. */
async function learning(benches: Bench[]): Promise<object> {
  const lessons: Lesson[] = [];
  for (const engine of [imprint("imprint-gpu", "webgpu"), imprint("imprint-cpu", "cpu")]) {
    const bench = await Bench.start(engine);
    benches.push(bench);
    const lesson = new Lesson(bench);
    lessons.push(lesson);
    await bench.attempt("load", () => lesson.open());
    for (const window of text("windows").split(",").map(Number)) {
      await bench.attempt(`window ${window}`, () => lesson.learn(window));
    }
    await bench.attempt("adapter", () => lesson.write());
    if (bench.failure === undefined) await engine.close(bench.page);
  }
  return { engines: lessons.map((lesson) => lesson.report()) };
}

const benches: Bench[] = [];
try {
  const report = await (text("part") === "learning" ? learning : writing)(benches);
  const chromium = benches[0]?.context.browser()?.version() ?? "of unknown version";
  writeFileSync(text("out"), JSON.stringify({ chromium, ...report }));
} finally {
  for (const bench of benches) await bench.stop();
}
