//! The golden run of an independent implementation, 20 steps on four texts, that every learner follows.

use std::{collections::BTreeMap, fs, ops::Range, path::PathBuf, sync::OnceLock};

use imprint_core::{
    adapter::{Adapter, Kind, Shape},
    learn::{Learner, ProcessorLearner, State, Update},
};
use pollster::block_on;
use serde::Deserialize;

use crate::material::*;

/// A learner that shows its gradients.
pub trait Open: Learner {
    /// The gradient of the mean loss of `windows` in the order of the adapter's parameters.
    fn gradient_of(&mut self, windows: &[&[u32]]) -> Vec<f32>;
}

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
    r#final: Tensors,
    final_nll: Vec<f32>,
}

type Tensors = BTreeMap<String, Tensor>;

#[derive(Deserialize)]
struct Gradients {
    step0: Tensors,
    step1: Tensors,
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

/// The golden run's AdamW.
pub const UPDATE: Update = Update { rate: 5e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, clip: None };

/// AdamW's first update moves a number by the rate, whichever way its gradient points and however short it is. Where it is
/// so short that rounding turns it, two correct runs part by twice the rate; the next gradient of A is a product with B,
/// where that has happened, and its largest error seen is 0.028 of a typical number. `tests/python/test_gradient.py` holds that
/// gradient, whole, to 1e-3 of PyTorch's at the same numbers.
const SIGNS: f32 = 0.05;

/// Row of the model file that holds row `row` of the hub's: llama files put the two halves of a head side by side.
fn file_row(row: usize, d_head: usize) -> usize {
    let (head, within) = (row / d_head, row % d_head);
    head * d_head + within % (d_head / 2) * 2 + within / (d_head / 2)
}

/// Holds gradients to the first numbers and the norm of every tensor of the golden run.
fn follows(step: &str, gradients: &Adapter, golden: &Tensors, d_head: usize) {
    let mut compared = 0;
    for (layer, kind, pair) in gradients.iter() {
        for (name, values) in [("A", &pair.a), ("B", &pair.b)] {
            let name = format!("{layer}.{}.{name}", kind.name());
            let Some(expected) = golden.get(&name) else {
                // The golden run leaves out A's first gradients: B is zero, so they are.
                assert!(values.iter().all(|&v| v == 0.0), "{step} {name} is not zero");
                continue;
            };
            let permuted = name.ends_with('B') && matches!(kind, Kind::Q | Kind::K);
            let at = |i: usize| {
                let (row, col) = (i / pair.rank, i % pair.rank);
                if permuted { file_row(row, d_head) * pair.rank + col } else { i }
            };
            let tolerance = match step {
                "the end" => SIGNS,
                "step 1" if name.ends_with('A') => SIGNS,
                _ => RELATIVE,
            };
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

/// Steps of the run that a slow learner may leave to a fast one, whose state it goes on from.
const LEFT: Range<usize> = 4..16;

/// Holds a learner of the default model, made with the run's fresh adapter, to the run; gives its state after the steps that
/// others may leave to it, or takes that of `another`.
pub fn follows_golden_run(
    adapter: &Adapter,
    d_head: usize,
    learner: &mut impl Open,
    another: Option<&State>,
) -> Option<State> {
    let Run { sequences, fp32: golden } = run();
    let (mut numbers, mut losses, mut left) = (adapter.clone(), Vec::new(), None);
    let steps: Vec<_> = (0..golden.loss.len()).filter(|step| another.is_none() || !LEFT.contains(step)).collect();
    for &step in &steps {
        if step == LEFT.end {
            match another {
                Some(state) => {
                    losses = block_on(learner.losses(true)).unwrap();
                    learner.set_state(state);
                }
                None => left = Some(block_on(learner.state()).unwrap()),
            }
        }
        let window = [&sequences[step % sequences.len()][..]];
        if let Some(expected) = [&golden.grads.step0, &golden.grads.step1].get(step) {
            numbers.set_parameters(&learner.gradient_of(&window));
            follows(&format!("step {step}"), &numbers, expected, d_head);
        }
        block_on(learner.step(&window, &UPDATE)).unwrap();
    }
    losses.extend(block_on(learner.losses(true)).unwrap());
    assert_eq!(losses.len(), steps.len());
    for (found, step) in losses.iter().zip(steps) {
        let (nll, norm) = (golden.loss[step], golden.grad_norm[step]);
        assert!((found.nll - nll).abs() < NLL, "step {step}: loss {}, golden {nll}", found.nll);
        assert!((found.grad_norm / norm - 1.0).abs() < 0.01, "step {step}: norm {}, golden {norm}", found.grad_norm);
    }
    numbers.set_parameters(&block_on(learner.state()).unwrap().parameters);
    follows("the end", &numbers, &golden.r#final, d_head);
    for (i, (window, &expected)) in sequences.iter().zip(&golden.final_nll).enumerate() {
        let found = mean(&block_on(learner.evaluate(window)).unwrap());
        assert!((found - expected).abs() < NLL, "text {i}: {found} in the end, golden {expected}");
    }
    left
}

/// Holds the processor's learner, the fastest, to the run, once; gives the state that others go on from.
pub fn processors_run() -> &'static State {
    static RUN: OnceLock<State> = OnceLock::new();
    RUN.get_or_init(|| {
        let processor = load_processor(&file());
        let config = &processor.model.config;
        let adapter = Adapter::fresh(None, config, &Shape::default(), 0).unwrap();
        let mut learner = ProcessorLearner::new(&processor, &adapter).unwrap();
        follows_golden_run(&adapter, config.d_head, &mut learner, None).expect("it leaves no step out")
    })
}

/// Holds that a learner far outside of all bounds tells so and does not hide it: [`imprint_core::learn::Trainer`] then
/// names the rate.
pub fn tells_of_a_loss_that_is_no_number(learner: &mut impl Learner, window: &[u32]) {
    block_on(learner.step(&[window], &UPDATE)).unwrap();
    let losses = block_on(learner.losses(true)).unwrap();
    assert_eq!(losses.len(), 1);
    assert!(!losses[0].nll.is_finite() || !losses[0].grad_norm.is_finite(), "{losses:?}");
}
