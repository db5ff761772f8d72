//! What a step of learning costs, and what an adapter costs while writing: natively and in Chromium.

use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::page::{compiled, figure, head, megabytes};
use super::{Bench, NativeDevice, Part, Setting, title};
use crate::process::{note, step};

/// Where the adapter that is written with is served.
const ADAPTER: &str = "/adapter";
/// A step on windows of this length is held to the prefill of as many tokens.
const RATIO_AT: u64 = 128;
/// What a step may take at most, in such prefills, on a software adapter.
const RATIO: f64 = 4.5;

/// Steps on windows of one length, as the command line and the browser half tell them.
#[derive(Clone, Debug, Deserialize)]
struct Window {
    tokens: u64,
    step_s: f64,
    tokens_per_s: f64,
    cpu_s_per_step: Option<f64>,
    step_over_prefill: f64,
    peak_bytes: Option<u64>,
    #[serde(default)]
    gpu_peak_bytes: Option<u64>,
    gpu_bytes: Option<f64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Writing {
    base_tokens_per_s: f64,
    adapter_tokens_per_s: f64,
    contrast_tokens_per_s: f64,
    adapter_over_base: f64,
    contrast_over_one_row: f64,
}

#[derive(Deserialize)]
struct Native {
    windows: Vec<Window>,
    writing: Writing,
    device: NativeDevice,
}

#[derive(Deserialize)]
struct Browser {
    chromium: String,
    engines: Vec<InPage>,
}

#[derive(Deserialize)]
struct InPage {
    key: String,
    device: String,
    failure: Option<String>,
    skipped: Vec<Skipped>,
    windows: Vec<Window>,
    writing: Option<Writing>,
}

/// A window that was left out.
#[derive(Clone, Debug, Deserialize)]
struct Skipped {
    tokens: u64,
    why: String,
}

/// One device, natively or in the browser.
#[derive(Debug, Default)]
struct Column {
    title: String,
    device: String,
    /// Why something is missing.
    failure: Option<String>,
    skipped: Vec<Skipped>,
    windows: Vec<Window>,
    writing: Option<Writing>,
}

/// Measures learning and gives its part of the result.
///
/// # Errors
/// When the command line or the browser half fails.
pub fn measure(bench: &Bench<'_>, setting: &Setting<'_>) -> Result<String> {
    let windows: Vec<_> = bench.measure.windows().iter().map(u32::to_string).collect();
    let adapter = bench.project.web_target().join("bench-adapter");
    if adapter.exists() {
        fs::remove_dir_all(&adapter)?;
    }
    let mut columns = Vec::new();
    step("Bench: learning, native");
    for (title, device) in [("native, GPU path", "gpu"), ("native, CPU path", "cpu")] {
        note(format_args!("{device}"));
        let folder = adapter.to_str().context("the target directory has no plain name")?;
        let more = ["--learn", "--windows", &windows.join(","), "--adapter-out", folder].map(str::to_owned);
        let Native { windows, writing, device } = bench.command_line(device, bench.measure.runs(), &more)?;
        let (title, writing) = (title.to_owned(), Some(writing));
        columns.push(Column { title, device: device.description, windows, writing, ..Column::default() });
    }
    step("Bench: learning, Chromium");
    let mut site = bench.site();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        site = site.file(&format!("{ADAPTER}/{name}"), &adapter.join(name));
    }
    let more = [("--part", "learning"), ("--windows", &windows.join(",")), ("--adapter", ADAPTER)];
    let browser: Browser = bench.browser(site, &more.map(|(name, value)| (name, value.to_owned())))?;
    columns.extend(browser.engines.into_iter().map(Column::from));
    let lengths = bench.measure.windows();
    let parts = [
        head(setting, Part::Learning, &browser.chromium, &[]),
        table(&columns, &lengths),
        notes(&columns),
        method(setting),
    ];
    Ok(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n"))
}

impl From<InPage> for Column {
    fn from(page: InPage) -> Self {
        let title = title(&page.key).to_owned();
        let InPage { device, failure, skipped, windows, writing, .. } = page;
        Self { title, device, failure, skipped, windows, writing }
    }
}

/// What a row tells of a window.
type Row = (&'static str, fn(&Window) -> Option<String>);

const ROWS: [Row; 7] = [
    ("tokens/s", |window| Some(figure(window.tokens_per_s))),
    ("s a step", |window| Some(figure(window.step_s))),
    ("CPU-s a step", |window| window.cpu_s_per_step.map(figure)),
    ("step / prefill", |window| Some(format!("{:.2} ×", window.step_over_prefill))),
    ("peak memory, MB", |window| window.peak_bytes.map(megabytes)),
    ("peak of the GPU process, MB", |window| window.gpu_peak_bytes.map(megabytes)),
    ("GPU memory of learning, MB", |window| window.gpu_bytes.map(|bytes| megabytes(bytes as u64))),
];

/// What a row tells of writing with an adapter.
type WritingRow = (&'static str, fn(&Writing) -> String);

const WRITING: [WritingRow; 5] = [
    ("decode, tokens/s", |writing| figure(writing.base_tokens_per_s)),
    ("decode with an adapter, tokens/s", |writing| figure(writing.adapter_tokens_per_s)),
    ("decode as a contrast, tokens/s", |writing| figure(writing.contrast_tokens_per_s)),
    ("adapter on: time of a token / without", |writing| format!("{:.2} ×", writing.adapter_over_base)),
    ("strength 1.5: time of a token / one row", |writing| format!("{:.2} ×", writing.contrast_over_one_row)),
];

fn table(columns: &[Column], lengths: &[u32]) -> String {
    let line = |name: &str, cells: Vec<Option<String>>| {
        let cells = cells.into_iter().map(|cell| format!(" {} |", cell.unwrap_or_else(|| "–".to_owned())));
        format!("| {name} |{}", cells.collect::<String>())
    };
    let mut lines = vec![
        format!("| |{}", columns.iter().map(|column| format!(" {} |", column.title)).collect::<String>()),
        format!("|---|{}", "---:|".repeat(columns.len())),
    ];
    let devices = columns.iter().map(|column| Some(column.device.clone()).filter(|device| !device.is_empty()));
    lines.push(line("device", devices.collect()));
    for &tokens in lengths {
        for (name, of) in ROWS {
            let cell = |column: &Column| {
                if let Some(skipped) = column.skipped.iter().find(|skipped| skipped.tokens == u64::from(tokens)) {
                    return Some(format!("left out: {}", skipped.why));
                }
                of(column.windows.iter().find(|window| window.tokens == u64::from(tokens))?)
            };
            lines.push(line(&format!("{name}, windows of {tokens}"), columns.iter().map(cell).collect()));
        }
    }
    for (name, of) in WRITING {
        lines.push(line(name, columns.iter().map(|column| column.writing.as_ref().map(of)).collect()));
    }
    lines.join("\n")
}

/// What failed, and how the ratio that was aimed at stands.
fn notes(columns: &[Column]) -> String {
    let failed = columns.iter().filter_map(|column| {
        Some(format!("- {} could not be measured to the end: {}", column.title, column.failure.as_ref()?))
    });
    let ratio = columns.iter().filter(|column| column.title.ends_with("GPU path")).filter_map(|column| {
        let found = column.windows.iter().find(|window| window.tokens == RATIO_AT)?.step_over_prefill;
        let verdict = if found <= RATIO { "within" } else { "over" };
        Some(format!(
            "- {}: a step of {RATIO_AT} tokens takes {found:.2} prefills of as many, {verdict} the {RATIO} aimed at on a \
             software adapter",
            column.title
        ))
    });
    failed.chain(ratio).collect::<Vec<_>>().join("\n")
}

fn method(setting: &Setting<'_>) -> String {
    let runs = match setting.measure.runs() {
        1 => "single measurements".to_owned(),
        runs => format!("medians of {runs}"),
    };
    format!(
        "### How it was measured\n\n\
         - Figures are {runs}, each after one that is not counted. An adapter of rank 8 on all projections learns, one \
         window a step; a step lasts until its loss is read. A window of 128 tokens predicts 127, which are counted.\n\
         - Step / prefill: the time of a step by the time from a prompt of as many tokens to the first token after it, \
         measured beside it.\n\
         - CPU-s a step: CPU time of all cores, natively of the process, in Chromium of the GPU process on the GPU path and \
         of the page's process on the CPU path, from `/proc`.\n\
         - Peak memory: `VmHWM` of the native process or of the page's since the first step on that length, the model \
         included, and of the GPU process, where a software adapter keeps the GPU's memory. GPU memory of learning: the \
         buffers that a learner makes beside the model.\n\
         - The last rows write greedily after a short prompt, in turn without an adapter, with one of rank 16 (the one that \
         was learned, beside itself) at strength 1, and at strength 1.5 as a contrast of two rows.\n\
         {}\n\
         - A software adapter tells whether kernels are right, not how fast a real GPU runs them.",
        compiled(setting)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(tokens: u64) -> Window {
        Window {
            tokens,
            step_s: 2.0,
            tokens_per_s: tokens as f64 / 2.0,
            cpu_s_per_step: None,
            step_over_prefill: 4.75,
            peak_bytes: Some(123_456_789),
            gpu_peak_bytes: None,
            gpu_bytes: None,
        }
    }

    #[test]
    fn a_window_left_out_says_why_and_a_missing_figure_is_a_dash() {
        let skipped = vec![Skipped { tokens: 256, why: "too long".to_owned() }];
        let column = Column { title: "here".to_owned(), skipped, windows: vec![window(64)], ..Column::default() };
        let table = table(&[column], &[64, 128, 256]);
        for row in [
            "| tokens/s, windows of 64 | 32.0 |",
            "| CPU-s a step, windows of 64 | – |",
            "| peak memory, MB, windows of 64 | 123.5 |",
            "| tokens/s, windows of 128 | – |",
            "| tokens/s, windows of 256 | left out: too long |",
            "| decode, tokens/s | – |",
        ] {
            assert!(table.lines().any(|line| line == row), "no {row} in\n{table}");
        }
    }

    #[test]
    fn the_ratio_aimed_at_is_told_with_its_verdict() {
        let column = |ratio: f64| {
            let windows = vec![Window { step_over_prefill: ratio, ..window(128) }];
            Column { title: "native, GPU path".to_owned(), windows, ..Column::default() }
        };
        assert!(notes(&[column(4.75)]).contains("4.75 prefills of as many, over the 4.5"));
        assert!(notes(&[column(4.5)]).contains("within"));
        assert_eq!(notes(&[Column { title: "native, CPU path".to_owned(), ..column(9.0) }]), "");
    }
}
