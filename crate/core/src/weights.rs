//! Tensors of a GGUF file into a model; the only file that knows foreign tensor names.

use std::sync::Arc;

use crate::{
    config::ModelConfig,
    error::{Error, ErrorKind, Result},
    gguf::{Gguf, Source, TensorInfo},
    packed::{Blocks, Layer, Packed},
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

    /// The output projection: its own matrix, or the embedding where the file has none.
    pub async fn head(&mut self, config: &ModelConfig) -> Result<Option<Blocks>> {
        match self.gguf.tensor(OUTPUT) {
            Some(_) => self.matrix(OUTPUT, config.vocab, config.d_model).await.map(Some),
            None => Ok(None),
        }
    }
}

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
    let config = ModelConfig::from_gguf(gguf)?;
    refuse_unknown(gguf, &config)?;
    let mut reader = Reader::new(gguf, source, on_tensor);
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
        weights: [
            reader.matrix(&name("attn_q"), d_query, d_model).await?,
            reader.matrix(&name("attn_k"), d_kv, d_model).await?,
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
    for tensor in gguf.tensors() {
        let known = [EMBEDDING, OUTPUT_NORM, OUTPUT].contains(&tensor.name.as_str())
            || tensor.name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).is_some_and(|(layer, rest)| {
                layer.parse().is_ok_and(|layer: usize| layer < config.n_layers)
                    && rest.strip_suffix(".weight").is_some_and(|name| BLOCK.contains(&name))
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
    matches!(ty, BlockType::Q4_0 | BlockType::Q4_1 | BlockType::Q8_0)
}
