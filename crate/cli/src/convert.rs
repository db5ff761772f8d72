//! `imprint convert`: writes an adapter, or a mix of several, in another program's layout.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use imprint_core::{
    Error, ErrorKind, Result,
    config::ModelConfig,
    gguf::Gguf,
    gguf_lora::{self, Beside},
    peft,
};
use pollster::block_on;
use serde::Serialize;

use crate::{
    adapter::{AdapterArgs, CONFIG, PRINTS, Read, TENSORS},
    model::FileSource,
    terminal::Terminal,
};

/// What to convert.
#[derive(clap::Args)]
pub struct Args {
    /// The model that the adapter belongs to, a GGUF file.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Where to: a name that ends in `.gguf` is a file for llama.cpp, any other a folder for PEFT.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Report {
    layout: &'static str,
    rank: usize,
    parameters: usize,
    size_bytes: usize,
    /// Whether the prints of the text came along.
    prints: bool,
    out: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layout, rank, parameters, size_bytes, out, .. } = self;
        write!(f, "{out}: for {layout}, rank {rank}, {parameters} numbers, {:.1} MB", *size_bytes as f64 / 1e6)
    }
}

/// Writes the adapter.
///
/// # Errors
/// What opening the model and the adapter gives; `invalid-option` where no adapter is named or OUT is there already;
/// `storage-full`.
pub fn run(args: &Args, terminal: &Terminal) -> Result<()> {
    args.adapter.check()?;
    let refuse = |message: String| Err(Error::new(ErrorKind::InvalidOption, message));
    let out = &args.out;
    if out.exists() {
        return refuse(format!("{} is there already; give --out a new name", out.display()));
    }
    let config = ModelConfig::from_gguf(&block_on(Gguf::read(&FileSource::open(&args.model)?))?)?;
    let Some(read) = args.adapter.read(&config, &args.model, terminal)? else {
        return refuse("no adapter is named; give --adapter a folder or a GGUF file".into());
    };
    let to_gguf = out.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"));
    let size_bytes = if to_gguf { to_file(out, &read, &config)? } else { to_folder(out, &read, &config)? };
    terminal.report(&Report {
        layout: if to_gguf { "llama.cpp" } else { "PEFT" },
        rank: read.adapter.max_rank(),
        parameters: read.adapter.n_parameters(),
        size_bytes,
        prints: read.prints.is_some(),
        out: out.display().to_string(),
    })
}

fn to_file(out: &Path, read: &Read, config: &ModelConfig) -> Result<usize> {
    let beside = Beside { notes: read.notes.clone(), prints: read.prints.as_ref().map(|prints| prints.to_bytes()) };
    let file = gguf_lora::export(&read.adapter, config, &beside)?;
    fs::write(out, &file).map_err(|e| unwritable(out, e))?;
    Ok(file.len())
}

fn to_folder(out: &Path, read: &Read, config: &ModelConfig) -> Result<usize> {
    let files = peft::export(&read.adapter, config, &read.notes)?;
    let write = || {
        fs::create_dir_all(out)?;
        fs::write(out.join(CONFIG), &files.config_json)?;
        fs::write(out.join(TENSORS), &files.safetensors)?;
        read.prints.as_ref().map_or(Ok(()), |prints| fs::write(out.join(PRINTS), prints.to_bytes()))
    };
    write().map_err(|e| unwritable(out, e))?;
    Ok(files.config_json.len() + files.safetensors.len())
}

fn unwritable(out: &Path, e: io::Error) -> Error {
    let message = format!("{} cannot be written: {e}; free some space or name another --out", out.display());
    Error::new(ErrorKind::StorageFull, message).with_source(e)
}
