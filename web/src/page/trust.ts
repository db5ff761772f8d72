// Before whatever starts a Worker: elements do so as soon as they are defined.
import { trustOnly } from "../trust.js";

trustOnly(new URL("./worker.js", import.meta.url), new URL("sw.js", document.baseURI));
