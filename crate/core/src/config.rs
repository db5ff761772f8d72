//! What a model is made of, read from the metadata of its file.

use std::ops::Range;

use crate::{
    error::{Error, ErrorKind, Result},
    gguf::Gguf,
};

/// How rotary position embedding pairs the elements of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// Neighbours `(2i, 2i + 1)` turn together: the order llama files are written in.
    Interleaved,
    /// Halves `(i, i + d_head / 2)` turn together: the order of the hub's checkpoints.
    Halves,
}

/// The shape of a decoder-only transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// `general.architecture` of the file.
    pub architecture: String,
    /// A name to show, from `general.name` where the file has one.
    pub name: String,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Width of the feed-forward layer.
    pub d_ff: usize,
    /// Number of blocks.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; each serves `n_heads / n_kv_heads` query heads.
    pub n_kv_heads: usize,
    /// Width of one head.
    pub d_head: usize,
    /// Number of token ids.
    pub vocab: usize,
    /// The longest text the model was trained on, in tokens.
    pub context: usize,
    /// Epsilon of RMSNorm.
    pub norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
    /// Which elements rotate together.
    pub rope_style: RopeStyle,
}

/// The architectures Imprint runs.
pub const ARCHITECTURES: &[&str] = &["llama"];

impl ModelConfig {
    /// Reads the shape from a file's metadata.
    ///
    /// # Errors
    /// `model-unsupported` for another architecture or a rope scaling Imprint does not know; `model-corrupt` where a
    /// number is missing or impossible.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let architecture =
            gguf.str("general.architecture").ok_or_else(|| corrupt("the file does not name its architecture"))?;
        if !ARCHITECTURES.contains(&architecture) {
            return Err(Error::new(
                ErrorKind::ModelUnsupported,
                format!("architecture {architecture:?} is not supported; supported: {}", ARCHITECTURES.join(", ")),
            ));
        }
        let key = |name: &str| format!("{architecture}.{name}");
        if let Some(scaling) = gguf.str(&key("rope.scaling.type")).filter(|&s| s != "none") {
            return Err(Error::new(
                ErrorKind::ModelUnsupported,
                format!("rope scaling {scaling:?} is not supported; supported: none"),
            ));
        }
        let size = |name: &str| -> Result<usize> {
            let value = gguf.u32(&key(name)).ok_or_else(|| corrupt(format!("{} is missing", key(name))))?;
            Ok(value as usize)
        };
        let d_model = size("embedding_length")?;
        let n_heads = size("attention.head_count")?;
        let n_kv_heads = size("attention.head_count_kv").unwrap_or(n_heads);
        let d_head = size("attention.key_length").unwrap_or(d_model.checked_div(n_heads).unwrap_or(0));
        let embedding =
            gguf.tensor("token_embd.weight").ok_or_else(|| corrupt("tensor token_embd.weight is missing"))?;
        let config = Self {
            architecture: architecture.to_owned(),
            name: gguf.str("general.name").unwrap_or(architecture).to_owned(),
            d_model,
            d_ff: size("feed_forward_length")?,
            n_layers: size("block_count")?,
            n_heads,
            n_kv_heads,
            d_head,
            vocab: embedding.rows() as usize,
            context: size("context_length")?,
            norm_eps: gguf.f32(&key("attention.layer_norm_rms_epsilon")).unwrap_or(1e-5),
            rope_base: gguf.f32(&key("rope.freq_base")).unwrap_or(10_000.0),
            rope_style: RopeStyle::Interleaved,
        };
        config.check()?;
        if gguf.u32(&key("rope.dimension_count")).is_some_and(|n| n as usize != config.d_head) {
            return Err(Error::new(
                ErrorKind::ModelUnsupported,
                format!(
                    "rope over a part of the head ({} is not {d_head}) is not supported",
                    key("rope.dimension_count")
                ),
            ));
        }
        Ok(config)
    }

    /// Refuses shapes no model has, so that nothing later divides by zero or allocates without end.
    fn check(&self) -> Result<()> {
        let sizes = [
            ("d_model", self.d_model, 1 << 16),
            ("d_ff", self.d_ff, 1 << 20),
            ("n_layers", self.n_layers, 1 << 10),
            ("n_heads", self.n_heads, 1 << 10),
            ("n_kv_heads", self.n_kv_heads, 1 << 10),
            ("d_head", self.d_head, 1 << 10),
            ("vocab", self.vocab, 1 << 22),
            ("context", self.context, 1 << 24),
        ];
        for (name, value, most) in sizes {
            if value == 0 || value > most {
                return Err(corrupt(format!("{name} is {value}, which no model has (1 to {most})")));
            }
        }
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            return Err(corrupt(format!(
                "{} query heads cannot share {} key heads evenly",
                self.n_heads, self.n_kv_heads
            )));
        }
        if !self.d_head.is_multiple_of(2) {
            return Err(corrupt(format!("a head of {} elements cannot rotate in pairs", self.d_head)));
        }
        let positive = |x: f32| x.is_finite() && x > 0.0;
        if !positive(self.norm_eps) || !positive(self.rope_base) {
            return Err(corrupt(format!(
                "norm epsilon {} or rope base {} is not a positive number",
                self.norm_eps, self.rope_base
            )));
        }
        Ok(())
    }

    /// Width of all query heads together.
    pub fn d_query(&self) -> usize {
        self.n_heads * self.d_head
    }

    /// Width of all key (or value) heads together.
    pub fn d_kv(&self) -> usize {
        self.n_kv_heads * self.d_head
    }

    /// Cosines and sines of the rotary embedding, computed in f64 since a phase of thousands of radians loses digits in f32.
    ///
    /// # Shapes
    /// - two of `[positions, d_head / 2]`, row-major
    pub fn rope_table(&self, positions: Range<usize>) -> (Vec<f32>, Vec<f32>) {
        let half = self.d_head / 2;
        let mut cos = Vec::with_capacity(positions.len() * half);
        let mut sin = Vec::with_capacity(positions.len() * half);
        for position in positions {
            for pair in 0..half {
                let frequency = f64::from(self.rope_base).powf(-2.0 * pair as f64 / self.d_head as f64);
                let angle = position as f64 * frequency;
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
            }
        }
        (cos, sin)
    }
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::ModelCorrupt, message)
}
