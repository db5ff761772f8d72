import type { Reply } from "./protocol.js";
import { watchRequests } from "./requests.js";
import { serve, type Scope } from "./serve.js";
import type { WasmModule } from "./wasm.js";

/** Makes this thread the Worker of an engine over the module that `load` gives. */
export function serveWith(load: () => Promise<WasmModule>): void {
  const scope = globalThis as unknown as Scope;
  serve(scope, load);
  watchRequests("worker", (requests) => {
    scope.postMessage({ id: null, type: "requests", requests } satisfies Reply);
  });
}
