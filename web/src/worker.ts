import { serveWith } from "./serve-with.js";
import { loadWasm } from "./wasm.js";

serveWith(loadWasm);
