//! The low-rank paths of an adapter beside the weights, and their gradients.

use super::{
    lanes::{Kernel, Lanes, run},
    product::dot,
};
use crate::adapter::{Adapter, Kind};

/// The low-rank paths of an adapter as the processor multiplies them.
pub struct Paths {
    /// By block and [`Kind`], in their order.
    pairs: Vec<Option<Pair>>,
}

pub(super) struct Pair {
    rank: usize,
    /// The path's scale.
    scale: f32,
    /// `[rank, d_in]`
    a: Vec<f32>,
    /// `[rank, d_out]`: B turned over, and times the path's scale.
    b: Vec<f32>,
}

impl Paths {
    /// The paths of `adapter`, multiplied by `factor`: 1 leaves them as they were learned.
    pub fn new(adapter: &Adapter, factor: f32) -> Self {
        let mut pairs = Vec::new();
        pairs.resize_with(adapter.n_layers() * Kind::ALL.len(), || None);
        for (layer, kind, pair) in adapter.iter() {
            let (rank, scale) = (pair.rank, pair.scale * factor);
            let d_out = pair.b.len() / rank;
            let b = (0..rank * d_out).map(|i| scale * pair.b[i % d_out * rank + i / d_out]).collect();
            pairs[layer * Kind::ALL.len() + kind as usize] = Some(Pair { rank, scale, a: pair.a.clone(), b });
        }
        Self { pairs }
    }

    pub(super) fn pair(&self, layer: usize, kind: Kind) -> Option<&Pair> {
        self.pairs[layer * Kind::ALL.len() + kind as usize].as_ref()
    }
}

impl Pair {
    /// Its numbers.
    pub fn len(&self) -> usize {
        self.a.len() + self.b.len()
    }

    /// Adds `(x·Aᵀ)·Bᵀ` to `y`.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`, `y`: `[rows, d_out]`
    pub fn add(&self, x: &[f32], y: &mut [f32]) {
        run(Add { pair: self, x, y });
    }

    /// The gradient of the path's numbers, as an adapter orders them, A before B, and added to `dx` that of `x`; `dy` is the
    /// gradient of what the path adds to.
    ///
    /// # Shapes
    /// - `x`, `dx`: `[rows, d_in]`, `dy`: `[rows, d_out]`, `gradient`: `[rank · (d_in + d_out)]`, added to
    pub fn back(&self, x: &[f32], dy: &[f32], dx: &mut [f32], gradient: &mut [f32]) {
        run(Back { pair: self, x, dy, dx, gradient });
    }
}

struct Add<'a> {
    pair: &'a Pair,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Add<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { pair: Pair { rank, a, b, .. }, x, y } = self;
        let (d_in, d_out) = (a.len() / rank, b.len() / rank);
        for (x, y) in x.chunks_exact(d_in).zip(y.chunks_exact_mut(d_out)) {
            for (a, b) in a.chunks_exact(d_in).zip(b.chunks_exact(d_out)) {
                grow(y, b, dot(a, x));
            }
        }
    }
}

struct Back<'a> {
    pair: &'a Pair,
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    gradient: &'a mut [f32],
}

impl Kernel for Back<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { pair: Pair { rank, scale, a, b }, x, dy, dx, gradient } = self;
        let (d_in, d_out) = (a.len() / rank, b.len() / rank);
        let (to_a, to_b) = gradient.split_at_mut(a.len());
        let mut turned = vec![0.0; b.len()];
        let rows = x.chunks_exact(d_in).zip(dx.chunks_exact_mut(d_in)).zip(dy.chunks_exact(d_out));
        for ((x, dx), dy) in rows {
            let ranks = a.chunks_exact(d_in).zip(b.chunks_exact(d_out));
            let gradients = to_a.chunks_exact_mut(d_in).zip(turned.chunks_exact_mut(d_out));
            for ((a, b), (to_a, to_b)) in ranks.zip(gradients) {
                // B is held times the scale.
                let (narrow, back) = (scale * dot(a, x), dot(b, dy));
                grow(dx, a, back);
                grow(to_a, x, back);
                grow(to_b, dy, narrow);
            }
        }
        for (r, turned) in turned.chunks_exact(d_out).enumerate() {
            to_b[r..].iter_mut().step_by(*rank).zip(turned).for_each(|(to, from)| *to += from);
        }
    }
}

/// `y += x·factor`.
#[inline(always)]
fn grow(y: &mut [f32], x: &[f32], factor: f32) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += x * factor);
}
