//! Embedding and head in GPU memory: in parts, where they are larger than the device binds at once.

use super::Matrix;
use crate::{
    config::ModelConfig,
    error::Result,
    gguf::Source,
    kernels::{embed::Embed, gpu::Gpu, project::Slice, unpack::bytes},
    quant::{BlockType, pack, plane_lens},
    weights::Reader,
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
/// Bytes of the file in memory at once, about.
const PIECE: usize = 1 << 23;

/// Reads the vocabulary's matrix `name` into as few parts as the device binds, piece by piece.
///
/// # Errors
/// As [`FusedModel::load`](super::FusedModel::load).
pub(super) async fn upload_vocabulary<S: Source>(
    gpu: &Gpu,
    reader: &mut Reader<'_, S>,
    name: &str,
    config: &ModelConfig,
) -> Result<Vec<Part>> {
    let (all, cols) = (config.vocab, config.d_model);
    let file_ty = reader.format(name, all, cols)?;
    let ty = if file_ty == BlockType::Q5_0 { BlockType::Q8_0 } else { file_ty };
    let n_blocks = cols / ty.block_len();
    let words = if bytes(ty) { cols / 4 } else { cols / 8 };
    let scales = |rows: usize| plane_lens(ty, rows * n_blocks)[2];
    let steps = |bytes: usize, row: usize| (bytes / row / STEP).max(1) * STEP;
    let limit = gpu.device.limits().max_storage_buffer_binding_size as usize;
    let (most, piece) = (steps(limit, 4 * words), steps(PIECE, file_ty.row_bytes(cols)));
    let mut parts = Vec::new();
    for first in (0..all).step_by(most) {
        let rows = most.min(all - first);
        let matrix = Matrix { words: gpu.buffer(name, rows * words), scales: gpu.buffer(name, scales(rows)), ty };
        for start in (0..rows).step_by(piece) {
            let range = first + start..first + (start + piece).min(rows);
            let read = reader.rows(name, all, cols, range).await?.widened()?;
            let packed = pack(read.ty, &read.bytes)?.for_kernels();
            let write = |buffer: &wgpu::Buffer, at: usize, data: &[u32]| {
                gpu.queue.write_buffer(buffer, 4 * at as u64, bytemuck::cast_slice(data));
            };
            write(&matrix.words, start * words, &packed.words);
            write(&matrix.scales, scales(start), &packed.scales);
        }
        // What was written is held by the host until it is on its way.
        gpu.queue.submit([]);
        gpu.check()?;
        parts.push(Part { matrix, rows, slice: Slice { first: first as u32, all: all as u32 } });
    }
    Ok(parts)
}
