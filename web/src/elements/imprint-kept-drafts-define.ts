import { ImprintKeptDraftsElement } from "./imprint-kept-drafts.js";

customElements.define("imprint-kept-drafts", ImprintKeptDraftsElement);
