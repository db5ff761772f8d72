import { ImprintModelElement } from "./imprint-model.js";

customElements.define("imprint-model", ImprintModelElement);
