//! `imprint tokenize`: the ids of a text.

use std::{fmt, path::PathBuf};

use imprint_core::{
    Result,
    gguf::Gguf,
    tokenizer::{Tokenizer, Vocabulary},
};
use pollster::block_on;
use serde::Serialize;

use crate::{
    model::{FileSource, Having},
    terminal::{Terminal, read_text},
};

/// What to tokenize.
#[derive(clap::Args)]
pub struct Args {
    /// The model: a GGUF file, a name that `imprint models` lists, or an address.
    #[arg(long, value_name = "FILE|NAME|URL")]
    model: String,
    #[command(flatten)]
    having: Having,
    /// The text, `-` for standard input.
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Turn the names of control tokens into those tokens; else they are text like any other.
    #[arg(long)]
    special: bool,
}

#[derive(Serialize)]
struct Report {
    ids: Vec<u32>,
    #[serde(skip)]
    pieces: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, piece) in self.ids.iter().zip(&self.pieces) {
            writeln!(f, "{id:6}  {piece:?}")?;
        }
        write!(f, "{} tokens", self.ids.len())
    }
}

/// Prints the ids of a text.
///
/// # Errors
/// `model-unreachable`, `model-corrupt` or `model-unsupported` for the file, `invalid-option` for the text.
pub fn run(args: &Args, terminal: &Terminal) -> Result<()> {
    let gguf = block_on(Gguf::read(&FileSource::open(args.having.path(&args.model, terminal)?)?))?;
    let tokenizer = Tokenizer::new(Vocabulary::from_gguf(&gguf))?;
    let text = read_text(&args.text)?;
    let ids = if args.special { tokenizer.encode_with_specials(&text)? } else { tokenizer.encode(&text)? };
    let pieces = ids.iter().map(|&id| tokenizer.decode(&[id])).collect();
    terminal.report(&Report { ids, pieces })
}
