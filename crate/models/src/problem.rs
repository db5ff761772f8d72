//! Why a model could not be had.

use std::fmt;

/// The result of everything here.
pub type Result<T, E = Problem> = std::result::Result<T, E>;

/// The kinds of failure that a caller tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The model has terms that nobody has accepted on this machine.
    Terms,
    /// No network, no such file, or a server that wants something else.
    Unreachable,
    /// What came is not what it should be.
    Corrupt,
    /// An address gives another file than it gave first.
    Changed,
    /// The disk takes no more, or nothing may be written there.
    Disk,
    /// Whoever watches wants no more.
    Stopped,
}

/// A failure, as one lower-case sentence that says what would help.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    message: String,
}

impl Problem {
    /// A problem of `kind` with its sentence.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self::new(Kind::Disk, error.to_string())
    }
}
