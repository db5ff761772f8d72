//! `imprint bench`: speed and memory of a model on a device.

mod kernels;
mod learning;

use std::{fmt, fs, path::PathBuf, time::Instant};

use imprint_core::{
    Error, ErrorKind, Result,
    generate::{LanguageModel, Pace, WriteOptions},
    sample::Sampling,
};
use serde::Serialize;

use crate::{
    model::{self, DeviceInfo, ModelArgs},
    terminal::Terminal,
};

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Tokens of the prompt.
    #[arg(long, value_name = "N", default_value_t = 256)]
    prompt_tokens: usize,
    /// Tokens to write.
    #[arg(long, value_name = "N", default_value_t = 32)]
    tokens: usize,
    /// How often to measure; the medians are told.
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// Measure learning in place of writing: steps of an adapter of rank 8, and what it costs to write with it.
    #[arg(long)]
    learn: bool,
    /// Lengths of the windows to learn from, shorter ones first, so that each peak of memory is its own.
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_value = "64,128,256", requires = "learn")]
    windows: Vec<usize>,
    /// Windows a step, read side by side as far as memory goes.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "learn")]
    accumulation: usize,
    /// Measure the kernels one by one in place of the whole: of a token and a prompt, or with --learn of steps. By the GPU's own
    /// clock; on the CPU those of a token, part by part.
    #[arg(long)]
    kernels: bool,
    /// Leave the adapter that the steps made in this folder, in PEFT's layout.
    #[arg(long, value_name = "DIR", requires = "learn")]
    adapter_out: Option<PathBuf>,
}

/// Medians over the runs.
#[derive(Serialize)]
struct Report {
    /// Opening the model: header, tokenizer, weights, kernels.
    load_ms: f64,
    /// Tokens of the prompt by the time until the first token is written.
    prefill_tokens_per_s: f64,
    /// Tokens after the first by the time since it.
    decode_tokens_per_s: f64,
    /// GPU dispatches; none on the CPU.
    dispatches_per_token: usize,
    /// The largest resident memory of the process (`VmHWM`), which holds GPU memory only where the GPU is software;
    /// `null` where the system does not tell.
    peak_bytes: Option<u64>,
    weight_bytes: u64,
    /// CPU time of the process for a token after the first; `null` where the system does not tell.
    cpu_s_per_token: Option<f64>,
    prompt_tokens: usize,
    /// Tokens written a run: as many as asked for unless the model ended its text before.
    tokens: usize,
    runs: usize,
    device: DeviceInfo,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        writeln!(f, "device      {} ({})", self.device.description, self.device.kind)?;
        writeln!(f, "load        {:.0} ms", self.load_ms)?;
        writeln!(f, "prefill     {:.1} tokens/s over {} tokens", self.prefill_tokens_per_s, self.prompt_tokens)?;
        writeln!(f, "decode      {:.1} tokens/s over {} tokens", self.decode_tokens_per_s, self.tokens)?;
        if let Some(seconds) = self.cpu_s_per_token {
            writeln!(f, "CPU time    {seconds:.3} s a token")?;
        }
        writeln!(f, "dispatches  {} a token", self.dispatches_per_token)?;
        if let Some(bytes) = self.peak_bytes {
            writeln!(f, "memory      {:.0} MB at most", mb(bytes))?;
        }
        write!(f, "weights     {:.0} MB", mb(self.weight_bytes))
    }
}

/// What one run took.
struct Times {
    prefill_s: f64,
    decode_s: f64,
    decode_cpu_s: Option<f64>,
    tokens: usize,
}

/// Loads once, warms up, writes as often as asked, and tells the medians.
///
/// # Errors
/// What opening the model gives, `invalid-option` for counts that leave nothing to measure, `context-full`, `cancelled`.
pub fn run(args: &Args, terminal: &Terminal) -> Result<()> {
    if args.prompt_tokens == 0 || args.tokens < 2 || args.runs == 0 {
        let message = "there is nothing to measure: ask for at least 1 prompt token, 2 tokens and 1 run";
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    if args.kernels {
        return kernels::run(args, terminal);
    }
    if args.learn {
        return learning::run(args, terminal);
    }
    let start = Instant::now();
    let opened = model::open(&args.model, terminal)?;
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    let prompt = prompt(&opened.model, args.prompt_tokens)?;
    let options = WriteOptions::default();
    let mut pace = Pace::default();
    warm_up(&opened.model, &prompt, &options, &mut pace)?;
    let mut progress = terminal.progress("measuring");
    let mut times = Vec::with_capacity(args.runs);
    for i in 0..args.runs {
        let mut done = 0;
        let each = args.prompt_tokens + args.tokens;
        times.push(measure(&opened.model, &prompt, args.tokens, &options, &mut pace, &mut |step| {
            done += step;
            progress.advance((i * each + done) as u64, (args.runs * each) as u64)
        })?);
    }
    drop(progress);
    let rate = |run: &Times| (run.tokens - 1) as f64 / run.decode_s;
    let cpu: Option<Vec<f64>> = times.iter().map(|run| Some(run.decode_cpu_s? / (run.tokens - 1) as f64)).collect();
    terminal.report(&Report {
        load_ms,
        prefill_tokens_per_s: median(times.iter().map(|run| prompt.len() as f64 / run.prefill_s).collect()),
        decode_tokens_per_s: median(times.iter().map(rate).collect()),
        dispatches_per_token: opened.dispatches_per_token,
        peak_bytes: peak_bytes(),
        weight_bytes: opened.weight_bytes,
        cpu_s_per_token: cpu.map(median),
        prompt_tokens: prompt.len(),
        tokens: times[0].tokens,
        runs: args.runs,
        device: opened.device,
    })
}

/// A prompt of `n` tokens. It repeats itself, so that the likeliest continuation goes on and does not end.
fn prompt(model: &LanguageModel, n: usize) -> Result<Vec<u32>> {
    const TEXT: &str =
        "The sea was calm, the wind was low, and the boat went on along the coast, past the rocks and the light. ";
    let ids = model.tokenizer.encode(TEXT)?;
    Ok(ids.into_iter().cycle().take(n).collect())
}

/// Reads and writes a little, so that nothing that happens only once falls into the first run.
fn warm_up(model: &LanguageModel, prompt: &[u32], options: &WriteOptions, pace: &mut Pace) -> Result<()> {
    let some = &prompt[..prompt.len().min(64)];
    // A model that ends here at once ends in the runs too, and is told there.
    match measure(model, some, 4, options, pace, &mut |_| Ok(())) {
        Err(error) if error.kind() == ErrorKind::ModelUnsupported => Ok(()),
        result => result.map(|_| ()),
    }
}

/// Reads and writes greedily, with `options` for the rest.
fn measure(
    model: &LanguageModel,
    prompt: &[u32],
    max_tokens: usize,
    options: &WriteOptions,
    pace: &mut Pace,
    on_step: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Times> {
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    let options = WriteOptions { sampling, max_tokens, ..options.clone() };
    let mut session = model.begin_ids(prompt.to_vec(), options)?;
    let start = Instant::now();
    let mut first = None;
    let mut before = 0;
    loop {
        let step = model::next(model, &mut session, pace)?;
        let done = step.prefilled + step.tokens;
        on_step(done - before)?;
        before = done;
        if step.tokens > 0 && first.is_none() {
            first = Some((Instant::now(), cpu_s()));
        }
        let Some(finish) = step.finish else { continue };
        let Some((since, cpu)) = first.filter(|_| step.tokens > 1) else {
            let message = format!("the model ended ({}) before its second token; measure another", finish.name());
            return Err(Error::new(ErrorKind::ModelUnsupported, message));
        };
        return Ok(Times {
            prefill_s: (since - start).as_secs_f64(),
            decode_s: since.elapsed().as_secs_f64(),
            decode_cpu_s: cpu.and_then(|cpu| Some(cpu_s()? - cpu)),
            tokens: step.tokens,
        });
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// The most memory this process has held, as Linux tells it.
fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// CPU seconds this process has used, as Linux tells them.
fn cpu_s() -> Option<f64> {
    /// Linux counts in hundredths of a second for programs, whatever its own clock does (`USER_HZ`).
    const TICKS_PER_S: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the program's name, may hold spaces; user and system time are the 14th and 15th.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), 3.0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn work_and_memory_are_seen() {
        let before = cpu_s().unwrap();
        let start = Instant::now();
        let held = vec![1u8; 1 << 24];
        let mut sum = 0u64;
        while start.elapsed().as_millis() < 200 || cpu_s().unwrap() - before < 0.05 {
            sum += held.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        }
        assert!(sum > 0 && peak_bytes().unwrap() > 1 << 24);
    }
}
