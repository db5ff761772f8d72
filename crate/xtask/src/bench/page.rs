//! Lays the measurements out as `BENCHMARKS.md`.

use super::{Column, Part, Profile, Report, Sample, Setting, Size, median, peer};

/// What stands above all parts.
const TITLE: &str = "# Benchmarks\n\nEach part was written by one run of its command; nothing here is edited by hand.";

/// The column of the engine outside the browser.
pub const LLAMA_CPP: &str = "llama.cpp, 1 thread";

/// The columns of Imprint in the browser.
pub const GPU: &str = "Chromium, GPU path";
pub const CPU: &str = "Chromium, CPU path";

/// One row of the table: its name and what it says of a column.
type Row = (&'static str, fn(&Column) -> Option<String>);

const ROWS: [Row; 13] = [
    ("device", |column| Some(column.device.clone()).filter(|device| !device.is_empty())),
    ("first load, ms", |column| column.first_load_ms.map(figure)),
    ("fetched for it, MB", |column| column.fetched_bytes.map(megabytes)),
    ("load, ms", |column| spread(column, |sample| Some(sample.load_ms))),
    ("prefill, tokens/s", |column| {
        let told = spread(column, |sample| Some(sample.prefill_tokens_per_s))?;
        Some(if is_limited(column) { format!("below {told}") } else { told })
    }),
    ("decode, tokens/s", |column| spread(column, |sample| sample.decode_tokens_per_s)),
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

/// Whether a prompt was given up, so that its speed is only known to be below a bound.
fn is_limited(column: &Column) -> bool {
    column.samples.iter().any(|sample| sample.limit_s.is_some())
}

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
    let mut peers = vec![format!("- Peer: wllama {} (llama.cpp), same file, same browser, same run", report.wllama)];
    peers.extend(report.peer.as_ref().map(|peer| {
        format!(
            "- Peer: transformers.js {} (ONNX Runtime Web {}), a graph made from the same file, same browser, same run",
            peer.version, peer.runtime
        )
    }));
    let head = head(report.setting, report.part, &report.chromium, &peers);
    let parts = [head, table(&report.columns), remarks(&report.columns), sizes(report), ratios(report)];
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

/// Says which engines could not be measured, and which prompts were given up.
fn remarks(columns: &[Column]) -> String {
    let lines = columns.iter().filter_map(|column| {
        if let Some(why) = &column.failure {
            return Some(format!("- {} could not be measured here: {why}", column.title));
        }
        let limit = column.samples.iter().find_map(|sample| sample.limit_s)?;
        Some(format!("- {}: reading the prompt took more than {limit:.0} s and was given up", column.title))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn sizes(report: &Report<'_>) -> String {
    let row = |name: &str, size: &Size| format!("| {name} | {} | {} |", kilobytes(size.raw), kilobytes(size.brotli));
    let mut lines = vec!["| wasm module, kB | raw | brotli |".to_owned(), "|---|---:|---:|".to_owned()];
    let named = [
        ("Imprint", "imprint"),
        ("Imprint, writing only", "writer"),
        ("wllama", "wllama"),
        ("transformers.js", "transformers"),
    ];
    lines.extend(named.iter().filter_map(|(name, key)| Some(row(name, report.wasm.get(*key)?))));
    lines.join("\n")
}

/// Says how each path compares with its peer, round by round: a round's engines share the machine's state.
fn ratios(report: &Report<'_>) -> String {
    let mut lines = Vec::new();
    let peers = [
        ("native, CPU path", LLAMA_CPP),
        (CPU, "wllama, 1 thread"),
        (GPU, "wllama, WebGPU"),
        (CPU, peer::CPU),
        (GPU, peer::GPU),
    ];
    // On this adapter a person gets the processor's path, unless they ask for the other.
    let crossed = (CPU, peer::GPU);
    let pairs = peers.into_iter().chain((report.auto.as_deref() == Some(CPU)).then_some(crossed));
    for (ours, theirs) in pairs {
        let find = |title: &str| report.columns.iter().find(|column| column.title == title && column.failure.is_none());
        let (Some(a), Some(b)) = (find(ours), find(theirs)) else { continue };
        let unasked = if (ours, theirs) == crossed { ", which Imprint takes of itself on this adapter," } else { "" };
        lines.push(format!("- {ours}{unasked} over {theirs}: {}", ratio(a, b)));
    }
    let heavy = report.columns.iter().filter(|column| !column.title.starts_with("wllama"));
    for column in heavy {
        let Some(bytes) = column.gpu_weight_bytes else { continue };
        let ratio = bytes as f64 / report.setting.model_bytes as f64;
        lines.push(format!("- {}: GPU weights are {ratio:.3} × the file", column.title));
    }
    if lines.is_empty() { String::new() } else { format!("### Ratios\n\n{}", lines.join("\n")) }
}

/// Ours over theirs; against a prompt that was given up, at least that.
fn ratio(ours: &Column, theirs: &Column) -> String {
    let of = |value: fn(&Sample) -> Option<f64>| {
        let rounds = ours.samples.iter().zip(&theirs.samples);
        let rounds: Option<Vec<_>> = rounds.map(|(a, b)| Some(value(a)? / value(b)?)).collect();
        rounds.and_then(median).map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2} ×"))
    };
    let at_least = if is_limited(theirs) { "at least " } else { "" };
    format!(
        "prefill {at_least}{}, decode {}; load time {}",
        of(|sample| Some(sample.prefill_tokens_per_s)),
        of(|sample| sample.decode_tokens_per_s),
        of(|sample| Some(sample.load_ms))
    )
}

/// Says how transformers.js was measured.
fn peer_method(report: &Report<'_>) -> String {
    let Some(peer) = &report.peer else { return String::new() };
    let tokens = report.columns.iter().find(|column| column.title == peer::GPU).map_or(0, |column| column.tokens);
    let tokens = if tokens > 0 { format!(", with {tokens} tokens") } else { String::new() };
    format!(
        "\n- transformers.js takes its model from a hub that is this machine. The graph is built as the hub's 4-bit ones are \
         (`GroupQueryAttention` with its rotation, `MatMulNBits` in blocks of 32), from the file's own blocks, whose minima \
         are rounded to the whole zero points that ONNX Runtime takes on the web; embedding and head keep 8 bits. Mean NLL \
         of the golden texts: {:.3} so, {:.3} by the file; {:.0} % of the greedy tokens are the same. Its warm-up reads a \
         golden text, and an engine that goes on from there with other tokens than the golden run is not reported. It runs \
         on the page's own thread, one thread on wasm. On WebGPU it is measured in the first round only{tokens}, and a prompt \
         is given up after {} s.",
        peer.scores.nll,
        peer.scores.golden_nll,
        peer.scores.agreement * 100.0,
        report.setting.measure.limit
    )
}

fn method(report: &Report<'_>) -> String {
    let Report { setting, isolated, .. } = report;
    let headers = if *isolated { "isolated (so threads were possible)" } else { "not cross-origin isolated" };
    let compiled = compiled(setting);
    let peer = peer_method(report);
    format!(
        "### How it was measured\n\n\
         - Medians of {}. Each run opens the model, reads and writes a little to warm \
         up, then reads a prompt and writes greedily. The engines take turns, run by run.\n\
         - Prefill: tokens of the prompt by the time until the first token. Decode: tokens after the first by the time since \
         it. Each engine's own count of tokens is used; the last row tells it.\n\
         - First load: program and model come from this machine over HTTP, compressed where that pays. Load: from the \
         browser's storage, natively from the file, until a text can begin.\n\
         - CPU-s a decoded token: CPU time of all cores, natively of the process, in Chromium of the GPU process on GPU paths \
         and of the page's process on CPU paths, from `/proc`.\n\
         - Peak memory: `VmHWM` of the native process or of the page's, and of the GPU process. A software adapter keeps the \
         GPU's memory there.\n\
         {compiled}\n\
         - Chromium gets an empty profile on disk for each engine; the page is {headers}. wllama is opened for one \
         thread, without its prompt cache and for as long a context as Imprint (2,048 tokens), everything else as it comes.\
         {peer}\n\
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
            decode_tokens_per_s: Some(rate / 3.0),
            cpu_s_per_token: None,
            limit_s: None,
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
        assert_eq!(remarks(&columns), "- there could not be measured here: no adapter");
    }

    #[test]
    fn a_prompt_that_was_given_up_bounds_speed_and_ratio() {
        let mut slow = Column { title: "there".to_owned(), ..column(&[0.8]) };
        slow.samples[0].decode_tokens_per_s = None;
        slow.samples[0].limit_s = Some(320.0);
        let ours = column(&[24.0, 30.0, 28.0]);
        // Only the first round has both.
        assert_eq!(ratio(&ours, &slow), "prefill at least 30.00 ×, decode –; load time 1.00 ×");
        assert_eq!(ratio(&ours, &column(&[6.0])), "prefill 4.00 ×, decode 4.00 ×; load time 1.00 ×");
        let columns = [ours, slow];
        let table = table(&columns);
        assert!(table.contains("| prefill, tokens/s | 28.0 (24.0–30.0) | below 0.800 |"), "{table}");
        assert!(table.contains("| decode, tokens/s | 9.33 (8.00–10.0) | – |"), "{table}");
        assert_eq!(remarks(&columns), "- there: reading the prompt took more than 320 s and was given up");
    }
}
