import type { Inspection } from "./engine.js";
import type { ListedModel } from "./models.js";

/** Under what a model may be used. */
export type Licence = ListedModel["licence"];

const key = "imprint-terms";

/** Licences that ask no more than to keep their text and the names of who wrote it. */
const plain = new Set(
  "0bsd afl-3.0 apache-2.0 bsd bsd-2-clause bsd-3-clause cc0-1.0 cc-by-4.0 cc-by-3.0 isc mit unlicense zlib wtfpl odc-by cdla-permissive-1.0 cdla-permissive-2.0".split(
    " ",
  ),
);
/** Where terms can be read that files name by a word alone. */
const known: Readonly<Record<string, { name: string; url: string }>> = {
  gemma: { name: "Gemma Terms of Use", url: "https://ai.google.dev/gemma/terms" },
  "apache-2.0": { name: "Apache-2.0", url: "https://www.apache.org/licenses/LICENSE-2.0" },
  mit: { name: "MIT", url: "https://opensource.org/license/mit" },
};

/**
 * What a model's header says of its licence; undefined where it says nothing.
 *
 * A licence that is not known to be plain counts as terms.
 */
export function licenceOf({ licence }: Inspection): Licence | undefined {
  const { id, name, url } = licence;
  if (!id && !name) return undefined;
  const word = (id ?? "").toLowerCase();
  const found = known[word];
  return {
    name: name ?? found?.name ?? id ?? "",
    // A file is a stranger's: nothing but an address on the web becomes a link.
    url: (url && /^https:\/\//.test(url) && URL.canParse(url) ? url : found?.url) ?? "",
    terms: !plain.has(word),
  };
}

/** Whether a person has accepted a model's terms here; `model` is its id, address or file name. */
export function isAccepted(model: string, licence: Licence | undefined): boolean {
  return !licence?.terms || read().includes(entry(model, licence));
}

/** Keeps that a person accepted a model's terms. */
export function accept(model: string, licence: Licence): void {
  try {
    localStorage.setItem(key, JSON.stringify([...new Set([...read(), entry(model, licence)])]));
  } catch {
    // Without storage they are asked again on the next visit.
  }
}

/** Terms that change are other terms. */
function entry(model: string, { name, url }: Licence): string {
  return [model, name, url].join(" ");
}

function read(): string[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(key) ?? "[]");
    return Array.isArray(kept) ? kept.filter((one) => typeof one === "string") : [];
  } catch {
    return [];
  }
}
