//! The header as a stream: fixed numbers, then metadata, then the list of tensors.

use std::collections::BTreeMap;

use super::{Source, TensorInfo, corrupt, read_exact, within};
use crate::quant::BlockType;
use crate::{Error, ErrorKind, Result};

/// The first and the largest piece that is read at once, unless one value is larger.
const FIRST_CHUNK: u64 = 64 << 10;
const LARGEST_CHUNK: u64 = 1 << 20;

/// What one allocation may take beyond the file's own size: lists of short texts are larger in memory than in the file.
const SPARE_BYTES: u64 = 1 << 20;

/// More entries or tensors than this are not believed; real files have hundreds.
const MOST_ENTRIES: u64 = 1 << 16;

/// A longer header is not believed; the largest vocabularies make about ten mebibytes.
const MOST_HEADER_BYTES: u64 = 256 << 20;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// An integer of any width in the file.
    Int(i128),
    /// A float of 32 or 64 bits.
    Float(f64),
    /// A text; sequences that are not UTF-8 have become U+FFFD.
    Text(String),
    /// A list of integers or truth values that all fit 32 bits.
    Ints(Vec<i32>),
    /// A list of floats, rounded to 32 bits.
    Floats(Vec<f32>),
    /// A list of texts.
    Strings(Vec<String>),
    /// A list of so many integers, of which some do not fit 32 bits: not kept.
    Wide(u64),
}

/// What the header says, before it is held against the file.
pub(super) struct Header {
    pub version: u32,
    pub metadata: BTreeMap<String, Value>,
    /// The tensors, their offsets still counted from where the data begins.
    pub tensors: Vec<TensorInfo>,
    pub size_bytes: u64,
}

/// Reads the header of `source`.
pub(super) async fn read(source: &impl Source) -> Result<Header> {
    let mut reader = Reader::new(source);
    let magic: [u8; 4] = reader.array().await?;
    if &magic != b"GGUF" {
        return Err(corrupt(format_args!(
            "the file begins with {:?}, not with \"GGUF\"",
            String::from_utf8_lossy(&magic)
        )));
    }
    let version = version(reader.u32().await?)?;
    let n_tensors = reader.u64().await?;
    let n_entries = reader.u64().await?;
    // The least an entry takes: a length, a type and a byte; the least a tensor takes: one axis and an empty name.
    reader.check_count(n_entries, 13, "metadata entries")?;
    reader.check_count(n_tensors, 32, "tensors")?;
    if n_entries.max(n_tensors) > MOST_ENTRIES {
        return Err(corrupt(format_args!("{n_entries} metadata entries and {n_tensors} tensors are not believable")));
    }
    let mut metadata = BTreeMap::new();
    for i in 0..n_entries {
        let key = reader.name().await.map_err(|e| within(format_args!("metadata entry {i}"), e))?;
        let value = reader.value().await.map_err(|e| within(format_args!("metadata {key}"), e))?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(corrupt(format_args!("metadata {key} stands twice")));
        }
    }
    let mut tensors = Vec::new();
    for i in 0..n_tensors {
        let name = reader.name().await.map_err(|e| within(format_args!("tensor {i}"), e))?;
        let place = format!("tensor {name}");
        tensors.push(reader.tensor(name).await.map_err(|e| within(place, e))?);
    }
    Ok(Header { version, metadata, tensors, size_bytes: reader.position() })
}

fn version(number: u32) -> Result<u32> {
    let unsupported = |what: String| Err(Error::new(ErrorKind::ModelUnsupported, what));
    match number {
        2 | 3 => Ok(number),
        1 => unsupported("GGUF version 1 is too old; convert the model again, versions 2 and 3 are read".into()),
        _ if matches!(number.swap_bytes(), 1..=3) => {
            unsupported("the file is big endian; choose the little-endian file of the model".into())
        }
        _ => unsupported(format!("GGUF version {number} is not known; versions 2 and 3 are read")),
    }
}

/// The types of a metadata value, by their numbers in the file.
mod kind {
    pub const I8: u32 = 1;
    pub const I16: u32 = 3;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const BOOL: u32 = 7;
    pub const TEXT: u32 = 8;
    pub const LIST: u32 = 9;
    pub const I64: u32 = 11;
    pub const F64: u32 = 12;

    /// Bytes of a number of this type; `None` for text, lists and numbers of no type.
    pub fn size_bytes(kind: u32) -> Option<u64> {
        match kind {
            0 | I8 | BOOL => Some(1),
            2 | I16 => Some(2),
            4 | I32 | F32 => Some(4),
            10 | I64 | F64 => Some(8),
            _ => None,
        }
    }
}

/// Reads onwards through a source, a piece at a time.
struct Reader<'a, S> {
    source: &'a S,
    file_bytes: u64,
    buffer: Vec<u8>,
    /// The next byte of the buffer.
    at: usize,
    /// Where in the file the buffer ends.
    end: u64,
    chunk: u64,
}

impl<'a, S: Source> Reader<'a, S> {
    fn new(source: &'a S) -> Self {
        Self { source, file_bytes: source.size_bytes(), buffer: Vec::new(), at: 0, end: 0, chunk: FIRST_CHUNK }
    }

    /// Where in the file the next byte is.
    fn position(&self) -> u64 {
        self.end - (self.buffer.len() - self.at) as u64
    }

    /// Makes sure that `count` things of at least `least_bytes` each can stand in what is left for the header.
    fn check_count(&self, count: u64, least_bytes: u64, what: &str) -> Result<()> {
        let left = self.file_bytes.min(MOST_HEADER_BYTES).saturating_sub(self.position());
        if count <= left / least_bytes {
            return Ok(());
        }
        let position = self.position();
        Err(corrupt(format_args!("{count} {what} at byte {position}, but only {left} bytes are left for the header")))
    }

    /// Makes sure that one allocation is in proportion to the file.
    fn check_memory(&self, bytes: u64, what: &str) -> Result<()> {
        if bytes <= self.file_bytes.saturating_add(SPARE_BYTES) {
            return Ok(());
        }
        Err(corrupt(format_args!("{what} at byte {} would take more memory than the whole file", self.position())))
    }

    /// The next `len` bytes.
    async fn take(&mut self, len: u64) -> Result<&[u8]> {
        self.check_count(len, 1, "bytes of a value")?;
        let ready = (self.buffer.len() - self.at) as u64;
        if len > ready {
            let more = (len - ready).max(self.chunk).min(self.file_bytes - self.end);
            let more = read_exact(self.source, self.end, more).await?;
            self.end += more.len() as u64;
            self.chunk = (2 * self.chunk).min(LARGEST_CHUNK);
            self.buffer = if ready == 0 { more } else { [&self.buffer[self.at..], &more].concat() };
            self.at = 0;
        }
        // The buffer holds that many bytes, so the length fits.
        let taken = &self.buffer[self.at..][..len as usize];
        self.at += len as usize;
        Ok(taken)
    }

    async fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64).await?);
        Ok(array)
    }

    async fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array().await?))
    }

    async fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array().await?))
    }

    /// A key or a tensor's name: UTF-8, or the file is damaged.
    async fn name(&mut self) -> Result<String> {
        let position = self.position();
        let len = self.u64().await?;
        let bytes = self.take(len).await?;
        match str::from_utf8(bytes) {
            Ok(name) => Ok(name.to_owned()),
            Err(_) => Err(corrupt(format_args!("the name at byte {position} is not UTF-8"))),
        }
    }

    /// A text of a value: what is not UTF-8 becomes U+FFFD.
    async fn text(&mut self) -> Result<String> {
        let len = self.u64().await?;
        let bytes = self.take(len).await?;
        if let Ok(text) = str::from_utf8(bytes) {
            return Ok(text.to_owned());
        }
        // Every byte may become three, in a buffer that doubles.
        let text = if len <= SPARE_BYTES / 6 { Some(String::from_utf8_lossy(bytes).into_owned()) } else { None };
        text.ok_or_else(|| corrupt(format_args!("a text of {len} bytes before byte {} is not UTF-8", self.position())))
    }

    async fn value(&mut self) -> Result<Value> {
        let kind = self.u32().await?;
        match kind {
            kind::TEXT => Ok(Value::Text(self.text().await?)),
            kind::LIST => self.list().await,
            _ => {
                let Some(size) = kind::size_bytes(kind) else {
                    return Err(self.unknown_kind(kind));
                };
                let bytes = self.take(size).await?;
                match kind {
                    kind::F32 | kind::F64 => Ok(Value::Float(float(bytes))),
                    kind::BOOL if bytes[0] > 1 => Err(corrupt(format_args!("a truth value of {}", bytes[0]))),
                    kind::BOOL => Ok(Value::Bool(bytes[0] == 1)),
                    _ => Ok(Value::Int(integer(kind, bytes))),
                }
            }
        }
    }

    async fn list(&mut self) -> Result<Value> {
        let kind = self.u32().await?;
        let count = self.u64().await?;
        if kind == kind::TEXT {
            return self.texts(count).await;
        }
        if kind == kind::LIST {
            let message = "lists of lists are not read; choose a file without them".to_owned();
            return Err(Error::new(ErrorKind::ModelUnsupported, message));
        }
        let Some(size) = kind::size_bytes(kind) else {
            return Err(self.unknown_kind(kind));
        };
        self.check_count(count, size, "numbers of a list")?;
        self.check_memory(4 * count, "a list of numbers")?;
        let bytes = self.take(count * size).await?;
        let items = bytes.chunks_exact(size as usize);
        if matches!(kind, kind::F32 | kind::F64) {
            return Ok(Value::Floats(items.map(|item| float(item) as f32).collect()));
        }
        // Collected by hand: `collect` into an option does not know the length and doubles its buffer.
        let mut ints = Vec::with_capacity(count as usize);
        for item in items {
            let Ok(number) = i32::try_from(integer(kind, item)) else { return Ok(Value::Wide(count)) };
            ints.push(number);
        }
        Ok(Value::Ints(ints))
    }

    async fn texts(&mut self, count: u64) -> Result<Value> {
        self.check_count(count, 8, "texts of a list")?;
        self.check_memory(count.saturating_mul(size_of::<String>() as u64), "a list of texts")?;
        let mut texts = Vec::with_capacity(count as usize);
        for i in 0..count {
            texts.push(self.text().await.map_err(|e| within(format_args!("text {i}"), e))?);
        }
        Ok(Value::Strings(texts))
    }

    fn unknown_kind(&self, kind: u32) -> Error {
        corrupt(format_args!("a value of type {kind} before byte {}, of no type of GGUF", self.position()))
    }

    /// The rest of a tensor's entry, its offset still relative.
    async fn tensor(&mut self, name: String) -> Result<TensorInfo> {
        let n_axes = self.u32().await?;
        if !(1..=4).contains(&n_axes) {
            return Err(corrupt(format_args!("{n_axes} axes, GGUF has one to four")));
        }
        let mut shape = Vec::with_capacity(n_axes as usize);
        for _ in 0..n_axes {
            shape.push(self.u64().await?);
        }
        let id = self.u32().await?;
        let ty = BlockType::from_ggml(id).ok_or_else(|| unsupported_type(id))?;
        let size_bytes = tensor_bytes(ty, &shape)?;
        Ok(TensorInfo { name, shape, ty, offset: self.u64().await?, size_bytes })
    }
}

/// Bytes of a tensor, if its shape makes sense.
fn tensor_bytes(ty: BlockType, shape: &[u64]) -> Result<u64> {
    if shape.contains(&0) {
        return Err(corrupt(format_args!("the shape {shape:?} has an empty axis")));
    }
    let (len, bytes) = (ty.block_len() as u64, ty.block_bytes() as u64);
    if !shape[0].is_multiple_of(len) {
        return Err(corrupt(format_args!(
            "rows of {} weights are no whole number of {} blocks of {len}",
            shape[0],
            ty.name()
        )));
    }
    // Weights and bytes both have to fit: later code multiplies the axes without looking.
    let n_weights = shape.iter().try_fold(1u64, |product, &axis| product.checked_mul(axis));
    let size = n_weights.and_then(|n| (n / len).checked_mul(bytes));
    size.ok_or_else(|| corrupt(format_args!("the shape {shape:?} has more weights than can be counted")))
}

fn unsupported_type(id: u32) -> Error {
    let supported = BlockType::ALL.map(BlockType::name).join(", ");
    let name = type_name(id).map_or(String::new(), |name| format!(" {name}"));
    let message = format!("block format{name} (type {id}) is not read; choose a file with only {supported}");
    Error::new(ErrorKind::ModelUnsupported, message)
}

/// What ggml calls the formats that Imprint does not read.
fn type_name(id: u32) -> Option<&'static str> {
    Some(match id {
        4 => "Q4_2",
        5 => "Q4_3",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        _ => return None,
    })
}

/// A float of four or eight bytes.
fn float(bytes: &[u8]) -> f64 {
    match bytes.first_chunk::<8>() {
        Some(bytes) => f64::from_le_bytes(*bytes),
        None => f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
    }
}

/// An integer of one to eight bytes, signed if its type is.
fn integer(kind: u32, bytes: &[u8]) -> i128 {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let number = u64::from_le_bytes(wide);
    let unused_bits = 64 - 8 * bytes.len();
    match kind {
        kind::I8 | kind::I16 | kind::I32 | kind::I64 => {
            i128::from((number << unused_bits).cast_signed() >> unused_bits)
        }
        _ => i128::from(number),
    }
}
