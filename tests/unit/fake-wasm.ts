import type { Inspection, Score, Step, StoredModel, WriteOptions } from "../../web/src/engine.js";
import type { WasmEngine } from "../../web/src/wasm.js";

/** What the fake module does and what was done to it; tests set the first and read the second. */
export const fake = {
  log: [] as string[],
  /** Called instead of the next `next()`, `begin()`, `score()` or `open()`. */
  instead: {} as { [call in "open" | "begin" | "next" | "score"]?: () => Promise<never> },
  /** Whether steps settle in a microtask, as on the processor, or after a while, as on the GPU. */
  pauseMs: 0,
  busy: false,
  nexts: 0,
  openEngines: 0,
};

/** Sets the fake back to its quiet self. */
export function resetFake(): void {
  fake.log = [];
  fake.instead = {};
  fake.pauseMs = 0;
  fake.busy = false;
  fake.nexts = 0;
  fake.openEngines = 0;
}

/** An error as the wasm module throws it. */
export function coded(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

/** Holds the law that no call begins before the one before it settled. */
async function alone<T>(call: "open" | "begin" | "next" | "score", body: () => Promise<T>): Promise<T> {
  if (fake.busy) throw new Error(`${call} began while another call ran`);
  const { [call]: instead } = fake.instead;
  fake.busy = true;
  try {
    if (fake.pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, fake.pauseMs));
    return await (instead ?? body)();
  } finally {
    fake.busy = false;
  }
}

class FakeEngine implements WasmEngine {
  #prompt = "";
  #maxTokens = 0;
  #tokens = -1;

  static open: typeof FakeEngineOpen = (model, options, onProgress, signal) =>
    FakeEngineOpen(model, options, onProgress, signal);

  device(): { kind: "cpu"; description: string; reason: string } {
    return { kind: "cpu", description: "fake", reason: "it is a fake" };
  }

  info(): ReturnType<WasmEngine["info"]> {
    return {
      name: "fake",
      architecture: "fake",
      parameters: 1,
      sizeBytes: 2,
      contextTokens: 3,
      fingerprint: "f",
      stored: true,
    };
  }

  begin(prompt: string, options: WriteOptions): Promise<void> {
    return alone("begin", async () => {
      fake.log.push(`begin ${prompt}`);
      this.#prompt = prompt;
      this.#maxTokens = options.maxTokens ?? 3;
      this.#tokens = -1;
    });
  }

  /** First a step that reads the prompt, then one token a step: `0`, `1`, `2` … */
  next(): Promise<Step> {
    return alone("next", async () => {
      fake.nexts += 1;
      this.#tokens += 1;
      const text = this.#tokens === 0 ? "" : `${this.#tokens - 1} `;
      const step = { text, tokens: this.#tokens, promptTokens: 1, prefilled: 1 };
      if (this.#tokens < this.#maxTokens) return step;
      fake.log.push(`end ${this.#prompt}`);
      return { ...step, finish: "length" };
    });
  }

  /** Ends the text early; each one with a token has `held` held back. */
  end(): string {
    if (fake.busy) throw new Error("end was called while a call ran");
    fake.log.push(`cut ${this.#prompt}`);
    return this.#tokens > 0 ? "held" : "";
  }

  score(text: string): Promise<Score> {
    return alone("score", async () => {
      fake.log.push(`score ${text}`);
      return { tokens: text.length, nll: 1.5, bitsPerChar: 2.5 };
    });
  }

  async selfTest(): Promise<string> {
    return "{}";
  }

  stats(): ReturnType<WasmEngine["stats"]> {
    return { dispatchesPerToken: 1, gpuBytes: fake.openEngines, gpuWeightBytes: 2, wasmBytes: 3 };
  }

  close(): void {
    fake.openEngines -= 1;
    fake.log.push("close");
  }
}

const FakeEngineOpen: typeof import("../../web/src/imprint_wasm.js").Engine.open = (
  model,
  _options,
  onProgress,
) =>
  alone("open", async () => {
    const name = typeof model === "string" ? model : `blob of ${model.size}`;
    fake.log.push(`open ${name}`);
    for (const doneBytes of [0, 5, 10])
      onProgress({ phase: "download", doneBytes, totalBytes: 10, fromCache: false });
    fake.openEngines += 1;
    return new FakeEngine();
  });

export { FakeEngine as Engine };

export async function inspect(model: string | Blob, signal?: AbortSignal): Promise<Inspection> {
  if (signal?.aborted) throw coded("cancelled", "cancelled by the caller");
  const name = typeof model === "string" ? model : `blob of ${model.size}`;
  fake.log.push(`inspect ${name}`);
  if (name.endsWith("letter.gguf")) throw coded("model-corrupt", "no GGUF");
  return {
    name,
    architecture: "fake",
    parameters: 1,
    sizeBytes: 2,
    formats: { F32: 1 },
    runsOn: ["cpu"],
    reason: "it is a fake",
  };
}

export async function storedModels(): Promise<StoredModel[]> {
  return [{ url: "https://example.test/kept.gguf", sizeBytes: 1, sha256: "00" }];
}

export async function forgetModel(url: string): Promise<void> {
  fake.log.push(`forget ${url}`);
}

export default async function init(): Promise<void> {}
