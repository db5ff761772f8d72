//! A run of learning as bytes: everything needed to go on as if it had never been interrupted.
//!
//! ```text
//! "IMPRCKPT"  version u32  header length u32  header JSON  numbers f32 …  sha256 of all before
//! ```
//!
//! All little-endian. The numbers are parameters, first and second moments, then the kept states, each once.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Learner, Lessons, Recipe, State,
    trainer::{Journal, Kept, Trainer},
};
use crate::error::{Error, ErrorKind, Result};

const MAGIC: &[u8; 8] = b"IMPRCKPT";
const VERSION: u32 = 1;
const FIXED: usize = MAGIC.len() + 8;
const DIGEST: usize = 32;

/// A paused run.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// What is told apart from the numbers.
    pub about: About,
    state: State,
    best: Option<Kept>,
    fullest: Option<Kept>,
}

/// What a checkpoint says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The numbers it learns with.
    pub recipe: Recipe,
    /// What happened so far.
    pub journal: Journal,
    /// Fingerprint of the base model: the sha256 of its file.
    pub base: String,
    /// [`Lessons::hash`] of what is learned from.
    pub text: String,
    /// Anything the owner of the run wants to find again.
    pub note: String,
}

/// The header as it stands in the file.
#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(flatten)]
    about: About,
    parameters: usize,
    updates: u32,
    best: Option<usize>,
    fullest: Option<usize>,
}

impl Checkpoint {
    /// The numbers of the adapter as it stands.
    pub fn parameters(&self) -> &[f32] {
        &self.state.parameters
    }

    /// Refuses to go on with other texts or another model.
    ///
    /// # Errors
    /// `adapter-wrong-base`, or `invalid-option` where the texts differ.
    pub fn check(&self, base: &str, lessons: &Lessons) -> Result<()> {
        if self.about.base != base {
            let start = |hash: &str| hash.chars().take(12).collect::<String>();
            let message = format!(
                "this run learns on model {}, the open one is {}; open the model it began with",
                start(&self.about.base),
                start(base)
            );
            return Err(Error::new(ErrorKind::AdapterWrongBase, message));
        }
        if self.about.text != lessons.hash() {
            let message = "this run began with other texts; give the same texts, or begin a new run";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        Ok(())
    }

    /// The bytes to keep.
    ///
    /// # Errors
    /// `internal` if the header cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let State { parameters, first, second, steps } = &self.state;
        let header = Header {
            about: self.about.clone(),
            parameters: parameters.len(),
            updates: *steps,
            best: self.best.as_ref().map(|kept| kept.at),
            fullest: self.fullest.as_ref().map(|kept| kept.at),
        };
        let header = serde_json::to_vec(&header)
            .map_err(|e| Error::new(ErrorKind::Internal, "the checkpoint cannot be described").with_source(e))?;
        let mut arrays: Vec<&[f32]> = vec![parameters, first, second];
        arrays.extend(self.best.as_ref().map(|kept| kept.parameters.as_slice()));
        arrays.extend(self.fullest.as_ref().filter(|_| !self.same()).map(|kept| kept.parameters.as_slice()));
        let mut bytes = Vec::with_capacity(FIXED + header.len() + arrays.len() * parameters.len() * 4 + DIGEST);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&header);
        for array in arrays {
            bytes.extend(array.iter().flat_map(|value| value.to_le_bytes()));
        }
        let digest = Sha256::digest(&bytes);
        bytes.extend_from_slice(&digest);
        Ok(bytes)
    }

    /// Reads what [`Checkpoint::to_bytes`] wrote.
    ///
    /// # Errors
    /// `adapter-corrupt` for bytes that are no checkpoint, cut short or changed, or of a version that is not known.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if !bytes.starts_with(MAGIC) || bytes.len() < FIXED + DIGEST {
            return Err(corrupt("these bytes are no checkpoint of a run"));
        }
        let (body, digest) = bytes.split_at(bytes.len() - DIGEST);
        if Sha256::digest(body).as_slice() != digest {
            return Err(corrupt("the checkpoint is damaged"));
        }
        let number = |at: usize| u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        let (version, length) = (number(MAGIC.len()), number(MAGIC.len() + 4) as usize);
        if version != VERSION {
            return Err(corrupt(&format!("the checkpoint has version {version}, this program knows {VERSION}")));
        }
        let header = body.get(FIXED..FIXED + length).ok_or_else(|| corrupt("the checkpoint is cut short"))?;
        let header: Header =
            serde_json::from_slice(header).map_err(|e| corrupt("the checkpoint describes no run").with_source(e))?;
        Self::with_header(header, &body[FIXED + length..])
    }

    fn with_header(header: Header, numbers: &[u8]) -> Result<Self> {
        let Header { about, parameters: n, updates, best, fullest } = header;
        let own = fullest.filter(|&at| best != Some(at));
        let arrays = 3 + usize::from(best.is_some()) + usize::from(own.is_some());
        let size = n.checked_mul(4 * arrays);
        let measured = about.journal.measurements.len();
        if n == 0 || size != Some(numbers.len()) || best.max(fullest).is_some_and(|at| at >= measured) {
            return Err(corrupt("the checkpoint holds other numbers than it says"));
        }
        let mut parts = numbers.chunks_exact(4 * n).map(|part| -> Vec<f32> {
            part.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        });
        let mut next = || parts.next().unwrap_or_default();
        let state = State { parameters: next(), first: next(), second: next(), steps: updates };
        let best = best.map(|at| Kept { at, parameters: Arc::new(next()) });
        let fullest = match (fullest, own, &best) {
            (Some(at), None, Some(best)) => Some(Kept { at, parameters: best.parameters.clone() }),
            (_, own, _) => own.map(|at| Kept { at, parameters: Arc::new(next()) }),
        };
        Ok(Self { about, state, best, fullest })
    }

    /// Whether one state is both the best and the fullest.
    fn same(&self) -> bool {
        matches!((&self.best, &self.fullest), (Some(best), Some(fullest)) if best.at == fullest.at)
    }
}

impl<L: Learner> Trainer<L> {
    /// All that is needed to go on later; `base` is the fingerprint of the model, `note` is kept for the owner.
    ///
    /// # Errors
    /// What the learner gives.
    pub async fn checkpoint(&mut self, base: &str, note: &str) -> Result<Checkpoint> {
        self.collect(true).await?;
        let about = About {
            recipe: self.recipe.clone(),
            journal: self.journal.clone(),
            base: base.to_owned(),
            text: self.lessons.hash(),
            note: note.to_owned(),
        };
        let state = self.learner.state().await?;
        Ok(Checkpoint { about, state, best: self.best.clone(), fullest: self.fullest.clone() })
    }

    /// Goes on with a paused run: a measurement that was under way begins again, all else stands where it stood.
    ///
    /// # Errors
    /// As [`Checkpoint::check`], and `adapter-corrupt` when the learner has an adapter of another size.
    pub async fn resume(mut learner: L, lessons: Lessons, base: &str, checkpoint: Checkpoint) -> Result<Self> {
        checkpoint.check(base, &lessons)?;
        let Checkpoint { about, state, best, fullest } = checkpoint;
        if learner.state().await?.parameters.len() != state.parameters.len() {
            return Err(corrupt("the checkpoint's adapter does not fit its recipe"));
        }
        learner.set_state(&state);
        let mut trainer = Self::new(learner, lessons, about.recipe)?;
        trainer.journal = about.journal;
        (trainer.best, trainer.fullest) = (best, fullest);
        Ok(trainer)
    }
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::AdapterCorrupt, format!("{what}; begin the run again"))
}
