//! `imprint bench --kernels`: writing, reading and learning kernel by kernel, beside what the device does at best.

use std::{fmt, time::Instant};

use imprint_core::{
    Error, ErrorKind, Result,
    adapter::{Adapter, Shape},
    fused::{FusedModel, KernelTime},
    generate::{Backend, LanguageModel},
    kernels::{gpu::GpuOptions, state},
    learn::FusedLearner,
    processor::{Processor, read_once},
};
use pollster::block_on;
use serde::Serialize;

use super::{Args, learning, median, prompt};
use crate::{
    model::{self, DeviceInfo},
    terminal::Terminal,
};

/// Words of a piece whose reading is timed: 2 MB.
const PIECE: usize = 1 << 18;
/// How often all pieces are read.
const PASSES: usize = 4;

/// What was asked for, kernel by kernel.
#[derive(Serialize)]
struct Report {
    device: DeviceInfo,
    runs: usize,
    tables: Vec<Table>,
    /// What the device reads a second at best, measured here.
    gigabytes_per_s: f64,
    /// Multiplications and additions a second at best; `null` where only memory bounds.
    gigaflops: Option<f64>,
}

/// Something that a device does, kernel by kernel.
#[derive(Serialize)]
struct Table {
    /// `token`, `prompt` or `step`.
    what: &'static str,
    /// Where the token stands, or how many tokens a prompt or the windows of a step have.
    tokens: usize,
    /// All of its kernels.
    time_ms: f64,
    kernels: Vec<Row>,
}

/// A kernel's medians.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    count: usize,
    time_ms: f64,
    /// Of the time of all kernels.
    share: f64,
    /// Bytes of weights and of the cache.
    bytes: u64,
    flops: u64,
    /// The least time that its bytes or its arithmetic take at best, by the time it took; 0 where neither is counted.
    share_of_bound: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "device     {} ({})", self.device.description, self.device.kind)?;
        write!(f, "at best    {:.1} GB/s", self.gigabytes_per_s)?;
        if let Some(gigaflops) = self.gigaflops {
            write!(f, ", {gigaflops:.0} GFLOP/s")?;
        }
        self.tables.iter().try_for_each(|table| write!(f, "\n\n{table}"))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = match self.what {
            "token" => format!("at position {}", self.tokens),
            _ => format!("of {} tokens", self.tokens),
        };
        writeln!(f, "{:10} {:.3} ms {of}, medians\n", self.what, self.time_ms)?;
        let line = ["kernel", "count", "time", "share", "bytes", "flops", "share of bound"];
        let [name, count, time, share, bytes, flops, bound] = line;
        write!(f, "{name:16} {count:>5} {time:>12} {share:>8} {bytes:>12} {flops:>13} {bound:>15}")?;
        for row in &self.kernels {
            write!(
                f,
                "\n{:16} {:>5} {:>9.3} ms {:>6.1} % {:>9.2} MB {:>10.1} M {:>13.1} %",
                row.name,
                row.count,
                row.time_ms,
                row.share * 1e2,
                row.bytes as f64 / 1e6,
                row.flops as f64 / 1e6,
                row.share_of_bound * 1e2
            )?;
        }
        Ok(())
    }
}

/// What a device does at best, in a second.
struct Bound {
    bytes: f64,
    flops: Option<f64>,
}

impl Bound {
    fn table(&self, what: &'static str, tokens: usize, kernels: &[KernelTime]) -> Table {
        let all_s: f64 = kernels.iter().map(|kernel| kernel.time_s).sum();
        let row = |&KernelTime { name, count, time_s, bytes, flops }: &KernelTime| {
            let least = (bytes as f64 / self.bytes).max(self.flops.map_or(0.0, |most| flops as f64 / most));
            let (time_ms, share_of_bound) = (time_s * 1e3, least / time_s.max(1e-9));
            Row { name, count, time_ms, share: time_s / all_s.max(1e-9), bytes, flops, share_of_bound }
        };
        Table { what, tokens, time_ms: all_s * 1e3, kernels: kernels.iter().map(row).collect() }
    }
}

/// Measures each kernel of a token after a prompt of the length asked for and of that prompt, or of steps of learning.
///
/// # Errors
/// What opening the model gives, `invalid-option` for a prompt that leaves no room, a GPU without a clock or learning on the
/// processor, `device-lost`.
pub fn run(args: &Args, terminal: &Terminal) -> Result<()> {
    let opened = model::open_with(&args.model, GpuOptions { timestamps: true, ..GpuOptions::default() }, terminal)?;
    let position = args.prompt_tokens;
    if position >= opened.model.capacity {
        let most = opened.model.capacity - 1;
        let what = format!("a prompt of {position} tokens leaves no room for another; ask for at most {most}");
        return Err(Error::new(ErrorKind::InvalidOption, what));
    }
    let (bound, tables) = match &opened.model.backend {
        Backend::Fused(model) => {
            let best = block_on(model.best())?;
            let bound = Bound { bytes: best.bytes_per_s, flops: Some(best.flops_per_s) };
            let tables =
                if args.learn { steps(args, &opened.model, model, &bound)? } else { writing(args, model, &bound)? };
            (bound, tables)
        }
        Backend::Processor(_) if args.learn => {
            let what =
                "the kernels of learning are measured on a GPU alone; leave out --kernels, or ask for --device gpu";
            return Err(Error::new(ErrorKind::InvalidOption, what));
        }
        Backend::Processor(processor) => {
            let (bound, kernels) = on_cpu(processor, position, args.runs);
            let table = bound.table("token", position, &kernels);
            (bound, vec![table])
        }
    };
    terminal.report(&Report {
        device: opened.device,
        runs: args.runs,
        tables,
        gigabytes_per_s: bound.bytes / 1e9,
        gigaflops: bound.flops.map(|flops| flops / 1e9),
    })
}

/// A token, and as much of the prompt before it as is read in one go.
fn writing(args: &Args, model: &FusedModel, bound: &Bound) -> Result<Vec<Table>> {
    let (position, read) = (args.prompt_tokens, args.prompt_tokens.min(state::MAX_COUNT as usize));
    let token = block_on(model.profile_token(position, args.runs))?;
    let prompt = block_on(model.profile_prompt(read, args.runs))?;
    Ok(vec![bound.table("token", position, &token), bound.table("prompt", read, &prompt)])
}

/// Steps on windows of each length, as many of them as are read side by side.
fn steps(args: &Args, model: &LanguageModel, fused: &FusedModel, bound: &Bound) -> Result<Vec<Table>> {
    let adapter = Adapter::fresh(None, model.config(), &Shape::default(), 0)?;
    let table = |&tokens: &usize| {
        let room = learning::room(model, tokens, args.accumulation);
        let ids = prompt(model, tokens)?;
        let learner = block_on(FusedLearner::new(fused, &adapter, tokens, room))?;
        let at_once = learner.at_once();
        let kernels = block_on(learner.profile(&vec![&ids[..]; at_once], args.runs))?;
        Ok(bound.table("step", (tokens - 1) * at_once, &kernels))
    };
    learning::check(args, model)?;
    args.windows.iter().map(table).collect()
}

/// The parts of the processor's token, each alone; memory is its bound.
fn on_cpu(processor: &Processor, position: usize, runs: usize) -> (Bound, Vec<KernelTime>) {
    let parts = processor.parts(position);
    let bound = Bound { bytes: memory(parts.iter().map(|part| part.bytes).sum()), flops: None };
    let rows = parts.iter().map(|part| {
        // The first one warms up.
        (part.run)();
        let time_s = median((0..runs).map(|_| seconds(&part.run)).collect());
        KernelTime { name: part.name, count: part.count, time_s, bytes: part.bytes, flops: part.flops }
    });
    let rows = rows.collect();
    (bound, rows)
}

/// Bytes a second that one thread reads at best of as much as `bytes`, again and again, as a token does with the weights:
/// of short pieces, so that some are read without being interrupted.
fn memory(bytes: u64) -> f64 {
    let words = vec![1u64; (bytes as usize / 8).next_multiple_of(PIECE)];
    let read = |piece: &[u64]| {
        let time_s = seconds(|| {
            std::hint::black_box(read_once(piece));
        });
        piece.len() as f64 * 8.0 / time_s
    };
    let mut rates: Vec<f64> = (0..PASSES).flat_map(|_| words.chunks_exact(PIECE).map(read)).collect();
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() * 9 / 10]
}

fn seconds(work: impl Fn()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}
