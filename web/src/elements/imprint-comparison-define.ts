import { ImprintComparisonElement } from "./imprint-comparison.js";

customElements.define("imprint-comparison", ImprintComparisonElement);
