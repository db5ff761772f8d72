//! Quantised matrices in GPU memory.
//!
//! Those of a block lie in one buffer for words and one for scales, the longest last: from where each begins, as much can be
//! bound as the longest has. So one [`Product`] whose arrays have that length serves them all.

use super::plan::Formats;
use crate::{
    config::ModelConfig,
    kernels::{apart::Apart, gpu::Gpu, product::Product, project::Slice, unpack::lengths},
    quant::{BlockType, Packed},
};

/// Words to which WebGPU lets a binding begin at a multiple of.
const ALIGNMENT: u32 = 64;

/// Rows, and weights a row, of the matrices of a block: q k v, o, gate and up, down.
pub(super) fn dims(config: &ModelConfig) -> [[usize; 2]; 4] {
    let ModelConfig { d_model, d_ff, .. } = *config;
    let d_query = config.d_query();
    [[d_query + 2 * config.d_kv(), d_model], [d_model, d_query], [2 * d_ff, d_model], [d_model, d_ff]]
}

/// A stretch of a buffer, in words.
#[derive(Clone)]
struct Plane {
    buffer: wgpu::Buffer,
    at: u32,
    /// How many are the matrix's.
    own: u32,
    /// How many a kernel for several shapes binds.
    bound: u32,
}

impl Plane {
    fn binding(&self, words: u32) -> wgpu::BufferBinding<'_> {
        let size = wgpu::BufferSize::new(4 * u64::from(words));
        wgpu::BufferBinding { buffer: &self.buffer, offset: 4 * u64::from(self.at), size }
    }
}

/// A quantised matrix in GPU memory.
#[derive(Clone)]
pub(crate) struct Matrix {
    pub(crate) ty: BlockType,
    words: Plane,
    scales: Plane,
    /// See [`Product::shape`].
    shape: wgpu::Buffer,
}

impl Matrix {
    /// Room for the matrices of block `layer`, in the order of [`dims`].
    pub(super) fn block(gpu: &Gpu, config: &ModelConfig, formats: &Formats, layer: usize) -> [Self; 4] {
        let (types, dims) = (formats.blocks[layer], dims(config).map(|dims| dims.map(|n| n as u32)));
        let own = [0, 1, 2, 3].map(|i| lengths(types[i], dims[i][0], dims[i][1]));
        let bound = types.map(|ty| formats.longest(config, ty));
        let [words, scales] = [("words", 0), ("scales", 1)]
            .map(|(label, plane)| side_by_side(gpu, label, own.map(|n| n[plane]), bound.map(|n| n[plane])));
        [0, 1, 2, 3].map(|i| {
            let [rows, cols] = dims[i];
            let shape = gpu.upload("shape", &Product::shape(rows, cols, Slice::whole(rows)));
            Self { ty: types[i], words: words[i].clone(), scales: scales[i].clone(), shape }
        })
    }

    /// Room for a matrix of `rows` by `cols` that lies alone and whose rows are `slice` of a token's results.
    pub fn alone(gpu: &Gpu, label: &str, ty: BlockType, [rows, cols]: [u32; 2], slice: Slice) -> Self {
        let [words, scales] = lengths(ty, rows, cols).map(|own| Plane {
            buffer: gpu.buffer(label, own as usize),
            at: 0,
            own,
            bound: own,
        });
        Self { ty, words, scales, shape: gpu.upload("shape", &Product::shape(rows, cols, slice)) }
    }

    /// Puts weights where the matrix has `words` and `scales` before them.
    ///
    /// # Panics
    /// If they are more than the matrix has room for: our bug.
    pub fn write(&self, gpu: &Gpu, [words, scales]: [usize; 2], packed: &Packed) {
        for (plane, at, data) in [(&self.words, words, &packed.words), (&self.scales, scales, &packed.scales)] {
            assert!(at + data.len() <= plane.own as usize, "weights past the end of their matrix");
            let to = u64::from(plane.at) + at as u64;
            gpu.queue.write_buffer(&plane.buffer, 4 * to, bytemuck::cast_slice(data));
        }
    }

    /// Words and scales, for kernels made for its shape.
    pub fn own(&self) -> [wgpu::BufferBinding<'_>; 2] {
        [&self.words, &self.scales].map(|plane| plane.binding(plane.own))
    }

    /// Shape, words and scales, for its [`Product`].
    pub fn open(&self) -> [wgpu::BufferBinding<'_>; 3] {
        let [words, scales] = [&self.words, &self.scales].map(|plane| plane.binding(plane.bound));
        [self.shape.as_entire_buffer_binding(), words, scales]
    }

    /// The product with it of invocations that share no memory.
    pub fn product(&self, apart: Apart) -> Product {
        Product { ty: self.ty, lengths: [self.words.bound, self.scales.bound], apart }
    }
}

/// Places in one buffer, the longest last.
fn side_by_side(gpu: &Gpu, label: &str, own: [u32; 4], bound: [u32; 4]) -> [Plane; 4] {
    let mut order = [0, 1, 2, 3];
    order.sort_by_key(|&i| own[i]);
    let (mut at, mut end, mut size) = ([0; 4], 0, 0);
    for i in order {
        at[i] = end;
        size = size.max(end + bound[i]);
        end = (end + own[i]).next_multiple_of(ALIGNMENT);
    }
    let buffer = gpu.buffer(label, size as usize);
    [0, 1, 2, 3].map(|i| Plane { buffer: buffer.clone(), at: at[i], own: own[i], bound: bound[i] })
}
