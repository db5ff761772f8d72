import { ImprintWriterElement } from "./imprint-writer.js";

customElements.define("imprint-writer", ImprintWriterElement);
