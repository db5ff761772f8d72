//! What tests of several crates need; behind the feature `testing`.

use std::{env, path::PathBuf};

use crate::{
    config::{Activation, ModelConfig, RopeStyle},
    gguf::testing::GgufWriter,
    quant::BlockType,
};

/// The real model that tests run on: `IMPRINT_MODEL`, or what `cargo xtask setup` keeps in the user's cache.
///
/// # Panics
/// If there is no such file: a test without its model must fail, not pass.
pub fn model_path() -> PathBuf {
    found("IMPRINT_MODEL", "SmolLM2-135M-Instruct-Q4_1.gguf")
}

/// The second real model, of another family: `IMPRINT_GEMMA`, or what setup keeps.
///
/// # Panics
/// As [`model_path`].
pub fn gemma_path() -> PathBuf {
    found("IMPRINT_GEMMA", "gemma-3-270m-Q4_K_M.gguf")
}

fn found(variable: &str, name: &str) -> PathBuf {
    let cache = || {
        let home = || PathBuf::from(env::var_os("HOME").expect("HOME, XDG_CACHE_HOME or the model's variable is set"));
        let cache = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty());
        let cache = cache.map_or_else(|| home().join(".cache"), PathBuf::from);
        cache.join("imprint/models").join(name)
    };
    let path = env::var_os(variable).map_or_else(cache, PathBuf::from);
    assert!(path.is_file(), "no model at {}: run `cargo xtask setup`, or name one in {variable}", path.display());
    path
}

/// The shape of a llama of no size: tests name what matters to them.
pub fn plain_config() -> ModelConfig {
    ModelConfig {
        architecture: "llama".into(),
        name: "small".into(),
        d_model: 0,
        d_ff: 0,
        n_layers: 0,
        n_heads: 0,
        n_kv_heads: 0,
        d_head: 0,
        vocab: 0,
        context: 0,
        norm_eps: 1e-5,
        rope_base: 1e4,
        rope_style: RopeStyle::Interleaved,
        rope_factor: 1.0,
        rope_divisors: Vec::new(),
        activation: Activation::Silu,
        embedding_scale: 1.0,
        window: None,
        qkv_bias: false,
        head_norm: false,
        post_norm: false,
    }
}

/// A small random model: odd sizes that fill no workgroup, grouped heads, a tied head, no tokenizer.
#[derive(Debug, Clone, Copy)]
pub struct SmallModel {
    /// `general.architecture`, which also settles what a block has.
    pub architecture: &'static str,
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
            architecture: "llama",
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
            let (d_query, d_kv) = (n_heads * d_head, n_kv_heads * d_head);
            let vectors: &[(&str, u64)] = match self.architecture {
                "qwen2" => &[("attn_q.bias", d_query), ("attn_k.bias", d_kv), ("attn_v.bias", d_kv)],
                "qwen3" => &[("attn_q_norm.weight", d_head), ("attn_k_norm.weight", d_head)],
                "gemma3" => &[
                    ("attn_q_norm.weight", d_head),
                    ("attn_k_norm.weight", d_head),
                    ("post_attention_norm.weight", d_model),
                    ("post_ffw_norm.weight", d_model),
                ],
                _ => &[],
            };
            for &(name, n) in [("attn_norm.weight", d_model), ("ffn_norm.weight", d_model)].iter().chain(vectors) {
                let name = format!("blk.{layer}.{name}");
                file = file.tensor_of(&name, &[n], BlockType::F32, &weights(n, 2.0));
            }
        }
        file.finish()
    }

    fn metadata(&self) -> GgufWriter {
        let key = |name: &str| format!("{}.{name}", self.architecture);
        let file = GgufWriter::new()
            .meta_str("general.architecture", self.architecture)
            .meta_u32(&key("embedding_length"), self.d_model as u32)
            .meta_u32(&key("feed_forward_length"), self.d_ff as u32)
            .meta_u32(&key("block_count"), self.n_layers)
            .meta_u32(&key("attention.head_count"), self.n_heads as u32)
            .meta_u32(&key("attention.head_count_kv"), self.n_kv_heads as u32)
            .meta_u32(&key("attention.key_length"), self.d_head as u32)
            .meta_u32(&key("context_length"), 2048)
            .meta_f32(&key("attention.layer_norm_rms_epsilon"), 1e-5);
        if self.architecture != "gemma3" {
            return file;
        }
        // Texts of tests cross this window, and of two blocks one has it.
        file.meta_u32("gemma3.attention.sliding_window", 20).meta_u32("gemma3.attention.sliding_window_pattern", 2)
    }
}
