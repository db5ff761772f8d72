//! Learning an adapter: from documents to a run, and from a run to what is kept of it.

mod course;
mod tutor;

use std::collections::BTreeMap;

use imprint_core::{
    Error, ErrorKind, Result,
    adapter::Adapter,
    generate::Backend,
    learn::{Checkpoint, Ending, FusedLearner, Measurement, Outcome, ProcessorLearner},
    peft,
    preview::{Preview, Previews, Share},
    voice::Name,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wasm_bindgen::prelude::*;
use web_sys::AbortSignal;

use self::{
    course::{Course, Plan},
    tutor::{Start, Taught, Tutor},
};
use crate::{
    engine::{ModelInfo, Open},
    store::{
        adapters::{AdapterInfo, Files, named},
        runs::{self, Measured, RunInfo},
        vault,
    },
    web::{self, check_signal},
};

pub(crate) use course::GPU_BYTES;
pub use course::{LearnOptions, Planned};
pub use tutor::Hooks;
#[cfg(feature = "learn")]
pub use tutor::Report;

/// How a command of learning ends, as JavaScript sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum Learned {
    /// With an adapter, which is kept.
    Done {
        /// What is told of it.
        adapter: AdapterInfo,
    },
    /// With a run that can go on.
    Paused {
        /// What is told of it.
        run: RunInfo,
    },
}

/// What was measured while an adapter was learned.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measures {
    ending: Ending,
    steps: u32,
    tokens: usize,
    before: Measured,
    best: Measured,
    fullest: Measured,
    #[serde(default)]
    copied: Share,
    #[serde(default)]
    own_copied: Share,
    #[serde(default)]
    names: Vec<Name>,
}

/// Tells what learning from documents would do, without beginning it.
///
/// # Errors
/// `text-too-short`, `text-too-long`, `text-unreadable`, `invalid-option`, `out-of-memory`.
pub fn plan(open: &Open, documents: &JsValue, options: &LearnOptions) -> Result<Planned> {
    Ok(Course::new(open, documents, Plan::New(options))?.planned())
}

/// Learns an adapter from documents, a list of `{ name, bytes }`.
///
/// # Errors
/// `busy` while another tab learns, `locked`, `text-too-short`, `text-too-long`, `text-unreadable`, `invalid-option`,
/// `out-of-memory` and `storage-full` with nothing kept; `nothing-learned` and `cancelled` with the run removed;
/// `device-lost` and a storage that has become full with the run kept.
pub async fn begin(
    open: &mut Open,
    info: &ModelInfo,
    documents: &JsValue,
    options: &LearnOptions,
    hooks: &Hooks<'_>,
) -> Result<Learned> {
    let _alone = runs::learn_alone().await?;
    vault::check_unlocked().await?;
    let course = Course::new(open, documents, Plan::New(options))?;
    let name = named(&options.name, "Untitled");
    let mut run = RunInfo::new(name, &info.fingerprint, &info.name, course.lessons.hash())?;
    run.keep_texts = options.keep_texts;
    go_on(open, info, &course, Start::New(documents), run, hooks).await
}

/// Goes on with a run that was paused or broken off.
///
/// # Errors
/// As [`begin`]; `invalid-option` where there is no such run, `adapter-wrong-base` where it learns on another model.
pub async fn resume(open: &mut Open, info: &ModelInfo, id: &str, hooks: &Hooks<'_>) -> Result<Learned> {
    let _alone = runs::learn_alone().await?;
    let (run, documents, checkpoint) = runs::get(id).await?;
    let checkpoint = Checkpoint::from_bytes(&checkpoint)?;
    let course = Course::new(open, &documents, Plan::Known(checkpoint.about.recipe.clone()))?;
    // Before anything is loaded onto the device.
    checkpoint.check(&info.fingerprint, &course.lessons)?;
    go_on(open, info, &course, Start::At(Box::new(checkpoint), None), run, hooks).await
}

async fn go_on(
    open: &mut Open,
    info: &ModelInfo,
    course: &Course,
    start: Start<'_>,
    run: RunInfo,
    hooks: &Hooks<'_>,
) -> Result<Learned> {
    let config = open.model.config().clone();
    let recipe = &course.recipe;
    let mut adapter = Adapter::fresh(Some(info.fingerprint.clone()), &config, &recipe.shape(), recipe.seed.into())?;
    let mut previews = Previews::new(&course.texts, None);
    let mut tutor = Tutor::new(run, course, hooks);
    let taught = taught(open, course, &mut tutor, &mut previews, &mut adapter, start).await;
    let (run, latest) = (tutor.run, tutor.latest);
    let (outcome, fullest, best) = match taught {
        Ok(Taught::Over { outcome, fullest, best }) => (outcome, fullest, best),
        Ok(_) => return Ok(Learned::Paused { run }),
        Err(error) => return Err(settled(error, &run.id).await),
    };
    let (ending, before, best_at, fullest_at) = match outcome {
        Outcome::Learned { ending, before, best, fullest } => (ending, before, best, fullest),
        Outcome::Nothing { why, .. } => {
            runs::discard(&run.id).await?;
            return Err(Error::new(ErrorKind::NothingLearned, why));
        }
    };
    let told = |measurement: Measurement| Measured::from(measurement);
    let measures = Measures {
        ending,
        steps: run.step,
        tokens: course.tokens,
        before: told(before),
        best: told(best_at),
        fullest: told(fullest_at),
        copied: latest.copied,
        own_copied: previews.own,
        names: latest.names,
    };
    let mut made = AdapterInfo::new(&run.name, &info.fingerprint, &info.name)?;
    made.recipe = value(recipe)?;
    made.measures = value(&measures)?;
    let mut exported = |parameters: &[f32]| {
        adapter.set_parameters(parameters);
        peft::export(&adapter, &config, &BTreeMap::new())
    };
    let full = exported(&fullest)?;
    let best = if best_at.step == fullest_at.step { None } else { Some(exported(&best)?.safetensors) };
    // They were made for the last preview.
    let prints = previews.prints(&open.model, &mut async || Ok(())).await?.to_bytes();
    let files = Files { config: full.config_json, weights: full.safetensors, best, prints: Some(prints) };
    made.prints = true;
    made.size_bytes = files.size_bytes();
    runs::finish(&run, course.size_bytes as f64, &mut made, &files).await?;
    Ok(Learned::Done { adapter: made })
}

/// Teaches until the run is over or paused, with a preview now and then.
async fn taught(
    open: &mut Open,
    course: &Course,
    tutor: &mut Tutor<'_>,
    previews: &mut Previews,
    adapter: &mut Adapter,
    mut start: Start<'_>,
) -> Result<Taught> {
    loop {
        let taught = match &open.model.backend {
            Backend::Processor(processor) => {
                tutor.teach(ProcessorLearner::new(processor, adapter)?, course, start).await?
            }
            Backend::Fused(model) => {
                let learner = FusedLearner::new(model, adapter, course.recipe.window, course.room).await?;
                tutor.teach(learner, course, start).await?
            }
        };
        // The learner is gone, so that the adapter can be written with.
        match taught {
            Taught::Measured(checkpoint) => {
                adapter.set_parameters(checkpoint.parameters());
                let preview = preview(open, previews, adapter, tutor.hooks.signal).await?;
                start = Start::At(checkpoint, Some(preview.copied.share));
                tutor.show(preview);
            }
            Taught::Over { outcome, fullest, best } => {
                if !fullest.is_empty() {
                    adapter.set_parameters(&fullest);
                    tutor.show(preview(open, previews, adapter, tutor.hooks.signal).await?);
                    tutor.save();
                }
                return Ok(Taught::Over { outcome, fullest, best });
            }
            Taught::Paused => return Ok(Taught::Paused),
        }
    }
}

/// Writes a preview with `adapter`, letting wishes in.
async fn preview(
    open: &mut Open,
    previews: &mut Previews,
    adapter: &Adapter,
    signal: Option<&AbortSignal>,
) -> Result<Preview> {
    let mut on_step = async || {
        web::breathe().await;
        check_signal(signal)
    };
    previews.write(&mut open.model, adapter, &mut on_step).await
}

/// Looks after a run that failed: what cannot go on is removed, what can is told so.
async fn settled(error: Error, id: &str) -> Error {
    match error.kind() {
        // Nobody wants it, or its numbers have left all bounds, and would again.
        ErrorKind::Cancelled | ErrorKind::InvalidOption => match runs::discard(id).await {
            Ok(()) => error,
            Err(failed) => failed,
        },
        ErrorKind::DeviceLost => {
            let what = "the GPU went away while learning; the run is kept: load the model again and resume it";
            Error::new(ErrorKind::DeviceLost, what).with_source(error)
        }
        _ => error,
    }
}

/// A recipe or measures as they are kept: by way of text, so that 0.9 stays 0.9 and not its nearest `f32`.
fn value(told: &impl Serialize) -> Result<Value> {
    let text = serde_json::to_string(told).and_then(|text| serde_json::from_str(&text));
    text.map_err(|e| Error::new(ErrorKind::Internal, "it cannot be described").with_source(e))
}
