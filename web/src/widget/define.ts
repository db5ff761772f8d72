import { ImprintWriterElement } from "./imprint-writer.js";

export { ImprintWriterElement };

// On a server there is nothing to define; a second copy of this script on a page leaves the first in place.
if (globalThis.customElements && !customElements.get("imprint-writer")) {
  customElements.define("imprint-writer", ImprintWriterElement);
}

declare global {
  interface HTMLElementTagNameMap {
    "imprint-writer": ImprintWriterElement;
  }
}
