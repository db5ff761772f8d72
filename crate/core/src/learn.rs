//! Learning an adapter from text.
//!
//! A [`Learner`] computes: forward, backward, clip and AdamW over one adapter, on one device. What to read, how fast,
//! when to measure and when to stop is decided apart from it.

mod checkpoint;
#[cfg(feature = "gpu")]
mod fused;
mod host;
mod lesson;
mod memory;
#[cfg(feature = "reference")]
mod plain;
mod recipe;
mod trainer;

pub use checkpoint::{About, Checkpoint};
#[cfg(feature = "gpu")]
pub use fused::FusedLearner;
pub use host::{Differentiate, Gradient, HostLearner, ProcessorLearner};
pub use lesson::{Course, LEAST_TOKENS, Lessons, Stream};
pub use memory::{Engine, Need, Room};
#[cfg(feature = "reference")]
pub use plain::PlainLearner;
pub use recipe::{Effort, Recipe};
pub use trainer::{Choice, Ending, Event, Journal, Measurement, Outcome, Trainer};

use crate::error::Result;

/// One step of AdamW (Loshchilov & Hutter 2019).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    /// Learning rate of this step.
    pub rate: f32,
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of squared gradients.
    pub beta2: f32,
    /// Keeps the root from zero.
    pub eps: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Gradients of a larger global norm are scaled down to it; `None` leaves them.
    pub clip: Option<f32>,
}

/// What a step found before it changed anything.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// Mean negative log-likelihood of the predicted tokens, in nats.
    pub nll: f32,
    /// Global norm of the gradients before clipping.
    pub grad_norm: f32,
}

/// All that a learner remembers between steps, in the order of [`Adapter::parameters`](crate::adapter::Adapter::parameters).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// The adapter's numbers.
    pub parameters: Vec<f32>,
    /// Running means of the gradients.
    pub first: Vec<f32>,
    /// Running means of the squared gradients.
    pub second: Vec<f32>,
    /// Updates made.
    pub steps: u32,
}

/// Computes the steps of one adapter over one frozen model.
#[allow(async_fn_in_trait)] // Awaited in place, never sent to another thread.
pub trait Learner {
    /// Makes one update from `windows`: their gradients are averaged over all predicted tokens. The device may still be
    /// working when this returns.
    ///
    /// # Errors
    /// `device-lost`, `out-of-memory`.
    ///
    /// # Panics
    /// If there is no window, one has fewer than 2 ids or more than the learner was made for: our bug.
    async fn step(&mut self, windows: &[&[u32]], update: &Update) -> Result<()>;

    /// Losses of the steps made since the last call, in order, as they are: one that is no number is [`Trainer`]'s to
    /// refuse. Unless `all` is set the latest may be left out until the next call, so that a device need not be waited for.
    ///
    /// # Errors
    /// `device-lost`.
    async fn losses(&mut self, all: bool) -> Result<Vec<Loss>>;

    /// Negative log-likelihood of each id after the first under the adapter as it stands, in nats.
    ///
    /// # Errors
    /// `device-lost`, `out-of-memory`.
    async fn evaluate(&mut self, window: &[u32]) -> Result<Vec<f32>>;

    /// A copy of all that is remembered.
    ///
    /// # Errors
    /// `device-lost`.
    async fn state(&mut self) -> Result<State>;

    /// Goes back to `state`.
    ///
    /// # Panics
    /// If it is of another size than this learner's adapter.
    fn set_state(&mut self, state: &State);
}
