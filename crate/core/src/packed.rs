//! A model's weights as the file holds them, in memory: what the processor computes on, and what the plain model is made from.

use std::sync::Arc;

use crate::{
    adapter::Kind,
    config::ModelConfig,
    error::Result,
    quant::{BlockType, dequantise, q5_0_as_q8_0},
};

/// A weight matrix as the file holds it: rows of blocks.
#[derive(Clone)]
pub struct Blocks {
    /// Format of the blocks.
    pub ty: BlockType,
    /// The packed rows, one after the other.
    pub bytes: Arc<[u8]>,
    /// Number of rows.
    pub rows: usize,
    /// Weights a row.
    pub cols: usize,
}

impl Blocks {
    /// Unpacks row `row` into `out`.
    ///
    /// # Panics
    /// If `out` is not one row long or `row` is past the end: our bug, `weights.rs` checks the file.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let bytes = self.ty.row_bytes(self.cols);
        dequantise(self.ty, &self.bytes[row * bytes..(row + 1) * bytes], out).expect("row length was checked at load");
    }

    /// The same weights in a format that products unpack in registers: five bits become a byte, and nothing is rounded.
    ///
    /// # Errors
    /// `model-corrupt` if the matrix ends inside a block.
    pub fn widened(self) -> Result<Self> {
        let ty = self.ty.widened();
        if ty == self.ty {
            return Ok(self);
        }
        Ok(Self { ty, bytes: q5_0_as_q8_0(&self.bytes)?.into(), ..self })
    }

    /// All weights in f32, `[rows, cols]` row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.rows * self.cols];
        dequantise(self.ty, &self.bytes, &mut out).expect("matrix length was checked at load");
        out
    }
}

/// What only some architectures have in a block.
#[derive(Default, Clone)]
pub struct More {
    /// Added to queries, keys and values.
    pub bias: Option<[Vec<f32>; 3]>,
    /// Norms of query heads and of key heads.
    pub head_norms: Option<[Vec<f32>; 2]>,
    /// Norms of what attention and the feed-forward layer give.
    pub post_norms: Option<[Vec<f32>; 2]>,
}

/// A block's weights.
pub struct Layer {
    /// `[d_model]`
    pub attention_norm: Vec<f32>,
    /// `[d_model]`
    pub ffn_norm: Vec<f32>,
    /// What the architecture has besides.
    pub more: More,
    /// The projections by [`Kind`], in its order.
    pub weights: [Blocks; Kind::ALL.len()],
}

/// All weights of a model; matrices are packed, norms are f32.
pub struct Packed {
    /// Its shape.
    pub config: ModelConfig,
    /// Token embeddings, `[vocab, d_model]`.
    pub embedding: Blocks,
    /// The blocks, first to last.
    pub layers: Vec<Layer>,
    /// Norm before the head, `[d_model]`.
    pub norm: Vec<f32>,
    /// Output projection, `[vocab, d_model]`.
    pub head: Blocks,
}
