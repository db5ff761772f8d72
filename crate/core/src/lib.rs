//! Imprint's core: a small language model that runs, scores and writes.
//!
//! It knows no browser, no clock and no file system. Modules stand in dependency order: each uses only those above it.

pub mod config;
mod error;
#[cfg(feature = "gpu")]
pub mod fused;
pub mod generate;
pub mod gguf;
#[cfg(feature = "gpu")]
pub mod kernels;
pub mod linear;
pub mod model;
pub mod quant;
pub mod sample;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tokenizer;
pub mod weights;

pub use error::{Error, ErrorKind, Result};
