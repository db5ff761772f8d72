//! What a header tells of memory is what is then taken on a GPU; `memory.rs` holds the processor to it.

use imprint_core::{fused::Variant, generate::Backend, gguf::Gguf, kernels::gpu::GpuOptions, needs::Needs};
use pollster::block_on;

use crate::material::{CAPACITY, file, fused};

#[test]
fn a_gpu_gives_no_more_than_the_header_tells() {
    let file = file();
    let gguf = block_on(Gguf::read(&file)).unwrap();
    let Backend::Fused(model) = fused(&file, GpuOptions::default(), Variant::for_device).backend else {
        panic!("a fused model was asked for");
    };
    let needs = Needs::of(&gguf, &model.config, CAPACITY);
    let taken = model.gpu.allocated_bytes();
    assert!(taken <= needs.gpu_bytes, "{taken} bytes are taken, {needs:?} is told");
    assert!(10 * needs.gpu_bytes <= 13 * taken, "{taken} bytes only are taken, {needs:?} is told");
    let embedding = gguf.tensor("token_embd.weight").unwrap().size_bytes;
    assert!(needs.gpu_piece_bytes >= embedding && needs.gpu_piece_bytes < needs.gpu_bytes, "{needs:?}");
}
