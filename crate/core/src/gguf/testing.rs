//! Makes small GGUF files for tests (feature `testing`).

use half::{bf16, f16};

use crate::quant::BlockType;

/// Writes a GGUF file into memory.
///
/// # Example
/// ```
/// # use imprint_core::{gguf::{Gguf, testing::{GgufWriter, quantise}}, quant::BlockType};
/// let weights = quantise(BlockType::Q8_0, &[0.5; 64]);
/// let file = GgufWriter::new()
///     .meta_str("general.architecture", "llama")
///     .tensor("output.weight", &[32, 2], BlockType::Q8_0, weights)
///     .finish();
/// let gguf = pollster::block_on(Gguf::read(&file))?;
/// assert_eq!(gguf.tensor("output.weight").unwrap().rows(), 2);
/// # Ok::<(), imprint_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct GgufWriter {
    version: u32,
    alignment: usize,
    entries: Vec<Vec<u8>>,
    tensors: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Default for GgufWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl GgufWriter {
    /// An empty file of version 3.
    pub fn new() -> Self {
        Self { version: 3, alignment: 32, entries: Vec::new(), tensors: Vec::new() }
    }

    /// Sets the version number.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Sets what tensors are aligned to, and says so in the metadata.
    pub fn alignment(mut self, alignment: u32) -> Self {
        self.alignment = alignment as usize;
        self.meta_u32("general.alignment", alignment)
    }

    /// Adds an entry of any type: `kind` is GGUF's number of the type, `bytes` the value as it stands in the file.
    pub fn meta_raw(mut self, key: &str, kind: u32, bytes: &[u8]) -> Self {
        let mut entry = text(key);
        entry.extend(kind.to_le_bytes());
        entry.extend(bytes);
        self.entries.push(entry);
        self
    }

    /// Adds a text.
    pub fn meta_str(self, key: &str, value: &str) -> Self {
        self.meta_raw(key, 8, &text(value))
    }

    /// Adds an unsigned integer of 32 bits.
    pub fn meta_u32(self, key: &str, value: u32) -> Self {
        self.meta_raw(key, 4, &value.to_le_bytes())
    }

    /// Adds a float of 32 bits.
    pub fn meta_f32(self, key: &str, value: f32) -> Self {
        self.meta_raw(key, 6, &value.to_le_bytes())
    }

    /// Adds a truth value.
    pub fn meta_bool(self, key: &str, value: bool) -> Self {
        self.meta_raw(key, 7, &[u8::from(value)])
    }

    /// Adds a list of any type: `kind` is GGUF's number of the items' type, `items` each as it stands in the file.
    pub fn meta_list(self, key: &str, kind: u32, items: impl ExactSizeIterator<Item = Vec<u8>>) -> Self {
        let mut list = kind.to_le_bytes().to_vec();
        list.extend((items.len() as u64).to_le_bytes());
        list.extend(items.flatten());
        self.meta_raw(key, 9, &list)
    }

    /// Adds a list of texts.
    pub fn meta_strings(self, key: &str, values: &[impl AsRef<str>]) -> Self {
        self.meta_list(key, 8, values.iter().map(|value| text(value.as_ref())))
    }

    /// Adds a list of signed integers of 32 bits.
    pub fn meta_i32s(self, key: &str, values: &[i32]) -> Self {
        self.meta_list(key, 5, values.iter().map(|value| value.to_le_bytes().to_vec()))
    }

    /// Adds a list of floats of 32 bits.
    pub fn meta_f32s(self, key: &str, values: &[f32]) -> Self {
        self.meta_list(key, 6, values.iter().map(|value| value.to_le_bytes().to_vec()))
    }

    /// Adds a tensor; `shape` has the fastest axis first.
    ///
    /// # Panics
    /// If `bytes` is not as long as the shape and format say.
    pub fn tensor(mut self, name: &str, shape: &[u64], ty: BlockType, bytes: Vec<u8>) -> Self {
        let n_weights = shape.iter().product::<u64>() as usize;
        assert_eq!(bytes.len(), ty.row_bytes(n_weights), "tensor {name}");
        let mut info = text(name);
        info.extend((shape.len() as u32).to_le_bytes());
        info.extend(shape.iter().flat_map(|axis| axis.to_le_bytes()));
        info.extend(ty.ggml_id().to_le_bytes());
        self.tensors.push((info, bytes));
        self
    }

    /// Adds a tensor of these weights, quantised by [`quantise`].
    ///
    /// # Panics
    /// As [`quantise`], and if there are not as many weights as the shape says.
    pub fn tensor_of(self, name: &str, shape: &[u64], ty: BlockType, weights: &[f32]) -> Self {
        self.tensor(name, shape, ty, quantise(ty, weights))
    }

    /// The file.
    pub fn finish(self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.entries.len() as u64).to_le_bytes());
        file.extend(self.entries.into_iter().flatten());
        let mut data = Vec::new();
        for (info, bytes) in self.tensors {
            file.extend(info);
            file.extend((data.len() as u64).to_le_bytes());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(self.alignment), 0);
        }
        file.resize(file.len().next_multiple_of(self.alignment), 0);
        file.extend(data);
        file
    }
}

/// A text with its length before it.
fn text(value: &str) -> Vec<u8> {
    let mut bytes = (value.len() as u64).to_le_bytes().to_vec();
    bytes.extend(value.as_bytes());
    bytes
}

/// Rounds weights to F32, F16, BF16, Q4_0, Q4_1 or Q8_0; in the other formats gives others of about that size.
///
/// # Panics
/// If the weights are no whole number of blocks.
pub fn quantise(ty: BlockType, weights: &[f32]) -> Vec<u8> {
    assert!(weights.len().is_multiple_of(ty.block_len()), "{} weights are no whole blocks", weights.len());
    let blocks = weights.chunks_exact(ty.block_len());
    match ty {
        BlockType::F32 => weights.iter().flat_map(|w| w.to_le_bytes()).collect(),
        BlockType::F16 => weights.iter().flat_map(|w| f16::from_f32(*w).to_le_bytes()).collect(),
        BlockType::BF16 => weights.iter().flat_map(|w| bf16::from_f32(*w).to_le_bytes()).collect(),
        BlockType::Q4_0 => blocks.flat_map(q4_0).collect(),
        BlockType::Q4_1 => blocks.flat_map(q4_1).collect(),
        BlockType::Q8_0 => blocks.flat_map(q8_0).collect(),
        _ => blocks.flat_map(|weights| arbitrary(ty, weights)).collect(),
    }
}

/// A block of weights between about -1/4 and 1/4, another for other `weights`.
fn arbitrary(ty: BlockType, weights: &[f32]) -> Vec<u8> {
    let seed = weights.iter().fold(0u64, |seed, weight| seed.rotate_left(5) ^ u64::from(weight.to_bits()));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut block: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(ty.block_bytes()).collect();
    // The scale, and what the least weight is a multiple of.
    let scales = match ty {
        BlockType::Q5_0 => [0.015, 0.0],
        BlockType::Q5_1 => [0.015, -0.25],
        BlockType::Q4K => [5e-4, 4e-3],
        BlockType::Q5K => [2.5e-4, 4e-3],
        _ => [1e-4, 0.0],
    };
    for (&at, scale) in ty.scale_places().iter().zip(scales) {
        block[at..at + 2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    }
    block
}

/// The scale as the file keeps it, and the factor that divides by it.
fn scale(d: f32) -> ([u8; 2], f32) {
    let kept = f16::from_f32(d);
    (kept.to_le_bytes(), if kept.to_f32() == 0.0 { 0.0 } else { 1.0 / kept.to_f32() })
}

/// Two numbers a byte, as ggml orders them: weight `i` below, weight `16 + i` above.
fn nibbles(q: impl Fn(usize) -> u8) -> impl Iterator<Item = u8> {
    (0..16).map(move |i| q(i) | q(16 + i) << 4)
}

fn q4_0(weights: &[f32]) -> Vec<u8> {
    let largest = weights.iter().fold(0.0f32, |a, &b| if b.abs() > a.abs() { b } else { a });
    let (d, inverse) = scale(largest / -8.0);
    let q = |i: usize| (weights[i] * inverse + 8.0).round().clamp(0.0, 15.0) as u8;
    d.into_iter().chain(nibbles(q)).collect()
}

fn q4_1(weights: &[f32]) -> Vec<u8> {
    let least = weights.iter().copied().fold(f32::INFINITY, f32::min);
    let most = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (d, inverse) = scale((most - least) / 15.0);
    let m = f16::from_f32(least);
    let q = |i: usize| ((weights[i] - m.to_f32()) * inverse).round().clamp(0.0, 15.0) as u8;
    d.into_iter().chain(m.to_le_bytes()).chain(nibbles(q)).collect()
}

fn q8_0(weights: &[f32]) -> Vec<u8> {
    let largest = weights.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    let (d, inverse) = scale(largest / 127.0);
    let q = weights.iter().map(|w| (w * inverse).round().clamp(-127.0, 127.0) as i8 as u8);
    d.into_iter().chain(q).collect()
}
