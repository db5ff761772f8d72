//! An adapter to write or score with: a folder in PEFT's layout.

use std::{
    fs,
    io::{self, ErrorKind as Io},
    path::{Path, PathBuf},
    sync::Arc,
};

use imprint_core::{Error, ErrorKind, Result, generate::LanguageModel, peft, voice::Prints};
use pollster::block_on;

use crate::{
    model::{ModelArgs, fingerprint},
    terminal::Terminal,
};

/// The prints of the text, beside PEFT's two files, which PEFT passes by.
pub const PRINTS: &str = "imprint_prints.bin";

/// An adapter.
#[derive(clap::Args)]
pub struct AdapterArgs {
    /// An adapter: a folder that `imprint learn` or PEFT wrote.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
}

impl AdapterArgs {
    /// Attaches the adapter to `model`, the one that `args` name, where there is an adapter; gives the prints of the text
    /// it was learned from, where the folder holds them.
    ///
    /// # Errors
    /// `invalid-option` for a folder without an adapter, `adapter-corrupt`, `adapter-unsupported`, `adapter-wrong-base`,
    /// `cancelled`, and on the GPU `out-of-memory` and `device-lost`.
    pub fn attach(
        &self,
        model: &mut LanguageModel,
        args: &ModelArgs,
        terminal: &Terminal,
    ) -> Result<Option<Arc<Prints>>> {
        let Some(folder) = &self.adapter else { return Ok(None) };
        let config = read(folder, "adapter_config.json")?;
        let adapter = peft::import(&config, &read(folder, "adapter_model.safetensors")?, model.config())?;
        // Reading the whole model file takes a while, and only an adapter that knows its base needs it.
        let base = match adapter.base {
            Some(_) => Some(fingerprint(args.path(terminal)?, terminal)?),
            None => None,
        };
        let prints = match fs::read(folder.join(PRINTS)) {
            Ok(bytes) => Some(Arc::new(Prints::from_bytes(&bytes)?)),
            Err(e) if e.kind() == Io::NotFound => None,
            Err(e) => return Err(unreadable(&folder.join(PRINTS), e)),
        };
        block_on(model.attach(&adapter, base.as_deref()))?;
        Ok(prints)
    }
}

fn read(folder: &Path, name: &str) -> Result<Vec<u8>> {
    let path = folder.join(name);
    fs::read(&path).map_err(|e| unreadable(&path, e))
}

fn unreadable(path: &Path, e: io::Error) -> Error {
    let message = format!("{} cannot be read: {e}; give --adapter a folder that holds it", path.display());
    Error::new(ErrorKind::InvalidOption, message).with_source(e)
}
