//! What follows a matrix in a forward that is to be learned from: the side paths, then rope, residual or gate.
//!
//! The projections that write text do this within the product; here the product stands alone, since the gradient of a
//! gate needs what came before it.

use std::fmt::Write;

use super::{
    WORKGROUP, declare, entry,
    low_rank::{LowRank, Order},
    project::bend,
};
use crate::config::Activation;

/// What happens to the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Queries and keys are rotated; queries go to one buffer, keys and values to another.
    Rotate {
        /// Width of all query heads.
        d_query: u32,
        /// Width of all key heads.
        d_kv: u32,
        /// Width of one head.
        d_head: u32,
    },
    /// Added to the residual stream.
    Add,
    /// Nothing: the rows are made complete in place.
    Keep,
    /// Rows that alternate gate and up: the gate, bent, times up.
    Gate(Activation),
}

/// The kernel after a product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finish<'a> {
    /// The side paths of the matrix.
    pub side: &'a LowRank,
    /// What follows.
    pub then: Then,
}

/// Tokens an invocation finishes.
const TOKENS: u32 = 8;

impl Finish<'_> {
    /// Tokens a workgroup covers.
    pub const TOKENS: u32 = TOKENS;

    /// Workgroups along the rows.
    pub fn groups(&self) -> u32 {
        (self.side.rows() / 2).div_ceil(WORKGROUP)
    }

    /// The kernel: an invocation finishes two neighbouring rows of some tokens.
    ///
    /// Bindings: state, y, then t and b where the matrix has a side path, then for [`Then::Rotate`] rope, queries, keys and
    /// values, for [`Then::Add`] the stream before and after, for [`Then::Gate`] the gated values; `y` is made complete
    /// there and for [`Then::Keep`].
    pub fn wgsl(&self) -> String {
        let in_place = matches!(self.then, Then::Gate(_) | Then::Keep);
        let mut buffers = vec![("state", "u32", false), ("y", "vec2<f32>", in_place)];
        if self.side.quads() > 0 {
            buffers.extend([("t", "vec4<f32>", false), ("b", "vec4<f32>", false)]);
        }
        buffers.extend_from_slice(match self.then {
            Then::Rotate { .. } => &[("rope", "vec2<f32>", false), ("q", "vec2<f32>", true), ("kv", "vec2<f32>", true)],
            Then::Add => &[("before", "vec2<f32>", false), ("after", "vec2<f32>", true)],
            Then::Keep => &[],
            Then::Gate(_) => &[("gated", "f32", true)],
        });
        let pairs = self.side.rows() / 2;
        let mut w = declare(&buffers) + &entry();
        writeln!(
            w,
            "  let i = group.x * {WORKGROUP}u + l;
  let token0 = group.y * {TOKENS}u;
  if (i >= {pairs}u) {{ return; }}
  let end = min(token0 + {TOKENS}u, count);"
        )
        .ok();
        match self.side.order {
            Order::Stacked => self.stacked(&mut w),
            Order::Alternating => self.alternating(&mut w),
        }
        w.push_str("}\n");
        w
    }

    fn stacked(&self, w: &mut String) {
        let mut end = 0;
        for (p, part) in self.side.parts.iter().enumerate() {
            let first = end;
            end += part.rows / 2;
            writeln!(w, "  if (i >= {first}u && i < {end}u) {{").ok();
            let b = self.side.first_b(p);
            for q in 0..part.quads {
                let at = format!("{b}u + (i - {first}u) * {}u + {q}u", 2 * part.quads);
                writeln!(w, "    let bx{q} = b[{at}];\n    let by{q} = b[{at} + {}u];", part.quads).ok();
            }
            self.tokens(w, [p, p]);
        }
    }

    fn alternating(&self, w: &mut String) {
        w.push_str("  {\n");
        for (p, name) in ["x", "y"].into_iter().enumerate() {
            let quads = self.side.parts[p].quads;
            for q in 0..quads {
                writeln!(w, "    let b{name}{q} = b[{}u + i * {quads}u + {q}u];", self.side.first_b(p)).ok();
            }
        }
        self.tokens(w, [0, 1]);
    }

    /// The loop over the tokens; the two rows of an invocation belong to these parts.
    fn tokens(&self, w: &mut String, parts: [usize; 2]) {
        let pairs = self.side.rows() / 2;
        writeln!(w, "    for (var token = token0; token < end; token++) {{\n      var v = y[token * {pairs}u + i];")
            .ok();
        for (p, name) in parts.into_iter().zip(["x", "y"]) {
            let part = self.side.parts[p];
            let first = self.side.first_quad(p);
            let terms: Vec<_> = (0..part.quads)
                .map(|q| format!("dot(b{name}{q}, t[token * {}u + {}u])", self.side.quads(), first + q))
                .collect();
            if !terms.is_empty() {
                writeln!(w, "      v.{name} += {:e} * ({});", part.scale, terms.join(" + ")).ok();
            }
        }
        match self.then {
            Then::Rotate { d_query, d_kv, d_head } => writeln!(
                w,
                "      let turn = rope[token * {}u + i % {}u];
      let turned = vec2<f32>(v.x * turn.x - v.y * turn.y, v.x * turn.y + v.y * turn.x);
      if (i < {}u) {{ q[token * {}u + i] = turned; }}
      else {{ kv[token * {d_kv}u + i - {}u] = select(v, turned, i < {}u); }}",
                d_head / 2,
                d_head / 2,
                d_query / 2,
                d_query / 2,
                d_query / 2,
                (d_query + d_kv) / 2,
            ),
            Then::Add => writeln!(w, "      after[token * {pairs}u + i] = before[token * {pairs}u + i] + v;"),
            Then::Keep => writeln!(w, "      y[token * {pairs}u + i] = v;"),
            Then::Gate(activation) => writeln!(
                w,
                "      y[token * {pairs}u + i] = v;\n      gated[token * {pairs}u + i] = {} * v.y;",
                bend(activation, "v.x")
            ),
        }
        .ok();
        w.push_str("    }\n  }\n");
    }
}

/// [`Then::Gate`] alone, of gate and up that are complete: the gate, bent, times up.
///
/// Bindings: state, y, gated. Workgroups `(d_ff / 64, tokens)`.
pub fn gate(d_ff: u32, activation: Activation) -> String {
    let buffers = [("state", "u32", false), ("y", "vec2<f32>", false), ("gated", "f32", true)];
    declare(&buffers)
        + &entry()
        + &format!(
            "  let i = group.x * {WORKGROUP}u + l;
  if (i >= {d_ff}u || group.y >= count) {{ return; }}
  let v = y[group.y * {d_ff}u + i];
  gated[group.y * {d_ff}u + i] = {} * v.y;
}}
",
            bend(activation, "v.x")
        )
}

/// Gradient of [`Then::Gate`]: replaces gate and up by their gradients; of `x·s` with `s = sigmoid(g(x))` it is
/// `s + x·s·(1 − s)·g′(x)`.
///
/// Bindings: state, gradient of the gated values, y. Workgroups `(d_ff / 64, tokens)`.
pub fn gate_back(d_ff: u32, activation: Activation) -> String {
    let (g, slope) = match activation {
        Activation::Silu => ("v.x".into(), "1.0".into()),
        Activation::Gelu => {
            let (a, b) = (Activation::GELU_SLOPE, Activation::GELU_CUBE);
            (format!("{a:e} * v.x * (1.0 + {b:e} * v.x * v.x)"), format!("{a:e} * (1.0 + {:e} * v.x * v.x)", 3.0 * b))
        }
    };
    let buffers = [("state", "u32", false), ("grad", "f32", false), ("y", "vec2<f32>", true)];
    declare(&buffers)
        + &entry()
        + &format!(
            "  let i = group.x * {WORKGROUP}u + l;
  if (i >= {d_ff}u || group.y >= count) {{ return; }}
  let at = group.y * {d_ff}u + i;
  let v = y[at];
  let d = grad[at];
  let s = 1.0 / (1.0 + exp(-({g})));
  y[at] = vec2<f32>(d * v.y * s * (1.0 + v.x * (1.0 - s) * {slope}), d * v.x * s);
}}
"
        )
}

/// Workgroups of [`gate`] and [`gate_back`] along the width.
pub fn gate_groups(d_ff: u32) -> u32 {
    d_ff.div_ceil(WORKGROUP)
}
