//! The fused learner follows the golden run, and its gradients are those of the numbers it gives.

use std::{cell::Cell, rc::Rc};

use imprint_core::{
    Error,
    adapter::{Adapter, Kind, Shape},
    fused::{FusedModel, Variant},
    generate::Backend,
    kernels::{
        gpu::{Gpu, GpuOptions},
        project::{Cut, Tile},
        shared::Size,
    },
    learn::{Effort, Engine, FusedLearner, Learner, Need, PlainLearner, ProcessorLearner, Recipe, Room, Update},
    model::Keep,
    quant::BlockType,
    testing::SmallModel,
};
use pollster::block_on;

use crate::{
    golden_run::{Open, UPDATE, follows_golden_run, processors_run, tells_of_a_loss_that_is_no_number},
    kernels::{VOCAB, alone, ids, load_fused, small_model, whole},
    material::*,
};

fn real_model() -> FusedModel {
    match fused(&file(), GpuOptions::default(), Variant::for_device).backend {
        Backend::Fused(model) => *model,
        Backend::Processor(_) => panic!("a fused model was asked for"),
    }
}

impl Open for FusedLearner<'_> {
    fn gradient_of(&mut self, windows: &[&[u32]]) -> Vec<f32> {
        block_on(self.gradients(windows)).unwrap()
    }
}

#[test]
fn the_fused_learner_follows_the_golden_run() {
    let model = real_model();
    let adapter = Adapter::fresh(None, &model.config, &Shape::default(), 0).unwrap();
    let mut learner = block_on(FusedLearner::new(&model, &adapter, 64, Room { at_once: 1, keep: true })).unwrap();
    follows_golden_run(&adapter, model.config.d_head, &mut learner, Some(processors_run()));
}

/// A learner's model with pairs everywhere or on some projections, B not zero so that every gradient is there.
fn adapter_of(model: &FusedModel, rank: usize, kinds: &[Kind], seed: u64) -> Adapter {
    let shape = Shape { rank, alpha: 2.0 * rank as f32, kinds: kinds.to_vec() };
    let mut adapter = Adapter::fresh(None, &model.config, &shape, seed).unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let numbers: Vec<f32> = adapter.parameters().iter().map(|_| (random.f32() - 0.5) * 0.1).collect();
    adapter.set_parameters(&numbers);
    adapter
}

#[test]
fn an_adapter_that_changes_nothing_scores_as_the_model() {
    let model = load_fused(&small_model(BlockType::Q4_1, BlockType::Q8_0, 32, 3), GpuOptions::default(), whole);
    let adapter = Adapter::fresh(None, &model.config, &Shape::default(), 1).unwrap();
    let mut learner = block_on(FusedLearner::new(&model, &adapter, 130, Room { at_once: 1, keep: true })).unwrap();
    for n in [2, 64, 66, 130] {
        let ids = ids(n, 5);
        let found = block_on(learner.evaluate(&ids)).unwrap();
        let expected = block_on(model.score(0, &ids[..n - 1], &ids[1..])).unwrap();
        assert_close(&format!("{n} ids"), &found, &expected, 1e-5);
    }
}

/// Holds every tensor's gradient to the plain learner's, which finite differences hold; two windows are read side by side.
pub fn gradients_equal_the_plain_ones(
    what: &str,
    file: &Vec<u8>,
    model: &FusedModel,
    kinds: &[Kind],
    lengths: &[usize],
) {
    let adapter = adapter_of(model, 5, kinds, 11);
    let windows: Vec<_> = (21..).zip(lengths).map(|(seed, &n)| ids(n, seed)).collect();
    let windows: Vec<_> = windows.iter().map(|window| &window[..]).collect();
    let of = |values: &[f32]| {
        let mut gradient = adapter.clone();
        gradient.set_parameters(values);
        gradient
    };
    let plain = load_plain(file, Keep::Dense);
    let expected = of(&block_on(PlainLearner::new(&plain, &adapter).unwrap().gradient(&windows)).unwrap().values);
    for keep in [false, true] {
        let mut learner = block_on(FusedLearner::new(model, &adapter, 130, Room { at_once: 2, keep })).unwrap();
        let found = of(&block_on(learner.gradients(&windows)).unwrap());
        for ((layer, kind, found), (_, _, expected)) in found.iter().zip(expected.iter()) {
            let name = |part| format!("{what}, {part} of {} in block {layer}, kept: {keep}", kind.name());
            assert_close(&name("A"), &found.a, &expected.a, RELATIVE);
            assert_close(&name("B"), &found.b, &expected.b, RELATIVE);
        }
    }
}

#[test]
fn every_gradient_on_the_gpu_equals_the_plain_one() {
    let shared = |size| {
        move |_: &Gpu| Cut { rows: 2, lanes: 8, group: 64, subgroup: None, walk: false, tile: Tile::Shared(size) }
    };
    let bare = GpuOptions { without_subgroups: true, default_limits: true, ..GpuOptions::default() };
    let file = small_model(BlockType::Q4_1, BlockType::Q8_0, 24, 1);
    let model = load_fused(&file, bare, shared(Size::Small));
    gradients_equal_the_plain_ones("Q4_1", &file, &model, &Kind::ALL, &[129]);
    let file = small_model(BlockType::Q4_0, BlockType::Q4_0, 72, 2);
    let model = load_fused(&file, GpuOptions::default(), whole);
    let kinds = [Kind::Q, Kind::V, Kind::Up];
    gradients_equal_the_plain_ones("Q4_0 by fours", &file, &model, &kinds, &[9, 70, 130]);
    gradients_equal_the_plain_ones("Q4_0 alone", &file, &load_fused(&file, bare, alone), &kinds, &[9, 70]);
    let (large, bare) = (SmallModel { d_model: 256, d_ff: 512, d_head: 64, vocab: VOCAB, ..Default::default() }, bare);
    for (matrices, embedding) in [(BlockType::Q4K, BlockType::Q6K), (BlockType::Q6K, BlockType::Q5K)] {
        let file = SmallModel { matrices, embedding, ..large }.file();
        let kinds = [Kind::Q, Kind::O, Kind::Down];
        gradients_equal_the_plain_ones(
            matrices.name(),
            &file,
            &load_fused(&file, bare, shared(Size::Large)),
            &kinds,
            &[20],
        );
    }
    // A vocabulary that fills no quad of rows.
    let odd =
        SmallModel { matrices: BlockType::Q8_0, embedding: BlockType::Q4_1, vocab: VOCAB + 3, ..Default::default() };
    let file = odd.file();
    let kinds = [Kind::K, Kind::O, Kind::Gate, Kind::Down];
    let cuts = [(GpuOptions::default(), whole as fn(&Gpu) -> Cut), (bare, alone)];
    let apart = cuts.map(|(options, cut)| load_fused(&file, options, cut));
    for model in apart.iter().chain([&load_fused(&file, bare, shared(Size::Small))]) {
        gradients_equal_the_plain_ones("Q8_0", &file, model, &kinds, &[2, 66, 3]);
    }
}

#[test]
fn windows_side_by_side_give_the_gradient_of_windows_one_by_one() {
    let bare = GpuOptions { without_subgroups: true, default_limits: true, ..GpuOptions::default() };
    let shared =
        |_: &Gpu| Cut { rows: 2, lanes: 8, group: 64, subgroup: None, walk: false, tile: Tile::Shared(Size::Small) };
    let file = small_model(BlockType::Q4_1, BlockType::Q8_0, 32, 5);
    let windows: Vec<_> = [40, 64, 2, 64, 17].into_iter().zip(31..).map(|(n, seed)| ids(n, seed)).collect();
    let windows: Vec<_> = windows.iter().map(|window| &window[..]).collect();
    for model in [load_fused(&file, GpuOptions::default(), whole), load_fused(&file, bare, shared)] {
        let adapter = adapter_of(&model, 8, &Kind::ALL, 3);
        let of = |room| {
            let mut learner = block_on(FusedLearner::new(&model, &adapter, 64, room)).unwrap();
            let gradients = block_on(learner.gradients(&windows)).unwrap();
            block_on(learner.step(&windows, &UPDATE)).unwrap();
            (gradients, block_on(learner.losses(true)).unwrap()[0].nll)
        };
        let (expected, loss) = of(Room::LEAST);
        for (at_once, keep) in [(2, true), (5, false), (8, true)] {
            let (found, nll) = of(Room { at_once, keep });
            assert_close(&format!("gradients, {at_once} at once"), &found, &expected, RELATIVE);
            assert_close(&format!("loss, {at_once} at once"), &[nll], &[loss], RELATIVE);
        }
    }
}

#[test]
fn a_device_with_less_memory_than_hoped_learns_with_less() {
    let mut model = load_fused(&small_model(BlockType::Q4_1, BlockType::Q8_0, 32, 5), GpuOptions::default(), whole);
    let adapter = adapter_of(&model, 8, &Kind::ALL, 3);
    let windows = [ids(64, 1), ids(40, 2)];
    let windows: Vec<_> = windows.iter().map(|window| &window[..]).collect();
    let before = model.gpu.allocated_bytes();
    // Gradients, and the bytes it took.
    let of = |model: &FusedModel, room| {
        let mut learner = block_on(FusedLearner::new(model, &adapter, 64, room))?;
        Ok::<_, Error>((block_on(learner.gradients(&windows)).unwrap(), model.gpu.allocated_bytes() - before))
    };
    let hoped = Room { at_once: 2, keep: true };
    let (expected, all) = of(&model, hoped).unwrap();
    for room in [Room { at_once: 1, ..hoped }, Room::LEAST] {
        let (_, bytes) = of(&model, room).unwrap();
        assert!(bytes < all, "{room:?} takes less");
        model.gpu.most_bytes = Some(before + bytes);
        let (found, took) = of(&model, hoped).unwrap();
        assert_eq!(took, bytes, "{room:?} is what is left");
        assert_close(&format!("gradients, {room:?}"), &found, &expected, RELATIVE);
        model.gpu.most_bytes = None;
    }
    model.gpu.most_bytes = Some(before + 1000);
    let error = of(&model, hoped).unwrap_err();
    assert_eq!(error.code(), "out-of-memory");
    assert!(error.to_string().contains("64 tokens at a time"), "{error}");
    assert_eq!(model.gpu.allocated_bytes(), before, "what was taken in vain is free again");
    assert!(model.gpu.check().is_ok(), "the model still writes");
}

#[test]
fn a_learner_goes_on_from_its_state_as_if_never_stopped() {
    let mut model = load_fused(&small_model(BlockType::Q4_1, BlockType::Q8_0, 32, 4), GpuOptions::default(), whole);
    let built = Rc::new(Cell::new(0));
    let counted = built.clone();
    model.gpu.wrong = Some(Box::new(move |_, wgsl| {
        counted.set(counted.get() + 1);
        wgsl.to_owned()
    }));
    let adapter = adapter_of(&model, 8, &Kind::ALL, 3);
    let update = Update { clip: Some(0.5), weight_decay: 0.1, rate: 1e-2, ..UPDATE };
    let (one, two) = (ids(40, 1), ids(17, 2));
    let mut learner = block_on(FusedLearner::new(&model, &adapter, 64, Room { at_once: 1, keep: true })).unwrap();
    for _ in 0..3 {
        block_on(learner.step(&[&one, &two], &update)).unwrap();
    }
    let state = block_on(learner.state()).unwrap();
    assert_eq!(state.steps, 3);
    let before = built.get();
    assert!(before > 10, "{before} kernels were built for the first learner");
    let mut other = block_on(FusedLearner::new(&model, &adapter, 64, Room { at_once: 1, keep: true })).unwrap();
    other.set_state(&state);
    assert_eq!(built.get(), before, "the next learner finds its kernels");
    let on = |learner: &mut FusedLearner<'_>| {
        block_on(learner.losses(true)).unwrap();
        for _ in 0..3 {
            block_on(learner.step(&[&one], &update)).unwrap();
        }
        (block_on(learner.losses(true)).unwrap(), block_on(learner.state()).unwrap())
    };
    let (losses, end) = on(&mut learner);
    assert_eq!(losses.len(), 3);
    assert!(losses[2].nll < losses[0].nll, "three steps on one text bring its loss down: {losses:?}");
    assert_eq!((losses, end), on(&mut other));
}

/// Numbers whose products leave `f32`.
fn boundless(model: &FusedModel) -> Adapter {
    let mut adapter = Adapter::fresh(None, &model.config, &Shape::default(), 1).unwrap();
    adapter.set_parameters(&vec![1e30; adapter.n_parameters()]);
    adapter
}

#[test]
fn every_learner_tells_of_a_loss_that_is_no_number() {
    let file = small_model(BlockType::Q4_1, BlockType::Q8_0, 32, 3);
    let (model, plain) = (load_fused(&file, GpuOptions::default(), whole), load_plain(&file, Keep::Dense));
    let adapter = boundless(&model);
    let window = ids(20, 1);
    let mut learner = block_on(FusedLearner::new(&model, &adapter, 64, Room { at_once: 1, keep: true })).unwrap();
    tells_of_a_loss_that_is_no_number(&mut learner, &window);
    tells_of_a_loss_that_is_no_number(&mut PlainLearner::new(&plain, &adapter).unwrap(), &window);
    let processor = load_processor(&file);
    tells_of_a_loss_that_is_no_number(&mut ProcessorLearner::new(&processor, &adapter).unwrap(), &window);
}

#[test]
fn learning_takes_no_more_gpu_memory_than_is_told_and_gives_it_back() {
    let model = real_model();
    let recipe = Recipe::derive(Effort::Normal, 10_000);
    let adapter = Adapter::fresh(None, &model.config, &recipe.shape(), 0).unwrap();
    let before = model.gpu.allocated_bytes();
    for (window, at_once, keep) in [(64, 1, false), (256, 1, false), (256, 1, true), (64, 3, false), (100, 5, true)] {
        let (recipe, room) = (Recipe { window, ..recipe.clone() }, Room { at_once, keep });
        let need = Need::of(&recipe, &model.config, Engine::Fused, room).device_bytes();
        let learner = block_on(FusedLearner::new(&model, &adapter, window, room)).unwrap();
        let taken = model.gpu.allocated_bytes() - before;
        assert!(taken <= need, "{at_once} windows of {window}, kept: {keep}, take {taken} bytes, {need} are told");
        assert!(
            need as f64 <= 1.25 * taken as f64,
            "{at_once} windows of {window} take {taken} bytes only, {need} are told"
        );
        drop(learner);
        assert_eq!(model.gpu.allocated_bytes(), before, "what a learner took is free when it is gone");
    }
}
