import type { ImprintError } from "../errors.js";
import { say } from "../words/words.js";
import { part } from "./part.js";

/**
 * Shows what went wrong in an element's parts `error`, `advice` and `detail`, in the language that is spoken then and later;
 * without an error, shows nothing. The detail is the engine's own, in English.
 */
export function showError(root: HTMLElement, error?: ImprintError, detail = error?.message ?? ""): void {
  const shown = part(root, "error", HTMLElement);
  shown.hidden = error === undefined;
  say(part(root, "advice", HTMLElement), error && `errors.${error.code}`);
  part(root, "detail", HTMLElement).textContent = detail;
  if (error) shown.dataset["code"] = error.code;
  else delete shown.dataset["code"];
}
