//! A run of learning: what is read when, what is measured, what is kept, and when it ends.
//!
//! [`Trainer::step`] returns after one step of the optimiser or one window of the hold-out, so that whoever owns the loop
//! can pause, cancel, show progress and write a checkpoint at any time.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Learner, Lessons, Recipe};
use crate::error::{Error, ErrorKind, Result};

/// What one step brought.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The optimiser made an update; its loss may come with a later event, see [`Journal::losses`].
    Stepped {
        /// Tokens predicted in it.
        tokens: usize,
    },
    /// A window of the hold-out was read.
    Read {
        /// Windows read of this measurement.
        done: usize,
        /// Windows to read.
        total: usize,
    },
    /// The last window of a measurement was read. Whoever watches for copying tells [`Trainer::copied`] now.
    Measured(Measurement),
    /// Learning is over; further steps say so again.
    Ended(Outcome),
}

/// The hold-out as the adapter predicted it at one time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Updates made before it.
    pub step: u32,
    /// Mean negative log-likelihood of the predicted tokens, in nats.
    pub nll: f32,
    /// The same in bits a character.
    pub bits_per_char: f32,
    /// Share of runs in previews that are copied from the text, where someone looked.
    pub copied: Option<f32>,
}

/// Why learning ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// All steps are made.
    Planned,
    /// The gain on the hold-out fell under the line at two measurements running.
    Faded,
    /// The adapter began to copy its text.
    Copying,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// An adapter that predicts the hold-out better than none.
    Learned {
        /// Why it ended.
        ending: Ending,
        /// The hold-out without an adapter.
        before: Measurement,
        /// The state that predicts the hold-out best.
        best: Measurement,
        /// The latest state that holds enough of the best gain: more of the voice.
        fullest: Measurement,
    },
    /// No state was better than none: there is nothing to save.
    Nothing {
        /// Why it ended.
        ending: Ending,
        /// The hold-out without an adapter.
        before: Measurement,
        /// What to tell the person.
        why: String,
    },
}

/// Which of the two kept states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The one that predicts the hold-out best.
    Best,
    /// The latest that holds enough of the best gain.
    #[default]
    Fullest,
}

/// What happened so far.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Journal {
    /// Updates made.
    pub step: u32,
    /// Mean loss of each step in nats, as far as the device told it.
    pub losses: Vec<f32>,
    /// The hold-out, before the first step and since.
    pub measurements: Vec<Measurement>,
    /// Why it ended, when it has.
    pub ending: Option<Ending>,
    /// Whether the latest measurement is not judged yet.
    pub(super) open: bool,
}

/// A state worth keeping.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kept {
    /// Which measurement found it.
    pub(super) at: usize,
    pub(super) parameters: Arc<Vec<f32>>,
}

/// A measurement under way.
#[derive(Default)]
struct Reading {
    windows: usize,
    tokens: usize,
    sum: f64,
}

/// Drives a [`Learner`] through its lessons.
pub struct Trainer<L> {
    pub(super) learner: L,
    pub(super) lessons: Lessons,
    pub(super) recipe: Recipe,
    pub(super) journal: Journal,
    pub(super) best: Option<Kept>,
    pub(super) fullest: Option<Kept>,
    reading: Reading,
    /// A pass and the order of its windows.
    order: Option<(usize, Vec<usize>)>,
}

impl<L: Learner> Trainer<L> {
    /// Begins a run.
    ///
    /// # Errors
    /// `invalid-option` for a recipe with a number outside its range.
    ///
    /// # Panics
    /// If there is nothing to learn from or nothing held out, which [`Lessons::new`] never gives.
    pub fn new(learner: L, lessons: Lessons, recipe: Recipe) -> Result<Self> {
        recipe.check()?;
        assert!(!lessons.windows.is_empty() && !lessons.holdout.is_empty(), "lessons hold windows of both kinds");
        let journal = Journal::default();
        Ok(Self {
            learner,
            lessons,
            recipe,
            journal,
            best: None,
            fullest: None,
            reading: Reading::default(),
            order: None,
        })
    }

    /// What happened so far.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The numbers it learns with.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Steps at the planned end.
    pub fn steps(&self) -> u32 {
        self.recipe.steps(self.lessons.windows.len())
    }

    /// What computes: for previews of the adapter as it stands.
    pub fn learner(&mut self) -> &mut L {
        &mut self.learner
    }

    /// The numbers of a kept state, in the order of [`Adapter::parameters`](crate::adapter::Adapter::parameters).
    pub fn kept(&self, choice: Choice) -> Option<&[f32]> {
        let kept = match choice {
            Choice::Best => &self.best,
            Choice::Fullest => &self.fullest,
        };
        kept.as_ref().map(|kept| kept.parameters.as_slice())
    }

    /// Tells, after [`Event::Measured`], which share of runs in previews of the measured state is copied. A share over
    /// the recipe's limit ends the run, and the state is not kept.
    pub fn copied(&mut self, share: f32) {
        if self.journal.open
            && let Some(latest) = self.journal.measurements.last_mut()
        {
            latest.copied = Some(share);
        }
    }

    /// Goes on: makes an update, or reads one window of the hold-out.
    ///
    /// # Errors
    /// What the learner gives, and `invalid-option` when the loss is no longer a number: the rate is too high.
    pub async fn step(&mut self) -> Result<Event> {
        if self.journal.open {
            self.judge().await?;
        }
        if let Some(ending) = self.journal.ending {
            return Ok(Event::Ended(self.outcome(ending)));
        }
        if self.journal.step >= self.due() { self.read().await } else { self.update().await }
    }

    /// The step before which the next measurement is made.
    fn due(&self) -> u32 {
        let pass = self.lessons.windows.len() as f64 / self.recipe.accumulation as f64;
        let stride = (f64::from(self.recipe.interval) * pass).max(1.0);
        ((self.journal.measurements.len() as f64 * stride).round() as u32).min(self.steps())
    }

    async fn update(&mut self) -> Result<Event> {
        let (step, n) = (self.journal.step, self.recipe.accumulation);
        let places: Vec<usize> = (0..n).map(|i| self.place(step as usize * n + i)).collect();
        let windows: Vec<&[u32]> = places.iter().map(|&place| self.lessons.windows[place].as_slice()).collect();
        let tokens = windows.iter().map(|window| window.len() - 1).sum();
        self.learner.step(&windows, &self.recipe.update(step, self.steps())).await?;
        self.journal.step += 1;
        self.collect(false).await?;
        Ok(Event::Stepped { tokens })
    }

    /// Where the window stands that is read as the `n`th of the whole run. Each pass has an order of its own, which
    /// comes from the seed alone.
    fn place(&mut self, n: usize) -> usize {
        let count = self.lessons.windows.len();
        let pass = n / count;
        if self.order.as_ref().is_none_or(|(of, _)| *of != pass) {
            self.order = Some((pass, shuffled(count, self.recipe.seed, pass)));
        }
        self.order.as_ref().map_or(n % count, |(_, order)| order[n % count])
    }

    pub(super) async fn collect(&mut self, all: bool) -> Result<()> {
        let losses = self.learner.losses(all).await?;
        for loss in losses {
            if !loss.nll.is_finite() || !loss.grad_norm.is_finite() {
                return Err(diverged(self.journal.losses.len()));
            }
            self.journal.losses.push(loss.nll);
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<Event> {
        let total = self.lessons.holdout.len();
        let nll = self.learner.evaluate(&self.lessons.holdout[self.reading.windows]).await?;
        self.reading.sum += nll.iter().map(|&nll| f64::from(nll)).sum::<f64>();
        self.reading.tokens += nll.len();
        self.reading.windows += 1;
        if self.reading.windows < total {
            return Ok(Event::Read { done: self.reading.windows, total });
        }
        let Reading { sum, tokens, .. } = std::mem::take(&mut self.reading);
        if !sum.is_finite() {
            return Err(diverged(self.journal.step as usize));
        }
        self.collect(true).await?;
        let bits_per_char = (sum / std::f64::consts::LN_2 / self.lessons.characters.max(1) as f64) as f32;
        let nll = (sum / tokens.max(1) as f64) as f32;
        let measurement = Measurement { step: self.journal.step, nll, bits_per_char, copied: None };
        self.journal.measurements.push(measurement);
        self.journal.open = true;
        Ok(Event::Measured(measurement))
    }

    /// Decides what the latest measurement means: whether its state is kept, and whether the run ends.
    async fn judge(&mut self) -> Result<()> {
        let at = self.journal.measurements.len() - 1;
        let latest = self.journal.measurements[at];
        let copies = latest.copied.is_some_and(|share| share > self.recipe.copying);
        if at > 0 && !copies && self.gain(at) > 0.0 && self.gain(at) >= self.line() {
            let parameters = Arc::new(self.learner.state().await?.parameters);
            let kept = Kept { at, parameters };
            if self.best.as_ref().is_none_or(|best| self.gain(at) > self.gain(best.at)) {
                self.best = Some(kept.clone());
            }
            self.fullest = Some(kept);
        }
        self.journal.ending = if copies {
            Some(Ending::Copying)
        } else if latest.step >= self.steps() {
            Some(Ending::Planned)
        } else if self.faded(at) {
            Some(Ending::Faded)
        } else {
            None
        };
        self.journal.open = false;
        Ok(())
    }

    /// Nats a token that the hold-out is predicted better than without an adapter.
    fn gain(&self, at: usize) -> f32 {
        self.journal.measurements[0].nll - self.journal.measurements[at].nll
    }

    /// The gain that the fullest state must hold.
    fn line(&self) -> f32 {
        self.best.as_ref().map_or(0.0, |best| self.recipe.hold * self.gain(best.at))
    }

    /// Whether the two latest measurements lie under the line. Before anything was gained the first pass is waited for.
    fn faded(&self, at: usize) -> bool {
        let pass = self.lessons.windows.len().div_ceil(self.recipe.accumulation) as u32;
        let started = self.best.is_some() || self.journal.step >= pass;
        let under = |at: usize| self.gain(at) < self.line() || self.gain(at) <= 0.0;
        started && at > 1 && under(at) && under(at - 1)
    }

    fn outcome(&self, ending: Ending) -> Outcome {
        let before = self.journal.measurements[0];
        if let (Some(best), Some(fullest)) = (&self.best, &self.fullest) {
            let [best, fullest] = [best, fullest].map(|kept| self.journal.measurements[kept.at]);
            return Outcome::Learned { ending, before, best, fullest };
        }
        let least = self.journal.measurements[1..].iter().map(|m| m.bits_per_char).fold(f32::INFINITY, f32::min);
        let why = match ending {
            Ending::Copying => "the adapter copies its text before it predicts the held-out part better; nothing is \
                saved: give it more text, or a lower rate"
                .to_owned(),
            _ => format!(
                "the held-out text is predicted no better with the adapter ({least:.3} bits a character) than without \
                 ({:.3}); nothing is saved: give it more text, text of one voice, or a lower rate",
                before.bits_per_char
            ),
        };
        Outcome::Nothing { ending, before, why }
    }
}

fn diverged(step: usize) -> Error {
    let message = format!("the loss is no longer a number at step {step}; learn again with a lower rate");
    Error::new(ErrorKind::InvalidOption, message)
}

/// The order of a pass (Fisher & Yates), from the seed and the pass alone: a run that goes on needs no other memory.
fn shuffled(count: usize, seed: u32, pass: usize) -> Vec<usize> {
    let mut state = (u64::from(seed) << 32) ^ pass as u64;
    let mut next = || {
        // splitmix64 (Steele et al. 2014)
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, (next() % (last as u64 + 1)) as usize);
    }
    order
}
