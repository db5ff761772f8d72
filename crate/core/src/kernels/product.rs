//! A product of many tokens whose matrix buffers tell, not the text: one kernel a format, however many matrices.
//!
//! For processors posing as a GPU, whose drivers take longer to compile a product of 16 rows by 8 tokens than to read a
//! short prompt with it. What follows a product (side path, then rope, residual or gate) are kernels of their own, each a
//! few lines.

use std::fmt::Write;

use super::{
    WORKGROUP,
    apart::Apart,
    declare,
    project::{Project, Slice},
    unpack::{bytes, decoders},
};
use crate::quant::BlockType;

/// Tokens an invocation computes.
const TOKENS: u32 = 8;
/// Invocations of a workgroup along the rows.
const ACROSS: u32 = 8;

/// A product kernel: for every matrix of a format that is bound in arrays of these lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// Format of the weights.
    pub ty: BlockType,
    /// Words and scales that are bound, as `u32`: no less than the matrix has.
    pub lengths: [u32; 2],
    /// How many rows an invocation computes, and whether it exchanges activations.
    pub apart: Apart,
}

impl Product {
    /// Invocations of a workgroup along the tokens: one where they exchange, so that none returns before the others.
    fn down(&self) -> u32 {
        if self.apart.by_fours() { 1 } else { WORKGROUP / ACROSS }
    }

    /// Tokens a workgroup covers.
    pub fn tokens(&self) -> u32 {
        self.down() * TOKENS
    }

    /// Workgroups along a matrix of `rows`; along the tokens stands one a [`Product::tokens`].
    pub fn groups(&self, rows: u32) -> u32 {
        rows.div_ceil(ACROSS * self.apart.rows())
    }

    /// What the kernel reads of a matrix besides its weights; its rows have `cols` weights and are `slice` of a token's results.
    pub fn shape(rows: u32, cols: u32, slice: Slice) -> [u32; 4] {
        [rows, cols / 32, slice.first, slice.all]
    }

    /// The kernel.
    ///
    /// Bindings: state, [shape](Product::shape), words, scales, x, out.
    pub fn wgsl(&self) -> String {
        let (rows, down, [words, scales]) = (self.apart.rows(), self.down(), self.lengths.map(|n| format!("u32, {n}")));
        let mut w = String::from(self.apart.directive());
        w.push_str(&declare(&[
            ("state", "u32", false),
            ("shape", "u32, 4", false),
            ("words", &words, false),
            ("scales", &scales, false),
            ("x", "array<vec4<f32>, 2>", false),
            ("out", "f32", true),
        ]));
        w.push_str(&decoders(self.ty));
        w.push_str(&self.apart.entry(ACROSS * down));
        writeln!(
            w,
            "  let rows = shape[0];
  let blocks = shape[1];
  let row = (group.x * {ACROSS}u + l % {ACROSS}u) * {rows}u;
  let token0 = (group.y * {down}u + l / {ACROSS}u) * {TOKENS}u;"
        )
        .ok();
        if !self.apart.by_fours() {
            w.push_str("  if (row >= rows || token0 >= count) { return; }\n");
        }
        for t in (0..TOKENS).filter(|&t| self.apart.brought(t).0 == t) {
            writeln!(w, "  let x{t} = min(token0 + {t}u + own, count - 1u) * blocks * 4u;").ok();
        }
        for r in 0..rows {
            writeln!(w, "  let base{r} = min(row + {r}u, rows - 1u) * blocks;").ok();
            (0..TOKENS).for_each(|t| w.push_str(&format!("  var a{r}_{t} = 0.0;\n")));
        }
        self.sum(&mut w);
        self.store(&mut w);
        w
    }

    /// The walk along the rows' blocks.
    fn sum(&self, w: &mut String) {
        w.push_str("  for (var b = 0u; b < blocks; b++) {\n");
        for r in 0..self.apart.rows() {
            writeln!(w, "    let s{r} = block_scale(base{r} + b);").ok();
        }
        // A loop over the eighths of a block, not four copies, since drivers take long over each place in the text that does something.
        w.push_str("    for (var o = 0u; o < 4u; o++) {\n");
        for r in 0..self.apart.rows() {
            // The driver takes each mention of a word for another load.
            let (first, second) = if bytes(self.ty) { (" * 2u", " * 2u + 1u") } else { ("", "") };
            let eighth = format!("((base{r} + b) * 4u + o)");
            writeln!(w, "      let v{r} = words[{eighth}{first}];").ok();
            let high = if bytes(self.ty) { format!("words[{eighth}{second}]") } else { format!("v{r}") };
            writeln!(w, "      let p{r} = weights(low(v{r}), EVEN, s{r}, o);").ok();
            writeln!(w, "      let q{r} = weights(high({high}), ODD, s{r}, o);").ok();
        }
        for t in 0..TOKENS {
            let (whose, exchange) = self.apart.brought(t);
            if whose == t {
                writeln!(
                    w,
                    "      let pair{t} = &x[x{t} + b * 4u + o]; let f{t} = (*pair{t})[0]; let g{t} = (*pair{t})[1];"
                )
                .ok();
            }
            writeln!(w, "      {{ let u = {exchange}(f{whose}); let v = {exchange}(g{whose});").ok();
            for r in 0..self.apart.rows() {
                writeln!(w, "        a{r}_{t} += dot(p{r}, u) + dot(q{r}, v);").ok();
            }
            w.push_str("      }\n");
        }
        w.push_str("    }\n  }\n");
    }

    /// Where the sums go, again in loops.
    fn store(&self, w: &mut String) {
        let rows = self.apart.rows();
        writeln!(w, "  var sums: array<array<f32, {rows}>, {TOKENS}>;").ok();
        for (r, t) in (0..rows).flat_map(|r| (0..TOKENS).map(move |t| (r, t))) {
            writeln!(w, "  sums[{t}u][{r}u] = a{r}_{t};").ok();
        }
        writeln!(
            w,
            "  for (var t = 0u; t < {TOKENS}u; t++) {{
    let token = token0 + (t ^ own);
    if (row >= rows || token >= count) {{ continue; }}
    let to = token * shape[3] + shape[2] + row;
    for (var r = 0u; r < min({rows}u, rows - row); r++) {{ out[to + r] = sums[t][r]; }}
  }}
}}"
        )
        .ok();
    }
}

/// What brings a product where its role puts it, four neighbouring rows of some tokens an invocation.
impl Project {
    /// Tokens a workgroup of [`Project::widen`] and of [`Project::rest`] covers.
    pub const REST_TOKENS: u32 = TOKENS;

    /// Workgroups of these along the rows, of which there are quads.
    pub fn rest_groups(&self) -> u32 {
        (self.rows / 4).div_ceil(WORKGROUP)
    }

    /// Adds the side path to a product that stands alone.
    ///
    /// Bindings: state, [side](super::side), x with the bottleneck behind the activations, the product.
    pub fn widen(&self) -> String {
        let mut w = declare(&[
            ("state", "u32", false),
            ("side", "vec4<f32>", false),
            ("x", "array<vec4<f32>, 2>", false),
            ("out", "vec4<f32>", true),
        ]);
        self.quad(&mut w);
        let all = || (0..4).flat_map(|r| (0..TOKENS).map(move |t| (r, t)));
        all().for_each(|(r, t)| w.push_str(&format!("  var y{r}_{t} = 0.0;\n")));
        if let Some(side) = self.side() {
            side.widen_tile(&mut w, 4, TOKENS, |r, t| format!("y{r}_{t}"));
        }
        for t in 0..TOKENS {
            writeln!(
                w,
                "  if (token0 + {t}u < count) {{ out[(token0 + {t}u) * {}u + row / 4u] += vec4<f32>(y0_{t}, y1_{t}, y2_{t}, y3_{t}); }}",
                self.rows / 4
            )
            .ok();
        }
        w.push_str("}\n");
        w
    }

    /// Brings a product to where the role puts it.
    ///
    /// Bindings: state, the product, out, then rope and cache for queries, keys and values.
    pub fn rest(&self) -> String {
        let mut buffers = vec![("state", "u32", false), ("y", "vec4<f32>", false), ("out", "f32", true)];
        if self.role.turned() {
            buffers.extend([("rope", "vec2<f32>", false), ("cache", "f32", true)]);
        }
        let mut w = declare(&buffers);
        self.quad(&mut w);
        writeln!(
            w,
            "  for (var token = token0; token < min(token0 + {TOKENS}u, count); token++) {{
    let sums = y[token * {}u + row / 4u];",
            self.rows / 4
        )
        .ok();
        ["x", "y", "z", "w"].iter().zip(0..).for_each(|(at, r)| w.push_str(&format!("    let y{r} = sums.{at};\n")));
        self.store(&mut w, 4, " + token", "", false);
        w.push_str("  }\n}\n");
        w
    }

    /// `row`, `token0` and `count` of an invocation.
    fn quad(&self, w: &mut String) {
        w.push_str(&super::entry());
        writeln!(
            w,
            "  let row = (group.x * {WORKGROUP}u + l) * 4u;
  let token0 = group.y * {TOKENS}u;
  if (row >= {}u || token0 >= count) {{ return; }}",
            self.rows
        )
        .ok();
    }
}
