//! Lays the measurements out as `BENCHMARKS.md`.

use super::{Column, Part, Profile, Report, Sample, Setting, Size, median};

/// What stands above all parts.
const TITLE: &str = "# Benchmarks\n\nEach part was written by one run of its command; nothing here is edited by hand.";

/// The column of the engine outside the browser.
pub const LLAMA_CPP: &str = "llama.cpp, 1 thread";

/// One row of the table: its name and what it says of a column.
type Row = (&'static str, fn(&Column) -> Option<String>);

const ROWS: [Row; 12] = [
    ("device", |column| Some(column.device.clone()).filter(|device| !device.is_empty())),
    ("first load, ms", |column| column.first_load_ms.map(figure)),
    ("load, ms", |column| spread(column, |sample| Some(sample.load_ms))),
    ("prefill, tokens/s", |column| spread(column, |sample| Some(sample.prefill_tokens_per_s))),
    ("decode, tokens/s", |column| spread(column, |sample| Some(sample.decode_tokens_per_s))),
    ("CPU-s a decoded token", |column| spread(column, |sample| sample.cpu_s_per_token)),
    ("dispatches a token", |column| column.dispatches_per_token.map(|count| count.to_string())),
    ("peak memory, MB", |column| column.peak_bytes.map(megabytes)),
    ("peak of the GPU process, MB", |column| column.gpu_peak_bytes.map(megabytes)),
    ("wasm heap, MB", |column| column.wasm_heap_bytes.map(megabytes)),
    ("GPU weights, MB", |column| column.gpu_weight_bytes.map(megabytes)),
    ("tokens read / written", |column| {
        (column.tokens > 0).then(|| format!("{} / {}", column.prompt_tokens, column.tokens))
    }),
];

/// Puts `text` in the place of its part and leaves the other part of the page `before` as it is.
pub fn replace(before: &str, part: Part, text: &str) -> String {
    let fresh = format!("{}\n\n{}\n", heading(part), text.trim_end());
    let texts =
        Part::ALL.into_iter().filter_map(|one| if one == part { Some(fresh.clone()) } else { found(before, one) });
    format!("{TITLE}\n\n{}", texts.collect::<Vec<_>>().join("\n"))
}

fn heading(part: Part) -> &'static str {
    match part {
        Part::Writing => "## Writing",
        Part::Learning => "## Learning",
        Part::Second => "## Writing with the second model",
    }
}

/// The part as it stands on a page, with its heading.
fn found(page: &str, part: Part) -> Option<String> {
    let mut lines = page.lines().skip_while(|line| *line != heading(part));
    let first = lines.next()?;
    let lines = lines.take_while(|line| !line.starts_with("## ") && !line.starts_with("# "));
    let text: Vec<_> = std::iter::once(first).chain(lines).collect();
    Some(format!("{}\n", text.join("\n").trim_end()))
}

/// Writes the part of writing.
pub fn write(report: &Report<'_>) -> String {
    let peer = format!("- Peer: wllama {} (llama.cpp), same file, same browser, same run", report.wllama);
    let head = head(report.setting, report.part, &report.chromium, &[peer]);
    let parts = [head, table(&report.columns), failures(&report.columns), sizes(report), ratios(report)];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{}\n\n{}\n", parts.join("\n\n"), method(report))
}

/// Says what a part was measured with, and on what.
pub fn head(setting: &Setting<'_>, part: Part, chromium: &str, more: &[String]) -> String {
    let Setting { measure, machine, .. } = setting;
    let load = machine.load.as_deref().unwrap_or("not told by the system");
    let memory = machine.memory_bytes.map(|bytes| format!(", {:.0} GB of memory", bytes as f64 / 1e9));
    let mut lines = vec![
        format!("- Command: `{}`", measure.command(part, setting.dev)),
        format!("- Commit: {}", setting.commit),
        format!(
            "- Machine: {}, {} cores{}; load average before the first measurement: {load}",
            machine.cpu,
            machine.cores,
            memory.unwrap_or_default()
        ),
        format!("- Model: {}, {} MB", setting.model, megabytes(setting.model_bytes)),
        format!("- Browser: Chromium {chromium}, headless, WebGPU on its software adapter"),
    ];
    lines.extend_from_slice(more);
    if measure.quick {
        lines.push(String::new());
        lines.push("**This was a quick run: it proves that the bench runs, and its figures mean nothing.**".to_owned());
    }
    lines.join("\n")
}

/// Says how the programs were compiled.
pub fn compiled(setting: &Setting<'_>) -> String {
    let profile = match setting.measure.native {
        Profile::Dev => {
            "the dev profile, which the tests use: our core at optimisation level 3, dependencies at 2, overflow checks on"
        }
        Profile::Release => "the release profile",
    };
    let module =
        if setting.dev { "quickly, larger and slower than the one that is published" } else { "as it is published" };
    format!("- The command line was compiled in {profile}; the wasm module {module}.")
}

/// Lays out the engines that could be measured, a column each.
fn table(columns: &[Column]) -> String {
    let columns: Vec<_> = columns.iter().filter(|column| column.failure.is_none()).collect();
    let mut lines = vec![
        format!("| |{}", columns.iter().map(|column| format!(" {} |", column.title)).collect::<String>()),
        format!("|---|{}", "---:|".repeat(columns.len())),
    ];
    for (name, cell) in ROWS {
        let cells = columns.iter().map(|column| format!(" {} |", cell(column).unwrap_or_else(|| "–".to_owned())));
        lines.push(format!("| {name} |{}", cells.collect::<String>()));
    }
    lines.join("\n")
}

fn failures(columns: &[Column]) -> String {
    let failed = columns.iter().filter_map(|column| Some((column, column.failure.as_ref()?)));
    let lines: Vec<_> =
        failed.map(|(column, why)| format!("- {} could not be measured here: {why}", column.title)).collect();
    lines.join("\n")
}

fn sizes(report: &Report<'_>) -> String {
    let row = |name: &str, size: &Size| format!("| {name} | {} | {} |", kilobytes(size.raw), kilobytes(size.brotli));
    let mut lines = vec!["| wasm module, kB | raw | brotli |".to_owned(), "|---|---:|---:|".to_owned()];
    let named = [("Imprint", "imprint"), ("Imprint, writing only", "writer"), ("wllama", "wllama")];
    lines.extend(named.iter().filter_map(|(name, key)| Some(row(name, report.wasm.get(*key)?))));
    lines.join("\n")
}

/// Says how each path compares with its peer, round by round: a round's engines share the machine's state.
fn ratios(report: &Report<'_>) -> String {
    let mut lines = Vec::new();
    let peers = [
        ("native, CPU path", LLAMA_CPP),
        ("Chromium, CPU path", "wllama, 1 thread"),
        ("Chromium, GPU path", "wllama, WebGPU"),
    ];
    for (ours, theirs) in peers {
        let find = |title: &str| report.columns.iter().find(|column| column.title == title && column.failure.is_none());
        let (Some(a), Some(b)) = (find(ours), find(theirs)) else { continue };
        let of = |value: fn(&Sample) -> f64| {
            let rounds = a.samples.iter().zip(&b.samples).map(|(a, b)| value(a) / value(b));
            median(rounds.collect()).map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2} ×"))
        };
        lines.push(format!(
            "- {ours} over {theirs}: prefill {}, decode {}; load time {}",
            of(|sample| sample.prefill_tokens_per_s),
            of(|sample| sample.decode_tokens_per_s),
            of(|sample| sample.load_ms)
        ));
    }
    // What was reported is of the default model.
    let gpu = report.columns.iter().find(|column| column.title == "Chromium, GPU path");
    let gpu = gpu.filter(|_| report.part == Part::Writing);
    if let Some(prefill) = gpu.and_then(|column| column.median(|sample| Some(sample.prefill_tokens_per_s))) {
        lines.push(format!(
            "- Prefill, Chromium, GPU path: {:.1} × the 2 tokens/s that were reported for transformers.js on this kind of \
             adapter. That figure was measured elsewhere and earlier, not in this run.",
            prefill / 2.0
        ));
    }
    let heavy = report.columns.iter().filter(|column| !column.title.starts_with("wllama"));
    for column in heavy {
        let Some(bytes) = column.gpu_weight_bytes else { continue };
        let ratio = bytes as f64 / report.setting.model_bytes as f64;
        lines.push(format!("- {}: GPU weights are {ratio:.3} × the file", column.title));
    }
    if lines.is_empty() { String::new() } else { format!("### Ratios\n\n{}", lines.join("\n")) }
}

fn method(report: &Report<'_>) -> String {
    let Report { setting, isolated, .. } = report;
    let headers = if *isolated { "isolated (so threads were possible)" } else { "not cross-origin isolated" };
    let compiled = compiled(setting);
    format!(
        "### How it was measured\n\n\
         - Medians of {}. Each run opens the model, reads and writes a little to warm \
         up, then reads a prompt and writes greedily. The engines take turns, run by run.\n\
         - Prefill: tokens of the prompt by the time until the first token. Decode: tokens after the first by the time since \
         it. Each engine's own count of tokens is used; the last row tells it.\n\
         - First load: the model comes from this machine over HTTP. Load: from the browser's storage, natively from the file, \
         until a text can begin.\n\
         - CPU-s a decoded token: CPU time of all cores, natively of the process, in Chromium of the GPU process on GPU paths \
         and of the page's process on CPU paths, from `/proc`.\n\
         - Peak memory: `VmHWM` of the native process or of the page's, and of the GPU process. A software adapter keeps the \
         GPU's memory there.\n\
         {compiled}\n\
         - Chromium gets an empty profile on disk for each engine; the page is {headers}. wllama is opened for one \
         thread, without its prompt cache and for as long a context as Imprint (2,048 tokens), everything else as it comes.\n\
         - A software adapter tells whether kernels are right, not how fast a real GPU runs them.",
        match setting.measure.runs() {
            1 => "a single run".to_owned(),
            runs => format!("{runs} runs, smallest and largest in brackets"),
        }
    )
}

/// The median, and the extremes where there are several samples.
fn spread(column: &Column, value: fn(&Sample) -> Option<f64>) -> Option<String> {
    let middle = column.median(value)?;
    let values = column.samples.iter().filter_map(value);
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    if column.samples.len() < 2 {
        return Some(figure(middle));
    }
    Some(format!("{} ({}–{})", figure(middle), figure(low), figure(high)))
}

/// Three digits that count, or the whole number.
pub fn figure(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

pub fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

fn kilobytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(rates: &[f64]) -> Column {
        let sample = |&rate: &f64| Sample {
            load_ms: 1234.5,
            prefill_tokens_per_s: rate,
            decode_tokens_per_s: rate / 3.0,
            cpu_s_per_token: None,
        };
        Column { title: "here".to_owned(), samples: rates.iter().map(sample).collect(), ..Column::default() }
    }

    #[test]
    fn a_part_is_replaced_and_the_other_stays() {
        let one = replace("", Part::Learning, "- fast\n\n### How\n\n- so\n");
        assert_eq!(one, format!("{TITLE}\n\n## Learning\n\n- fast\n\n### How\n\n- so\n"));
        let both = replace(&one, Part::Writing, "- slow\n\n### How\n\n- thus");
        let expected = "## Writing\n\n- slow\n\n### How\n\n- thus\n\n## Learning\n\n- fast\n\n### How\n\n- so\n";
        assert_eq!(both, format!("{TITLE}\n\n{expected}"));
        let again = replace(&both, Part::Learning, "- faster");
        assert_eq!(again, both.replace("- fast\n\n### How\n\n- so", "- faster"));
        assert_eq!(replace(&again, Part::Learning, "- fast\n\n### How\n\n- so"), both);
    }

    #[test]
    fn a_cell_tells_the_median_and_the_extremes() {
        let rate = |sample: &Sample| Some(sample.prefill_tokens_per_s);
        assert_eq!(spread(&column(&[30.0, 2.0, 9.0]), rate).as_deref(), Some("9.00 (2.00–30.0)"));
        assert_eq!(spread(&column(&[30.0]), rate).as_deref(), Some("30.0"));
        assert_eq!(spread(&column(&[]), rate), None);
        assert_eq!(spread(&column(&[30.0]), |sample| sample.cpu_s_per_token), None);
    }

    #[test]
    fn an_engine_that_failed_is_told_beside_the_table() {
        let failed = Column { title: "there".to_owned(), failure: Some("no adapter".to_owned()), ..column(&[1.0]) };
        let columns = [column(&[4.0]), failed];
        let table = table(&columns);
        assert!(table.contains("here") && !table.contains("there"), "{table}");
        assert!(table.contains("| decode, tokens/s | 1.33 |"), "{table}");
        assert_eq!(failures(&columns), "- there could not be measured here: no adapter");
    }
}
