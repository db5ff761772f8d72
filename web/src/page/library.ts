import { ImprintKeptDraftsElement } from "../elements/imprint-kept-drafts.js";
import { ImprintStorageElement } from "../elements/imprint-storage.js";
import type { ImprintVoicesElement } from "../elements/imprint-voices.js";
import { vault } from "../vault.js";
import { Library } from "../library.js";
import type { Content, Drafts } from "./drafts.js";
import { find } from "./find.js";
import { forgetPage } from "./forget.js";
import type { Places } from "./places.js";
import type { Shelf } from "./shelf.js";

/** What the room of everything that is kept shows, and where its drafts are opened. */
type Furniture = { places: Places; voices: ImprintVoicesElement; shelf: Shelf; drafts: Drafts };

/** Furnishes the place for what is kept: nothing is fetched for it before somebody enters. */
export function furnishLibrary({ places, voices, shelf, drafts }: Furniture): void {
  const storage = find("imprint-storage", ImprintStorageElement);
  const list = find("imprint-kept-drafts", ImprintKeptDraftsElement) as ImprintKeptDraftsElement<Content>;
  storage.draftsBytes = () => drafts.size();
  list.shelf = {
    get current() {
      return shelf.current;
    },
    list: () => shelf.list(),
    delete: async (id) => {
      const content = await shelf.delete(id);
      void storage.refresh();
      return content;
    },
    open: async (id) => {
      await shelf.open(id);
      places.go("write");
    },
    create: async () => {
      await shelf.create();
      places.go("write");
    },
    restore: async (content) => {
      await shelf.restore(content);
      void storage.refresh();
    },
  };
  const furnish = (library: Library): void => {
    voices.library = library;
    storage.keeping = {
      models: () => library.models(),
      voices: () => library.adapters.list(),
      forgetModel: (url) => library.forgetModel(url),
      storageUsage: () => library.storageUsage(),
      // The model that is open takes its voice off.
      forgetEverything: () => (voices.imprint ?? library).forgetEverything(),
    };
  };
  const enter = (): void => {
    if (places.current !== "library") return;
    if (!voices.library) furnish(Library.open());
    void voices.refresh();
    void list.refresh();
  };
  addEventListener("hashchange", enter);
  voices.addEventListener("imprint-kept", () => void storage.refresh());
  document.addEventListener("imprint-forget", (event) => {
    event.waitUntil(forgetPage(shelf).then(() => Promise.all([voices.refresh(), list.refresh()])));
  });
  vault.addEventListener("change", () => void list.refresh());
  enter();
}
