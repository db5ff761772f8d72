import type { AdapterInfo, AdapterUse } from "../voice.js";
import { words } from "../words/words.js";
import { count } from "./format.js";
import { part } from "./part.js";

/** A second voice that speaks together with the one in use, and its share of what is heard. */
export type Beside = { voice: AdapterInfo; share: number };

/** What `adapters.use` is told: a voice alone, or both by their shares. */
export function weighed({ id }: AdapterInfo, beside: Beside | undefined): AdapterUse {
  if (!beside) return id;
  return [
    { id, weight: 1 - beside.share },
    { id: beside.voice.id, weight: beside.share },
  ];
}

/** Both as one voice, for whatever names or measures what speaks. */
export function together(voice: AdapterInfo, beside: Beside | undefined): AdapterInfo {
  if (!beside) return voice;
  const { voice: other, share } = beside;
  return {
    ...voice,
    id: `${voice.id} ${other.id} ${share}`,
    name: words().voices.both(voice.name, other.name),
    // What can be told of either is told.
    prints: voice.prints || other.prints,
    textBytes: 0,
    recipe: null,
    measures: null,
  };
}

/**
 * Lets a second voice be chosen in the row of the one in use, and how much of each is heard; nothing where there is no other of
 * the same model. `chosen` is told of another voice, `moved` of another balance.
 */
export function offerMix(
  row: HTMLElement,
  voice: AdapterInfo,
  others: readonly AdapterInfo[],
  beside: Beside | undefined,
  { chosen, moved }: Record<"chosen" | "moved", (beside: Beside | undefined) => void>,
): void {
  const said = words().voices;
  part(row, "mix", HTMLElement).hidden = others.length === 0;
  const choice = part(row, "beside", HTMLSelectElement);
  choice.add(new Option(said.nobody, ""));
  for (const { id, name } of others) choice.add(new Option(name, id));
  choice.value = beside?.voice.id ?? "";
  choice.addEventListener("change", () => {
    const other = others.find(({ id }) => id === choice.value);
    chosen(other && { voice: other, share: beside ? share.valueAsNumber / 100 : 0.5 });
  });
  part(row, "balance", HTMLElement).hidden = beside === undefined;
  const share = part(row, "share", HTMLInputElement);
  if (!beside) return;
  share.valueAsNumber = Math.round(beside.share * 100);
  const tell = (): void => {
    const second = share.valueAsNumber;
    const shares = said.shares(voice.name, count(100 - second), beside.voice.name, count(second));
    part(row, "shares", HTMLElement).textContent = shares;
  };
  tell();
  share.addEventListener("input", tell);
  share.addEventListener("change", () => moved({ ...beside, share: share.valueAsNumber / 100 }));
  const untold = [voice, beside.voice].find(({ prints }) => !prints);
  const unknown = part(row, "unknown", HTMLElement);
  unknown.hidden = untold === undefined;
  unknown.textContent = untold ? said.untold(untold.name) : "";
}
