//! Measures load, speed and memory, natively and in Chromium, beside wllama, and writes `BENCHMARKS.md`.

mod page;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::process::{note, run, step};
use crate::serve::{Server, Site};
use crate::setup::{prepare_build, prepare_tests};
use crate::{Project, model, site};

/// Where the model is served, whatever its name.
const MODEL: &str = "/models/model.gguf";
/// The command line's own text, so that both read the same; each word and stop is one token of the default model.
const TEXT: &str =
    "The sea was calm, the wind was low, and the boat went on along the coast, past the rocks and the light.";

/// How thoroughly to measure.
#[derive(Args, Clone, Debug)]
pub struct Measure {
    /// Only proves that the bench runs: one run of 4 tokens after a prompt of 32.
    #[arg(long)]
    quick: bool,
    /// Tokens to write [default: 32, quick 4].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    tokens: Option<u32>,
    /// Measured runs, of which the medians are told [default: 5, quick 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// How the command line is compiled: `dev`, as the tests have it, or `release`, which takes long the first time.
    #[arg(long, value_enum, default_value_t = Profile::Dev)]
    native: Profile,
    /// Where to write the result.
    #[arg(long, value_name = "PATH", default_value = "BENCHMARKS.md")]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Profile {
    Dev,
    Release,
}

impl Measure {
    fn prompt(&self) -> u32 {
        if self.quick { 32 } else { 256 }
    }

    fn tokens(&self) -> u32 {
        self.tokens.unwrap_or(if self.quick { 4 } else { 32 })
    }

    fn runs(&self) -> u32 {
        self.runs.unwrap_or(if self.quick { 1 } else { 5 })
    }

    /// The command that measures the same again.
    fn command(&self, dev: bool) -> String {
        let quick = if self.quick { " --quick" } else { "" };
        let native = if self.native == Profile::Release { " --native release" } else { "" };
        let dev = if dev { " --dev" } else { "" };
        format!("cargo xtask bench{quick} --tokens {} --runs {}{native}{dev}", self.tokens(), self.runs())
    }
}

/// One measured text.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sample {
    load_ms: f64,
    prefill_tokens_per_s: f64,
    decode_tokens_per_s: f64,
    cpu_s_per_token: Option<f64>,
}

/// What one engine on one device did.
#[derive(Clone, Debug, Default)]
struct Column {
    title: String,
    device: String,
    /// Why there are no samples.
    failure: Option<String>,
    samples: Vec<Sample>,
    first_load_ms: Option<f64>,
    prompt_tokens: u64,
    tokens: u64,
    dispatches_per_token: Option<u64>,
    gpu_weight_bytes: Option<u64>,
    wasm_heap_bytes: Option<u64>,
    /// The native process, or the page's.
    peak_bytes: Option<u64>,
    gpu_peak_bytes: Option<u64>,
}

/// What the command line prints for one run.
#[derive(Deserialize)]
struct Native {
    load_ms: f64,
    prefill_tokens_per_s: f64,
    decode_tokens_per_s: f64,
    dispatches_per_token: u64,
    peak_bytes: Option<u64>,
    weight_bytes: u64,
    cpu_s_per_token: Option<f64>,
    prompt_tokens: u64,
    tokens: u64,
    device: NativeDevice,
}

#[derive(Deserialize)]
struct NativeDevice {
    description: String,
}

/// What the browser half writes.
#[derive(Deserialize)]
struct Browser {
    chromium: String,
    isolated: bool,
    engines: Vec<InPage>,
    wasm: HashMap<String, Size>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InPage {
    key: String,
    samples: Vec<Sample>,
    first_load_ms: f64,
    opened: Option<Opened>,
    written: Option<Written>,
    failure: Option<String>,
    peak: Peak,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Opened {
    device: String,
    dispatches_per_token: Option<u64>,
    gpu_weight_bytes: Option<f64>,
    wasm_bytes: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    prompt_tokens: u64,
    tokens: u64,
}

#[derive(Deserialize)]
struct Peak {
    page: Option<u64>,
    gpu: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Size {
    raw: u64,
    brotli: u64,
}

/// Everything that the result tells.
struct Report<'a> {
    measure: &'a Measure,
    /// Whether the wasm module was built quickly.
    dev: bool,
    machine: Machine,
    commit: String,
    model: String,
    model_bytes: u64,
    chromium: String,
    isolated: bool,
    wllama: String,
    columns: Vec<Column>,
    wasm: HashMap<String, Size>,
}

/// What the numbers were taken on.
struct Machine {
    cpu: String,
    cores: usize,
    memory_bytes: Option<u64>,
    /// Processes that were running or waiting, over the last 1, 5 and 15 minutes, before the first measurement.
    load: Option<String>,
}

/// Builds, measures and writes the result.
///
/// # Errors
/// When a build fails or nothing can be measured; an engine that fails in the browser is told in the result instead.
pub fn run_bench(project: &Project, measure: &Measure) -> Result<()> {
    let commit = commit(project)?;
    let tools = prepare_build(project)?;
    let extra = prepare_tests(project)?;
    let model = model::ensure(project)?;
    site::build(project, &tools)?;
    let program = build_native(project, measure.native)?;
    // Before our own work is in it.
    let machine = Machine::look();
    step("Bench: native");
    let mut columns = native(&program, &model, measure)?;
    step("Bench: Chromium");
    let browser = browser(project, &model, &extra.chromium, measure)?;
    columns.extend(browser.engines.into_iter().map(Column::from));
    let report = Report {
        measure,
        dev: project.options.dev,
        machine,
        commit,
        model: model.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        model_bytes: fs::metadata(&model)?.len(),
        chromium: browser.chromium,
        isolated: browser.isolated,
        wllama: wllama_version(project)?,
        columns,
        wasm: browser.wasm,
    };
    let path = project.root.join(&measure.output);
    fs::write(&path, page::write(&report)).with_context(|| format!("cannot write {}", path.display()))?;
    note(format_args!("wrote {}", path.display()));
    Ok(())
}

fn build_native(project: &Project, profile: Profile) -> Result<PathBuf> {
    step("The command line");
    let offline = project.options.offline.then_some("--offline");
    let release = (profile == Profile::Release).then_some("--release");
    let command = run("cargo").args(["build", "--package", "imprint-cli"]).args(offline).args(release);
    command.env("CARGO_TARGET_DIR", &project.target).dir(&project.root).go()?;
    let dir = if profile == Profile::Release { "release" } else { "debug" };
    Ok(project.target.join(dir).join("imprint").with_extension(std::env::consts::EXE_EXTENSION))
}

/// Measures the command line on both devices in turn, a process a run, so that each run loads and peaks anew.
fn native(program: &Path, model: &Path, measure: &Measure) -> Result<Vec<Column>> {
    let devices = [("native, GPU path", "gpu"), ("native, CPU path", "cpu")];
    let mut columns = devices.map(|(title, _)| Column { title: title.to_owned(), ..Column::default() });
    for i in 1..=measure.runs() {
        for (column, (_, device)) in columns.iter_mut().zip(devices) {
            note(format_args!("{device} run {i}"));
            let command = run(program).args(["bench", "--json", "--runs", "1", "--device", device, "--model"]);
            let command = command.arg(model).args(["--prompt-tokens", &measure.prompt().to_string()]);
            let said = command.args(["--tokens", &measure.tokens().to_string()]).read()?;
            column.add(serde_json::from_str(&said).context("`imprint bench --json` prints another report")?);
        }
    }
    Ok(columns.into())
}

impl Column {
    fn add(&mut self, native: Native) {
        self.samples.push(Sample {
            load_ms: native.load_ms,
            prefill_tokens_per_s: native.prefill_tokens_per_s,
            decode_tokens_per_s: native.decode_tokens_per_s,
            cpu_s_per_token: native.cpu_s_per_token,
        });
        let gpu = native.dispatches_per_token > 0;
        self.device = native.device.description;
        self.prompt_tokens = native.prompt_tokens;
        self.tokens = native.tokens;
        self.dispatches_per_token = gpu.then_some(native.dispatches_per_token);
        self.gpu_weight_bytes = gpu.then_some(native.weight_bytes);
        self.peak_bytes = self.peak_bytes.max(native.peak_bytes);
    }

    /// The middle of what `value` tells of the samples; `None` where nothing was measured.
    fn median(&self, value: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        median(self.samples.iter().map(value).collect::<Option<_>>()?)
    }
}

impl From<InPage> for Column {
    fn from(page: InPage) -> Self {
        let title = match page.key.as_str() {
            "imprint-gpu" => "Chromium, GPU path",
            "imprint-cpu" => "Chromium, CPU path",
            "wllama-gpu" => "wllama, WebGPU",
            "wllama-cpu" => "wllama, 1 thread",
            other => other,
        };
        let whole = |bytes: Option<f64>| bytes.filter(|bytes| *bytes > 0.0).map(|bytes| bytes as u64);
        let opened = page.opened.as_ref();
        Self {
            title: title.to_owned(),
            device: opened.map(|opened| opened.device.clone()).unwrap_or_default(),
            failure: page.failure,
            samples: page.samples,
            first_load_ms: Some(page.first_load_ms).filter(|ms| *ms > 0.0),
            prompt_tokens: page.written.as_ref().map_or(0, |written| written.prompt_tokens),
            tokens: page.written.as_ref().map_or(0, |written| written.tokens),
            dispatches_per_token: opened.and_then(|opened| opened.dispatches_per_token).filter(|count| *count > 0),
            gpu_weight_bytes: opened.and_then(|opened| whole(opened.gpu_weight_bytes)),
            wasm_heap_bytes: opened.and_then(|opened| whole(opened.wasm_bytes)),
            peak_bytes: page.peak.page,
            gpu_peak_bytes: page.peak.gpu,
        }
    }
}

/// Serves the package and wllama from this machine and lets the browser half measure them.
fn browser(project: &Project, model: &Path, chromium: &Path, measure: &Measure) -> Result<Browser> {
    let peer = project.root.join("node_modules/@wllama/wllama/esm");
    let site = Site::new(&project.root.join("pkg/dist"))
        .text("/bench.html", "<!doctype html><meta charset=\"utf-8\"><title>Bench</title>".to_owned())
        .file("/wllama/index.js", &peer.join("index.js"))
        .file("/wllama/wllama.wasm", &peer.join("wasm/wllama.wasm"))
        .file(MODEL, model);
    let server = Server::start(site, 0)?;
    let out = project.web_target().join("bench.json");
    if out.exists() {
        fs::remove_file(&out)?;
    }
    let counts = [("--prompt", measure.prompt()), ("--tokens", measure.tokens()), ("--runs", measure.runs())];
    run("node")
        .args(["tests/bench/run.mjs", "--site", &server.url(), "--model", MODEL, "--text", TEXT, "--out"])
        .arg(&out)
        .args(counts.iter().flat_map(|(name, count)| [(*name).to_owned(), count.to_string()]))
        .env("CHROMIUM", chromium)
        .dir(&project.root)
        .go()?;
    server.stop();
    serde_json::from_str(&fs::read_to_string(&out)?).context("the browser half wrote another report")
}

impl Machine {
    fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kilobytes = memory.and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok());
        let load = read("/proc/loadavg");
        let load: Vec<_> = load.split_whitespace().take(3).collect();
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name")
                .unwrap_or_else(|| format!("{} processor", std::env::consts::ARCH)),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kilobytes.map(|kilobytes| kilobytes * 1024),
            load: (load.len() == 3).then(|| load.join(", ")),
        }
    }
}

/// The commit that was measured, and whether files differed from it.
fn commit(project: &Project) -> Result<String> {
    let git = |args: &[&str]| run("git").args(args).dir(&project.root).hint("the bench needs git").read();
    let hash = git(&["rev-parse", "--short=12", "HEAD"])?;
    // The result itself does not count.
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", ".", ":!BENCHMARKS.md"])?;
    Ok(if changed.is_empty() { hash } else { format!("{hash} with uncommitted changes") })
}

fn wllama_version(project: &Project) -> Result<String> {
    let path = project.root.join("node_modules/@wllama/wllama/package.json");
    let package: serde_json::Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    Ok(package["version"].as_str().context("wllama tells no version")?.to_owned())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}
