import type {
  Inspection,
  OpenOptions,
  Score,
  Step,
  StoredModel,
  WriteOptions,
} from "../../web/src/engine.js";
import type {
  AdapterFiles,
  AdapterInfo,
  AdapterUse,
  Document,
  Learned,
  LearnPlan,
  LearnProgress,
  RunInfo,
  StorageUsage,
} from "../../web/src/voice.js";
import type { WasmEngine } from "../../web/src/wasm.js";

type Call = "open" | "begin" | "next" | "score" | "learn";

/** What the fake module does and what was done to it; tests set the first and read the second. */
export const fake = {
  log: [] as string[],
  /** Called instead of the next `next()`, `begin()`, `score()` or `open()`. */
  instead: {} as { [call in Call]?: () => Promise<never> },
  /** Whether steps settle in a microtask, as on the processor, or after a while, as on the GPU. */
  pauseMs: 0,
  busy: false,
  nexts: 0,
  openEngines: 0,
  /** How the last model was opened. */
  options: { device: "auto" } as OpenOptions,
  adapters: new Map<string, AdapterInfo>(),
  runs: new Map<string, RunInfo>(),
  /** Steps that learning takes, and the texts it was given. */
  steps: 5,
  texts: [] as string[],
};

/** Sets the fake back to its quiet self. */
export function resetFake(): void {
  fake.log = [];
  fake.instead = {};
  fake.pauseMs = 0;
  fake.busy = false;
  fake.nexts = 0;
  fake.openEngines = 0;
  fake.adapters.clear();
  fake.runs.clear();
  fake.steps = 5;
  fake.texts = [];
}

/** An error as the wasm module throws it. */
export function coded(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

/** Holds the law that no call begins before the one before it settled. */
async function alone<T>(call: Call, body: () => Promise<T>): Promise<T> {
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
      const step: Step = { text, tokens: this.#tokens, promptTokens: 1, prefilled: 1 };
      if (this.#prompt === "parrot" && text !== "")
        step.pieces = [{ text: text.slice(0, 1) }, { text: text.slice(1), copiedFrom: 0 }];
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

  score(text: string, { adapter }: { adapter?: AdapterUse }): Promise<Score> {
    return alone("score", async () => {
      fake.log.push(adapter === undefined ? `score ${text}` : `score ${text} with ${String(adapter)}`);
      return { tokens: text.length, nll: 1.5, bitsPerChar: 2.5 };
    });
  }

  plan: WasmEngine["plan"] = (texts, options) =>
    alone("learn", async () => {
      fake.log.push(`plan ${JSON.stringify(options)}`);
      const counts = { documents: texts.length, passages: 1, words: 2, characters: 3, tokens: 4 };
      const found = { learned: counts, heldOut: counts, dropped: [], problems: [] };
      return { counts: found, recipe: {} as LearnPlan["recipe"], steps: fake.steps, memoryBytes: 5 };
    });
  learn: WasmEngine["learn"] = (texts, { name = "Untitled" }, onProgress, signal, pause) =>
    alone("learn", async () => {
      fake.texts = texts.map(({ name, bytes }) => `${name}: ${new TextDecoder().decode(bytes)}`);
      const run = fakeRun(name);
      fake.runs.set(run.id, run);
      return learnOn(run, onProgress, signal, pause);
    });

  resume: WasmEngine["resume"] = (id, onProgress, signal, pause) =>
    alone("learn", async () => {
      const run = fake.runs.get(id);
      if (!run) throw coded("invalid-option", `no run ${id}`);
      return learnOn(run, onProgress, signal, pause);
    });

  async use(adapter: AdapterUse, { strength }: { strength?: number }): Promise<void> {
    const all = typeof adapter === "string" ? [{ id: adapter, weight: 1 }] : (adapter ?? []);
    for (const { id } of all) if (!fake.adapters.has(id)) throw coded("invalid-option", `no ${id}`);
    const said = typeof adapter === "string" ? adapter : JSON.stringify(adapter);
    fake.log.push(`use ${said} ${strength}`);
  }

  async importGguf(file: Blob, { name = "Untitled" }: Partial<AdapterInfo>): Promise<AdapterInfo> {
    const id = `imported ${await file.text()}`;
    fake.adapters.set(id, fakeAdapter(id, name));
    return fakeAdapter(id, name);
  }

  async exportGguf(id: string): Promise<Uint8Array<ArrayBuffer>> {
    if (!fake.adapters.has(id)) throw coded("invalid-option", `no ${id}`);
    return new TextEncoder().encode(`GGUF of ${id}`);
  }

  async importAdapter(
    config: string,
    weights: Uint8Array<ArrayBuffer>,
    told: Partial<AdapterInfo>,
    prints?: Uint8Array<ArrayBuffer>,
  ): Promise<AdapterInfo> {
    const id = `imported ${config} ${weights.join(",")}`;
    if (prints) fake.log.push(`prints ${prints.join(",")}`);
    const info = {
      ...fakeAdapter(id),
      prints: prints !== undefined,
      name: told.name ?? "Untitled",
      measures: told.measures ?? null,
    };
    fake.adapters.set(id, info);
    return info;
  }

  async selfTest(): ReturnType<WasmEngine["selfTest"]> {
    return { device: "cpu", tokens: 0, cuts: [] };
  }

  async learningTest(): ReturnType<WasmEngine["learningTest"]> {
    return { device: "cpu", losses: [], stepMs: [], gpuBytes: 0, wasmBytes: 0 };
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
  options,
  onProgress,
) =>
  alone("open", async () => {
    fake.options = options;
    const name = typeof model === "string" ? model : `blob of ${model.size}`;
    fake.log.push(`open ${name}`);
    for (const doneBytes of [0, 5, 10])
      onProgress({ phase: "download", doneBytes, totalBytes: 10, fromCache: false });
    fake.openEngines += 1;
    return new FakeEngine();
  });

/** Makes the steps that a run has left, one a turn of the event loop; each checkpoint counts. */
async function learnOn(
  run: RunInfo,
  onProgress: (progress: LearnProgress) => void,
  signal?: AbortSignal,
  pause?: AbortSignal,
): Promise<Learned> {
  for (; ; run.step += 1) {
    onProgress({
      phase: "learn",
      run: run.id,
      step: run.step,
      steps: run.steps,
      losses: [],
      measurements: [],
      tokensPerS: 1,
      secondsLeft: run.steps - run.step,
    });
    await new Promise((resolve) => setTimeout(resolve, fake.pauseMs));
    if (signal?.aborted) {
      fake.runs.delete(run.id);
      throw coded("cancelled", "cancelled by the caller");
    }
    if (pause?.aborted) return { state: "paused", run: { ...run } };
    if (run.step === run.steps) break;
  }
  const adapter = fakeAdapter(`adapter of ${run.id}`, run.name);
  fake.adapters.set(adapter.id, adapter);
  fake.runs.delete(run.id);
  return { state: "done", adapter };
}

function fakeRun(name: string): RunInfo {
  const id = `run ${fake.runs.size}`;
  const times = { createdMs: 0, updatedMs: 0 };
  const made = { step: 0, steps: fake.steps, losses: [], measurements: [] };
  return {
    id,
    name,
    ...times,
    ...made,
    base: "f",
    model: "fake",
    textHash: "",
    sizeBytes: 1,
    keepTexts: false,
  };
}

function fakeAdapter(id: string, name = "Untitled"): AdapterInfo {
  const times = { createdMs: 0, updatedMs: 0 };
  const told = { prints: true, textBytes: 0, recipe: null, measures: null };
  return { id, name, ...times, base: "f", model: "fake", sizeBytes: 3, ...told };
}

export async function listAdapters(): Promise<AdapterInfo[]> {
  return [...fake.adapters.values()];
}

export async function renameAdapter(id: string, name: string): Promise<void> {
  const adapter = fake.adapters.get(id);
  if (!adapter) throw coded("invalid-option", `no ${id}`);
  fake.adapters.set(id, { ...adapter, name });
}

export async function deleteAdapter(id: string): Promise<void> {
  fake.adapters.delete(id);
}

export async function exportAdapter(id: string): Promise<AdapterFiles & { info: AdapterInfo }> {
  const info = fake.adapters.get(id);
  if (!info) throw coded("invalid-option", `no ${id}`);
  const prints = info.prints ? { prints: new Uint8Array([4, 5]) } : {};
  return { config: "{}", weights: new Uint8Array([1, 2, 3]), ...prints, info };
}

export async function adapterTexts(id: string): Promise<Document[]> {
  throw coded("invalid-option", `no texts are kept beside ${id}`);
}

export async function forgetTexts(id: string): Promise<void> {
  fake.log.push(`forget the texts of ${id}`);
}

export async function listRuns(): Promise<RunInfo[]> {
  return [...fake.runs.values()];
}

export async function discardRun(id: string): Promise<void> {
  if (fake.busy) throw coded("busy", "another tab is learning");
  fake.runs.delete(id);
}

export async function storageUsage(): Promise<StorageUsage> {
  return {
    modelsBytes: 1,
    adaptersBytes: 3 * fake.adapters.size,
    runsBytes: fake.runs.size,
    persisted: false,
    locked: false,
  };
}

export async function forgetEverything(): Promise<void> {
  if (fake.busy) throw coded("busy", "another tab is learning");
  fake.adapters.clear();
  fake.runs.clear();
}

export function unlock(id: string): void {
  fake.log.push(`unlock ${id}`);
}

export function lock(): void {
  if (fake.busy) throw new Error("locked while a call ran");
  fake.log.push("lock");
}

export async function seal({ id }: { id: string }): Promise<void> {
  fake.log.push(`seal ${id}`);
}

export async function turn(): Promise<void> {
  fake.log.push("turn");
}

export async function rewrap({ id }: { id: string }): Promise<void> {
  fake.log.push(`rewrap ${id}`);
}

export async function unseal(id: string): Promise<void> {
  fake.log.push(`unseal ${id}`);
}

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
    licence: {},
    formats: { F32: 1 },
    runsOn: ["cpu"],
    reason: "it is a fake",
  };
}

export async function storedModels(): Promise<StoredModel[]> {
  return [{ url: "https://example.test/kept.gguf", sizeBytes: 1, sha256: "00" }];
}

export async function forgetModel(url: string, hash: boolean): Promise<void> {
  fake.log.push(`forget ${url}${hash ? " and its hash" : ""}`);
}

export default async function init(): Promise<void> {}
