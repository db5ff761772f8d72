import { ImprintSamplingElement } from "./imprint-sampling.js";

customElements.define("imprint-sampling", ImprintSamplingElement);
