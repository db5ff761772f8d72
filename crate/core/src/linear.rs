//! A projection over frozen weights.

use burn::tensor::{Device, Tensor, TensorData};

use crate::packed::Blocks;

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
    /// Weights kept packed in memory, a seventh of the bytes, and unpacked for each call: what [`crate::processor`] reads.
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
            Linear::Packed(blocks) => {
                Tensor::from_data(TensorData::new(blocks.to_f32(), [blocks.rows, blocks.cols]), device)
            }
        }
    }

    /// The same layer with its weights unpacked on `device`.
    ///
    /// A graph that is kept for its backward then holds the weights once.
    pub fn unpacked(&self, device: &Device) -> Linear {
        Linear::Dense(Box::new(self.weight(device)))
    }

    fn project(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, seq, d_in] = x.dims();
        let weight = self.weight(&x.device());
        let d_out = weight.dims()[0];
        x.reshape([batch * seq, d_in]).matmul(weight.transpose()).reshape([batch, seq, d_out])
    }
}
