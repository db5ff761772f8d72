//! Drives a run: steps, reports, checkpoints, and an ear for whoever wants it paused or ended.

use imprint_core::{
    Result,
    learn::{Checkpoint, Choice, Event, Learner, Outcome, Trainer},
    preview::{Preview, Share},
    voice::Name,
};
use serde::Serialize;
use wasm_bindgen::prelude::*;
use web_sys::AbortSignal;

use super::course::{Counts, Course};
use crate::{
    store::runs::{self, Loss, Measured, RunInfo},
    web::{self, check_signal, now_ms},
};

/// A checkpoint is kept at least this often; a step, too, takes some of the 15 seconds that are promised.
const KEEP_MS: f64 = 10_000.0;
/// Reports come no more often than this.
const TELL_MS: f64 = 200.0;

/// Previews are written no more often than this, so that they take a small part of the time.
const SHOW_MS: f64 = 20_000.0;

/// How a run is heard and reached.
pub struct Hooks<'a> {
    /// Told how far it has come.
    pub on_progress: &'a dyn Fn(&Report<'_>),
    /// Ends it and removes it.
    pub signal: Option<&'a AbortSignal>,
    /// Makes it keep a checkpoint and end as paused.
    pub pause: Option<&'a AbortSignal>,
}

/// How far learning has come, as JavaScript sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report<'a> {
    phase: &'static str,
    run: &'a str,
    step: u32,
    steps: u32,
    losses: &'a [Loss],
    measurements: &'a [Measured],
    tokens_per_s: f64,
    seconds_left: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preview: Option<Preview>,
}

/// Where a run begins.
pub enum Start<'a> {
    /// Before the first step, with the documents to keep.
    New(&'a JsValue),
    /// Where it was left, and what share of a preview of that state is copied, if one was written.
    At(Box<Checkpoint>, Option<f32>),
}

/// Where a run got to.
pub enum Taught {
    /// A checkpoint is kept, and it can go on.
    Paused,
    /// It has measured the held-out text, and a preview is due: the adapter must be written with, then it goes on.
    Measured(Box<Checkpoint>),
    /// It is over.
    Over {
        /// What came of it.
        outcome: Outcome,
        /// The numbers of the fullest state and of the best; empty where nothing was learned.
        fullest: Vec<f32>,
        /// See above.
        best: Vec<f32>,
    },
}

/// What the latest preview shows.
#[derive(Default)]
pub struct Latest {
    /// How much of it is copied.
    pub copied: Share,
    /// Names of the text in it.
    pub names: Vec<Name>,
}

/// Looks after one run.
pub struct Tutor<'a> {
    /// What is told of the run.
    pub run: RunInfo,
    /// How it is heard and reached.
    pub hooks: &'a Hooks<'a>,
    /// What was written with it last.
    pub latest: Latest,
    counts: Option<Counts>,
    text_bytes: f64,
    /// How many losses and measurements were told.
    told: (usize, usize),
    told_ms: f64,
    kept_ms: f64,
    shown_ms: f64,
    began_ms: f64,
    /// Steps and tokens since it began or went on.
    steps: u32,
    tokens: usize,
}

impl<'a> Tutor<'a> {
    /// For a run whose documents have so many bytes.
    pub fn new(run: RunInfo, course: &Course, hooks: &'a Hooks<'a>) -> Self {
        let now = now_ms();
        Self {
            run,
            hooks,
            latest: Latest::default(),
            counts: Some(course.counts()),
            text_bytes: course.size_bytes as f64,
            told: (0, 0),
            told_ms: f64::NEG_INFINITY,
            kept_ms: now,
            shown_ms: f64::NEG_INFINITY,
            began_ms: now,
            steps: 0,
            tokens: 0,
        }
    }

    /// Runs until the end, a pause or a cancel.
    ///
    /// # Errors
    /// What the learner and the store report; `cancelled`.
    pub async fn teach<L: Learner>(&mut self, learner: L, course: &Course, start: Start<'_>) -> Result<Taught> {
        let lessons = course.lessons.clone();
        let mut trainer = match start {
            Start::New(documents) => {
                let mut trainer = Trainer::new(learner, lessons, course.recipe.clone())?;
                let (_, checkpoint) = self.checkpoint(&mut trainer).await?;
                runs::begin(&self.run, documents, &checkpoint).await?;
                trainer
            }
            Start::At(checkpoint, copied) => {
                let mut trainer = Trainer::resume(learner, lessons, &self.run.base, *checkpoint).await?;
                copied.into_iter().for_each(|share| trainer.copied(share));
                trainer
            }
        };
        self.tell("measure", &trainer);
        loop {
            // On the processor nothing else lets a wish in.
            web::breathe().await;
            check_signal(self.hooks.signal)?;
            let pause = self.hooks.pause.is_some_and(AbortSignal::aborted);
            if pause || now_ms() - self.kept_ms >= KEEP_MS {
                self.keep(&mut trainer).await?;
            }
            if pause {
                return Ok(Taught::Paused);
            }
            match trainer.step().await? {
                Event::Stepped { tokens } => {
                    self.steps += 1;
                    self.tokens += tokens;
                    self.tell_sometimes("learn", &trainer);
                }
                Event::Read { .. } => self.tell_sometimes("measure", &trainer),
                Event::Measured(measurement) => {
                    self.tell("measure", &trainer);
                    if measurement.step > 0 && now_ms() - self.shown_ms >= SHOW_MS {
                        return Ok(Taught::Measured(Box::new(self.keep(&mut trainer).await?)));
                    }
                }
                Event::Ended(outcome) => {
                    self.tell("learn", &trainer);
                    let kept = |choice| trainer.kept(choice).map(<[f32]>::to_vec).unwrap_or_default();
                    return Ok(Taught::Over { outcome, fullest: kept(Choice::Fullest), best: kept(Choice::Best) });
                }
            }
        }
    }

    /// Shows a preview.
    pub fn show(&mut self, preview: Preview) {
        self.shown_ms = now_ms();
        self.latest = Latest { copied: preview.copied, names: preview.names.clone() };
        self.report("preview", Some(preview));
    }

    /// Tells that what was learned is being kept.
    pub fn save(&mut self) {
        self.report("save", None);
    }

    async fn keep<L: Learner>(&mut self, trainer: &mut Trainer<L>) -> Result<Checkpoint> {
        let (checkpoint, bytes) = self.checkpoint(trainer).await?;
        runs::checkpoint(&self.run, &bytes).await?;
        self.kept_ms = now_ms();
        Ok(checkpoint)
    }

    async fn checkpoint<L: Learner>(&mut self, trainer: &mut Trainer<L>) -> Result<(Checkpoint, Vec<u8>)> {
        let checkpoint = trainer.checkpoint(&self.run.base, "").await?;
        let bytes = checkpoint.to_bytes()?;
        self.run.follow(trainer.journal(), trainer.steps());
        self.run.updated_ms = js_sys::Date::now();
        self.run.size_bytes = bytes.len() as f64 + self.text_bytes;
        Ok((checkpoint, bytes))
    }

    fn tell_sometimes<L: Learner>(&mut self, phase: &'static str, trainer: &Trainer<L>) {
        if now_ms() - self.told_ms >= TELL_MS {
            self.tell(phase, trainer);
        }
    }

    fn tell<L: Learner>(&mut self, phase: &'static str, trainer: &Trainer<L>) {
        self.run.follow(trainer.journal(), trainer.steps());
        self.report(phase, None);
    }

    fn report(&mut self, phase: &'static str, preview: Option<Preview>) {
        let run = &self.run;
        let elapsed_s = (now_ms() - self.began_ms).max(1.0) / 1000.0;
        let left = f64::from(run.steps.saturating_sub(run.step));
        (self.hooks.on_progress)(&Report {
            phase,
            run: &run.id,
            step: run.step,
            steps: run.steps,
            losses: run.losses.get(self.told.0..).unwrap_or_default(),
            measurements: run.measurements.get(self.told.1..).unwrap_or_default(),
            tokens_per_s: self.tokens as f64 / elapsed_s,
            // Before the first step there is nothing to go by.
            seconds_left: if self.steps == 0 { 0.0 } else { left * elapsed_s / f64::from(self.steps) },
            counts: self.counts.take(),
            preview,
        });
        self.told = (run.losses.len(), run.measurements.len());
        self.told_ms = now_ms();
    }
}
