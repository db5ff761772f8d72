//! The GGUF container, read from any random-access source without ever holding the file.
//!
//! [`Gguf::read`] reads the header in growing pieces and checks all of it: counts and lengths against the bytes that are
//! left, names, shapes, and that every tensor lies inside the file, aligned and apart from the others. Tensors are then
//! read one by one, or some rows at a time. A file of any content gives a [`Gguf`] or an error, never a panic, and no
//! single allocation for the header is larger than the file and a mebibyte.
//!
//! Versions 2 and 3, little endian. Text that is not UTF-8 occurs in the wild in vocabularies: each wrong sequence in a
//! metadata *value* becomes U+FFFD, so a token keeps its place in the list (in a value over 170 kB, in a key or in a
//! tensor's name it is an error: that is damage).
//!
//! Source of the format: `docs/gguf.md` of the ggml project.

mod header;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod write;

pub use header::Value;
pub use write::GgufWriter;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::quant::{BlockType, bad_scale, bad_scale_error};
use crate::{Error, ErrorKind, Result};

/// Bytes that can be read at any place: a native file, a browser's `Blob`, an HTTP server that knows ranges.
#[allow(async_fn_in_trait)] // The browser's futures are not `Send`, and every source is used on the thread that made it.
pub trait Source {
    /// The length of the whole.
    fn size_bytes(&self) -> u64;

    /// Reads exactly `len` bytes from `offset` on.
    ///
    /// # Errors
    /// `model-unreachable` if they cannot be had.
    async fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>>;
}

impl Source for &[u8] {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let found = usize::try_from(offset).ok().and_then(|start| self.get(start..start.checked_add(len)?));
        found.map(<[u8]>::to_vec).ok_or_else(|| {
            let message = format!("{len} bytes from {offset} on are not in a source of {}; open it again", self.len());
            Error::new(ErrorKind::ModelUnreachable, message)
        })
    }
}

impl Source for Vec<u8> {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.as_slice().read_at(offset, len).await
    }
}

/// Name, shape, format and place of a tensor in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name, unique in the file.
    pub name: String,
    /// The axes in GGUF's order, the fastest first: a projection is `[d_in, d_out]`. One to four, none of them zero.
    pub shape: Vec<u64>,
    /// The block format.
    pub ty: BlockType,
    /// Where its data begins, counted from the start of the file.
    pub offset: u64,
    /// Bytes of its data.
    pub size_bytes: u64,
}

impl TensorInfo {
    /// Weights in a row: the fastest axis.
    pub fn cols(&self) -> u64 {
        self.shape[0]
    }

    /// Rows: the product of all other axes.
    pub fn rows(&self) -> u64 {
        self.shape[1..].iter().product()
    }

    /// Weights in all.
    pub fn n_weights(&self) -> u64 {
        self.cols() * self.rows()
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> u64 {
        self.size_bytes / self.rows()
    }
}

/// The header of a GGUF file.
#[derive(Debug, Clone)]
pub struct Gguf {
    version: u32,
    size_bytes: u64,
    metadata: BTreeMap<String, Value>,
    tensors: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
}

impl Gguf {
    /// Reads and checks the header of the file that `source` holds.
    ///
    /// Reads each byte of the header once, and at most a mebibyte beyond it.
    ///
    /// # Errors
    /// `model-corrupt` for a file that is damaged, `model-unsupported` for one that is sound but of another version, byte
    /// order or block format, each with what and where; whatever `source` reports.
    pub async fn read(source: &impl Source) -> Result<Self> {
        let header = header::read(source).await?;
        let alignment = alignment(&header.metadata)?;
        let mut tensors = header.tensors;
        place(&mut tensors, header.size_bytes, alignment, source.size_bytes())?;
        let by_name = names(&tensors)?;
        Ok(Self {
            version: header.version,
            size_bytes: source.size_bytes(),
            metadata: header.metadata,
            tensors,
            by_name,
        })
    }

    /// The version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The length of the file.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The metadata keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.metadata.keys().map(String::as_str)
    }

    /// The metadata value of `key`, whatever its type.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// The text of `key`; `None` if it is absent or something else, as with all getters below.
    pub fn str(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer of `key`, of whatever width in the file, if it fits.
    pub fn u32(&self, key: &str) -> Option<u32> {
        self.u64(key)?.try_into().ok()
    }

    /// The integer of `key`, of whatever width in the file, if it is not negative.
    pub fn u64(&self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::Int(number) => (*number).try_into().ok(),
            _ => None,
        }
    }

    /// The float of `key`; one of 64 bits is rounded.
    pub fn f32(&self, key: &str) -> Option<f32> {
        match self.value(key)? {
            Value::Float(number) => Some(*number as f32),
            _ => None,
        }
    }

    /// The truth value of `key`.
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.value(key)? {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The list of texts of `key`.
    pub fn strings(&self, key: &str) -> Option<&[String]> {
        match self.value(key)? {
            Value::Strings(texts) => Some(texts),
            _ => None,
        }
    }

    /// The list of floats of `key`; those of 64 bits are rounded.
    pub fn f32s(&self, key: &str) -> Option<&[f32]> {
        match self.value(key)? {
            Value::Floats(numbers) => Some(numbers),
            _ => None,
        }
    }

    /// The list of integers (or truth values, as 0 and 1) of `key`, of whatever width in the file, if all fit.
    pub fn i32s(&self, key: &str) -> Option<&[i32]> {
        match self.value(key)? {
            Value::Ints(numbers) => Some(numbers),
            _ => None,
        }
    }

    /// All tensors, in the order of the header.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).map(|&i| &self.tensors[i])
    }

    /// Reads the data of `tensor` and checks its scales.
    ///
    /// # Errors
    /// As [`read_rows`](Self::read_rows).
    pub async fn read_tensor(&self, source: &impl Source, tensor: &TensorInfo) -> Result<Vec<u8>> {
        self.read_rows(source, tensor, 0..tensor.rows()).await
    }

    /// Reads some rows of `tensor` and checks their scales.
    ///
    /// # Errors
    /// `model-corrupt` naming the block of a scale that is NaN or infinite; `internal` for rows that the tensor does not
    /// have; `model-unreachable` if `source` is no longer as long as when the header was read; whatever `source` reports.
    pub async fn read_rows(&self, source: &impl Source, tensor: &TensorInfo, rows: Range<u64>) -> Result<Vec<u8>> {
        let TensorInfo { name, ty, .. } = tensor;
        if rows.start > rows.end || rows.end > tensor.rows() {
            let message = format!("tensor {name} has {} rows, not {rows:?}; this is a bug in Imprint", tensor.rows());
            return Err(Error::new(ErrorKind::Internal, message));
        }
        if source.size_bytes() != self.size_bytes {
            let message =
                format!("the file had {} bytes and now has {}; open it again", self.size_bytes, source.size_bytes());
            return Err(Error::new(ErrorKind::ModelUnreachable, message));
        }
        let offset = tensor.offset + rows.start * tensor.row_bytes();
        let bytes = read_exact(source, offset, (rows.end - rows.start) * tensor.row_bytes()).await?;
        match bad_scale(*ty, &bytes) {
            None => Ok(bytes),
            Some((block, value)) => {
                let block = rows.start * (tensor.cols() / ty.block_len() as u64) + block as u64;
                Err(within(format_args!("tensor {name}"), bad_scale_error(*ty, block, value)))
            }
        }
    }
}

/// Reads `len` bytes and makes sure that it is so many.
async fn read_exact(source: &impl Source, offset: u64, len: u64) -> Result<Vec<u8>> {
    let Ok(len) = usize::try_from(len) else {
        let message = format!("{len} bytes in one piece are more than this machine can hold; choose a smaller model");
        return Err(Error::new(ErrorKind::OutOfMemory, message));
    };
    let bytes = source.read_at(offset, len).await?;
    if bytes.len() == len {
        return Ok(bytes);
    }
    let message = format!("the source gave {} of {len} bytes at {offset}; open the file again", bytes.len());
    Err(Error::new(ErrorKind::ModelUnreachable, message))
}

/// An error that the file is damaged.
fn corrupt(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::ModelCorrupt, format!("{what}; the file is damaged, get it again"))
}

/// The same error, saying where in the file it is.
fn within(place: impl std::fmt::Display, error: Error) -> Error {
    Error::new(error.kind(), format!("{place}: {error}")).with_source(error)
}

/// What tensor data is aligned to: 32 unless the file says otherwise.
fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64> {
    match metadata.get("general.alignment") {
        None => Ok(32),
        Some(&Value::Int(n)) if n > 0 && (n % 8 == 0 || n & (n - 1) == 0) && n <= i128::from(u32::MAX) => Ok(n as u64),
        Some(value) => {
            Err(corrupt(format_args!("general.alignment is {value:?}, not a power of two or a multiple of eight")))
        }
    }
}

/// Makes the tensors' offsets absolute and holds them against the file and each other.
fn place(tensors: &mut [TensorInfo], header_bytes: u64, alignment: u64, file_bytes: u64) -> Result<()> {
    // Without tensors there is no data, and no writer is held to padding.
    let mut data_end = header_bytes;
    for tensor in tensors.iter_mut() {
        let TensorInfo { name, offset, size_bytes, .. } = tensor;
        if !offset.is_multiple_of(alignment) {
            return Err(corrupt(format_args!("tensor {name} begins at {offset}, no multiple of {alignment}")));
        }
        let start = header_bytes.checked_next_multiple_of(alignment).and_then(|data| data.checked_add(*offset));
        let end = start.and_then(|start| start.checked_add(*size_bytes)).filter(|end| *end <= file_bytes);
        let (Some(start), Some(end)) = (start, end) else {
            let what = format_args!(
                "tensor {name} has {size_bytes} bytes at {offset} of the data; a file of {file_bytes} bytes ends before"
            );
            return Err(corrupt(what));
        };
        *offset = start;
        data_end = data_end.max(end);
    }
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.offset);
    for pair in order.windows(2) {
        if pair[0].offset + pair[0].size_bytes > pair[1].offset {
            return Err(corrupt(format_args!("tensors {} and {} overlap", pair[0].name, pair[1].name)));
        }
    }
    if data_end.checked_next_multiple_of(alignment).is_some_and(|padded| file_bytes > padded) {
        return Err(corrupt(format_args!("{} bytes follow the last tensor", file_bytes - data_end)));
    }
    Ok(())
}

/// Where in the list each name is.
fn names(tensors: &[TensorInfo]) -> Result<HashMap<String, usize>> {
    let mut by_name = HashMap::with_capacity(tensors.len());
    for (i, tensor) in tensors.iter().enumerate() {
        if by_name.insert(tensor.name.clone(), i).is_some() {
            return Err(corrupt(format_args!("two tensors are called {}", tensor.name)));
        }
    }
    Ok(by_name)
}
