import { ImprintDraftsElement } from "./imprint-drafts.js";
import { part } from "./part.js";

/** The drafts once more, where everything that is kept is listed; says so where there are none. */
export class ImprintKeptDraftsElement<C = unknown> extends ImprintDraftsElement<C> {
  override async refresh(): Promise<void> {
    await super.refresh();
    part(this, "none", HTMLElement).hidden = part(this, "list", HTMLElement).childElementCount > 0;
  }
}
