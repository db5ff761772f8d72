//! The forward on the processor: packed weights multiplied in whole numbers, on plain slices.
//!
//! It is an optimisation of [`Model::forward`], which laws hold it to, and never a second model.

mod attention;
mod lanes;
mod product;

use std::sync::Arc;

pub use lanes::name;

use attention::{Rotations, attend, exponentials, gated, norm};
use lanes::{Kernel, Lanes, run};
use product::{Activations, dot, project};

use crate::{
    adapter::{Adapter, Kind},
    linear::{Blocks, Linear},
    model::Model,
};

/// Texts whose scores over the whole vocabulary are in memory at once, in tokens.
const SCORED: usize = 16;

/// A packed model, ready to run on the processor.
pub struct Processor {
    /// The same model on Burn tensors: what it learns on.
    pub model: Model,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    head: Blocks,
}

struct Layer {
    attention_norm: Vec<f32>,
    ffn_norm: Vec<f32>,
    /// By [`Kind`], in its order.
    weights: [Blocks; Kind::ALL.len()],
}

/// The low-rank paths of an adapter as the processor multiplies them.
pub struct Paths {
    /// By block and [`Kind`], in their order.
    pairs: Vec<Option<Pair>>,
}

struct Pair {
    rank: usize,
    /// `[rank, d_in]`
    a: Vec<f32>,
    /// `[rank, d_out]`: B turned over, and times the path's scale.
    b: Vec<f32>,
}

impl Paths {
    /// The paths of `adapter`, multiplied by `factor`: 1 leaves them as they were learned.
    pub fn new(adapter: &Adapter, factor: f32) -> Self {
        let mut pairs = Vec::new();
        pairs.resize_with(adapter.n_layers() * Kind::ALL.len(), || None);
        for (layer, kind, pair) in adapter.iter() {
            let (rank, scale) = (pair.rank, pair.scale * factor);
            let d_out = pair.b.len() / rank;
            let b = (0..rank * d_out).map(|i| scale * pair.b[i % d_out * rank + i / d_out]).collect();
            pairs[layer * Kind::ALL.len() + kind as usize] = Some(Pair { rank, a: pair.a.clone(), b });
        }
        Self { pairs }
    }
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

    fn pair(&self, layer: usize, kind: Kind) -> Option<&Pair> {
        self.paths.as_ref()?.pairs[layer * Kind::ALL.len() + kind as usize].as_ref()
    }
}

impl Processor {
    /// Takes a model whose projections are packed.
    ///
    /// # Panics
    /// If they are not: our bug, [`crate::weights::Keep::Packed`] loads such a model.
    pub fn new(model: Model) -> Self {
        let blocks = |linear: &Linear| match linear {
            Linear::Packed(blocks) => blocks.clone(),
            Linear::Dense(_) => panic!("the processor's path needs packed weights"),
        };
        let vector = |norm: &crate::model::RmsNorm| {
            norm.weight.to_data().try_into_vec::<f32>().expect("a norm's weights are f32 on the processor")
        };
        let layers = model.blocks.iter().map(|block| Layer {
            attention_norm: vector(&block.attention_norm),
            ffn_norm: vector(&block.ffn_norm),
            weights: [&block.q, &block.k, &block.v, &block.o, &block.gate, &block.up, &block.down].map(blocks),
        });
        Self { layers: layers.collect(), norm: vector(&model.norm), head: blocks(&model.head), model }
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
        let d_model = self.model.config.d_model;
        let mut one = vec![0.0; ids.len() * d_model];
        for (&id, row) in ids.iter().zip(one.chunks_exact_mut(d_model)) {
            self.model.embedding.row(id as usize, row);
        }
        let mut x = one.repeat(readings.len());
        let start = readings[0].len;
        let at = Rotations::new(&self.model.config, start..start + ids.len());
        for reading in readings.iter_mut() {
            assert_eq!(reading.len, start, "texts read side by side are equally long");
            reading.layers.resize_with(self.layers.len(), Default::default);
            reading.len += ids.len();
        }
        for layer in 0..self.layers.len() {
            self.block(layer, &mut x, &at, readings);
        }
        norm(&x, &self.norm, self.model.config.norm_eps)
    }

    /// Scores every token of the vocabulary.
    ///
    /// # Shapes
    /// - `hidden`: `[rows, d_model]` from [`Processor::read`], result: `[rows, vocab]`
    pub fn logits(&self, hidden: &[f32]) -> Vec<f32> {
        project(&self.head, &Activations::new(hidden, self.head.cols))
    }

    /// Negative log-likelihood of each target, in nats.
    ///
    /// # Shapes
    /// - `hidden`: `[targets, d_model]` from [`Processor::read`]
    pub fn nll(&self, hidden: &[f32], targets: &[u32]) -> Vec<f32> {
        let (vocab, d_model) = (self.model.config.vocab, self.model.config.d_model);
        let mut nll = Vec::with_capacity(targets.len());
        for (hidden, targets) in hidden.chunks(SCORED * d_model).zip(targets.chunks(SCORED)) {
            let mut scores = self.logits(hidden);
            for (scores, &target) in scores.chunks_exact_mut(vocab).zip(targets) {
                let aim = scores[target as usize];
                let (largest, sum) = exponentials(scores);
                nll.push(largest + sum.ln() - aim);
            }
        }
        nll
    }

    /// Runs block `layer` over `x` in place: `[readings, seq, d_model]`.
    fn block(&self, layer: usize, x: &mut [f32], at: &Rotations, readings: &mut [&mut Reading]) {
        let config = &self.model.config;
        let Layer { attention_norm, ffn_norm, .. } = &self.layers[layer];
        let normed = norm(x, attention_norm, config.norm_eps);
        let [mut q, mut k, v] = self.project(layer, [Kind::Q, Kind::K, Kind::V], &normed, readings);
        let n = readings.len();
        let mut y = Vec::with_capacity(q.len());
        let (q_len, kv_len) = (q.len() / n, k.len() / n);
        let parts = q.chunks_exact_mut(q_len).zip(k.chunks_exact_mut(kv_len).zip(v.chunks_exact(kv_len)));
        for (reading, (q, (k, v))) in readings.iter_mut().zip(parts) {
            at.turn(q, config.n_heads);
            at.turn(k, config.n_kv_heads);
            let (keys, values) = &mut reading.layers[layer];
            keys.extend_from_slice(k);
            values.extend_from_slice(v);
            y.extend(attend(config, q, keys, values));
        }
        let [y] = self.project(layer, [Kind::O], &y, readings);
        add(x, &y);
        let normed = norm(x, ffn_norm, config.norm_eps);
        let [mut gate, up] = self.project(layer, [Kind::Gate, Kind::Up], &normed, readings);
        gated(&mut gate, &up);
        let [y] = self.project(layer, [Kind::Down], &gate, readings);
        add(x, &y);
    }

    /// Projects `x` by several matrices of a block, each reading with its own low-rank paths beside them.
    fn project<const N: usize>(
        &self,
        layer: usize,
        kinds: [Kind; N],
        x: &[f32],
        readings: &[&mut Reading],
    ) -> [Vec<f32>; N] {
        let weights = &self.layers[layer].weights;
        let cols = weights[kinds[0] as usize].cols;
        let integers = Activations::new(x, cols);
        kinds.map(|kind| {
            let weights = &weights[kind as usize];
            let mut y = project(weights, &integers);
            let (x_len, y_len) = (x.len() / readings.len(), y.len() / readings.len());
            let parts = x.chunks_exact(x_len).zip(y.chunks_exact_mut(y_len));
            for (reading, (x, y)) in readings.iter().zip(parts) {
                if let Some(pair) = reading.pair(layer, kind) {
                    run(Beside { pair, x, y, d_in: cols, d_out: weights.rows });
                }
            }
            y
        })
    }
}

/// Adds `(x·Aᵀ)·Bᵀ` to `y`.
struct Beside<'a> {
    pair: &'a Pair,
    x: &'a [f32],
    y: &'a mut [f32],
    d_in: usize,
    d_out: usize,
}

impl Kernel for Beside<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { pair, x, y, d_in, d_out } = self;
        for (x, y) in x.chunks_exact(d_in).zip(y.chunks_exact_mut(d_out)) {
            for (a, b) in pair.a.chunks_exact(d_in).zip(pair.b.chunks_exact(d_out)).take(pair.rank) {
                let narrow = dot(a, x);
                for (y, b) in y.iter_mut().zip(b) {
                    *y += narrow * b;
                }
            }
        }
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
