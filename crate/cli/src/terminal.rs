//! What the commands share: results and errors out, texts in, progress, and the interrupt key.

use std::{
    fmt::Display,
    fs,
    io::{self, ErrorKind as Io, IsTerminal, Read, Write},
    path::Path,
    process::ExitCode,
    sync::{Arc, OnceLock, atomic::AtomicBool, atomic::Ordering},
};

use imprint_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::json;
use signal_hook::{consts::SIGINT, flag};

/// Exit status of a program that was interrupted twice, as shells have it.
const INTERRUPTED: i32 = 130;

static INTERRUPT: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Where results go, and in which form.
pub struct Terminal {
    /// Whether a result is one JSON object.
    pub json: bool,
}

impl Terminal {
    /// Prints a result.
    ///
    /// # Errors
    /// As [`Terminal::print`].
    pub fn report<R: Serialize + Display>(&self, result: &R) -> Result<()> {
        if !self.json {
            return self.print(&format!("{result}\n"));
        }
        self.line(result)
    }

    /// Prints a JSON object on a line of its own.
    ///
    /// # Errors
    /// As [`Terminal::print`].
    pub fn line(&self, object: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(object)
            .map_err(|e| Error::new(ErrorKind::Internal, "the result cannot be written as JSON").with_source(e))?;
        self.print(&format!("{text}\n"))
    }

    /// Prints `text` now. A reader that went away wants nothing more: the program ends.
    ///
    /// # Errors
    /// `storage-full` when standard output takes no more.
    pub fn print(&self, text: &str) -> Result<()> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(e) if e.kind() == Io::BrokenPipe => std::process::exit(0),
            Err(e) => Err(Error::new(ErrorKind::StorageFull, "standard output takes no more").with_source(e)),
            Ok(()) => Ok(()),
        }
    }

    /// Tells the person, beside the result.
    pub fn note(&self, text: &str) {
        // Whoever closed standard error does not want to know.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Prints an error and gives the exit status that belongs to it.
    pub fn fail(&self, error: &Error) -> ExitCode {
        // A driver's words may span lines; an error is one.
        let line = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        self.note(&format!("error[{}]: {line}", error.code()));
        let mut cause = std::error::Error::source(error);
        while let Some(source) = cause {
            self.note(&format!("  because {source}"));
            cause = source.source();
        }
        if self.json {
            let object = json!({ "error": { "code": error.code(), "message": error.to_string() } });
            // The exit status still tells of the failure when standard output is gone.
            let _ = self.print(&format!("{object}\n"));
        }
        ExitCode::from(if error.kind() == ErrorKind::InvalidOption { 2 } else { 1 })
    }

    /// A line that says how far `what` has come; only on a terminal.
    pub fn progress(&self, what: &'static str) -> Progress {
        Progress { what, percent: None, shown: io::stderr().is_terminal() }
    }
}

/// A line on standard error that overwrites itself, and goes when dropped.
pub struct Progress {
    what: &'static str,
    percent: Option<u64>,
    shown: bool,
}

impl Progress {
    /// Shows that `done` of `total` is done, unless the work is to stop.
    ///
    /// # Errors
    /// `cancelled` after an interrupt, so that what is under way stops.
    pub fn advance(&mut self, done: u64, total: u64) -> Result<()> {
        if interrupted() {
            return Err(Error::new(ErrorKind::Cancelled, format!("{} was interrupted", self.what)));
        }
        self.show(done, total);
        Ok(())
    }

    /// Shows that `done` of `total` is done.
    pub fn show(&mut self, done: u64, total: u64) {
        let percent = done * 100 / total.max(1);
        if self.shown && self.percent != Some(percent) {
            self.percent = Some(percent);
            let _ = write!(io::stderr(), "\r{} {percent:3} %", self.what);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.percent.is_some() {
            // Carriage return, erase to the end of the line.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Makes the interrupt key ask politely the first time and end the program the second.
///
/// # Errors
/// `internal` when the system refuses the handler.
pub fn watch_interrupts() -> Result<()> {
    let stop = INTERRUPT.get_or_init(Arc::default);
    flag::register_conditional_shutdown(SIGINT, INTERRUPTED, stop.clone())
        .and_then(|_| flag::register(SIGINT, stop.clone()))
        .map(drop)
        .map_err(|e| Error::new(ErrorKind::Internal, "the interrupt key cannot be watched").with_source(e))
}

/// Whether the interrupt key was pressed.
pub fn interrupted() -> bool {
    INTERRUPT.get().is_some_and(|stop| stop.load(Ordering::Relaxed))
}

/// The text of a file, or of standard input for `-`, exactly as it stands there.
///
/// # Errors
/// `invalid-option` when it cannot be read or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(path)
    };
    let bytes = bytes
        .map_err(|e| Error::new(ErrorKind::InvalidOption, format!("{name} cannot be read: {e}")).with_source(e))?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::new(ErrorKind::InvalidOption, format!("{name} is not UTF-8 text at byte {at}; save it as UTF-8"))
    })
}
