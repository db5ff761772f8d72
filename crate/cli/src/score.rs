//! `imprint score`: how well a model predicts a text.
//!
//! Each token but the first is predicted from those before it. Texts longer than the context are read in windows of it
//! that overlap by half: every token but those of the first window has at least half a context before it.

use std::{fmt, path::PathBuf};

use imprint_core::{Error, ErrorKind, Result, generate::Mode};
use pollster::block_on;
use serde::Serialize;

use crate::{
    adapter::AdapterArgs,
    model::{self, DeviceInfo, ModelArgs},
    terminal::{Terminal, read_text},
};

/// What to score.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Multiplies what the adapter adds, from 0 to 2 [default: 1].
    #[arg(long, value_name = "S", requires = "adapter", allow_negative_numbers = true)]
    strength: Option<f32>,
    #[command(flatten)]
    input: Input,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Input {
    /// The text, `-` for standard input; a beginning-of-text token goes before it if the model wants one.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Token ids to score as they are, a JSON list, `-` for standard input.
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    /// Ids read, the first included.
    tokens: usize,
    /// Negative log-likelihood in nats of each id after the first.
    nll: Vec<f32>,
    mean_nll: f64,
    /// Over the characters that the predicted tokens decode to; `null` where there are none.
    bits_per_char: Option<f64>,
    /// Ids a window holds.
    context_tokens: usize,
    device: DeviceInfo,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "tokens               {}", self.tokens)?;
        writeln!(f, "mean nll             {:.4} nats a predicted token", self.mean_nll)?;
        if let Some(bits) = self.bits_per_char {
            writeln!(f, "bits per character   {bits:.4}")?;
        }
        write!(f, "perplexity           {:.2}", self.mean_nll.exp())
    }
}

/// Scores a text or ids.
///
/// # Errors
/// What opening the model and the adapter gives, `text-too-short` under two tokens, `invalid-option` for a file that holds no text or
/// no ids of the model, `cancelled` after an interrupt.
pub fn run(args: &Args, terminal: &Terminal) -> Result<()> {
    let ids = args.input.ids.as_ref().map(|path| read_text(path).and_then(|text| parse_ids(&text))).transpose()?;
    let text = args.input.text.as_ref().map(|path| read_text(path)).transpose()?;
    args.strength.map_or(Ok(()), |strength| Mode::Scale.check(strength))?;
    args.adapter.check()?;
    let mut opened = model::open(&args.model, terminal)?;
    args.adapter.attach(&mut opened.model, &args.model, terminal)?;
    let model = &opened.model;
    let ids = match (ids, text) {
        (Some(ids), _) => ids,
        (None, text) => model.encode_text(&text.unwrap_or_default())?,
    };
    let mut progress = terminal.progress("scoring");
    let total = ids.len() as u64 - u64::from(!ids.is_empty());
    let nll = block_on(model.score_at(&ids, args.strength, &mut async |done| progress.advance(done as u64, total)))?;
    drop(progress);
    let sum: f64 = nll.iter().map(|&nll| f64::from(nll)).sum();
    let characters = model.tokenizer.decode(&ids[1..]).chars().count();
    terminal.report(&Report {
        tokens: ids.len(),
        mean_nll: sum / nll.len() as f64,
        bits_per_char: (characters > 0).then(|| sum / std::f64::consts::LN_2 / characters as f64),
        nll,
        context_tokens: model.capacity,
        device: opened.device,
    })
}

fn parse_ids(text: &str) -> Result<Vec<u32>> {
    serde_json::from_str(text).map_err(|e| {
        let message = format!("--ids holds no JSON list of token ids ({e}); give one such as [504, 3575, 282]");
        Error::new(ErrorKind::InvalidOption, message)
    })
}
