//! The one forward: embedding, blocks, head, on Burn tensors.
//!
//! It is the reference for every fused kernel and the path of machines without a GPU.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData, activation};

use crate::{
    adapter::{Adapter, Kind},
    config::{ModelConfig, RopeStyle},
    linear::{Linear, SidePath},
    packed::{Blocks, Layer, Packed},
};

/// How a plain model keeps its projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Packed as in the file: least memory, CPU only.
    Packed,
    /// Unpacked to f32 tensors: any device, the reference.
    Dense,
}

/// Root-mean-square norm: `x / sqrt(mean(x²) + eps) · w` (Zhang & Sennrich 2019).
#[derive(Clone)]
pub struct RmsNorm {
    /// `[d_model]`
    pub weight: Tensor<1>,
    /// Keeps the root from zero.
    pub eps: f32,
}

impl RmsNorm {
    /// Normalises the last axis.
    ///
    /// # Shapes
    /// - `x`, result: `[batch, seq, d_model]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let mean_square = (x.clone() * x.clone()).mean_dim(2);
        x / (mean_square + self.eps).sqrt() * self.weight.clone().unsqueeze()
    }
}

/// One transformer block: attention and a gated feed-forward layer, each behind a norm, each added to the residual.
pub struct Block {
    /// Norm before attention.
    pub attention_norm: RmsNorm,
    /// Query projection, `[n_heads · d_head, d_model]`.
    pub q: Linear,
    /// Key projection, `[n_kv_heads · d_head, d_model]`.
    pub k: Linear,
    /// Value projection, `[n_kv_heads · d_head, d_model]`.
    pub v: Linear,
    /// Output projection, `[d_model, n_heads · d_head]`.
    pub o: Linear,
    /// Norm before the feed-forward layer.
    pub ffn_norm: RmsNorm,
    /// Gate projection, `[d_ff, d_model]`.
    pub gate: Linear,
    /// Up projection, `[d_ff, d_model]`.
    pub up: Linear,
    /// Down projection, `[d_model, d_ff]`.
    pub down: Linear,
}

/// The side paths of one block, some or all.
#[derive(Default, Clone)]
pub struct Sides {
    /// By [`Kind`], in its order.
    pub paths: [Option<SidePath>; Kind::ALL.len()],
}

/// An adapter on a device: the side paths of every block.
#[derive(Clone)]
pub struct LowRank {
    /// The side paths, block after block.
    pub blocks: Vec<Sides>,
}

impl LowRank {
    /// Puts `adapter` on `device`, its paths multiplied by `factor`: 1 leaves them as they were learned.
    ///
    /// # Panics
    /// If a pair is not as large as its rank says: callers check the adapter against the model first.
    pub fn new(adapter: &Adapter, factor: f32, device: &Device) -> Self {
        let mut blocks = vec![Sides::default(); adapter.n_layers()];
        for (layer, kind, pair) in adapter.iter() {
            let matrix =
                |values: &[f32], shape: [usize; 2]| Tensor::from_data(TensorData::new(values.to_vec(), shape), device);
            blocks[layer].paths[kind as usize] = Some(SidePath {
                a: matrix(&pair.a, [pair.rank, pair.a.len() / pair.rank]),
                b: matrix(&pair.b, [pair.b.len() / pair.rank, pair.rank]),
                scale: pair.scale * factor,
            });
        }
        Self { blocks }
    }
}

/// Where in a text the tokens of one call stand: their rotations, and which keys each may look at.
pub struct Positions {
    rope: Rope,
    mask: Tensor<2, Bool>,
}

impl Positions {
    /// `seq` positions after `start` others.
    pub fn new(config: &ModelConfig, start: usize, seq: usize, device: &Device) -> Self {
        Self { rope: Rope::new(config, start, seq, device), mask: causal_mask(start, seq, device) }
    }
}

impl Block {
    /// The same block with all weights unpacked on `device`.
    pub fn unpacked(&self, device: &Device) -> Block {
        Block {
            attention_norm: self.attention_norm.clone(),
            q: self.q.unpacked(device),
            k: self.k.unpacked(device),
            v: self.v.unpacked(device),
            o: self.o.unpacked(device),
            ffn_norm: self.ffn_norm.clone(),
            gate: self.gate.unpacked(device),
            up: self.up.unpacked(device),
            down: self.down.unpacked(device),
        }
    }

    /// Runs the block, reading and extending its layer of the cache where there is one.
    ///
    /// # Shapes
    /// - `x`, result: `[batch, seq, d_model]`, `seq` as in `at`
    pub fn forward(
        &self,
        config: &ModelConfig,
        x: Tensor<3>,
        at: &Positions,
        sides: Option<&Sides>,
        cache: Option<(&mut Cache, usize)>,
    ) -> Tensor<3> {
        let side = |kind: Kind| sides.and_then(|sides| sides.paths[kind as usize].as_ref());
        let normed = self.attention_norm.forward(x.clone());
        let x = x + self.attention(config, normed, at, &side, cache);
        let normed = self.ffn_norm.forward(x.clone());
        let gate = activation::silu(self.gate.forward(normed.clone(), side(Kind::Gate)));
        let gated = gate * self.up.forward(normed, side(Kind::Up));
        x + self.down.forward(gated, side(Kind::Down))
    }

    fn attention<'a>(
        &self,
        config: &ModelConfig,
        x: Tensor<3>,
        at: &Positions,
        side: &impl Fn(Kind) -> Option<&'a SidePath>,
        cache: Option<(&mut Cache, usize)>,
    ) -> Tensor<3> {
        let &ModelConfig { n_heads, n_kv_heads, d_head, .. } = config;
        let [batch, seq, _] = x.dims();
        let heads = |x: Tensor<3>, n: usize| x.reshape([batch, seq, n, d_head]).swap_dims(1, 2);
        let q = at.rope.forward(heads(self.q.forward(x.clone(), side(Kind::Q)), n_heads));
        let mut k = at.rope.forward(heads(self.k.forward(x.clone(), side(Kind::K)), n_kv_heads));
        let mut v = heads(self.v.forward(x, side(Kind::V)), n_kv_heads);
        if let Some((cache, layer)) = cache {
            (k, v) = cache.extend(layer, k, v);
        }
        // The query heads that share a key head stand as rows of one product, so keys are never repeated in memory.
        let group = n_heads / n_kv_heads;
        let len = k.dims()[2];
        let q = q.reshape([batch, n_kv_heads, group * seq, d_head]);
        let scores = q.matmul(k.transpose()) / (d_head as f32).sqrt();
        let scores = scores.reshape([batch, n_heads, seq, len]);
        let scores = scores.mask_fill(at.mask.clone().unsqueeze(), f32::NEG_INFINITY);
        let weights = activation::softmax(scores, 3).reshape([batch, n_kv_heads, group * seq, len]);
        let y = weights.matmul(v).reshape([batch, n_heads, seq, d_head]);
        self.o.forward(y.swap_dims(1, 2).reshape([batch, seq, n_heads * d_head]), side(Kind::O))
    }
}

/// Keys and values of the tokens read so far.
#[derive(Default, Clone)]
pub struct Cache {
    /// A layer's keys and values, each `[batch, n_kv_heads, len, d_head]`.
    layers: Vec<(Tensor<4>, Tensor<4>)>,
    len: usize,
}

impl Cache {
    /// Tokens held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been read yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all but the first `len` tokens.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn truncate(&mut self, len: usize) {
        assert!(len <= self.len, "{len} of {} tokens cannot stay", self.len);
        if len == 0 {
            *self = Self::default();
        }
        for (k, v) in &mut self.layers {
            (*k, *v) = (k.clone().narrow(2, 0, len), v.clone().narrow(2, 0, len));
        }
        self.len = len;
    }

    /// Puts new keys and values behind those of `layer` and gives all of them.
    fn extend(&mut self, layer: usize, mut k: Tensor<4>, mut v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        match self.layers.get_mut(layer) {
            Some((old_k, old_v)) => {
                k = Tensor::cat(vec![old_k.clone(), k], 2);
                v = Tensor::cat(vec![old_v.clone(), v], 2);
                (*old_k, *old_v) = (k.clone(), v.clone());
            }
            None => self.layers.push((k.clone(), v.clone())),
        }
        (k, v)
    }
}

/// A decoder-only language model.
pub struct Model {
    /// Its shape.
    pub config: ModelConfig,
    /// Token embeddings, packed; a row is unpacked when its token is read.
    pub embedding: Blocks,
    /// The blocks, first to last.
    pub blocks: Vec<Block>,
    /// Norm before the head.
    pub norm: RmsNorm,
    /// Output projection, `[vocab, d_model]`.
    pub head: Linear,
    /// The device that computes.
    pub device: Device,
}

impl Model {
    /// The plain model of `packed` weights on `device`.
    pub fn new(packed: Packed, keep: Keep, device: &Device) -> Self {
        let Packed { config, embedding, layers, norm, head } = packed;
        let linear = |blocks: Blocks| match keep {
            Keep::Packed => Linear::Packed(blocks),
            Keep::Dense => Linear::Packed(blocks).unpacked(device),
        };
        let rms = |weight: Vec<f32>| {
            let len = weight.len();
            RmsNorm { weight: Tensor::from_data(TensorData::new(weight, [len]), device), eps: config.norm_eps }
        };
        let block = |layer: Layer| {
            let [q, k, v, o, gate, up, down] = layer.weights.map(linear);
            let (attention_norm, ffn_norm) = (rms(layer.attention_norm), rms(layer.ffn_norm));
            Block { attention_norm, q, k, v, o, ffn_norm, gate, up, down }
        };
        let blocks = layers.into_iter().map(block).collect();
        let (norm, head) = (rms(norm), linear(head));
        Self { config, embedding, blocks, norm, head, device: device.clone() }
    }

    /// Runs the blocks over `ids`, reading and extending `cache` where there is one, with `adapter` beside the frozen
    /// weights where there is one.
    ///
    /// # Shapes
    /// - `ids`: `batch` rows of `seq` ids, one after the other; result: `[batch, seq, d_model]`, normed for the head
    ///
    /// # Panics
    /// If an id is not in the vocabulary, the rows are uneven or the adapter has another number of blocks: callers check
    /// ids and adapters first.
    pub fn forward(
        &self,
        ids: &[u32],
        batch: usize,
        mut cache: Option<&mut Cache>,
        adapter: Option<&LowRank>,
    ) -> Tensor<3> {
        let mut x = self.embed(ids, batch);
        let seq = ids.len() / batch;
        let start = cache.as_ref().map_or(0, |cache| cache.len);
        let at = Positions::new(&self.config, start, seq, &self.device);
        for (layer, block) in self.blocks.iter().enumerate() {
            let sides = adapter.map(|adapter| &adapter.blocks[layer]);
            x = block.forward(&self.config, x, &at, sides, cache.as_deref_mut().map(|cache| (cache, layer)));
        }
        if let Some(cache) = cache {
            cache.len += seq;
        }
        self.norm.forward(x)
    }

    /// Scores every token of the vocabulary.
    ///
    /// # Shapes
    /// - `hidden`: `[batch, seq, d_model]` from [`Model::forward`], result: `[batch, seq, vocab]`
    pub fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.head.forward(hidden, None)
    }

    /// What the first block reads.
    ///
    /// # Shapes
    /// - `ids`: `batch` rows of `seq` ids, one after the other; result: `[batch, seq, d_model]`
    ///
    /// # Panics
    /// If an id is not in the vocabulary or the rows are uneven: callers check ids first.
    pub fn embed(&self, ids: &[u32], batch: usize) -> Tensor<3> {
        assert!(batch > 0 && ids.len().is_multiple_of(batch), "{} ids do not make {batch} even rows", ids.len());
        let d_model = self.config.d_model;
        let mut rows = vec![0.0; ids.len() * d_model];
        for (&id, row) in ids.iter().zip(rows.chunks_exact_mut(d_model)) {
            self.embedding.row(id as usize, row);
        }
        Tensor::from_data(TensorData::new(rows, [batch, ids.len() / batch, d_model]), &self.device)
    }
}

/// Logarithms of the likelihoods that scores stand for, over the last axis: `z - max(z) - ln Σ exp(z - max(z))`.
///
/// Burn's processor path adds a vocabulary's exponentials one by one, and the f32 sum of 50,000 small numbers loses a
/// ten-thousandth that way: as much in nats, and more in the gradient. Here they are added in parts.
pub fn log_likelihoods<const D: usize>(scores: Tensor<D>) -> Tensor<D> {
    const PART: usize = 256;
    let last = D - 1;
    let shifted = scores.clone() - scores.max_dim(last);
    let parts = shifted.clone().exp().split(PART, last).into_iter().map(|part| part.sum_dim(last)).collect();
    shifted - Tensor::cat(parts, last).sum_dim(last).log()
}

/// Rotary position embedding of `seq` positions (Su et al. 2021).
struct Rope {
    cos: Tensor<4>,
    sin: Tensor<4>,
    style: RopeStyle,
}

impl Rope {
    fn new(config: &ModelConfig, start: usize, seq: usize, device: &Device) -> Self {
        let half = config.d_head / 2;
        let (cos, sin) = config.rope_table(start..start + seq);
        let table = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, [1, 1, seq, half]), device);
        Self { cos: table(cos), sin: table(sin), style: config.rope_style }
    }

    /// # Shapes
    /// - `x`, result: `[batch, heads, seq, d_head]`
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, heads, seq, d_head] = x.dims();
        let half = d_head / 2;
        let (a, b) = match self.style {
            RopeStyle::Interleaved => {
                let pairs = x.reshape([batch, heads, seq, half, 2]);
                (pairs.clone().narrow(4, 0, 1).squeeze_dim(4), pairs.narrow(4, 1, 1).squeeze_dim(4))
            }
            RopeStyle::Halves => (x.clone().narrow(3, 0, half), x.narrow(3, half, half)),
        };
        let turned_a = a.clone() * self.cos.clone() - b.clone() * self.sin.clone();
        let turned_b = a * self.sin.clone() + b * self.cos.clone();
        match self.style {
            RopeStyle::Interleaved => {
                Tensor::stack::<5>(vec![turned_a, turned_b], 4).reshape([batch, heads, seq, d_head])
            }
            RopeStyle::Halves => Tensor::cat(vec![turned_a, turned_b], 3),
        }
    }
}

/// True where a query may not look: at keys after it.
///
/// # Shapes
/// - result: `[seq, start + seq]`
fn causal_mask(start: usize, seq: usize, device: &Device) -> Tensor<2, Bool> {
    let queries = Tensor::<1, Int>::arange(start as i64..(start + seq) as i64, device).reshape([seq, 1]);
    let keys = Tensor::<1, Int>::arange(0..(start + seq) as i64, device).reshape([1, start + seq]);
    keys.expand([seq, start + seq]).greater(queries.expand([seq, start + seq]))
}
