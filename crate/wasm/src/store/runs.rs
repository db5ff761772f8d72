//! Runs of learning that can go on: what is told of each, its texts and its latest checkpoint.
//!
//! The texts are kept because a run cannot go on without them; they go when the run ends, well or not, or is discarded,
//! but for those that the person asked to keep beside the adapter.

use imprint_core::{
    Error, ErrorKind, Result,
    learn::{Journal, Measurement},
};
use js_sys::{Date, Uint8Array};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::{
    store::{
        adapters::{AdapterInfo, Files},
        database::{self, Change, Table},
        new_id,
    },
    web::{Lock, object},
};

/// Held by the tab that learns.
const LOCK: &str = "imprint-learning";

/// What is told of a run, as JavaScript sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunInfo {
    /// Its name in this browser.
    pub id: String,
    /// What the adapter will be called.
    pub name: String,
    /// When it began, in milliseconds since 1970.
    pub created_ms: f64,
    /// When its latest checkpoint was written.
    pub updated_ms: f64,
    /// The fingerprint of the model it learns on.
    pub base: String,
    /// That model's name.
    pub model: String,
    /// Steps made by the latest checkpoint.
    pub step: u32,
    /// Steps planned.
    pub steps: u32,
    /// Losses of the steps made, as far as the device told them.
    pub losses: Vec<Loss>,
    /// Measurements on the held-out text.
    pub measurements: Vec<Measured>,
    /// The SHA-256 of the texts in hex.
    pub text_hash: String,
    /// Bytes of checkpoint and texts.
    pub size_bytes: f64,
    /// Whether the texts stay when it has ended.
    #[serde(default)]
    pub keep_texts: bool,
}

/// The loss of a step, in nats a token.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Loss {
    step: u32,
    nll: f32,
}

/// The held-out text as the adapter foresaw it at one time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    step: u32,
    nll: f32,
    bits_per_char: f32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    copied: Option<f32>,
}

impl From<Measurement> for Measured {
    fn from(Measurement { step, nll, bits_per_char, copied }: Measurement) -> Self {
        Self { step, nll, bits_per_char, copied }
    }
}

impl RunInfo {
    /// A new one, with a new id, begun now.
    ///
    /// # Errors
    /// `internal` where the browser gives no random numbers.
    pub fn new(name: String, base: &str, model: &str, text_hash: String) -> Result<Self> {
        let now = Date::now();
        Ok(Self {
            id: new_id()?,
            name,
            created_ms: now,
            updated_ms: now,
            base: base.to_owned(),
            model: model.to_owned(),
            step: 0,
            steps: 0,
            losses: Vec::new(),
            measurements: Vec::new(),
            text_hash,
            size_bytes: 0.0,
            keep_texts: false,
        })
    }

    /// Takes over what has happened so far.
    pub fn follow(&mut self, journal: &Journal, steps: u32) {
        self.step = journal.step;
        self.steps = steps;
        self.losses = (1..).zip(&journal.losses).map(|(step, &nll)| Loss { step, nll }).collect();
        self.measurements = journal.measurements.iter().map(|&measurement| measurement.into()).collect();
    }
}

/// Keeps all other tabs from learning as long as it is held.
///
/// # Errors
/// `busy` while another tab learns.
pub async fn learn_alone() -> Result<Lock> {
    Lock::take(LOCK).await.ok_or_else(|| {
        let what = "another tab of this browser is learning; wait until it has ended, or pause it there";
        Error::new(ErrorKind::Busy, what)
    })
}

/// All runs that can go on, the newest first.
///
/// # Errors
/// As [`database::open`].
pub async fn list() -> Result<Vec<RunInfo>> {
    let mut found: Vec<RunInfo> = database::open().await?.all(Table::Runs).await?;
    found.sort_by(|a, b| b.created_ms.total_cmp(&a.created_ms));
    Ok(found)
}

/// Keeps a new run with its texts and its first checkpoint.
///
/// # Errors
/// As [`database::Database::write`].
pub async fn begin(run: &RunInfo, texts: &JsValue, checkpoint: &[u8]) -> Result<()> {
    let [told, numbers] = checkpointed(run, checkpoint)?;
    let texts = Change::Put(Table::Texts, run.id.clone(), texts.clone());
    database::open().await?.write(&[told, numbers, texts]).await
}

/// Puts a later checkpoint in the place of the one before.
///
/// # Errors
/// As [`database::Database::write`]; the one before is then still there.
pub async fn checkpoint(run: &RunInfo, checkpoint: &[u8]) -> Result<()> {
    database::open().await?.write(&checkpointed(run, checkpoint)?).await
}

/// Keeps the adapter that a run has made, and removes the run, in one transaction; where the person asked for it, its
/// texts, of `text_bytes`, stay beside the adapter.
///
/// # Errors
/// As [`database::Database::write`]; the run is then still there.
pub async fn finish(run: &RunInfo, text_bytes: f64, adapter: &mut AdapterInfo, files: &Files) -> Result<()> {
    let database = database::open().await?;
    let mut texts = None;
    if run.keep_texts {
        let [kept] = database.get([Table::Texts], &run.id).await?;
        texts = kept.map(|kept| Change::Put(Table::Texts, adapter.id.clone(), kept));
        adapter.text_bytes = if texts.is_some() { text_bytes } else { 0.0 };
    }
    let changes: Vec<Change> = adapter.changes(files)?.into_iter().chain(texts).chain(removed(&run.id)).collect();
    database.write(&changes).await
}

/// Removes a run; one that is not there needs no removing.
///
/// # Errors
/// As [`database::Database::write`].
pub async fn discard(id: &str) -> Result<()> {
    database::open().await?.write(&removed(id)).await
}

/// A run with its texts and its checkpoint.
///
/// # Errors
/// `invalid-option` where there is none of that id; as [`database::open`].
pub async fn get(id: &str) -> Result<(RunInfo, JsValue, Vec<u8>)> {
    let tables = [Table::Runs, Table::Texts, Table::Checkpoints];
    let [Some(run), Some(texts), Some(checkpoint)] = database::open().await?.get(tables, id).await? else {
        let what = format!("this browser keeps no run `{id}`; list them again, it may have ended in another tab");
        return Err(Error::new(ErrorKind::InvalidOption, what));
    };
    Ok((database::read(run)?, texts, Uint8Array::new(&checkpoint).to_vec()))
}

fn checkpointed(run: &RunInfo, checkpoint: &[u8]) -> Result<[Change; 2]> {
    Ok([
        Change::Put(Table::Runs, run.id.clone(), object(run)?),
        Change::Put(Table::Checkpoints, run.id.clone(), Uint8Array::from(checkpoint).into()),
    ])
}

fn removed(id: &str) -> [Change; 3] {
    [Table::Runs, Table::Checkpoints, Table::Texts].map(|table| Change::Delete(table, id.to_owned()))
}
