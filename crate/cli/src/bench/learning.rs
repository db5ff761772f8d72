//! `imprint bench --learn`: what a step of learning costs, and what an adapter costs while writing.

use std::{collections::BTreeMap, fmt, fs, path::Path, time::Instant};

use imprint_core::{
    Error, ErrorKind, Result,
    adapter::{Adapter, Shape},
    generate::{Backend, LanguageModel, Mode, Pace, WriteOptions},
    learn::{Effort, Engine, FusedLearner, Learner, ProcessorLearner, Recipe, Room, Update},
    peft,
    sample::Sampling,
};
use pollster::block_on;
use serde::Serialize;

use super::{Args, Times, cpu_s, measure, median, peak_bytes, prompt, warm_up};
use crate::{
    model::{self, DeviceInfo, Opened},
    terminal::Terminal,
};

/// What a run's AdamW is like; only the time counts here.
const UPDATE: Update = Update { rate: 5e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, clip: Some(1.0) };
/// The strength whose second row is measured.
const STRENGTH: f32 = 1.5;

/// Medians over the runs.
#[derive(Serialize)]
struct Report {
    windows: Vec<Window>,
    writing: Writing,
    runs: usize,
    device: DeviceInfo,
}

/// Steps on windows of one length.
#[derive(Serialize)]
struct Window {
    /// Ids of a window, of which all but the first are predicted.
    tokens: usize,
    /// Windows a step.
    accumulation: usize,
    /// How many of them are read side by side at most.
    at_once: usize,
    step_s: f64,
    /// Predicted tokens by the time of a step.
    tokens_per_s: f64,
    /// CPU time of the process for a step; `null` where the system does not tell.
    cpu_s_per_step: Option<f64>,
    /// Reading as many tokens as one window has and drawing one after them.
    prefill_s: f64,
    /// The median of each step by the prefill of all its windows, measured beside it.
    step_over_prefill: f64,
    /// The largest resident memory of the process while it learned on this window (`VmHWM`), the model's included; `null`
    /// where the system does not tell.
    peak_bytes: Option<u64>,
    /// What learning took on the GPU beside the model; `null` on the CPU.
    gpu_bytes: Option<u64>,
}

/// Writing without an adapter, with one of rank 16, and with its contrast.
#[derive(Serialize)]
struct Writing {
    base_tokens_per_s: f64,
    adapter_tokens_per_s: f64,
    contrast_tokens_per_s: f64,
    /// Time of a token with an adapter by the time of one without, run by run.
    adapter_over_base: f64,
    /// Time of a token of two rows by the time of one of one row, run by run.
    contrast_over_one_row: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "device      {} ({})", self.device.description, self.device.kind)?;
        for window in &self.windows {
            write!(
                f,
                "window {:4} {:.3} s a step of {}, {:.1} tokens/s, {:.2} times a prefill",
                window.tokens, window.step_s, window.accumulation, window.tokens_per_s, window.step_over_prefill
            )?;
            if let Some(seconds) = window.cpu_s_per_step {
                write!(f, ", {seconds:.2} CPU-s")?;
            }
            if let Some(bytes) = window.peak_bytes {
                write!(f, ", {:.0} MB at most", bytes as f64 / 1e6)?;
            }
            writeln!(f)?;
        }
        let Writing { base_tokens_per_s, adapter_tokens_per_s, contrast_tokens_per_s, .. } = self.writing;
        writeln!(
            f,
            "decode      {base_tokens_per_s:.1} tokens/s without an adapter, {adapter_tokens_per_s:.1} with one"
        )?;
        write!(f, "            {contrast_tokens_per_s:.1} tokens/s as a contrast")
    }
}

/// Loads once and measures each window and each way of writing as often as asked.
///
/// # Errors
/// What opening the model and learning give, `invalid-option` for windows that cannot be, `cancelled`.
pub fn run(args: &Args, terminal: &Terminal) -> Result<()> {
    let Opened { mut model, device, .. } = model::open(&args.model, terminal)?;
    check(args, &model)?;
    let mut adapter = Adapter::fresh(None, model.config(), &Shape::default(), 0)?;
    let mut progress = terminal.progress("learning");
    let mut windows = Vec::new();
    for (i, &tokens) in args.windows.iter().enumerate() {
        progress.advance(i as u64, args.windows.len() as u64)?;
        windows.push(window(&model, &mut adapter, tokens, args)?);
    }
    drop(progress);
    // Beside itself it has rank 16, as two voices at once have, and says what it said.
    let adapter = Adapter::mix(&[(&adapter, 0.5), (&adapter, 0.5)], model.config(), None)?;
    if let Some(folder) = &args.adapter_out {
        leave(&model, &adapter, folder)?;
    }
    let writing = writing(&mut model, &adapter, args)?;
    terminal.report(&Report { windows, writing, runs: args.runs, device })
}

/// Refuses windows that cannot be.
pub(super) fn check(args: &Args, model: &LanguageModel) -> Result<()> {
    let longest = model.config().context.min(1024);
    if let Some(wrong) = args.windows.iter().find(|&&window| window < 2 || window > longest) {
        let message = format!("a window of {wrong} tokens cannot be measured; take 2 to {longest}");
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    if args.accumulation == 0 {
        return Err(Error::new(ErrorKind::InvalidOption, "a step needs at least 1 window"));
    }
    Ok(())
}

/// What learning on a GPU spends memory on.
pub(super) fn room(model: &LanguageModel, window: usize, accumulation: usize) -> Room {
    let recipe = Recipe { window, accumulation, ..Recipe::derive(Effort::Normal, window) };
    Room::of(&recipe, model.config(), Engine::Fused, u64::MAX)
}

/// Steps on a window of `tokens` ids, each beside a prefill of as many; `adapter` takes what they made.
fn window(model: &LanguageModel, adapter: &mut Adapter, tokens: usize, args: &Args) -> Result<Window> {
    let ids = prompt(model, tokens)?;
    // The most that was held since now; where that is refused, what was held before counts too.
    let _ = fs::write("/proc/self/clear_refs", "5");
    match &model.backend {
        Backend::Processor(processor) => {
            let learner = ProcessorLearner::new(processor, adapter)?;
            steps(learner, model, adapter, &ids, args)
        }
        Backend::Fused(fused) => {
            let room = room(model, tokens, args.accumulation);
            let before = fused.gpu.allocated_bytes();
            let learner = block_on(FusedLearner::new(fused, adapter, tokens, room))?;
            let (taken, at_once) = (fused.gpu.allocated_bytes() - before, learner.at_once());
            Ok(Window { gpu_bytes: Some(taken), at_once, ..steps(learner, model, adapter, &ids, args)? })
        }
    }
}

fn steps<L: Learner>(
    mut learner: L,
    model: &LanguageModel,
    adapter: &mut Adapter,
    ids: &[u32],
    args: &Args,
) -> Result<Window> {
    let accumulation = args.accumulation;
    let batch = vec![ids; accumulation];
    let mut step = || -> Result<(f64, Option<f64>)> {
        let (start, cpu) = (Instant::now(), cpu_s());
        block_on(learner.step(&batch, &UPDATE))?;
        // Waits until the device is done.
        block_on(learner.losses(true))?;
        Ok((start.elapsed().as_secs_f64(), cpu.and_then(|cpu| Some(cpu_s()? - cpu))))
    };
    // Once for what happens only once.
    step()?;
    let mut pace = Pace::default();
    prefill_s(model, ids, &mut pace)?;
    let (mut took, mut read) = (Vec::new(), Vec::new());
    for _ in 0..args.runs {
        took.push(step()?);
        read.push(prefill_s(model, ids, &mut pace)?);
    }
    adapter.set_parameters(&block_on(learner.state())?.parameters);
    let step_s = median(took.iter().map(|(step_s, _)| *step_s).collect());
    let cpu: Option<Vec<f64>> = took.iter().map(|(_, cpu)| *cpu).collect();
    Ok(Window {
        tokens: ids.len(),
        accumulation,
        at_once: 1,
        step_s,
        tokens_per_s: ((ids.len() - 1) * accumulation) as f64 / step_s,
        cpu_s_per_step: cpu.map(median),
        prefill_s: median(read.clone()),
        step_over_prefill: median(
            took.iter().zip(&read).map(|((step, _), read)| step / read / accumulation as f64).collect(),
        ),
        peak_bytes: peak_bytes(),
        gpu_bytes: None,
    })
}

/// Seconds until a prompt is read and the token after it is there.
fn prefill_s(model: &LanguageModel, ids: &[u32], pace: &mut Pace) -> Result<f64> {
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    let options = WriteOptions { sampling, max_tokens: 1, ..WriteOptions::default() };
    let mut session = model.begin_ids(ids.to_vec(), options)?;
    let start = Instant::now();
    while model::next(model, &mut session, pace)?.finish.is_none() {}
    Ok(start.elapsed().as_secs_f64())
}

/// Writes in three ways in turn: without the adapter, with it, and as a contrast of both.
fn writing(model: &mut LanguageModel, adapter: &Adapter, args: &Args) -> Result<Writing> {
    let ids = prompt(model, args.prompt_tokens.min(64))?;
    block_on(model.attach(adapter, None))?;
    let ways = [0.0, 1.0, STRENGTH].map(|strength| WriteOptions {
        strength: Some(strength),
        mode: Some(Mode::Contrast),
        ..WriteOptions::default()
    });
    let mut token_s: [Vec<f64>; 3] = Default::default();
    let mut pace = Pace::default();
    for run in 0..=args.runs {
        for (way, token_s) in ways.iter().zip(&mut token_s) {
            if run == 0 {
                warm_up(model, &ids, way, &mut pace)?;
                continue;
            }
            let Times { decode_s, tokens, .. } = measure(model, &ids, args.tokens, way, &mut pace, &mut |_| Ok(()))?;
            token_s.push(decode_s / (tokens - 1) as f64);
        }
    }
    let over = |a: &[f64], b: &[f64]| median(a.iter().zip(b).map(|(a, b)| a / b).collect());
    let [base, own, both] = &token_s;
    let rate = |token_s: &Vec<f64>| 1.0 / median(token_s.clone());
    Ok(Writing {
        base_tokens_per_s: rate(base),
        adapter_tokens_per_s: rate(own),
        contrast_tokens_per_s: rate(both),
        adapter_over_base: over(own, base),
        contrast_over_one_row: over(both, own),
    })
}

/// Writes the adapter as a PEFT folder.
fn leave(model: &LanguageModel, adapter: &Adapter, folder: &Path) -> Result<()> {
    let files = peft::export(adapter, model.config(), &BTreeMap::new())?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(folder.join("adapter_config.json"), &files.config_json))
        .and_then(|()| fs::write(folder.join("adapter_model.safetensors"), &files.safetensors))
        .map_err(|e| {
            let message = format!("{} cannot be written: {e}; name another --adapter-out", folder.display());
            Error::new(ErrorKind::StorageFull, message).with_source(e)
        })
}
