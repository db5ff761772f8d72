//! Imprint's core: a small language model that runs, scores and writes.
//!
//! It knows no browser, no clock and no file system. Modules stand in dependency order: each uses only those above it.

mod error;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod quant;
pub mod gguf;
pub mod tokenizer;

pub use error::{Error, ErrorKind, Result};
