//! Imprint's core: a small language model that runs, scores and writes.
//!
//! It knows no browser, no clock and no file system. Modules stand in dependency order: each uses only those above it.

mod error;
pub mod quant;
pub mod text;
pub mod gguf;
pub mod tokenizer;
pub mod config;
pub mod needs;
pub mod adapter;
pub mod peft;
pub mod gguf_lora;
pub mod packed;
#[cfg(feature = "reference")]
pub mod linear;
#[cfg(feature = "reference")]
pub mod model;
pub mod processor;
pub mod weights;
pub mod sample;
#[cfg(feature = "gpu")]
pub mod kernels;
#[cfg(feature = "gpu")]
pub mod fused;
pub mod voice;
pub mod generate;
pub mod learn;
pub mod preview;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use error::{Error, ErrorKind, Result};
