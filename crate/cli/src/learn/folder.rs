//! Where a run is kept while it goes on, and the folder that it leaves.
//!
//! Beside `OUT` stands `OUT.learning` with the checkpoint, replaced in one move. In the end the adapter is written there
//! too and the folder becomes `OUT` in one move: whenever the program is killed, there is a whole adapter or a checkpoint.

use std::{
    fs,
    io::{self, ErrorKind as Io},
    path::{Path, PathBuf},
};

use imprint_core::{Error, ErrorKind, Result, learn::Checkpoint, peft::PeftFiles, voice::Prints};

use crate::adapter::PRINTS;

const CHECKPOINT: &str = "checkpoint";

/// The places of one run.
pub struct Folder {
    out: PathBuf,
    work: PathBuf,
}

impl Folder {
    /// The places for a run that is to leave `out`, which must not hold anything yet.
    ///
    /// # Errors
    /// `invalid-option` when `out` has no name or holds files.
    pub fn new(out: &Path) -> Result<Self> {
        let refuse = |message: String| Err(Error::new(ErrorKind::InvalidOption, message));
        let Some(name) = out.file_name() else {
            return refuse(format!("{} names no folder; give --out a new one", out.display()));
        };
        let taken = match fs::read_dir(out) {
            Ok(mut entries) => entries.next().is_some(),
            Err(e) => e.kind() != Io::NotFound,
        };
        if taken {
            return refuse(format!("{} is there already; give --out a new folder", out.display()));
        }
        let mut work = name.to_owned();
        work.push(".learning");
        Ok(Self { out: out.to_owned(), work: out.with_file_name(work) })
    }

    /// Makes the working folder, where no paused run stands.
    ///
    /// # Errors
    /// `invalid-option` when one does, `storage-full` when the folder cannot be made.
    pub fn begin(&self) -> Result<()> {
        if self.checkpoint().exists() {
            let message = format!(
                "a paused run stands in {}; go on with --resume, or remove that folder to begin again",
                self.work.display()
            );
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        fs::create_dir_all(&self.work).map_err(|e| self.unwritable(e))
    }

    /// Reads the checkpoint of a paused run.
    ///
    /// # Errors
    /// `invalid-option` when there is none, `adapter-corrupt` for a damaged one.
    pub fn resume(&self) -> Result<Checkpoint> {
        let bytes = fs::read(self.checkpoint()).map_err(|e| {
            let message =
                format!("no paused run can be read in {}: {e}; begin one without --resume", self.work.display());
            Error::new(ErrorKind::InvalidOption, message).with_source(e)
        })?;
        Checkpoint::from_bytes(&bytes)
    }

    /// Keeps a checkpoint in place of the one before.
    ///
    /// # Errors
    /// `storage-full` when it cannot be written; the one before stays.
    pub fn keep(&self, checkpoint: &Checkpoint) -> Result<()> {
        let part = self.work.join("checkpoint.part");
        fs::write(&part, checkpoint.to_bytes()?)
            .and_then(|()| fs::rename(&part, self.checkpoint()))
            .map_err(|e| self.unwritable(e))
    }

    /// Writes the adapter with the prints of its text and makes the folder `out`.
    ///
    /// # Errors
    /// `storage-full` when it cannot be written; the checkpoint stays.
    pub fn finish(&self, files: &PeftFiles, prints: &Prints) -> Result<()> {
        let write = || {
            fs::write(self.work.join("adapter_config.json"), &files.config_json)?;
            fs::write(self.work.join("adapter_model.safetensors"), &files.safetensors)?;
            fs::write(self.work.join(PRINTS), prints.to_bytes())?;
            // Some systems move a folder onto an empty one, some do not.
            match fs::remove_dir(&self.out) {
                Err(e) if e.kind() != Io::NotFound => return Err(e),
                _ => fs::rename(&self.work, &self.out)?,
            }
            match fs::remove_file(self.out.join(CHECKPOINT)) {
                Err(e) if e.kind() != Io::NotFound => Err(e),
                _ => Ok(()),
            }
        };
        write().map_err(|e| self.unwritable(e))
    }

    /// Removes all that the run left: it came to nothing, or nothing was begun.
    pub fn discard(&self) {
        // What cannot be removed does no harm and is named by the next run.
        let _ = fs::remove_dir_all(&self.work);
    }

    fn checkpoint(&self) -> PathBuf {
        self.work.join(CHECKPOINT)
    }

    fn unwritable(&self, e: io::Error) -> Error {
        let message = format!("{} cannot be written: {e}; free some space or name another --out", self.work.display());
        Error::new(ErrorKind::StorageFull, message).with_source(e)
    }
}
