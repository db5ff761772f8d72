//! Weights onto the GPU: which can go there, in which format, and block by block.

use super::{Layer, matrix::Matrix, plan::Formats, vocabulary::Slab};
use crate::{
    config::ModelConfig,
    error::{Error, ErrorKind, Result},
    gguf::{Gguf, Source},
    kernels::gpu::Gpu,
    packed::{Blocks, More},
    quant::{BlockType, pack},
    weights::{self, EMBEDDING, OUTPUT, Reader, block_tensor, fused},
};

/// Refuses, before anything is read, a file whose matrices have no kernels.
///
/// # Errors
/// `model-unsupported` naming the first tensor or width without a kernel.
pub fn check_kernels(gguf: &Gguf, config: &ModelConfig) -> Result<()> {
    let no_kernel =
        |what: String| Err(Error::new(ErrorKind::ModelUnsupported, format!("{what}: no GPU kernel for it")));
    if !config.d_model.is_multiple_of(32) || !config.d_ff.is_multiple_of(32) || !config.d_query().is_multiple_of(32) {
        return no_kernel(format!("rows of {} or {} weights", config.d_model, config.d_ff));
    }
    if !config.d_head.is_multiple_of(4) {
        return no_kernel(format!("heads of {} elements", config.d_head));
    }
    let mut matrices = gguf.tensors().iter().filter(|t| t.shape.len() == 2);
    if let Some(tensor) = matrices.find(|t| !fused(t.ty)) {
        return no_kernel(format!("tensor {} in format {}", tensor.name, tensor.ty.name()));
    }
    for layer in 0..config.n_layers {
        // Two formats that are one for the kernels may stand in one matrix.
        let ty = |name| gguf.tensor(&block_tensor(layer, name)).map(|t| t.ty.widened());
        if ty("attn_q") != ty("attn_k") || ty("attn_q") != ty("attn_v") || ty("ffn_gate") != ty("ffn_up") {
            return no_kernel(format!("block {layer} with mixed formats"));
        }
    }
    Ok(())
}

/// The formats of the matrices of a file that [`check_kernels`] has let pass.
pub(super) fn formats(gpu: &Gpu, gguf: &Gguf, config: &ModelConfig) -> Formats {
    let ty = |name: &str| gguf.tensor(name).map(|tensor| tensor.ty);
    let slabs = |name: &str| ty(name).map(|ty| Slab::all(gpu, config, ty)).unwrap_or_default();
    let head = if ty(OUTPUT).is_some() { OUTPUT } else { EMBEDDING };
    // A tensor that is missing is told of when it is read.
    let of = |layer, name| ty(&block_tensor(layer, name)).unwrap_or(BlockType::Q8_0).widened();
    let block = |layer| ["attn_q", "attn_output", "ffn_gate", "ffn_down"].map(|name| of(layer, name));
    Formats { embedding: slabs(EMBEDDING), blocks: (0..config.n_layers).map(block).collect(), head: slabs(head) }
}

fn upload(gpu: &Gpu, to: &Matrix, blocks: Blocks) -> Result<()> {
    let blocks = blocks.widened()?;
    to.write(gpu, [0, 0], &pack(blocks.ty, &blocks.bytes)?.for_kernels());
    Ok(())
}

/// Rows of several matrices as one: after each other, or alternating.
fn join<const N: usize>(parts: [Blocks; N], alternate: bool) -> Result<Blocks> {
    let mut wide = Vec::with_capacity(N);
    for part in parts {
        wide.push(part.widened()?);
    }
    let row = wide[0].ty.row_bytes(wide[0].cols);
    let mut bytes = Vec::with_capacity(wide.iter().map(|p| p.bytes.len()).sum());
    if alternate {
        for i in 0..wide[0].rows {
            wide.iter().for_each(|p| bytes.extend_from_slice(&p.bytes[i * row..(i + 1) * row]));
        }
    } else {
        wide.iter().for_each(|p| bytes.extend_from_slice(&p.bytes));
    }
    let rows = wide.iter().map(|p| p.rows).sum();
    Ok(Blocks { ty: wide[0].ty, bytes: bytes.into(), rows, cols: wide[0].cols })
}

pub(super) async fn read_layer<S: Source>(
    gpu: &Gpu,
    reader: &mut Reader<'_, S>,
    (config, formats): (&ModelConfig, &Formats),
    layer: usize,
) -> Result<Layer> {
    let read = weights::read_layer(reader, config, layer).await?;
    let More { bias, head_norms, post_norms } = read.more;
    let more: Vec<f32> = bias.into_iter().flatten().chain(head_norms.into_iter().flatten()).flatten().collect();
    let [qkv, o, gate_up, down] = Matrix::block(gpu, config, formats, layer);
    let [q_blocks, k_blocks, v_blocks, o_blocks, gate_blocks, up_blocks, down_blocks] = read.weights;
    upload(gpu, &qkv, join([q_blocks, k_blocks, v_blocks], false)?)?;
    upload(gpu, &o, o_blocks)?;
    upload(gpu, &gate_up, join([gate_blocks, up_blocks], true)?)?;
    upload(gpu, &down, down_blocks)?;
    // What was written is held by the host until it is on its way.
    gpu.queue.submit([]);
    Ok(Layer {
        attention_norm: gpu.upload("norm", &read.attention_norm),
        qkv,
        o,
        ffn_norm: gpu.upload("norm", &read.ffn_norm),
        gate_up,
        down,
        more: (!more.is_empty()).then(|| gpu.upload("heads", &more)),
        post_norms: post_norms.map(|norms| norms.map(|norm| gpu.upload("norm", &norm))),
    })
}

/// The rotations of `n` positions, for blocks that see all and, where there are any, for those with a window.
pub(crate) fn ropes(gpu: &Gpu, config: &ModelConfig, n: usize) -> Vec<wgpu::Buffer> {
    let rope = |local: bool| {
        let (cos, sin) = config.rope_table(0..n, local);
        let turns: Vec<f32> = cos.into_iter().zip(sin).flat_map(|(c, s)| [c, s]).collect();
        gpu.upload("rope", &turns)
    };
    [false, true].into_iter().filter(|&local| !local || config.window.is_some()).map(rope).collect()
}

/// That of [`ropes`] which block `layer` reads.
pub(crate) fn rope_of<'a>(ropes: &'a [wgpu::Buffer], config: &ModelConfig, layer: usize) -> &'a wgpu::Buffer {
    let local = ropes.get(1).filter(|_| config.window_of(layer).is_some());
    local.unwrap_or(&ropes[0])
}
