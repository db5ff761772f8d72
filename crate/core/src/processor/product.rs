//! Products of activations with quantised weights, in whole numbers.
//!
//! Weights are small integers already; activations become integers of 16 bits, group by group, so a group's products
//! sum exactly in 32 bits and meet the scales once a group. Sixteen bits and not eight, as is usual: scores stay within the
//! golden tolerance of f32, even of a text's first token, whose activations spread most.

use bytemuck::AnyBitPattern;

use super::lanes::{Kernel, Lanes, run};
use crate::{
    packed::Blocks,
    quant::{BlockType, GROUP, Group, has_least, integers},
};

/// The largest integer that may stand for an activation beside these weights, so that the sum of a group's products fits 32
/// bits: those of `Q6_K` times their scales reach 4096, all others 128.
pub fn finest(weights: &[&Blocks]) -> f32 {
    if weights.iter().any(|weights| weights.ty == BlockType::Q6K) { 16383.0 } else { 32767.0 }
}

/// Weight rows that are unpacked at once and share the reading of the activations: as many as scales in a [`Lanes::Quad`].
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
    /// Of numbers up to `finest`.
    ///
    /// # Shapes
    /// - `x`: `[rows, cols]`
    pub fn new(x: &'a [f32], cols: usize, finest: f32) -> Self {
        // Rows that no integer format has are multiplied as they are.
        let n = if cols.is_multiple_of(GROUP) { x.len() / GROUP } else { 0 };
        let mut activations = Self { x, cols, groups: vec![[0; GROUP]; n], scales: vec![0.0; n], sums: vec![0.0; n] };
        run(Quantise { activations: &mut activations, finest });
        activations
    }

    fn rows(&self) -> usize {
        self.x.len() / self.cols
    }

    /// Row `i` of `n` groups.
    #[inline(always)]
    fn row(&self, i: usize, n: usize) -> Row<'_> {
        let part = i * n..(i + 1) * n;
        Row { groups: &self.groups[part.clone()], scales: &self.scales[part.clone()], sums: &self.sums[part] }
    }
}

/// A row of activations as integers.
#[derive(Clone, Copy)]
struct Row<'a> {
    groups: &'a [Group],
    scales: &'a [f32],
    sums: &'a [f32],
}

impl<'a> Row<'a> {
    /// The first `n` groups, so that the compiler knows how many there are.
    #[inline(always)]
    fn first(&self, n: usize) -> Row<'a> {
        Row { groups: &self.groups[..n], scales: &self.scales[..n], sums: &self.sums[..n] }
    }
}

struct Quantise<'a, 'x> {
    activations: &'a mut Activations<'x>,
    finest: f32,
}

impl Kernel for Quantise<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { activations: Activations { x, groups, scales, sums, .. }, finest } = self;
        let scaled = scales.iter_mut().zip(sums.iter_mut());
        for ((x, group), (scale, sum)) in x.as_chunks::<GROUP>().0.iter().zip(groups).zip(scaled) {
            // By their bits, so that what is not a number counts as the largest and stays one in the result.
            let largest = f32::from_bits(x.iter().map(|x| x.abs().to_bits()).fold(0, u32::max));
            *scale = largest / finest;
            let inverse = if largest > 0.0 { finest / largest } else { 0.0 };
            let mut total = 0i32;
            for (q, x) in group.iter_mut().zip(x) {
                let rounded = nearest(x * inverse);
                *q = rounded as i16;
                total = rounded.wrapping_add(total);
            }
            *sum = *scale * total as f32;
            L::arrange(group);
        }
    }
}

/// The nearest integer to a number under 2²² in size: added to 1.5·2²³ it stands in the last bits. A conversion would first
/// ask whether the number is one.
#[inline(always)]
fn nearest(x: f32) -> i32 {
    const AT: f32 = 12_582_912.0;
    (x + AT).to_bits().wrapping_sub(AT.to_bits()) as i32
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
        match (self.weights.ty, self.x.rows()) {
            (BlockType::Q4_0, 1) => self.few::<L, Q4_0, 1>(),
            (BlockType::Q4_1, 1) => self.few::<L, Q4_1, 1>(),
            (BlockType::Q8_0, 1) => self.few::<L, Q8_0, 1>(),
            (BlockType::Q4_0, 2) => self.few::<L, Q4_0, 2>(),
            (BlockType::Q4_1, 2) => self.few::<L, Q4_1, 2>(),
            (BlockType::Q8_0, 2) => self.few::<L, Q8_0, 2>(),
            _ => self.many::<L>(),
        }
    }
}

/// A format that is unpacked into registers, block by block.
trait Format {
    /// A block of [`GROUP`] weights.
    type Block: AnyBitPattern;

    /// Whether something is added to each weight.
    const LEAST: bool;

    /// The scale as a half-precision number, and above it what is added to each weight.
    fn scales(block: &Self::Block) -> u32;

    /// The integers.
    fn integers<L: Lanes>(block: &Self::Block) -> L::Integers;
}

struct Q4_0;
struct Q4_1;
struct Q8_0;

impl Format for Q4_0 {
    type Block = [u8; 18];
    const LEAST: bool = false;

    #[inline(always)]
    fn scales(block: &[u8; 18]) -> u32 {
        u32::from(u16::from_le_bytes([block[0], block[1]]))
    }

    #[inline(always)]
    fn integers<L: Lanes>(block: &[u8; 18]) -> L::Integers {
        L::less(L::nibbles(block.last_chunk().expect("18 bytes hold 16")), 8)
    }
}

impl Format for Q4_1 {
    type Block = [u8; 20];
    const LEAST: bool = true;

    #[inline(always)]
    fn scales(block: &[u8; 20]) -> u32 {
        u32::from_le_bytes([block[0], block[1], block[2], block[3]])
    }

    #[inline(always)]
    fn integers<L: Lanes>(block: &[u8; 20]) -> L::Integers {
        L::nibbles(block.last_chunk().expect("20 bytes hold 16"))
    }
}

impl Format for Q8_0 {
    type Block = [u8; 34];
    const LEAST: bool = false;

    #[inline(always)]
    fn scales(block: &[u8; 34]) -> u32 {
        u32::from(u16::from_le_bytes([block[0], block[1]]))
    }

    #[inline(always)]
    fn integers<L: Lanes>(block: &[u8; 34]) -> L::Integers {
        L::signed(block.last_chunk().expect("34 bytes hold 32"))
    }
}

impl Integers<'_> {
    /// The product of `R` rows of activations: each block is unpacked into registers and used at once.
    #[inline(always)]
    fn few<L: Lanes, F: Format, const R: usize>(self) {
        let Self { weights, x, y } = self;
        let n = weights.cols / GROUP;
        let x: [Row<'_>; R] = std::array::from_fn(|r| x.row(r, n));
        let blocks: &[F::Block] = bytemuck::cast_slice(&weights.bytes);
        for first in (0..weights.rows).step_by(TILE) {
            // The last tile of a matrix whose rows are no multiple of it meets the last row more than once.
            let tile = std::array::from_fn(|w| &blocks[(first + w).min(weights.rows - 1) * n..][..n]);
            let here = TILE.min(weights.rows - first);
            for (totals, y) in products_of_blocks::<L, F, R>(tile, &x).iter().zip(y.chunks_exact_mut(weights.rows)) {
                y[first..first + here].copy_from_slice(&totals[..here]);
            }
        }
    }

    /// The product of many rows of activations: a tile of weight rows is unpacked into memory and meets them all.
    #[inline(always)]
    fn many<L: Lanes>(self) {
        let Self { weights, x, y } = self;
        let n = weights.cols / GROUP;
        let row_bytes = weights.ty.row_bytes(weights.cols);
        let mut tile = Tile { groups: vec![[0; GROUP]; TILE * n], scales: vec![[0.0; TILE]; n], least: None };
        let (mut scales, mut least) = (vec![0.0; n], vec![0.0; n]);
        if has_least(weights.ty) {
            tile.least = Some(vec![[0.0; TILE]; n]);
        }
        for first in (0..weights.rows).step_by(TILE) {
            let rows = TILE.min(weights.rows - first);
            for (r, bytes) in weights.bytes[first * row_bytes..].chunks_exact(row_bytes).take(rows).enumerate() {
                let groups = &mut tile.groups[r * n..][..n];
                integers(weights.ty, bytes, groups, &mut scales, &mut least);
                groups.iter_mut().for_each(L::arrange);
                tile.scales.iter_mut().zip(&scales).for_each(|(tile, scale)| tile[r] = *scale);
                if let Some(tile) = &mut tile.least {
                    tile.iter_mut().zip(&least).for_each(|(tile, least)| tile[r] = *least);
                }
            }
            for (i, y) in y.chunks_exact_mut(weights.rows).enumerate() {
                let totals = tile.products::<L>(&x.row(i, n));
                y[first..first + rows].copy_from_slice(&totals[..rows]);
            }
        }
    }
}

/// The products of packed weight rows with `R` rows of activations.
#[allow(clippy::needless_range_loop)] // One index into all of them.
#[inline(always)]
fn products_of_blocks<L: Lanes, F: Format, const R: usize>(
    weights: [&[F::Block]; TILE],
    x: &[Row<'_>; R],
) -> [[f32; TILE]; R] {
    let n = x[0].groups.len();
    let weights: [&[F::Block]; TILE] = std::array::from_fn(|w| &weights[w][..n]);
    let x: [Row<'_>; R] = std::array::from_fn(|r| x[r].first(n));
    let mut sums = [L::zeros(); R];
    let mut added = [L::quad([0.0; TILE]); R];
    for g in 0..n {
        // Loops, for in a closure the compiler does not take the vector instructions in.
        let (mut products, mut words) = ([[L::none(); TILE]; R], [0; TILE]);
        for w in 0..TILE {
            let block = &weights[w][g];
            let integers = F::integers::<L>(block);
            words[w] = F::scales(block);
            for r in 0..R {
                products[r][w] = L::products(integers, L::load(&x[r].groups[g]));
            }
        }
        let [scales, least] = L::halves(words);
        for r in 0..R {
            sums[r] = L::add(sums[r], products[r], L::times(scales, x[r].scales[g]));
            if F::LEAST {
                added[r] = L::both(added[r], L::times(least, x[r].sums[g]));
            }
        }
    }
    std::array::from_fn(|r| together::<L>(sums[r], added[r]))
}

/// What came from the products, and what is added to each weight.
#[inline(always)]
fn together<L: Lanes>(sums: L::Sums4, added: L::Quad) -> [f32; TILE] {
    L::four(L::both(L::quad(L::totals(sums)), added))
}

/// Some weight rows, unpacked.
struct Tile {
    /// `[TILE, groups]`
    groups: Vec<Group>,
    scales: Vec<[f32; TILE]>,
    /// Where the format has it, what is added to each weight.
    least: Option<Vec<[f32; TILE]>>,
}

impl Tile {
    /// The products with one row of activations, by the sums of [`products_of_blocks`].
    #[allow(clippy::needless_range_loop)] // One index into all of them.
    #[inline(always)]
    fn products<L: Lanes>(&self, x: &Row<'_>) -> [f32; TILE] {
        let n = self.scales.len();
        let weights: [&[Group]; TILE] = std::array::from_fn(|w| &self.groups[w * n..][..n]);
        let x = x.first(n);
        let mut sums = L::zeros();
        for g in 0..n {
            let group = L::load(&x.groups[g]);
            let mut products = [L::none(); TILE];
            for w in 0..TILE {
                products[w] = L::products(L::load(&weights[w][g]), group);
            }
            sums = L::add(sums, products, L::times(L::quad(self.scales[g]), x.scales[g]));
        }
        let mut added = L::quad([0.0; TILE]);
        for (least, sum) in self.least.iter().flatten().zip(x.sums) {
            added = L::both(added, L::times(L::quad(*least), *sum));
        }
        together::<L>(sums, added)
    }
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
