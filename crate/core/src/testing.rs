//! What tests of several crates need; behind the feature `testing`.

use std::{env, path::PathBuf};

use crate::{gguf::testing::GgufWriter, quant::BlockType};

/// The real model that tests run on: `IMPRINT_MODEL`, or what `cargo xtask setup` keeps in the user's cache.
///
/// # Panics
/// If there is no such file: a test without its model must fail, not pass.
pub fn model_path() -> PathBuf {
    let cache = || {
        let home = || PathBuf::from(env::var_os("HOME").expect("HOME, XDG_CACHE_HOME or IMPRINT_MODEL is set"));
        let cache = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty());
        let cache = cache.map_or_else(|| home().join(".cache"), PathBuf::from);
        cache.join("imprint/models/SmolLM2-135M-Instruct-Q4_1.gguf")
    };
    let path = env::var_os("IMPRINT_MODEL").map_or_else(cache, PathBuf::from);
    assert!(path.is_file(), "no model at {}: run `cargo xtask setup`, or name one in IMPRINT_MODEL", path.display());
    path
}

/// A small random llama: odd sizes that fill no workgroup, grouped heads, a tied head, no tokenizer.
#[derive(Debug, Clone, Copy)]
pub struct SmallModel {
    /// Format of the projections.
    pub matrices: BlockType,
    /// Format of the embedding, which is also the head.
    pub embedding: BlockType,
    /// Width of the residual stream.
    pub d_model: u64,
    /// Width of the feed-forward layer.
    pub d_ff: u64,
    /// Query heads.
    pub n_heads: u64,
    /// Key and value heads.
    pub n_kv_heads: u64,
    /// Width of one head.
    pub d_head: u64,
    /// Number of blocks.
    pub n_layers: u32,
    /// Number of token ids.
    pub vocab: u64,
    /// The same seed gives the same weights.
    pub seed: u64,
}

impl Default for SmallModel {
    fn default() -> Self {
        Self {
            matrices: BlockType::Q8_0,
            embedding: BlockType::Q8_0,
            d_model: 96,
            d_ff: 160,
            n_heads: 4,
            n_kv_heads: 2,
            d_head: 32,
            n_layers: 2,
            vocab: 500,
            seed: 1,
        }
    }
}

impl SmallModel {
    /// The GGUF file.
    ///
    /// # Panics
    /// If a row is no whole number of blocks of its format.
    pub fn file(&self) -> Vec<u8> {
        let &Self { d_model, d_ff, n_heads, n_kv_heads, d_head, vocab, .. } = self;
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut weights = |n: u64, scale: f32| (0..n).map(|_| (random.f32() - 0.5) * scale).collect::<Vec<_>>();
        let mut file = self
            .metadata()
            .tensor_of("token_embd.weight", &[d_model, vocab], self.embedding, &weights(d_model * vocab, 2.0))
            .tensor_of("output_norm.weight", &[d_model], BlockType::F32, &weights(d_model, 2.0));
        for layer in 0..self.n_layers {
            let shapes = [
                ("attn_q", d_model, n_heads * d_head),
                ("attn_k", d_model, n_kv_heads * d_head),
                ("attn_v", d_model, n_kv_heads * d_head),
                ("attn_output", n_heads * d_head, d_model),
                ("ffn_gate", d_model, d_ff),
                ("ffn_up", d_model, d_ff),
                ("ffn_down", d_ff, d_model),
            ];
            for (name, cols, rows) in shapes {
                let name = format!("blk.{layer}.{name}.weight");
                file = file.tensor_of(&name, &[cols, rows], self.matrices, &weights(cols * rows, 0.5));
            }
            for name in ["attn_norm", "ffn_norm"] {
                let name = format!("blk.{layer}.{name}.weight");
                file = file.tensor_of(&name, &[d_model], BlockType::F32, &weights(d_model, 2.0));
            }
        }
        file.finish()
    }

    fn metadata(&self) -> GgufWriter {
        GgufWriter::new()
            .meta_str("general.architecture", "llama")
            .meta_u32("llama.embedding_length", self.d_model as u32)
            .meta_u32("llama.feed_forward_length", self.d_ff as u32)
            .meta_u32("llama.block_count", self.n_layers)
            .meta_u32("llama.attention.head_count", self.n_heads as u32)
            .meta_u32("llama.attention.head_count_kv", self.n_kv_heads as u32)
            .meta_u32("llama.attention.key_length", self.d_head as u32)
            .meta_u32("llama.context_length", 2048)
            .meta_f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    }
}
