//! Products in f32 over weights that are unpacked part by part: forward and backward of learning.
//!
//! Activations in whole numbers are exact enough to write from, but a gradient has passed through every block twice: it
//! would be off by a thousandth.

use super::{
    lanes::{Kernel, Lanes, WIDEST, run},
    product::dot,
};
use crate::packed::Blocks;

/// Weight rows that are unpacked at once.
const UNPACKED: usize = 512;
/// Rows that are few.
const FEW: usize = 8;
/// Vectors of a panel's columns, and rows of the other factor, whose sums stand in registers.
const ACROSS: usize = 2;
const DOWN: usize = 4;

/// `x·Wᵀ`.
///
/// # Shapes
/// - `x`: `[rows, d_in]`, result: `[rows, d_out]`
pub fn project(weights: &Blocks, x: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; x.len() / weights.cols * weights.rows];
    run(Project { weights, x, y: &mut y });
    y
}

/// Adds `dy·W` to `dx`: the gradient of a product's input.
///
/// # Shapes
/// - `dy`: `[rows, d_out]`, `dx`: `[rows, d_in]`
pub fn project_back(weights: &Blocks, dy: &[f32], dx: &mut [f32]) {
    run(ProjectBack { weights, dy, dx });
}

struct Project<'a> {
    weights: &'a Blocks,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Project<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { weights, x, y } = self;
        let (d_in, d_out) = (weights.cols, weights.rows);
        let width = ACROSS * L::WIDTH;
        let mut row = vec![0.0; d_in];
        if x.len() <= FEW * d_in {
            // Turning weights over would cost more than the product.
            for r in 0..d_out {
                weights.row(r, &mut row);
                x.chunks_exact(d_in).zip(y.chunks_exact_mut(d_out)).for_each(|(x, y)| y[r] = dot(&row, x));
            }
            return;
        }
        // Some rows turned over: what they multiply one number by lies side by side.
        let mut panel = vec![0.0; d_in * width];
        for first in (0..d_out).step_by(width) {
            let rows = width.min(d_out - first);
            for r in 0..rows {
                weights.row(first + r, &mut row);
                panel.chunks_exact_mut(width).zip(&row).for_each(|(column, weight)| column[r] = *weight);
            }
            let place = Place { first, columns: rows };
            times_panel::<L>(&panel, (x, d_in, 0), (y, d_out), place);
        }
    }
}

struct ProjectBack<'a> {
    weights: &'a Blocks,
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Kernel for ProjectBack<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { weights, dy, dx } = self;
        let (d_in, d_out) = (weights.cols, weights.rows);
        let width = ACROSS * L::WIDTH;
        let panels = d_in.div_ceil(width);
        let mut row = vec![0.0; panels * width];
        // Panel after panel of columns, so that a panel's rows lie side by side.
        let mut unpacked = vec![0.0; UNPACKED.min(d_out) * panels * width];
        for start in (0..d_out).step_by(UNPACKED) {
            let n = UNPACKED.min(d_out - start);
            for r in 0..n {
                weights.row(start + r, &mut row[..d_in]);
                for (panel, part) in row.chunks_exact(width).enumerate() {
                    unpacked[(panel * n + r) * width..][..width].copy_from_slice(part);
                }
            }
            for (panel, part) in unpacked.chunks_exact(n * width).take(panels).enumerate() {
                let first = panel * width;
                let place = Place { first, columns: width.min(d_in - first) };
                times_panel::<L>(part, (dy, d_out, start), (dx, d_in), place);
            }
        }
    }
}

/// Which columns of the result a panel makes; the last one may reach past them.
#[derive(Clone, Copy)]
struct Place {
    first: usize,
    columns: usize,
}

/// Adds the product of all rows of `x`, each from its number `start` on, with a panel to its columns of `y`.
#[inline(always)]
fn times_panel<L: Lanes>(
    panel: &[f32],
    (x, x_width, start): (&[f32], usize, usize),
    (y, y_width): (&mut [f32], usize),
    place: Place,
) {
    for (x, y) in x.chunks(DOWN * x_width).zip(y.chunks_mut(DOWN * y_width)) {
        if x.len() == DOWN * x_width {
            rows_times_panel::<L, DOWN>(panel, (&x[start..], x_width), (y, y_width), place);
            continue;
        }
        for (x, y) in x.chunks_exact(x_width).zip(y.chunks_exact_mut(y_width)) {
            rows_times_panel::<L, 1>(panel, (&x[start..], x_width), (y, y_width), place);
        }
    }
}

/// [`times_panel`] for `R` rows.
#[inline(always)]
fn rows_times_panel<L: Lanes, const R: usize>(
    panel: &[f32],
    (x, x_width): (&[f32], usize),
    (y, y_width): (&mut [f32], usize),
    Place { first, columns }: Place,
) {
    let width = ACROSS * L::WIDTH;
    let n = panel.len() / width;
    let x: [&[f32]; R] = std::array::from_fn(|r| &x[r * x_width..][..n]);
    let mut sums = [[L::zero(); ACROSS]; R];
    for (i, weights) in panel.chunks_exact(width).enumerate().take(n) {
        let weights: [L::Sums; ACROSS] = std::array::from_fn(|v| L::floats(&weights[v * L::WIDTH..]));
        for r in 0..R {
            for v in 0..ACROSS {
                sums[r][v] = L::grow(sums[r][v], weights[v], x[r][i]);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        let mut made = [0.0; ACROSS * WIDEST];
        for (v, sums) in sums.iter().enumerate() {
            L::put(*sums, &mut made[v * L::WIDTH..]);
        }
        y[r * y_width + first..][..columns].iter_mut().zip(&made).for_each(|(y, made)| *y += made);
    }
}
