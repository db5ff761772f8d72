import type { Own } from "../engines.js";

/** The module that only writes: what a widget's reader has to fetch is to be small. */
export const writing: Own = {
  script: "./writer.js",
  // Bundlers look for this very expression.
  start: () => new Worker(new URL("./writer.js", import.meta.url), { type: "module" }),
  load: async () => (await import("../writer-wasm.js")).loadWasm(),
};
