//! The gradient of an adapter's loss on the processor, by hand.
//!
//! The values of every block are kept on the way up, so nothing but what is cheap is computed twice: attention's weights,
//! norms and bottlenecks. No gradient of a frozen weight is formed.

use std::sync::Arc;

use super::{
    Kept, Paths, Processor, Products, Reading, SCORED,
    attention::{Turns, exponentials, gated, norm},
    back::{attend_back, gated_back, norm_back},
    panels::{project, project_back},
};
use crate::adapter::{Adapter, Kind};

/// The adapter and where the gradient of each of its pairs goes.
struct Slopes<'a> {
    paths: &'a Paths,
    /// Where the numbers of each pair begin, by block and [`Kind`].
    starts: Vec<usize>,
    /// The first block that has a pair: gradients need to go no further down.
    lowest: usize,
    gradient: &'a mut [f32],
}

impl Processor {
    /// Adds the gradient of `weight` times the summed loss of `window` to `gradient`, in the order of
    /// [`Adapter::parameters`]; gives the loss of each id after the first.
    ///
    /// # Panics
    /// If the window has fewer than two ids or one outside the vocabulary, or the adapter is another model's.
    pub fn backward(&self, adapter: &Adapter, window: &[u32], weight: f32, gradient: &mut [f32]) -> Vec<f32> {
        let (ids, targets) = (&window[..window.len() - 1], &window[1..]);
        let config = &self.model.config;
        let paths = Arc::new(Paths::new(adapter, 1.0));
        let mut reading = Reading::new(Some(paths.clone()));
        let at = Turns::new(config, 0..ids.len());
        let mut kept: Vec<Kept> = Vec::with_capacity(self.model.layers.len());
        let mut x = self.embed(ids);
        reading.open(self.model.layers.len(), ids.len());
        for layer in 0..self.model.layers.len() {
            let mut values = Kept::default();
            self.block(layer, &mut x, &at, &mut [&mut reading], Products::Exact, Some(&mut values));
            kept.push(values);
        }
        let (nll, mut dy) = self.head_back(&x, targets, weight);
        let mut slopes = Slopes::new(adapter, &paths, gradient);
        while kept.len() > slopes.lowest {
            let layer = kept.len() - 1;
            let (k, v) = std::mem::take(&mut reading.layers[layer]);
            if let Some(kept) = kept.pop() {
                self.block_back(layer, kept, (k, v), &at, &mut slopes, &mut dy);
            }
        }
        nll
    }

    /// The loss of each target after the last block's `x`, and the gradient of `weight` times their sum for `x`.
    ///
    /// Of the scores `z = h·Wᵀ` the gradient is `softmax(z) - onehot`, so that of `h` is `softmax(z)·W - W[target]`.
    fn head_back(&self, x: &[f32], targets: &[u32], weight: f32) -> (Vec<f32>, Vec<f32>) {
        let (vocab, d_model) = (self.model.config.vocab, self.model.config.d_model);
        let hidden = norm(x, &self.model.norm, self.model.config.norm_eps);
        let mut d_hidden = vec![0.0; hidden.len()];
        let mut nll = Vec::with_capacity(targets.len());
        let parts = hidden.chunks(SCORED * d_model).zip(d_hidden.chunks_mut(SCORED * d_model));
        for ((hidden, d_hidden), targets) in parts.zip(targets.chunks(SCORED)) {
            let mut scores = project(&self.model.head, hidden);
            for (scores, &target) in scores.chunks_exact_mut(vocab).zip(targets) {
                let aim = scores[target as usize];
                let (largest, sum) = exponentials(scores);
                nll.push(largest + sum.ln() - aim);
                let factor = weight / sum;
                scores.iter_mut().for_each(|score| *score *= factor);
                scores[target as usize] -= weight;
            }
            project_back(&self.model.head, &scores, d_hidden);
        }
        let mut dx = vec![0.0; x.len()];
        norm_back(x, &self.model.norm, self.model.config.norm_eps, &d_hidden, &mut dx);
        (nll, dx)
    }

    /// Turns `dy`, the gradient of a block's output, into that of its input.
    fn block_back(
        &self,
        layer: usize,
        kept: Kept,
        (k, v): (Vec<f32>, Vec<f32>),
        at: &Turns,
        slopes: &mut Slopes<'_>,
        dy: &mut [f32],
    ) {
        let config = &self.model.config;
        let eps = config.norm_eps;
        let (at, window) = (at.of(config, layer), config.window_of(layer));
        let Kept { x, unnormed, q, attended, given, middle, gate, up } = kept;
        let own = &self.model.layers[layer];
        let mut back = |kinds: &[(Kind, &[f32])], x: &[f32]| {
            let mut dx = vec![0.0; x.len()];
            for &(kind, dy) in kinds {
                project_back(&own.weights[kind as usize], dy, &mut dx);
                slopes.pair(layer, kind, x, dy, &mut dx);
            }
            dx
        };
        let d_given = self.leave(layer, 1, &given[1], dy);
        let gates = gated(config.activation, &gate, &up);
        let d_gates = back(&[(Kind::Down, d_given.as_deref().unwrap_or(dy))], &gates);
        let [d_gate, d_up] = gated_back(config.activation, &gate, &up, &d_gates);
        let normed = norm(&middle, &own.ffn_norm, eps);
        let d_normed = back(&[(Kind::Gate, &d_gate), (Kind::Up, &d_up)], &normed);
        norm_back(&middle, &own.ffn_norm, eps, &d_normed, dy);

        let d_given = self.leave(layer, 0, &given[0], dy);
        let d_attended = back(&[(Kind::O, d_given.as_deref().unwrap_or(dy))], &attended);
        let [mut dq, mut dk, dv] = attend_back(config, window, &q, &k, &v, &d_attended);
        at.turn_back(&mut dq, config.n_heads);
        at.turn_back(&mut dk, config.n_kv_heads);
        if let Some(norms) = &own.more.head_norms {
            for ((x, weight), dy) in unnormed.iter().zip(norms).zip([&mut dq, &mut dk]) {
                let mut dx = vec![0.0; x.len()];
                norm_back(x, weight, eps, dy, &mut dx);
                *dy = dx;
            }
        }
        let normed = norm(&x, &own.attention_norm, eps);
        let d_normed = back(&[(Kind::Q, &dq), (Kind::K, &dk), (Kind::V, &dv)], &normed);
        norm_back(&x, &own.attention_norm, eps, &d_normed, dy);
    }

    /// The gradient of what attention (0) or the feed-forward layer (1) gives, where a norm stands before the residual
    /// stream, whose gradient is `dy`.
    fn leave(&self, layer: usize, which: usize, given: &[f32], dy: &[f32]) -> Option<Vec<f32>> {
        let norms = self.model.layers[layer].more.post_norms.as_ref()?;
        let mut dx = vec![0.0; given.len()];
        norm_back(given, &norms[which], self.model.config.norm_eps, dy, &mut dx);
        Some(dx)
    }
}

impl<'a> Slopes<'a> {
    fn new(adapter: &Adapter, paths: &'a Paths, gradient: &'a mut [f32]) -> Self {
        let mut starts = vec![0; adapter.n_layers() * Kind::ALL.len()];
        let mut start = 0;
        let mut lowest = adapter.n_layers();
        for (layer, kind, pair) in adapter.iter() {
            starts[layer * Kind::ALL.len() + kind as usize] = start;
            start += pair.a.len() + pair.b.len();
            lowest = lowest.min(layer);
        }
        Self { paths, starts, lowest, gradient }
    }

    /// The gradient of a pair, where there is one, and by way of it that of `x`.
    fn pair(&mut self, layer: usize, kind: Kind, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        if let Some(pair) = self.paths.pair(layer, kind) {
            let start = self.starts[layer * Kind::ALL.len() + kind as usize];
            pair.back(x, dy, dx, &mut self.gradient[start..][..pair.len()]);
        }
    }
}
