/** The module that wasm-bindgen writes from `crate/wasm`; the build puts it beside these sources' output. */
import type { WasmModule } from "./wasm.js";

export default function init(options: { module_or_path: URL }): Promise<unknown>;
export const Engine: WasmModule["Engine"];
export const inspect: WasmModule["inspect"];
export const storedModels: WasmModule["storedModels"];
export const forgetModel: WasmModule["forgetModel"];
export const listAdapters: WasmModule["listAdapters"];
export const renameAdapter: WasmModule["renameAdapter"];
export const deleteAdapter: WasmModule["deleteAdapter"];
export const exportAdapter: WasmModule["exportAdapter"];
export const adapterTexts: WasmModule["adapterTexts"];
export const forgetTexts: WasmModule["forgetTexts"];
export const listRuns: WasmModule["listRuns"];
export const discardRun: WasmModule["discardRun"];
export const unlock: WasmModule["unlock"];
export const lock: WasmModule["lock"];
export const seal: WasmModule["seal"];
export const turn: WasmModule["turn"];
export const rewrap: WasmModule["rewrap"];
export const unseal: WasmModule["unseal"];
export const storageUsage: WasmModule["storageUsage"];
export const forgetEverything: WasmModule["forgetEverything"];
