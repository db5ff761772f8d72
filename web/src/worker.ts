import { serve, type Scope } from "./serve.js";
import { loadWasm } from "./wasm.js";

serve(globalThis as unknown as Scope, loadWasm);
