//! What an attached adapter does, and what it leaves alone.

use imprint_core::{
    adapter::{Adapter, Kind, Shape},
    config::ModelConfig,
    fused::{FusedModel, Variant},
    generate::{LanguageModel, Mode, WriteOptions},
    kernels::gpu::GpuOptions,
    model::{Cache, Keep, LowRank, Model},
    quant::BlockType,
    sample::{EXCLUDED, Mix, PLAUSIBLE, Sampling, Seen, contrast},
    testing::SmallModel,
};
use pollster::block_on;

use crate::{
    kernels::{VOCAB, fused_equals_plain, ids, in_every_cut, load_fused, plain_logits, small_model, whole},
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
    let narrow = SmallModel::default().d_ff;
    let formats = [
        (BlockType::Q4_1, 24, narrow, 8, Kind::ALL.to_vec()),
        (BlockType::Q4_0, 72, narrow, 16, vec![Kind::K, Kind::Up, Kind::Down]),
        (BlockType::Q8_0, 32, narrow, 1, vec![Kind::Q, Kind::V, Kind::O, Kind::Gate]),
        // More than is asked for ahead of weights and of A, more rank than is made at once, more rows than workgroups of 128 take.
        (BlockType::Q4_1, 32, 3328, 20, Kind::ALL.to_vec()),
    ];
    for (matrices, d_head, d_ff, rank, kinds) in formats {
        let file = SmallModel { matrices, d_head, d_ff, vocab: VOCAB, seed: 1, ..Default::default() }.file();
        let plain = load_plain(&file, Keep::Dense);
        let adapter = random_adapter(&plain.config, rank, &kinds, 5);
        let low_rank = LowRank::new(&adapter, 1.0, &plain.device);
        for (cut, mut fused) in in_every_cut(&file) {
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

/// Scores of the base and of the adapter after every piece of a text, on the plain path.
fn two_texts(plain: &Model, adapter: &LowRank, pieces: &[&[u32]]) -> Vec<[Vec<f32>; 2]> {
    let (mut base, mut personal) = (Cache::default(), Cache::default());
    let read = |ids: &&[u32]| {
        [plain_logits(plain, ids, &mut base, None), plain_logits(plain, ids, &mut personal, Some(adapter))]
    };
    pieces.iter().map(read).collect()
}

/// Compares merged scores, leaving out what stands on the line of plausibility, which rounding may cross.
fn contrast_is(what: &str, found: &[f32], [base, personal]: &[Vec<f32>; 2], strength: f32) {
    let mut expected = base.clone();
    contrast(&mut expected, personal, strength);
    let line = personal.iter().copied().fold(f32::MIN, f32::max) + PLAUSIBLE.ln();
    let clear = |i: &usize| strength <= 1.0 || (personal[*i] - line).abs() > MARGIN;
    let kept: Vec<usize> = (0..found.len()).filter(clear).collect();
    let excluded = |scores: &[f32]| kept.iter().map(|&i| scores[i] == EXCLUDED).collect::<Vec<_>>();
    assert_eq!(excluded(found), excluded(&expected), "{what}: other tokens compete");
    let competing = |scores: &[f32]| kept.iter().map(|&i| scores[i]).filter(|&s| s != EXCLUDED).collect::<Vec<_>>();
    assert_close(what, &competing(found), &competing(&expected), RELATIVE);
}

#[test]
fn a_contrast_on_the_gpu_is_the_plain_paths_in_every_cut() {
    for (matrices, d_head) in [(BlockType::Q4_1, 24), (BlockType::Q8_0, 32)] {
        contrast_is_the_plain_paths(matrices.name(), &small_model(matrices, BlockType::Q8_0, d_head, 6));
    }
}

pub fn contrast_is_the_plain_paths(what: &str, file: &Vec<u8>) {
    let plain = load_plain(file, Keep::Dense);
    let adapter = random_adapter(&plain.config, 8, &Kind::ALL, 4);
    let ids = ids(30, 5);
    let pieces = [&ids[..3], &ids[3..28], &ids[28..29], &ids[29..]];
    let expected = two_texts(&plain, &LowRank::new(&adapter, 1.0, &plain.device), &pieces);
    for (cut, mut fused) in in_every_cut(file) {
        let before = fused_logits(&fused, Mix::Base);
        block_on(fused.attach(&adapter)).unwrap();
        let personal = fused_logits(&fused, Mix::Scaled(1.0));
        for strength in [0.5, 2.0] {
            start(&fused, Mix::Contrast(strength));
            let mut at = 0;
            for (piece, expected) in pieces.iter().zip(&expected) {
                if piece.len() > 1 {
                    block_on(fused.read(at, piece)).unwrap();
                } else {
                    block_on(fused.step(at, piece[0])).unwrap();
                }
                at += piece.len();
                let what = format!("{what}, {cut}, strength {strength}, {at} tokens");
                contrast_is(&what, &block_on(fused.logits()).unwrap(), expected, strength);
            }
        }
        assert_eq!(fused_logits(&fused, Mix::Base), before, "the base after a contrast");
        assert_eq!(fused_logits(&fused, Mix::Scaled(1.0)), personal, "the adapter after a contrast");
    }
}

const PROMPT: &str = "On mornings like this,";

fn options(strength: Option<f32>, mode: Option<Mode>) -> WriteOptions {
    let sampling = Sampling { temperature: 0.9, seed: 3, ..Default::default() };
    WriteOptions { sampling, max_tokens: 10, strength, mode, ..Default::default() }
}

fn write(model: &LanguageModel, strength: Option<f32>, mode: Option<Mode>) -> Vec<u32> {
    let mut session = model.begin(PROMPT, options(strength, mode)).unwrap();
    let mut ids = Vec::new();
    loop {
        let step = block_on(model.next(&mut session)).unwrap();
        ids.extend(step.ids);
        if step.finish.is_some() {
            return ids;
        }
    }
}

/// An adapter on the real model, strong enough to change what it writes.
fn real_adapter(model: &LanguageModel) -> Adapter {
    let mut adapter = random_adapter(model.config(), 8, &Kind::ALL, 8);
    let values: Vec<f32> = adapter.parameters().iter().map(|value| value * 0.7).collect();
    adapter.set_parameters(&values);
    adapter
}

#[test]
fn strength_0_is_the_base_1_the_adapter_and_the_gpu_writes_the_processors_contrast() {
    let file = file();
    let (mut plain, mut fused) = (processor(&file), fused(&file, GpuOptions::default(), Variant::for_device));
    let base = write(&fused, None, None);
    let adapter = real_adapter(&plain);
    block_on(plain.attach(&adapter, None)).unwrap();
    block_on(fused.attach(&adapter, None)).unwrap();
    let contrast = Some(Mode::Contrast);
    assert_eq!(write(&fused, Some(0.0), contrast), base);
    let personal = write(&fused, Some(1.0), Some(Mode::Scale));
    assert_eq!(write(&fused, Some(1.0), contrast), personal);
    let default = write(&fused, None, None);
    assert_eq!(write(&fused, Some(1.5), contrast), default, "same seed, same text; a contrast of 1.5 is the default");
    let strong = write(&fused, Some(3.0), contrast);
    assert!(base != personal && personal != strong, "not heard: {base:?}, {personal:?}, {strong:?}");
    assert_eq!(write(&plain, Some(3.0), contrast), strong);
    assert_eq!(write(&plain, Some(1.0), None), personal);
    fused.detach();
    assert_eq!(write(&fused, None, None), base);
}

#[test]
fn what_an_adapter_cannot_do_is_refused() {
    let mut model = processor(&file());
    let code =
        |model: &LanguageModel, strength, mode| model.begin(PROMPT, options(strength, mode)).err().map(|e| e.code());
    assert_eq!(code(&model, Some(1.0), None), Some("invalid-option"), "no adapter to be strong");
    let mut adapter = real_adapter(&model);
    adapter.base = Some("one model".into());
    let error = block_on(model.attach(&adapter, Some("another"))).unwrap_err();
    assert_eq!(error.code(), "adapter-wrong-base");
    assert!(model.adapter().is_none());
    block_on(model.attach(&adapter, Some("one model"))).unwrap();
    for (strength, mode, allowed) in [
        (3.0, Mode::Contrast, true),
        (3.1, Mode::Contrast, false),
        (2.0, Mode::Scale, true),
        (2.1, Mode::Scale, false),
        (-0.1, Mode::Scale, false),
        (f32::NAN, Mode::Contrast, false),
    ] {
        assert_eq!(code(&model, Some(strength), Some(mode)).is_none(), allowed, "{strength} with {mode:?}");
    }
    let mut session = model.begin(PROMPT, options(None, None)).unwrap();
    model.detach();
    let error = block_on(model.next(&mut session)).unwrap_err();
    assert!(error.to_string().contains("adapter was changed"), "{error}");
}

#[test]
fn scores_are_those_of_the_adapter_and_its_strength() {
    let mut model = processor(&file());
    let ids = golden().prompts.swap_remove(0).ids;
    let base = score(&model, &ids).unwrap();
    block_on(model.attach(&real_adapter(&model), None)).unwrap();
    let at = |strength| block_on(model.score_at(&ids, strength, &mut async |_| Ok(()))).unwrap();
    assert_eq!(at(Some(0.0)), base);
    assert_eq!(at(Some(1.0)), score(&model, &ids).unwrap());
    assert!(at(Some(1.0)) != base && at(Some(1.5)) != at(Some(1.0)), "an adapter changes what it predicts");
}
