//! Imprint in a browser: what JavaScript sees of the core.
//!
//! Only bytes, strings, numbers and small objects cross this wall. It is made for a dedicated Worker and works on a page
//! too. Everything that fails throws an `Error` with a stable `code`.

// What learns is compiled either way; without the feature nothing of it is exported, and the linker leaves it out.
#![cfg_attr(not(feature = "learn"), allow(dead_code))]

mod range;

#[cfg(target_arch = "wasm32")]
mod ahead;
#[cfg(target_arch = "wasm32")]
mod device;
#[cfg(target_arch = "wasm32")]
mod engine;
#[cfg(target_arch = "wasm32")]
mod facade;
#[cfg(target_arch = "wasm32")]
mod fetch;
#[cfg(target_arch = "wasm32")]
mod inspect;
#[cfg(target_arch = "wasm32")]
mod kernels;
#[cfg(target_arch = "wasm32")]
mod learn;
#[cfg(target_arch = "wasm32")]
mod selftest;
#[cfg(target_arch = "wasm32")]
mod source;
#[cfg(target_arch = "wasm32")]
mod store;
#[cfg(target_arch = "wasm32")]
mod subgroups;
#[cfg(target_arch = "wasm32")]
mod voice;
#[cfg(target_arch = "wasm32")]
mod web;

#[cfg(target_arch = "wasm32")]
pub use facade::{
    Engine, delete_adapter, discard_run, export_adapter, forget_everything, forget_model, inspect_model, list_adapters,
    list_runs, lock, rename_adapter, rewrap, seal_all, storage_usage, stored_models, turn_all, unlock, unseal_all,
};
pub use range::ContentRange;
