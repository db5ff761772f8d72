import { ImprintVoicesElement } from "./imprint-voices.js";

customElements.define("imprint-voices", ImprintVoicesElement);
