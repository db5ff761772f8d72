//! Learning on the plain forward, with Burn's autodiff: the reference, and the way of machines without a GPU.
//!
//! Only the input of every block is kept on the way up. On the way down a block is run again with its pairs as the
//! leaves of a graph of its own, so one block's weights at most are unpacked at once and no gradient of a frozen weight
//! is ever formed. Clip and AdamW run over plain numbers.

use burn::tensor::{Int, Tensor, TensorData};

use super::{Learner, Loss, State, Update};
use crate::{
    adapter::Adapter,
    error::{Error, ErrorKind, Result},
    model::{LowRank, Model, Positions, Sides, log_likelihoods},
};

/// Tokens whose scores over the whole vocabulary are in memory at once.
const SCORED: usize = 64;

/// Learns one adapter over a plain model on its device.
pub struct PlainLearner<'m> {
    model: &'m Model,
    adapter: Adapter,
    /// Where the numbers of each block begin among all of the adapter's.
    starts: Vec<usize>,
    /// The first block that has a pair: gradients need to go no further down.
    lowest: usize,
    first: Vec<f32>,
    second: Vec<f32>,
    steps: u32,
    losses: Vec<Loss>,
}

/// The mean loss of some windows and its gradient, in the order of [`Adapter::parameters`].
#[derive(Debug, Clone, PartialEq)]
pub struct Gradient {
    /// Mean negative log-likelihood of the predicted tokens, in nats.
    pub nll: f32,
    /// One number for each of the adapter's.
    pub values: Vec<f32>,
}

impl<'m> PlainLearner<'m> {
    /// A learner that goes on from `adapter` as if nothing had been learned before.
    ///
    /// # Errors
    /// What [`Adapter::check`] refuses; `invalid-option` for an adapter without pairs.
    pub fn new(model: &'m Model, adapter: &Adapter) -> Result<Self> {
        adapter.check(&model.config, None)?;
        let Some(lowest) = adapter.iter().map(|(layer, _, _)| layer).next() else {
            return Err(Error::new(ErrorKind::InvalidOption, "the adapter has no pairs to learn; make it with some"));
        };
        let mut sizes = vec![0; adapter.n_layers()];
        adapter.iter().for_each(|(layer, _, pair)| sizes[layer] += pair.a.len() + pair.b.len());
        let starts = sizes.iter().scan(0, |end, size| Some(std::mem::replace(end, *end + size))).collect();
        let n = adapter.n_parameters();
        let (first, second) = (vec![0.0; n], vec![0.0; n]);
        Ok(Self { model, adapter: adapter.clone(), starts, lowest, first, second, steps: 0, losses: Vec::new() })
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
        let low_rank = self.low_rank();
        let mut values = vec![0.0; self.adapter.n_parameters()];
        let mut sum = 0.0;
        for window in windows {
            sum += self.backward(&low_rank, window, weight, &mut values).await?;
        }
        Ok(Gradient { nll: (sum / predicted as f64) as f32, values })
    }

    fn low_rank(&self) -> LowRank {
        LowRank::new(&self.adapter, 1.0, &self.model.device)
    }

    /// Adds the gradient of `weight` times the summed loss of `window` to `gradient`, and gives the summed loss.
    async fn backward(&self, low_rank: &LowRank, window: &[u32], weight: f32, gradient: &mut [f32]) -> Result<f64> {
        let (ids, targets) = (&window[..window.len() - 1], &window[1..]);
        let at = Positions::new(&self.model.config, 0, ids.len(), &self.model.device);
        let mut inputs = Vec::with_capacity(self.model.blocks.len());
        let mut x = self.model.embed(ids, 1);
        for (block, sides) in self.model.blocks.iter().zip(&low_rank.blocks) {
            inputs.push(x.clone());
            let block = block.unpacked(&self.model.device);
            x = block.forward(&self.model.config, x, &at, Some(sides), None);
        }
        let (nll, mut down) = self.head_backward(x, targets, weight).await?;
        for (layer, x) in inputs.into_iter().enumerate().skip(self.lowest).rev() {
            let sides = tracked(&low_rank.blocks[layer]);
            let x = if layer > self.lowest { leaf(x) } else { x };
            let block = self.model.blocks[layer].unpacked(&self.model.device);
            let y = block.forward(&self.model.config, x.clone(), &at, Some(&sides), None);
            // The product's gradient for `y` is `down`: this seeds the block with what came from above.
            let mut gradients = (y * down.clone()).sum().backward();
            let mut place = self.starts[layer];
            for side in sides.paths.iter().flatten() {
                for matrix in [&side.a, &side.b] {
                    let found = matrix.grad_remove(&mut gradients).expect("a pair is a leaf of its block's graph");
                    let found = read_f32(found.into_data_async().await)?;
                    gradient[place..].iter_mut().zip(&found).for_each(|(sum, new)| *sum += new);
                    place += found.len();
                }
            }
            if layer > self.lowest {
                down = x.grad_remove(&mut gradients).expect("a block's input is a leaf of its graph");
            }
        }
        Ok(nll.iter().map(|&nll| f64::from(nll)).sum())
    }

    /// The loss of each target after the last block's `x`, and the gradient of `weight` times their sum for `x`.
    ///
    /// Of the scores `z = h·Wᵀ` the gradient is `softmax(z) - onehot`, so that of `h` is `softmax(z)·W - W[target]`.
    async fn head_backward(&self, x: Tensor<3>, targets: &[u32], weight: f32) -> Result<(Vec<f32>, Tensor<3>)> {
        let x = leaf(x);
        let hidden = self.model.norm.forward(x.clone());
        let head = self.model.head.weight(&self.model.device);
        let mut nll = Vec::with_capacity(targets.len());
        let mut parts = Vec::new();
        for (rows, targets) in rows(hidden.clone().inner()).into_iter().zip(targets.chunks(SCORED)) {
            let (log_p, targets) = score(&head, rows, targets);
            let taken = log_p.clone().gather(1, targets.clone()).neg();
            nll.extend(read_f32(taken.into_data_async().await)?);
            let expected = head.clone().select(0, targets.squeeze_dim(1));
            parts.push((log_p.exp().matmul(head.clone()) - expected) * weight);
        }
        let down = Tensor::cat(parts, 0).unsqueeze();
        let mut gradients = (hidden * down).sum().backward();
        Ok((nll, x.grad_remove(&mut gradients).expect("the norm's input is a leaf of its graph")))
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

impl Learner for PlainLearner<'_> {
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
        let (ids, targets) = (&window[..window.len() - 1], &window[1..]);
        let hidden = self.model.forward(ids, 1, None, Some(&self.low_rank()));
        let head = self.model.head.weight(&self.model.device);
        let mut nll = Vec::with_capacity(targets.len());
        for (rows, targets) in rows(hidden).into_iter().zip(targets.chunks(SCORED)) {
            let (log_p, targets) = score(&head, rows, targets);
            nll.extend(read_f32(log_p.gather(1, targets).neg().into_data_async().await)?);
        }
        Ok(nll)
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

/// A tensor whose gradient is kept.
fn leaf<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    tensor.autodiff().require_grad()
}

/// The side paths with matrices whose gradients are kept.
fn tracked(sides: &Sides) -> Sides {
    let mut sides = sides.clone();
    for side in sides.paths.iter_mut().flatten() {
        side.a = leaf(side.a.clone());
        side.b = leaf(side.b.clone());
    }
    sides
}

/// Cuts `[1, seq, d_model]` into `[n, d_model]`, `n` at most [`SCORED`].
fn rows(hidden: Tensor<3>) -> Vec<Tensor<2>> {
    hidden.squeeze_dim::<2>(0).split(SCORED, 0)
}

/// Logarithms of the likelihoods of every token, `[n, vocab]`, and the targets as `[n, 1]`.
fn score(head: &Tensor<2>, rows: Tensor<2>, targets: &[u32]) -> (Tensor<2>, Tensor<2, Int>) {
    let ids: Vec<i32> = targets.iter().map(|&id| id as i32).collect();
    let ids = Tensor::from_data(TensorData::new(ids, [targets.len(), 1]), &rows.device());
    (log_likelihoods(rows.matmul(head.clone().transpose())), ids)
}

/// The numbers of a tensor that was read from its device.
fn read_f32<E: std::error::Error + Send + Sync + 'static>(data: Result<TensorData, E>) -> Result<Vec<f32>> {
    let data = data.map_err(|e| Error::new(ErrorKind::DeviceLost, "the device gave no numbers back").with_source(e))?;
    data.try_into_vec().map_err(|e| Error::new(ErrorKind::Internal, format!("a tensor is not f32: {e:?}")))
}
