// What learns is there by name and refuses.
export * from "./imprint_wasm.js";
export { default } from "./imprint_wasm.js";
