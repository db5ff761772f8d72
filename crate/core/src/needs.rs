//! What a model takes while it writes, told by its header alone.

use crate::{
    config::ModelConfig,
    gguf::{Gguf, TensorInfo},
    quant::BlockType,
};

/// Tokens read in one go on a GPU, most rows of scores there, and most scores, where two rows are not more: see `kernels`.
const READ: u64 = 512;
const GPU_ROWS: u64 = 64;
/// Numbers a token in the bottlenecks of an adapter: five of the widest.
const BOTTLENECKS: u64 = 5 * 128;
const GPU_SCORES: u64 = 1 << 22;
/// Rows of scores on the processor.
const CPU_ROWS: u64 = 16;
/// Bytes of the tokenizer for each of its tokens: measured, not derived.
const TOKEN_BYTES: u64 = 300;
/// What small buffers take together.
const SMALL_BYTES: u64 = 4 << 20;

/// Memory that a model takes while it writes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// All of it on a GPU: the weights, the cache of keys and values, and working space.
    pub gpu_bytes: u64,
    /// The largest piece of that, which a GPU must take in one buffer; the vocabulary is cut to what it takes.
    pub gpu_piece_bytes: u64,
    /// All of it on the processor, the tokenizer included.
    pub cpu_bytes: u64,
}

impl Needs {
    /// What a model of `config`, whose header is `gguf`, takes with a context of `capacity` tokens.
    ///
    /// Laws hold it to what is allocated: never less, and at most 1.3 times as much. A voice by contrast takes the cache a
    /// second time.
    ///
    /// - cache: `4 · n_layers · capacity · 2·d_kv`
    /// - working space on a GPU: `4 · (512 · (2·d_model + 2·d_query + 2·d_kv + 3·d_ff + 640) + rows · vocab + 2 · capacity · d_head)`
    pub fn of(gguf: &Gguf, config: &ModelConfig, capacity: usize) -> Self {
        let size = |number: usize| number as u64;
        let sum = |bytes: fn(&TensorInfo) -> u64| gguf.tensors().iter().map(bytes).sum::<u64>();
        let vocab = size(config.vocab);
        // The matrices of a block lie in one buffer, but for their scales.
        let block = |layer| {
            let name = format!("blk.{layer}.");
            gguf.tensors().iter().filter(|tensor| tensor.name.starts_with(&name)).map(on_gpu).sum::<u64>()
        };
        let block = (0..config.n_layers).map(block).max().unwrap_or(0);
        let layer = 4 * size(capacity).next_multiple_of(32) * 2 * size(config.d_kv());
        let cache = size(config.n_layers) * layer;
        let (d_model, d_query, d_kv) = (size(config.d_model), size(config.d_query()), size(config.d_kv()));
        let widest = d_model.max(d_query + 2 * d_kv).max(2 * size(config.d_ff));
        let widths = 2 * d_model + 2 * d_query + 2 * d_kv + size(config.d_ff) + widest + BOTTLENECKS;
        let scores = 4 * vocab * (GPU_SCORES / vocab).clamp(2, GPU_ROWS);
        let work = 4 * (READ * widths + 2 * size(capacity) * size(config.d_head)) + scores + SMALL_BYTES;
        Self {
            gpu_bytes: sum(on_gpu) + cache + work,
            gpu_piece_bytes: block.max(layer).max(scores).max(4 * READ * widest),
            cpu_bytes: sum(on_cpu) + cache + 4 * vocab * CPU_ROWS + TOKEN_BYTES * vocab,
        }
    }
}

/// Bytes of a tensor as the processor keeps it: five bits become a byte, which unpacks in one instruction.
fn on_cpu(tensor: &TensorInfo) -> u64 {
    match tensor.ty {
        BlockType::Q5_0 => tensor.n_weights() / 32 * 34,
        _ => tensor.size_bytes,
    }
}

/// Bytes of a tensor as kernels read it: those that know no plane of high bits get a byte a weight (`Packed::for_kernels`).
fn on_gpu(tensor: &TensorInfo) -> u64 {
    let wide = match tensor.ty {
        BlockType::Q5_0 => Some((32, 34)),
        BlockType::Q5_1 => Some((32, 36)),
        BlockType::Q5K => Some((256, 272)),
        BlockType::Q6K => Some((256, 276)),
        _ => None,
    };
    // A last word may be padded.
    wide.map_or(tensor.size_bytes, |(weights, bytes)| tensor.n_weights() / weights * bytes) + 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{gguf::Gguf, testing::SmallModel};

    #[test]
    fn a_longer_context_takes_its_keys_and_values_more() {
        let file = SmallModel::default().file();
        let gguf = pollster::block_on(Gguf::read(&file)).unwrap();
        let config = ModelConfig::from_gguf(&gguf).unwrap();
        let [short, long] = [64, 128].map(|capacity| Needs::of(&gguf, &config, capacity));
        let more = (config.n_layers * 64 * 2 * config.d_kv() * 4) as u64;
        assert_eq!(long.cpu_bytes - short.cpu_bytes, more);
        assert_eq!(long.gpu_bytes - short.gpu_bytes, more + (4 * 2 * 64 * config.d_head) as u64);
        assert!(short.gpu_piece_bytes < short.gpu_bytes);
    }
}
