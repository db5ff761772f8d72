import { ImprintRequestsElement } from "./imprint-requests.js";

customElements.define("imprint-requests", ImprintRequestsElement);
