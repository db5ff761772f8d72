//! Embedding and head in GPU memory: in parts, where they are larger than the device binds at once.

use super::matrix::Matrix;
use crate::{
    config::ModelConfig,
    error::Result,
    gguf::Source,
    kernels::{
        embed::Embed,
        gpu::Gpu,
        project::Slice,
        unpack::{bytes, lengths},
    },
    quant::{BlockType, pack},
    weights::Reader,
};

/// Some rows of the vocabulary's matrix, in GPU memory.
#[derive(Clone)]
pub(crate) struct Part {
    pub matrix: Matrix,
    pub slab: Slab,
}

/// As many rows of the vocabulary's matrix as the device binds at once.
#[derive(Clone, Copy)]
pub(crate) struct Slab {
    pub ty: BlockType,
    /// How many.
    pub rows: usize,
    /// Which.
    pub slice: Slice,
}

impl Slab {
    /// The parts of a matrix that the file holds as `ty`.
    pub fn all(gpu: &Gpu, config: &ModelConfig, ty: BlockType) -> Vec<Self> {
        let ty = ty.widened();
        let limit = gpu.device.limits().max_storage_buffer_binding_size as usize;
        let most = steps(limit, 4 * words(ty, config.d_model));
        let slab = |first: usize| {
            let slice = Slice { first: first as u32, all: config.vocab as u32 };
            Self { ty, rows: most.min(config.vocab - first), slice }
        };
        (0..config.vocab).step_by(most).map(slab).collect()
    }

    /// The kernel that looks ids up in it.
    pub fn embed(&self, config: &ModelConfig, streams: u32) -> Embed {
        Embed {
            ty: self.ty,
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

/// Words of a row in the plane that every format has.
fn words(ty: BlockType, cols: usize) -> usize {
    if bytes(ty) { cols / 4 } else { cols / 8 }
}

/// How many rows of `row` bytes fit `bytes`, in whole steps.
fn steps(bytes: usize, row: usize) -> usize {
    (bytes / row / STEP).max(1) * STEP
}

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
    let ty = file_ty.widened();
    let before = |rows: usize| lengths(ty, rows as u32, cols as u32).map(|n| n as usize);
    let piece = steps(PIECE, file_ty.row_bytes(cols));
    let mut parts = Vec::new();
    for slab in Slab::all(gpu, config, file_ty) {
        let (first, rows) = (slab.slice.first as usize, slab.rows);
        let matrix = Matrix::alone(gpu, name, ty, [rows as u32, cols as u32], slab.slice);
        for start in (0..rows).step_by(piece) {
            let range = first + start..first + (start + piece).min(rows);
            let read = reader.rows(name, all, cols, range).await?.widened()?;
            matrix.write(gpu, before(start), &pack(read.ty, &read.bytes)?.for_kernels());
        }
        // What was written is held by the host until it is on its way.
        gpu.queue.submit([]);
        gpu.check()?;
        parts.push(Part { matrix, slab });
    }
    Ok(parts)
}
