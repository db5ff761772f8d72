import { ImprintError } from "./errors.js";
import table from "./models.json" with { type: "json" };

/** Memory that a model takes while it writes, with a context of 2,048 tokens. */
export type Memory = {
  /** All of it on the GPU. */
  gpuBytes: number;
  /** Its largest piece there, which the GPU must take at once. */
  gpuPieceBytes: number;
  /** All of it on the processor. */
  cpuBytes: number;
};

/** A model that Imprint knows by name; the command line knows the same ones. */
export type ListedModel = {
  /** What it is called in `model`. */
  id: string;
  /** What people call it. */
  name: string;
  /** Its file, which a site serves under `models/`. */
  file: string;
  /** The SHA-256 of the file in hex. */
  sha256: string;
  sizeBytes: number;
  /** `terms` says that it asks more of a person than to keep its text: let them accept it before use. */
  licence: { name: string; url: string; terms: boolean };
  memory: Memory;
};

/** The models that have a name; the first is the default. */
export const models: readonly ListedModel[] = table.map(
  ({ id, name, file, sha256, sizeBytes, licence, memory }) => ({
    id,
    name,
    file,
    sha256,
    sizeBytes,
    licence,
    memory,
  }),
);

/** The listed model of that id, or of that file by its SHA-256. */
export function listed(idOrSha256: string): ListedModel | undefined {
  return models.find(({ id, sha256 }) => id === idOrSha256 || sha256 === idOrSha256);
}

/** Where a model lies that is named by an address or an id, and the hash that an id stands for. */
export function located(model: string | URL): { url: string; sha256?: string } {
  const found = typeof model === "string" ? listed(model) : undefined;
  if (!found) return { url: absolute(model) };
  return { url: absolute(`models/${found.file}`), sha256: found.sha256 };
}

/** An address as it stands in full; `invalid-option` for what is none. */
export function absolute(url: string | URL): string {
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  try {
    return new URL(url, base).href;
  } catch (cause) {
    throw new ImprintError("invalid-option", `\`${String(url)}\` is not the address of a model`, { cause });
  }
}
