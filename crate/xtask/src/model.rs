//! The model that is built with, served and tested: the default one, another by its name, or a file.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use imprint_models::{Listed, Shelf, Watch};
use indicatif::{ProgressBar, ProgressStyle};

use crate::Project;
use crate::process::{note, step};

/// The default model.
pub fn default() -> &'static Listed {
    &imprint_models::list()[0]
}

/// Shows what goes on while a model is fetched.
#[derive(Default)]
struct Shown(RefCell<Option<ProgressBar>>);

impl Watch for Shown {
    fn note(&self, text: &str) {
        self.0.borrow_mut().take();
        note(text);
    }

    fn progress(&self, done: u64, total: u64) -> bool {
        let mut bar = self.0.borrow_mut();
        if bar.as_ref().is_some_and(|bar| bar.length() != Some(total)) {
            bar.take();
        }
        let bar = bar.get_or_insert_with(|| {
            let style =
                ProgressStyle::with_template("   {bar:32} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
            ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_position(done);
        true
    }
}

/// Returns the path of the model, fetching it if need be.
///
/// # Errors
/// When `--model` names neither a listed model nor a GGUF file, its terms were not accepted, or it can neither be found
/// nor fetched.
pub fn ensure(project: &Project) -> Result<PathBuf> {
    let Some(wanted) = &project.options.model else { return listed(project, default()) };
    match imprint_models::named(wanted) {
        Some(model) => listed(project, model),
        None => {
            step("The model");
            let path = Path::new(wanted);
            check_gguf(path)?;
            note(format_args!("using {}", path.display()));
            Ok(fs::canonicalize(path)?)
        }
    }
}

/// Fetches the second listed model, which the tests run too; its terms are told, since nobody is asked in a test.
///
/// # Errors
/// When it can neither be found nor fetched.
pub fn ensure_second(project: &Project) -> Result<PathBuf> {
    let model = &imprint_models::list()[1];
    step(&format!("The tests' second model, {}", model.file));
    note(format_args!("it comes under the {}, {}", model.licence.name, model.licence.url));
    let watch = Shown::default();
    let path = shelf(project, &watch).fetched(model)?;
    note(format_args!("ready: {}, sha256 checked", path.display()));
    Ok(path)
}

/// The listed models that are on this machine already and may be used.
pub fn kept(project: &Project) -> Vec<PathBuf> {
    let watch = Shown::default();
    let shelf = shelf(project, &watch);
    shelf.kept().into_iter().filter(|model| shelf.is_accepted(model)).map(|model| shelf.path(model)).collect()
}

fn listed(project: &Project, model: &Listed) -> Result<PathBuf> {
    step(&format!("The model, {}", model.file));
    let watch = Shown::default();
    let shelf = shelf(project, &watch);
    if project.options.accept_terms {
        shelf.accept(model)?;
    }
    let path = shelf.listed(model)?;
    note(format_args!("ready: {}, sha256 checked", path.display()));
    Ok(path)
}

fn shelf<'a>(project: &Project, watch: &'a Shown) -> Shelf<'a> {
    Shelf { dir: project.cache.join("models"), offline: project.options.offline, watch }
}

fn check_gguf(path: &Path) -> Result<()> {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.with_context(|| {
        let names: Vec<_> = imprint_models::list().iter().map(|model| model.id.as_str()).collect();
        format!("cannot read the model {}; name a GGUF file, or one of {}", path.display(), names.join(", "))
    })?;
    if &magic != b"GGUF" {
        bail!("{} is no GGUF file: it does not begin with the letters GGUF", path.display());
    }
    Ok(())
}

/// Computes the sha256 of a file as lower-case hexadecimal digits.
pub fn sha256(path: &Path) -> Result<String> {
    Ok(imprint_models::sha256(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_kind_is_no_model() {
        let dir = std::env::temp_dir().join(format!("imprint-magic-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("a.gguf"), b"PK..").unwrap();
        let error = check_gguf(&dir.join("a.gguf")).unwrap_err().to_string();
        assert!(error.contains("no GGUF file"), "{error}");
        let error = format!("{:#}", check_gguf(&dir.join("none.gguf")).unwrap_err());
        assert!(error.contains("gemma-3-270m"), "{error}");
        fs::remove_dir_all(dir).unwrap();
    }
}
