//! What a header tells of memory is what is then taken on a GPU; `memory.rs` holds the processor to it.

use imprint_core::{
    config::ModelConfig,
    fused::{FusedModel, Variant},
    gguf::Gguf,
    kernels::gpu::GpuOptions,
    needs::Needs,
    testing::{gemma_path, model_path},
};
use pollster::block_on;

use crate::material::gpu;

#[test]
fn a_gpu_gives_no_more_than_the_header_tells() {
    for path in [model_path(), gemma_path()] {
        let file = std::fs::read(&path).unwrap();
        let gguf = block_on(Gguf::read(&file)).unwrap();
        let config = ModelConfig::from_gguf(&gguf).unwrap();
        let (capacity, gpu) = (512, gpu(GpuOptions::default()));
        let needs = Needs::of(&gguf, &config, capacity);
        let variant = Variant::for_device(&gpu);
        let model = block_on(FusedModel::load(gpu, &gguf, &file, capacity, variant, &mut |_, _| Ok(()))).unwrap();
        let taken = model.gpu.allocated_bytes();
        println!("{}: {taken} bytes taken, {needs:?} told", path.display());
        assert!(taken <= needs.gpu_bytes, "{taken} bytes are taken, {needs:?} is told");
        assert!(10 * needs.gpu_bytes <= 13 * taken, "{taken} bytes only are taken, {needs:?} is told");
    }
}
