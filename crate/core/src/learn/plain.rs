//! Gradients of the plain forward by Burn's autodiff: the reference for those that are written by hand.
//!
//! Only the input of every block is kept on the way up. On the way down a block is run again with its pairs as the
//! leaves of a graph of its own, so one block's weights at most are unpacked at once and no gradient of a frozen weight
//! is ever formed.

use burn::tensor::{Int, Tensor, TensorData};

use super::{Differentiate, HostLearner};
use crate::{
    adapter::Adapter,
    config::ModelConfig,
    error::{Error, ErrorKind, Result},
    model::{LowRank, Model, Positions, Sides, log_likelihoods},
};

/// Learns on the plain forward, with Burn's autodiff: the reference.
pub type PlainLearner<'m> = HostLearner<'m, Model>;

/// Tokens whose scores over the whole vocabulary are in memory at once.
const SCORED: usize = 64;

/// The gradient, block by block.
struct Plain<'a> {
    model: &'a Model,
    low_rank: LowRank,
    /// Where the numbers of each block begin among all of the adapter's.
    starts: Vec<usize>,
    /// The first block that has a pair: gradients need to go no further down.
    lowest: usize,
}

impl Differentiate for Model {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    async fn backward(&self, adapter: &Adapter, window: &[u32], weight: f32, gradient: &mut [f32]) -> Result<Vec<f32>> {
        let mut sizes = vec![0; adapter.n_layers()];
        adapter.iter().for_each(|(layer, _, pair)| sizes[layer] += pair.a.len() + pair.b.len());
        let starts = sizes.iter().scan(0, |end, size| Some(std::mem::replace(end, *end + size))).collect();
        let lowest = sizes.iter().position(|&size| size > 0).unwrap_or(sizes.len());
        let low_rank = LowRank::new(adapter, 1.0, &self.device);
        Plain { model: self, low_rank, starts, lowest }.backward(window, weight, gradient).await
    }

    async fn nll(&self, adapter: &Adapter, window: &[u32]) -> Result<Vec<f32>> {
        let (ids, targets) = (&window[..window.len() - 1], &window[1..]);
        let hidden = self.forward(ids, 1, None, Some(&LowRank::new(adapter, 1.0, &self.device)));
        let head = self.head.weight(&self.device);
        let mut nll = Vec::with_capacity(targets.len());
        for (rows, targets) in rows(hidden).into_iter().zip(targets.chunks(SCORED)) {
            let (log_p, targets) = score(&head, rows, targets);
            nll.extend(read_f32(log_p.gather(1, targets).neg().into_data_async().await)?);
        }
        Ok(nll)
    }
}

impl Plain<'_> {
    async fn backward(&self, window: &[u32], weight: f32, gradient: &mut [f32]) -> Result<Vec<f32>> {
        let (ids, targets) = (&window[..window.len() - 1], &window[1..]);
        let at = Positions::new(&self.model.config, 0, ids.len(), &self.model.device);
        let mut inputs = Vec::with_capacity(self.model.blocks.len());
        let mut x = self.model.embed(ids, 1);
        for (layer, (block, sides)) in self.model.blocks.iter().zip(&self.low_rank.blocks).enumerate() {
            inputs.push(x.clone());
            let block = block.unpacked(&self.model.device);
            x = block.forward(&self.model.config, x, at.of(&self.model.config, layer), Some(sides), None);
        }
        let (nll, mut down) = self.head_backward(x, targets, weight).await?;
        for (layer, x) in inputs.into_iter().enumerate().skip(self.lowest).rev() {
            let sides = tracked(&self.low_rank.blocks[layer]);
            let x = if layer > self.lowest { leaf(x) } else { x };
            let block = self.model.blocks[layer].unpacked(&self.model.device);
            let at = at.of(&self.model.config, layer);
            let y = block.forward(&self.model.config, x.clone(), at, Some(&sides), None);
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
        Ok(nll)
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
