import { ImprintVaultElement } from "./imprint-vault.js";

customElements.define("imprint-vault", ImprintVaultElement);
