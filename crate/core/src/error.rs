//! One error type for everything a person's input, file, device or storage can cause.

use std::{error, fmt};

/// The result of anything that can fail for a reason outside our own code.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn error::Error + Send + Sync + 'static>;

/// What went wrong, in one sentence, with a stable [code](Error::code) and the cause it came from.
///
/// The message is lower-case, holds the offending value and says what would help.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Source>,
}

/// The kinds of failure a caller can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The browser or machine offers no usable GPU and the caller insisted on one.
    NoWebgpu,
    /// The GPU device went away (driver reset, sleep, the system took it back).
    DeviceLost,
    /// The GPU's driver computes wrongly, in every way of cutting the kernels that Imprint knows.
    DeviceWrong,
    /// Memory on the GPU or in the process does not suffice.
    OutOfMemory,
    /// Text is too short for what was asked of it.
    TextTooShort,
    /// Text is longer than what is read at once.
    TextTooLong,
    /// What was given as text is none, or in an encoding that cannot be told.
    TextUnreadable,
    /// Prompt and answer do not fit the context.
    ContextFull,
    /// The model file is damaged: truncated, overlapping, wrong magic, impossible numbers.
    ModelCorrupt,
    /// The model file is sound, but Imprint does not know its architecture, tokenizer or block format.
    ModelUnsupported,
    /// The model could not be read or downloaded from where it should be.
    ModelUnreachable,
    /// The file at an address is another than the one that was fetched from there first.
    ModelChanged,
    /// The adapter belongs to another base model.
    AdapterWrongBase,
    /// The adapter file is damaged.
    AdapterCorrupt,
    /// The adapter file is sound, but it is no plain LoRA of projections Imprint knows.
    AdapterUnsupported,
    /// The browser's storage or the disk is full.
    StorageFull,
    /// Something else has what this needs alone: another tab learns, or a run is still going on.
    Busy,
    /// What is kept is sealed by a passphrase that this tab was not given.
    Locked,
    /// The passphrase is another than the one that sealed what is kept.
    WrongPassphrase,
    /// Learning made nothing that predicts the held-out text better, so nothing is saved.
    NothingLearned,
    /// An option has a value outside its range.
    InvalidOption,
    /// The caller asked to stop.
    Cancelled,
    /// Our own mistake, caught before it became a panic.
    Internal,
}

impl ErrorKind {
    /// The stable public code, in kebab-case.
    pub fn code(self) -> &'static str {
        match self {
            ErrorKind::NoWebgpu => "no-webgpu",
            ErrorKind::DeviceLost => "device-lost",
            ErrorKind::DeviceWrong => "device-wrong",
            ErrorKind::OutOfMemory => "out-of-memory",
            ErrorKind::TextTooShort => "text-too-short",
            ErrorKind::TextTooLong => "text-too-long",
            ErrorKind::TextUnreadable => "text-unreadable",
            ErrorKind::ContextFull => "context-full",
            ErrorKind::ModelCorrupt => "model-corrupt",
            ErrorKind::ModelUnsupported => "model-unsupported",
            ErrorKind::ModelUnreachable => "model-unreachable",
            ErrorKind::ModelChanged => "model-changed",
            ErrorKind::AdapterWrongBase => "adapter-wrong-base",
            ErrorKind::AdapterCorrupt => "adapter-corrupt",
            ErrorKind::AdapterUnsupported => "adapter-unsupported",
            ErrorKind::StorageFull => "storage-full",
            ErrorKind::Busy => "busy",
            ErrorKind::Locked => "locked",
            ErrorKind::WrongPassphrase => "wrong-passphrase",
            ErrorKind::NothingLearned => "nothing-learned",
            ErrorKind::InvalidOption => "invalid-option",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::Internal => "internal",
        }
    }
}

impl Error {
    /// An error of `kind` with its sentence.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same error, keeping what caused it.
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The stable public code, in kebab-case.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
