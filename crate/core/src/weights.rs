//! Tensors of a GGUF file into a [`Model`]; the only file that knows foreign tensor names.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use crate::{
    config::{ModelConfig, RopeStyle},
    error::{Error, ErrorKind, Result},
    gguf::{Gguf, Source, TensorInfo},
    linear::{Blocks, Linear},
    model::{Block, Extras, Model, RmsNorm},
    quant::{BlockType, dequantise},
};

/// How a plain model keeps its projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Packed as in the file: least memory, CPU only.
    Packed,
    /// Unpacked to f32 tensors: any device, the reference.
    Dense,
}

/// Told after each tensor: bytes read so far, bytes in all. An error it returns stops the load.
pub type OnTensor<'a> = &'a mut dyn FnMut(u64, u64) -> Result<()>;

/// Reads tensors by name, checks their shapes, and counts what has been read.
pub struct Reader<'a, S> {
    gguf: &'a Gguf,
    source: &'a S,
    read_bytes: u64,
    total_bytes: u64,
    on_tensor: OnTensor<'a>,
}

impl<'a, S: Source> Reader<'a, S> {
    /// A reader over `source`, whose header is `gguf`.
    pub fn new(gguf: &'a Gguf, source: &'a S, on_tensor: OnTensor<'a>) -> Self {
        let total_bytes = gguf.tensors().iter().map(|t| t.size_bytes).sum();
        Self { gguf, source, read_bytes: 0, total_bytes, on_tensor }
    }

    /// The description of a tensor that must exist with these dimensions (`cols` first in the file).
    fn expect(&self, name: &str, rows: usize, cols: usize) -> Result<&'a TensorInfo> {
        let info = self.gguf.tensor(name).ok_or_else(|| {
            Error::new(ErrorKind::ModelCorrupt, format!("tensor {name} is missing; download the model again"))
        })?;
        if info.rows() != rows as u64 || info.cols() != cols as u64 {
            let found = format!("{} x {}", info.rows(), info.cols());
            return Err(Error::new(
                ErrorKind::ModelCorrupt,
                format!("tensor {name} is {found}, the metadata says {rows} x {cols}"),
            ));
        }
        Ok(info)
    }

    /// Reads a matrix as it is.
    pub async fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Blocks> {
        let info = self.expect(name, rows, cols)?;
        let bytes = self.gguf.read_tensor(self.source, info).await?;
        self.read_bytes += info.size_bytes;
        (self.on_tensor)(self.read_bytes, self.total_bytes)?;
        Ok(Blocks { ty: info.ty, bytes: Arc::from(bytes), rows, cols })
    }

    /// Reads a vector into f32.
    pub async fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>> {
        let blocks = self.matrix(name, 1, len).await?;
        let mut out = vec![0.0; len];
        dequantise(blocks.ty, &blocks.bytes, &mut out)?;
        Ok(out)
    }

    /// Reads a projection of `n_heads` heads of queries or keys, its rows in the order in which they turn.
    pub async fn turning(&mut self, config: &ModelConfig, name: &str, n_heads: usize) -> Result<Blocks> {
        let blocks = self.matrix(name, n_heads * config.d_head, config.d_model).await?;
        if config.rope_style == RopeStyle::Interleaved {
            return Ok(blocks);
        }
        let row = blocks.ty.row_bytes(blocks.cols);
        let bytes: Vec<u8> = neighbours(n_heads, config.d_head)
            .flat_map(|from| &blocks.bytes[from * row..(from + 1) * row])
            .copied()
            .collect();
        Ok(Blocks { bytes: bytes.into(), ..blocks })
    }

    /// As [`Reader::turning`] for a number an element.
    async fn turning_vector(&mut self, config: &ModelConfig, name: &str, n_heads: usize) -> Result<Vec<f32>> {
        let values = self.vector(name, n_heads * config.d_head).await?;
        if config.rope_style == RopeStyle::Interleaved {
            return Ok(values);
        }
        Ok(neighbours(n_heads, config.d_head).map(|from| values[from]).collect())
    }

    /// What block `layer` has besides what every block has.
    pub async fn more(&mut self, config: &ModelConfig, layer: usize) -> Result<More> {
        let name = |n: &str| block_tensor(layer, n);
        let mut more = More::default();
        if config.qkv_bias {
            let bias = |n: &str| format!("blk.{layer}.{n}.bias");
            more.bias = Some([
                self.turning_vector(config, &bias("attn_q"), config.n_heads).await?,
                self.turning_vector(config, &bias("attn_k"), config.n_kv_heads).await?,
                self.vector(&bias("attn_v"), config.d_kv()).await?,
            ]);
        }
        if config.head_norm {
            more.head_norms = Some([
                self.turning_vector(config, &name("attn_q_norm"), 1).await?,
                self.turning_vector(config, &name("attn_k_norm"), 1).await?,
            ]);
        }
        if config.post_norm {
            more.post_norms = Some([
                self.vector(&name("post_attention_norm"), config.d_model).await?,
                self.vector(&name("post_ffw_norm"), config.d_model).await?,
            ]);
        }
        Ok(more)
    }

    /// The shape, with what of it stands in tensors.
    pub async fn config(&mut self) -> Result<ModelConfig> {
        let mut config = ModelConfig::from_gguf(self.gguf)?;
        refuse_unknown(self.gguf, &config)?;
        if self.gguf.tensor(ROPE_DIVISORS).is_some() {
            config.rope_divisors = self.vector(ROPE_DIVISORS, config.d_head / 2).await?;
            if !config.rope_divisors.iter().all(|divisor| divisor.is_finite() && *divisor > 0.0) {
                let message = format!("{ROPE_DIVISORS} has a number that is not positive; download the model again");
                return Err(Error::new(ErrorKind::ModelCorrupt, message));
            }
        }
        Ok(config)
    }

    /// The output projection: its own matrix, or the embedding where the file has none.
    pub async fn head(&mut self, config: &ModelConfig) -> Result<Option<Blocks>> {
        match self.gguf.tensor(OUTPUT) {
            Some(_) => self.matrix(OUTPUT, config.vocab, config.d_model).await.map(Some),
            None => Ok(None),
        }
    }
}

/// What only some architectures have in a block: see [`Extras`].
#[derive(Default, Clone)]
pub struct More {
    /// Added to queries, keys and values.
    pub bias: Option<[Vec<f32>; 3]>,
    /// Norms of query heads and of key heads.
    pub head_norms: Option<[Vec<f32>; 2]>,
    /// Norms of what attention and the feed-forward layer give.
    pub post_norms: Option<[Vec<f32>; 2]>,
}

/// Where in a file whose halves turn together the rows stand that turn together here: element `2i` is element `i` there,
/// `2i + 1` is `i + d_head / 2`.
pub fn neighbours(n_heads: usize, d_head: usize) -> impl Iterator<Item = usize> {
    (0..n_heads * d_head).map(move |row| row / d_head * d_head + row % d_head / 2 + row % 2 * (d_head / 2))
}

/// Name of what rotary frequencies are divided by.
const ROPE_DIVISORS: &str = "rope_freqs.weight";
/// Name of the token embedding.
pub const EMBEDDING: &str = "token_embd.weight";
/// Name of the norm before the head.
pub const OUTPUT_NORM: &str = "output_norm.weight";
const OUTPUT: &str = "output.weight";

/// The full name of a tensor of block `layer`.
pub fn block_tensor(layer: usize, name: &str) -> String {
    format!("blk.{layer}.{name}.weight")
}

/// Builds the plain model on `device`.
///
/// # Errors
/// `model-corrupt` for missing or misshapen tensors, `model-unsupported` for what `config` does not describe, and what
/// `source` and `on_tensor` return.
pub async fn load_model(
    gguf: &Gguf,
    source: &impl Source,
    keep: Keep,
    device: &Device,
    on_tensor: OnTensor<'_>,
) -> Result<Model> {
    let mut reader = Reader::new(gguf, source, on_tensor);
    let config = reader.config().await?;
    let linear = |blocks: Blocks| match keep {
        Keep::Packed => Linear::Packed(blocks),
        Keep::Dense => Linear::Dense(Box::new(blocks.to_tensor(device))),
    };
    let vector = |values: Vec<f32>| {
        let len = values.len();
        Tensor::from_data(TensorData::new(values, [len]), device)
    };
    let norm = |weight: Vec<f32>| RmsNorm { weight: vector(weight), eps: config.norm_eps };
    let embedding = reader.matrix(EMBEDDING, config.vocab, config.d_model).await?;
    let (d_model, d_ff, d_query, d_kv) = (config.d_model, config.d_ff, config.d_query(), config.d_kv());
    let mut blocks = Vec::with_capacity(config.n_layers);
    for layer in 0..config.n_layers {
        let name = |n| block_tensor(layer, n);
        let More { bias, head_norms, post_norms } = reader.more(&config, layer).await?;
        blocks.push(Block {
            attention_norm: norm(reader.vector(&name("attn_norm"), d_model).await?),
            q: linear(reader.turning(&config, &name("attn_q"), config.n_heads).await?),
            k: linear(reader.turning(&config, &name("attn_k"), config.n_kv_heads).await?),
            v: linear(reader.matrix(&name("attn_v"), d_kv, d_model).await?),
            o: linear(reader.matrix(&name("attn_output"), d_model, d_query).await?),
            ffn_norm: norm(reader.vector(&name("ffn_norm"), d_model).await?),
            gate: linear(reader.matrix(&name("ffn_gate"), d_ff, d_model).await?),
            up: linear(reader.matrix(&name("ffn_up"), d_ff, d_model).await?),
            down: linear(reader.matrix(&name("ffn_down"), d_model, d_ff).await?),
            extras: Extras {
                bias: bias.map(|bias| bias.map(vector)),
                head_norms: head_norms.map(|norms| norms.map(norm)),
                post_norms: post_norms.map(|norms| norms.map(norm)),
            },
        });
    }
    let norm = norm(reader.vector(OUTPUT_NORM, d_model).await?);
    let head = linear(reader.head(&config).await?.unwrap_or_else(|| embedding.clone()));
    Ok(Model { config, embedding, blocks, norm, head, device: device.clone() })
}

/// Refuses files that hold tensors this architecture does not have: running without them would give wrong numbers.
pub fn refuse_unknown(gguf: &Gguf, config: &ModelConfig) -> Result<()> {
    const BLOCK: &[&str] =
        &["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"];
    let mut known_here: Vec<String> = BLOCK.iter().map(|name| format!("{name}.weight")).collect();
    if config.qkv_bias {
        known_here.extend(["attn_q.bias", "attn_k.bias", "attn_v.bias"].map(String::from));
    }
    if config.head_norm {
        known_here.extend(["attn_q_norm.weight", "attn_k_norm.weight"].map(String::from));
    }
    if config.post_norm {
        known_here.extend(["post_attention_norm.weight", "post_ffw_norm.weight"].map(String::from));
    }
    for tensor in gguf.tensors() {
        let known = [EMBEDDING, OUTPUT_NORM, OUTPUT, ROPE_DIVISORS].contains(&tensor.name.as_str())
            || tensor.name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).is_some_and(|(layer, rest)| {
                layer.parse().is_ok_and(|layer: usize| layer < config.n_layers)
                    && known_here.iter().any(|name| name == rest)
            });
        if !known {
            return Err(Error::new(
                ErrorKind::ModelUnsupported,
                format!(
                    "tensor {} does not belong to the {} architecture Imprint knows",
                    tensor.name, config.architecture
                ),
            ));
        }
    }
    Ok(())
}

/// Whether a block format has fused GPU kernels.
pub fn fused(ty: BlockType) -> bool {
    !matches!(ty, BlockType::F32 | BlockType::F16 | BlockType::BF16)
}
