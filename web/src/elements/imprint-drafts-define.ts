import { ImprintDraftsElement } from "./imprint-drafts.js";

customElements.define("imprint-drafts", ImprintDraftsElement);
