import { ImprintUnlockElement } from "./imprint-unlock.js";

customElements.define("imprint-unlock", ImprintUnlockElement);
