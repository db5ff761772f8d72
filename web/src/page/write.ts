import type { Suggesting } from "../desk/suggestion.js";
import type { ImprintDraftElement } from "../elements/imprint-draft.js";
import { ImprintDraftsElement } from "../elements/imprint-drafts.js";
import { words } from "../words/words.js";
import type { Content, Drafts } from "./drafts.js";
import { find } from "./find.js";
import { Shelf } from "./shelf.js";

const suggestingKey = "imprint-suggesting";

/** Furnishes the place for writing: drafts that are kept and listed, and when words are suggested. */
export function furnishWrite(draft: ImprintDraftElement, drafts: Drafts): Shelf {
  const shelf = new Shelf(drafts, draft);
  const list = find("imprint-drafts", ImprintDraftsElement) as ImprintDraftsElement<Content>;
  shelf.onNews = (news) => {
    // The page asks for the passphrase already, and what is written meanwhile is kept after that.
    if (news.type === "failed" && news.error.code === "locked") return;
    if (news.type === "failed") return draft.fail(news.error);
    if (news.type === "copied") list.say(words().drafts.copied);
    void list.refresh();
  };
  list.shelf = shelf;
  void shelf.start();
  chooseSuggesting(draft, find("#imprint-suggesting", HTMLSelectElement));
  // The keys work on the whole page, not on the sheet alone.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.defaultPrevented) draft.stop();
  });
  return shelf;
}

/** Suggests words when the person chose, on this visit or before. */
function chooseSuggesting(draft: ImprintDraftElement, choice: HTMLSelectElement): void {
  const set = (value: string): void => {
    choice.value = value;
    draft.suggesting = choice.value as Suggesting;
  };
  const kept = attempt(() => localStorage.getItem(suggestingKey));
  set(kept === "off" || kept === "pause" ? kept : "key");
  choice.addEventListener("change", () => {
    set(choice.value);
    attempt(() => localStorage.setItem(suggestingKey, choice.value));
  });
}

/** Storage can be switched off; the choice then lives as long as the page. */
function attempt<T>(storage: () => T): T | undefined {
  try {
    return storage();
  } catch {
    return undefined;
  }
}
