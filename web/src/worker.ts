import type { Reply } from "./protocol.js";
import { watchRequests } from "./requests.js";
import { serve, type Scope } from "./serve.js";
import { loadWasm } from "./wasm.js";

const scope = globalThis as unknown as Scope;
serve(scope, loadWasm);
watchRequests("worker", (requests) => {
  scope.postMessage({ id: null, type: "requests", requests } satisfies Reply);
});
