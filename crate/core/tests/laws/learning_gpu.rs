//! The fused learner follows the golden run, and its gradients are those of the numbers it gives.

use std::{collections::BTreeMap, fs, path::PathBuf};

use imprint_core::{
    adapter::{Adapter, Kind, Shape},
    fused::{FusedModel, Variant},
    generate::Backend,
    kernels::{
        gpu::{Gpu, GpuOptions},
        project::Cut,
    },
    learn::{FusedLearner, Learner, Loss, PlainLearner, Update},
    quant::BlockType,
    testing::SmallModel,
    weights::Keep,
};
use pollster::block_on;
use serde::Deserialize;

use crate::{
    kernels::{VOCAB, ids, load_fused, small_model},
    material::*,
};

#[derive(Deserialize)]
struct Run {
    sequences: Vec<Vec<u32>>,
    fp32: Numbers,
}

#[derive(Deserialize)]
struct Numbers {
    loss: Vec<f32>,
    grad_norm: Vec<f32>,
    grads: Gradients,
}

#[derive(Deserialize)]
struct Gradients {
    step0: BTreeMap<String, Tensor>,
    step1: BTreeMap<String, Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    norm: f32,
    head: Vec<f32>,
}

fn run() -> Run {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/lora.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

const UPDATE: Update = Update { rate: 5e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, clip: None };

/// AdamW's first update moves a number by the rate, whichever way its gradient points and however short it is. Where it is
/// so short that rounding turns it, two correct runs part by twice the rate; the next gradient of A is a product with B,
/// where that has happened, and its largest error seen is 0.028 of a typical number.
const SIGNS: f32 = 0.05;

/// Row of the model file that holds row `row` of the hub's: llama files put the two halves of a head side by side.
fn file_row(row: usize, d_head: usize) -> usize {
    let (head, within) = (row / d_head, row % d_head);
    head * d_head + within % (d_head / 2) * 2 + within / (d_head / 2)
}

/// Holds gradients to the first numbers and the norm of every tensor of the golden run.
fn follows(step: &str, gradients: &Adapter, golden: &BTreeMap<String, Tensor>, d_head: usize) {
    let mut compared = 0;
    for (layer, kind, pair) in gradients.iter() {
        for (name, values) in [("A", &pair.a), ("B", &pair.b)] {
            let name = format!("{layer}.{}.{name}", kind.name());
            let Some(expected) = golden.get(&name) else { continue };
            let permuted = name.ends_with('B') && matches!(kind, Kind::Q | Kind::K);
            let at = |i: usize| {
                let (row, col) = (i / pair.rank, i % pair.rank);
                if permuted { file_row(row, d_head) * pair.rank + col } else { i }
            };
            let tolerance = if step == "step 1" && name.ends_with('A') { SIGNS } else { RELATIVE };
            let norm = values.iter().map(|v| v * v).sum::<f32>().sqrt();
            assert!(
                (norm - expected.norm).abs() <= tolerance * expected.norm,
                "{step} {name}: norm {norm}, golden {}",
                expected.norm
            );
            // Six numbers may all be small beside the others: they are held to the size of a typical one.
            let typical = expected.norm / (values.len() as f32).sqrt();
            for (i, &expected) in expected.head.iter().enumerate() {
                let error = (values[at(i)] - expected).abs();
                assert!(
                    error <= tolerance * expected.abs().max(typical),
                    "{step} {name}: number {i} is {}, golden {expected}",
                    values[at(i)]
                );
            }
            compared += 1;
        }
    }
    assert_eq!(compared, golden.len(), "{step}: every golden tensor has its counterpart");
}

fn real_model() -> FusedModel {
    match fused(&file(), GpuOptions::default(), Variant::for_device).backend {
        Backend::Fused(model) => *model,
        Backend::Plain(_) => panic!("a fused model was asked for"),
    }
}

#[test]
fn the_fused_learner_follows_the_golden_run() {
    let run = run();
    let model = real_model();
    let mut adapter = Adapter::fresh(None, &model.config, &Shape::default(), 0).unwrap();
    let mut learner = block_on(FusedLearner::new(&model, &adapter, 64)).unwrap();
    let mut losses: Vec<Loss> = Vec::new();
    for step in 0..run.fp32.loss.len() {
        let window = &run.sequences[step % run.sequences.len()][..];
        if let Some(golden) = [&run.fp32.grads.step0, &run.fp32.grads.step1].get(step) {
            adapter.set_parameters(&block_on(learner.gradients(&[window])).unwrap());
            follows(&format!("step {step}"), &adapter, golden, model.config.d_head);
        }
        block_on(learner.step(&[window], &UPDATE)).unwrap();
        losses.extend(block_on(learner.losses(false)).unwrap());
    }
    losses.extend(block_on(learner.losses(true)).unwrap());
    assert_eq!(losses.len(), run.fp32.loss.len());
    for (step, (found, (&nll, &norm))) in losses.iter().zip(run.fp32.loss.iter().zip(&run.fp32.grad_norm)).enumerate() {
        assert!((found.nll - nll).abs() < NLL, "step {step}: loss {}, golden {nll}", found.nll);
        assert!((found.grad_norm / norm - 1.0).abs() < 0.01, "step {step}: norm {}, golden {norm}", found.grad_norm);
    }
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
    let model = load_fused(&small_model(BlockType::Q4_1, BlockType::Q8_0, 32, 3), GpuOptions::default(), software);
    let adapter = Adapter::fresh(None, &model.config, &Shape::default(), 1).unwrap();
    let mut learner = block_on(FusedLearner::new(&model, &adapter, 130)).unwrap();
    for n in [2, 64, 66, 130] {
        let ids = ids(n, 5);
        let found = block_on(learner.evaluate(&ids)).unwrap();
        let expected = block_on(model.score(0, &ids[..n - 1], &ids[1..])).unwrap();
        assert_close(&format!("{n} ids"), &found, &expected, 1e-5);
    }
}

/// Holds every tensor's gradient to the plain learner's, which finite differences hold.
fn gradients_equal_the_plain_ones(what: &str, file: &Vec<u8>, model: &FusedModel, kinds: &[Kind], lengths: &[usize]) {
    let adapter = adapter_of(model, 5, kinds, 11);
    let windows: Vec<_> = (21..).zip(lengths).map(|(seed, &n)| ids(n, seed)).collect();
    let windows: Vec<_> = windows.iter().map(|window| &window[..]).collect();
    let of = |values: &[f32]| {
        let mut gradient = adapter.clone();
        gradient.set_parameters(values);
        gradient
    };
    let mut learner = block_on(FusedLearner::new(model, &adapter, 130)).unwrap();
    let found = of(&block_on(learner.gradients(&windows)).unwrap());
    let plain = load_plain(file, Keep::Dense);
    let expected = of(&block_on(PlainLearner::new(&plain, &adapter).unwrap().gradient(&windows)).unwrap().values);
    for ((layer, kind, found), (_, _, expected)) in found.iter().zip(expected.iter()) {
        let name = |part| format!("{what}, {part} of {} in block {layer}", kind.name());
        assert_close(&name("A"), &found.a, &expected.a, RELATIVE);
        assert_close(&name("B"), &found.b, &expected.b, RELATIVE);
    }
}

#[test]
fn every_gradient_on_the_gpu_equals_the_plain_one() {
    let small = |_: &Gpu| Cut { rows: 2, lanes: 8, subgroup: None, tile_rows: 4 };
    let bare = GpuOptions { without_subgroups: true, default_limits: true };
    let file = small_model(BlockType::Q4_1, BlockType::Q8_0, 24, 1);
    let model = load_fused(&file, bare, small);
    gradients_equal_the_plain_ones("Q4_1", &file, &model, &Kind::ALL, &[129]);
    let file = small_model(BlockType::Q4_0, BlockType::Q4_0, 72, 2);
    let model = load_fused(&file, GpuOptions::default(), software);
    gradients_equal_the_plain_ones("Q4_0", &file, &model, &[Kind::Q, Kind::V, Kind::Up], &[9, 70]);
    // A vocabulary that fills no quad of rows.
    let odd =
        SmallModel { matrices: BlockType::Q8_0, embedding: BlockType::Q4_1, vocab: VOCAB + 3, ..Default::default() };
    let file = odd.file();
    let model = load_fused(&file, GpuOptions::default(), software);
    let kinds = [Kind::K, Kind::O, Kind::Gate, Kind::Down];
    gradients_equal_the_plain_ones("Q8_0", &file, &model, &kinds, &[2, 66]);
}

fn software(gpu: &Gpu) -> Cut {
    Cut { rows: 8, lanes: 1, subgroup: gpu.subgroup, tile_rows: 16 }
}

#[test]
fn a_learner_goes_on_from_its_state_as_if_never_stopped() {
    let model = load_fused(&small_model(BlockType::Q4_1, BlockType::Q8_0, 32, 4), GpuOptions::default(), software);
    let adapter = adapter_of(&model, 8, &Kind::ALL, 3);
    let update = Update { clip: Some(0.5), weight_decay: 0.1, rate: 1e-2, ..UPDATE };
    let (one, two) = (ids(40, 1), ids(17, 2));
    let mut learner = block_on(FusedLearner::new(&model, &adapter, 64)).unwrap();
    for _ in 0..3 {
        block_on(learner.step(&[&one, &two], &update)).unwrap();
    }
    let state = block_on(learner.state()).unwrap();
    assert_eq!(state.steps, 3);
    let mut other = block_on(FusedLearner::new(&model, &adapter, 64)).unwrap();
    other.set_state(&state);
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
