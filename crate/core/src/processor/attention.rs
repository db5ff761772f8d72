//! Attention of new positions over all that were read, and what stands between products.

use std::ops::Range;

use super::{
    lanes::{Kernel, Lanes, run},
    product::dot,
};
use crate::config::{Activation, ModelConfig};

/// Elements of a head that are summed at once.
const PART: usize = 16;

/// The rotations of some positions, for blocks that see all and for those with a window.
pub struct Turns {
    all: Rotations,
    local: Option<Rotations>,
}

impl Turns {
    /// Those of `positions`.
    pub fn new(config: &ModelConfig, positions: Range<usize>) -> Self {
        let local = config.window.map(|_| Rotations::new(config, positions.clone(), true));
        Self { all: Rotations::new(config, positions, false), local }
    }

    /// Those of block `layer`.
    pub fn of(&self, config: &ModelConfig, layer: usize) -> &Rotations {
        self.local.as_ref().filter(|_| config.window_of(layer).is_some()).unwrap_or(&self.all)
    }
}

/// The rotations of some positions.
pub struct Rotations {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Rotations {
    fn new(config: &ModelConfig, positions: Range<usize>, local: bool) -> Self {
        let (cos, sin) = config.rope_table(positions, local);
        Self { cos, sin, half: config.d_head / 2 }
    }

    /// Turns every head in place.
    ///
    /// # Shapes
    /// - `x`: `[positions, heads, d_head]`
    pub fn turn(&self, x: &mut [f32], heads: usize) {
        self.turn_by(x, heads, 1.0);
    }

    /// Undoes [`Rotations::turn`], which is also its gradient.
    pub fn turn_back(&self, x: &mut [f32], heads: usize) {
        self.turn_by(x, heads, -1.0);
    }

    fn turn_by(&self, x: &mut [f32], heads: usize, sign: f32) {
        let half = self.half;
        let rotations = self.cos.chunks_exact(half).zip(self.sin.chunks_exact(half));
        for (x, (cos, sin)) in x.chunks_exact_mut(heads * 2 * half).zip(rotations) {
            for head in x.chunks_exact_mut(2 * half) {
                for ([a, b], (cos, sin)) in head.as_chunks_mut().0.iter_mut().zip(cos.iter().zip(sin)) {
                    let sin = sign * sin;
                    (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                }
            }
        }
    }
}

/// Causal attention of the last positions: each over all keys up to its own, or over the last `window` of them.
///
/// # Shapes
/// - `q`: `[seq, n_heads, d_head]`, `k`, `v`: `[len, n_kv_heads, d_head]`, result: as `q`
pub fn attend(config: &ModelConfig, window: Option<usize>, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; q.len()];
    run(Attend { config, window: window.unwrap_or(usize::MAX), q, k, v, y: &mut y });
    y
}

struct Attend<'a> {
    config: &'a ModelConfig,
    window: usize,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Attend<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { config, window, q, k, v, y } = self;
        let &ModelConfig { n_heads, n_kv_heads, d_head, .. } = config;
        let (width, group) = (n_kv_heads * d_head, n_heads / n_kv_heads);
        let (len, seq) = (k.len() / width, q.len() / (n_heads * d_head));
        let scale = 1.0 / (d_head as f32).sqrt();
        let mut weights = vec![0.0; len];
        let heads = q.chunks_exact(d_head).zip(y.chunks_exact_mut(d_head)).enumerate();
        for (place, (q, y)) in heads {
            let (position, head) = (place / n_heads, place % n_heads);
            let from = head / group * d_head;
            let end = len - seq + position + 1;
            let seen = end.saturating_sub(window)..end;
            let (k, v) = (&k[seen.start * width..end * width], &v[seen.start * width..end * width]);
            let weights = &mut weights[seen];
            for (weight, k) in weights.iter_mut().zip(k.chunks_exact(width)) {
                *weight = dot(q, &k[from..from + d_head]) * scale;
            }
            let (_, sum) = soft_max(weights);
            weighted(weights, v, width, from, y);
            y.iter_mut().for_each(|y| *y /= sum);
        }
    }
}

/// Turns scores into the exponentials of their distances from the largest; gives that one and their sum.
pub fn exponentials(scores: &mut [f32]) -> (f32, f32) {
    run(SoftMax(scores))
}

struct SoftMax<'a>(&'a mut [f32]);

impl Kernel for SoftMax<'_> {
    type Out = (f32, f32);

    #[inline(always)]
    fn run<L: Lanes>(self) -> (f32, f32) {
        soft_max(self.0)
    }
}

/// [`exponentials`], inside a kernel.
#[inline(always)]
pub(super) fn soft_max(scores: &mut [f32]) -> (f32, f32) {
    let mut most = [f32::NEG_INFINITY; PART];
    let (parts, rest) = scores.as_chunks::<PART>();
    for part in parts {
        most.iter_mut().zip(part).for_each(|(most, &score)| *most = if score > *most { score } else { *most });
    }
    let largest = most.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0; PART];
    let (parts, rest) = scores.as_chunks_mut::<PART>();
    for part in parts {
        for (score, sum) in part.iter_mut().zip(&mut sums) {
            *score = exp(*score - largest);
            *sum += *score;
        }
    }
    let rest: f32 = rest
        .iter_mut()
        .map(|score| {
            *score = exp(*score - largest);
            *score
        })
        .sum();
    (largest, sums.iter().sum::<f32>() + rest)
}

/// `y = Σ weight·v`, of the `y.len()` elements of each row of `v` that begin at `from`.
#[inline(always)]
pub(super) fn weighted(weights: &[f32], v: &[f32], width: usize, from: usize, y: &mut [f32]) {
    let d_head = y.len();
    let (parts, rest) = y.as_chunks_mut::<PART>();
    for (part, y) in parts.iter_mut().enumerate() {
        let at = from + part * PART;
        let mut sums = [0.0; PART];
        for (weight, v) in weights.iter().zip(v.chunks_exact(width)) {
            for (sum, v) in sums.iter_mut().zip(&v[at..at + PART]) {
                *sum += weight * v;
            }
        }
        *y = sums;
    }
    let at = from + d_head - rest.len();
    for (i, y) in rest.iter_mut().enumerate() {
        *y = weights.iter().zip(v.chunks_exact(width)).map(|(weight, v)| weight * v[at + i]).sum();
    }
}

/// The gate, bent, times up.
pub fn gated(activation: Activation, gate: &[f32], up: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; gate.len()];
    run(Gated { activation, gate, up, y: &mut y });
    y
}

struct Gated<'a> {
    activation: Activation,
    gate: &'a [f32],
    up: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Gated<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let parts = self.y.iter_mut().zip(self.gate.iter().zip(self.up));
        match self.activation {
            Activation::Silu => parts.for_each(|(y, (gate, up))| *y = gate / (1.0 + exp(-gate)) * up),
            Activation::Gelu => parts.for_each(|(y, (gate, up))| {
                let cube = Activation::GELU_CUBE * gate * gate * gate;
                *y = gate / (1.0 + exp(-Activation::GELU_SLOPE * (gate + cube))) * up;
            }),
        }
    }
}

/// Root-mean-square norm of each row.
///
/// # Shapes
/// - `x`, result: `[rows, d_model]`, `weight`: `[d_model]`
pub fn norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    run(Norm { x, weight, eps, y: &mut y });
    y
}

struct Norm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    y: &'a mut [f32],
}

impl Kernel for Norm<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let width = self.weight.len();
        for (x, y) in self.x.chunks_exact(width).zip(self.y.chunks_exact_mut(width)) {
            let inverse = 1.0 / (dot(x, x) / width as f32 + self.eps).sqrt();
            for ((y, x), weight) in y.iter_mut().zip(x).zip(self.weight) {
                *y = x * inverse * weight;
            }
        }
    }
}

/// `e^x` without branches or calls, so that a loop of them becomes vector instructions; within 2e-7 of the true value,
/// relatively. Cephes' polynomial (Moshier 1992) on what is left after whole powers of two.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// Added to a number under 2²², it leaves the nearest integer in the last bits of the sum.
    const AT: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let sum = x * std::f32::consts::LOG2_E + AT;
    let n = sum - AT;
    let power = sum.to_bits().wrapping_sub(AT.to_bits()).wrapping_add(127) << 23;
    // ln 2 in two parts, so that the difference keeps its digits.
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p =
        ((((1.987_569_1e-4 * r + 1.398_2e-3) * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r + 1.666_666_5e-1) * r + 0.5;
    (p * r * r + r + 1.0) * f32::from_bits(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_right() {
        for i in -870..=880 {
            let x = i as f32 / 10.0;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 2e-7, "e^{x} is {expected}, not {found}");
        }
        assert!(exp(f32::NAN).is_nan() && exp(-1e30) < 1e-37);
    }
}
