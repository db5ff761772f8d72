//! Runs other programs: shows each command, and fails with a sentence that says what to install by hand.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A command that is printed before it runs.
pub struct Run {
    command: Command,
    hint: &'static str,
}

/// Starts the description of a command.
pub fn run(program: impl AsRef<OsStr>) -> Run {
    let mut command = Command::new(program);
    // What Cargo tells this program of its own package would have build scripts run anew in a Cargo below it, and once more
    // in the next above it.
    for (name, _) in std::env::vars_os().filter(|(name, _)| of_package(name)) {
        command.env_remove(name);
    }
    Run { command, hint: "" }
}

/// Whether Cargo sets this variable for the package that it runs.
fn of_package(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start))
}

impl Run {
    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds several arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets one variable of the environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Takes variables out of the environment.
    pub fn without(mut self, names: &[&str]) -> Self {
        for name in names {
            self.command.env_remove(name);
        }
        self
    }

    /// Sets the directory to run in.
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Sets the sentence that a failure ends with: what a person can do by hand.
    pub fn hint(mut self, hint: &'static str) -> Self {
        self.hint = hint;
        self
    }

    /// Runs the command with its output on the terminal.
    ///
    /// # Errors
    /// When the program is missing or exits with another status than zero.
    pub fn go(mut self) -> Result<()> {
        self.show();
        let status = self.command.status().map_err(|e| self.cannot_start(&e))?;
        self.check(status)
    }

    /// Runs the command and gives up after `limit`; says whether it succeeded.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn go_within(mut self, limit: Duration) -> Result<bool> {
        self.show();
        let mut child = self.command.spawn().map_err(|e| self.cannot_start(&e))?;
        Ok(wait_within(&mut child, limit)?.is_some_and(|status| status.success()))
    }

    /// Runs the command silently and returns what it wrote to standard output, without the last line break.
    ///
    /// # Errors
    /// When the program is missing or exits with another status than zero.
    pub fn read(mut self) -> Result<String> {
        let output = self.command.stdin(Stdio::null()).output().map_err(|e| self.cannot_start(&e))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`{}` failed ({}): {}{}", self.line(), output.status, said.trim(), self.advice());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Runs the command with its output on the terminal and also returns its standard output.
    ///
    /// # Errors
    /// When the program cannot be started; a status other than zero is the caller's to judge.
    pub fn tee(mut self) -> Result<(ExitStatus, String)> {
        self.show();
        let mut child = self.command.stdout(Stdio::piped()).spawn().map_err(|e| self.cannot_start(&e))?;
        let output = child.stdout.take().context("a child process has no standard output")?;
        let kept = copy_lines(output)?;
        Ok((child.wait()?, kept))
    }

    /// As [`Run::tee`], for a program that reports on standard error.
    ///
    /// # Errors
    /// As [`Run::tee`].
    pub fn tee_errors(mut self) -> Result<(ExitStatus, String)> {
        self.show();
        let mut child = self.command.stderr(Stdio::piped()).spawn().map_err(|e| self.cannot_start(&e))?;
        let output = child.stderr.take().context("a child process has no standard error")?;
        let kept = copy_lines(output)?;
        Ok((child.wait()?, kept))
    }

    /// Says whether the command can be run and succeeds, showing nothing.
    pub fn succeeds(mut self) -> bool {
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.command.status().is_ok_and(|status| status.success())
    }

    fn check(&self, status: ExitStatus) -> Result<()> {
        if !status.success() {
            bail!("`{}` failed ({status}){}", self.line(), self.advice());
        }
        Ok(())
    }

    fn cannot_start(&self, cause: &std::io::Error) -> anyhow::Error {
        let program = self.command.get_program().to_string_lossy();
        anyhow::anyhow!("cannot start `{program}`: {cause}{}", self.advice())
    }

    fn advice(&self) -> String {
        if self.hint.is_empty() { String::new() } else { format!("; {}", self.hint) }
    }

    fn show(&self) {
        println!("   $ {}", self.line());
    }

    fn line(&self) -> String {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let words: Vec<_> = words.map(|word| quoted(&word.to_string_lossy())).collect();
        words.join(" ")
    }
}

/// Shows lines as they come and keeps them.
fn copy_lines(output: impl Read) -> Result<String> {
    let mut kept = String::new();
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        std::io::stdout().write_all(&line)?;
        kept.push_str(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(kept)
}

fn quoted(word: &str) -> String {
    if word.contains([' ', '"', '$']) { format!("'{word}'") } else { word.to_owned() }
}

/// Waits for `child`, ends it after `limit`; `None` when it had to be ended.
fn wait_within(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// Finds a program in `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Says whether this process may install system packages without asking for a password.
fn privilege() -> Option<Vec<OsString>> {
    if run("id").arg("-u").read().is_ok_and(|id| id == "0") {
        return Some(Vec::new());
    }
    let sudo = find("sudo").is_some() && run("sudo").args(["-n", "true"]).succeeds();
    sudo.then(|| vec!["sudo".into(), "-n".into()])
}

/// Installs Debian packages.
///
/// # Errors
/// When `apt-get` is missing, this user may not use it, or it fails; the sentence holds the command to run by hand.
pub fn apt_install(packages: &[&str]) -> Result<()> {
    let by_hand = format!("install by hand: apt-get update && apt-get install {}", packages.join(" "));
    if find("apt-get").is_none() {
        bail!("this system has no apt-get; install what provides {} by hand", packages.join(", "));
    }
    let Some(prefix) = privilege() else {
        bail!("installing packages needs root or a sudo without password; {by_hand}")
    };
    let apt = |args: &[&str]| {
        let mut words = prefix.clone();
        words.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"].map(OsString::from));
        words.extend(args.iter().map(OsString::from));
        run(&words[0]).args(&words[1..]).go()
    };
    // One update a process: the lists do not change between two steps.
    static UPDATED: AtomicBool = AtomicBool::new(false);
    if !UPDATED.swap(true, Ordering::Relaxed) {
        apt(&["update", "-qq"]).with_context(|| by_hand.clone())?;
    }
    let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
    args.extend(packages);
    apt(&args).context(by_hand)
}

/// Prints the heading of a step.
pub fn step(what: &str) {
    println!("== {what}");
}

/// Prints what a step found or did.
pub fn note(what: impl std::fmt::Display) {
    println!("   {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_what_to_do() {
        let error = run("false").hint("install the truth").go().unwrap_err().to_string();
        assert!(error.contains("`false` failed") && error.ends_with("; install the truth"), "{error}");
        let error = run("no-such-program-here").hint("install it").read().unwrap_err().to_string();
        assert!(error.contains("cannot start `no-such-program-here`") && error.ends_with("install it"), "{error}");
    }

    #[test]
    fn a_command_that_hangs_is_ended() {
        let start = Instant::now();
        assert!(!run("sleep").arg("30").go_within(Duration::from_millis(200)).unwrap());
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn tee_keeps_what_it_shows() {
        let (status, out) = run("sh").args(["-c", "echo one; echo two; exit 3"]).tee().unwrap();
        assert_eq!((status.code(), out.as_str()), (Some(3), "one\ntwo\n"));
    }
}
