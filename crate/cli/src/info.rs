//! `imprint info`: what a model file holds, and whether it runs here.

use std::{collections::BTreeMap, fmt};

use imprint_core::{
    Error, Result,
    config::ModelConfig,
    fused::check_kernels,
    gguf::Gguf,
    kernels::gpu::{Gpu, GpuOptions},
    tokenizer::{Tokenizer, Vocabulary},
    weights::refuse_unknown,
};
use pollster::block_on;
use serde::Serialize;

use crate::{
    model::{FileSource, Having, cpu},
    terminal::Terminal,
};

/// Which model to show.
#[derive(clap::Args)]
pub struct Args {
    /// The model: a GGUF file, a name that `imprint models` lists, or an address.
    #[arg(value_name = "MODEL")]
    model: String,
    #[command(flatten)]
    having: Having,
}

/// All of it; what the file does not say is `null`.
#[derive(Serialize)]
struct Report {
    name: Option<String>,
    architecture: Option<String>,
    parameters: u64,
    size_bytes: u64,
    gguf_version: u32,
    context_tokens: Option<u64>,
    shape: Option<Shape>,
    /// How many tensors are in each format.
    tensors: BTreeMap<&'static str, usize>,
    tokenizer: Words,
    /// Whether it runs on any path.
    runs: bool,
    paths: Paths,
}

/// Sizes of a model that Imprint runs.
#[derive(Serialize)]
struct Shape {
    n_layers: usize,
    d_model: usize,
    d_ff: usize,
    n_heads: usize,
    n_kv_heads: usize,
    d_head: usize,
    vocab: usize,
}

#[derive(Serialize)]
struct Words {
    model: String,
    pre: String,
    tokens: usize,
    add_bos: bool,
    chat_template: bool,
}

#[derive(Serialize)]
struct Paths {
    cpu: Path,
    gpu: Path,
}

/// Whether a path runs the model: on which device, or why not.
#[derive(Serialize)]
struct Path {
    runs: bool,
    device: Option<String>,
    code: Option<&'static str>,
    reason: Option<String>,
}

impl From<Result<String>> for Path {
    fn from(found: Result<String>) -> Self {
        match found {
            Ok(device) => Self { runs: true, device: Some(device), code: None, reason: None },
            Err(e) => Self { runs: false, device: None, code: Some(e.code()), reason: Some(e.to_string()) },
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.device, &self.reason) {
            (Some(device), _) => write!(f, "runs on {device}"),
            (None, reason) => write!(f, "does not run: {}", reason.as_deref().unwrap_or("unknown")),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = || "not named".to_owned();
        writeln!(f, "name          {}", self.name.clone().unwrap_or_else(unknown))?;
        writeln!(f, "architecture  {}", self.architecture.clone().unwrap_or_else(unknown))?;
        writeln!(f, "parameters    {:.1} million", self.parameters as f64 / 1e6)?;
        writeln!(f, "file          {:.1} MB, GGUF version {}", self.size_bytes as f64 / 1e6, self.gguf_version)?;
        if let Some(context) = self.context_tokens {
            writeln!(f, "context       {context} tokens")?;
        }
        if let Some(s) = &self.shape {
            let Shape { n_layers, d_model, d_ff, n_heads, n_kv_heads, d_head, .. } = s;
            writeln!(f, "shape         {n_layers} layers of width {d_model}, feed-forward {d_ff}")?;
            writeln!(f, "heads         {n_heads} for queries, {n_kv_heads} for keys, of {d_head}")?;
        }
        let tensors: Vec<_> = self.tensors.iter().map(|(format, count)| format!("{count} {format}")).collect();
        writeln!(f, "tensors       {}", tensors.join(", "))?;
        let Words { model, pre, tokens, chat_template, .. } = &self.tokenizer;
        writeln!(f, "tokenizer     {model} {pre}, {tokens} tokens")?;
        writeln!(f, "chat template {}", if *chat_template { "yes" } else { "no" })?;
        writeln!(f, "CPU           {}", self.paths.cpu)?;
        write!(f, "GPU           {}", self.paths.gpu)
    }
}

/// Shows the model.
///
/// # Errors
/// `model-unreachable`, `model-corrupt`, or `model-unsupported` where not even the header can be read; a sound model
/// that Imprint does not run is shown with the reason.
pub fn run(args: &Args, terminal: &Terminal) -> Result<()> {
    let gguf = block_on(Gguf::read(&FileSource::open(args.having.path(&args.model, terminal)?)?))?;
    let architecture = gguf.str("general.architecture").map(str::to_owned);
    let context = architecture.as_ref().and_then(|name| gguf.u64(&format!("{name}.context_length")));
    let mut tensors = BTreeMap::new();
    for tensor in gguf.tensors() {
        *tensors.entry(tensor.ty.name()).or_default() += 1;
    }
    let vocabulary = Vocabulary::from_gguf(&gguf);
    let words = Words {
        model: vocabulary.model.clone(),
        pre: vocabulary.pre.clone(),
        tokens: vocabulary.tokens.len(),
        add_bos: vocabulary.add_bos,
        chat_template: vocabulary.chat_template.is_some(),
    };
    let config = ModelConfig::from_gguf(&gguf);
    let shape = config.as_ref().ok().map(shape);
    let paths = paths(&gguf, config, vocabulary);
    terminal.report(&Report {
        name: gguf.str("general.name").map(str::to_owned),
        architecture,
        parameters: gguf.tensors().iter().map(|tensor| tensor.n_weights()).sum(),
        size_bytes: gguf.size_bytes(),
        gguf_version: gguf.version(),
        context_tokens: context,
        shape,
        tensors,
        tokenizer: words,
        runs: paths.cpu.runs || paths.gpu.runs,
        paths,
    })
}

fn shape(config: &ModelConfig) -> Shape {
    let &ModelConfig { n_layers, d_model, d_ff, n_heads, n_kv_heads, d_head, vocab, .. } = config;
    Shape { n_layers, d_model, d_ff, n_heads, n_kv_heads, d_head, vocab }
}

/// Tries everything short of reading the weights.
fn paths(gguf: &Gguf, config: Result<ModelConfig>, vocabulary: Vocabulary) -> Paths {
    let sound = config.and_then(|config| {
        refuse_unknown(gguf, &config)?;
        Tokenizer::new(vocabulary)?;
        Ok(config)
    });
    match sound {
        Ok(config) => {
            let gpu = check_kernels(gguf, &config)
                .and_then(|()| block_on(Gpu::request(GpuOptions::default())))
                .map(|gpu| gpu.description.clone());
            Paths { cpu: Ok(cpu(None).description).into(), gpu: gpu.into() }
        }
        Err(e) => {
            let again = Error::new(e.kind(), e.to_string());
            Paths { cpu: Err(e).into(), gpu: Err(again).into() }
        }
    }
}
