//! `imprint models`: the models that have a name.

use std::{fmt, path::PathBuf};

use imprint_core::Result;
use imprint_models::{Licence, Watch, list};
use serde::Serialize;

use crate::{model::shelf, terminal::Terminal};

/// All of them.
#[derive(Serialize)]
struct Report {
    models: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    id: &'static str,
    name: &'static str,
    file: &'static str,
    size_bytes: u64,
    licence: &'static Licence,
    /// Whether it may be used: it has no terms, or they were accepted here.
    accepted: bool,
    gpu_bytes: u64,
    cpu_bytes: u64,
    path: Option<PathBuf>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        for (i, row) in self.models.iter().enumerate() {
            let space = if i == 0 { "" } else { "\n\n" };
            writeln!(f, "{space}{}", row.id)?;
            writeln!(f, "  name     {}, {}", row.name, mb(row.size_bytes))?;
            let terms = match (row.licence.terms, row.accepted) {
                (false, _) => "",
                (true, true) => ", accepted here",
                (true, false) => ", to be accepted with --accept-terms",
            };
            writeln!(f, "  licence  {}{terms}: {}", row.licence.name, row.licence.url)?;
            writeln!(f, "  memory   {} on a GPU, {} on the CPU", mb(row.gpu_bytes), mb(row.cpu_bytes))?;
            match &row.path {
                Some(path) => write!(f, "  file     {}", path.display())?,
                None => write!(f, "  file     fetched when it is first named with --model")?,
            }
        }
        Ok(())
    }
}

/// Nothing is fetched for a list.
struct Still;

impl Watch for Still {
    fn note(&self, _: &str) {}
    fn progress(&self, _: u64, _: u64) -> bool {
        true
    }
}

/// Lists the models.
///
/// # Errors
/// `invalid-option` where the environment names no home.
pub fn run(terminal: &Terminal) -> Result<()> {
    let shelf = shelf(&Still)?;
    let models = list().iter().map(|model| Row {
        id: &model.id,
        name: &model.name,
        file: &model.file,
        size_bytes: model.size_bytes,
        licence: &model.licence,
        accepted: shelf.is_accepted(model),
        gpu_bytes: model.memory.gpu_bytes,
        cpu_bytes: model.memory.cpu_bytes,
        path: Some(shelf.path(model)).filter(|path| path.is_file()),
    });
    terminal.report(&Report { models: models.collect() })
}
