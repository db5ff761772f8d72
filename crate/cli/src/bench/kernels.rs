//! `imprint bench --kernels`: a written token kernel by kernel, beside what the device does at best.

use std::{fmt, time::Instant};

use imprint_core::{
    Error, ErrorKind, Result,
    generate::Backend,
    kernels::gpu::GpuOptions,
    processor::{Processor, read_once},
};
use pollster::block_on;
use serde::Serialize;

use super::{Args, median};
use crate::{
    model::{self, DeviceInfo},
    terminal::Terminal,
};

/// Words of a piece whose reading is timed: 2 MB.
const PIECE: usize = 1 << 18;
/// How often all pieces are read.
const PASSES: usize = 4;

/// A token, kernel by kernel.
#[derive(Serialize)]
struct Report {
    device: DeviceInfo,
    /// Where the token stands.
    position: usize,
    runs: usize,
    kernels: Vec<Row>,
    /// All of them.
    token_ms: f64,
    /// What the device reads a second at best, measured here.
    gigabytes_per_s: f64,
    /// Multiplications and additions a second at best; `null` where only memory bounds.
    gigaflops: Option<f64>,
}

/// A kernel's medians over a token.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    count: usize,
    time_ms: f64,
    /// Bytes of weights and of the cache.
    bytes: u64,
    flops: u64,
    /// The least time that its bytes or its arithmetic take at best, by the time it took.
    share_of_bound: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "device     {} ({})", self.device.description, self.device.kind)?;
        write!(f, "at best    {:.1} GB/s", self.gigabytes_per_s)?;
        if let Some(gigaflops) = self.gigaflops {
            write!(f, ", {gigaflops:.0} GFLOP/s")?;
        }
        writeln!(f, "\ntoken      {:.3} ms at position {}, medians of {}\n", self.token_ms, self.position, self.runs)?;
        let line = ["kernel", "count", "time", "bytes", "flops", "share of bound"];
        write!(f, "{:16} {:>5} {:>12} {:>12} {:>13} {:>15}", line[0], line[1], line[2], line[3], line[4], line[5])?;
        for row in &self.kernels {
            write!(
                f,
                "\n{:16} {:>5} {:>9.3} ms {:>9.2} MB {:>10.1} M {:>13.1} %",
                row.name,
                row.count,
                row.time_ms,
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
    fn row(&self, name: &'static str, count: usize, time_s: f64, bytes: u64, flops: u64) -> Row {
        let least = (bytes as f64 / self.bytes).max(self.flops.map_or(0.0, |most| flops as f64 / most));
        Row { name, count, time_ms: time_s * 1e3, bytes, flops, share_of_bound: least / time_s.max(1e-9) }
    }
}

/// Measures each kernel of a token after a prompt of the length asked for.
///
/// # Errors
/// What opening the model gives, `invalid-option` for a prompt that leaves no room or a GPU without a clock, `device-lost`.
pub fn run(args: &Args, terminal: &Terminal) -> Result<()> {
    let opened = model::open_with(&args.model, GpuOptions { timestamps: true, ..GpuOptions::default() }, terminal)?;
    let position = args.prompt_tokens;
    if position >= opened.model.capacity {
        let most = opened.model.capacity - 1;
        let what = format!("a prompt of {position} tokens leaves no room for another; ask for at most {most}");
        return Err(Error::new(ErrorKind::InvalidOption, what));
    }
    let (bound, kernels) = match &opened.model.backend {
        Backend::Fused(model) => {
            let profile = block_on(model.profile(position, args.runs))?;
            let bound = Bound { bytes: profile.bytes_per_s, flops: Some(profile.flops_per_s) };
            let rows = profile.kernels.iter().map(|k| bound.row(k.name, k.count, k.time_s, k.bytes, k.flops)).collect();
            (bound, rows)
        }
        Backend::Processor(processor) => on_cpu(processor, position, args.runs),
    };
    terminal.report(&Report {
        device: opened.device,
        position,
        runs: args.runs,
        token_ms: kernels.iter().map(|row: &Row| row.time_ms).sum(),
        kernels,
        gigabytes_per_s: bound.bytes / 1e9,
        gigaflops: bound.flops.map(|flops| flops / 1e9),
    })
}

/// The parts of the processor's token, each alone; memory is its bound.
fn on_cpu(processor: &Processor, position: usize, runs: usize) -> (Bound, Vec<Row>) {
    let parts = processor.parts(position);
    let bound = Bound { bytes: memory(parts.iter().map(|part| part.bytes).sum()), flops: None };
    let rows = parts.iter().map(|part| {
        // The first one warms up.
        (part.run)();
        let time_s = median((0..runs).map(|_| seconds(&part.run)).collect());
        bound.row(part.name, part.count, time_s, part.bytes, part.flops)
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
