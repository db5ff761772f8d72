// What runs in the page: each function is sent there as it is and can name nothing of this file.
import type { Page } from "@playwright/test";
import type { Wllama } from "@wllama/wllama/esm/index.js";
import type { Imprint } from "../../web/src/index.js";

declare global {
  var opened: Imprint;
  var wllama: Wllama;
  /** Tells the bench that the first token is there. */
  var markFirst: () => Promise<void>;
}

/** How one text was written, as the page saw it. */
export type Written = {
  promptTokens: number;
  tokens: number;
  /** From the call to the first token. */
  prefillMs: number;
  /** From the first token to the last, and how many tokens came in it. */
  decodeMs: number;
  decodedTokens: number;
};

/** What an engine tells about itself once it is open. */
export type Opened = {
  loadMs: number;
  device: string;
  dispatchesPerToken: number | null;
  gpuWeightBytes: number | null;
  wasmBytes: number | null;
};

/** One of the programs that are held against each other. */
export type Engine = {
  key: string;
  /** Whether the GPU's process does the arithmetic, or the page's. */
  gpu: boolean;
  /** For an engine that is slower by far: rounds and tokens that are enough, and the seconds that a prompt may take. */
  sparing?: { rounds: number; tokens: number; limitS: number };
  /** What is done once it is open and before the measured text; left out, it reads and writes a little. */
  warmUp?(page: Page): Promise<void>;
  /** Opens the model and waits until it can write. */
  open(page: Page, model: string): Promise<Opened>;
  write(page: Page, prompt: string, maxTokens: number): Promise<Written>;
  close(page: Page): Promise<void>;
};

/** Longest text, in tokens, that each engine is opened for. */
const contextTokens = 2048;

/** Imprint, on one of its two paths. */
export function imprint(key: string, device: "webgpu" | "cpu"): Engine {
  return {
    key,
    gpu: device === "webgpu",
    open: (page, model) => page.evaluate(openImprint, { model, device, contextTokens }),
    write: (page, prompt, maxTokens) => page.evaluate(writeImprint, { prompt, maxTokens }),
    close: (page) => page.evaluate(() => opened.close()),
  };
}

/** wllama, which is llama.cpp: with all layers on WebGPU, or with none and one thread. */
export function wllama(key: string, gpu: boolean): Engine {
  return {
    key,
    gpu,
    open: (page, model) => page.evaluate(openWllama, { model, gpu, contextTokens }),
    write: (page, prompt, maxTokens) => page.evaluate(writeWllama, { prompt, maxTokens }),
    close: (page) => page.evaluate(() => globalThis.wllama.exit()),
  };
}

/** The key of the engine whose path Imprint takes when nobody says which. */
export async function unasked(page: Page, model: string): Promise<string> {
  const kind = await page.evaluate(async (model) => {
    const address = "/index.js";
    const { Imprint } = (await import(address)) as typeof import("../../web/src/index.js");
    const opened = await Imprint.open({ model });
    await opened.close();
    return opened.device.kind;
  }, model);
  return kind === "webgpu" ? "imprint-gpu" : "imprint-cpu";
}

async function openImprint(given: {
  model: string;
  device: "webgpu" | "cpu";
  contextTokens: number;
}): Promise<Opened> {
  const address = "/index.js";
  const start = performance.now();
  const { Imprint } = (await import(address)) as typeof import("../../web/src/index.js");
  globalThis.opened = await Imprint.open(given);
  const loadMs = performance.now() - start;
  const { kind, description } = opened.device;
  if (kind !== given.device) throw new Error(`Imprint took ${kind}: ${opened.device.reason}`);
  const { dispatchesPerToken, gpuWeightBytes, wasmBytes } = await opened.stats();
  return { loadMs, device: description, dispatchesPerToken, gpuWeightBytes, wasmBytes };
}

async function writeImprint(given: { prompt: string; maxTokens: number }): Promise<Written> {
  const start = performance.now();
  let first = 0;
  let firstTokens = 0;
  let tokens = 0;
  let promptTokens = 0;
  for await (const piece of opened.write(given.prompt, { maxTokens: given.maxTokens, temperature: 0 })) {
    ({ tokens, promptTokens } = piece);
    if (tokens === 0 || first > 0) continue;
    first = performance.now();
    firstTokens = tokens;
    void markFirst();
  }
  const decodeMs = performance.now() - first;
  return { promptTokens, tokens, prefillMs: first - start, decodeMs, decodedTokens: tokens - firstTokens };
}

async function openWllama(given: { model: string; gpu: boolean; contextTokens: number }): Promise<Opened> {
  const address = "/wllama/index.js";
  const start = performance.now();
  const { Wllama } = (await import(address)) as typeof import("@wllama/wllama/esm/index.js");
  const wllama = new Wllama({ default: "/wllama/wllama.wasm" }, { suppressNativeLog: true });
  await wllama.loadModelFromUrl(new URL(given.model, location.href).href, {
    n_ctx: given.contextTokens,
    n_parallel: 1,
    n_threads: 1,
    // 0 switches WebGPU off; left out, every layer goes there.
    ...(given.gpu ? {} : { n_gpu_layers: 0 }),
  });
  const loadMs = performance.now() - start;
  globalThis.wllama = wllama;
  if (wllama.isMultithread()) throw new Error("wllama runs in several threads, the page must be isolated");
  let device = "1 thread";
  if (given.gpu) {
    const { gpu } = navigator as unknown as { gpu?: { requestAdapter(): Promise<{ info: GpuInfo } | null> } };
    type GpuInfo = { vendor: string; architecture: string; description: string };
    const info = (await gpu?.requestAdapter())?.info;
    device = info ? info.description || `${info.vendor} ${info.architecture}` : "unknown";
  }
  return { loadMs, device, dispatchesPerToken: null, gpuWeightBytes: null, wasmBytes: null };
}

async function writeWllama(given: { prompt: string; maxTokens: number }): Promise<Written> {
  const start = performance.now();
  const options = {
    prompt: given.prompt,
    max_tokens: given.maxTokens,
    temperature: 0,
    // Else the second round would find its prompt read already.
    cache_prompt: false,
    timings_per_token: true,
    stream: true as const,
  };
  let first = 0;
  let last = 0;
  let firstTokens = 0;
  let tokens = 0;
  let promptTokens = 0;
  for await (const { timings } of await globalThis.wllama.createCompletion(options)) {
    if (!timings || timings.predicted_n <= tokens) continue;
    if (timings.cache_n > 0) throw new Error(`wllama took ${timings.cache_n} tokens from its cache`);
    ({ prompt_n: promptTokens, predicted_n: tokens } = timings);
    last = performance.now();
    if (first > 0) continue;
    first = last;
    firstTokens = tokens;
    void markFirst();
  }
  if (first === 0) throw new Error("wllama wrote nothing, or told no timings");
  return {
    promptTokens,
    tokens,
    prefillMs: first - start,
    decodeMs: last - first,
    decodedTokens: tokens - firstTokens,
  };
}
