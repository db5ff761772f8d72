//! What tests of several crates need; behind the feature `testing`.

use std::env;
use std::path::PathBuf;

/// The real model that tests run on: `IMPRINT_MODEL`, or what `cargo xtask setup` keeps in the user's cache.
///
/// # Panics
/// If there is no such file: a test without its model must fail, not pass.
pub fn model_path() -> PathBuf {
    let cache = || {
        let home = || PathBuf::from(env::var_os("HOME").expect("HOME, XDG_CACHE_HOME or IMPRINT_MODEL is set"));
        let cache = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty());
        let cache = cache.map_or_else(|| home().join(".cache"), PathBuf::from);
        cache.join("imprint/models/SmolLM2-135M-Instruct-Q4_1.gguf")
    };
    let path = env::var_os("IMPRINT_MODEL").map_or_else(cache, PathBuf::from);
    assert!(path.is_file(), "no model at {}: run `cargo xtask setup`, or name one in IMPRINT_MODEL", path.display());
    path
}
