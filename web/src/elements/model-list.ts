import { unfit, type DeviceLimits, type Unfit } from "../limits.js";
import type { DeviceChoice } from "../engine.js";
import { words } from "../words/words.js";
import type { Choice } from "./choices.js";
import { megabytes, memory } from "./format.js";
import { part } from "./part.js";
import { redraw } from "./rows.js";
import { twice } from "./twice.js";

/** What a person does in the list. */
export type ListActions = { choose(choice: Choice): void; forget(choice: Choice): void };

/** Draws the models to choose from into `root`, from the template beside it. */
export function drawList(
  host: HTMLElement,
  { all, chosen, open }: { all: readonly Choice[]; chosen: Choice; open: string | undefined },
  { choose, forget }: ListActions,
): void {
  const template = part(host, "model-row", HTMLTemplateElement);
  redraw(part(host, "models", HTMLElement), all, {
    id: ({ model, name }) => (typeof model === "string" ? model : `file ${name}`),
    says: (choice) => [choice, choice.model === chosen.model, open],
    make: (choice) => {
      const row = template.content.firstElementChild?.cloneNode(true) as HTMLElement;
      const radio = part(row, "model-radio", HTMLInputElement);
      radio.checked = choice.model === chosen.model;
      radio.addEventListener("change", () => choose(choice));
      part(row, "model-name", HTMLElement).textContent = choice.name;
      part(row, "model-facts", HTMLElement).textContent = factsOf(
        choice,
        choice.sha256 === open && choice.kept,
      );
      const remove = part(row, "model-forget", HTMLButtonElement);
      remove.hidden = !choice.kept;
      remove.title = words().storage.forgetModelNamed(choice.name);
      twice(
        remove,
        () => words().storage.forgetModelSure,
        () => forget(choice),
      );
      return row;
    },
  });
}

/** Size, licence, whether it is here, and whose voices belong to it, in a line. */
function factsOf(choice: Choice, open: boolean): string {
  const said = words().model;
  const place = open ? said.isOpen : choice.kept ? said.isKept : choice.here ? "" : said.notHere;
  const voices = choice.voices.length > 0 ? said.voices(choice.voices.join(", ")) : "";
  const size = choice.sizeBytes > 0 ? megabytes(choice.sizeBytes) : "";
  return [size, choice.licence?.name ?? "", memoryOf(choice), place, voices].filter(Boolean).join(" · ");
}

/** Licence and memory of a model, as far as they are known. */
export function needsOf(choice: Choice): string {
  return [choice.name, choice.licence?.name ?? "", memoryOf(choice)].filter(Boolean).join(" · ");
}

function memoryOf({ memory: needs }: Choice): string {
  return needs ? words().model.needs(memory(needs.gpuBytes), memory(needs.cpuBytes)) : "";
}

/** Why a model cannot be used here, as a sentence; empty where it can, as far as is known. */
export function obstacle(choice: Choice, limits: DeviceLimits, device: DeviceChoice): string {
  const said = words().model;
  if (choice.reason) return said.runsNowhere(choice.reason);
  const size = choice.model instanceof Blob ? { ...choice, kept: true } : choice;
  const found = unfit(size, limits, device);
  if (found) return unfitSentence(found);
  return choice.here ? "" : said.whence(choice.name);
}

function unfitSentence({ kind, needBytes, haveBytes }: Unfit): string {
  const said = words().model;
  if (kind === "gpu" && haveBytes === 0) return said.noGpu;
  const amount = kind === "storage" ? megabytes : memory;
  return said.unfit[kind](amount(needBytes), amount(haveBytes));
}
