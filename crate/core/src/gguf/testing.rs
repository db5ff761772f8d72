//! Makes weights of every format for small GGUF files (feature `testing`).

use half::{bf16, f16};

pub use super::GgufWriter;
use crate::quant::BlockType;

impl GgufWriter {
    /// Adds a tensor of these weights, quantised by [`quantise`].
    ///
    /// # Panics
    /// As [`quantise`], and if there are not as many weights as the shape says.
    pub fn tensor_of(self, name: &str, shape: &[u64], ty: BlockType, weights: &[f32]) -> Self {
        self.tensor(name, shape, ty, quantise(ty, weights))
    }
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
