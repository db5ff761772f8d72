import { ImprintError } from "./errors.js";
import type { WasmModule } from "./wasm.js";

/** Starts a wasm module by `start` when it is first asked for, and again only after that failed. */
export function loader(start: () => Promise<WasmModule>): () => Promise<WasmModule> {
  let loading: Promise<WasmModule> | undefined;
  return () =>
    (loading ??= start().catch((cause: unknown) => {
      loading = undefined;
      if (cause instanceof WebAssembly.CompileError || cause instanceof WebAssembly.LinkError) throw cause;
      const message = `the program that runs the model did not arrive: ${String(cause)}`;
      throw new ImprintError("model-unreachable", message, { cause });
    }));
}
