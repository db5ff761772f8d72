//! Every family's blocks: on the processor and in every cut of the GPU's kernels they are the plain path's, forward and
//! backward, on small random models whose texts are longer than a window where there is one.

use imprint_core::{
    adapter::Kind,
    kernels::gpu::GpuOptions,
    model::{Keep, LowRank},
    quant::BlockType,
    testing::SmallModel,
};
use pollster::block_on;

use crate::{
    adapter::{contrast_is_the_plain_paths, random_adapter},
    kernels::{VOCAB, fused_equals_plain, in_every_cut, load_fused, tree, whole},
    learning, learning_gpu,
    material::*,
    processor::is_plain,
};

const FAMILIES: [&str; 3] = ["qwen2", "qwen3", "gemma3"];

/// Heads apart from the width of the model, and for queries and values formats that are one for the kernels.
fn small(architecture: &'static str) -> SmallModel {
    SmallModel { architecture, d_head: 40, matrices: BlockType::Q5_0, vocab: VOCAB, ..Default::default() }
}

#[test]
fn every_family_on_the_processor_is_the_plain_forward() {
    for family in FAMILIES {
        let file = small(family).file();
        let (processor, plain) = (load_processor(&file), load_plain(&file, Keep::Dense));
        is_plain(family, &processor, &plain, None);
        let adapter = random_adapter(&plain.config, 8, &Kind::ALL, 5);
        is_plain(&format!("{family} with an adapter"), &processor, &plain, Some(&adapter));
    }
}

#[test]
fn every_family_on_the_gpu_is_the_plain_path_in_every_cut() {
    for family in FAMILIES {
        let file = small(family).file();
        let plain = load_plain(&file, Keep::Dense);
        let adapter = random_adapter(&plain.config, 8, &Kind::ALL, 5);
        let low_rank = LowRank::new(&adapter, 1.0, &plain.device);
        for (cut, mut fused) in in_every_cut(&file) {
            fused_equals_plain(&format!("{family}, {cut}"), &plain, &fused, None);
            block_on(fused.attach(&adapter)).unwrap();
            fused_equals_plain(&format!("{family} with an adapter, {cut}"), &plain, &fused, Some(&low_rank));
        }
    }
}

#[test]
fn every_familys_contrast_on_the_gpu_is_the_plain_paths() {
    for family in FAMILIES {
        contrast_is_the_plain_paths(family, &small(family).file());
    }
}

#[test]
fn every_familys_gradient_by_hand_equals_the_plain_one() {
    for family in FAMILIES {
        learning::gradients_equal_the_plain_ones(SmallModel { vocab: 500, ..small(family) }, &Kind::ALL, &[75]);
    }
}

#[test]
fn every_familys_gradient_on_the_gpu_equals_the_plain_one() {
    let bare = GpuOptions { without_subgroups: true, default_limits: true, ..GpuOptions::default() };
    for family in FAMILIES {
        let file = small(family).file();
        for (cut, model) in
            [("whole rows", load_fused(&file, GpuOptions::default(), whole)), ("lanes", load_fused(&file, bare, tree))]
        {
            let what = format!("{family}, {cut}");
            learning_gpu::gradients_equal_the_plain_ones(&what, &file, &model, &Kind::ALL, &[70, 9]);
        }
    }
}
