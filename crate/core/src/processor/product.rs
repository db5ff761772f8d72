//! Products of activations with quantised weights, in whole numbers.
//!
//! Weights are small integers already; activations become integers of 15 bits, group by group, so a group's products
//! sum exactly in 32 bits and meet the scales once a group. Fifteen bits and not eight, as is usual: the vector units
//! multiply 16-bit numbers as fast once the weights are unpacked, and the scores stay within the f32 path's noise.

use super::lanes::{Kernel, Lanes, run};
use crate::{
    linear::Blocks,
    quant::{BlockType, GROUP, Group, has_least, integers},
};

/// Largest integer that stands for an activation: the sum of a group's products with weights up to 4096 (those of
/// `Q6_K` times their scales) fits 32 bits.
const LARGEST: f32 = 16383.0;

/// Weight rows that are unpacked at once and share the reading of the activations.
const TILE: usize = 4;

/// Rows of activations as integers.
pub struct Activations<'a> {
    x: &'a [f32],
    cols: usize,
    groups: Vec<Group>,
    /// A group's scale, and the sum of its numbers: what a weight's least value is multiplied by.
    scales: Vec<f32>,
    sums: Vec<f32>,
}

impl<'a> Activations<'a> {
    /// # Shapes
    /// - `x`: `[rows, cols]`
    pub fn new(x: &'a [f32], cols: usize) -> Self {
        // Rows that no integer format has are multiplied as they are.
        let n = if cols.is_multiple_of(GROUP) { x.len() / GROUP } else { 0 };
        let mut activations =
            Self { x, cols, groups: vec![[0; GROUP]; n], scales: vec![0.0; n], sums: vec![0.0; n] };
        run(Quantise(&mut activations));
        activations
    }

    fn rows(&self) -> usize {
        self.x.len() / self.cols
    }
}

struct Quantise<'a, 'x>(&'a mut Activations<'x>);

impl Kernel for Quantise<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Activations { x, groups, scales, sums, .. } = self.0;
        let scaled = scales.iter_mut().zip(sums.iter_mut());
        for ((x, group), (scale, sum)) in x.as_chunks::<GROUP>().0.iter().zip(groups).zip(scaled) {
            // By their bits, so that what is not a number counts as the largest and stays one in the result.
            let largest = f32::from_bits(x.iter().map(|x| x.abs().to_bits()).fold(0, u32::max));
            *scale = largest / LARGEST;
            let inverse = if largest > 0.0 { LARGEST / largest } else { 0.0 };
            let mut total = 0;
            for (q, x) in group.iter_mut().zip(x) {
                let rounded = (x * inverse).round_ties_even() as i32;
                *q = rounded as i16;
                total += rounded;
            }
            *sum = *scale * total as f32;
        }
    }
}

/// `x·Wᵀ`.
///
/// Each number comes from the same sums in the same order however many rows stand beside it, so reading a text at once
/// or token by token gives the same bits.
///
/// # Shapes
/// - `x`: `[rows, d_in]`, result: `[rows, d_out]`
pub fn project(weights: &Blocks, x: &Activations<'_>) -> Vec<f32> {
    debug_assert_eq!(weights.cols, x.cols);
    let mut y = vec![0.0; x.rows() * weights.rows];
    match weights.ty {
        BlockType::F32 | BlockType::F16 | BlockType::BF16 => run(Floats { weights, x, y: &mut y }),
        _ => run(Integers { weights, x, y: &mut y }),
    }
    y
}

struct Integers<'a> {
    weights: &'a Blocks,
    x: &'a Activations<'a>,
    y: &'a mut [f32],
}

impl Kernel for Integers<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { weights, x, y } = self;
        let n = weights.cols / GROUP;
        let row_bytes = weights.ty.row_bytes(weights.cols);
        let mut tile = vec![[0; GROUP]; TILE * n];
        let (mut scales, mut least) = (vec![0.0; TILE * n], vec![0.0; TILE * n]);
        for first in (0..weights.rows).step_by(TILE) {
            let rows = TILE.min(weights.rows - first);
            for (r, bytes) in weights.bytes[first * row_bytes..].chunks_exact(row_bytes).take(rows).enumerate() {
                let part = r * n..(r + 1) * n;
                integers(weights.ty, bytes, &mut tile[part.clone()], &mut scales[part.clone()], &mut least[part]);
            }
            let has_least = has_least(weights.ty);
            for (i, y) in y.chunks_exact_mut(weights.rows).enumerate() {
                let part = i * n..(i + 1) * n;
                let (groups, x_scales, x_sums) = (&x.groups[part.clone()], &x.scales[part.clone()], &x.sums[part]);
                let totals = tile_totals::<L>(&tile, &scales, groups, x_scales);
                for (r, y) in y[first..first + rows].iter_mut().enumerate() {
                    *y = totals[r];
                    if has_least {
                        *y += dot(&least[r * n..(r + 1) * n], x_sums);
                    }
                }
            }
        }
    }
}

/// The products of one row of activations with a tile of weight rows.
#[inline(always)]
fn tile_totals<L: Lanes>(tile: &[Group], scales: &[f32], x: &[Group], x_scales: &[f32]) -> [f32; TILE] {
    let n = x.len();
    let (a, rest) = tile.split_at(n);
    let (b, rest) = rest.split_at(n);
    let (c, d) = rest.split_at(n);
    let (a_scales, rest) = scales.split_at(n);
    let (b_scales, rest) = rest.split_at(n);
    let (c_scales, d_scales) = rest.split_at(n);
    let (d, d_scales, x_scales) = (&d[..n], &d_scales[..n], &x_scales[..n]);
    let mut sums = [L::zero(); TILE];
    for g in 0..n {
        let (x, scale) = (&x[g], x_scales[g]);
        sums[0] = L::add(sums[0], &a[g], x, a_scales[g] * scale);
        sums[1] = L::add(sums[1], &b[g], x, b_scales[g] * scale);
        sums[2] = L::add(sums[2], &c[g], x, c_scales[g] * scale);
        sums[3] = L::add(sums[3], &d[g], x, d_scales[g] * scale);
    }
    sums.map(L::total)
}

struct Floats<'a> {
    weights: &'a Blocks,
    x: &'a Activations<'a>,
    y: &'a mut [f32],
}

impl Kernel for Floats<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { weights, x, y } = self;
        let mut row = vec![0.0; weights.cols];
        for r in 0..weights.rows {
            weights.row(r, &mut row);
            for (x, y) in x.x.chunks_exact(x.cols).zip(y.chunks_exact_mut(weights.rows)) {
                y[r] = dot(&row, x);
            }
        }
    }
}

/// Inner product in 16 lanes, which the compiler turns into vector instructions: it may not reorder f32 sums itself.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    for width in [8, 4, 2, 1] {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
    }
    a_rest.iter().zip(b_rest).fold(sums[0], |sum, (a, b)| sum + a * b)
}
