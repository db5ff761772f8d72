//! The backward of what stands between products: norm, gate, attention.

use super::{
    attention::{exp, soft_max, weighted},
    lanes::{Kernel, Lanes, run},
    product::dot,
};
use crate::config::{Activation, ModelConfig};

/// Adds the gradient of a norm's input to `dx`: `r·w∘dy − x·r³/d·Σ(x∘w∘dy)` with `r = 1/√(mean x² + eps)`.
///
/// # Shapes
/// - `x`, `dy`, `dx`: `[rows, d_model]`, `weight`: `[d_model]`
pub fn norm_back(x: &[f32], weight: &[f32], eps: f32, dy: &[f32], dx: &mut [f32]) {
    run(NormBack { x, weight, eps, dy, dx });
}

struct NormBack<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Kernel for NormBack<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let d = self.weight.len();
        let mut weighted = vec![0.0; d];
        let rows = self.x.chunks_exact(d).zip(self.dy.chunks_exact(d)).zip(self.dx.chunks_exact_mut(d));
        for ((x, dy), dx) in rows {
            let r = 1.0 / (dot(x, x) / d as f32 + self.eps).sqrt();
            weighted.iter_mut().zip(dy.iter().zip(self.weight)).for_each(|(to, (dy, w))| *to = dy * w);
            let back = r * r * r / d as f32 * dot(x, &weighted);
            dx.iter_mut().zip(x.iter().zip(&weighted)).for_each(|(dx, (x, wdy))| *dx += r * wdy - back * x);
        }
    }
}

/// The gradients of gate and up from that of the gated values: with `s = sigmoid(g(x))`, that of `x·s` is
/// `s + x·s·(1 − s)·g′(x)`.
pub fn gated_back(activation: Activation, gate: &[f32], up: &[f32], dy: &[f32]) -> [Vec<f32>; 2] {
    let (mut d_gate, mut d_up) = (vec![0.0; gate.len()], vec![0.0; up.len()]);
    run(GatedBack { activation, gate, up, dy, d_gate: &mut d_gate, d_up: &mut d_up });
    [d_gate, d_up]
}

struct GatedBack<'a> {
    activation: Activation,
    gate: &'a [f32],
    up: &'a [f32],
    dy: &'a [f32],
    d_gate: &'a mut [f32],
    d_up: &'a mut [f32],
}

impl Kernel for GatedBack<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let from = self.gate.iter().zip(self.up).zip(self.dy);
        let parts = self.d_gate.iter_mut().zip(self.d_up).zip(from);
        match self.activation {
            Activation::Silu => parts.for_each(|((d_gate, d_up), ((gate, up), dy))| {
                let sigmoid = 1.0 / (1.0 + exp(-gate));
                let silu = gate * sigmoid;
                *d_up = dy * silu;
                *d_gate = dy * up * (sigmoid + silu * (1.0 - sigmoid));
            }),
            Activation::Gelu => parts.for_each(|((d_gate, d_up), ((gate, up), dy))| {
                let (slope, cube) = (Activation::GELU_SLOPE, Activation::GELU_CUBE * gate * gate);
                let sigmoid = 1.0 / (1.0 + exp(-slope * gate * (1.0 + cube)));
                let gelu = gate * sigmoid;
                *d_up = dy * gelu;
                *d_gate = dy * up * (sigmoid + gelu * (1.0 - sigmoid) * slope * (1.0 + 3.0 * cube));
            }),
        }
    }
}

/// The gradients of queries, keys and values from that of what was attended; the weights of attention are made again.
///
/// # Shapes
/// - `q`, `dy`: `[seq, n_heads, d_head]`, `k`, `v`: `[seq, n_kv_heads, d_head]`, result: as `q`, `k` and `v`
pub fn attend_back(
    config: &ModelConfig,
    window: Option<usize>,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    dy: &[f32],
) -> [Vec<f32>; 3] {
    let mut gradients = [vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]];
    run(AttendBack { config, window: window.unwrap_or(usize::MAX), q, k, v, dy, gradients: &mut gradients });
    gradients
}

struct AttendBack<'a> {
    config: &'a ModelConfig,
    window: usize,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    dy: &'a [f32],
    gradients: &'a mut [Vec<f32>; 3],
}

impl Kernel for AttendBack<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { config, window, q, k, v, dy, gradients: [dq, dk, dv] } = self;
        let &ModelConfig { n_heads, n_kv_heads, d_head, .. } = config;
        let (width, group) = (n_kv_heads * d_head, n_heads / n_kv_heads);
        let seq = k.len() / width;
        let scale = 1.0 / (d_head as f32).sqrt();
        let (mut weights, mut slopes) = (vec![0.0; seq], vec![0.0; seq]);
        let heads = q.chunks_exact(d_head).zip(dy.chunks_exact(d_head)).zip(dq.chunks_exact_mut(d_head));
        for (place, ((q, dy), dq)) in heads.enumerate() {
            let (position, head) = (place / n_heads, place % n_heads);
            let from = head / group * d_head;
            let seen = (position + 1).saturating_sub(window)..position + 1;
            let rows = seen.start * width..seen.end * width;
            let (k, v, dk, dv) = (&k[rows.clone()], &v[rows.clone()], &mut dk[rows.clone()], &mut dv[rows]);
            let (weights, slopes) = (&mut weights[seen.clone()], &mut slopes[seen]);
            for (weight, k) in weights.iter_mut().zip(k.chunks_exact(width)) {
                *weight = dot(q, &k[from..from + d_head]) * scale;
            }
            let (_, sum) = soft_max(weights);
            let mut mean = 0.0;
            for ((weight, slope), v) in weights.iter_mut().zip(slopes.iter_mut()).zip(v.chunks_exact(width)) {
                *weight /= sum;
                *slope = dot(dy, &v[from..from + d_head]);
                mean += *weight * *slope;
            }
            let rows = dk.chunks_exact_mut(width).zip(dv.chunks_exact_mut(width));
            for ((weight, slope), (dk, dv)) in weights.iter().zip(slopes.iter_mut()).zip(rows) {
                *slope = weight * (*slope - mean) * scale;
                dk[from..from + d_head].iter_mut().zip(q).for_each(|(dk, q)| *dk += *slope * q);
                dv[from..from + d_head].iter_mut().zip(dy).for_each(|(dv, dy)| *dv += weight * dy);
            }
            weighted(slopes, k, width, from, dq);
        }
    }
}
