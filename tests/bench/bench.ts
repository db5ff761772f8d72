// One engine in a browser of its own: how it is started, timed and watched.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium, type BrowserContext, type Page, type Request } from "@playwright/test";
import { args, executablePath } from "../e2e/chromium.js";
import type { Engine, Opened, Written } from "./engines.js";
import { cpuS, forgetPeak, peakBytes, processes, type Kind } from "./linux.js";
import { number, prompt, text } from "./options.js";

/** A prompt this long is read before each measured one. */
const warmUpTokens = 64;

/** One measured text. */
type Sample = {
  loadMs: number;
  prefillTokensPerS: number;
  decodeTokensPerS: number | null;
  cpuSPerToken: number | null;
  /** Seconds after which the prompt was given up: it was read more slowly than told. */
  limitS: number | null;
};

/** One engine in its own browser with its own empty profile. */
export class Bench {
  readonly samples: Sample[] = [];
  firstLoadMs = 0;
  /** What the first load fetched over the network. */
  fetchedBytes = 0;
  opened: Opened | undefined;
  written: Written | undefined;
  /** Why this engine could not be measured. */
  failure: string | undefined;
  readonly #peak: Record<Kind, number | null> = { renderer: null, "gpu-process": null };
  #cpuAtFirst: number | null = null;
  /** Whether the text that is being written has its first token. */
  #begun = false;

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
    await page.exposeFunction("markFirst", () => {
      bench.#begun = true;
      bench.#cpuAtFirst = bench.cpuS();
    });
    return bench;
  }

  /** Fetches the model over the network for the first time; later rounds find it in the browser's storage. */
  async fetch(): Promise<void> {
    const sizes: Promise<number>[] = [];
    // Workers' requests are the context's too. What storage answers has no size, and a body may be gone already.
    const note = (request: Request): void => {
      const size = request.sizes().then(({ responseBodySize }) => responseBodySize);
      if (request.url().startsWith("http")) sizes.push(size.catch(() => 0));
    };
    this.context.on("requestfinished", note);
    this.firstLoadMs = (await this.#open()).loadMs;
    this.context.off("requestfinished", note);
    this.fetchedBytes = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
    await this.engine.close(this.page);
  }

  /** Opens the model from the browser's storage and leaves it open. */
  async open(): Promise<Opened> {
    return (this.opened = await this.#open());
  }

  async round(): Promise<void> {
    const { loadMs } = await this.open();
    await this.#warmUp();
    const written = await this.#write();
    if (written === undefined) return this.#giveUp(loadMs);
    const cpu = this.cpuS();
    this.notePeaks();
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
      limitS: null,
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
    const { engine, samples, firstLoadMs, fetchedBytes, opened, written, failure, peak } = this;
    return { key: engine.key, samples, firstLoadMs, fetchedBytes, opened, written, failure, peak };
  }

  /** Takes the peaks while the model is open; a process that is replaced later takes its own with it. */
  notePeaks(): void {
    for (const kind of ["renderer", "gpu-process"] as const) {
      const bytes = peakBytes(processes(this.profile, kind));
      if (bytes !== null) this.#peak[kind] = Math.max(bytes, this.#peak[kind] ?? 0);
    }
  }

  /** Forgets the peaks so far, as far as the system lets it. */
  forgetPeaks(): void {
    for (const kind of ["renderer", "gpu-process"] as const) {
      forgetPeak(processes(this.profile, kind));
      this.#peak[kind] = null;
    }
  }

  async #warmUp(): Promise<void> {
    const { engine, page } = this;
    const work =
      engine.warmUp?.(page) ?? engine.write(page, prompt(Math.min(warmUpTokens, number("prompt"))), 4);
    if (await this.#inTime(work.then(() => true))) return;
    await this.context.close();
    throw new Error(`its warm-up took more than ${engine.sparing?.limitS} s`);
  }

  /** Writes the measured text; nothing where its prompt was not read within the engine's limit. */
  #write(): Promise<Written | undefined> {
    const tokens = Math.min(number("tokens"), this.engine.sparing?.tokens ?? Infinity);
    this.#begun = false;
    return this.#inTime(this.engine.write(this.page, prompt(number("prompt")), tokens), () => this.#begun);
  }

  /** What `work` gives; nothing once the engine's limit is over, unless by then `goesOn`. */
  async #inTime<T>(work: Promise<T>, goesOn = (): boolean => false): Promise<T | undefined> {
    const { sparing } = this.engine;
    if (!sparing) return work;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => goesOn() || resolve(undefined), sparing.limitS * 1e3);
    });
    return Promise.race([work, late]).finally(() => clearTimeout(timer));
  }

  /** Notes that the prompt took too long, and ends the browser: what it still does would slow the others down. */
  async #giveUp(loadMs: number): Promise<void> {
    const limitS = this.engine.sparing?.limitS ?? 0;
    const prefillTokensPerS = number("prompt") / limitS;
    this.notePeaks();
    this.samples.push({ loadMs, prefillTokensPerS, decodeTokensPerS: null, cpuSPerToken: null, limitS });
    await this.context.close();
  }

  get peak(): { page: number | null; gpu: number | null } {
    return { page: this.#peak.renderer, gpu: this.#peak["gpu-process"] };
  }

  /** CPU seconds used so far by the processes that do the arithmetic. */
  cpuS(): number | null {
    return cpuS(processes(this.profile, this.engine.gpu ? "gpu-process" : "renderer"));
  }

  async #open(): Promise<Opened> {
    await this.page.goto(new URL("bench.html", text("site")).href);
    return this.engine.open(this.page, text("model"));
  }
}
