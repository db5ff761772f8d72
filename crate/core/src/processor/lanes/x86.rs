//! The vectors of x86-64, as far as the processor at hand has them.

// In each `unsafe` below: only the functions that are compiled for an instruction set name its lanes, so the instructions
// are there; what is loaded from is as long as its type says, and no load asks for alignment.

use core::arch::x86_64::{
    __m128, __m128i, __m256, __m256i, __m512, __m512i, _mm_add_ps, _mm_and_si128, _mm_cvtph_ps, _mm_loadu_ps,
    _mm_loadu_si128, _mm_mul_ps, _mm_set1_epi8, _mm_set1_ps, _mm_setr_epi8, _mm_setr_epi32, _mm_shuffle_epi8,
    _mm_srli_epi16, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi16, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_permute_ps, _mm256_set_m128, _mm256_set1_epi16,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_storeu_ps, _mm256_sub_epi16,
    _mm512_broadcast_f32x4, _mm512_castsi256_si512, _mm512_cvtepi8_epi16, _mm512_cvtepi32_ps, _mm512_fmadd_ps,
    _mm512_inserti64x4, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_madd_epi16, _mm512_permute_ps,
    _mm512_reduce_add_ps, _mm512_set1_epi16, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_storeu_ps,
    _mm512_sub_epi16,
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
        unsafe { [_mm256_cvtepi8_epi16(_mm_loadu_si128(bytes)), _mm256_cvtepi8_epi16(_mm_loadu_si128(bytes.add(1)))] }
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
