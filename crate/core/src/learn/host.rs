//! Learning in the host's memory: gradients of the model at hand, clip and AdamW over plain numbers.

use super::{Learner, Loss, State, Update};
use crate::{
    adapter::Adapter,
    config::ModelConfig,
    error::{Error, ErrorKind, Result},
    processor::{Paths, Processor, Reading},
};

/// A frozen model that tells how the loss of a text moves with an adapter.
#[allow(async_fn_in_trait)] // Awaited in place, never sent to another thread.
pub trait Differentiate {
    /// Its shape.
    fn config(&self) -> &ModelConfig;

    /// Adds the gradient of `weight` times the summed loss of `window` to `gradient`, in the order of
    /// [`Adapter::parameters`]; gives the negative log-likelihood of each id after the first, in nats.
    ///
    /// # Errors
    /// `device-lost`.
    async fn backward(&self, adapter: &Adapter, window: &[u32], weight: f32, gradient: &mut [f32]) -> Result<Vec<f32>>;

    /// Negative log-likelihood of each id after the first, in nats.
    ///
    /// # Errors
    /// `device-lost`.
    async fn nll(&self, adapter: &Adapter, window: &[u32]) -> Result<Vec<f32>>;
}

impl Differentiate for Processor {
    fn config(&self) -> &ModelConfig {
        &self.model.config
    }

    async fn backward(&self, adapter: &Adapter, window: &[u32], weight: f32, gradient: &mut [f32]) -> Result<Vec<f32>> {
        Ok(Processor::backward(self, adapter, window, weight, gradient))
    }

    async fn nll(&self, adapter: &Adapter, window: &[u32]) -> Result<Vec<f32>> {
        let mut reading = Reading::new(Some(Paths::new(adapter, 1.0).into()));
        let hidden = self.read(&window[..window.len() - 1], &mut [&mut reading]);
        Ok(Processor::nll(self, &hidden, &window[1..]))
    }
}

/// Learns one adapter over a model on its device.
pub struct HostLearner<'m, M> {
    model: &'m M,
    adapter: Adapter,
    first: Vec<f32>,
    second: Vec<f32>,
    steps: u32,
    losses: Vec<Loss>,
}

/// Learns on the processor.
pub type ProcessorLearner<'m> = HostLearner<'m, Processor>;

/// The mean loss of some windows and its gradient, in the order of [`Adapter::parameters`].
#[derive(Debug, Clone, PartialEq)]
pub struct Gradient {
    /// Mean negative log-likelihood of the predicted tokens, in nats.
    pub nll: f32,
    /// One number for each of the adapter's.
    pub values: Vec<f32>,
}

impl<'m, M: Differentiate> HostLearner<'m, M> {
    /// A learner that goes on from `adapter` as if nothing had been learned before.
    ///
    /// # Errors
    /// What [`Adapter::check`] refuses; `invalid-option` for an adapter without pairs.
    pub fn new(model: &'m M, adapter: &Adapter) -> Result<Self> {
        adapter.check(model.config(), None)?;
        let n = adapter.n_parameters();
        if n == 0 {
            return Err(Error::new(ErrorKind::InvalidOption, "the adapter has no pairs to learn; make it with some"));
        }
        let (first, second) = (vec![0.0; n], vec![0.0; n]);
        Ok(Self { model, adapter: adapter.clone(), first, second, steps: 0, losses: Vec::new() })
    }

    /// The adapter as it stands.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// The loss of `windows`, averaged over all predicted tokens, and its gradient.
    ///
    /// # Errors
    /// `device-lost`.
    ///
    /// # Panics
    /// As [`Learner::step`].
    pub async fn gradient(&self, windows: &[&[u32]]) -> Result<Gradient> {
        assert!(!windows.is_empty() && windows.iter().all(|window| window.len() > 1), "windows predict something");
        let predicted: usize = windows.iter().map(|window| window.len() - 1).sum();
        let weight = 1.0 / predicted as f32;
        let mut values = vec![0.0; self.adapter.n_parameters()];
        let mut sum = 0.0;
        for window in windows {
            let nll = self.model.backward(&self.adapter, window, weight, &mut values).await?;
            sum += nll.iter().map(|&nll| f64::from(nll)).sum::<f64>();
        }
        Ok(Gradient { nll: (sum / predicted as f64) as f32, values })
    }

    /// One update of AdamW from gradients times `factor`.
    fn update(&mut self, gradient: &[f32], factor: f32, update: &Update) {
        let &Update { rate, beta1, beta2, eps, weight_decay, .. } = update;
        self.steps += 1;
        // Both means begin at zero, which this undoes.
        let correction = |beta: f32| (1.0 - f64::from(beta).powi(self.steps as i32)) as f32;
        let (correction1, correction2) = (correction(beta1), correction(beta2).sqrt());
        let mut parameters = self.adapter.parameters();
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((parameter, (first, second)), gradient) in parameters.iter_mut().zip(moments).zip(gradient) {
            let gradient = gradient * factor;
            *first = beta1 * *first + (1.0 - beta1) * gradient;
            *second = beta2 * *second + (1.0 - beta2) * gradient * gradient;
            let direction = (*first / correction1) / (second.sqrt() / correction2 + eps);
            *parameter -= rate * (direction + weight_decay * *parameter);
        }
        self.adapter.set_parameters(&parameters);
    }
}

impl<M: Differentiate> Learner for HostLearner<'_, M> {
    async fn step(&mut self, windows: &[&[u32]], update: &Update) -> Result<()> {
        let Gradient { nll, values } = self.gradient(windows).await?;
        let grad_norm = values.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt() as f32;
        self.losses.push(Loss { nll, grad_norm });
        // What is not a number stays out of the adapter; the loss tells of it.
        if nll.is_finite() && grad_norm.is_finite() {
            let factor = update.clip.map_or(1.0, |most| (most / grad_norm).min(1.0));
            self.update(&values, factor, update);
        }
        Ok(())
    }

    async fn losses(&mut self, _all: bool) -> Result<Vec<Loss>> {
        Ok(std::mem::take(&mut self.losses))
    }

    async fn evaluate(&mut self, window: &[u32]) -> Result<Vec<f32>> {
        self.model.nll(&self.adapter, window).await
    }

    async fn state(&mut self) -> Result<State> {
        let (first, second) = (self.first.clone(), self.second.clone());
        Ok(State { parameters: self.adapter.parameters(), first, second, steps: self.steps })
    }

    fn set_state(&mut self, state: &State) {
        let n = self.adapter.n_parameters();
        assert!(state.first.len() == n && state.second.len() == n, "a state is as large as its adapter");
        self.adapter.set_parameters(&state.parameters);
        self.first.clone_from(&state.first);
        self.second.clone_from(&state.second);
        self.steps = state.steps;
        self.losses.clear();
    }
}
