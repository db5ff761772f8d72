// transformers.js: what runs in the page is sent there as it is and can name nothing of this file.
import type { Page } from "@playwright/test";
import type { Engine, Opened, Written } from "./engines.js";
import { stray, type Golden } from "./stray.js";

/** As much of transformers.js as is used here; its own types come with packages that only this bench installs. */
type Library = {
  env: { remoteHost: string; backends: { onnx: { wasm: { wasmPaths: object; numThreads: number } } } };
  AutoTokenizer: { from_pretrained(name: string): Promise<Tokenizer> };
  AutoModelForCausalLM: { from_pretrained(name: string, options: object): Promise<Model> };
};
type Ids = { data: BigInt64Array };
type Tokenizer = (text: string) => { input_ids: Ids; attention_mask: object };
type Model = { generate(options: object): Promise<Ids>; dispose(): Promise<unknown> };

declare global {
  var transformers: { tokenizer: Tokenizer; model: Model };
}

/** What was written, and the ids of all of it. */
type Told = { written: Written; prompt: number[]; ids: number[] };

/** Tokens on the GPU path, where one takes seconds on a software adapter. */
const fewTokens = 4;
/** Tokens that must be what the golden run wrote, as far as that was sure. */
const checkedTokens = { gpu: 2, cpu: 8 };

/** transformers.js on one of its two devices; on the GPU a prompt may take `limitS` seconds. */
export function transformers(key: string, gpu: boolean, golden: Golden, limitS: number): Engine {
  const write = (page: Page, prompt: string, maxTokens: number) =>
    page.evaluate(writeTransformers, { prompt, maxTokens });
  const device: "webgpu" | "wasm" = gpu ? "webgpu" : "wasm";
  return {
    key,
    gpu,
    ...(gpu ? { sparing: { rounds: 1, tokens: fewTokens, limitS } } : {}),
    open: (page) => page.evaluate(openTransformers, { device }),
    warmUp: async (page) => {
      const { prompt, ids } = await write(page, golden.text, gpu ? checkedTokens.gpu : checkedTokens.cpu);
      const why = stray(golden, prompt, ids);
      if (why !== undefined) throw new Error(why);
    },
    write: async (page, prompt, maxTokens) => (await write(page, prompt, maxTokens)).written,
    close: (page) => page.evaluate(() => globalThis.transformers.model.dispose().then(() => {})),
  };
}

async function openTransformers(given: { device: "webgpu" | "wasm" }): Promise<Opened> {
  const address = "/transformers/transformers.min.js";
  const start = performance.now();
  const { env, AutoTokenizer, AutoModelForCausalLM } = (await import(address)) as Library;
  // The hub and the host of the runtime are this machine.
  env.remoteHost = new URL("/hub/", location.href).href;
  const runtime = new URL("/transformers/ort-wasm-simd-threaded.asyncify", location.href).href;
  env.backends.onnx.wasm.wasmPaths = { mjs: `${runtime}.mjs`, wasm: `${runtime}.wasm` };
  env.backends.onnx.wasm.numThreads = 1;
  const name = "imprint/model";
  const [tokenizer, model] = await Promise.all([
    AutoTokenizer.from_pretrained(name),
    AutoModelForCausalLM.from_pretrained(name, { device: given.device, dtype: "q4" }),
  ]);
  const loadMs = performance.now() - start;
  globalThis.transformers = { tokenizer, model };
  let device = "wasm, 1 thread";
  if (given.device === "webgpu") {
    const { gpu } = navigator as unknown as { gpu?: { requestAdapter(): Promise<{ info: GpuInfo } | null> } };
    type GpuInfo = { vendor: string; architecture: string; description: string };
    const info = (await gpu?.requestAdapter())?.info;
    device = info ? info.description || `${info.vendor} ${info.architecture}` : "unknown";
  }
  return { loadMs, device, dispatchesPerToken: null, gpuWeightBytes: null, wasmBytes: null };
}

async function writeTransformers(given: { prompt: string; maxTokens: number }): Promise<Told> {
  const { tokenizer, model } = globalThis.transformers;
  const start = performance.now();
  const { input_ids, attention_mask } = tokenizer(given.prompt);
  let first = 0;
  let last = 0;
  let puts = 0;
  const streamer = {
    // The prompt comes first, then each token.
    put() {
      puts += 1;
      if (puts === 1) return;
      last = performance.now();
      if (puts > 2) return;
      first = last;
      void markFirst();
    },
    end() {},
  };
  const { maxTokens } = given;
  const all = await model.generate({
    input_ids,
    attention_mask,
    do_sample: false,
    max_new_tokens: maxTokens,
    // A text that ends early would tell less.
    min_new_tokens: maxTokens,
    streamer,
  });
  const prompt = Array.from(input_ids.data, Number);
  const ids = Array.from(all.data, Number).slice(prompt.length);
  if (puts !== ids.length + 1) throw new Error(`transformers.js told ${puts - 1} of ${ids.length} tokens`);
  const written = {
    promptTokens: prompt.length,
    tokens: ids.length,
    prefillMs: first - start,
    decodeMs: last - first,
    decodedTokens: ids.length - 1,
  };
  return { written, prompt, ids };
}
