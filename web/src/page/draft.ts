import type { ImprintDraftElement } from "../elements/imprint-draft.js";

const key = "imprint-draft";
const PAUSE_MS = 400;

/** Keeps the text on the sheet in this browser and brings it back; an empty sheet leaves nothing behind. */
export function keepDraft(writer: ImprintDraftElement): void {
  const kept = attempt(() => localStorage.getItem(key));
  if (kept) writer.text = kept;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const save = (): void => {
    clearTimeout(timer);
    const { text } = writer;
    attempt(() => (text === "" ? localStorage.removeItem(key) : localStorage.setItem(key, text)));
  };
  writer.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(save, PAUSE_MS);
  });
  addEventListener("pagehide", save);
}

/** Storage can be switched off or full; the text then lives as long as the page. */
function attempt<T>(storage: () => T): T | undefined {
  try {
    return storage();
  } catch {
    return undefined;
  }
}
