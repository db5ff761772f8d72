import { ImprintRhythmElement } from "./imprint-rhythm.js";

customElements.define("imprint-rhythm", ImprintRhythmElement);
