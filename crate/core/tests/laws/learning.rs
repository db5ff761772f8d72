//! Learning an adapter: what it may and may not change, and the golden run that both learners follow.

use std::collections::HashMap;

use burn::tensor::{Device, Tensor, TensorData};
use imprint_core::{
    adapter::{Adapter, Kind, Shape},
    learn::{Differentiate, HostLearner, Learner, PlainLearner, ProcessorLearner, Update},
    model::{Keep, LowRank, Model, log_likelihoods},
    quant::BlockType,
    testing::SmallModel,
};
use pollster::block_on;

use crate::{
    golden_run::{Open, UPDATE, follows_golden_run, processors_run},
    material::*,
};

impl<M: Differentiate> Open for HostLearner<'_, M> {
    fn gradient_of(&mut self, windows: &[&[u32]]) -> Vec<f32> {
        block_on(self.gradient(windows)).unwrap().values
    }
}

/// Cuts all numbers of an adapter into its matrices, named as in the golden run.
fn matrices<'a>(adapter: &Adapter, mut values: &'a [f32]) -> Vec<(String, &'a [f32])> {
    let mut matrices = Vec::new();
    for (layer, kind, pair) in adapter.iter() {
        for (name, len) in [("A", pair.a.len()), ("B", pair.b.len())] {
            let (matrix, rest) = values.split_at(len);
            matrices.push((format!("{layer}.{}.{name}", kind.name()), matrix));
            values = rest;
        }
    }
    matrices
}

fn norm(values: &[f32]) -> f32 {
    values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt() as f32
}

#[test]
fn plain_learner_follows_the_golden_run() {
    let model = load_plain(&file(), Keep::Packed);
    let adapter = Adapter::fresh(None, &model.config, &Shape::default(), 0).unwrap();
    let mut learner = PlainLearner::new(&model, &adapter).unwrap();
    follows_golden_run(&adapter, model.config.d_head, &mut learner, Some(processors_run()));
}

#[test]
fn the_processors_learner_follows_the_golden_run() {
    assert_eq!(processors_run().steps, 16);
}

/// Holds every tensor's gradient by hand to that of the plain forward.
pub fn gradients_equal_the_plain_ones(small: SmallModel, kinds: &[Kind], lengths: &[usize]) {
    let what = format!("{}, {}", small.architecture, small.matrices.name());
    let (processor, plain) = (load_processor(&small.file()), load_plain(&small.file(), Keep::Dense));
    let adapter = lively(&plain, kinds);
    let windows: Vec<_> = (21..).zip(lengths).map(|(seed, &n)| ids(n, seed, small.vocab)).collect();
    let windows: Vec<_> = windows.iter().map(|window| &window[..]).collect();
    let expected = PlainLearner::new(&plain, &adapter).unwrap().gradient_of(&windows);
    let found = ProcessorLearner::new(&processor, &adapter).unwrap().gradient_of(&windows);
    for ((name, found), (_, expected)) in matrices(&adapter, &found).iter().zip(matrices(&adapter, &expected)) {
        assert_close(&format!("{what}, {name}"), found, expected, RELATIVE);
    }
}

#[test]
fn every_gradient_by_hand_equals_the_plain_one() {
    let odd = SmallModel::default();
    let formats = [(BlockType::Q4_1, 24), (BlockType::Q8_0, 32), (BlockType::Q5_0, 72), (BlockType::F16, 24)];
    for (matrices, d_head) in formats {
        gradients_equal_the_plain_ones(SmallModel { matrices, d_head, ..odd }, &Kind::ALL, &[75]);
    }
    let (few, lengths) = ([Kind::K, Kind::O, Kind::Up], [2, 18, 5]);
    gradients_equal_the_plain_ones(SmallModel { matrices: BlockType::Q4_0, ..odd }, &few, &lengths);
    let even = SmallModel { d_model: 256, d_ff: 512, d_head: 64, embedding: BlockType::Q6K, vocab: 600, ..odd };
    gradients_equal_the_plain_ones(SmallModel { matrices: BlockType::Q4K, ..even }, &Kind::ALL, &[40]);
}

/// Beside a likely token, each of many unlikely ones is a single digit of an f32 sum: added one by one they round the same
/// way every time.
#[test]
fn likelihoods_of_a_large_vocabulary_add_up_to_one() {
    const VOCAB: usize = 49_152;
    let mut scores = vec![0.0f32; VOCAB];
    scores[0] = 16.0;
    let scores = Tensor::<2>::from_data(TensorData::new(scores, [1, VOCAB]), &Device::flex());
    let log_p: Vec<f32> = log_likelihoods(scores).into_data().try_into_vec().unwrap();
    let sum: f64 = log_p.iter().map(|&log_p| f64::from(log_p).exp()).sum();
    assert!((sum - 1.0).abs() < 2e-5, "they add up to {sum}");
}

/// An adapter whose B is not zero, so that all gradients live.
fn lively(model: &impl Differentiate, kinds: &[Kind]) -> Adapter {
    let shape = Shape { rank: 4, alpha: 8.0, kinds: kinds.to_vec() };
    let mut adapter = Adapter::fresh(None, model.config(), &shape, 3).unwrap();
    let mut random = fastrand::Rng::with_seed(4);
    let parameters: Vec<f32> = adapter.parameters().iter().map(|p| p + (random.f32() - 0.5) * 0.1).collect();
    adapter.set_parameters(&parameters);
    adapter
}

fn mean_loss(learner: &mut impl Learner, window: &[u32]) -> f64 {
    let nll = block_on(learner.evaluate(window)).unwrap();
    nll.iter().map(|&v| f64::from(v)).sum::<f64>() / nll.len() as f64
}

#[test]
fn gradients_equal_finite_differences() {
    let file = SmallModel::default().file();
    equal_finite_differences(&load_plain(&file, Keep::Dense));
    equal_finite_differences(&load_processor(&file));
}

fn equal_finite_differences(model: &impl Differentiate) {
    let adapter = lively(model, &Kind::ALL);
    let mut learner = HostLearner::new(model, &adapter).unwrap();
    let window = ids(70, 5, SmallModel::default().vocab);
    let gradient = learner.gradient_of(&[&window]);
    let before = block_on(learner.state()).unwrap();
    let mut start = 0;
    for (name, part) in matrices(&adapter, &gradient) {
        // Along its own gradient a matrix moves the loss most, and the loss must move by the gradient's norm.
        let step = MOVED / norm(part);
        let mut moved = |sign: f32| {
            let mut state = before.clone();
            let parameters = &mut state.parameters[start..start + part.len()];
            parameters.iter_mut().zip(part).for_each(|(p, g)| *p += sign * step * g / norm(part));
            learner.set_state(&state);
            mean_loss(&mut learner, &window)
        };
        let slope = (moved(1.0) - moved(-1.0)) / (2.0 * f64::from(step));
        assert_close(&name, &[slope as f32], &[norm(part)], DIFFERENCE);
        start += part.len();
    }
}

#[test]
fn gradients_of_windows_average_over_tokens() {
    let small = SmallModel::default();
    let (dense, packed) = (load_plain(&small.file(), Keep::Dense), load_plain(&small.file(), Keep::Packed));
    let adapter = lively(&dense, &Kind::ALL);
    let (short, long) = (ids(5, 6, small.vocab), ids(80, 7, small.vocab));
    let mut learner = PlainLearner::new(&dense, &adapter).unwrap();
    let (of_short, of_long) = (learner.gradient_of(&[&short]), learner.gradient_of(&[&long]));
    let (n_short, n_long) = (4.0, 79.0);
    let average = |(s, l): (&f32, &f32)| (n_short * s + n_long * l) / (n_short + n_long);
    let expected: Vec<f32> = of_short.iter().zip(&of_long).map(average).collect();
    assert_close("both windows", &learner.gradient_of(&[&short, &long]), &expected, 1e-5);
    let mut learner = PlainLearner::new(&packed, &adapter).unwrap();
    assert_close("over packed weights", &learner.gradient_of(&[&short, &long]), &expected, 1e-5);
    block_on(learner.step(&[&short, &long], &UPDATE)).unwrap();
    let loss = block_on(learner.losses(true)).unwrap()[0];
    assert_close("norm of both", &[loss.grad_norm], &[norm(&expected)], 1e-5);
}

#[test]
fn pairs_left_out_change_no_gradient_of_the_others() {
    let small = SmallModel { n_layers: 3, ..Default::default() };
    pairs_left_out(&load_plain(&small.file(), Keep::Dense));
    pairs_left_out(&load_processor(&small.file()));
}

fn pairs_left_out(model: &impl Differentiate) {
    let window = ids(20, 8, SmallModel::default().vocab);
    let mut whole = Adapter::fresh(None, model.config(), &Shape { rank: 4, ..Default::default() }, 0).unwrap();
    let full = HostLearner::new(model, &whole).unwrap().gradient_of(&[&window]);
    let kept = |layer: usize, kind: Kind| layer == 1 && matches!(kind, Kind::K | Kind::Down);
    let wanted: Vec<String> = [Kind::K, Kind::Down].map(|kind| format!("1.{}.B", kind.name())).to_vec();
    let mut expected: HashMap<String, Vec<f32>> =
        matrices(&whole, &full).into_iter().map(|(name, values)| (name, values.to_vec())).collect();
    for layer in 0..3 {
        Kind::ALL.into_iter().filter(|&kind| !kept(layer, kind)).for_each(|kind| whole.set(layer, kind, None));
    }
    let found = HostLearner::new(model, &whole).unwrap().gradient_of(&[&window]);
    let found: HashMap<String, Vec<f32>> =
        matrices(&whole, &found).into_iter().map(|(name, values)| (name, values.to_vec())).collect();
    assert_eq!(found.len(), 4);
    for name in wanted {
        assert_close(&name, &found[&name], &expected.remove(&name).unwrap(), 1e-5);
    }
}

#[test]
fn overfits_one_sentence() {
    let small = SmallModel::default();
    overfits(&load_plain(&small.file(), Keep::Packed), 1e-4);
    // It measures in whole numbers, which is twice as fast, and learns in f32.
    overfits(&load_processor(&small.file()), f64::from(NLL));
}

fn overfits(model: &impl Differentiate, tolerance: f64) {
    let adapter = Adapter::fresh(None, model.config(), &Shape::default(), 0).unwrap();
    let mut learner = HostLearner::new(model, &adapter).unwrap();
    let sentence = ids(16, 9, SmallModel::default().vocab);
    let before = mean_loss(&mut learner, &sentence);
    let update = Update { rate: 1e-2, clip: Some(1.0), ..UPDATE };
    for _ in 0..60 {
        block_on(learner.step(&[&sentence], &update)).unwrap();
    }
    let after = mean_loss(&mut learner, &sentence);
    assert!(before > 4.0 && after < 0.1, "the loss goes from {before} to {after}");
    let losses = block_on(learner.losses(true)).unwrap();
    assert_eq!(losses.len(), 60);
    assert!((f64::from(losses[0].nll) - before).abs() < tolerance, "the first loss is that before any update");
    assert!(block_on(learner.losses(true)).unwrap().is_empty(), "losses are told once");
}

#[test]
fn base_weights_are_untouched() {
    let small = SmallModel::default();
    let ids = ids(24, 10, small.vocab);
    for keep in [Keep::Packed, Keep::Dense] {
        let model = load_plain(&small.file(), keep);
        let before = logits(&model, &ids, None);
        let adapter = Adapter::fresh(None, &model.config, &Shape::default(), 0).unwrap();
        let mut learner = PlainLearner::new(&model, &adapter).unwrap();
        for _ in 0..3 {
            block_on(learner.step(&[&ids], &UPDATE)).unwrap();
        }
        let learned = LowRank::new(learner.adapter(), 1.0, &model.device);
        assert_ne!(logits(&model, &ids, Some(&learned)), before, "{keep:?}: it has learned");
        assert_eq!(logits(&model, &ids, None), before, "{keep:?}: the base is as it was");
    }
}

#[test]
fn a_state_put_back_goes_on_as_if_never_left() {
    let small = SmallModel::default();
    let model = load_plain(&small.file(), Keep::Dense);
    let adapter = Adapter::fresh(None, &model.config, &Shape::default(), 0).unwrap();
    let windows: Vec<Vec<u32>> = (0..6).map(|i| ids(20, 20 + i, small.vocab)).collect();
    let mut whole = PlainLearner::new(&model, &adapter).unwrap();
    for window in &windows[..3] {
        block_on(whole.step(&[window], &UPDATE)).unwrap();
    }
    let middle = block_on(whole.state()).unwrap();
    assert_eq!(middle.steps, 3);
    let mut resumed = PlainLearner::new(&model, &adapter).unwrap();
    resumed.set_state(&middle);
    for window in &windows[3..] {
        block_on(whole.step(&[window], &UPDATE)).unwrap();
        block_on(resumed.step(&[window], &UPDATE)).unwrap();
    }
    assert_eq!(block_on(whole.state()).unwrap(), block_on(resumed.state()).unwrap());
}

#[test]
fn a_clipped_step_sees_its_gradient_scaled_to_the_norm() {
    let small = SmallModel::default();
    let model = load_plain(&small.file(), Keep::Dense);
    let adapter = lively(&model, &[Kind::V, Kind::Up]);
    let window = ids(20, 30, small.vocab);
    let mut learner = PlainLearner::new(&model, &adapter).unwrap();
    let gradient = learner.gradient_of(&[&window]);
    let clip = norm(&gradient) / 4.0;
    block_on(learner.step(&[&window], &Update { clip: Some(clip), ..UPDATE })).unwrap();
    let state = block_on(learner.state()).unwrap();
    let expected: Vec<f32> = gradient.iter().map(|g| (1.0 - UPDATE.beta1) * g / 4.0).collect();
    assert_close("running means", &state.first, &expected, 1e-5);
    let loss = block_on(learner.losses(true)).unwrap()[0];
    assert_close("the norm told is that before the clip", &[loss.grad_norm], &[clip * 4.0], 1e-5);
}

fn ids(n: usize, seed: u64, vocab: u64) -> Vec<u32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..n).map(|_| random.u32(0..vocab as u32)).collect()
}

fn logits(model: &Model, ids: &[u32], adapter: Option<&LowRank>) -> Vec<f32> {
    model.logits(model.forward(ids, 1, None, adapter)).into_data().try_into_vec().unwrap()
}

#[test]
fn fresh_adapter_leaves_logits_unchanged() {
    let small = SmallModel::default();
    for keep in [Keep::Packed, Keep::Dense] {
        let model = load_plain(&small.file(), keep);
        let mut adapter = Adapter::fresh(None, &model.config, &Shape::default(), 0).unwrap();
        for n in [3, 40] {
            let ids = ids(n, 1, small.vocab);
            let base = logits(&model, &ids, None);
            let fresh = LowRank::new(&adapter, 1.0, &model.device);
            assert_eq!(logits(&model, &ids, Some(&fresh)), base, "{n} tokens, {keep:?}");
        }
        // The same paths are no longer silent once B holds anything.
        let ids = ids(40, 1, small.vocab);
        adapter.set_parameters(&vec![0.01; adapter.n_parameters()]);
        let louder = |factor| logits(&model, &ids, Some(&LowRank::new(&adapter, factor, &model.device)));
        let base = logits(&model, &ids, None);
        assert_ne!(louder(1.0), base);
        assert_eq!(louder(0.0), base, "a factor of 0 silences it");
    }
}
