//! The vector unit: the one product that compilers do not find by themselves, written for each kind of processor, and
//! the way to run a kernel with what the processor at hand can do.

use crate::quant::Group;

/// Sums of products, spread over the lanes of a vector.
pub trait Lanes {
    /// f32 sums, a lane each.
    type Sums: Copy;
    /// A group in registers.
    type Integers: Copy;
    /// The products of a group, of which some are summed.
    type Products: Copy;
    /// Four f32, one for each of four rows of weights.
    type Quad: Copy;
    /// The sums of four rows of weights.
    type Sums4: Copy;

    /// Nothing summed yet.
    fn zero() -> Self::Sums;

    /// A group out of memory.
    fn load(group: &Group) -> Self::Integers;

    /// Puts a group's numbers in the order in which [`nibbles`](Self::nibbles) and [`signed`](Self::signed) have theirs.
    #[inline(always)]
    fn arrange(_group: &mut Group) {}

    /// Sixteen bytes as 32 numbers: the low nibbles, then the high ones.
    fn nibbles(bytes: &[u8; 16]) -> Self::Integers;

    /// Thirty-two signed bytes as numbers.
    fn signed(bytes: &[u8; 32]) -> Self::Integers;

    /// Each number less `n`.
    fn less(integers: Self::Integers, n: i16) -> Self::Integers;

    /// Four numbers out of memory, or into it.
    fn quad(of: [f32; 4]) -> Self::Quad;

    /// The numbers of a quad.
    fn four(quad: Self::Quad) -> [f32; 4];

    /// The finite half-precision numbers in the lower halves of four words, and those in the upper ones.
    fn halves(words: [u32; 4]) -> [Self::Quad; 2];

    /// Each number of a quad times `by`.
    fn times(quad: Self::Quad, by: f32) -> Self::Quad;

    /// The sums of two quads.
    fn both(a: Self::Quad, b: Self::Quad) -> Self::Quad;

    /// Products of two groups, exact: whoever makes the groups sees to it that their sum fits 32 bits.
    fn products(w: Self::Integers, x: Self::Integers) -> Self::Products;

    /// Products that are all zero, to make room for others.
    fn none() -> Self::Products;

    /// Nothing summed yet of four rows.
    fn zeros() -> Self::Sums4;

    /// `sums + scale · Σ products` of four rows.
    fn add(sums: Self::Sums4, products: [Self::Products; 4], scales: Self::Quad) -> Self::Sums4;

    /// The sums of four rows, all lanes together.
    fn totals(sums: Self::Sums4) -> [f32; 4];

    /// How many lanes there are: at most [`WIDEST`].
    const WIDTH: usize;

    /// As many floats as there are lanes.
    fn floats(of: &[f32]) -> Self::Sums;

    /// Writes the lanes over the first floats of `to`.
    fn put(sums: Self::Sums, to: &mut [f32]);

    /// `sums + a·b`.
    fn grow(sums: Self::Sums, a: Self::Sums, b: f32) -> Self::Sums;
}

/// The most lanes that any processor has.
pub const WIDEST: usize = 16;

/// A kernel, written once over [`Lanes`]. Its `run` is `#[inline(always)]`, and so is what it calls, so that all of it is
/// compiled for the processor that [`run`] finds.
pub trait Kernel {
    /// What it gives back.
    type Out;

    /// Computes.
    fn run<L: Lanes>(self) -> Self::Out;
}

/// Runs `kernel` with the widest vectors of this processor.
pub fn run<K: Kernel>(kernel: K) -> K::Out {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bw") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { x86::run_avx512(kernel) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { x86::run_avx2(kernel) };
        }
    }
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    return kernel.run::<wasm::Simd128>();
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    kernel.run::<Plain>()
}

/// What these lanes are called in reports.
pub fn name() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bw") {
            return "AVX-512";
        }
        if is_x86_feature_detected!("avx2") {
            return "AVX2";
        }
    }
    if cfg!(all(target_arch = "wasm32", target_feature = "simd128")) { "simd128" } else { "plain" }
}

/// Lanes of any processor: what the others are held to.
#[cfg(any(test, not(all(target_arch = "wasm32", target_feature = "simd128"))))]
pub struct Plain;

#[cfg(any(test, not(all(target_arch = "wasm32", target_feature = "simd128"))))]
impl Lanes for Plain {
    type Sums = [f32; 4];
    type Integers = Group;
    type Products = i32;
    type Quad = [f32; 4];
    type Sums4 = [f32; 4];

    #[inline(always)]
    fn load(group: &Group) -> Group {
        *group
    }

    #[inline(always)]
    fn nibbles(bytes: &[u8; 16]) -> Group {
        std::array::from_fn(|i| i16::from(if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 }))
    }

    #[inline(always)]
    fn signed(bytes: &[u8; 32]) -> Group {
        bytes.map(|byte| i16::from(byte as i8))
    }

    #[inline(always)]
    fn less(integers: Group, n: i16) -> Group {
        integers.map(|q| q - n)
    }

    #[inline(always)]
    fn zero() -> Self::Sums {
        [0.0; 4]
    }

    #[inline(always)]
    fn quad(of: [f32; 4]) -> [f32; 4] {
        of
    }

    #[inline(always)]
    fn four(quad: [f32; 4]) -> [f32; 4] {
        quad
    }

    #[inline(always)]
    fn halves(words: [u32; 4]) -> [[f32; 4]; 2] {
        [
            words.map(|word| crate::quant::from_half(word as u16)),
            words.map(|word| crate::quant::from_half((word >> 16) as u16)),
        ]
    }

    #[inline(always)]
    fn times(quad: [f32; 4], by: f32) -> [f32; 4] {
        quad.map(|of| of * by)
    }

    #[inline(always)]
    fn both(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn products(w: Group, x: Group) -> i32 {
        w.iter().zip(&x).map(|(&w, &x)| i32::from(w) * i32::from(x)).sum()
    }

    #[inline(always)]
    fn none() -> i32 {
        0
    }

    #[inline(always)]
    fn zeros() -> [f32; 4] {
        [0.0; 4]
    }

    #[inline(always)]
    fn add(sums: [f32; 4], products: [i32; 4], scales: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|row| sums[row] + scales[row] * products[row] as f32)
    }

    #[inline(always)]
    fn totals(sums: [f32; 4]) -> [f32; 4] {
        sums
    }

    const WIDTH: usize = 4;

    #[inline(always)]
    fn floats(of: &[f32]) -> Self::Sums {
        [of[0], of[1], of[2], of[3]]
    }

    #[inline(always)]
    fn put(sums: Self::Sums, to: &mut [f32]) {
        to[..4].copy_from_slice(&sums);
    }

    #[inline(always)]
    fn grow(sums: Self::Sums, a: Self::Sums, b: f32) -> Self::Sums {
        std::array::from_fn(|lane| sums[lane] + a[lane] * b)
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm {
    use core::arch::wasm32::{
        f32x4, f32x4_add, f32x4_convert_i32x4, f32x4_mul, f32x4_splat, i16x8_shl, i16x8_shr, i16x8_shuffle,
        i16x8_splat, i16x8_sub, i32x4_add, i32x4_dot_i16x8, i32x4_shuffle, i32x4_splat, u16x8_shr, u16x8_splat, u32x4,
        u32x4_shl, u32x4_shr, u32x4_splat, v128, v128_and, v128_load, v128_or, v128_store,
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
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    // In each `unsafe` below: only the functions that are compiled for an instruction set name its lanes, so the instructions
    // are there; what is loaded from is as long as its type says, and no load asks for alignment.

    use core::arch::x86_64::{
        __m128, __m128i, __m256, __m256i, __m512, __m512i, _mm_add_ps, _mm_and_si128, _mm_cvtph_ps, _mm_loadu_ps,
        _mm_loadu_si128, _mm_mul_ps, _mm_set1_epi8, _mm_set1_ps, _mm_setr_epi8, _mm_setr_epi32, _mm_shuffle_epi8,
        _mm_srli_epi16, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi16,
        _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_permute_ps, _mm256_set_m128,
        _mm256_set1_epi16, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_storeu_ps, _mm256_sub_epi16,
        _mm512_broadcast_f32x4, _mm512_castsi256_si512, _mm512_cvtepi8_epi16, _mm512_cvtepi32_ps, _mm512_fmadd_ps,
        _mm512_inserti64x4, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_madd_epi16, _mm512_permute_ps,
        _mm512_reduce_add_ps, _mm512_set1_epi16, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
        _mm512_storeu_ps, _mm512_sub_epi16,
    };

    use super::{Kernel, Lanes};
    use crate::quant::Group;

    #[target_feature(enable = "avx2,fma,f16c")]
    pub fn run_avx2<K: Kernel>(kernel: K) -> K::Out {
        kernel.run::<Avx2>()
    }

    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")]
    pub fn run_avx512<K: Kernel>(kernel: K) -> K::Out {
        kernel.run::<Avx512>()
    }

    /// 256-bit vectors.
    pub struct Avx2;

    impl Lanes for Avx2 {
        type Sums = __m256;
        type Integers = [__m256i; 2];
        type Products = __m256i;
        type Quad = __m128;
        type Sums4 = [__m256; 4];

        #[inline(always)]
        fn zero() -> __m256 {
            unsafe { _mm256_setzero_ps() }
        }

        #[inline(always)]
        fn load(group: &Group) -> [__m256i; 2] {
            let group = group.as_ptr().cast::<__m256i>();
            unsafe { [_mm256_loadu_si256(group), _mm256_loadu_si256(group.add(1))] }
        }

        #[inline(always)]
        fn nibbles(bytes: &[u8; 16]) -> [__m256i; 2] {
            unsafe {
                let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
                let mask = _mm_set1_epi8(15);
                let high = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask);
                [_mm256_cvtepu8_epi16(_mm_and_si128(bytes, mask)), _mm256_cvtepu8_epi16(high)]
            }
        }

        #[inline(always)]
        fn signed(bytes: &[u8; 32]) -> [__m256i; 2] {
            let bytes = bytes.as_ptr().cast::<__m128i>();
            unsafe {
                [_mm256_cvtepi8_epi16(_mm_loadu_si128(bytes)), _mm256_cvtepi8_epi16(_mm_loadu_si128(bytes.add(1)))]
            }
        }

        #[inline(always)]
        fn less(integers: [__m256i; 2], n: i16) -> [__m256i; 2] {
            integers.map(|q| unsafe { _mm256_sub_epi16(q, _mm256_set1_epi16(n)) })
        }

        #[inline(always)]
        fn quad(of: [f32; 4]) -> __m128 {
            unsafe { _mm_loadu_ps(of.as_ptr()) }
        }

        #[inline(always)]
        fn four(quad: __m128) -> [f32; 4] {
            bytemuck::cast(quad)
        }

        #[inline(always)]
        fn halves(words: [u32; 4]) -> [__m128; 2] {
            unsafe {
                let [a, b, c, d] = words.map(|word| word as i32);
                let (words, n) = (_mm_setr_epi32(a, b, c, d), -1);
                let lower = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, n, n, n, n, n, n, n, n);
                let upper = _mm_setr_epi8(2, 3, 6, 7, 10, 11, 14, 15, n, n, n, n, n, n, n, n);
                [lower, upper].map(|which| _mm_cvtph_ps(_mm_shuffle_epi8(words, which)))
            }
        }

        #[inline(always)]
        fn times(quad: __m128, by: f32) -> __m128 {
            unsafe { _mm_mul_ps(quad, _mm_set1_ps(by)) }
        }

        #[inline(always)]
        fn both(a: __m128, b: __m128) -> __m128 {
            unsafe { _mm_add_ps(a, b) }
        }

        #[inline(always)]
        fn products(w: [__m256i; 2], x: [__m256i; 2]) -> __m256i {
            unsafe { _mm256_add_epi32(_mm256_madd_epi16(w[0], x[0]), _mm256_madd_epi16(w[1], x[1])) }
        }

        #[inline(always)]
        fn none() -> __m256i {
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        fn zeros() -> [__m256; 4] {
            [Self::zero(); 4]
        }

        #[inline(always)]
        fn add(sums: [__m256; 4], [a, b, c, d]: [__m256i; 4], scales: __m128) -> [__m256; 4] {
            unsafe {
                let scales = _mm256_set_m128(scales, scales);
                [
                    _mm256_fmadd_ps(_mm256_cvtepi32_ps(a), _mm256_permute_ps(scales, 0b00_00_00_00), sums[0]),
                    _mm256_fmadd_ps(_mm256_cvtepi32_ps(b), _mm256_permute_ps(scales, 0b01_01_01_01), sums[1]),
                    _mm256_fmadd_ps(_mm256_cvtepi32_ps(c), _mm256_permute_ps(scales, 0b10_10_10_10), sums[2]),
                    _mm256_fmadd_ps(_mm256_cvtepi32_ps(d), _mm256_permute_ps(scales, 0b11_11_11_11), sums[3]),
                ]
            }
        }

        #[inline(always)]
        fn totals(sums: [__m256; 4]) -> [f32; 4] {
            sums.map(|sums| {
                let lanes: [f32; 8] = bytemuck::cast(sums);
                ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]))
            })
        }

        const WIDTH: usize = 8;

        #[inline(always)]
        fn floats(of: &[f32]) -> __m256 {
            unsafe { _mm256_loadu_ps(of[..8].as_ptr()) }
        }

        #[inline(always)]
        fn put(sums: __m256, to: &mut [f32]) {
            unsafe { _mm256_storeu_ps(to[..8].as_mut_ptr(), sums) }
        }

        #[inline(always)]
        fn grow(sums: __m256, a: __m256, b: f32) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, _mm256_set1_ps(b), sums) }
        }
    }

    /// 512-bit vectors.
    pub struct Avx512;

    impl Lanes for Avx512 {
        type Sums = __m512;
        type Integers = __m512i;
        type Products = __m512i;
        type Quad = __m128;
        type Sums4 = [__m512; 4];

        #[inline(always)]
        fn zero() -> __m512 {
            unsafe { _mm512_setzero_ps() }
        }

        #[inline(always)]
        fn load(group: &Group) -> __m512i {
            unsafe { _mm512_loadu_si512(group.as_ptr().cast()) }
        }

        #[inline(always)]
        fn nibbles(bytes: &[u8; 16]) -> __m512i {
            let [low, high] = Avx2::nibbles(bytes);
            unsafe { _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1) }
        }

        #[inline(always)]
        fn signed(bytes: &[u8; 32]) -> __m512i {
            unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(bytes.as_ptr().cast())) }
        }

        #[inline(always)]
        fn less(integers: __m512i, n: i16) -> __m512i {
            unsafe { _mm512_sub_epi16(integers, _mm512_set1_epi16(n)) }
        }

        #[inline(always)]
        fn quad(of: [f32; 4]) -> __m128 {
            Avx2::quad(of)
        }

        #[inline(always)]
        fn four(quad: __m128) -> [f32; 4] {
            Avx2::four(quad)
        }

        #[inline(always)]
        fn halves(words: [u32; 4]) -> [__m128; 2] {
            Avx2::halves(words)
        }

        #[inline(always)]
        fn times(quad: __m128, by: f32) -> __m128 {
            Avx2::times(quad, by)
        }

        #[inline(always)]
        fn both(a: __m128, b: __m128) -> __m128 {
            Avx2::both(a, b)
        }

        #[inline(always)]
        fn products(w: __m512i, x: __m512i) -> __m512i {
            unsafe { _mm512_madd_epi16(w, x) }
        }

        #[inline(always)]
        fn none() -> __m512i {
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        fn zeros() -> [__m512; 4] {
            [Self::zero(); 4]
        }

        #[inline(always)]
        fn add(sums: [__m512; 4], [a, b, c, d]: [__m512i; 4], scales: __m128) -> [__m512; 4] {
            unsafe {
                let scales = _mm512_broadcast_f32x4(scales);
                [
                    _mm512_fmadd_ps(_mm512_cvtepi32_ps(a), _mm512_permute_ps(scales, 0b00_00_00_00), sums[0]),
                    _mm512_fmadd_ps(_mm512_cvtepi32_ps(b), _mm512_permute_ps(scales, 0b01_01_01_01), sums[1]),
                    _mm512_fmadd_ps(_mm512_cvtepi32_ps(c), _mm512_permute_ps(scales, 0b10_10_10_10), sums[2]),
                    _mm512_fmadd_ps(_mm512_cvtepi32_ps(d), _mm512_permute_ps(scales, 0b11_11_11_11), sums[3]),
                ]
            }
        }

        #[inline(always)]
        fn totals(sums: [__m512; 4]) -> [f32; 4] {
            sums.map(|sums| unsafe { _mm512_reduce_add_ps(sums) })
        }

        const WIDTH: usize = 16;

        #[inline(always)]
        fn floats(of: &[f32]) -> __m512 {
            unsafe { _mm512_loadu_ps(of[..16].as_ptr()) }
        }

        #[inline(always)]
        fn put(sums: __m512, to: &mut [f32]) {
            unsafe { _mm512_storeu_ps(to[..16].as_mut_ptr(), sums) }
        }

        #[inline(always)]
        fn grow(sums: __m512, a: __m512, b: f32) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, _mm512_set1_ps(b), sums) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::GROUP;

    /// Sums of products of the largest numbers that groups hold, and of random ones.
    struct Products<'a>(&'a [(Group, Group, f32)]);

    impl Kernel for Products<'_> {
        type Out = f32;

        #[inline(always)]
        fn run<L: Lanes>(self) -> f32 {
            // Each group in a row of its own, beside three others.
            let zeros = L::products(L::load(&[0; GROUP]), L::load(&[0; GROUP]));
            let sums = self.0.iter().enumerate().fold(L::zeros(), |sums, (i, (w, x, scale))| {
                let (mut products, mut scales) = ([zeros; 4], [0.5; 4]);
                (products[i % 4], scales[i % 4]) = (L::products(L::load(w), L::load(x)), *scale);
                L::add(sums, products, L::quad(scales))
            });
            L::totals(sums).iter().sum()
        }
    }

    #[test]
    fn the_widest_lanes_sum_as_the_plain_ones() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut group = |most: i16| std::array::from_fn(|_| random.i16(-most..=most));
        let mut groups: Vec<(Group, Group, f32)> = (0..18).map(|i| (group(4096), group(16383), i as f32)).collect();
        groups.push(([4096; GROUP], [16383; GROUP], 1e-3));
        groups.push(([-4096; GROUP], [16383; GROUP], 1e-3));
        let exact = |(w, x, scale): &(Group, Group, f32)| {
            let sum: i64 = w.iter().zip(x).map(|(&w, &x)| i64::from(w) * i64::from(x)).sum();
            (sum as f64 * f64::from(*scale), (sum as f64 * f64::from(*scale)).abs())
        };
        let (sum, size) = groups.iter().map(exact).fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d));
        for found in [run(Products(&groups)), Products(&groups).run::<Plain>()] {
            assert!((f64::from(found) - sum).abs() < 1e-6 * size, "{found} is not {sum}");
        }
    }

    /// Unpacks one number at a time through products with a one.
    struct Unpacked<'a>(&'a [u8; 32]);

    impl Kernel for Unpacked<'_> {
        type Out = [Group; 3];

        #[inline(always)]
        fn run<L: Lanes>(self) -> [Group; 3] {
            let nibbles = L::nibbles(self.0.first_chunk().expect("32 bytes hold 16"));
            [nibbles, L::less(nibbles, 8), L::signed(self.0)].map(|integers| {
                std::array::from_fn(|i| {
                    let mut one = [0; GROUP];
                    one[i] = 1;
                    L::totals(L::add(L::zeros(), [L::products(integers, L::load(&one)); 4], L::quad([1.0; 4])))[i % 4]
                        as i16
                })
            })
        }
    }

    #[test]
    fn the_widest_lanes_unpack_as_the_plain_ones() {
        let bytes = std::array::from_fn(|i| (i * 37 + 101) as u8);
        assert_eq!(run(Unpacked(&bytes)), Unpacked(&bytes).run::<Plain>());
    }

    /// Both halves of every word.
    struct Halves<'a>(&'a [[u32; 4]]);

    impl Kernel for Halves<'_> {
        type Out = Vec<[[f32; 4]; 2]>;

        #[inline(always)]
        fn run<L: Lanes>(self) -> Self::Out {
            self.0
                .iter()
                .map(|words| L::halves(*words).map(|quad| L::four(L::both(quad, L::times(quad, 2.0)))))
                .collect()
        }
    }

    #[test]
    fn every_finite_half_is_the_same_number_in_the_widest_lanes_and_the_plain_ones() {
        let finite = (0..=u16::MAX).filter(|bits| bits & 0x7c00 != 0x7c00);
        let words: Vec<u32> = finite.map(|bits| u32::from(bits) << 16 | u32::from(bits ^ 0x8001)).collect();
        let words: Vec<[u32; 4]> =
            words.into_iter().filter(|word| word & 0x7c00 != 0x7c00).collect::<Vec<_>>().as_chunks().0.to_vec();
        assert_eq!(run(Halves(&words)), Halves(&words).run::<Plain>());
        assert_eq!(
            Halves(&words[..1]).run::<Plain>()[0][1][0],
            3.0 * half::f16::from_bits((words[0][0] >> 16) as u16).to_f32()
        );
    }
}
