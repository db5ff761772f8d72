//! The wasm façade.
