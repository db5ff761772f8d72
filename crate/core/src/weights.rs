//! Tensors of a GGUF file into a model; the only file that knows foreign tensor names.

use std::{ops::Range, sync::Arc};

use crate::{
    config::{ModelConfig, RopeStyle},
    error::{Error, ErrorKind, Result},
    gguf::{Gguf, Source, TensorInfo},
    packed::{Blocks, Layer, More, Packed},
    quant::{BlockType, dequantise},
};

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

    /// The format of a matrix that must exist.
    pub fn format(&self, name: &str, rows: usize, cols: usize) -> Result<BlockType> {
        Ok(self.expect(name, rows, cols)?.ty)
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

    /// Reads some rows of a matrix of `all` rows: of a large one, so that it is never in memory whole.
    pub async fn rows(&mut self, name: &str, all: usize, cols: usize, rows: Range<usize>) -> Result<Blocks> {
        let info = self.expect(name, all, cols)?;
        let bytes = self.gguf.read_rows(self.source, info, rows.start as u64..rows.end as u64).await?;
        self.read_bytes += bytes.len() as u64;
        (self.on_tensor)(self.read_bytes, self.total_bytes)?;
        Ok(Blocks { ty: info.ty, bytes: Arc::from(bytes), rows: rows.len(), cols })
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

    /// Whether the output projection has a matrix of its own.
    pub fn has_head(&self) -> bool {
        self.gguf.tensor(OUTPUT).is_some()
    }

    /// The output projection: its own matrix, or the embedding where the file has none.
    pub async fn head(&mut self, config: &ModelConfig) -> Result<Option<Blocks>> {
        match self.gguf.tensor(OUTPUT) {
            Some(_) => self.matrix(OUTPUT, config.vocab, config.d_model).await.map(Some),
            None => Ok(None),
        }
    }
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
/// Name of the head, where it is not the embedding.
pub const OUTPUT: &str = "output.weight";

/// The full name of a tensor of block `layer`.
pub fn block_tensor(layer: usize, name: &str) -> String {
    format!("blk.{layer}.{name}.weight")
}

/// Reads all weights into memory, packed as they are.
///
/// # Errors
/// `model-corrupt` for missing or misshapen tensors, `model-unsupported` for what `config` does not describe, and what
/// `source` and `on_tensor` return.
pub async fn load_packed(gguf: &Gguf, source: &impl Source, on_tensor: OnTensor<'_>) -> Result<Packed> {
    let mut reader = Reader::new(gguf, source, on_tensor);
    let config = reader.config().await?;
    let embedding = reader.matrix(EMBEDDING, config.vocab, config.d_model).await?;
    let mut layers = Vec::with_capacity(config.n_layers);
    for layer in 0..config.n_layers {
        layers.push(read_layer(&mut reader, &config, layer).await?);
    }
    let norm = reader.vector(OUTPUT_NORM, config.d_model).await?;
    let head = reader.head(&config).await?.unwrap_or_else(|| embedding.clone());
    Ok(Packed { config, embedding, layers, norm, head })
}

/// Reads the weights of block `layer`.
///
/// # Errors
/// As [`load_packed`].
pub async fn read_layer<S: Source>(reader: &mut Reader<'_, S>, config: &ModelConfig, layer: usize) -> Result<Layer> {
    let (d_model, d_ff, d_query, d_kv) = (config.d_model, config.d_ff, config.d_query(), config.d_kv());
    let name = |n| block_tensor(layer, n);
    Ok(Layer {
        attention_norm: reader.vector(&name("attn_norm"), d_model).await?,
        ffn_norm: reader.vector(&name("ffn_norm"), d_model).await?,
        more: reader.more(config, layer).await?,
        weights: [
            reader.turning(config, &name("attn_q"), config.n_heads).await?,
            reader.turning(config, &name("attn_k"), config.n_kv_heads).await?,
            reader.matrix(&name("attn_v"), d_kv, d_model).await?,
            reader.matrix(&name("attn_output"), d_model, d_query).await?,
            reader.matrix(&name("ffn_gate"), d_ff, d_model).await?,
            reader.matrix(&name("ffn_up"), d_ff, d_model).await?,
            reader.matrix(&name("ffn_down"), d_model, d_ff).await?,
        ],
    })
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
