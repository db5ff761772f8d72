//! Embedding and head in GPU memory: in parts, where they are larger than the device binds at once.

use super::{Matrix, upload};
use crate::{
    config::ModelConfig,
    error::Result,
    kernels::{
        embed::Embed,
        gpu::Gpu,
        project::{Slice, bytes},
    },
    packed::Blocks,
    quant::BlockType,
};

/// Some rows of the vocabulary's matrix.
#[derive(Clone)]
pub(crate) struct Part {
    pub matrix: Matrix,
    /// How many.
    pub rows: usize,
    /// Which.
    pub slice: Slice,
}

impl Part {
    /// The kernel that looks ids up in it.
    pub fn embed(&self, config: &ModelConfig, streams: u32) -> Embed {
        Embed {
            ty: self.matrix.ty,
            d_model: config.d_model as u32,
            rows: self.rows as u32,
            slice: self.slice,
            scale: config.embedding_scale,
            streams,
        }
    }
}

/// Rows are parted at multiples of this, so that no vector of four scores and no word of two scales is cut.
const STEP: usize = 64;

/// Uploads the rows in as few parts as the device binds.
pub(super) fn upload_parts(gpu: &Gpu, label: &str, blocks: Blocks) -> Result<Vec<Part>> {
    let row_bytes = blocks.ty.row_bytes(blocks.cols);
    let words = if bytes(blocks.ty) || blocks.ty == BlockType::Q5_0 { blocks.cols } else { blocks.cols / 2 };
    let limit = gpu.device.limits().max_storage_buffer_binding_size;
    let most = ((limit / words as u64) as usize / STEP * STEP).max(STEP);
    let mut parts = Vec::new();
    for (i, bytes) in blocks.bytes.chunks(most * row_bytes).enumerate() {
        let rows = bytes.len() / row_bytes;
        let part = Blocks { ty: blocks.ty, bytes: bytes.into(), rows, cols: blocks.cols };
        let slice = Slice { first: (i * most) as u32, all: blocks.rows as u32 };
        parts.push(Part { matrix: upload(gpu, label, part)?, rows, slice });
    }
    Ok(parts)
}
