//! An open model: writing, scoring, testing itself, closing.

use std::cell::RefCell;

use imprint_core::{
    Error, ErrorKind, Result,
    config::ModelConfig,
    generate::{Backend, LanguageModel, Pace, Session, Step, WriteOptions},
    gguf::{Gguf, Source},
    needs::Needs,
    sample::Sampling,
    tokenizer::{Tokenizer, Vocabulary},
};
use serde::{Deserialize, Serialize};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{AbortSignal, Blob};

use crate::{
    device::{self, Choice, DeviceInfo},
    fetch::{self, Fetched, Wanted},
    learn::{self, Hooks, LearnOptions, Learned, Planned},
    selftest,
    source::{BlobSource, Expected, checked_sha256, verify},
    store::{
        adapters::{AdapterInfo, Files},
        models,
    },
    voice::{self, Voice, Wardrobe, Weighed},
    web::{self, check_signal, now_ms},
};

/// Longest text by default: more costs GPU memory for each token.
pub const CONTEXT: usize = 2048;

/// How a model is opened.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpenOptions {
    device: Choice,
    sha256: Option<String>,
    context_tokens: Option<usize>,
    /// Whether to measure which kernels are fastest; once for a GPU, where it is left out.
    measure_kernels: Option<bool>,
    /// Memory of this device, where that is known.
    most_bytes: Option<f64>,
}

impl OpenOptions {
    fn most_bytes(&self) -> Option<u64> {
        self.most_bytes.map(|bytes| bytes as u64)
    }
}

/// How text is written; what is left out has the core's default.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    max_tokens: Option<usize>,
    temperature: Option<f32>,
    top_k: Option<u32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    seed: Option<u32>,
    stop: Option<Vec<String>>,
    chat: Option<bool>,
    max_copied_words: Option<usize>,
    without_names: Option<bool>,
}

/// How far opening has come.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    phase: &'static str,
    // Numbers of JavaScript.
    done_bytes: f64,
    total_bytes: f64,
    from_cache: bool,
}

/// What the model's file says about itself.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelInfo {
    /// The model's own name.
    pub name: String,
    architecture: String,
    parameters: f64,
    size_bytes: f64,
    context_tokens: usize,
    /// The SHA-256 of the file in hex.
    pub fingerprint: String,
    stored: bool,
}

/// One step of writing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    text: String,
    /// The text by what is copied of it, where the adapter came with prints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pieces: Vec<Piece>,
    tokens: usize,
    prompt_tokens: usize,
    prefilled: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish: Option<&'static str>,
}

/// Text that stands inside a copied run, or does not.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Piece {
    text: String,
    /// Where the run begins, in UTF-16 units of all that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    copied_from: Option<usize>,
}

/// How well the model foresees a text.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Score {
    tokens: usize,
    nll: f64,
    bits_per_char: f64,
}

/// Counters for measuring.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    dispatches_per_token: usize,
    gpu_bytes: f64,
    gpu_weight_bytes: f64,
    wasm_bytes: f64,
}

/// A model with its device, open until closed.
pub struct Engine {
    state: RefCell<State>,
    device: DeviceInfo,
    info: ModelInfo,
}

enum State {
    Ready(Box<Open>),
    /// A call has the model; it gives it back, or drops it if the state has become `Closed` meanwhile.
    Busy,
    Closed,
}

/// What a call works on.
pub struct Open {
    pub(crate) model: LanguageModel,
    pub(crate) source: BlobSource,
    pub(crate) wardrobe: Wardrobe,
    session: Option<Session>,
    /// What the text has so far, where an adapter has prints.
    written: String,
    pace: Pace,
}

/// A model as the caller names it.
pub enum Named {
    /// By its absolute address.
    Url(String),
    /// A file that the browser holds.
    Blob(Blob),
}

impl Named {
    /// What JavaScript gave.
    ///
    /// # Errors
    /// `invalid-option` for what is neither.
    pub fn from_js(model: JsValue) -> Result<Self> {
        if let Some(url) = model.as_string() {
            return Ok(Self::Url(url));
        }
        let blob = model.dyn_into::<Blob>().map(Self::Blob);
        blob.map_err(|_| Error::new(ErrorKind::InvalidOption, "the model is neither an address nor a Blob or File"))
    }
}

impl Engine {
    /// Finds or fetches the model and loads it.
    ///
    /// # Errors
    /// As [`fetch::model`] and [`device::load`]; `invalid-option` for options out of range.
    pub async fn open(
        model: Named,
        options: OpenOptions,
        on_progress: &dyn Fn(Progress),
        signal: Option<&AbortSignal>,
    ) -> Result<Self> {
        let sha256 = checked_sha256(options.sha256.as_deref())?;
        check_signal(signal)?;
        let url = if let Named::Url(url) = &model { Some(url.clone()) } else { None };
        let fetched = get(model, sha256.as_deref(), &options, on_progress, signal).await?;
        let loaded = Self::load(fetched, &options, on_progress, signal).await;
        if let (Err(error), Some(url)) = (&loaded, url)
            && error.kind() == ErrorKind::ModelCorrupt
        {
            models::forget(&url, false).await?;
        }
        loaded
    }

    async fn load(
        fetched: Fetched,
        options: &OpenOptions,
        on_progress: &dyn Fn(Progress),
        signal: Option<&AbortSignal>,
    ) -> Result<Self> {
        let Fetched { source, sha256, from_cache, stored } = fetched;
        let tell = |phase, done: u64, total: u64| on_progress(Progress::new(phase, done, total, from_cache));
        let size_bytes = source.size_bytes();
        tell("load", 0, size_bytes);
        let gguf = Gguf::read(&source).await?;
        check_signal(signal)?;
        let config = ModelConfig::from_gguf(&gguf)?;
        let tokenizer = Tokenizer::new(Vocabulary::from_gguf(&gguf))?;
        let capacity = capacity(options.context_tokens, config.context)?;
        let needs = Needs::of(&gguf, &config, capacity);
        fetch::check_memory(needs.gpu_bytes.min(needs.cpu_bytes), options.most_bytes())?;
        let mut on_tensor = |done, total| {
            let phase = if done < total { "load" } else { "compile" };
            tell(phase, done, total);
            check_signal(signal)
        };
        let (backend, device) =
            device::load((options.device, options.measure_kernels), &gguf, &source, capacity, &mut on_tensor).await?;
        check_signal(signal)?;
        let info = ModelInfo {
            name: config.name.clone(),
            architecture: config.architecture.clone(),
            parameters: gguf.tensors().iter().map(|t| t.n_weights() as f64).sum(),
            size_bytes: size_bytes as f64,
            context_tokens: capacity,
            fingerprint: sha256,
            stored,
        };
        tell("ready", size_bytes, size_bytes);
        let model = LanguageModel::new(tokenizer, backend, capacity);
        let open = Open {
            model,
            source,
            wardrobe: Wardrobe::default(),
            session: None,
            written: String::new(),
            pace: Pace::default(),
        };
        Ok(Self { state: RefCell::new(State::Ready(Box::new(open))), device, info })
    }

    /// The device that computes.
    pub fn device(&self) -> &DeviceInfo {
        &self.device
    }

    /// The model's own description.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Begins a text; the one before is over.
    ///
    /// # Errors
    /// As [`LanguageModel::begin`]; `device-lost`.
    pub async fn begin(&self, prompt: &str, options: Options, wanted: voice::Wanted) -> Result<()> {
        self.call(async |open| {
            open.session = None;
            open.check_gpu()?;
            let voice = open.dress(&self.info, wanted).await?;
            let guard = open.guard(options.max_copied_words, options.without_names.unwrap_or(false))?;
            open.written = String::new();
            let options = WriteOptions { strength: voice.strength, mode: voice.mode, guard, ..options.into() };
            open.session = Some(open.model.begin(prompt, options)?);
            Ok(())
        })
        .await
    }

    /// Reads some of the prompt, or writes the next piece.
    ///
    /// # Errors
    /// As [`LanguageModel::next`], after which the text is over and another can begin.
    pub async fn next(&self) -> Result<Written> {
        self.call(async |open| open.next().await).await
    }

    /// Ends the text being written before its time and gives what was held back of it; empty where none is being written.
    ///
    /// # Errors
    /// `internal` while a call runs or after closing.
    pub fn end(&self) -> Result<String> {
        match &mut *self.state.borrow_mut() {
            State::Ready(open) => {
                let session = open.session.take();
                Ok(session.map(|mut session| open.model.end(&mut session)).unwrap_or_default())
            }
            other => Err(other.refusal()),
        }
    }

    /// Scores a text; the text being written is over, since both need the cache.
    ///
    /// # Errors
    /// As [`LanguageModel::score`]; `cancelled`.
    pub async fn score(&self, text: &str, wanted: voice::Wanted, signal: Option<&AbortSignal>) -> Result<Score> {
        self.call(async |open| {
            open.session = None;
            open.dress(&self.info, wanted).await?;
            open.score(text, signal).await
        })
        .await
    }

    /// Tells what learning would do: see [`learn::plan`].
    ///
    /// # Errors
    /// As [`learn::plan`].
    pub async fn plan(&self, documents: &JsValue, options: &LearnOptions) -> Result<Planned> {
        self.call(async |open| learn::plan(open, documents, options)).await
    }

    /// Learns an adapter: see [`learn::begin`].
    ///
    /// # Errors
    /// As [`learn::begin`].
    pub async fn learn(&self, documents: &JsValue, options: &LearnOptions, hooks: &Hooks<'_>) -> Result<Learned> {
        self.call(async |open| {
            open.session = None;
            open.bare();
            learn::begin(open, &self.info, documents, options, hooks).await
        })
        .await
    }

    /// Goes on with a run: see [`learn::resume`].
    ///
    /// # Errors
    /// As [`learn::resume`].
    pub async fn resume(&self, run: &str, hooks: &Hooks<'_>) -> Result<Learned> {
        self.call(async |open| {
            open.session = None;
            open.bare();
            learn::resume(open, &self.info, run, hooks).await
        })
        .await
    }

    /// Writes with these adapters from now on; the text being written is over.
    ///
    /// # Errors
    /// As [`Open::put_on`].
    pub async fn use_adapters(&self, adapters: Vec<Weighed>, voice: Voice) -> Result<()> {
        self.call(async |open| {
            open.session = None;
            open.put_on(&self.info, adapters, voice).await
        })
        .await
    }

    /// Takes an adapter in: see [`voice::take_in`].
    ///
    /// # Errors
    /// As [`voice::take_in`].
    pub async fn import_adapter(&self, files: Files, told: JsValue) -> Result<AdapterInfo> {
        self.call(async |open| voice::take_in(open, &self.info, files, &told).await).await
    }

    /// Takes an adapter in from llama.cpp's file: see [`voice::take_in_gguf`].
    ///
    /// # Errors
    /// As [`voice::take_in_gguf`].
    pub async fn import_gguf(&self, file: Blob, told: JsValue) -> Result<AdapterInfo> {
        self.call(async |open| voice::take_in_gguf(open, &self.info, file, &told).await).await
    }

    /// Gives an adapter as llama.cpp's file: see [`voice::to_gguf`].
    ///
    /// # Errors
    /// As [`voice::to_gguf`].
    pub async fn export_gguf(&self, id: &str) -> Result<Vec<u8>> {
        self.call(async |open| voice::to_gguf(open, &self.info, id).await).await
    }

    /// Compares the fused path with the plain one: see [`crate::selftest`].
    ///
    /// # Errors
    /// Whatever loading or computing reports.
    pub async fn self_test(&self, prompt: Option<String>, all_cuts: bool) -> Result<selftest::Report> {
        self.call(async |open| {
            open.session = None;
            selftest::run(open, prompt.as_deref(), all_cuts).await
        })
        .await
    }

    /// Learns a few steps and keeps nothing: see [`selftest::learning`].
    ///
    /// # Errors
    /// As [`selftest::learning::run`].
    pub async fn learning_test(
        &self,
        options: &selftest::learning::Options,
        parameters: Option<Vec<f32>>,
        on_step: &dyn Fn(usize),
        signal: Option<&AbortSignal>,
    ) -> Result<selftest::learning::Report> {
        self.call(async |open| {
            open.session = None;
            open.bare();
            selftest::learning::run(open, options, parameters, on_step, signal).await
        })
        .await
    }

    /// The counters.
    ///
    /// # Errors
    /// `internal` while a call runs or after closing.
    pub fn stats(&self) -> Result<Stats> {
        match &*self.state.borrow() {
            State::Ready(open) => Ok(open.stats()),
            other => Err(other.refusal()),
        }
    }

    /// Frees the model: at once, or when the running call settles.
    pub fn close(&self) {
        *self.state.borrow_mut() = State::Closed;
    }

    /// Lends the model to `work`.
    async fn call<T>(&self, work: impl AsyncFnOnce(&mut Open) -> Result<T>) -> Result<T> {
        let mut open = self.take()?;
        let result = work(&mut open).await;
        let mut state = self.state.borrow_mut();
        if matches!(*state, State::Busy) {
            *state = State::Ready(open);
        }
        result
    }

    fn take(&self) -> Result<Box<Open>> {
        let mut state = self.state.borrow_mut();
        match std::mem::replace(&mut *state, State::Busy) {
            State::Ready(open) => Ok(open),
            other => {
                let refusal = other.refusal();
                *state = other;
                Err(refusal)
            }
        }
    }
}

impl State {
    fn refusal(&self) -> Error {
        let what = match self {
            State::Closed => "the model is closed; open it again",
            _ => "another call is still running; wait until it settles",
        };
        Error::new(ErrorKind::Internal, what)
    }
}

impl Open {
    /// Refuses to go on after the GPU went away.
    fn check_gpu(&self) -> Result<()> {
        match &self.model.backend {
            Backend::Fused(model) => model.gpu.check(),
            Backend::Processor(_) => Ok(()),
        }
    }

    async fn next(&mut self) -> Result<Written> {
        let no_text = || Error::new(ErrorKind::Internal, "no text is begun; call begin first");
        let mut session = self.session.take().ok_or_else(no_text)?;
        self.pace.set(&mut session);
        let started_ms = now_ms();
        let step = self.model.next(&mut session).await?;
        self.pace.note(&step, now_ms() - started_ms);
        let pieces = if self.wardrobe.prints() { self.pieces(&step) } else { Vec::new() };
        if step.finish.is_none() {
            self.session = Some(session);
        }
        let Step { text, tokens, prompt_tokens, prefilled, finish, .. } = step;
        Ok(Written { text, pieces, tokens, prompt_tokens, prefilled, finish: finish.map(|finish| finish.name()) })
    }

    /// What a step wrote, with places as JavaScript counts them.
    fn pieces(&mut self, step: &Step) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for (text, begins) in step.pieces() {
            self.written.push_str(text);
            let units = |at| self.written.get(..at).map(|before: &str| before.encode_utf16().count());
            pieces.push(Piece { text: text.to_owned(), copied_from: begins.and_then(units) });
        }
        pieces
    }

    async fn score(&self, text: &str, signal: Option<&AbortSignal>) -> Result<Score> {
        let ids = self.model.encode_text(text)?;
        let mut on_window = async |_| {
            // On the processor nothing else lets a cancel in.
            web::breathe().await;
            check_signal(signal)
        };
        let nll = self.model.score(&ids, &mut on_window).await?;
        let sum: f64 = nll.iter().map(|&nll| f64::from(nll)).sum();
        // The first token is not predicted, so its characters do not count.
        let chars = self.model.tokenizer.decode(&ids[1..]).chars().count();
        let bits_per_char = sum / std::f64::consts::LN_2 / chars.max(1) as f64;
        Ok(Score { tokens: ids.len(), nll: sum / nll.len() as f64, bits_per_char })
    }

    fn stats(&self) -> Stats {
        let wasm_bytes = web::wasm_bytes() as f64;
        let (dispatches_per_token, gpu_bytes, gpu_weight_bytes) = match &self.model.backend {
            Backend::Fused(model) => {
                (model.dispatches_per_token(), model.gpu.allocated_bytes() as f64, model.weight_bytes() as f64)
            }
            Backend::Processor(_) => (0, 0.0, 0.0),
        };
        Stats { dispatches_per_token, gpu_bytes, gpu_weight_bytes, wasm_bytes }
    }
}

impl Progress {
    fn new(phase: &'static str, done: u64, total: u64, from_cache: bool) -> Self {
        Self { phase, done_bytes: done as f64, total_bytes: total as f64, from_cache }
    }
}

impl From<Options> for WriteOptions {
    fn from(given: Options) -> Self {
        let (options, sampling) = (Self::default(), Sampling::default());
        Self {
            sampling: Sampling {
                temperature: given.temperature.unwrap_or(sampling.temperature),
                top_k: given.top_k.unwrap_or(sampling.top_k),
                top_p: given.top_p.unwrap_or(sampling.top_p),
                min_p: given.min_p.unwrap_or(sampling.min_p),
                repetition_penalty: given.repetition_penalty.unwrap_or(sampling.repetition_penalty),
                seed: given.seed.unwrap_or(sampling.seed),
            },
            max_tokens: given.max_tokens.unwrap_or(options.max_tokens),
            stop: given.stop.unwrap_or(options.stop),
            chat: given.chat.unwrap_or(options.chat),
            ..options
        }
    }
}

async fn get(
    model: Named,
    sha256: Option<&str>,
    options: &OpenOptions,
    on_progress: &dyn Fn(Progress),
    signal: Option<&AbortSignal>,
) -> Result<Fetched> {
    match model {
        Named::Url(url) => {
            let on_progress = |phase, done, total| on_progress(Progress::new(phase, done, total, false));
            let (expected, most_bytes) = (sha256.map(Expected::Told), options.most_bytes());
            fetch::model(&Wanted { url: &url, expected, most_bytes, signal, on_progress: &on_progress }).await
        }
        Named::Blob(blob) => {
            let source = BlobSource::new(blob);
            let total = source.size_bytes();
            let told = |done| on_progress(Progress::new("verify", done, total, true));
            let sha256 = verify(&source, sha256, signal, &told).await?;
            Ok(Fetched { source, sha256, from_cache: true, stored: false })
        }
    }
}

fn capacity(wanted: Option<usize>, context: usize) -> Result<usize> {
    match wanted {
        Some(0 | 1) => {
            Err(Error::new(ErrorKind::InvalidOption, "the context must hold at least 2 tokens, more is better"))
        }
        Some(wanted) => Ok(wanted.min(context)),
        None => Ok(CONTEXT.min(context)),
    }
}
