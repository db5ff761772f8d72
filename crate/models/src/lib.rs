//! The models that Imprint knows by name, and the way a model comes onto this machine.
//!
//! `web/src/models.json` is the one list: the page reads the same file.

mod fetch;
mod list;
mod problem;
mod shelf;
mod wheels;

pub use fetch::{agent, download, sha256};
pub use list::{Licence, Listed, Memory, list, named};
pub use problem::{Kind, Problem, Result};
pub use shelf::{Shelf, Watch, cache_dir};
