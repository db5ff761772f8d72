import { ImprintStorageElement } from "./imprint-storage.js";

customElements.define("imprint-storage", ImprintStorageElement);
