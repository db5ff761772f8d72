//! The vector unit: the one product that compilers do not find by themselves, written for each kind of processor, and
//! the way to run a kernel with what the processor at hand can do.

use crate::quant::Group;

/// Sums of products, spread over the lanes of a vector.
pub trait Lanes {
    /// f32 sums, a lane each.
    type Sums: Copy;

    /// Nothing summed yet.
    fn zero() -> Self::Sums;

    /// `sums + scale · Σ w·x`, the inner sum exact: whoever makes the groups sees to it that it fits 32 bits.
    fn add(sums: Self::Sums, w: &Group, x: &Group, scale: f32) -> Self::Sums;

    /// All lanes together.
    fn total(sums: Self::Sums) -> f32;
}

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
pub struct Plain;

impl Lanes for Plain {
    type Sums = [f32; 4];

    #[inline(always)]
    fn zero() -> Self::Sums {
        [0.0; 4]
    }

    #[inline(always)]
    fn add(mut sums: Self::Sums, w: &Group, x: &Group, scale: f32) -> Self::Sums {
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
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm {
    use core::arch::wasm32::{
        f32x4_add, f32x4_convert_i32x4, f32x4_mul, f32x4_splat, i32x4_add, i32x4_dot_i16x8, v128,
    };

    use super::Lanes;
    use crate::quant::Group;

    /// The 128-bit vectors of WebAssembly.
    pub struct Simd128;

    impl Lanes for Simd128 {
        type Sums = v128;

        #[inline(always)]
        fn zero() -> v128 {
            f32x4_splat(0.0)
        }

        #[inline(always)]
        fn add(sums: v128, w: &Group, x: &Group, scale: f32) -> v128 {
            let (w, x): ([v128; 4], [v128; 4]) = (bytemuck::cast(*w), bytemuck::cast(*x));
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
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::{
        __m256, __m256i, __m512, __m512i, _mm256_add_epi32, _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_madd_epi16,
        _mm256_set1_ps, _mm256_setzero_ps, _mm512_cvtepi32_ps, _mm512_fmadd_ps, _mm512_madd_epi16, _mm512_reduce_add_ps,
        _mm512_set1_ps, _mm512_setzero_ps,
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

    /// 256-bit vectors. Only [`run_avx2`] names it, so the instructions are there.
    pub struct Avx2;

    impl Lanes for Avx2 {
        type Sums = __m256;

        #[inline(always)]
        fn zero() -> __m256 {
            // SAFETY: as said at `Avx2`.
            unsafe { _mm256_setzero_ps() }
        }

        #[inline(always)]
        fn add(sums: __m256, w: &Group, x: &Group, scale: f32) -> __m256 {
            let (w, x): ([__m256i; 2], [__m256i; 2]) = (bytemuck::cast(*w), bytemuck::cast(*x));
            // SAFETY: as said at `Avx2`.
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
    }

    /// 512-bit vectors. Only [`run_avx512`] names it, so the instructions are there.
    pub struct Avx512;

    impl Lanes for Avx512 {
        type Sums = __m512;

        #[inline(always)]
        fn zero() -> __m512 {
            // SAFETY: as said at `Avx512`.
            unsafe { _mm512_setzero_ps() }
        }

        #[inline(always)]
        fn add(sums: __m512, w: &Group, x: &Group, scale: f32) -> __m512 {
            let (w, x): (__m512i, __m512i) = (bytemuck::cast(*w), bytemuck::cast(*x));
            // SAFETY: as said at `Avx512`.
            unsafe {
                _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_madd_epi16(w, x)), _mm512_set1_ps(scale), sums)
            }
        }

        #[inline(always)]
        fn total(sums: __m512) -> f32 {
            // SAFETY: as said at `Avx512`.
            unsafe { _mm512_reduce_add_ps(sums) }
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
            L::total(self.0.iter().fold(L::zero(), |sums, (w, x, scale)| L::add(sums, w, x, *scale)))
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
}
