// What a step of learning costs in Chromium, and what an adapter costs while writing.
import type { Bench } from "./bench.js";
import { number, prompt, text } from "./options.js";

declare global {
  /** Tells the bench that a step is over. */
  var markStep: () => Promise<void>;
}

/** A window whose steps would take longer than this is left out: nobody waits for it. */
const longestStepS = 120;
/** The strength whose second row is measured. */
const strength = 1.5;

/** Steps on windows of one length, under the names that the command line uses. */
type Window = {
  tokens: number;
  step_s: number;
  tokens_per_s: number;
  cpu_s_per_step: number | null;
  prefill_s: number;
  step_over_prefill: number;
  peak_bytes: number | null;
  gpu_peak_bytes: number | null;
  gpu_bytes: number | null;
};

/** Seconds a token without an adapter, with one, and as a contrast. */
type TokenS = [base: number, own: number, both: number];

/** Learning on one device. */
export class Lesson {
  readonly #windows: Window[] = [];
  /** Windows left out, and why. */
  readonly #skipped: { tokens: number; why: string }[] = [];
  readonly #written: TokenS[] = [];
  #cpuAtStep: (number | null)[] = [];

  constructor(readonly bench: Bench) {}

  async open(): Promise<void> {
    await this.bench.page.exposeFunction("markStep", () => this.#cpuAtStep.push(this.bench.cpuS()));
    await this.bench.open();
  }

  /** Steps on windows of so many tokens, the first one for what happens only once, and prefills of as many. */
  async learn(tokens: number): Promise<void> {
    const last = this.#windows.at(-1);
    // What stands beside the tokens themselves makes longer windows cost more than their share.
    const expectedS = last ? last.step_s * (tokens / last.tokens) : 0;
    if (expectedS > longestStepS) {
      const why = `a step would take over ${longestStepS} s`;
      this.#skipped.push({ tokens, why });
      return;
    }
    const { bench } = this;
    bench.forgetPeaks();
    this.#cpuAtStep = [];
    const { stepMs, gpuBytes } = await bench.page.evaluate(learnSteps, { tokens, steps: number("runs") + 1 });
    bench.notePeaks();
    const { page, gpu } = bench.peak;
    const stepS = stepMs.slice(1).map((ms) => ms / 1e3);
    const prefillS: number[] = [];
    for (const _ of stepS) prefillS.push(await bench.page.evaluate(prefill, prompt(tokens)));
    const cpuS = this.#cpuAtStep
      .slice(1)
      .map((cpu, i) => (cpu === null ? null : cpu - (this.#cpuAtStep[i] ?? NaN)));
    this.#windows.push({
      tokens,
      step_s: median(stepS),
      tokens_per_s: (tokens - 1) / median(stepS),
      cpu_s_per_step: cpuS.includes(null) ? null : median(cpuS.map(Number)),
      prefill_s: median(prefillS),
      step_over_prefill: median(stepS.map((step, i) => step / (prefillS[i] ?? NaN))),
      peak_bytes: page,
      gpu_peak_bytes: gpu,
      gpu_bytes: gpuBytes > 0 ? gpuBytes : null,
    });
  }

  /** Writes without an adapter, with it, and as a contrast, in turn. */
  async write(): Promise<void> {
    const { page } = this.bench;
    const adapter = await page.evaluate(importAdapter, text("adapter"));
    const ways = [
      { adapter: null },
      { adapter, strength: 1 },
      { adapter, strength, mode: "contrast" as const },
    ];
    const given = { prompt: prompt(Math.min(32, number("prompt"))), maxTokens: number("tokens") };
    for (let run = 0; run <= number("runs"); run += 1) {
      const seconds: number[] = [];
      for (const way of ways) {
        const maxTokens = run === 0 ? 2 : given.maxTokens;
        seconds.push(await page.evaluate(secondsAToken, { ...given, maxTokens, way }));
      }
      // The first round is for what happens only once.
      if (run > 0) this.#written.push(seconds as TokenS);
    }
  }

  report(): object {
    const { engine, opened, failure } = this.bench;
    const of = (way: 0 | 1 | 2): number => median(this.#written.map((seconds) => seconds[way]));
    const over = (a: 0 | 1 | 2, b: 0 | 1 | 2): number =>
      median(this.#written.map((seconds) => seconds[a] / seconds[b]));
    const writing = {
      base_tokens_per_s: 1 / of(0),
      adapter_tokens_per_s: 1 / of(1),
      contrast_tokens_per_s: 1 / of(2),
      adapter_over_base: over(1, 0),
      contrast_over_one_row: over(2, 1),
    };
    return {
      ...{ key: engine.key, device: opened?.device ?? "", failure, skipped: this.#skipped },
      windows: this.#windows,
      writing: this.#written.length > 0 ? writing : null,
    };
  }
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low, high] = [sorted[Math.ceil(middle) - 1] ?? NaN, sorted[Math.floor(middle)] ?? NaN];
  return (low + high) / 2;
}

// What follows runs in the page: each function is sent there as it is and can name nothing of this file.

async function learnSteps(given: {
  tokens: number;
  steps: number;
}): Promise<{ stepMs: number[]; gpuBytes: number }> {
  // Which tokens they are changes no time.
  const sequences = [Array.from({ length: given.tokens }, (_, i) => 1 + ((i * 7) % 200))];
  const onStep = (): void => void markStep();
  return opened.learningTest({ sequences, steps: given.steps, rate: 5e-4 }, { onStep });
}

async function prefill(prompt: string): Promise<number> {
  const start = performance.now();
  for await (const piece of opened.write(prompt, { adapter: null, temperature: 0, maxTokens: 1 })) {
    if (piece.tokens > 0) break;
  }
  return (performance.now() - start) / 1e3;
}

async function importAdapter(address: string): Promise<string> {
  const blob = async (name: string): Promise<Blob> => (await fetch(`${address}/${name}`)).blob();
  const config = await blob("adapter_config.json");
  const weights = await blob("adapter_model.safetensors");
  return (await opened.adapters.import({ config, weights }, { name: "Bench" })).id;
}

async function secondsAToken(given: {
  prompt: string;
  maxTokens: number;
  way: { adapter: string | null; strength?: number; mode?: "contrast" };
}): Promise<number> {
  let first = 0;
  let firstTokens = 0;
  let tokens = 0;
  const options = { ...given.way, temperature: 0, maxTokens: given.maxTokens };
  for await (const piece of opened.write(given.prompt, options)) {
    ({ tokens } = piece);
    if (tokens === 0 || first > 0) continue;
    first = performance.now();
    firstTokens = tokens;
  }
  if (tokens === firstTokens) throw new Error("the model ended before its second token");
  return (performance.now() - first) / 1e3 / (tokens - firstTokens);
}
