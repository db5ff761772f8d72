//! Block formats of GGUF tensors: how many bytes they take, what f32 they stand for, how the GPU wants them.
//!
//! A tensor is a row of blocks, each a few scales and a small integer a weight. [`dequantise`] turns blocks into f32
//! with the arithmetic, in its order, of the `gguf` Python package, so the two agree to the bit. [`pack`] sorts the same
//! bits into planes that a kernel reads as whole words; [`unpack`] says in plain code what those planes mean.
//!
//! Source of the layouts: `ggml-common.h` and `gguf-py/gguf/quants.py` of the ggml project.

mod integers;
mod pack;
#[cfg(test)]
mod tests;

pub use integers::{GROUP, Group, from_half, has_least, integers};
pub use pack::{Packed, pack, plane_lens, q5_0_as_q8_0, unpack};

use half::{bf16, f16};

use crate::{Error, ErrorKind, Result};

/// The block formats that Imprint reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum BlockType {
    /// One f32.
    F32,
    /// One half-precision float.
    F16,
    /// One bfloat16: the upper half of an f32.
    BF16,
    /// 32 weights of 4 bits and a scale: `d·(q - 8)`.
    Q4_0,
    /// 32 weights of 4 bits, a scale and a least value: `d·q + m`.
    Q4_1,
    /// 32 weights of 5 bits and a scale: `d·(q - 16)`.
    Q5_0,
    /// 32 weights of 5 bits, a scale and a least value: `d·q + m`.
    Q5_1,
    /// 32 weights of 8 bits and a scale: `d·q`.
    Q8_0,
    /// 256 weights of 4 bits in eight groups with six-bit scales and minima: `(d·scale)·q - (dmin·min)`.
    Q4K,
    /// As [`BlockType::Q4K`], with 5 bits a weight.
    Q5K,
    /// 256 weights of 6 bits in sixteen groups with eight-bit scales: `(d·scale)·(q - 32)`.
    Q6K,
}

impl BlockType {
    /// The format in which kernels read it: five bits without a least value are a byte there.
    pub fn widened(self) -> Self {
        if self == Self::Q5_0 { Self::Q8_0 } else { self }
    }

    /// Every format, in the order of the declaration.
    pub const ALL: [BlockType; 11] = [
        BlockType::F32,
        BlockType::F16,
        BlockType::BF16,
        BlockType::Q4_0,
        BlockType::Q4_1,
        BlockType::Q5_0,
        BlockType::Q5_1,
        BlockType::Q8_0,
        BlockType::Q4K,
        BlockType::Q5K,
        BlockType::Q6K,
    ];

    /// The format that ggml gives the number `id`, if Imprint reads it.
    pub fn from_ggml(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.ggml_id() == id)
    }

    /// The number that ggml gives this format.
    pub fn ggml_id(self) -> u32 {
        match self {
            BlockType::F32 => 0,
            BlockType::F16 => 1,
            BlockType::Q4_0 => 2,
            BlockType::Q4_1 => 3,
            BlockType::Q5_0 => 6,
            BlockType::Q5_1 => 7,
            BlockType::Q8_0 => 8,
            BlockType::Q4K => 12,
            BlockType::Q5K => 13,
            BlockType::Q6K => 14,
            BlockType::BF16 => 30,
        }
    }

    /// The name as ggml writes it.
    pub fn name(self) -> &'static str {
        match self {
            BlockType::F32 => "F32",
            BlockType::F16 => "F16",
            BlockType::BF16 => "BF16",
            BlockType::Q4_0 => "Q4_0",
            BlockType::Q4_1 => "Q4_1",
            BlockType::Q5_0 => "Q5_0",
            BlockType::Q5_1 => "Q5_1",
            BlockType::Q8_0 => "Q8_0",
            BlockType::Q4K => "Q4_K",
            BlockType::Q5K => "Q5_K",
            BlockType::Q6K => "Q6_K",
        }
    }

    /// Weights in a block.
    pub fn block_len(self) -> usize {
        match self {
            BlockType::F32 | BlockType::F16 | BlockType::BF16 => 1,
            BlockType::Q4_0 | BlockType::Q4_1 | BlockType::Q5_0 | BlockType::Q5_1 | BlockType::Q8_0 => 32,
            BlockType::Q4K | BlockType::Q5K | BlockType::Q6K => 256,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            BlockType::F32 => 4,
            BlockType::F16 | BlockType::BF16 => 2,
            BlockType::Q4_0 => 18,
            BlockType::Q4_1 => 20,
            BlockType::Q5_0 => 22,
            BlockType::Q5_1 => 24,
            BlockType::Q8_0 => 34,
            BlockType::Q4K => 144,
            BlockType::Q5K => 176,
            BlockType::Q6K => 210,
        }
    }

    /// Bytes of a row of `n` weights.
    ///
    /// # Panics
    /// If `n` is no multiple of [`block_len`](Self::block_len): the reader of a file lets no such row through.
    pub fn row_bytes(self, n: usize) -> usize {
        assert!(
            n.is_multiple_of(self.block_len()),
            "a row of {n} weights is no whole number of {} blocks",
            self.name()
        );
        n / self.block_len() * self.block_bytes()
    }

    /// Where in a block its f16 scales stand; empty where the weights are floats themselves.
    pub(crate) fn scale_places(self) -> &'static [usize] {
        match self {
            BlockType::F32 | BlockType::F16 | BlockType::BF16 => &[],
            BlockType::Q4_0 | BlockType::Q5_0 | BlockType::Q8_0 => &[0],
            BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K => &[0, 2],
            BlockType::Q6K => &[208],
        }
    }

    /// How many blocks `bytes` are.
    fn count_blocks(self, bytes: &[u8]) -> Result<usize> {
        let size = self.block_bytes();
        if bytes.len().is_multiple_of(size) {
            return Ok(bytes.len() / size);
        }
        let message = format!(
            "{} bytes of {} are no whole number of blocks of {size} bytes; the file is damaged, get it again",
            bytes.len(),
            self.name()
        );
        Err(Error::new(ErrorKind::ModelCorrupt, message))
    }
}

/// Turns whole blocks into the f32 they stand for.
///
/// # Shapes
/// - `bytes`: any number of whole blocks, `out`: as many weights as those blocks hold
///
/// # Errors
/// `model-corrupt` if `bytes` ends inside a block, `internal` if `out` has another length than the weights. Scales are
/// taken as they are: [`check_scales`] refuses the impossible ones.
pub fn dequantise(ty: BlockType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    let n_weights = ty.count_blocks(bytes)? * ty.block_len();
    check_out(n_weights, out)?;
    match ty {
        BlockType::F32 => each(bytes, out, |block, [w]| *w = f32::from_le_bytes(*block)),
        BlockType::F16 => each(bytes, out, |block: &[u8; 2], [w]| *w = half_at(block, 0)),
        BlockType::BF16 => each(bytes, out, |block, [w]| *w = bf16::from_le_bytes(*block).to_f32()),
        BlockType::Q4_0 => each(bytes, out, q4_0),
        BlockType::Q4_1 => each(bytes, out, q4_1),
        BlockType::Q5_0 => each(bytes, out, q5_0),
        BlockType::Q5_1 => each(bytes, out, q5_1),
        BlockType::Q8_0 => each(bytes, out, q8_0),
        BlockType::Q4K => each(bytes, out, q4_k),
        BlockType::Q5K => each(bytes, out, q5_k),
        BlockType::Q6K => each(bytes, out, q6_k),
    }
    Ok(())
}

/// Makes sure that every scale, or every weight of a float format, is a finite number.
///
/// # Errors
/// `model-corrupt`, naming the first block with a scale that is NaN or infinite, or if `bytes` ends inside a block.
pub fn check_scales(ty: BlockType, bytes: &[u8]) -> Result<()> {
    ty.count_blocks(bytes)?;
    match bad_scale(ty, bytes) {
        None => Ok(()),
        Some((block, value)) => Err(bad_scale_error(ty, block as u64, value)),
    }
}

/// The first block with a scale that is no finite number, and that scale.
pub(crate) fn bad_scale(ty: BlockType, bytes: &[u8]) -> Option<(usize, f32)> {
    let first = |find: &dyn Fn(&[u8]) -> Option<f32>| {
        bytes.chunks_exact(ty.block_bytes()).enumerate().find_map(|(block, bytes)| Some((block, find(bytes)?)))
    };
    let infinite = |value: f32| (!value.is_finite()).then_some(value);
    match ty {
        BlockType::F32 => first(&|b| infinite(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        BlockType::BF16 => first(&|b| infinite(bf16::from_le_bytes([b[0], b[1]]).to_f32())),
        BlockType::F16 => first(&|b| infinite(half_at(b, 0))),
        _ => first(&|b| ty.scale_places().iter().find_map(|&at| infinite(half_at(b, at)))),
    }
}

/// The error for what [`bad_scale`] found.
pub(crate) fn bad_scale_error(ty: BlockType, block: u64, value: f32) -> Error {
    let what = if ty.block_len() == 1 { format!("weight {block}") } else { format!("block {block}'s scale") };
    let message =
        format!("{what} ({}) is {value}, not a number to compute with; the file is damaged, get it again", ty.name());
    Error::new(ErrorKind::ModelCorrupt, message)
}

fn check_out(n_weights: usize, out: &[f32]) -> Result<()> {
    if n_weights == out.len() {
        return Ok(());
    }
    let message =
        format!("{n_weights} weights do not fit an output of {}; this is a bug in Imprint, report it", out.len());
    Err(Error::new(ErrorKind::Internal, message))
}

/// Runs `decode` on every block and the weights it makes.
fn each<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    for (block, weights) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        decode(block, weights);
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn word_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (i, &byte) in block[2..].iter().enumerate() {
        out[i] = d * (i32::from(byte & 15) - 8) as f32;
        out[16 + i] = d * (i32::from(byte >> 4) - 8) as f32;
    }
}

fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, &byte) in block[4..].iter().enumerate() {
        out[i] = d * f32::from(byte & 15) + m;
        out[16 + i] = d * f32::from(byte >> 4) + m;
    }
}

/// The five bits of weight `i`: four from `nibble`, the fifth from `high`.
fn five_bits(nibble: u8, high: u32, i: usize) -> i32 {
    i32::from(nibble) | ((high >> i & 1) << 4) as i32
}

fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let (d, high) = (half_at(block, 0), word_at(block, 2));
    for (i, &byte) in block[6..].iter().enumerate() {
        out[i] = d * (five_bits(byte & 15, high, i) - 16) as f32;
        out[16 + i] = d * (five_bits(byte >> 4, high, 16 + i) - 16) as f32;
    }
}

fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m, high) = (half_at(block, 0), half_at(block, 2), word_at(block, 4));
    for (i, &byte) in block[8..].iter().enumerate() {
        out[i] = d * five_bits(byte & 15, high, i) as f32 + m;
        out[16 + i] = d * five_bits(byte >> 4, high, 16 + i) as f32 + m;
    }
}

fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (w, &byte) in out.iter_mut().zip(&block[2..]) {
        *w = f32::from(byte as i8) * d;
    }
}

/// Scale and minimum of group `group` (0..8) of a Q4_K or Q5_K block, from its twelve bytes of six-bit numbers.
///
/// The lower four groups have theirs whole; the upper four keep four bits in the last bytes and two above the lower ones'.
fn scale_and_min(packed: &[u8], group: usize) -> (f32, f32) {
    let (scale, min) = if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        let low = packed[group + 4];
        (low & 15 | packed[group - 4] >> 2 & 48, low >> 4 | packed[group] >> 2 & 48)
    };
    (f32::from(scale), f32::from(min))
}

fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scale_and_min(&block[4..16], group);
        let (scale, min) = (d * scale, dmin * min);
        for (w, byte) in out.iter_mut().zip(&block[16 + group / 2 * 32..]) {
            *w = scale * f32::from(byte >> (group % 2 * 4) & 15) - min;
        }
    }
}

fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scale_and_min(&block[4..16], group);
        let (scale, min) = (d * scale, dmin * min);
        let low = &block[48 + group / 2 * 32..];
        for ((w, byte), high) in out.iter_mut().zip(low).zip(&block[16..48]) {
            let q = byte >> (group % 2 * 4) & 15 | (high >> group & 1) << 4;
            *w = scale * f32::from(q) - min;
        }
    }
}

fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = half_at(block, 208);
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        // Four groups of 32 weights share a half of the block: two in the low nibbles of its 64 bytes, two in the high.
        let (part, inner) = (group / 4, group % 4);
        let low = &block[64 * part + 32 * (inner % 2)..];
        let high = &block[128 + 32 * part..];
        for (i, w) in out.iter_mut().enumerate() {
            let scale = d * f32::from(block[192 + 2 * group + i / 16] as i8);
            let q = low[i] >> (inner / 2 * 4) & 15 | (high[i] >> (2 * inner) & 3) << 4;
            *w = scale * (i32::from(q) - 32) as f32;
        }
    }
}
