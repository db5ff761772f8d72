// The browser half of `cargo xtask bench`: measures Imprint and wllama in Chromium, round by round, on the same file,
// and writes the samples into a JSON file.
import { readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { brotliCompressSync, constants } from "node:zlib";
import { chromium, type BrowserContext, type Page } from "@playwright/test";
import { args, executablePath } from "../e2e/chromium.js";
import { imprint, wllama, type Engine, type Opened, type Written } from "./engines.js";
import { cpuS, peakBytes, processes, type Kind } from "./linux.js";

const { values } = parseArgs({
  options: {
    /** Where the package, wllama and the model are served. */
    site: { type: "string" },
    model: { type: "string" },
    /** A text whose words and stops are a token each; it is repeated. */
    text: { type: "string" },
    prompt: { type: "string" },
    tokens: { type: "string" },
    runs: { type: "string" },
    out: { type: "string" },
  },
});
const text = (name: keyof typeof values): string => {
  const value = values[name];
  if (value === undefined) throw new Error(`--${name} is missing`);
  return value;
};
const number = (name: keyof typeof values): number => Number(text(name));
/** A prompt this long is read before each measured one. */
const warmUpTokens = 64;

/** One measured text. */
type Sample = {
  loadMs: number;
  prefillTokensPerS: number;
  decodeTokensPerS: number;
  cpuSPerToken: number | null;
};

/** One engine in its own browser with its own empty profile. */
class Bench {
  readonly samples: Sample[] = [];
  firstLoadMs = 0;
  opened: Opened | undefined;
  written: Written | undefined;
  /** Why this engine could not be measured. */
  failure: string | undefined;
  readonly #peak: Record<Kind, number | null> = { renderer: null, "gpu-process": null };
  #cpuAtFirst: number | null = null;

  private constructor(
    readonly engine: Engine,
    readonly profile: string,
    readonly context: BrowserContext,
    readonly page: Page,
  ) {}

  /** Starts a browser whose storage is on disk, as a person's is: a private window would keep it in memory. */
  static async start(engine: Engine): Promise<Bench> {
    const profile = await mkdtemp(join(tmpdir(), "imprint-bench-"));
    const context = await chromium.launchPersistentContext(profile, { executablePath, args });
    const page = context.pages()[0] ?? (await context.newPage());
    const bench = new Bench(engine, profile, context, page);
    await page.exposeFunction("markFirst", () => (bench.#cpuAtFirst = cpuS(bench.#workers())));
    return bench;
  }

  /** Fetches the model over the network for the first time; later rounds find it in the browser's storage. */
  async fetch(): Promise<void> {
    this.firstLoadMs = (await this.#open()).loadMs;
    await this.engine.close(this.page);
  }

  async round(): Promise<void> {
    const { loadMs } = (this.opened = await this.#open());
    await this.engine.write(this.page, prompt(Math.min(warmUpTokens, number("prompt"))), 4);
    const written = await this.engine.write(this.page, prompt(number("prompt")), number("tokens"));
    const cpu = cpuS(this.#workers());
    this.#notePeak();
    if (written.decodedTokens < 1) throw new Error("the model ended before its second token");
    // An engine that falls back silently would pass its processor's speed off as the GPU's.
    if (this.engine.gpu && cpu !== null && cpu === this.#cpuAtFirst)
      throw new Error("it did not take this adapter: the GPU process did nothing while it wrote");
    this.written = written;
    this.samples.push({
      loadMs,
      prefillTokensPerS: (written.promptTokens / written.prefillMs) * 1e3,
      decodeTokensPerS: (written.decodedTokens / written.decodeMs) * 1e3,
      cpuSPerToken:
        cpu === null || this.#cpuAtFirst === null ? null : (cpu - this.#cpuAtFirst) / written.decodedTokens,
    });
    await this.engine.close(this.page);
  }

  /** Runs a step unless an earlier one failed; an engine that cannot run here must not hide the others' numbers. */
  async attempt(what: string, step: () => Promise<void>): Promise<void> {
    if (this.failure !== undefined) return;
    const start = performance.now();
    try {
      await step();
    } catch (thrown) {
      this.failure = String(thrown instanceof Error ? thrown.message : thrown).split("\n")[0] ?? "";
    }
    const took = ((performance.now() - start) / 1e3).toFixed(1);
    console.log(
      `   ${this.engine.key.padEnd(14)} ${what.padEnd(10)} ${took.padStart(6)} s  ${this.failure ?? ""}`,
    );
  }

  async stop(): Promise<void> {
    await this.context.close();
    await rm(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }

  report(): object {
    const { engine, samples, firstLoadMs, opened, written, failure } = this;
    return {
      ...{ key: engine.key, samples, firstLoadMs, opened, written, failure },
      peak: { page: this.#peak.renderer, gpu: this.#peak["gpu-process"] },
    };
  }

  /** Takes the peaks while the model is open; a process that is replaced later takes its own with it. */
  #notePeak(): void {
    for (const kind of ["renderer", "gpu-process"] as const) {
      const bytes = peakBytes(processes(this.profile, kind));
      if (bytes !== null) this.#peak[kind] = Math.max(bytes, this.#peak[kind] ?? 0);
    }
  }

  #workers(): number[] {
    return processes(this.profile, this.engine.gpu ? "gpu-process" : "renderer");
  }

  async #open(): Promise<Opened> {
    await this.page.goto(new URL("bench.html", text("site")).href);
    return this.engine.open(this.page, text("model"));
  }
}

/** The first words and stops of the text, over and over. */
function prompt(tokens: number): string {
  const words = text("text").match(/ ?\p{L}+|[^\p{L}\s]/gu) ?? [];
  return Array.from({ length: tokens }, (_, i) => {
    const word = words[i % words.length] ?? "";
    return i > 0 && i % words.length === 0 ? ` ${word}` : word;
  }).join("");
}

/** The size of a module, raw and as a good host sends it. */
function size(path: string): { raw: number; brotli: number } {
  const bytes = readFileSync(resolve(path));
  const packed = brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  });
  return { raw: bytes.length, brotli: packed.length };
}

const engines = [
  imprint("imprint-gpu", "webgpu"),
  imprint("imprint-cpu", "cpu"),
  wllama("wllama-gpu", true),
  wllama("wllama-cpu", false),
];
const benches: Bench[] = [];
try {
  for (const engine of engines) benches.push(await Bench.start(engine));
  for (const bench of benches) await bench.attempt("first load", () => bench.fetch());
  // One round of each in turn, so that what else the machine does falls on all of them.
  for (let run = 1; run <= number("runs"); run += 1) {
    for (const bench of benches) await bench.attempt(`round ${run}`, () => bench.round());
  }
  const report = {
    chromium: benches[0]?.context.browser()?.version() ?? "of unknown version",
    isolated: await benches[0]?.page.evaluate(() => crossOriginIsolated),
    engines: benches.map((bench) => bench.report()),
    wasm: {
      imprint: size("pkg/dist/imprint_wasm_bg.wasm"),
      wllama: size("node_modules/@wllama/wllama/esm/wasm/wllama.wasm"),
    },
  };
  writeFileSync(text("out"), JSON.stringify(report));
} finally {
  for (const bench of benches) await bench.stop();
}
