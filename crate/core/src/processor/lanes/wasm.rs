//! The vectors of WebAssembly.

use core::arch::wasm32::{
    f32x4, f32x4_add, f32x4_convert_i32x4, f32x4_mul, f32x4_splat, i16x8_shl, i16x8_shr, i16x8_shuffle, i16x8_splat,
    i16x8_sub, i32x4_add, i32x4_dot_i16x8, i32x4_shuffle, i32x4_splat, u16x8_shr, u16x8_splat, u32x4, u32x4_shl,
    u32x4_shr, u32x4_splat, v128, v128_and, v128_load, v128_or, v128_store,
};

use super::Lanes;
use crate::quant::Group;

/// The 128-bit vectors of WebAssembly.
pub struct Simd128;

/// The numbers at even places of two vectors together.
#[inline(always)]
fn even(a: v128, b: v128) -> v128 {
    i16x8_shuffle::<0, 2, 4, 6, 8, 10, 12, 14>(a, b)
}

/// The numbers at odd places of two vectors together.
#[inline(always)]
fn odd(a: v128, b: v128) -> v128 {
    i16x8_shuffle::<1, 3, 5, 7, 9, 11, 13, 15>(a, b)
}

/// As [`from_half`](crate::quant::from_half) of the lower half of each word.
#[inline(always)]
fn lower(words: v128) -> v128 {
    let moved = u32x4_shl(v128_and(words, u32x4_splat(0x7fff)), 13);
    let size = f32x4_mul(moved, f32x4_splat(f32::from_bits((127 + 112) << 23)));
    v128_or(size, u32x4_shl(v128_and(words, u32x4_splat(0x8000)), 16))
}

impl Lanes for Simd128 {
    type Sums = v128;
    type Integers = [v128; 4];
    type Products = v128;
    type Quad = v128;
    type Sums4 = v128;

    #[inline(always)]
    fn zero() -> v128 {
        f32x4_splat(0.0)
    }

    #[inline(always)]
    fn load(group: &Group) -> [v128; 4] {
        let group = group.as_ptr().cast::<v128>();
        // SAFETY: a group is 64 bytes long; the loads ask for no alignment.
        unsafe { [v128_load(group), v128_load(group.add(1)), v128_load(group.add(2)), v128_load(group.add(3))] }
    }

    /// In each half those at even places, then those at odd ones: two bytes in a lane of 16 bits come apart by shifts and
    /// masks, in half of the instructions that V8 makes of a shift of bytes and of widening.
    #[inline(always)]
    fn arrange(group: &mut Group) {
        let [a, b, c, d] = Self::load(group);
        let arranged = [even(a, b), odd(a, b), even(c, d), odd(c, d)];
        *group = bytemuck::cast(arranged.map(bytemuck::cast::<v128, [i16; 8]>));
    }

    #[inline(always)]
    fn nibbles(bytes: &[u8; 16]) -> [v128; 4] {
        // SAFETY: sixteen bytes are there.
        let bytes = unsafe { v128_load(bytes.as_ptr().cast()) };
        let nibble = |shifted| v128_and(shifted, u16x8_splat(15));
        [nibble(bytes), nibble(u16x8_shr(bytes, 8)), nibble(u16x8_shr(bytes, 4)), u16x8_shr(bytes, 12)]
    }

    #[inline(always)]
    fn signed(bytes: &[u8; 32]) -> [v128; 4] {
        let bytes = bytes.as_ptr().cast::<v128>();
        // SAFETY: thirty-two bytes are there.
        let (low, high) = unsafe { (v128_load(bytes), v128_load(bytes.add(1))) };
        let even = |bytes| i16x8_shr(i16x8_shl(bytes, 8), 8);
        [even(low), i16x8_shr(low, 8), even(high), i16x8_shr(high, 8)]
    }

    #[inline(always)]
    fn less(integers: [v128; 4], n: i16) -> [v128; 4] {
        integers.map(|q| i16x8_sub(q, i16x8_splat(n)))
    }

    #[inline(always)]
    fn quad(of: [f32; 4]) -> v128 {
        f32x4(of[0], of[1], of[2], of[3])
    }

    #[inline(always)]
    fn four(quad: v128) -> [f32; 4] {
        bytemuck::cast(quad)
    }

    #[inline(always)]
    fn halves(words: [u32; 4]) -> [v128; 2] {
        let words = u32x4(words[0], words[1], words[2], words[3]);
        [lower(words), lower(u32x4_shr(words, 16))]
    }

    #[inline(always)]
    fn times(quad: v128, by: f32) -> v128 {
        f32x4_mul(quad, f32x4_splat(by))
    }

    #[inline(always)]
    fn both(a: v128, b: v128) -> v128 {
        f32x4_add(a, b)
    }

    #[inline(always)]
    fn products(w: [v128; 4], x: [v128; 4]) -> v128 {
        let low = i32x4_add(i32x4_dot_i16x8(w[0], x[0]), i32x4_dot_i16x8(w[1], x[1]));
        let high = i32x4_add(i32x4_dot_i16x8(w[2], x[2]), i32x4_dot_i16x8(w[3], x[3]));
        i32x4_add(low, high)
    }

    #[inline(always)]
    fn none() -> v128 {
        i32x4_splat(0)
    }

    #[inline(always)]
    fn zeros() -> v128 {
        f32x4_splat(0.0)
    }

    /// Rows become lanes, so that all four are converted and scaled at once.
    #[inline(always)]
    fn add(sums: v128, [a, b, c, d]: [v128; 4], scales: v128) -> v128 {
        let halved = |a, b| i32x4_add(i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<2, 6, 3, 7>(a, b));
        let (ab, cd) = (halved(a, b), halved(c, d));
        let whole = i32x4_add(i32x4_shuffle::<0, 1, 4, 5>(ab, cd), i32x4_shuffle::<2, 3, 6, 7>(ab, cd));
        f32x4_add(sums, f32x4_mul(f32x4_convert_i32x4(whole), scales))
    }

    #[inline(always)]
    fn totals(sums: v128) -> [f32; 4] {
        bytemuck::cast(sums)
    }

    const WIDTH: usize = 4;

    #[inline(always)]
    fn floats(of: &[f32]) -> v128 {
        // SAFETY: four are there.
        unsafe { v128_load(of[..4].as_ptr().cast()) }
    }

    #[inline(always)]
    fn put(sums: v128, to: &mut [f32]) {
        // SAFETY: there is room for four.
        unsafe { v128_store(to[..4].as_mut_ptr().cast(), sums) }
    }

    #[inline(always)]
    fn grow(sums: v128, a: v128, b: f32) -> v128 {
        f32x4_add(sums, f32x4_mul(a, f32x4_splat(b)))
    }
}
