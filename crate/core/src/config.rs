//! What a model is made of, read from the metadata of its file.

use std::ops::Range;

use crate::{
    error::{Error, ErrorKind, Result},
    gguf::Gguf,
};

/// Which elements of a head turn together in a file, and so in which order it has the rows of queries and keys.
///
/// In memory neighbours turn together, whatever the file: [`crate::weights`] sorts the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// Neighbours `(2i, 2i + 1)`: the order llama files are written in.
    Interleaved,
    /// Halves `(i, i + d_head / 2)`: the order of the hub's checkpoints and of all other files.
    Halves,
}

/// What bends the gate of a feed-forward layer: `x · sigmoid(g(x))`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `g(x) = x` (Elfwing et al. 2018).
    Silu,
    /// The tanh form of GELU, `g(x) = √(8/π) · (x + 0.044715 x³)` (Hendrycks & Gimpel 2016).
    Gelu,
}

impl Activation {
    /// `√(8/π)`.
    pub const GELU_SLOPE: f32 = 1.595_769;
    /// Factor of the cube in GELU.
    pub const GELU_CUBE: f32 = 0.044_715;
}

/// Attention that looks back only so far in most blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Positions a token sees, its own among them.
    pub len: usize,
    /// Every so many blocks one sees all positions: the last of each run.
    pub every: usize,
    /// Base of the rotary frequencies of the blocks with a window.
    pub rope_base: f32,
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
    /// Which elements rotate together in the file.
    pub rope_style: RopeStyle,
    /// What positions are divided by: more than 1 where a model was stretched to longer texts (Chen et al. 2023).
    pub rope_factor: f32,
    /// What the frequency of each pair is divided by besides, as llama 3 has it; empty is by 1.
    ///
    /// It stands in a tensor, not in the metadata: [`crate::weights`] puts it here.
    pub rope_divisors: Vec<f32>,
    /// What bends the gate.
    pub activation: Activation,
    /// What embeddings are multiplied by before the first block.
    pub embedding_scale: f32,
    /// The window of attention, where not every block sees all.
    pub window: Option<Window>,
    /// Whether something is added to queries, keys and values.
    pub qkv_bias: bool,
    /// Whether queries and keys are normed, head by head, before they turn.
    pub head_norm: bool,
    /// Whether what attention and the feed-forward layer give is normed before it joins the residual stream.
    pub post_norm: bool,
}

/// The architectures Imprint runs.
pub const ARCHITECTURES: &[&str] = &["llama", "qwen2", "qwen3", "gemma3"];

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
        let rope_factor = rope_factor(gguf, architecture)?;
        let size = |name: &str| -> Result<usize> {
            let value = gguf.u32(&key(name)).ok_or_else(|| corrupt(format!("{} is missing", key(name))))?;
            Ok(value as usize)
        };
        let d_model = size("embedding_length")?;
        let n_heads = size("attention.head_count")?;
        let n_kv_heads = size("attention.head_count_kv").unwrap_or(n_heads);
        let d_head = size("attention.key_length").unwrap_or(d_model.checked_div(n_heads).unwrap_or(0));
        let n_layers = size("block_count")?;
        let gemma = architecture == "gemma3";
        let embedding =
            gguf.tensor("token_embd.weight").ok_or_else(|| corrupt("tensor token_embd.weight is missing"))?;
        let config = Self {
            architecture: architecture.to_owned(),
            name: gguf.str("general.name").unwrap_or(architecture).to_owned(),
            d_model,
            d_ff: size("feed_forward_length")?,
            n_layers,
            n_heads,
            n_kv_heads,
            d_head,
            vocab: embedding.rows() as usize,
            context: size("context_length")?,
            norm_eps: gguf.f32(&key("attention.layer_norm_rms_epsilon")).unwrap_or(1e-5),
            rope_base: gguf.f32(&key("rope.freq_base")).unwrap_or(if gemma { 1e6 } else { 1e4 }),
            rope_style: if architecture == "llama" { RopeStyle::Interleaved } else { RopeStyle::Halves },
            rope_factor,
            rope_divisors: Vec::new(),
            activation: if gemma { Activation::Gelu } else { Activation::Silu },
            embedding_scale: if gemma { (d_model as f32).sqrt() } else { 1.0 },
            window: if gemma { Some(window(gguf, architecture)?) } else { None },
            qkv_bias: architecture == "qwen2" || gguf.tensor("blk.0.attn_q.bias").is_some(),
            head_norm: gemma || architecture == "qwen3",
            post_norm: gemma,
        };
        config.check()?;
        config.refuse(gguf)?;
        Ok(config)
    }

    /// Refuses what the metadata asks for and no path computes.
    fn refuse(&self, gguf: &Gguf) -> Result<()> {
        let architecture = &self.architecture;
        let unsupported = |message: String| Err(Error::new(ErrorKind::ModelUnsupported, message));
        for name in ["rope.dimension_count", "attention.value_length"] {
            let key = format!("{architecture}.{name}");
            if let Some(n) = gguf.u32(&key).filter(|&n| n as usize != self.d_head) {
                return unsupported(format!("{key} is {n}; only the width of a head, {}, is supported", self.d_head));
            }
        }
        // Gemma 3 27B alone scales its scores by another width than its heads'; its header does not say so.
        if architecture == "gemma3" && self.n_layers == 62 {
            return unsupported("gemma3 with 62 blocks is not supported; take one of the smaller models".into());
        }
        Ok(())
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
        let local_base = self.window.map_or(1.0, |window| window.rope_base);
        let positive = |x: f32| x.is_finite() && x > 0.0;
        if ![self.norm_eps, self.rope_base, self.rope_factor, local_base].into_iter().all(positive) {
            return Err(corrupt(format!(
                "norm epsilon {}, rope base {} or {local_base} or rope factor {} is not a positive number",
                self.norm_eps, self.rope_base, self.rope_factor
            )));
        }
        if self.window.is_some_and(|window| window.len == 0 || window.every == 0) {
            return Err(corrupt("a window of no positions, or of no blocks, sees nothing"));
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

    /// Whether queries and keys are worked on between their projection and their turn.
    pub fn heads_apart(&self) -> bool {
        self.qkv_bias || self.head_norm
    }

    /// How far back block `layer` looks: this many positions, or all.
    pub fn window_of(&self, layer: usize) -> Option<usize> {
        self.window.filter(|window| !(layer + 1).is_multiple_of(window.every)).map(|window| window.len)
    }

    /// Cosines and sines of the rotary embedding, computed in f64 since a phase of thousands of radians loses digits in
    /// f32; `local` is of the blocks with a window.
    ///
    /// # Shapes
    /// - two of `[positions, d_head / 2]`, row-major
    pub fn rope_table(&self, positions: Range<usize>, local: bool) -> (Vec<f32>, Vec<f32>) {
        let half = self.d_head / 2;
        // Only what sees far was stretched.
        let (base, factor) = match self.window.filter(|_| local) {
            Some(window) => (window.rope_base, 1.0),
            None => (self.rope_base, self.rope_factor),
        };
        let mut cos = Vec::with_capacity(positions.len() * half);
        let mut sin = Vec::with_capacity(positions.len() * half);
        for position in positions {
            for pair in 0..half {
                let divisor = f64::from(self.rope_divisors.get(pair).copied().unwrap_or(1.0)) * f64::from(factor);
                let frequency = f64::from(base).powf(-2.0 * pair as f64 / self.d_head as f64) / divisor;
                let angle = position as f64 * frequency;
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
            }
        }
        (cos, sin)
    }
}

/// What positions are divided by.
fn rope_factor(gguf: &Gguf, architecture: &str) -> Result<f32> {
    let key = |name: &str| format!("{architecture}.rope.scaling.{name}");
    match gguf.str(&key("type")) {
        None | Some("none") => Ok(1.0),
        Some("linear") => {
            gguf.f32(&key("factor")).ok_or_else(|| corrupt(format!("{} is missing beside its type", key("factor"))))
        }
        Some(scaling) => Err(Error::new(
            ErrorKind::ModelUnsupported,
            format!("rope scaling {scaling:?} is not supported; supported: none, linear, and llama 3's divisors"),
        )),
    }
}

/// The window of a file that may leave out what the architecture settles (Gemma Team 2025, §2).
fn window(gguf: &Gguf, architecture: &str) -> Result<Window> {
    let key = |name: &str| format!("{architecture}.{name}");
    let len = key("attention.sliding_window");
    let len = gguf.u32(&len).ok_or_else(|| corrupt(format!("{len} is missing")))?;
    Ok(Window {
        len: len as usize,
        every: gguf.u32(&key("attention.sliding_window_pattern")).unwrap_or(6) as usize,
        rope_base: gguf.f32(&key("rope.freq_base_swa")).unwrap_or(1e4),
    })
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::ModelCorrupt, message)
}
