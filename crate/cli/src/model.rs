//! Opening a model: its file, its tokenizer, and a device to run it on.

mod having;
mod kernels;

pub use having::{Having, free_bytes, shelf};

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Instant,
};

use clap::ValueEnum;
use imprint_core::{
    Error, ErrorKind, Result,
    config::ModelConfig,
    fused::{FusedModel, Variant, check_kernels},
    generate::{Backend, LanguageModel, Pace, Session, Step},
    gguf::{Gguf, Source},
    kernels::gpu::{Gpu, GpuOptions, software_reason},
    processor::{self, Processor},
    tokenizer::{Tokenizer, Vocabulary},
    weights::load_packed,
};
use pollster::block_on;
use serde::Serialize;
use sha2::{Digest, Sha256};

use self::kernels::Kernels;
use crate::terminal::Terminal;

/// Longest text, in tokens, where `--context` names none and the model takes more: its cache must fit small GPUs.
const DEFAULT_CONTEXT: usize = 2048;

/// A model and where to run it.
#[derive(clap::Args)]
pub struct ModelArgs {
    /// The model: a GGUF file, a name that `imprint models` lists, or an address.
    #[arg(long, value_name = "FILE|NAME|URL")]
    model: String,
    #[command(flatten)]
    having: Having,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    pub device: Choice,
    /// Longest text in tokens [default: what the model was trained on, at most 2048].
    #[arg(long, value_name = "TOKENS")]
    pub context: Option<usize>,
}

impl ModelArgs {
    /// The model's file, fetched if need be.
    ///
    /// # Errors
    /// As [`Having::path`].
    pub fn path(&self, terminal: &Terminal) -> Result<&Path> {
        self.having.path(&self.model, terminal)
    }
}

/// Which device to compute on.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// The GPU if there is a real one that runs the model, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU, real or in software, or an error.
    Gpu,
}

/// The device that computes.
#[derive(Debug, Serialize)]
pub struct DeviceInfo {
    /// `cpu` or `gpu`.
    pub kind: &'static str,
    /// Its name for people.
    pub description: String,
    /// Why it is not the GPU, where the choice was free.
    pub reason: Option<String>,
}

/// A model that is ready to write.
pub struct Opened {
    /// The model.
    pub model: LanguageModel,
    /// What it runs on.
    pub device: DeviceInfo,
    /// Memory its weights take.
    pub weight_bytes: u64,
    /// GPU dispatches a written token takes; none on the CPU.
    pub dispatches_per_token: usize,
}

/// A model file, read where it is needed and never held.
pub struct FileSource {
    file: File,
    path: PathBuf,
    size_bytes: u64,
}

impl FileSource {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// `model-unreachable` when there is no such file or it may not be read.
    pub fn open(path: &Path) -> Result<Self> {
        let unreachable = |e: io::Error| {
            let message = format!("{} cannot be opened: {e}; check the path to the model", path.display());
            Error::new(ErrorKind::ModelUnreachable, message).with_source(e)
        };
        let file = File::open(path).map_err(unreachable)?;
        let metadata = file.metadata().map_err(unreachable)?;
        if !metadata.is_file() {
            let message = format!("{} is not a file; name the model's GGUF file", path.display());
            return Err(Error::new(ErrorKind::ModelUnreachable, message));
        }
        Ok(Self { file, path: path.to_owned(), size_bytes: metadata.len() })
    }
}

impl Source for FileSource {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        read_exact_at(&self.file, &mut bytes, offset).map_err(|e| {
            let message = format!("{} cannot be read at byte {offset}: {e}; open it again", self.path.display());
            Error::new(ErrorKind::ModelUnreachable, message).with_source(e)
        })?;
        Ok(bytes)
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                bytes = &mut bytes[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}

/// The fingerprint that adapters know their model by: the sha256 of its file, in hexadecimal.
///
/// # Errors
/// `model-unreachable` when the file cannot be read, `cancelled` after an interrupt.
pub fn fingerprint(path: &Path, terminal: &Terminal) -> Result<String> {
    const PART: usize = 1 << 22;
    let source = FileSource::open(path)?;
    let mut progress = terminal.progress("fingerprinting");
    let mut hash = Sha256::new();
    for offset in (0..source.size_bytes).step_by(PART) {
        progress.advance(offset, source.size_bytes)?;
        let len = (source.size_bytes - offset).min(PART as u64) as usize;
        hash.update(block_on(source.read_at(offset, len))?);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Opens the model that `args` name on the device they choose.
///
/// # Errors
/// `model-unreachable`, `model-corrupt`, `model-unsupported`, `invalid-option` for a context the model does not have,
/// `cancelled`, and for `--device gpu` `no-webgpu`, `device-lost`, `device-wrong` and `out-of-memory`.
pub fn open(args: &ModelArgs, terminal: &Terminal) -> Result<Opened> {
    open_with(args, GpuOptions::default(), terminal)
}

/// As [`open`], asking more of a GPU.
///
/// # Errors
/// As [`open`].
pub fn open_with(args: &ModelArgs, gpu: GpuOptions, terminal: &Terminal) -> Result<Opened> {
    let source = FileSource::open(args.path(terminal)?)?;
    let gguf = block_on(Gguf::read(&source))?;
    let config = ModelConfig::from_gguf(&gguf)?;
    let capacity = capacity(args.context, &config)?;
    let tokenizer = Tokenizer::new(Vocabulary::from_gguf(&gguf))?;
    let load = Load { gguf: &gguf, source: &source, config: &config, capacity, tokenizer, gpu, terminal };
    match args.device {
        Choice::Cpu => load.on_cpu(None),
        Choice::Gpu => {
            let (model, reason) = load.fused(|_| Ok(()))?;
            Ok(load.with_fused(model, reason))
        }
        Choice::Auto => match load.fused(refuse_software) {
            Ok((model, reason)) => Ok(load.with_fused(model, reason)),
            Err(e) if cpu_may_help(&e) => load.on_cpu(Some(e.to_string())),
            Err(e) => Err(e),
        },
    }
}

/// Leaves a GPU that is a program on the processor to those who ask for it.
fn refuse_software(gpu: &Gpu) -> Result<()> {
    if gpu.software {
        return Err(Error::new(ErrorKind::NoWebgpu, software_reason(&gpu.description)));
    }
    Ok(())
}

/// Whether an error is the GPU's, so that the CPU may do what it could not.
fn cpu_may_help(error: &Error) -> bool {
    use ErrorKind::{DeviceLost, DeviceWrong, Internal, ModelUnsupported, NoWebgpu, OutOfMemory};
    matches!(error.kind(), NoWebgpu | ModelUnsupported | DeviceLost | DeviceWrong | OutOfMemory | Internal)
}

fn capacity(asked: Option<usize>, config: &ModelConfig) -> Result<usize> {
    match asked {
        None => Ok(config.context.min(DEFAULT_CONTEXT)),
        Some(tokens) if (2..=config.context).contains(&tokens) => Ok(tokens),
        Some(tokens) => {
            let message =
                format!("context is {tokens} tokens, it must lie between 2 and the model's {}", config.context);
            Err(Error::new(ErrorKind::InvalidOption, message))
        }
    }
}

/// A file whose header is read and found good.
struct Load<'a> {
    gguf: &'a Gguf,
    source: &'a FileSource,
    config: &'a ModelConfig,
    gpu: GpuOptions,
    capacity: usize,
    tokenizer: Tokenizer,
    terminal: &'a Terminal,
}

impl Load<'_> {
    /// The model on the GPU, and what was wrong with kernels that were tried before.
    fn fused(&self, accept: impl Fn(&Gpu) -> Result<()>) -> Result<(FusedModel, Option<String>)> {
        check_kernels(self.gguf, self.config)?;
        let gpu = block_on(Gpu::request(self.gpu))?;
        accept(&gpu)?;
        let kernels = Kernels::find(&gpu, self.config, self.gguf);
        let mut progress = self.terminal.progress("loading");
        let on_tensor = &mut |done, total| progress.advance(done, total);
        let mut model =
            block_on(FusedModel::load(gpu, self.gguf, self.source, self.capacity, kernels.variant, on_tensor))?;
        drop(progress);
        kernels.choose(&mut model, self.terminal)?;
        let reason = block_on(model.prove(&Variant::OTHERS))?;
        if let Some(reason) = &reason {
            self.terminal.note(reason);
        }
        Ok((model, reason))
    }

    fn with_fused(self, model: FusedModel, reason: Option<String>) -> Opened {
        let device = DeviceInfo { kind: "gpu", description: model.gpu.description.clone(), reason };
        let (weight_bytes, dispatches_per_token) = (model.weight_bytes(), model.dispatches_per_token());
        let model = LanguageModel::new(self.tokenizer, Backend::Fused(Box::new(model)), self.capacity);
        Opened { model, device, weight_bytes, dispatches_per_token }
    }

    fn on_cpu(self, reason: Option<String>) -> Result<Opened> {
        let mut progress = self.terminal.progress("loading");
        let on_tensor = &mut |done, total| progress.advance(done, total);
        let model = block_on(load_packed(self.gguf, self.source, on_tensor))?;
        drop(progress);
        if let Some(reason) = &reason {
            self.terminal.note(&format!("using the CPU: {reason}"));
        }
        // Packed weights stand in memory as they stand in the file.
        let weight_bytes = self.gguf.tensors().iter().map(|tensor| tensor.size_bytes).sum();
        let model =
            LanguageModel::new(self.tokenizer, Backend::Processor(Box::new(Processor::new(model))), self.capacity);
        Ok(Opened { model, device: cpu(reason), weight_bytes, dispatches_per_token: 0 })
    }
}

/// Goes on with a text by as many tokens as the device draws in a moment.
///
/// # Errors
/// As [`LanguageModel::next`].
pub fn next(model: &LanguageModel, session: &mut Session, pace: &mut Pace) -> Result<Step> {
    pace.set(session);
    let start = Instant::now();
    let step = block_on(model.next(session))?;
    pace.note(&step, start.elapsed().as_secs_f64() * 1e3);
    Ok(step)
}

/// The CPU as a device.
pub fn cpu(reason: Option<String>) -> DeviceInfo {
    DeviceInfo { kind: "cpu", description: format!("CPU ({}, {})", std::env::consts::ARCH, processor::name()), reason }
}
