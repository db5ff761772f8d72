import { ImprintDraftElement } from "./imprint-draft.js";

customElements.define("imprint-draft", ImprintDraftElement);
