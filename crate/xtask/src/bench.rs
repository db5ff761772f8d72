//! Measures writing and learning, natively and in Chromium, and writes `BENCHMARKS.md`.

mod learning;
mod page;
mod peer;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::{Deserialize, de::DeserializeOwned};

use peer::Peer;

use crate::process::{note, run, step};
use crate::serve::{Server, Site};
use crate::setup::{self, ensure_python, prepare_build, prepare_tests};
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
    /// Measures this part only and leaves the other as it stands in the result; may be given twice.
    #[arg(long, value_enum)]
    part: Vec<Part>,
    /// Writes with this engine too, in turn with our own; may be given twice.
    #[arg(long, value_enum)]
    against: Vec<Against>,
    /// Seconds that transformers.js may take to read a prompt on WebGPU.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Lengths of the windows to learn from [default: 64,128,256, quick 16].
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(2..))]
    windows: Vec<u32>,
    /// Where to write the result.
    #[arg(long, value_name = "PATH", default_value = "BENCHMARKS.md")]
    output: PathBuf,
}

/// A part of the result, in the order in which they stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Load, prefill, decode, beside wllama.
    Writing,
    /// Steps of learning, and what an adapter costs while writing.
    Learning,
    /// As writing, with the second listed model; measured only where it is asked for.
    Second,
}

impl Part {
    const ALL: [Part; 3] = [Part::Writing, Part::Learning, Part::Second];
}

/// An engine that is measured only where it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Against {
    /// Natively, on one thread.
    #[value(name = "llama.cpp")]
    LlamaCpp,
    /// In Chromium, on both its devices; with the default model only.
    #[value(name = "transformers.js")]
    TransformersJs,
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

    fn windows(&self) -> Vec<u32> {
        match self.windows.as_slice() {
            [] if self.quick => vec![16],
            [] => vec![64, 128, 256],
            windows => windows.to_vec(),
        }
    }

    fn measures(&self, part: Part) -> bool {
        (self.part.is_empty() && part != Part::Second) || self.part.contains(&part)
    }

    /// Whether `engine` is measured in `part`.
    fn measures_against(&self, engine: Against, part: Part) -> bool {
        let fits = match engine {
            Against::LlamaCpp => part != Part::Learning,
            Against::TransformersJs => part == Part::Writing,
        };
        fits && self.against.contains(&engine)
    }

    /// The command that measures `part` again.
    fn command(&self, part: Part, dev: bool) -> String {
        let quick = if self.quick { " --quick" } else { "" };
        let native = if self.native == Profile::Release { " --native release" } else { "" };
        let dev = if dev { " --dev" } else { "" };
        let windows: Vec<_> = self.windows().iter().map(u32::to_string).collect();
        let mut part_text = match part {
            Part::Writing => "writing".to_owned(),
            Part::Second => "second".to_owned(),
            Part::Learning => format!("learning --windows {}", windows.join(",")),
        };
        if self.measures_against(Against::LlamaCpp, part) {
            part_text.push_str(" --against llama.cpp");
        }
        if self.measures_against(Against::TransformersJs, part) {
            part_text.push_str(&format!(" --against transformers.js --limit {}", self.limit));
        }
        format!(
            "cargo xtask bench --part {part_text}{quick} --tokens {} --runs {}{native}{dev}",
            self.tokens(),
            self.runs()
        )
    }
}

/// One measured text.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sample {
    load_ms: f64,
    prefill_tokens_per_s: f64,
    /// `None` where the prompt was not read within the limit.
    decode_tokens_per_s: Option<f64>,
    cpu_s_per_token: Option<f64>,
    /// The seconds within which the prompt was not read: its true speed is below the one told.
    limit_s: Option<f64>,
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
    fetched_bytes: Option<u64>,
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
    /// The key of the engine whose path Imprint takes when nobody says which.
    auto: Option<String>,
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
    fetched_bytes: u64,
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

/// Where and with what a part was measured.
struct Setting<'a> {
    measure: &'a Measure,
    /// Whether the wasm module was built quickly.
    dev: bool,
    machine: Machine,
    commit: String,
    model: String,
    model_bytes: u64,
}

/// Everything that the part of writing tells.
struct Report<'a> {
    part: Part,
    setting: &'a Setting<'a>,
    chromium: String,
    /// The title of the path that Imprint takes when nobody says which.
    auto: Option<String>,
    isolated: bool,
    wllama: String,
    peer: Option<Peer>,
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

/// What measuring needs.
struct Bench<'a> {
    project: &'a Project,
    measure: &'a Measure,
    program: PathBuf,
    model: PathBuf,
    chromium: PathBuf,
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
    let path = project.root.join(&measure.output);
    let mut bench = Bench { project, measure, program, model, chromium: extra.chromium };
    for part in Part::ALL {
        if !measure.measures(part) {
            continue;
        }
        if part == Part::Second {
            bench.model = model::ensure_second(project)?;
        }
        let setting = Setting {
            measure,
            dev: project.options.dev,
            // Before this part's own work is in it.
            machine: Machine::look(),
            commit: commit.clone(),
            model: bench.model.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            model_bytes: fs::metadata(&bench.model)?.len(),
        };
        let text = match part {
            Part::Writing | Part::Second => bench.writing(part, &setting)?,
            Part::Learning => learning::measure(&bench, &setting)?,
        };
        // After each part, so that one that fails costs no other.
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, page::replace(&before, part, &text))
            .with_context(|| format!("cannot write {}", path.display()))?;
        note(format_args!("wrote {}", path.display()));
    }
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

impl Column {
    fn add(&mut self, native: Native) {
        self.samples.push(Sample {
            load_ms: native.load_ms,
            prefill_tokens_per_s: native.prefill_tokens_per_s,
            decode_tokens_per_s: Some(native.decode_tokens_per_s),
            cpu_s_per_token: native.cpu_s_per_token,
            limit_s: None,
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

/// What the column of an engine in the browser is called.
fn title(key: &str) -> &str {
    match key {
        "imprint-gpu" => page::GPU,
        "imprint-cpu" => page::CPU,
        "wllama-gpu" => "wllama, WebGPU",
        "wllama-cpu" => "wllama, 1 thread",
        "transformers-gpu" => peer::GPU,
        "transformers-cpu" => peer::CPU,
        other => other,
    }
}

impl From<InPage> for Column {
    fn from(page: InPage) -> Self {
        let whole = |bytes: Option<f64>| bytes.filter(|bytes| *bytes > 0.0).map(|bytes| bytes as u64);
        let opened = page.opened.as_ref();
        Self {
            title: title(&page.key).to_owned(),
            device: opened.map(|opened| opened.device.clone()).unwrap_or_default(),
            failure: page.failure,
            samples: page.samples,
            first_load_ms: Some(page.first_load_ms).filter(|ms| *ms > 0.0),
            fetched_bytes: Some(page.fetched_bytes).filter(|bytes| *bytes > 0),
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

impl Bench<'_> {
    /// Measures writing, beside wllama and those that were asked for.
    fn writing(&self, part: Part, setting: &Setting<'_>) -> Result<String> {
        // First, since it may fail.
        let asked = self.measure.measures_against(Against::TransformersJs, part);
        let peer = asked.then(|| Peer::prepare(self.project, &self.model)).transpose()?;
        step("Bench: writing, native");
        let mut columns = self.native()?;
        step("Bench: writing, Chromium");
        let packages = self.project.root.join("node_modules");
        let wllama = packages.join("@wllama/wllama/esm");
        let mut site = self.site().file("/wllama/index.js", &wllama.join("index.js"));
        site = site.file("/wllama/wllama.wasm", &wllama.join("wasm/wllama.wasm"));
        let mut more = vec![("--part", "writing".to_owned())];
        if let Some(peer) = &peer {
            site = peer.serve(site);
            more.extend(peer.arguments(self.measure.limit));
        }
        let browser: Browser = self.browser(site, &more)?;
        columns.extend(browser.engines.into_iter().map(Column::from));
        let report = Report {
            part,
            setting,
            chromium: browser.chromium,
            auto: browser.auto.as_deref().map(title).map(str::to_owned),
            isolated: browser.isolated,
            wllama: peer::version(&packages, "@wllama/wllama")?,
            peer,
            columns,
            wasm: browser.wasm,
        };
        Ok(page::write(&report))
    }

    /// Measures the command line on both devices in turn, a process a run, so that each run loads and peaks anew.
    fn native(&self) -> Result<Vec<Column>> {
        let devices = [("native, GPU path", "gpu"), ("native, CPU path", "cpu")];
        let mut columns = devices.map(|(title, _)| Column { title: title.to_owned(), ..Column::default() });
        let mut peer = None;
        if self.measure.against.contains(&Against::LlamaCpp) {
            let column = Column { title: page::LLAMA_CPP.to_owned(), ..Column::default() };
            peer = Some((column, ensure_python(self.project, &setup::TESTS)?));
        }
        for i in 1..=self.measure.runs() {
            for (column, (_, device)) in columns.iter_mut().zip(devices) {
                note(format_args!("{device} run {i}"));
                column.add(self.command_line(device, 1, &[])?);
            }
            if let Some((column, python)) = &mut peer {
                note(format_args!("llama.cpp run {i}"));
                column.add(self.llama_cpp(python)?);
            }
        }
        let mut columns = Vec::from(columns);
        columns.extend(peer.map(|(column, _)| column));
        Ok(columns)
    }

    /// What llama.cpp does in one process of its own.
    fn llama_cpp(&self, python: &Path) -> Result<Native> {
        let script = self.project.root.join("tests/bench/llama_cpp.py");
        let counts = [self.measure.prompt(), self.measure.tokens()].map(|count| count.to_string());
        let said = run(python).arg(script).arg(&self.model).args(counts).read()?;
        // The library has words of its own before.
        let last = said.lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("llama_cpp.py says {last:?} and no report"))
    }

    /// What the command line measures in one process.
    fn command_line<T: DeserializeOwned>(&self, device: &str, runs: u32, more: &[String]) -> Result<T> {
        let command = run(&self.program).args(["bench", "--json", "--device", device, "--model"]).arg(&self.model);
        let counts =
            [("--runs", runs), ("--prompt-tokens", self.measure.prompt()), ("--tokens", self.measure.tokens())];
        let command = command.args(counts.iter().flat_map(|(name, count)| [(*name).to_owned(), count.to_string()]));
        let said = command.args(more).read()?;
        serde_json::from_str(&said).context("`imprint bench --json` prints another report")
    }

    /// The package and the model, served from this machine.
    fn site(&self) -> Site {
        let page = "<!doctype html><meta charset=\"utf-8\"><title>Bench</title>".to_owned();
        Site::new(&self.project.root.join("pkg/dist")).text("/bench.html", page).file(MODEL, &self.model)
    }

    /// Lets the browser half measure what is served.
    fn browser<T: DeserializeOwned>(&self, site: Site, more: &[(&str, String)]) -> Result<T> {
        let server = Server::start(site, 0)?;
        let out = self.project.web_target().join("bench.json");
        if out.exists() {
            fs::remove_file(&out)?;
        }
        let measure = self.measure;
        let counts = [("--prompt", measure.prompt()), ("--tokens", measure.tokens()), ("--runs", measure.runs())];
        run("node")
            .args(["tests/bench/run.mjs", "--site", &server.url(), "--model", MODEL, "--text", TEXT, "--out"])
            .arg(&out)
            .args(counts.iter().flat_map(|(name, count)| [(*name).to_owned(), count.to_string()]))
            .args(more.iter().flat_map(|(name, value)| [(*name).to_owned(), value.clone()]))
            .env("CHROMIUM", &self.chromium)
            .dir(&self.project.root)
            .go()?;
        server.stop();
        serde_json::from_str(&fs::read_to_string(&out)?).context("the browser half wrote another report")
    }
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

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        measure: Measure,
    }

    #[test]
    fn each_part_tells_the_command_that_measures_it_again() {
        let line = "bench --runs 3 --against transformers.js --limit 90 --against llama.cpp";
        let measure = Line::parse_from(line.split(' ')).measure;
        let command = |part| measure.command(part, false);
        let both = "--against llama.cpp --against transformers.js --limit 90";
        assert_eq!(command(Part::Writing), format!("cargo xtask bench --part writing {both} --tokens 32 --runs 3"));
        // Its scores are known of the default model only, and llama.cpp does not learn here.
        assert_eq!(command(Part::Second), "cargo xtask bench --part second --against llama.cpp --tokens 32 --runs 3");
        assert!(!command(Part::Learning).contains("--against"));
    }
}
