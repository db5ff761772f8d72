//! A projection over frozen weights.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use crate::quant::{BlockType, dequantise};

/// Up to this many rows of `x`, weights are unpacked a row at a time and used at once: one pass over the packed bytes,
/// nothing kept. Above it, unpacking the whole matrix for Burn's matrix product is cheaper.
const FEW_ROWS: usize = 8;

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

    /// All weights in f32, `[rows, cols]` row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.rows * self.cols];
        dequantise(self.ty, &self.bytes, &mut out).expect("matrix length was checked at load");
        out
    }

    /// All weights as a Burn tensor.
    ///
    /// # Shapes
    /// - result: `[rows, cols]`
    pub fn to_tensor(&self, device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(self.to_f32(), [self.rows, self.cols]), device)
    }
}

/// The low-rank path beside a projection: `scale · (x·Aᵀ)·Bᵀ`; `B·A` is never formed (Hu et al. 2021, §4.1).
#[derive(Clone)]
pub struct SidePath {
    /// `[rank, d_in]`
    pub a: Tensor<2>,
    /// `[d_out, rank]`
    pub b: Tensor<2>,
    /// Factor of the path.
    pub scale: f32,
}

impl SidePath {
    /// What the path adds.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, d_in]`, result: `[batch, seq, d_out]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, seq, d_in] = x.dims();
        let narrow = x.reshape([batch * seq, d_in]).matmul(self.a.clone().transpose());
        let d_out = self.b.dims()[0];
        ((narrow * self.scale).matmul(self.b.clone().transpose())).reshape([batch, seq, d_out])
    }
}

/// A frozen linear layer without bias.
pub enum Linear {
    /// Weights unpacked once into a tensor `[d_out, d_in]`: the plain path, on any device.
    Dense(Box<Tensor<2>>),
    /// Weights kept packed in memory: the CPU path, a seventh of the bytes.
    Packed(Blocks),
}

impl Linear {
    /// Projects `x`, adding the low-rank side path where there is one.
    ///
    /// `y = x·Wᵀ + scale·(x·Aᵀ)·Bᵀ`
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, d_in]`, result: `[batch, seq, d_out]`
    ///
    /// # Panics
    /// If the last axis of `x` is not `d_in`: our bug, user input cannot reach it.
    pub fn forward(&self, x: Tensor<3>, side: Option<&SidePath>) -> Tensor<3> {
        match side {
            Some(side) => self.project(x.clone()) + side.forward(x),
            None => self.project(x),
        }
    }

    /// The weights unpacked on `device`, `[d_out, d_in]`; a layer that has them already shares them.
    pub fn weight(&self, device: &Device) -> Tensor<2> {
        match self {
            Linear::Dense(weight) => weight.as_ref().clone(),
            Linear::Packed(blocks) => blocks.to_tensor(device),
        }
    }

    /// The same layer with its weights unpacked on `device`.
    ///
    /// Learning needs it: a packed layer leaves the device for a few rows of `x`, which would cut the gradient's way.
    pub fn unpacked(&self, device: &Device) -> Linear {
        Linear::Dense(Box::new(self.weight(device)))
    }

    fn project(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, seq, d_in] = x.dims();
        match self {
            Linear::Dense(weight) => {
                let d_out = weight.dims()[0];
                x.reshape([batch * seq, d_in]).matmul(weight.as_ref().clone().transpose()).reshape([batch, seq, d_out])
            }
            Linear::Packed(blocks) if batch * seq <= FEW_ROWS => {
                let device = x.device();
                let x = x.into_data().try_into_vec::<f32>().expect("activations are f32");
                let y = few_rows(blocks, &x);
                Tensor::from_data(TensorData::new(y, [batch, seq, blocks.rows]), &device)
            }
            Linear::Packed(blocks) => {
                let weight = blocks.to_tensor(&x.device());
                x.reshape([batch * seq, d_in]).matmul(weight.transpose()).reshape([batch, seq, blocks.rows])
            }
        }
    }
}

/// `x·Wᵀ` for a handful of rows, each weight row unpacked once.
fn few_rows(blocks: &Blocks, x: &[f32]) -> Vec<f32> {
    let n = x.len() / blocks.cols;
    let mut weight = vec![0.0; blocks.cols];
    let mut y = vec![0.0; n * blocks.rows];
    for row in 0..blocks.rows {
        blocks.row(row, &mut weight);
        for (i, x) in x.chunks_exact(blocks.cols).enumerate() {
            y[i * blocks.rows + row] = dot(x, &weight);
        }
    }
    y
}

/// Inner product in 16 lanes, which the compiler turns into vector instructions: f32 sums may not be reordered by it.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
