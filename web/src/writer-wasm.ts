import init, * as wasm from "./imprint_writer.js";
import { loader } from "./loader.js";

/** As `loadWasm` of the whole module, the one that only writes. */
export const loadWasm = loader(async () => {
  await init({ module_or_path: new URL("./imprint_writer_bg.wasm", import.meta.url) });
  return wasm;
});
