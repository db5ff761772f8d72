//! What an attached adapter does, and what it leaves alone.

use imprint_core::{
    adapter::{Adapter, Kind, Shape},
    config::ModelConfig,
    fused::{FusedModel, Variant},
    kernels::gpu::GpuOptions,
    model::LowRank,
    quant::BlockType,
    sample::{Mix, Sampling, Seen},
    weights::Keep,
};
use pollster::block_on;

use crate::{
    kernels::{VOCAB, fused_equals_plain, ids, load_fused, shuffled, small_model, tree, whole},
    material::*,
};

/// An adapter that changes every score clearly: both factors random.
pub fn random_adapter(config: &ModelConfig, rank: usize, kinds: &[Kind], seed: u64) -> Adapter {
    let shape = Shape { rank, alpha: 2.0 * rank as f32, kinds: kinds.to_vec() };
    let mut adapter = Adapter::fresh(None, config, &shape, seed).unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let spread = 0.5 / (rank as f32).sqrt();
    let mut values = adapter.parameters();
    values.iter_mut().filter(|value| **value == 0.0).for_each(|b| *b = (random.f32() - 0.5) * spread);
    adapter.set_parameters(&values);
    adapter
}

fn start(fused: &FusedModel, mix: Mix) {
    fused.start(&Sampling::default(), &Seen::new(VOCAB as usize), mix);
}

/// Scores after some tokens read at once and after two more read one by one.
fn fused_logits(fused: &FusedModel, mix: Mix) -> Vec<f32> {
    let ids = ids(30, 3);
    start(fused, mix);
    block_on(fused.read(0, &ids[..28])).unwrap();
    let mut logits = block_on(fused.logits()).unwrap();
    for (at, &id) in ids.iter().enumerate().skip(28) {
        block_on(fused.step(at, id)).unwrap();
        logits.extend(block_on(fused.logits()).unwrap());
    }
    logits
}

#[test]
fn an_adapter_on_the_gpu_is_the_plain_paths_in_every_cut() {
    let formats = [
        (BlockType::Q4_1, 24, 8, Kind::ALL.to_vec()),
        (BlockType::Q4_0, 72, 16, vec![Kind::K, Kind::Up, Kind::Down]),
        (BlockType::Q8_0, 32, 1, vec![Kind::Q, Kind::V, Kind::O, Kind::Gate]),
    ];
    for (matrices, d_head, rank, kinds) in formats {
        let file = small_model(matrices, BlockType::Q8_0, d_head, 1);
        let plain = load_plain(&file, Keep::Dense);
        let adapter = random_adapter(&plain.config, rank, &kinds, 5);
        let low_rank = LowRank::new(&adapter, 1.0, &plain.device);
        let bare = GpuOptions { without_subgroups: true, default_limits: true };
        let variants = [
            ("whole rows", load_fused(&file, GpuOptions::default(), whole)),
            ("shuffled lanes", load_fused(&file, GpuOptions::default(), shuffled)),
            ("lanes by workgroup", load_fused(&file, bare, tree)),
        ];
        for (cut, mut fused) in variants {
            block_on(fused.attach(&adapter)).unwrap();
            let name = format!("{}, rank {rank}, {cut}", matrices.name());
            fused_equals_plain(&name, &plain, &fused, Some(&low_rank));
        }
    }
}

#[test]
fn the_base_is_the_same_before_attaching_and_after_detaching() {
    let file = small_model(BlockType::Q4_1, BlockType::Q8_0, 32, 2);
    let mut fused = load_fused(&file, GpuOptions::default(), |gpu| Variant::for_device(gpu).cut);
    let before = fused_logits(&fused, Mix::Base);
    let memory = fused.gpu.allocated_bytes();
    let mut voices = Vec::new();
    for seed in 1..3 {
        // The second takes the first one's place.
        block_on(fused.attach(&random_adapter(&fused.config, 8, &Kind::ALL, seed))).unwrap();
        assert_eq!(fused_logits(&fused, Mix::Base), before, "the base beside an adapter");
        assert_eq!(fused_logits(&fused, Mix::Scaled(0.0)), before, "an adapter times nothing");
        voices.push(fused_logits(&fused, Mix::Scaled(1.0)));
    }
    fused.detach();
    assert_eq!(fused_logits(&fused, Mix::Base), before);
    assert_eq!(fused.gpu.allocated_bytes(), memory, "a detached adapter leaves no memory behind");
    assert!(voices[0] != voices[1] && voices[0] != before, "adapters change what they stand beside");
}

#[test]
fn a_factor_scales_the_path() {
    let file = small_model(BlockType::Q8_0, BlockType::Q8_0, 32, 3);
    let mut fused = load_fused(&file, GpuOptions::default(), |gpu| Variant::for_device(gpu).cut);
    let mut adapter = random_adapter(&fused.config, 4, &Kind::ALL, 9);
    block_on(fused.attach(&adapter)).unwrap();
    let scaled = fused_logits(&fused, Mix::Scaled(1.5));
    for (layer, kind) in (0..adapter.n_layers()).flat_map(|layer| Kind::ALL.map(|kind| (layer, kind))) {
        let mut pair = adapter.pair(layer, kind).unwrap().clone();
        pair.scale *= 1.5;
        adapter.set(layer, kind, Some(pair));
    }
    block_on(fused.attach(&adapter)).unwrap();
    assert_close("a factor of 1.5", &fused_logits(&fused, Mix::Scaled(1.0)), &scaled, RELATIVE);
}

#[test]
fn pairs_of_unlike_rank_stand_side_by_side() {
    let file = small_model(BlockType::Q4_0, BlockType::Q8_0, 32, 4);
    let plain = load_plain(&file, Keep::Dense);
    let mut adapter = random_adapter(&plain.config, 8, &[Kind::Q, Kind::Gate], 1);
    let narrow = random_adapter(&plain.config, 3, &[Kind::V, Kind::Up], 2);
    for (layer, kind, pair) in narrow.iter() {
        adapter.set(layer, kind, Some(pair.clone()));
    }
    let mut fused = load_fused(&file, GpuOptions::default(), whole);
    block_on(fused.attach(&adapter)).unwrap();
    fused_equals_plain("unlike ranks", &plain, &fused, Some(&LowRank::new(&adapter, 1.0, &plain.device)));
}

#[test]
fn an_adapter_that_does_not_fit_is_refused_and_changes_nothing() {
    let file = small_model(BlockType::Q4_0, BlockType::Q8_0, 32, 4);
    let mut fused = load_fused(&file, GpuOptions::default(), whole);
    let before = fused_logits(&fused, Mix::Base);
    let other = ModelConfig { d_ff: 320, ..fused.config.clone() };
    let error = block_on(fused.attach(&random_adapter(&other, 8, &Kind::ALL, 1))).unwrap_err();
    assert_eq!(error.code(), "adapter-wrong-base");
    let mut broken = random_adapter(&fused.config, 8, &Kind::ALL, 1);
    broken.set_parameters(&vec![f32::NAN; broken.n_parameters()]);
    assert_eq!(block_on(fused.attach(&broken)).unwrap_err().code(), "adapter-corrupt");
    assert!(!fused.has_adapter());
    assert_eq!(fused_logits(&fused, Mix::Base), before);
}
