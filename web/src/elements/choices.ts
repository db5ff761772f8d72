import type { Inspection, StoredModel } from "../engine.js";
import { listed, models, type Memory } from "../models.js";
import { licenceOf, type Licence } from "../terms.js";
import type { AdapterInfo } from "../voice.js";

/** A model that a person can choose. */
export type Choice = {
  /** Its absolute address, or the file that the person chose. */
  model: string | Blob;
  name: string;
  sizeBytes: number;
  /** The hash it must have, or has; unknown for what was never fetched. */
  sha256?: string | undefined;
  licence?: Licence | undefined;
  memory?: Memory | undefined;
  /** Whether this browser keeps it. */
  kept: boolean;
  /** Whether it can be had: it is kept, lies on the site, or has an address of the person's. */
  here: boolean;
  /** The names of the voices that belong to it. */
  voices: string[];
  /** Why no device here runs it. */
  reason?: string | undefined;
};

/** A model that lies on the page's own site, as `models/models.json` lists it. */
export type ServedModel = { file: string; sizeBytes: number; sha256: string };

/** Everything that is known of models. */
export type Known = {
  /** The page's own, from its markup. */
  offered: { url: string; sha256?: string | undefined; sizeBytes: number };
  served: readonly ServedModel[];
  stored: readonly StoredModel[];
  voices: readonly AdapterInfo[];
  /** What the person named by address or file, the latest last. */
  added: readonly Choice[];
  /** Where the site's models lie. */
  base: string;
};

/** The models to choose from: the page's own, the site's, the listed ones, those kept here and those that were named. */
export function choices({ offered, served, stored, voices, added, base }: Known): Choice[] {
  const found = new Map<string, Choice>();
  const put = (choice: Omit<Choice, "kept" | "voices" | "here">, here = true): void => {
    const key = typeof choice.model === "string" ? choice.model : `file ${choice.name}`;
    const kept = stored.find(({ url }) => url === choice.model);
    const sha256 = kept?.sha256 ?? choice.sha256;
    const theirs = voices.filter((voice) => voice.base === sha256).map(({ name }) => name);
    const before = found.get(key);
    found.set(key, {
      ...before,
      ...choice,
      sha256,
      sizeBytes: kept?.sizeBytes ?? choice.sizeBytes,
      kept: kept !== undefined,
      here: here || kept !== undefined,
      voices: theirs,
    });
  };
  const has = (sha256: string): boolean => [...found.values()].some((choice) => choice.sha256 === sha256);
  put({ model: offered.url, ...told(offered.url, offered.sha256), ...sized(offered) });
  for (const { file, ...one } of served) {
    const url = new URL(encodeURIComponent(file), base).href;
    put({ model: url, ...told(url, one.sha256), ...sized(one) });
  }
  for (const { url, ...one } of stored) {
    if (!found.has(url)) put({ model: url, ...told(url, one.sha256), ...sized(one) });
  }
  for (const model of models) {
    const url = new URL(model.file, base).href;
    if (!found.has(url) && !has(model.sha256))
      put({ model: url, ...told(url, model.sha256), ...sized(model) }, false);
  }
  for (const { kept, voices, here, ...choice } of added) put(choice);
  return [...found.values()];
}

/** What is known of a model that was looked at, before it is opened. */
export function looked(model: string | Blob, found: Inspection, sha256?: string): Choice {
  return {
    model,
    // What people call a model is its file; the name inside is often that of a training run.
    name: nameOf(model) || found.name,
    sizeBytes: found.sizeBytes,
    sha256,
    licence: licenceOf(found),
    memory: found.memory,
    kept: false,
    here: true,
    voices: [],
    reason: found.runsOn.length > 0 ? undefined : found.reason,
  };
}

/** The name of a model's file without its ending; empty for a blob without a name. */
export function nameOf(model: string | Blob): string {
  const file =
    typeof model === "string"
      ? decoded(new URL(model, document.baseURI).pathname.split("/").at(-1) ?? "")
      : model instanceof File
        ? model.name
        : "";
  return file.replace(/\.gguf$/i, "");
}

/** A part of an address as people read it. */
export function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** What a listed model's hash tells of it. */
function told(
  url: string,
  sha256: string | undefined,
): Pick<Choice, "name" | "sha256" | "licence" | "memory"> {
  const known = sha256 === undefined ? undefined : listed(sha256);
  return { name: known?.name ?? nameOf(url), sha256, licence: known?.licence, memory: known?.memory };
}

function sized({ sizeBytes }: { sizeBytes: number }): { sizeBytes: number } {
  return { sizeBytes };
}

/** The models that the page's site says it has; none where it says nothing. */
export async function servedModels(base: string): Promise<ServedModel[]> {
  try {
    const answer = await fetch(new URL("models.json", base));
    const told: unknown = answer.ok ? await answer.json() : [];
    return Array.isArray(told) ? told.filter(isServed) : [];
  } catch {
    // Without a network what is kept is offered.
    return [];
  }
}

function isServed(value: unknown): value is ServedModel {
  const { file, sizeBytes, sha256 } = (value ?? {}) as Partial<Record<keyof ServedModel, unknown>>;
  return typeof file === "string" && typeof sizeBytes === "number" && typeof sha256 === "string";
}
