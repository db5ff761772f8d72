//! The vector unit: the one product that compilers do not find by themselves, written for each kind of processor, and
//! the way to run a kernel with what the processor at hand can do.

use crate::quant::{Group, from_half};

/// Sums of products, spread over the lanes of a vector.
pub trait Lanes {
    /// f32 sums, a lane each.
    type Sums: Copy;
    /// A group in registers.
    type Integers: Copy;

    /// Nothing summed yet.
    fn zero() -> Self::Sums;

    /// A group out of memory.
    fn load(group: &Group) -> Self::Integers;

    /// Sixteen bytes as 32 numbers: the low nibbles, then the high ones.
    fn nibbles(bytes: &[u8; 16]) -> Self::Integers;

    /// Thirty-two signed bytes as numbers.
    fn signed(bytes: &[u8; 32]) -> Self::Integers;

    /// Each number less `n`.
    fn less(integers: Self::Integers, n: i16) -> Self::Integers;

    /// Two half-precision numbers, the lower one first.
    #[inline(always)]
    fn halves(bits: u32) -> [f32; 2] {
        [from_half(bits as u16), from_half((bits >> 16) as u16)]
    }

    /// `sums + scale · Σ w·x`, the inner sum exact: whoever makes the groups sees to it that it fits 32 bits.
    fn add(sums: Self::Sums, w: Self::Integers, x: Self::Integers, scale: f32) -> Self::Sums;

    /// All lanes together.
    fn total(sums: Self::Sums) -> f32;

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
    fn add(mut sums: Self::Sums, w: Group, x: Group, scale: f32) -> Self::Sums {
        for (lane, sum) in sums.iter_mut().enumerate() {
            let products = (lane * 8..lane * 8 + 8).map(|i| i32::from(w[i]) * i32::from(x[i]));
            *sum += scale * products.sum::<i32>() as f32;
        }
        sums
    }

    #[inline(always)]
    fn total(sums: Self::Sums) -> f32 {
        (sums[0] + sums[1]) + (sums[2] + sums[3])
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
        f32x4_add, f32x4_convert_i32x4, f32x4_mul, f32x4_splat, i16x8_extend_high_i8x16, i16x8_extend_high_u8x16,
        i16x8_extend_low_i8x16, i16x8_extend_low_u8x16, i16x8_splat, i16x8_sub, i32x4_add, i32x4_dot_i16x8, u8x16_shr,
        u8x16_splat, v128, v128_and, v128_load, v128_store,
    };

    use super::Lanes;
    use crate::quant::Group;

    /// The 128-bit vectors of WebAssembly.
    pub struct Simd128;

    impl Lanes for Simd128 {
        type Sums = v128;
        type Integers = [v128; 4];

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

        #[inline(always)]
        fn nibbles(bytes: &[u8; 16]) -> [v128; 4] {
            // SAFETY: sixteen bytes are there.
            let bytes = unsafe { v128_load(bytes.as_ptr().cast()) };
            let (low, high) = (v128_and(bytes, u8x16_splat(15)), u8x16_shr(bytes, 4));
            [
                i16x8_extend_low_u8x16(low),
                i16x8_extend_high_u8x16(low),
                i16x8_extend_low_u8x16(high),
                i16x8_extend_high_u8x16(high),
            ]
        }

        #[inline(always)]
        fn signed(bytes: &[u8; 32]) -> [v128; 4] {
            let bytes = bytes.as_ptr().cast::<v128>();
            // SAFETY: thirty-two bytes are there.
            let (low, high) = unsafe { (v128_load(bytes), v128_load(bytes.add(1))) };
            [
                i16x8_extend_low_i8x16(low),
                i16x8_extend_high_i8x16(low),
                i16x8_extend_low_i8x16(high),
                i16x8_extend_high_i8x16(high),
            ]
        }

        #[inline(always)]
        fn less(integers: [v128; 4], n: i16) -> [v128; 4] {
            integers.map(|q| i16x8_sub(q, i16x8_splat(n)))
        }

        #[inline(always)]
        fn add(sums: v128, w: [v128; 4], x: [v128; 4], scale: f32) -> v128 {
            let low = i32x4_add(i32x4_dot_i16x8(w[0], x[0]), i32x4_dot_i16x8(w[1], x[1]));
            let high = i32x4_add(i32x4_dot_i16x8(w[2], x[2]), i32x4_dot_i16x8(w[3], x[3]));
            let products = f32x4_convert_i32x4(i32x4_add(low, high));
            f32x4_add(sums, f32x4_mul(products, f32x4_splat(scale)))
        }

        #[inline(always)]
        fn total(sums: v128) -> f32 {
            let lanes: [f32; 4] = bytemuck::cast(sums);
            (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
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
        __m128i, __m256, __m256i, __m512, __m512i, _mm_and_si128, _mm_cvtph_ps, _mm_cvtsi32_si128, _mm_cvtss_f32,
        _mm_loadu_si128, _mm_set1_epi8, _mm_shuffle_ps, _mm_srli_epi16, _mm256_add_epi32, _mm256_cvtepi8_epi16,
        _mm256_cvtepi32_ps, _mm256_cvtepu8_epi16, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
        _mm256_madd_epi16, _mm256_set1_epi16, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm256_sub_epi16,
        _mm512_castsi256_si512, _mm512_cvtepi8_epi16, _mm512_cvtepi32_ps, _mm512_fmadd_ps, _mm512_inserti64x4,
        _mm512_loadu_ps, _mm512_loadu_si512, _mm512_madd_epi16, _mm512_reduce_add_ps, _mm512_set1_epi16,
        _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps, _mm512_sub_epi16,
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
        fn halves(bits: u32) -> [f32; 2] {
            halves(bits)
        }

        #[inline(always)]
        fn add(sums: __m256, w: [__m256i; 2], x: [__m256i; 2], scale: f32) -> __m256 {
            unsafe {
                let products = _mm256_add_epi32(_mm256_madd_epi16(w[0], x[0]), _mm256_madd_epi16(w[1], x[1]));
                _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), _mm256_set1_ps(scale), sums)
            }
        }

        #[inline(always)]
        fn total(sums: __m256) -> f32 {
            let lanes: [f32; 8] = bytemuck::cast(sums);
            ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]))
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
        fn halves(bits: u32) -> [f32; 2] {
            halves(bits)
        }

        #[inline(always)]
        fn add(sums: __m512, w: __m512i, x: __m512i, scale: f32) -> __m512 {
            unsafe { _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_madd_epi16(w, x)), _mm512_set1_ps(scale), sums) }
        }

        #[inline(always)]
        fn total(sums: __m512) -> f32 {
            unsafe { _mm512_reduce_add_ps(sums) }
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

    #[inline(always)]
    fn halves(bits: u32) -> [f32; 2] {
        unsafe {
            let pair = _mm_cvtph_ps(_mm_cvtsi32_si128(bits as i32));
            [_mm_cvtss_f32(pair), _mm_cvtss_f32(_mm_shuffle_ps(pair, pair, 1))]
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
            L::total(self.0.iter().fold(L::zero(), |sums, (w, x, scale)| L::add(sums, L::load(w), L::load(x), *scale)))
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
                    L::total(L::add(L::zero(), integers, L::load(&one), 1.0)) as i16
                })
            })
        }
    }

    #[test]
    fn the_widest_lanes_unpack_as_the_plain_ones() {
        let bytes = std::array::from_fn(|i| (i * 37 + 101) as u8);
        assert_eq!(run(Unpacked(&bytes)), Unpacked(&bytes).run::<Plain>());
    }
}
