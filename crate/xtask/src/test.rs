//! Runs every check and every test, tells each stage's result and counts truly.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::process::{Run, note, step};
use crate::setup::{self, TestTools, Tools, ensure_python, prepare_build, prepare_tests};
use crate::{Project, model, site};

/// One stage of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// rustfmt.
    Fmt,
    /// clippy on the host's crates.
    Clippy,
    /// clippy on the browser's crate, for its target.
    ClippyWasm,
    /// The Rust tests.
    Rust,
    /// prettier.
    Prettier,
    /// The TypeScript compiler.
    Types,
    /// The TypeScript tests without a browser.
    Web,
    /// The tests in Python, held against other people's libraries.
    Python,
    /// The tests in a real Chromium.
    Browser,
}

/// How many tests passed and failed; a check (formatting, lints, types) counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
}

impl Count {
    fn check(ok: bool) -> Self {
        Self { passed: u64::from(ok), failed: u64::from(!ok) }
    }

    /// A stage that failed without naming a failed test (it did not compile, say) counts as one failure, and so
    /// does one that ran no test at all.
    fn with_status(mut self, ok: bool) -> Self {
        if self.failed == 0 && (!ok || self.passed == 0) {
            self.failed = 1;
        }
        self
    }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Sets up everything, runs the stages and prints the sum as the last line.
///
/// # Errors
/// When the setup fails, or any stage does.
pub fn run(project: &Project) -> Result<()> {
    let wanted = |stage: &Stage| project.options.only.is_none_or(|only| only == *stage);
    let stages: Vec<_> = Stage::value_variants().iter().copied().filter(wanted).collect();
    let tests = Tests { project, tools: prepare_build(project)?, extra: prepare_tests(project)? };
    let mut results = Vec::new();
    for stage in stages {
        let title = stage.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        step(&format!("Test stage: {title}"));
        let start = Instant::now();
        // What breaks one stage must not hide the results of the others.
        let count = tests.stage(stage).unwrap_or_else(|cause| {
            note(format_args!("{cause:#}"));
            Count::check(false)
        });
        results.push((title, count, start.elapsed()));
    }
    step("Results");
    let mut sum = Count::default();
    for (title, count, elapsed) in results {
        sum += count;
        let Count { passed, failed } = count;
        let verdict = match (passed, failed) {
            (0, 0) => "skipped",
            (_, 0) => "ok",
            _ => "FAILED",
        };
        note(format_args!(
            "{title:12} {verdict:7} {passed:5} passed {failed:3} failed {:6.1} s",
            elapsed.as_secs_f64()
        ));
    }
    println!("{} passed, {} failed", sum.passed, sum.failed);
    if sum.failed > 0 {
        // The line above must stay the last one.
        std::process::exit(1);
    }
    Ok(())
}

struct Tests<'a> {
    project: &'a Project,
    tools: Tools,
    extra: TestTools,
}

impl Tests<'_> {
    fn stage(&self, stage: Stage) -> Result<Count> {
        match stage {
            Stage::Fmt => Ok(passes(self.cargo("fmt").args(["--all", "--check"]))),
            Stage::Clippy => Ok(passes(self.cargo("clippy").args(["--all-targets", "--", "-D", "warnings"]))),
            Stage::ClippyWasm => {
                self.tools.wasm.ensure_clippy(self.project)?;
                Ok(passes(self.tools.wasm.cargo(self.project, "clippy").args(["--", "-D", "warnings"])))
            }
            Stage::Rust => self.rust(),
            Stage::Prettier => Ok(passes(self.npm("format:check"))),
            Stage::Types => Ok(passes(self.npm("check"))),
            Stage::Web => self.counted(self.npm("test:unit"), count_node),
            Stage::Python => self.python(),
            Stage::Browser => self.browser(),
        }
    }

    fn cargo(&self, subcommand: &str) -> Run {
        run_in(self.project, "cargo").arg(subcommand).args(self.offline(subcommand))
    }

    fn offline(&self, subcommand: &str) -> Option<&'static str> {
        (self.project.options.offline && subcommand != "fmt").then_some("--offline")
    }

    fn npm(&self, script: &str) -> Run {
        run_in(self.project, "npm").args(["run", "--silent", script])
    }

    fn counted(&self, command: Run, count: fn(&str) -> Count) -> Result<Count> {
        let (status, output) = command.tee()?;
        Ok(count(&output).with_status(status.success()))
    }

    fn rust(&self) -> Result<Count> {
        let model = model::ensure(self.project)?;
        let command = self.cargo("test").arg("--no-fail-fast").env("IMPRINT_MODEL", model);
        let command = command.env("IMPRINT_GEMMA", model::ensure_second(self.project)?);
        self.counted(command, count_cargo)
    }

    /// Runs `tests/python/test_*.py` under the standard library's own runner, where their packages can be installed.
    fn python(&self) -> Result<Count> {
        let python = match ensure_python(self.project, &setup::TESTS) {
            Ok(python) => python,
            Err(cause) => {
                note(format_args!(
                    "SKIPPED: the checks against PyTorch, PEFT and llama.cpp, for their packages cannot be installed: {cause:#}"
                ));
                return Ok(Count::default());
            }
        };
        // All packages, so that what the Rust tests were built with serves here too.
        self.cargo("build").arg("--examples").go()?;
        let example = |name: &str| {
            let examples = self.project.target.join("debug/examples");
            examples.join(name).with_extension(std::env::consts::EXE_EXTENSION)
        };
        let command = run_in(self.project, python)
            .args(["-m", "unittest", "discover", "-v", "-s", "tests/python"])
            .env("IMPRINT_PEFT", example("peft"))
            .env("IMPRINT_GRADIENT", example("gradient"))
            .env("IMPRINT_MODEL", model::ensure(self.project)?);
        let (status, output) = command.tee_errors()?;
        Ok(count_python(&output).with_status(status.success()))
    }

    /// Serves the built site and lets Playwright drive Chromium against it.
    fn browser(&self) -> Result<Count> {
        let config = "tests/e2e/playwright.config.ts";
        if !self.project.root.join(config).is_file() {
            bail!("{config} is missing");
        }
        let model = model::ensure(self.project)?;
        let dist = site::build(self.project, &self.tools)?;
        let server = site::serve(&dist, std::slice::from_ref(&model), 0)?;
        let report = self.project.web_target().join("playwright.json");
        if report.exists() {
            fs::remove_file(&report)?;
        }
        let ok = run_in(self.project, "npx")
            .args(["playwright", "test", "-c", config, "--reporter=list,json"])
            .env("PLAYWRIGHT_JSON_OUTPUT_FILE", &report)
            .env("IMPRINT_SITE", server.url())
            .env("IMPRINT_MODEL", &model)
            .env("IMPRINT_GEMMA", model::ensure_second(self.project)?)
            .env("CHROMIUM", &self.extra.chromium)
            .go();
        server.stop();
        if let Err(cause) = &ok {
            note(format_args!("{cause:#}"));
            self.tell_what_pages_showed()?;
        }
        Ok(count_playwright(&report).unwrap_or_default().with_status(ok.is_ok()))
    }

    /// Prints what each page showed when its test failed: on another machine nobody can look.
    fn tell_what_pages_showed(&self) -> Result<()> {
        let results = self.project.root.join("tests/e2e/output/results");
        for folder in fs::read_dir(&results).with_context(|| format!("cannot read {}", results.display()))? {
            let path = folder?.path().join("error-context.md");
            if let Ok(told) = fs::read_to_string(&path) {
                note(format_args!("{}\n{told}", path.display()));
            }
        }
        Ok(())
    }
}

fn run_in(project: &Project, program: impl AsRef<std::ffi::OsStr>) -> Run {
    crate::process::run(program).dir(&project.root)
}

fn passes(command: Run) -> Count {
    let result = command.go();
    if let Err(cause) = &result {
        note(format_args!("{cause:#}"));
    }
    Count::check(result.is_ok())
}

/// Sums the lines `test result: ok. 12 passed; 0 failed; …`, of which each test binary prints one.
fn count_cargo(output: &str) -> Count {
    let mut count = Count::default();
    for line in output.lines().filter(|line| line.starts_with("test result: ")) {
        let parts = line.split(['.', ';']).map(str::trim);
        for part in parts {
            match part.split_once(' ') {
                Some((number, "passed")) => count.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => count.failed += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
    count
}

/// Reads the lines `# pass 12` and `# fail 0` (or `ℹ pass 12` on a terminal) of Node's test runner.
fn count_node(output: &str) -> Count {
    let number = |name: &str| {
        let lines = output.lines().rev();
        let mut found = lines.filter_map(|line| line.trim_start_matches(['#', 'ℹ', ' ']).strip_prefix(name));
        found.find_map(|rest| rest.strip_prefix(' ')?.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    Count { passed: number("pass"), failed: number("fail") + number("cancelled") }
}

/// Reads the sums that `unittest` ends with: its verdicts stand after whatever a test prints.
fn count_python(output: &str) -> Count {
    let number = |line: &str, before: &str| -> u64 {
        let digits = line.split(before).nth(1).unwrap_or_default();
        digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
    };
    let ran: u64 = output.lines().filter(|line| line.starts_with("Ran ")).map(|line| number(line, "Ran ")).sum();
    let ends = output.lines().filter(|line| line.starts_with("FAILED ("));
    let failed: u64 = ends.map(|line| number(line, "failures=") + number(line, "errors=")).sum();
    Count { passed: ran.saturating_sub(failed), failed }
}

/// Reads Playwright's own sums; a test that passed only when repeated counts as passed, as Playwright does.
fn count_playwright(report: &Path) -> Result<Count> {
    let report: serde_json::Value = serde_json::from_str(&fs::read_to_string(report)?)?;
    let number = |name: &str| report["stats"][name].as_u64().unwrap_or(0);
    Ok(Count { passed: number("expected") + number("flaky"), failed: number("unexpected") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_lines_are_summed() {
        let output = "running 2 tests\ntest a ... ok\n\
            test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
            test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s\n";
        assert_eq!(count_cargo(output), Count { passed: 15, failed: 2 });
    }

    #[test]
    fn node_and_python_verdicts_are_counted() {
        let tap = "# tests 5\n# pass 3\n# fail 1\n# cancelled 1\n";
        assert_eq!(count_node(tap), Count { passed: 3, failed: 2 });
        assert_eq!(count_node("ℹ tests 4\nℹ pass 4\nℹ fail 0\n"), Count { passed: 4, failed: 0 });
        let python = "test_a ... warning: of a library\nok\ntest_b ... FAIL\n\nRan 4 tests in 1.5s\n\nFAILED (failures=1, errors=2)\n";
        assert_eq!(count_python(python), Count { passed: 1, failed: 3 });
    }

    #[test]
    fn a_failure_without_a_test_still_counts() {
        assert_eq!(Count::default().with_status(false), Count { passed: 0, failed: 1 });
        assert_eq!(Count { passed: 5, failed: 0 }.with_status(false), Count { passed: 5, failed: 1 });
        assert_eq!(Count { passed: 5, failed: 2 }.with_status(false), Count { passed: 5, failed: 2 });
        assert_eq!(Count::default().with_status(true), Count { passed: 0, failed: 1 });
        assert_eq!(Count { passed: 5, failed: 0 }.with_status(true), Count { passed: 5, failed: 0 });
    }
}
