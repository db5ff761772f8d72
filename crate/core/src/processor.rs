//! The forward on the processor: packed weights multiplied in whole numbers, on plain slices.
//!
//! It is an optimisation of the plain forward (`model.rs`), which laws hold it to, and never a second model.

mod attention;
mod back;
mod lanes;
mod panels;
mod paths;
mod product;
mod profile;
mod slope;

use std::sync::Arc;

pub use lanes::name;
pub use paths::Paths;
pub use profile::{Part, read_once};

use attention::{Turns, attend, exponentials, gated, norm};
use paths::Pair;
use product::{Activations, finest, project};

use crate::{
    adapter::Kind,
    packed::{Layer, Packed},
};

/// Texts whose scores over the whole vocabulary are in memory at once, in tokens.
const SCORED: usize = 16;

/// A packed model, ready to run on the processor.
pub struct Processor {
    /// Its weights.
    pub model: Packed,
}

/// How activations are multiplied with weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Products {
    /// In whole numbers: fast, and exact enough to write from.
    Whole,
    /// In f32: for measuring, and for gradients, which pass through every block twice.
    Exact,
}

/// What learning keeps of a block from the way up to the way down; keys and values are kept by the [`Reading`].
#[derive(Default)]
struct Kept {
    /// The block's input.
    x: Vec<f32>,
    /// Queries and keys before their norms; empty where there are none.
    unnormed: [Vec<f32>; 2],
    /// Queries, turned.
    q: Vec<f32>,
    attended: Vec<f32>,
    /// What attention and the feed-forward layer give, before their norms; empty where there are none.
    given: [Vec<f32>; 2],
    /// The residual stream between attention and the feed-forward layer.
    middle: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
}

/// One reading of a text: its keys and values, and the adapter it is read with.
#[derive(Clone, Default)]
pub struct Reading {
    /// The adapter's paths; none for the base.
    pub paths: Option<Arc<Paths>>,
    /// A block's keys and values, each `[len, n_kv_heads · d_head]`.
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    len: usize,
}

impl Reading {
    /// A text of which nothing is read yet.
    pub fn new(paths: Option<Arc<Paths>>) -> Self {
        Self { paths, ..Self::default() }
    }

    /// Tokens read.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is read yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all but the first `len` tokens.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn truncate(&mut self, len: usize) {
        assert!(len <= self.len, "{len} of {} tokens cannot stay", self.len);
        for (k, v) in &mut self.layers {
            let numbers = k.len() / self.len * len;
            k.truncate(numbers);
            v.truncate(numbers);
        }
        self.len = len;
    }

    /// Makes room for `n` more tokens in `n_layers` blocks.
    fn open(&mut self, n_layers: usize, n: usize) {
        self.layers.resize_with(n_layers, Default::default);
        self.len += n;
    }

    fn pair(&self, layer: usize, kind: Kind) -> Option<&Pair> {
        self.paths.as_ref()?.pair(layer, kind)
    }
}

impl Processor {
    /// Takes a model's weights; blocks of five bits become blocks of eight, for which there are products in registers.
    ///
    /// # Panics
    /// If a matrix ends inside a block: our bug, a model is checked when it is read.
    pub fn new(mut model: Packed) -> Self {
        for weights in model.layers.iter_mut().flat_map(|layer| &mut layer.weights) {
            *weights = weights.clone().widened().expect("whole blocks were checked at load");
        }
        Self { model }
    }

    /// Reads `ids` into every one of `readings`, which have read as many tokens so far; the weights are unpacked once for
    /// all of them.
    ///
    /// # Shapes
    /// - result: `[readings, ids, d_model]`, normed for the head
    ///
    /// # Panics
    /// If an id is not in the vocabulary or the readings are not equally long: callers see to both.
    pub fn read(&self, ids: &[u32], readings: &mut [&mut Reading]) -> Vec<f32> {
        self.read_with(Products::Whole, ids, readings)
    }

    fn read_with(&self, products: Products, ids: &[u32], readings: &mut [&mut Reading]) -> Vec<f32> {
        let x = self.blocks(products, ids, readings);
        norm(&x, &self.model.norm, self.model.config.norm_eps)
    }

    /// The residual stream after the last block.
    fn blocks(&self, products: Products, ids: &[u32], readings: &mut [&mut Reading]) -> Vec<f32> {
        let mut x = self.embed(ids).repeat(readings.len());
        let start = readings[0].len;
        let at = Turns::new(&self.model.config, start..start + ids.len());
        for reading in readings.iter_mut() {
            assert_eq!(reading.len, start, "texts read side by side are equally long");
            reading.open(self.model.layers.len(), ids.len());
        }
        for layer in 0..self.model.layers.len() {
            self.block(layer, &mut x, &at, readings, products, None);
        }
        x
    }

    /// What the first block reads.
    fn embed(&self, ids: &[u32]) -> Vec<f32> {
        let d_model = self.model.config.d_model;
        let mut x = vec![0.0; ids.len() * d_model];
        for (&id, row) in ids.iter().zip(x.chunks_exact_mut(d_model)) {
            self.model.embedding.row(id as usize, row);
        }
        let scale = self.model.config.embedding_scale;
        if scale != 1.0 {
            x.iter_mut().for_each(|x| *x *= scale);
        }
        x
    }

    /// Scores every token of the vocabulary.
    ///
    /// # Shapes
    /// - `hidden`: `[rows, d_model]` from [`Processor::read`], result: `[rows, vocab]`
    pub fn logits(&self, hidden: &[f32]) -> Vec<f32> {
        project(&self.model.head, &Activations::new(hidden, self.model.head.cols, finest(&[&self.model.head])))
    }

    /// Scores every token of the vocabulary after the last of `ids`, with products of f32 numbers: what a GPU is held to.
    ///
    /// # Panics
    /// As [`Processor::read`].
    pub fn exact_scores(&self, ids: &[u32]) -> Vec<f32> {
        self.trace(ids).1
    }

    /// The residual stream after the last block of the last of `ids`, and the scores after it, as [`Processor::exact_scores`].
    ///
    /// # Panics
    /// As [`Processor::read`].
    pub fn trace(&self, ids: &[u32]) -> (Vec<f32>, Vec<f32>) {
        let x = self.blocks(Products::Exact, ids, &mut [&mut Reading::default()]);
        let last = x[x.len() - self.model.config.d_model..].to_vec();
        let scores = panels::project(&self.model.head, &norm(&last, &self.model.norm, self.model.config.norm_eps));
        (last, scores)
    }

    /// Reads `ids` and gives the negative log-likelihood of each of `targets`, which follow them, in nats.
    ///
    /// Its products are of f32 numbers, where those of [`Processor::read`] are within a few thousandths of a nat of a single
    /// token: what is measured is told to more digits than what is drawn from.
    ///
    /// # Panics
    /// As [`Processor::read`].
    pub fn score(&self, ids: &[u32], targets: &[u32], reading: &mut Reading) -> Vec<f32> {
        let hidden = self.read_with(Products::Exact, ids, &mut [reading]);
        self.nll_of(|hidden| panels::project(&self.model.head, hidden), &hidden, targets)
    }

    /// Negative log-likelihood of each target, in nats.
    ///
    /// # Shapes
    /// - `hidden`: `[targets, d_model]` from [`Processor::read`]
    pub fn nll(&self, hidden: &[f32], targets: &[u32]) -> Vec<f32> {
        self.nll_of(|hidden| self.logits(hidden), hidden, targets)
    }

    fn nll_of(&self, logits: impl Fn(&[f32]) -> Vec<f32>, hidden: &[f32], targets: &[u32]) -> Vec<f32> {
        let (vocab, d_model) = (self.model.config.vocab, self.model.config.d_model);
        let mut nll = Vec::with_capacity(targets.len());
        for (hidden, targets) in hidden.chunks(SCORED * d_model).zip(targets.chunks(SCORED)) {
            let mut scores = logits(hidden);
            for (scores, &target) in scores.chunks_exact_mut(vocab).zip(targets) {
                let aim = scores[target as usize];
                let (largest, sum) = exponentials(scores);
                nll.push(largest + sum.ln() - aim);
            }
        }
        nll
    }

    /// Runs block `layer` over `x` in place, `[readings, seq, d_model]`, and keeps its values where it is asked to.
    fn block(
        &self,
        layer: usize,
        x: &mut [f32],
        at: &Turns,
        readings: &mut [&mut Reading],
        products: Products,
        kept: Option<&mut Kept>,
    ) {
        let config = &self.model.config;
        let (at, window) = (at.of(config, layer), config.window_of(layer));
        let Layer { attention_norm, ffn_norm, more, .. } = &self.model.layers[layer];
        let input = if kept.is_some() { x.to_vec() } else { Vec::new() };
        let normed = norm(x, attention_norm, config.norm_eps);
        let mut qkv = self.project(layer, [Kind::Q, Kind::K, Kind::V], &normed, readings, products);
        for (x, bias) in qkv.iter_mut().zip(more.bias.iter().flatten()) {
            x.chunks_exact_mut(bias.len()).for_each(|x| add(x, bias));
        }
        let [mut q, mut k, v] = qkv;
        let mut unnormed = <[Vec<f32>; 2]>::default();
        if let Some([q_norm, k_norm]) = &more.head_norms {
            let normed = [norm(&q, q_norm, config.norm_eps), norm(&k, k_norm, config.norm_eps)];
            unnormed = [q, k];
            [q, k] = normed;
        }
        let n = readings.len();
        let mut attended = Vec::with_capacity(q.len());
        let (q_len, kv_len) = (q.len() / n, k.len() / n);
        let parts = q.chunks_exact_mut(q_len).zip(k.chunks_exact_mut(kv_len).zip(v.chunks_exact(kv_len)));
        for (reading, (q, (k, v))) in readings.iter_mut().zip(parts) {
            at.turn(q, config.n_heads);
            at.turn(k, config.n_kv_heads);
            let (keys, values) = &mut reading.layers[layer];
            keys.extend_from_slice(k);
            values.extend_from_slice(v);
            attended.extend(attend(config, window, q, keys, values));
        }
        let mut given = <[Vec<f32>; 2]>::default();
        [given[0]] = self.project(layer, [Kind::O], &attended, readings, products);
        self.join(layer, 0, x, &given[0]);
        let normed = norm(x, ffn_norm, config.norm_eps);
        let [gate, up] = self.project(layer, [Kind::Gate, Kind::Up], &normed, readings, products);
        let gates = gated(config.activation, &gate, &up);
        let middle = if kept.is_some() { x.to_vec() } else { Vec::new() };
        [given[1]] = self.project(layer, [Kind::Down], &gates, readings, products);
        self.join(layer, 1, x, &given[1]);
        if let Some(kept) = kept {
            if more.post_norms.is_none() {
                given = Default::default();
            }
            *kept = Kept { x: input, unnormed, q, attended, given, middle, gate, up };
        }
    }

    /// Adds what attention (0) or the feed-forward layer (1) gives to the residual stream, after its norm if it has one.
    fn join(&self, layer: usize, which: usize, x: &mut [f32], given: &[f32]) {
        match &self.model.layers[layer].more.post_norms {
            Some(norms) => add(x, &norm(given, &norms[which], self.model.config.norm_eps)),
            None => add(x, given),
        }
    }

    /// Projects `x` by several matrices of a block, each reading with its own low-rank paths beside them.
    fn project<const N: usize>(
        &self,
        layer: usize,
        kinds: [Kind; N],
        x: &[f32],
        readings: &[&mut Reading],
        products: Products,
    ) -> [Vec<f32>; N] {
        let weights = &self.model.layers[layer].weights;
        let cols = weights[kinds[0] as usize].cols;
        let integers = match products {
            Products::Exact => None,
            Products::Whole => Some(Activations::new(x, cols, finest(&kinds.map(|kind| &weights[kind as usize])))),
        };
        kinds.map(|kind| {
            let weights = &weights[kind as usize];
            let mut y = match &integers {
                Some(integers) => project(weights, integers),
                None => panels::project(weights, x),
            };
            let (x_len, y_len) = (x.len() / readings.len(), y.len() / readings.len());
            let parts = x.chunks_exact(x_len).zip(y.chunks_exact_mut(y_len));
            for (reading, (x, y)) in readings.iter().zip(parts) {
                if let Some(pair) = reading.pair(layer, kind) {
                    pair.add(x, y);
                }
            }
            y
        })
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
