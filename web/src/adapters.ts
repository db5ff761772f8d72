import { strFromU8, strToU8, unzipSync, zipSync } from "fflate";
import type { Engine } from "./engine.js";
import { ImprintError } from "./errors.js";
import { keyring } from "./keyring.js";
import { listed } from "./models.js";
import type { AdapterFiles, AdapterInfo, AdapterUse, Voice } from "./voice.js";

const configName = "adapter_config.json";
const weightsName = "adapter_model.safetensors";
/** What PEFT has no place for: name, recipe, measures. Other programs pass it by. */
const toldName = "imprint.json";
/** Fingerprints of the text it was learned from, by which copies are told. */
export const printsName = "imprint_prints.bin";
/** An archive that unpacks to more than this is refused unread. */
const mostBytes = 500_000_000;

/** What every GGUF file begins with. */
const ggufMagic = "GGUF";

/** Key of the configuration in the metadata of weights that Imprint wrote: they are enough by themselves. */
const configKey = "imprint.adapter_config";

/** How `export` writes: PEFT's files in a zip archive, or llama.cpp's one file. */
export type AdapterFormat = "peft" | "gguf";

/**
 * What `adapters.import` takes: an archive or a GGUF file as `export` makes them, the weights in the archive, or PEFT's two
 * files apart.
 */
export type AdapterSource = Blob | { config: Blob; weights: Blob; prints?: Blob };

/** The adapters that this browser keeps. */
export class Adapters {
  readonly #engine: Engine;
  #current: AdapterUse = null;
  #locks = keyring.locks;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** What is written with, or null; locking the vault takes it off. */
  get current(): AdapterUse {
    return this.#locks === keyring.locks ? this.#current : null;
  }

  /** Lists them, the newest first. */
  list(): Promise<AdapterInfo[]> {
    return this.#engine.run("listAdapters", null);
  }

  /**
   * Writes with an adapter from now on, with several at once, or with none.
   *
   * Strength, mode and state are of all that speak together. Rejects with `adapter-wrong-base` for another model's,
   * `invalid-option` for weights that no mix has; what was in use then still is.
   */
  async use(adapter: AdapterUse, voice: Voice = {}): Promise<void> {
    await this.#engine.run("use", { adapter, options: voice });
    this.#current = adapter;
    this.#locks = keyring.locks;
  }

  async rename(id: string, name: string): Promise<void> {
    await this.#engine.run("renameAdapter", { id, name });
  }

  /** Removes an adapter; one in use is no longer used, nor what it was mixed with. */
  async delete(id: string): Promise<void> {
    await this.#engine.run("deleteAdapter", { id });
    const { current } = this;
    const inUse = typeof current === "string" ? current === id : current?.some((one) => one.id === id);
    if (inUse) await this.use(null);
  }

  /** Gives the texts that stayed beside an adapter learned with `keepTexts`; `invalid-option` where there are none. */
  async texts(id: string): Promise<File[]> {
    const documents = await this.#engine.run("adapterTexts", { id });
    return documents.map(({ name, bytes }) => new File([bytes], name || "text.txt"));
  }

  /** Removes those texts and leaves the adapter. */
  async forgetTexts(id: string): Promise<void> {
    await this.#engine.run("forgetTexts", { id });
  }

  /**
   * Packs an adapter in PEFT's layout, with its name, measures and prints beside, into a zip archive.
   *
   * As `gguf` it becomes llama.cpp's one file with name and prints inside, which needs the open model that it belongs to:
   * rejects with `adapter-wrong-base` for another.
   */
  async export(id: string, { format = "peft" }: { format?: AdapterFormat } = {}): Promise<Blob> {
    if (format === "gguf") {
      return new Blob([await this.#engine.run("exportGguf", { id })], { type: "application/octet-stream" });
    }
    const { config, weights, prints, info } = await this.#engine.run("exportAdapter", { id });
    const files = {
      [configName]: strToU8(config),
      [weightsName]: weights,
      [toldName]: strToU8(JSON.stringify(info, null, 2)),
      ...(prints ? { [printsName]: prints } : {}),
    };
    // Weights do not shrink.
    return new Blob([zipSync(files, { level: 0 })], { type: "application/zip" });
  }

  /**
   * Takes an adapter in, from an exported archive, one of a PEFT folder, the `.safetensors` of an export by itself, a
   * folder's two files, or a GGUF file of llama.cpp's.
   *
   * Rejects with `adapter-corrupt`, `adapter-unsupported` or `adapter-wrong-base`, and nothing is kept then.
   */
  async import(source: AdapterSource, { name }: { name?: string } = {}): Promise<AdapterInfo> {
    if (source instanceof Blob && (await source.slice(0, ggufMagic.length).text()) === ggufMagic) {
      checkSize(source.size);
      // Such a file names no voice; its own name is better than none.
      const called = name ?? (source instanceof File ? source.name.replace(/\.gguf$/i, "") : undefined);
      return this.#engine.run("importGguf", {
        file: source,
        told: called === undefined ? {} : { name: called },
      });
    }
    const { files, told } = source instanceof Blob ? await whole(source) : await apart(source);
    const named = name === undefined ? told : { ...told, name };
    try {
      return await this.#engine.run("importAdapter", { files, told: named });
    } catch (thrown) {
      throw naming(ImprintError.from(thrown), told);
    }
  }
}

type Taken = { files: AdapterFiles; told: Partial<AdapterInfo> };

/** An archive, or weights alone: those begin with the length of their JSON header. */
async function whole(file: Blob): Promise<Taken> {
  const head = new DataView(await file.slice(0, 9).arrayBuffer());
  const isWeights = head.byteLength === 9 && head.getUint8(8) === 0x7b;
  if (!isWeights) return unpack(file);
  const length = Number(head.getBigUint64(0, true));
  const header = json(length < file.size ? await file.slice(8, 8 + length).text() : "");
  const { __metadata__: metadata } = (header ?? {}) as { __metadata__?: Record<string, unknown> | null };
  const config = metadata?.[configKey];
  if (typeof config !== "string") {
    const message = `the weights hold no \`${configKey}\`: bring the ${configName} that belongs to them too`;
    throw new ImprintError("adapter-corrupt", message);
  }
  return { files: { config, weights: new Uint8Array(await file.arrayBuffer()) }, told: {} };
}

async function unpack(archive: Blob): Promise<Taken> {
  checkSize(archive.size);
  const wanted = [configName, weightsName, toldName, printsName];
  const base = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
  let unpackedBytes = 0;
  let found: Record<string, Uint8Array>;
  try {
    found = unzipSync(new Uint8Array(await archive.arrayBuffer()), {
      filter: ({ name, originalSize }) => {
        if (!wanted.includes(base(name))) return false;
        unpackedBytes += originalSize;
        checkSize(unpackedBytes);
        return true;
      },
    });
  } catch (cause) {
    if (cause instanceof ImprintError) throw cause;
    throw new ImprintError("adapter-corrupt", `this is no archive of an adapter: ${String(cause)}`, {
      cause,
    });
  }
  const entries = new Map(Object.entries(found).map(([path, bytes]) => [base(path), bytes]));
  const config = entries.get(configName);
  const weights = entries.get(weightsName);
  if (!config || !weights) {
    throw new ImprintError("adapter-corrupt", `the archive lacks ${config ? weightsName : configName}`);
  }
  const told = entries.get(toldName);
  const prints = entries.get(printsName);
  return {
    files: {
      config: strFromU8(config),
      weights: new Uint8Array(weights),
      ...(prints ? { prints: new Uint8Array(prints) } : {}),
    },
    told: told ? parse(strFromU8(told)) : {},
  };
}

async function apart({ config, weights, prints }: Exclude<AdapterSource, Blob>): Promise<Taken> {
  checkSize(config.size + weights.size + (prints?.size ?? 0));
  const bytes = async (blob: Blob): Promise<Uint8Array<ArrayBuffer>> =>
    new Uint8Array(await blob.arrayBuffer());
  const files: AdapterFiles = { config: await config.text(), weights: await bytes(weights) };
  if (prints) files.prints = await bytes(prints);
  return { files, told: {} };
}

/** Refuses what no adapter is as large as, before it is read. */
function checkSize(bytes: number): void {
  if (bytes <= mostBytes) return;
  const size = `${Math.ceil(bytes / 1e6)} MB unpacked, an adapter has ${mostBytes / 1e6} MB at most`;
  throw new ImprintError("adapter-corrupt", `this would be ${size}`);
}

/** What is told beside the weights, as far as anybody asks for it; an adapter is as good without. */
function parse(text: string): Partial<AdapterInfo> {
  const told = json(text) as Partial<Record<keyof AdapterInfo, unknown>> | null;
  const { name, base, model, recipe = null, measures = null } = told ?? {};
  return {
    ...(typeof name === "string" ? { name } : {}),
    ...(typeof base === "string" ? { base } : {}),
    ...(typeof model === "string" ? { model } : {}),
    ...(isFlat(recipe) ? { recipe: recipe as AdapterInfo["recipe"] } : {}),
    ...(isFlat(measures) ? { measures: measures as AdapterInfo["measures"] } : {}),
  };
}

/** Says which model a voice belongs to, where what is told beside it names one. */
function naming(error: ImprintError, { base, model }: Partial<AdapterInfo>): ImprintError {
  const name = (base === undefined ? undefined : listed(base)?.name) ?? model?.slice(0, 80);
  if (error.code !== "adapter-wrong-base" || !name) return error;
  return new ImprintError(error.code, `it belongs to the model ${name}: ${error.message}`, { cause: error });
}

/** What a text says as JSON; null where it is none. */
function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Whether a value goes no deeper than what Imprint itself tells: no message could carry much more. */
function isFlat(value: unknown, deepest = 8): boolean {
  if (typeof value !== "object" || value === null) return true;
  return deepest > 0 && Object.values(value).every((inner) => isFlat(inner, deepest - 1));
}
