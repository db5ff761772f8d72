//! Adapters to write, score or convert with: folders in PEFT's layout, or llama.cpp's GGUF files, one or several.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    io::{self, ErrorKind as Io, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use imprint_core::{
    Error, ErrorKind, Result,
    adapter::{Adapter, check_weights},
    config::ModelConfig,
    generate::LanguageModel,
    gguf_lora, peft,
    voice::Prints,
};
use pollster::block_on;

use crate::{
    model::{FileSource, ModelArgs, fingerprint},
    terminal::Terminal,
};

/// The prints of the text, beside PEFT's two files, which PEFT passes by.
pub const PRINTS: &str = "imprint_prints.bin";
/// PEFT's two files.
pub const CONFIG: &str = "adapter_config.json";
/// See above.
pub const TENSORS: &str = "adapter_model.safetensors";

/// An adapter, or a mix of several.
#[derive(clap::Args)]
pub struct AdapterArgs {
    /// An adapter: a folder that `imprint learn` or PEFT wrote, or llama.cpp's GGUF file. Given several times, all speak at
    /// once, each as much as it weighs: `--adapter letters=0.7 --adapter essays=0.3`.
    #[arg(long, value_name = "PATH[=WEIGHT]", value_parser = named)]
    adapter: Vec<Named>,
}

/// An adapter as the command line names it.
#[derive(Clone)]
pub struct Named {
    path: PathBuf,
    weight: f32,
}

/// A path, and behind its last `=` a weight, unless all of it is a path that exists.
fn named(text: &str) -> Result<Named, Infallible> {
    let whole = || Named { path: text.into(), weight: 1.0 };
    let Some((path, weight)) = text.rsplit_once('=').filter(|_| !Path::new(text).exists()) else { return Ok(whole()) };
    Ok(weight.parse().map_or_else(|_| whole(), |weight| Named { path: path.into(), weight }))
}

/// What is read of adapters.
pub struct Read {
    /// The one, or all as one.
    pub adapter: Adapter,
    /// Of the texts that they were learned from, as far as they came along.
    pub prints: Option<Prints>,
    /// What stood beside the one; nothing is true of several.
    pub notes: BTreeMap<String, String>,
}

impl AdapterArgs {
    /// Refuses weights that no mix has, before a model is read.
    ///
    /// # Errors
    /// `invalid-option` naming the weight and its range.
    pub fn check(&self) -> Result<()> {
        let weights: Vec<f32> = self.adapter.iter().map(|named| named.weight).collect();
        if weights.is_empty() { Ok(()) } else { check_weights(&weights) }
    }

    /// Attaches the adapters to `model`, the one that `args` name, where there are some; gives the prints of the texts they
    /// were learned from, as far as they came along.
    ///
    /// # Errors
    /// As [`AdapterArgs::read`], and on the GPU `out-of-memory` and `device-lost`.
    pub fn attach(
        &self,
        model: &mut LanguageModel,
        args: &ModelArgs,
        terminal: &Terminal,
    ) -> Result<Option<Arc<Prints>>> {
        let Some(Read { adapter, prints, .. }) = self.read(model.config(), args.path(terminal)?, terminal)? else {
            return Ok(None);
        };
        block_on(model.attach(&adapter, None))?;
        Ok(prints.map(Arc::new))
    }

    /// Reads the adapters, for the model in the file `model`.
    ///
    /// # Errors
    /// `invalid-option` for a path without an adapter or a weight out of its range, `adapter-corrupt`,
    /// `adapter-unsupported`, `adapter-wrong-base`, `cancelled`.
    pub fn read(&self, config: &ModelConfig, model: &Path, terminal: &Terminal) -> Result<Option<Read>> {
        let mut all = Vec::with_capacity(self.adapter.len());
        for Named { path, .. } in &self.adapter {
            all.push(read(path, config).map_err(|e| if self.adapter.len() == 1 { e } else { of(path, &e) })?);
        }
        // Reading the whole model file takes a while, and only an adapter that knows its base needs it.
        let knows = all.iter().any(|one| one.adapter.base.is_some());
        let base = knows.then(|| fingerprint(model, terminal)).transpose()?;
        for (one, Named { path, .. }) in all.iter().zip(&self.adapter) {
            one.adapter.check(config, base.as_deref()).map_err(|e| of(path, &e))?;
            if all.len() > 1 && one.prints.is_none() {
                let what = "came without prints of its text: copies and names of it cannot be told";
                terminal.note(&format!("{} {what}", path.display()));
            }
        }
        if all.len() <= 1 && self.adapter.iter().all(|named| named.weight == 1.0) {
            return Ok(all.pop());
        }
        let weighed: Vec<_> = all.iter().zip(&self.adapter).map(|(one, named)| (&one.adapter, named.weight)).collect();
        let adapter = Adapter::mix(&weighed, config, base.as_deref())?;
        // A voice that weighs nothing is not heard, but prints of too many texts do no harm.
        let prints: Vec<&Prints> = all.iter().filter_map(|one| one.prints.as_ref()).collect();
        let prints = (!prints.is_empty()).then(|| Prints::together(prints));
        Ok(Some(Read { adapter, prints, notes: BTreeMap::new() }))
    }
}

/// Reads one adapter in either layout.
fn read(path: &Path, config: &ModelConfig) -> Result<Read> {
    let prints = |bytes: Vec<u8>| Prints::from_bytes(&bytes);
    if path.is_file() {
        if zipped(path) {
            let what =
                format!("{} is a zip archive, as the page exports; unzip it and name the folder", path.display());
            return Err(Error::new(ErrorKind::InvalidOption, what));
        }
        let (adapter, beside) = block_on(gguf_lora::import(&FileSource::open(path)?, config))?;
        return Ok(Read { adapter, prints: beside.prints.map(prints).transpose()?, notes: beside.notes });
    }
    let tensors = bytes(path, TENSORS)?;
    let adapter = peft::import(&bytes(path, CONFIG)?, &tensors, config)?;
    let kept = match fs::read(path.join(PRINTS)) {
        Ok(bytes) => Some(bytes),
        Err(e) if e.kind() == Io::NotFound => None,
        Err(e) => return Err(unreadable(&path.join(PRINTS), e)),
    };
    Ok(Read { adapter, prints: kept.map(prints).transpose()?, notes: peft::notes(&tensors)? })
}

/// Whether a file begins as zip archives do.
fn zipped(path: &Path) -> bool {
    let mut start = [0; 4];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"PK\x03\x04"
}

fn bytes(folder: &Path, name: &str) -> Result<Vec<u8>> {
    let path = folder.join(name);
    fs::read(&path).map_err(|e| unreadable(&path, e))
}

/// The same error, saying which of several adapters it is of.
fn of(path: &Path, error: &Error) -> Error {
    Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn unreadable(path: &Path, e: io::Error) -> Error {
    let message =
        format!("{} cannot be read: {e}; give --adapter a folder that holds it, or a GGUF file", path.display());
    Error::new(ErrorKind::InvalidOption, message).with_source(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_told_from_an_adapter() {
        let path = std::env::temp_dir().join(format!("imprint-archive-{}", std::process::id()));
        for (bytes, archive) in [(&b"PK\x03\x04 and more"[..], true), (b"GGUF and more", false), (b"PK", false)] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(zipped(&path), archive, "{bytes:?}");
        }
        fs::remove_file(path).unwrap();
    }
}
