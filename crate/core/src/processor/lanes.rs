//! The vector unit: the one product that compilers do not find by themselves, written for each kind of processor, and
//! the way to run a kernel with what the processor at hand can do.

use crate::quant::Group;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

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

    /// Four numbers, from memory.
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
