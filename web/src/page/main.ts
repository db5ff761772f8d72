import "../elements/imprint-model-define.js";
import "../elements/imprint-sampling-define.js";
import "../elements/imprint-writer-define.js";
import type { ErrorCode } from "../errors.js";
import { ImprintModelElement } from "../elements/imprint-model.js";
import { ImprintSamplingElement } from "../elements/imprint-sampling.js";
import { ImprintWriterElement } from "../elements/imprint-writer.js";
import { keepDraft } from "./draft.js";
import { Keeper } from "./keeper.js";

/** After these the model is of no use any more and must be loaded anew. */
const fatal: readonly ErrorCode[] = ["device-lost", "internal", "out-of-memory"];

function start(): void {
  const model = find("imprint-model", ImprintModelElement);
  const writer = find("imprint-writer", ImprintWriterElement);
  const sampling = find("imprint-sampling", ImprintSamplingElement);
  writer.options = () => sampling.options();
  const keeper = new Keeper(navigator.storage);
  model.addEventListener("imprint-model", ({ imprint }) => {
    writer.imprint = imprint;
    void keeper.keep(imprint);
  });
  writer.addEventListener("imprint-error", (event) => {
    if (!fatal.includes(event.error.code)) return;
    event.preventDefault();
    model.fail(event.error);
  });
  keepDraft(writer);
  // The keys work on the whole page, not on the sheet alone.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") writer.stop();
  });
}

function find<E extends HTMLElement>(selector: string, kind: new () => E): E {
  const found = document.querySelector(selector);
  if (!(found instanceof kind)) throw new TypeError(`the page lacks <${selector}>`);
  return found;
}

/** Lets the page open without a network from its second visit on; it works without, so a failure is no error. */
async function keepShell(): Promise<void> {
  try {
    await navigator.serviceWorker?.register(new URL("sw.js", document.baseURI));
  } catch (thrown) {
    console.warn("the page cannot be kept for use without a network", thrown);
  }
}

start();
void keepShell();
