//! How a model that is named becomes a file on this machine.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use imprint_core::{Error, ErrorKind, Result};
use imprint_models::{Kind, Listed, Problem, Shelf, Watch, cache_dir, list, named};

use crate::terminal::{Progress, Terminal};

/// How a model may be had.
#[derive(clap::Args, Default)]
pub struct Having {
    /// The SHA-256 that the model from an address must have; without it, the first download's is held to.
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// Accept the terms that the named model comes under; needed once.
    #[arg(long)]
    accept_terms: bool,
    /// Never touch the network.
    #[arg(long)]
    offline: bool,
    #[arg(skip)]
    found: OnceLock<PathBuf>,
}

impl Having {
    /// The file of `model`: a path, an address that begins with `https://` or `http://`, or a name of the list.
    ///
    /// # Errors
    /// `invalid-option` for terms that were never accepted here and for what is no hash, `model-unreachable`,
    /// `model-corrupt` or `model-changed` for another hash, `out-of-memory` before a listed model is fetched that this machine cannot hold,
    /// `storage-full`, `cancelled`.
    pub fn path(&self, model: &str, terminal: &Terminal) -> Result<&Path> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let found = self.find(model, terminal)?;
        Ok(self.found.get_or_init(|| found))
    }

    fn find(&self, model: &str, terminal: &Terminal) -> Result<PathBuf> {
        let sha256 = self.sha256.as_deref().map(checked).transpose()?;
        let path = PathBuf::from(model);
        let remote = model.starts_with("https://") || model.starts_with("http://");
        if path.exists() || !remote && named(model).is_none() {
            return if path.exists() { Ok(path) } else { Err(unknown(model)) };
        }
        let watch = Told { terminal, progress: RefCell::new(terminal.progress("fetching")) };
        let shelf = Shelf { offline: self.offline, ..shelf(&watch)? };
        let Some(listed) = named(model).filter(|_| !remote) else {
            return shelf.from_url(model, sha256.as_deref()).map_err(coded);
        };
        if self.accept_terms {
            shelf.accept(listed).map_err(coded)?;
        }
        if !shelf.path(listed).is_file() {
            check_memory(listed, free_bytes())?;
        }
        shelf.listed(listed).map_err(coded)
    }
}

/// The models on this machine; downloads are told to `watch`.
///
/// # Errors
/// `invalid-option` where the environment names no home.
pub fn shelf(watch: &dyn Watch) -> Result<Shelf<'_>> {
    let unset = || Error::new(ErrorKind::InvalidOption, "neither XDG_CACHE_HOME nor HOME is set; set one for models");
    Ok(Shelf { dir: cache_dir().ok_or_else(unset)?, offline: false, watch })
}

/// Tells the person of a download.
struct Told<'a> {
    terminal: &'a Terminal,
    progress: RefCell<Progress>,
}

impl Watch for Told<'_> {
    fn note(&self, text: &str) {
        self.terminal.note(text);
    }

    fn progress(&self, done: u64, total: u64) -> bool {
        self.progress.borrow_mut().advance(done, total).is_ok()
    }
}

fn coded(problem: Problem) -> Error {
    let kind = match problem.kind() {
        Kind::Terms => ErrorKind::InvalidOption,
        Kind::Unreachable => ErrorKind::ModelUnreachable,
        Kind::Corrupt => ErrorKind::ModelCorrupt,
        Kind::Changed => ErrorKind::ModelChanged,
        Kind::Disk => ErrorKind::StorageFull,
        Kind::Stopped => ErrorKind::Cancelled,
    };
    Error::new(kind, problem.to_string()).with_source(problem)
}

fn unknown(model: &str) -> Error {
    let names: Vec<_> = list().iter().map(|model| model.id.as_str()).collect();
    let what = format!(
        "{model} cannot be opened: there is no such file, and no model is called so; check the path, or name one of {}",
        names.join(", ")
    );
    Error::new(ErrorKind::ModelUnreachable, what)
}

fn checked(sha256: &str) -> Result<String> {
    if sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(sha256.to_ascii_lowercase());
    }
    let what = format!("--sha256 is {sha256:?}, it must be 64 hexadecimal digits");
    Err(Error::new(ErrorKind::InvalidOption, what))
}

/// Refuses a model that does not fit the memory that is free, before it is fetched.
fn check_memory(model: &Listed, free: Option<u64>) -> Result<()> {
    let need = model.memory.cpu_bytes;
    match free {
        Some(free) if free < need => {
            let mb = |bytes: u64| bytes.div_ceil(1_000_000);
            let what = format!(
                "{} needs {} MB of memory and {} MB are free, so it was not fetched; close other programs, or take a smaller model",
                model.name,
                mb(need),
                mb(free)
            );
            Err(Error::new(ErrorKind::OutOfMemory, what))
        }
        _ => Ok(()),
    }
}

/// Memory that can be had without swapping, where the system tells.
pub fn free_bytes() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_does_not_fit_is_refused_with_both_figures() {
        let model = &list()[0];
        let need = model.memory.cpu_bytes;
        assert!(check_memory(model, Some(need)).is_ok() && check_memory(model, None).is_ok());
        let error = check_memory(model, Some(need - 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        let told = error.to_string();
        assert!(
            told.contains(&format!("needs {} MB", need.div_ceil(1_000_000))) && told.contains("not fetched"),
            "{told}"
        );
    }
}
