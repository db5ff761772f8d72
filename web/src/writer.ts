import { serveWith } from "./serve-with.js";
import { loadWasm } from "./writer-wasm.js";

serveWith(loadWasm);
