// What is fetched on the first press, before anything else: which models have a name, and which have terms.
import { listed, located } from "../models.js";
import { accept, isAccepted, type Licence } from "../terms.js";

/** Where a model lies, and what is known of it by its name. */
export type Place = {
  url: string;
  sha256?: string;
  sizeBytes?: number;
  /** Terms that the reader has not accepted in this browser. */
  terms?: { name: string; licence: Licence };
};

/** Where the model is that `model` names, by an address or the id of a listed one. */
export function placeOf(model: string): Place {
  const place = located(model);
  const found = place.sha256 === undefined ? undefined : listed(place.sha256);
  if (!found) return place;
  const { name, licence, sizeBytes } = found;
  const asks = !isAccepted(place.url, licence);
  return { ...place, sizeBytes, ...(asks ? { terms: { name, licence } } : {}) };
}

/** Keeps that the reader accepted them. */
export function agree({ url, terms }: Place): void {
  if (terms) accept(url, terms.licence);
}
