//! The one forward: embedding, blocks, head, on Burn tensors.
//!
//! It is the reference for every fused kernel and the path of machines without a GPU.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData, activation};

use crate::{
    adapter::{Adapter, Kind},
    config::{Activation, ModelConfig},
    linear::{Linear, SidePath},
    packed::{Blocks, Layer, More, Packed},
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
    /// `[width]`
    pub weight: Tensor<1>,
    /// Keeps the root from zero.
    pub eps: f32,
}

impl RmsNorm {
    /// Normalises the last axis.
    ///
    /// # Shapes
    /// - `x`, result: `[…, width]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let mean_square = (x.clone() * x.clone()).mean_dim(D - 1);
        x / (mean_square + self.eps).sqrt() * self.weight.clone().unsqueeze()
    }
}

/// What only some architectures have in a block.
#[derive(Default, Clone)]
pub struct Extras {
    /// Added to queries, keys and values, each as wide as its projection.
    pub bias: Option<[Tensor<1>; 3]>,
    /// Norms of query heads and of key heads, `[d_head]`.
    pub head_norms: Option<[RmsNorm; 2]>,
    /// Norms of what attention and the feed-forward layer give, `[d_model]`.
    pub post_norms: Option<[RmsNorm; 2]>,
}

impl Extras {
    fn biased(&self, which: usize, x: Tensor<3>) -> Tensor<3> {
        match &self.bias {
            Some(bias) => x + bias[which].clone().unsqueeze(),
            None => x,
        }
    }

    fn head_normed(&self, which: usize, x: Tensor<4>) -> Tensor<4> {
        match &self.head_norms {
            Some(norms) => norms[which].forward(x),
            None => x,
        }
    }

    fn post_normed(&self, which: usize, x: Tensor<3>) -> Tensor<3> {
        match &self.post_norms {
            Some(norms) => norms[which].forward(x),
            None => x,
        }
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
    /// What the architecture has besides.
    pub extras: Extras,
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

/// Where in a text the tokens of one call stand, for blocks that see all of it and for those with a window.
pub struct Positions {
    all: View,
    local: Option<View>,
}

/// How a block sees positions: their rotations, and which keys each may look at.
pub struct View {
    rope: Rope,
    mask: Tensor<2, Bool>,
}

impl Positions {
    /// `seq` positions after `start` others.
    pub fn new(config: &ModelConfig, start: usize, seq: usize, device: &Device) -> Self {
        let view = |window: Option<usize>| View {
            rope: Rope::new(config, start, seq, window.is_some(), device),
            mask: mask(start, seq, window, device),
        };
        Self { all: view(None), local: config.window.map(|window| view(Some(window.len))) }
    }

    /// As block `layer` sees them.
    pub fn of(&self, config: &ModelConfig, layer: usize) -> &View {
        self.local.as_ref().filter(|_| config.window_of(layer).is_some()).unwrap_or(&self.all)
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
            extras: self.extras.clone(),
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
        at: &View,
        sides: Option<&Sides>,
        cache: Option<(&mut Cache, usize)>,
    ) -> Tensor<3> {
        let side = |kind: Kind| sides.and_then(|sides| sides.paths[kind as usize].as_ref());
        let normed = self.attention_norm.forward(x.clone());
        let attended = self.attention(config, normed, at, &side, cache);
        let x = x + self.extras.post_normed(0, attended);
        let normed = self.ffn_norm.forward(x.clone());
        let gate = bend(config.activation, self.gate.forward(normed.clone(), side(Kind::Gate)));
        let gated = gate * self.up.forward(normed, side(Kind::Up));
        x + self.extras.post_normed(1, self.down.forward(gated, side(Kind::Down)))
    }

    fn attention<'a>(
        &self,
        config: &ModelConfig,
        x: Tensor<3>,
        at: &View,
        side: &impl Fn(Kind) -> Option<&'a SidePath>,
        cache: Option<(&mut Cache, usize)>,
    ) -> Tensor<3> {
        let &ModelConfig { n_heads, n_kv_heads, d_head, .. } = config;
        let [batch, seq, _] = x.dims();
        let heads = |x: Tensor<3>, n: usize| x.reshape([batch, seq, n, d_head]).swap_dims(1, 2);
        let extras = &self.extras;
        let q = heads(extras.biased(0, self.q.forward(x.clone(), side(Kind::Q))), n_heads);
        let k = heads(extras.biased(1, self.k.forward(x.clone(), side(Kind::K))), n_kv_heads);
        let mut v = heads(extras.biased(2, self.v.forward(x, side(Kind::V))), n_kv_heads);
        let q = at.rope.forward(extras.head_normed(0, q));
        let mut k = at.rope.forward(extras.head_normed(1, k));
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
        let vector = |values: Vec<f32>| {
            let len = values.len();
            Tensor::from_data(TensorData::new(values, [len]), device)
        };
        let rms = |weight: Vec<f32>| RmsNorm { weight: vector(weight), eps: config.norm_eps };
        let block = |layer: Layer| {
            let [q, k, v, o, gate, up, down] = layer.weights.map(linear);
            let (attention_norm, ffn_norm) = (rms(layer.attention_norm), rms(layer.ffn_norm));
            let More { bias, head_norms, post_norms } = layer.more;
            let extras = Extras {
                bias: bias.map(|bias| bias.map(vector)),
                head_norms: head_norms.map(|norms| norms.map(rms)),
                post_norms: post_norms.map(|norms| norms.map(rms)),
            };
            Block { attention_norm, q, k, v, o, ffn_norm, gate, up, down, extras }
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
            let at = at.of(&self.config, layer);
            x = block.forward(&self.config, x, at, sides, cache.as_deref_mut().map(|cache| (cache, layer)));
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
        let scale = self.config.embedding_scale;
        rows.iter_mut().for_each(|x| *x *= scale);
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

/// What an activation makes of the gate.
fn bend(activation: Activation, x: Tensor<3>) -> Tensor<3> {
    match activation {
        Activation::Silu => activation::silu(x),
        Activation::Gelu => {
            let cube = x.clone() * x.clone() * x.clone();
            x.clone() * activation::sigmoid((x + cube * Activation::GELU_CUBE) * Activation::GELU_SLOPE)
        }
    }
}

/// Rotary position embedding of `seq` positions (Su et al. 2021).
struct Rope {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Rope {
    fn new(config: &ModelConfig, start: usize, seq: usize, local: bool, device: &Device) -> Self {
        let half = config.d_head / 2;
        let (cos, sin) = config.rope_table(start..start + seq, local);
        let table = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, [1, 1, seq, half]), device);
        Self { cos: table(cos), sin: table(sin) }
    }

    /// # Shapes
    /// - `x`, result: `[batch, heads, seq, d_head]`
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, heads, seq, d_head] = x.dims();
        let pairs = x.reshape([batch, heads, seq, d_head / 2, 2]);
        let (a, b) = (pairs.clone().narrow(4, 0, 1).squeeze_dim(4), pairs.narrow(4, 1, 1).squeeze_dim(4));
        let turned_a: Tensor<4> = a.clone() * self.cos.clone() - b.clone() * self.sin.clone();
        let turned_b: Tensor<4> = a * self.sin.clone() + b * self.cos.clone();
        Tensor::stack::<5>(vec![turned_a, turned_b], 4).reshape([batch, heads, seq, d_head])
    }
}

/// True where a query may not look: at keys after it, and at those before its window.
///
/// # Shapes
/// - result: `[seq, start + seq]`
fn mask(start: usize, seq: usize, window: Option<usize>, device: &Device) -> Tensor<2, Bool> {
    let all = [seq, start + seq];
    let queries = Tensor::<1, Int>::arange(start as i64..(start + seq) as i64, device).reshape([seq, 1]).expand(all);
    let keys = Tensor::<1, Int>::arange(0..(start + seq) as i64, device).reshape([1, start + seq]).expand(all);
    let after = keys.clone().greater(queries.clone());
    match window {
        Some(window) => after.bool_or(keys.lower_equal(queries - window as i64)),
        None => after,
    }
}
