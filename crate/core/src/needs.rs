//! What a model takes while it writes, told by its header alone.

use crate::{
    config::ModelConfig,
    gguf::{Gguf, TensorInfo},
};

/// Tokens read in one go on a GPU, and rows of scores there: see `kernels`.
const READ: u64 = 256;
const SCORED: u64 = 16;
/// Bytes of the processor's tokenizer for each of its tokens, beside the text of the tokens: measured, not derived.
const TOKEN_BYTES: u64 = 300;

/// Memory that a model takes while it writes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// All of it on a GPU: the weights as they stand in the file, the cache of keys and values, and working space.
    pub gpu_bytes: u64,
    /// The largest piece of that, which a GPU must take in one buffer.
    pub gpu_piece_bytes: u64,
    /// All of it on the processor, the tokenizer included.
    pub cpu_bytes: u64,
}

impl Needs {
    /// What a model of `config`, whose header is `gguf`, takes with a context of `capacity` tokens.
    ///
    /// Laws hold it to what is allocated: never less, and at most 1.3 times as much.
    ///
    /// - cache: `4 · n_layers · capacity · 2·d_kv`
    /// - working space on a GPU: `4 · (256 · (2·d_model + 2·d_query + d_ff) + 16 · vocab + capacity · d_head)`
    pub fn of(gguf: &Gguf, config: &ModelConfig, capacity: usize) -> Self {
        let size = |number: usize| number as u64;
        let weights: u64 = gguf.tensors().iter().map(|tensor| tensor.size_bytes).sum();
        // Sorted into planes, blocks take at most a fiftieth more.
        let packed = |bytes: u64| bytes + bytes / 50;
        let spans_vocab = |tensor: &&TensorInfo| tensor.rows() == size(config.vocab);
        let most = |tensors: &mut dyn Iterator<Item = &TensorInfo>| tensors.map(|tensor| tensor.size_bytes).max();
        let head = most(&mut gguf.tensors().iter().filter(spans_vocab)).unwrap_or(0);
        // Gate and up lie in one buffer, and so do query, key and value.
        let joined = 2 * most(&mut gguf.tensors().iter().filter(|tensor| !spans_vocab(tensor))).unwrap_or(0);
        let layer = 4 * size(capacity).next_multiple_of(32) * 2 * size(config.d_kv());
        let cache = size(config.n_layers) * layer;
        let widths = 2 * size(config.d_model) + 2 * size(config.d_query()) + size(config.d_ff);
        let scores = 4 * SCORED * size(config.vocab);
        let work = 4 * (READ * widths + size(capacity) * size(config.d_head)) + scores + (4 << 20);
        let tokenizer = TOKEN_BYTES * size(config.vocab);
        Self {
            gpu_bytes: packed(weights) + cache + work,
            gpu_piece_bytes: packed(head.max(joined)).max(layer).max(scores),
            cpu_bytes: weights + cache + scores + tokenizer,
        }
    }
}
