//! A few steps of learning from given numbers, with nothing kept: for golden runs and for measuring.

use imprint_core::{
    Error, ErrorKind, Result,
    adapter::{Adapter, Shape},
    generate::Backend,
    learn::{Effort, Engine, FusedLearner, Learner, ProcessorLearner, Recipe, Room, Update},
};
use serde::{Deserialize, Serialize};
use web_sys::AbortSignal;

use crate::{
    engine::Open,
    learn::GPU_BYTES,
    web::{breathe, check_signal, now_ms, wasm_bytes},
};

/// What to learn. The adapter has rank 8 and alpha 16 on all projections.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    /// Windows of token ids, read in turn, one a step.
    sequences: Vec<Vec<u32>>,
    steps: usize,
    /// Learning rate of every step.
    rate: f32,
}

/// What the steps found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    device: &'static str,
    /// Mean loss of each step in nats, before its update.
    losses: Vec<f32>,
    /// What each step took until its loss was read.
    step_ms: Vec<f64>,
    /// Bytes that learning took on the GPU beside the model; 0 on the processor.
    gpu_bytes: f64,
    /// Bytes of this module's memory after the last step.
    wasm_bytes: f64,
}

/// Learns on the open device with the learner that runs use, AdamW without decay, clip or schedule.
///
/// `parameters` are the adapter's first numbers, A before B, pair after pair, in the order of blocks and projections; a
/// fresh adapter's without them. `on_step` hears the number of each step that is over.
///
/// # Errors
/// `invalid-option` for windows, ids, a rate or parameters that cannot be used; what learning reports; `cancelled`.
pub async fn run(
    open: &Open,
    options: &Options,
    parameters: Option<Vec<f32>>,
    on_step: &dyn Fn(usize),
    signal: Option<&AbortSignal>,
) -> Result<Report> {
    check(options, open.model.config().vocab)?;
    let mut adapter = Adapter::fresh(None, open.model.config(), &Shape::default(), 0)?;
    if let Some(parameters) = parameters {
        if parameters.len() != adapter.n_parameters() {
            let what = format!("{} parameters are given, the adapter has {}", parameters.len(), adapter.n_parameters());
            return Err(Error::new(ErrorKind::InvalidOption, what));
        }
        adapter.set_parameters(&parameters);
    }
    let longest = options.sequences.iter().map(Vec::len).max().unwrap_or(0);
    match &open.model.backend {
        Backend::Processor(processor) => {
            let learner = ProcessorLearner::new(processor, &adapter)?;
            steps(learner, "cpu", options, on_step, signal).await
        }
        Backend::Fused(model) => {
            let recipe = Recipe { window: longest, ..Recipe::derive(Effort::Normal, longest) };
            let room = Room::of(&recipe, open.model.config(), Engine::Fused, GPU_BYTES);
            let before = model.gpu.allocated_bytes();
            let learner = FusedLearner::new(model, &adapter, longest, room).await?;
            let taken = model.gpu.allocated_bytes() - before;
            let report = steps(learner, "webgpu", options, on_step, signal).await?;
            Ok(Report { gpu_bytes: taken as f64, ..report })
        }
    }
}

fn check(options: &Options, vocab: usize) -> Result<()> {
    let refuse = |what: &str| Err(Error::new(ErrorKind::InvalidOption, what));
    if options.sequences.is_empty() || options.sequences.iter().any(|window| window.len() < 2) {
        return refuse("a self-test of learning needs sequences of at least 2 token ids");
    }
    if options.sequences.iter().flatten().any(|&id| id as usize >= vocab) {
        return refuse("a sequence holds an id that is no token of this model");
    }
    if options.steps == 0 || !options.rate.is_finite() {
        return refuse("a self-test of learning needs at least 1 step and a rate that is a number");
    }
    Ok(())
}

async fn steps(
    mut learner: impl Learner,
    device: &'static str,
    options: &Options,
    on_step: &dyn Fn(usize),
    signal: Option<&AbortSignal>,
) -> Result<Report> {
    let update = Update { rate: options.rate, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, clip: None };
    let mut report = Report { device, losses: Vec::new(), step_ms: Vec::new(), gpu_bytes: 0.0, wasm_bytes: 0.0 };
    for (step, window) in (1..=options.steps).zip(options.sequences.iter().cycle()) {
        breathe().await;
        check_signal(signal)?;
        let start_ms = now_ms();
        learner.step(&[window], &update).await?;
        let losses = learner.losses(true).await?;
        report.step_ms.push(now_ms() - start_ms);
        report.losses.extend(losses.iter().map(|loss| loss.nll));
        on_step(step);
    }
    report.wasm_bytes = wasm_bytes() as f64;
    Ok(report)
}
