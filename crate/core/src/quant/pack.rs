//! Blocks sorted into planes of whole words for the GPU, and the plain reading of those planes.

use half::{bf16, f16};

use super::{BlockType, GROUP, check_out, integers, scale_and_min, word_at};
use crate::{Error, ErrorKind, Result};

/// A tensor, or whole rows of one, as the planes that kernels read.
///
/// Every bit of the file is kept and nothing is rounded; the planes together take at most 1.02 × the file's bytes
/// (and less than one word more a plane, where a last word is padded with zeros). Blocks are numbered through the whole
/// tensor, row after row, and so are weights.
///
/// | format | `words` | `high` | `scales` |
/// |---|---|---|---|
/// | F32 | 1 a weight: its bits | – | – |
/// | F16, BF16 | 1 a pair of weights, the first in the low half | – | – |
/// | Q8_0 | 8 a block: 4 consecutive i8 a word, the first in the low byte | – | *halves* |
/// | Q4_0 | 4 a block: *nibbles* | – | *halves* |
/// | Q4_1 | 4 a block: *nibbles* | – | 1 a block: `d` low, `m` high |
/// | Q5_0 | 4 a block: *nibbles* | 1 a block: *bits* | *halves* |
/// | Q5_1 | 4 a block: *nibbles* | 1 a block: *bits* | 1 a block: `d` low, `m` high |
/// | Q4_K | 32 a block: *nibbles* | – | 4 a block: `d` low and `dmin` high, then the 12 bytes of six-bit scales and minima as they are |
/// | Q5_K | 32 a block: *nibbles* | 8 a block: *bits* | as Q4_K |
/// | Q6_K | 32 a block: *nibbles* | 16 a block: *bit pairs* | 5 a block: 16 i8 scales, 4 a word, the first in the low byte; then `d` in the low half of the fifth, zero above |
///
/// - *nibbles*: the low four bits of weights `8j .. 8j + 8` are word `j`; byte `i` of it (0..4, the lowest first) has
///   weight `8j + i` in its low nibble and weight `8j + 4 + i` in its high one. So `w & 0x0f0f0f0f` is four consecutive
///   weights as bytes, and `(w >> 4) & 0x0f0f0f0f` the next four.
/// - *bits*: the fifth bit of weights `32j .. 32j + 32` is word `j`, bit `i` of it that of weight `32j + i`.
/// - *bit pairs*: the fifth and sixth bit of weights `16j .. 16j + 16` are word `j`, bits `2i` and `2i + 1` of it those
///   of weight `16j + i`.
/// - *halves*: the f16 scale `d` of two blocks a word, the even block's in the low half, the last padded with zero.
///   In a kernel: `unpack2x16float(scales[block / 2])[block % 2]`.
///
/// Pieces packed one by one, each an even number of blocks, may be laid end to end: the planes are those of the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The format of the blocks.
    pub ty: BlockType,
    /// The weights, or their low four bits.
    pub words: Vec<u32>,
    /// The bits above the fourth of formats with five or six.
    pub high: Vec<u32>,
    /// The scales, as bits of f16.
    pub scales: Vec<u32>,
}

impl Packed {
    /// Bytes of all planes together.
    pub fn size_bytes(&self) -> usize {
        4 * (self.words.len() + self.high.len() + self.scales.len())
    }
}

/// How many words the planes `words`, `high` and `scales` of `n_blocks` blocks have.
pub fn plane_lens(ty: BlockType, n_blocks: usize) -> [usize; 3] {
    let pairs = n_blocks.div_ceil(2);
    match ty {
        BlockType::F32 => [n_blocks, 0, 0],
        BlockType::F16 | BlockType::BF16 => [pairs, 0, 0],
        BlockType::Q4_0 => [4 * n_blocks, 0, pairs],
        BlockType::Q4_1 => [4 * n_blocks, 0, n_blocks],
        BlockType::Q5_0 => [4 * n_blocks, n_blocks, pairs],
        BlockType::Q5_1 => [4 * n_blocks, n_blocks, n_blocks],
        BlockType::Q8_0 => [8 * n_blocks, 0, pairs],
        BlockType::Q4K => [32 * n_blocks, 0, 4 * n_blocks],
        BlockType::Q5K => [32 * n_blocks, 8 * n_blocks, 4 * n_blocks],
        BlockType::Q6K => [32 * n_blocks, 16 * n_blocks, 5 * n_blocks],
    }
}

/// Sorts whole blocks into the planes of [`Packed`].
///
/// # Errors
/// `model-corrupt` if `bytes` ends inside a block.
pub fn pack(ty: BlockType, bytes: &[u8]) -> Result<Packed> {
    let [words, high, scales] = plane_lens(ty, ty.count_blocks(bytes)?).map(Vec::with_capacity);
    let mut packed = Packed { ty, words, high, scales };
    match ty {
        BlockType::F32 => packed.words.extend(bytes.as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w))),
        BlockType::F16 | BlockType::BF16 => push_halves(&mut packed.words, bytes, 2),
        _ => {
            for block in bytes.chunks_exact(ty.block_bytes()) {
                push_words(&mut packed.words, ty, block);
                push_high(&mut packed.high, ty, block);
            }
            push_scales(&mut packed.scales, ty, bytes);
        }
    }
    Ok(packed)
}

impl Packed {
    /// The same weights for kernels, which know no plane of high bits: formats that have one get a byte a weight, the
    /// number itself where the format has a least weight, else less the middle. No weight is rounded.
    ///
    /// `Q5_1`, `Q5_K` and `Q6_K` keep their scales and have eight words for 32 weights. `Q5_0` is `Q8_0` before it is
    /// packed: see [`q5_0_as_q8_0`].
    pub fn for_kernels(self) -> Self {
        let Self { ty, words, high, scales } = self;
        let (per_word, bits, middle) = match ty {
            BlockType::Q5_1 | BlockType::Q5K => (32, 1, 0),
            BlockType::Q6K => (16, 2, 32),
            _ => return Self { ty, words, high, scales },
        };
        let q = |i: usize| {
            let low = words[i / 8] >> (i % 4 * 8 + i % 8 / 4 * 4) & 15;
            let above = high[i / per_word] >> (i % per_word * bits) & ((1 << bits) - 1);
            ((low | above << 4) as i32 - middle) as i8 as u8
        };
        let bytes = |i: usize| u32::from_le_bytes([q(4 * i), q(4 * i + 1), q(4 * i + 2), q(4 * i + 3)]);
        let wide = (0..2 * words.len()).map(bytes).collect();
        Self { ty, words: wide, high: Vec::new(), scales }
    }
}

/// Blocks of `Q5_0` as blocks of `Q8_0`: the scale is the same, and five bits less their middle fit a byte.
///
/// # Errors
/// `model-corrupt` if `bytes` ends inside a block.
pub fn q5_0_as_q8_0(bytes: &[u8]) -> Result<Vec<u8>> {
    let n = BlockType::Q5_0.count_blocks(bytes)?;
    let (mut groups, mut scales, mut least) = (vec![[0; GROUP]; n], vec![0.0; n], vec![0.0; n]);
    integers(BlockType::Q5_0, bytes, &mut groups, &mut scales, &mut least);
    let mut out = Vec::with_capacity(n * BlockType::Q8_0.block_bytes());
    for (block, group) in bytes.chunks_exact(BlockType::Q5_0.block_bytes()).zip(&groups) {
        out.extend_from_slice(&block[..2]);
        out.extend(group.iter().map(|&q| q as i8 as u8));
    }
    Ok(out)
}

/// Pushes the first two bytes of every `stride` bytes, two pairs a word.
fn push_halves(words: &mut Vec<u32>, bytes: &[u8], stride: usize) {
    for pair in bytes.chunks(2 * stride) {
        let second = pair.get(stride..stride + 2).unwrap_or(&[0, 0]);
        words.push(u32::from_le_bytes([pair[0], pair[1], second[0], second[1]]));
    }
}

fn push_words(words: &mut Vec<u32>, ty: BlockType, block: &[u8]) {
    match ty {
        BlockType::Q8_0 => words.extend((2..34).step_by(4).map(|at| word_at(block, at))),
        // Byte `i` of a small block holds weights `i` and `16 + i`.
        BlockType::Q4_0 | BlockType::Q4_1 | BlockType::Q5_0 | BlockType::Q5_1 => {
            let low = &block[block.len() - 16..];
            words.extend((0..4).map(|j| nibble_word(low, j % 2 * 8, j >= 2)));
        }
        // 32 bytes of Q4_K or Q5_K hold two groups of 32 weights, 64 bytes of Q6_K four.
        BlockType::Q4K | BlockType::Q5K => {
            let low = &block[block.len() - 128..];
            words.extend((0..32).map(|j| nibble_word(low, j / 8 * 32 + j % 4 * 8, j % 8 >= 4)));
        }
        BlockType::Q6K => {
            let low = &block[..128];
            words.extend((0..32).map(|j| nibble_word(low, j / 16 * 64 + j % 8 * 8, j % 16 >= 8)));
        }
        BlockType::F32 | BlockType::F16 | BlockType::BF16 => unreachable!("floats have no blocks"),
    }
}

/// Eight consecutive weights, from the upper or lower nibbles of eight bytes at `at`.
fn nibble_word(low: &[u8], at: usize, upper: bool) -> u32 {
    const LOW: u32 = 0x0f0f_0f0f;
    let (first, second) = (word_at(low, at), word_at(low, at + 4));
    if upper { first >> 4 & LOW | second & !LOW } else { first & LOW | (second & LOW) << 4 }
}

fn push_high(high: &mut Vec<u32>, ty: BlockType, block: &[u8]) {
    match ty {
        BlockType::Q5_0 => high.push(word_at(block, 2)),
        BlockType::Q5_1 => high.push(word_at(block, 4)),
        // Bit `group` of byte `i` belongs to weight `32·group + i`.
        BlockType::Q5K => high.extend((0..8).map(|group| gather(&block[16..48], group, 1))),
        // Bits `2k` and `2k + 1` of byte `i` of a half belong to weight `32k + i` of that half.
        BlockType::Q6K => high.extend((0..16).map(|j| {
            let at = 128 + j / 8 * 32 + j % 2 * 16;
            gather(&block[at..at + 16], j % 8 / 2 * 2, 2)
        })),
        _ => {}
    }
}

/// The `width` bits from bit `shift` on of every byte, side by side.
fn gather(bytes: &[u8], shift: usize, width: usize) -> u32 {
    let mask = (1 << width) - 1;
    bytes.iter().enumerate().fold(0, |word, (i, byte)| word | (u32::from(*byte) >> shift & mask) << (i * width))
}

fn push_scales(scales: &mut Vec<u32>, ty: BlockType, bytes: &[u8]) {
    let size = ty.block_bytes();
    match ty {
        BlockType::Q4_0 | BlockType::Q5_0 | BlockType::Q8_0 => push_halves(scales, bytes, size),
        BlockType::Q4_1 | BlockType::Q5_1 => scales.extend(bytes.chunks_exact(size).map(|block| word_at(block, 0))),
        BlockType::Q4K | BlockType::Q5K => {
            scales.extend(bytes.chunks_exact(size).flat_map(|block| [0, 4, 8, 12].map(|at| word_at(block, at))));
        }
        BlockType::Q6K => {
            for block in bytes.chunks_exact(size) {
                scales.extend([192, 196, 200, 204].map(|at| word_at(block, at)));
                scales.push(u32::from(u16::from_le_bytes([block[208], block[209]])));
            }
        }
        BlockType::F32 | BlockType::F16 | BlockType::BF16 => unreachable!("floats have no scales"),
    }
}

/// Reads the planes weight by weight, with the same arithmetic as [`dequantise`](super::dequantise).
///
/// This is the meaning of [`Packed`], written for tests of kernels to hold on to; it is not fast.
///
/// # Errors
/// `internal` if `out` is no whole number of blocks or the planes are not those of as many weights.
pub fn unpack(packed: &Packed, out: &mut [f32]) -> Result<()> {
    let ty = packed.ty;
    let n_blocks = out.len() / ty.block_len();
    check_out(n_blocks * ty.block_len(), out)?;
    let lens = [packed.words.len(), packed.high.len(), packed.scales.len()];
    if lens != plane_lens(ty, n_blocks) {
        let message =
            format!("planes of {lens:?} words are not {n_blocks} {} blocks; this is a bug in Imprint", ty.name());
        return Err(Error::new(ErrorKind::Internal, message));
    }
    for (i, w) in out.iter_mut().enumerate() {
        *w = weight(packed, i);
    }
    Ok(())
}

/// Weight `i` of the tensor.
fn weight(packed: &Packed, i: usize) -> f32 {
    let Packed { ty, words, high, scales } = packed;
    let (block, low) = (i / ty.block_len(), |i: usize| words[i / 8] >> (i % 4 * 8 + i % 8 / 4 * 4) & 15);
    let five = |i: usize| low(i) | (high[i / 32] >> (i % 32) & 1) << 4;
    match ty {
        BlockType::F32 => f32::from_bits(words[i]),
        BlockType::F16 => half(words, i),
        BlockType::BF16 => bf16::from_bits((words[i / 2] >> (i % 2 * 16)) as u16).to_f32(),
        BlockType::Q8_0 => half(scales, block) * signed_byte(words, i),
        BlockType::Q4_0 => half(scales, block) * (low(i) as i32 - 8) as f32,
        BlockType::Q5_0 => half(scales, block) * (five(i) as i32 - 16) as f32,
        BlockType::Q4_1 => half(scales, 2 * block) * low(i) as f32 + half(scales, 2 * block + 1),
        BlockType::Q5_1 => half(scales, 2 * block) * five(i) as f32 + half(scales, 2 * block + 1),
        BlockType::Q4K => affine(&scales[4 * block..], i, low(i)),
        BlockType::Q5K => affine(&scales[4 * block..], i, five(i)),
        BlockType::Q6K => {
            let q = low(i) | (high[i / 16] >> (i % 16 * 2) & 3) << 4;
            let scales = &scales[5 * block..];
            half(scales, 8) * signed_byte(scales, i % 256 / 16) * (q as i32 - 32) as f32
        }
    }
}

/// Half `i` of a plane of two halves a word.
fn half(words: &[u32], i: usize) -> f32 {
    f16::from_bits((words[i / 2] >> (i % 2 * 16)) as u16).to_f32()
}

/// Signed byte `i` of a plane of four bytes a word.
fn signed_byte(words: &[u32], i: usize) -> f32 {
    f32::from((words[i / 4] >> (i % 4 * 8)) as i8)
}

/// Weight `i` of a Q4_K or Q5_K block with the number `q`.
fn affine(scales: &[u32], i: usize, q: u32) -> f32 {
    let bytes: Vec<u8> = scales[1..4].iter().flat_map(|word| word.to_le_bytes()).collect();
    let (scale, min) = scale_and_min(&bytes, i % 256 / 32);
    half(scales, 0) * scale * q as f32 - half(scales, 1) * min
}
