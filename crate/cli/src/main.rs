//! `imprint`: what Imprint does, on the command line.
//!
//! Results go to standard output, as text that people read or with `--json` as exactly one JSON object (`learn` writes
//! one a line as it goes); progress and notes go to standard error. The exit status is 0 when the work is done (or writing was interrupted), 2 when the
//! command line or a file it names cannot be used (`invalid-option`), 1 for every other error.

mod adapter;
mod bench;
mod convert;
mod info;
mod learn;
mod model;
mod models;
mod score;
mod terminal;
mod tokenize;
mod write;

use std::process::ExitCode;

use clap::{Parser, Subcommand, error::ErrorKind as Usage};
use imprint_core::{Error, ErrorKind, Result};

use terminal::Terminal;

/// Runs small language models: shows, learns, writes, scores, converts, tokenizes, measures.
#[derive(Parser)]
#[command(name = "imprint", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print exactly one JSON object; `learn` one a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Say what a model file holds and whether it runs here.
    ///
    /// JSON: name, architecture, parameters, size_bytes, gguf_version, context_tokens, shape, tensors (how many in each
    /// format), tokenizer, runs, paths (cpu and gpu, each with runs, device, code, reason).
    Info(info::Args),
    /// List the models that have a name here: size, licence, memory, and whether they were fetched.
    ///
    /// JSON: models, each with id, name, file, size_bytes, licence (name, url, terms), accepted, gpu_bytes, cpu_bytes, path
    /// (null until it is fetched).
    Models,
    /// Learn the voice of texts: a small adapter beside the model.
    ///
    /// Learning ends by itself: what is held out of the texts is measured every quarter pass. The interrupt key pauses
    /// it, and --resume goes on; a checkpoint stands in a folder beside --out until the adapter is there.
    ///
    /// JSON, one object a line: begun (recipe, steps, learned_tokens, heldout_tokens, dropped, device), step (step,
    /// steps, loss, tokens_per_s, left_s), measured (step, nll, bits_per_char, copied), preview (prompt, text, copied, names),
    /// and last done (steps, ending, holdout_bits_per_char_before, holdout_bits_per_char_after, kept_step, best_step,
    /// best_bits_per_char, copied, own_copied, tokens_per_s, adapter, device).
    Learn(learn::Args),
    /// Continue a prompt, or answer it.
    ///
    /// The text streams to standard output. The interrupt key stops it and keeps what there is.
    ///
    /// JSON: text, ids, tokens_per_s (tokens after the first, by the time since it), finish (end, stop, length, context
    /// or cancelled), prompt_tokens, copied (share of eight-word runs and longest run that stand in the text the adapter was
    /// learned from; null without one), device.
    Write(write::Args),
    /// Measure how well a model predicts a text.
    ///
    /// Texts longer than the context are read in windows of it that overlap by half, so every token but those of the
    /// first window has at least half a context before it.
    ///
    /// JSON: tokens, nll (nats, one for each token after the first), mean_nll, bits_per_char (over the characters of
    /// the predicted tokens), context_tokens, device.
    Score(score::Args),
    /// Write an adapter, or a mix of several, for another program: PEFT's folder or llama.cpp's GGUF file.
    ///
    /// What the two have no place for (the model's fingerprint, notes, the prints of the text) travels with it and is
    /// passed by there.
    ///
    /// JSON: layout (PEFT or llama.cpp), rank, parameters, size_bytes, prints (whether they came along), out.
    Convert(convert::Args),
    /// Show the token ids of a text.
    ///
    /// JSON: ids.
    Tokenize(tokenize::Args),
    /// Measure speed and memory.
    ///
    /// JSON, medians over the runs: load_ms, prefill_tokens_per_s, decode_tokens_per_s, dispatches_per_token (0 on the
    /// CPU), peak_bytes (most resident memory, null where the system is not Linux), weight_bytes, cpu_s_per_token (also
    /// null there), prompt_tokens, tokens, runs, device.
    ///
    /// With --learn: windows (each with tokens, step_s, tokens_per_s, cpu_s_per_step, prefill_s, step_over_prefill,
    /// peak_bytes, gpu_bytes), writing (base_tokens_per_s, adapter_tokens_per_s, contrast_tokens_per_s,
    /// adapter_over_base, contrast_over_one_row), runs, device.
    Bench(bench::Args),
}

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => {
            let terminal = Terminal { json: cli.json };
            match terminal::watch_interrupts().and_then(|()| run(&cli.command, &terminal)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => terminal.fail(&error),
            }
        }
        Err(usage) => refuse(&usage),
    }
}

fn run(command: &Command, terminal: &Terminal) -> Result<()> {
    match command {
        Command::Info(args) => info::run(args, terminal),
        Command::Models => models::run(terminal),
        Command::Learn(args) => learn::run(args, terminal),
        Command::Write(args) => write::run(args, terminal),
        Command::Score(args) => score::run(args, terminal),
        Command::Convert(args) => convert::run(args, terminal),
        Command::Tokenize(args) => tokenize::run(args, terminal),
        Command::Bench(args) => bench::run(args, terminal),
    }
}

/// Prints help and version where they were asked for; anything else is a command line that cannot be used.
fn refuse(usage: &clap::Error) -> ExitCode {
    if matches!(usage.kind(), Usage::DisplayHelp | Usage::DisplayVersion) {
        // Nobody is left to hear that standard output is closed.
        let _ = usage.print();
        return ExitCode::SUCCESS;
    }
    // The options could not be read, so whether JSON is wanted is taken from the words.
    let json = std::env::args_os().skip(1).take_while(|arg| arg != "--").any(|arg| arg == "--json");
    if usage.kind() == Usage::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = usage.print();
        return ExitCode::from(2);
    }
    Terminal { json }.fail(&Error::new(ErrorKind::InvalidOption, sentence(usage)))
}

/// Clap's words for what is wrong and what would help, on one line.
fn sentence(usage: &clap::Error) -> String {
    let text = usage.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let words = text.split("\n\nUsage:").next().unwrap_or(text);
    let words = words.split("\n\nFor more information").next().unwrap_or(words);
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{line}; see `imprint --help`")
}
