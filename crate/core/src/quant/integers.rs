//! Blocks as small integers, for products in whole numbers.

use super::{BlockType, scale_and_min};

/// Weights that share a scale in these products.
pub const GROUP: usize = 32;

/// Small integers that stand for weights or activations.
pub type Group = [i16; GROUP];

/// Whether a format's weights are `scale·q + least` rather than `scale·q`.
pub fn has_least(ty: BlockType) -> bool {
    matches!(ty, BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K)
}

/// Turns whole blocks of a quantised format into integers, with the scale of each group and, where the format
/// [`has_least`], its least value: a weight is `scale·q + least`, with `q` from -4096 to 4096.
///
/// # Shapes
/// - `bytes`: `n` times 32 weights, `groups`, `scales`, `least`: `n`
///
/// # Panics
/// For a float format, which has no integers: our bug.
#[inline(always)]
pub fn integers(ty: BlockType, bytes: &[u8], groups: &mut [Group], scales: &mut [f32], least: &mut [f32]) {
    let simple = groups.iter_mut().zip(scales.iter_mut().zip(least.iter_mut()));
    match ty {
        BlockType::Q4_0 => {
            for ((group, (scale, _)), block) in simple.zip(bytes.as_chunks::<18>().0) {
                *scale = half_in(block, 0);
                nibbles(&block[2..], group);
                group.iter_mut().for_each(|q| *q = q.wrapping_sub(8));
            }
        }
        BlockType::Q4_1 => {
            for ((group, (scale, least)), block) in simple.zip(bytes.as_chunks::<20>().0) {
                (*scale, *least) = (half_in(block, 0), half_in(block, 2));
                nibbles(&block[4..], group);
            }
        }
        BlockType::Q5_0 => {
            for ((group, (scale, _)), block) in simple.zip(bytes.as_chunks::<22>().0) {
                *scale = half_in(block, 0);
                nibbles(&block[6..], group);
                fifth_bits(&block[2..6], group);
                group.iter_mut().for_each(|q| *q = q.wrapping_sub(16));
            }
        }
        BlockType::Q5_1 => {
            for ((group, (scale, least)), block) in simple.zip(bytes.as_chunks::<24>().0) {
                (*scale, *least) = (half_in(block, 0), half_in(block, 2));
                nibbles(&block[8..], group);
                fifth_bits(&block[4..8], group);
            }
        }
        BlockType::Q8_0 => {
            for ((group, (scale, _)), block) in simple.zip(bytes.as_chunks::<34>().0) {
                *scale = half_in(block, 0);
                group.iter_mut().zip(&block[2..]).for_each(|(q, &byte)| *q = i16::from(byte as i8));
            }
        }
        BlockType::Q4K | BlockType::Q5K | BlockType::Q6K => super_blocks(ty, bytes, groups, scales, least),
        BlockType::F32 | BlockType::F16 | BlockType::BF16 => unreachable!("floats are multiplied as they are"),
    }
}

/// [`unpack`] for the formats of 256 weights a block.
fn super_blocks(ty: BlockType, bytes: &[u8], groups: &mut [Group], scales: &mut [f32], least: &mut [f32]) {
    let groups = groups.as_chunks_mut::<8>().0.iter_mut();
    let scaled = scales.as_chunks_mut::<8>().0.iter_mut().zip(least.as_chunks_mut::<8>().0);
    for ((groups, (scales, least)), block) in groups.zip(scaled).zip(bytes.chunks_exact(ty.block_bytes())) {
        let d = if ty == BlockType::Q6K { half_in(block, 208) } else { half_in(block, 0) };
        for (g, group) in groups.iter_mut().enumerate() {
            (scales[g], least[g]) = if ty == BlockType::Q6K {
                q6_k(block, g, group);
                (d, 0.0)
            } else {
                let (scale, min) = scale_and_min(&block[4..16], g);
                q4_k_or_q5_k(ty, block, g, group);
                (d * scale, -(half_in(block, 2) * min))
            };
        }
    }
}

/// Group `g` of a block of 4 or 5 bits a weight.
#[inline(always)]
fn q4_k_or_q5_k(ty: BlockType, block: &[u8], g: usize, group: &mut Group) {
    let low = if ty == BlockType::Q4K { &block[16..] } else { &block[48..] };
    let low = &low[g / 2 * 32..][..GROUP];
    for (q, byte) in group.iter_mut().zip(low) {
        *q = i16::from(byte >> (g % 2 * 4) & 15);
    }
    if ty == BlockType::Q5K {
        for (q, high) in group.iter_mut().zip(&block[16..48]) {
            *q |= i16::from(high >> g & 1) << 4;
        }
    }
}

/// Group `g` of a block of 6 bits a weight, times the scales of its halves.
#[inline(always)]
fn q6_k(block: &[u8], g: usize, group: &mut Group) {
    // Four groups of 32 weights share a half of the block: two in the low nibbles of its 64 bytes, two in the high.
    let (part, inner) = (g / 4, g % 4);
    let low = &block[64 * part + 32 * (inner % 2)..][..GROUP];
    let high = &block[128 + 32 * part..][..GROUP];
    for (i, (q, (low, high))) in group.iter_mut().zip(low.iter().zip(high)).enumerate() {
        let bits = low >> (inner / 2 * 4) & 15 | (high >> (2 * inner) & 3) << 4;
        *q = i16::from(bits).wrapping_sub(32).wrapping_mul(i16::from(block[192 + 2 * g + i / 16] as i8));
    }
}

/// Sixteen bytes into 32 numbers: the low nibbles, then the high ones.
#[inline(always)]
fn nibbles(bytes: &[u8], group: &mut Group) {
    let (low, high) = group.split_at_mut(GROUP / 2);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(&bytes[..GROUP / 2]) {
        *low = i16::from(byte & 15);
        *high = i16::from(byte >> 4);
    }
}

/// Adds the fifth bits, one a number.
#[inline(always)]
fn fifth_bits(bytes: &[u8], group: &mut Group) {
    let bits = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    for (i, q) in group.iter_mut().enumerate() {
        *q |= ((bits >> i & 1) << 4) as i16;
    }
}

#[inline(always)]
fn half_in(block: &[u8], at: usize) -> f32 {
    from_half(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// A finite half-precision number as f32, without branches: its bits moved over, times 2¹¹² for the other bias.
#[inline(always)]
pub fn from_half(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let size = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(size.to_bits() | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::dequantise;

    #[test]
    fn integers_stand_for_the_same_weights() {
        let mut random = fastrand::Rng::with_seed(3);
        for ty in BlockType::ALL.into_iter().filter(|ty| ty.block_len() > 1) {
            let mut bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(3 * ty.block_bytes()).collect();
            for block in bytes.chunks_exact_mut(ty.block_bytes()) {
                for &at in ty.scale_places() {
                    block[at..at + 2].copy_from_slice(&half::f16::from_f32(random.f32() - 0.5).to_le_bytes());
                }
            }
            let weights = 3 * ty.block_len();
            let n = weights / GROUP;
            let (mut groups, mut scales, mut least) = (vec![[0; GROUP]; n], vec![0.0; n], vec![0.0; n]);
            integers(ty, &bytes, &mut groups, &mut scales, &mut least);
            let mut expected = vec![0.0; weights];
            dequantise(ty, &bytes, &mut expected).unwrap();
            for (g, (group, expected)) in groups.iter().zip(expected.as_chunks::<GROUP>().0).enumerate() {
                assert!(has_least(ty) || least[g] == 0.0);
                for (&q, &expected) in group.iter().zip(expected) {
                    let found = scales[g] * f32::from(q) + least[g];
                    assert!(q.abs() <= 4096 && (found - expected).abs() <= 1e-6 * expected.abs(), "{ty:?}: {found}");
                }
            }
        }
    }

    #[test]
    fn halves_are_exact() {
        for bits in (0..=u16::MAX).filter(|bits| half::f16::from_bits(*bits).is_finite()) {
            assert_eq!(from_half(bits).to_bits(), half::f16::from_bits(bits).to_f32().to_bits());
        }
    }
}
