//! `imprint write`: continues a prompt, word by word.

use std::{fmt, path::PathBuf, sync::Arc, time::Instant};

use imprint_core::{
    Error, ErrorKind, Result,
    generate::{Guard, LanguageModel, Mode, Pace, Session, WriteOptions},
    preview::Share,
    sample::Sampling,
    voice::Prints,
};
use serde::Serialize;

use crate::{
    adapter::AdapterArgs,
    model::{self, DeviceInfo, ModelArgs},
    terminal::{Terminal, interrupted, read_text},
};

/// What to write.
#[derive(clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// How strongly the adapter speaks, to 3 in a contrast and to 2 scaled: 0 is the model alone, 1 the adapter as it was
    /// learned [default: 1.5].
    #[arg(long, value_name = "S", requires = "adapter")]
    strength: Option<f32>,
    /// How the strength is applied [default: contrast on the GPU, scale on the CPU].
    #[arg(long, value_name = "MODE", requires = "adapter", value_parser = ["contrast", "scale"])]
    mode: Option<String>,
    /// Repeat at most so many words in a row of the text the adapter was learned from, 7 or more.
    #[arg(long, value_name = "N", requires = "adapter")]
    max_copied_words: Option<usize>,
    /// Keep names out that stand in that text and that the model alone would hardly write.
    #[arg(long, requires = "adapter")]
    without_names: bool,
    #[command(flatten)]
    prompt: Prompt,
    /// Most tokens to write.
    #[arg(long, value_name = "N", default_value_t = WriteOptions::default().max_tokens)]
    max_tokens: usize,
    /// Divides the scores; 0 always takes the likeliest token.
    #[arg(long, value_name = "T", default_value_t = Sampling::default().temperature)]
    temperature: f32,
    /// Only this many likeliest tokens compete; 0 is off.
    #[arg(long, value_name = "K", default_value_t = Sampling::default().top_k)]
    top_k: u32,
    /// Only the likeliest tokens that together hold this probability compete; 1 is off.
    #[arg(long, value_name = "P", default_value_t = Sampling::default().top_p)]
    top_p: f32,
    /// Only tokens with at least this share of the likeliest one's probability compete; 0 is off.
    #[arg(long, value_name = "P", default_value_t = Sampling::default().min_p)]
    min_p: f32,
    /// Makes tokens already in the text less likely; 1 is off. As in the page, a little by itself: small models go in circles.
    #[arg(long, value_name = "R", default_value_t = 1.1)]
    repetition_penalty: f32,
    /// Same seed, same device, same text.
    #[arg(long, value_name = "N", default_value_t = Sampling::default().seed)]
    seed: u32,
    /// End before this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Answer the prompt as a message, by the model's chat template, in place of continuing it.
    #[arg(long)]
    chat: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Prompt {
    /// The text to continue.
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// A file with the text to continue, exactly as it stands there; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
}

/// What was written, and how.
#[derive(Serialize)]
struct Report {
    text: String,
    ids: Vec<u32>,
    /// Tokens after the first, by the time since it; `null` where there is no second.
    tokens_per_s: Option<f64>,
    finish: &'static str,
    prompt_tokens: usize,
    /// What of the text stands in the one the adapter was learned from; `null` where that is not known.
    copied: Option<Share>,
    device: DeviceInfo,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let speed = self.tokens_per_s.map(|speed| format!("{speed:.1} tokens/s, ")).unwrap_or_default();
        let device = &self.device.description;
        let copied = self.copied.filter(|copied| copied.longest > 0);
        let copied = copied.map(|copied| format!("copied {} words in a row, ", copied.longest)).unwrap_or_default();
        write!(f, "[{} tokens after {}, {speed}{}, {copied}{device}]", self.ids.len(), self.prompt_tokens, self.finish)
    }
}

/// Writes, streaming to standard output unless JSON is wanted.
///
/// # Errors
/// What opening the model and the adapter gives, `invalid-option`, `context-full` for a prompt that leaves no room, `device-lost`.
pub fn run(args: &Args, terminal: &Terminal) -> Result<()> {
    let mut options = options(args);
    // A wrong option is told before the model is loaded.
    options.sampling.check()?;
    options.strength.map_or(Ok(()), |strength| options.mode.unwrap_or(Mode::Contrast).check(strength))?;
    args.max_copied_words.map_or(Ok(()), Guard::check)?;
    args.adapter.check()?;
    let prompt = match (&args.prompt.prompt, &args.prompt.prompt_file) {
        (Some(prompt), _) => prompt.clone(),
        (None, path) => path.as_deref().map(read_text).transpose()?.unwrap_or_default(),
    };
    let mut opened = model::open(&args.model, terminal)?;
    let prints = args.adapter.attach(&mut opened.model, &args.model, terminal)?;
    options.guard = guard(args, prints.as_ref())?;
    let mut session = opened.model.begin(&prompt, options)?;
    let written = write(&opened.model, &mut session, terminal)?;
    let report = Report {
        copied: prints.map(|prints| prints.copied(&written.text).into()),
        text: written.text,
        tokens_per_s: written.decoding.map(|(tokens, seconds)| tokens as f64 / seconds),
        ids: written.ids,
        finish: written.finish,
        prompt_tokens: written.prompt_tokens,
        device: opened.device,
    };
    if terminal.json {
        return terminal.report(&report);
    }
    if !report.text.ends_with('\n') {
        terminal.print("\n")?;
    }
    terminal.note(&report.to_string());
    Ok(())
}

/// What the text may not say, where something is forbidden.
fn guard(args: &Args, prints: Option<&Arc<Prints>>) -> Result<Option<Guard>> {
    let &Args { max_copied_words: most_copied_words, without_names, .. } = args;
    if most_copied_words.is_none() && !without_names {
        return Ok(None);
    }
    let Some(prints) = prints else {
        let message = "this adapter came without imprint_prints.bin, so copies and names cannot be told; leave \
            --max-copied-words and --without-names out, or learn it again";
        return Err(Error::new(ErrorKind::InvalidOption, message));
    };
    Ok(Some(Guard { prints: Arc::clone(prints), most_copied_words, without_names }))
}

fn options(args: &Args) -> WriteOptions {
    let sampling = Sampling {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        repetition_penalty: args.repetition_penalty,
        seed: args.seed,
    };
    WriteOptions {
        sampling,
        max_tokens: args.max_tokens,
        stop: args.stop.clone(),
        chat: args.chat,
        strength: args.strength,
        mode: args.mode.as_deref().and_then(Mode::from_name),
        guard: None,
    }
}

#[derive(Default)]
struct Written {
    text: String,
    ids: Vec<u32>,
    finish: &'static str,
    prompt_tokens: usize,
    /// Tokens after the first, and the seconds they took.
    decoding: Option<(usize, f64)>,
}

/// Steps until the text is finished or an interrupt comes, which keeps what there is.
fn write(model: &LanguageModel, session: &mut Session, terminal: &Terminal) -> Result<Written> {
    let mut written = Written { finish: "cancelled", ..Written::default() };
    // When the first tokens were there, and how many: reading the prompt is no part of the speed of writing.
    let mut start: Option<(Instant, usize)> = None;
    let mut reading = Some(terminal.progress("reading"));
    let mut pace = Pace::default();
    while !interrupted() {
        let step = model::next(model, session, &mut pace)?;
        if step.prefilled == step.prompt_tokens {
            // Text may follow: the line must be gone.
            reading = None;
        } else if let Some(line) = &mut reading {
            line.show(step.prefilled as u64, step.prompt_tokens as u64);
        }
        if !terminal.json && !step.text.is_empty() {
            terminal.print(&step.text)?;
        }
        written.text.push_str(&step.text);
        written.ids.extend(step.ids);
        written.prompt_tokens = step.prompt_tokens;
        if let Some((since, first)) = start {
            let tokens = written.ids.len() - first;
            written.decoding = (tokens > 0).then(|| (tokens, since.elapsed().as_secs_f64()));
        } else if !written.ids.is_empty() {
            start = Some((Instant::now(), written.ids.len()));
        }
        if let Some(finish) = step.finish {
            written.finish = finish.name();
            break;
        }
    }
    // After an interrupt the last character is still held back.
    let held = model.end(session);
    if !terminal.json && !held.is_empty() {
        terminal.print(&held)?;
    }
    written.text.push_str(&held);
    Ok(written)
}
