//! The gradient of a quantised projection's input: `dx = dy·W`, the product of [`project`](super::project) transposed.
//!
//! The blocks lie along the sum of the forward, here they lie along the result: an invocation holds neighbouring columns
//! of some tokens and walks down the rows, four at a time.

use std::fmt::Write;

use super::{
    WORKGROUP,
    apart::Apart,
    declare, entry,
    project::{Slice, Tile},
    shared::{self, Size},
    unpack::{bytes, decoders, lengths},
};
use crate::quant::BlockType;

/// A transposed product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transposed {
    /// Format of the weights.
    pub ty: BlockType,
    /// Rows of the matrix.
    pub rows: u32,
    /// Which of the numbers of `dy` are theirs.
    pub slice: Slice,
    /// Weights a row: a multiple of 32.
    pub cols: u32,
    /// Workgroups that share the rows of a result; more than one leave as many results, [`SPLIT_TOKENS`] tokens each.
    pub splits: u32,
    /// How it is cut among invocations, where it can be cut so.
    pub tile: Tile,
    /// Which result is the first: matrices that are parts of one leave theirs side by side.
    pub first_split: u32,
}

/// How a transposed product is cut.
enum Cut {
    /// Invocations share no memory.
    Apart(Strip),
    /// A workgroup brings weights and gradients into its memory, for all its invocations; for rows that are quads.
    Shared(Size),
}

/// What an invocation computes that shares no memory.
#[derive(Clone, Copy)]
struct Strip {
    /// Whether it exchanges gradients.
    apart: Apart,
    /// Runs of eight columns, 1 or 2.
    octets: u32,
    /// Tokens.
    tokens: u32,
}

impl Strip {
    /// Invocations of a workgroup: few where none may return before the others.
    fn group(self) -> u32 {
        if self.apart.by_fours() { 8 } else { WORKGROUP }
    }
}

/// Tokens of each result of a product whose rows are shared.
pub const SPLIT_TOKENS: u32 = 64;

impl Transposed {
    fn cut(&self) -> Cut {
        match self.tile {
            Tile::Shared(size) if self.whole() => Cut::Shared(size),
            // On a processor each load and each unpacked weight must serve.
            Tile::Apart(apart @ Apart::ByFours) => Cut::Apart(Strip { apart, octets: 1, tokens: 16 }),
            Tile::Apart(apart @ Apart::Alone(9..)) => Cut::Apart(Strip { apart, octets: 2, tokens: 16 }),
            Tile::Apart(apart) => Cut::Apart(Strip { apart, octets: 1, tokens: 4 }),
            Tile::Shared(_) => Cut::Apart(Strip { apart: Apart::Alone(4), octets: 1, tokens: 4 }),
        }
    }

    /// Workgroups along the columns.
    pub fn groups(&self) -> u32 {
        match self.cut() {
            Cut::Apart(strip) => (self.cols / 8 / strip.octets).div_ceil(strip.group()),
            Cut::Shared(size) => self.cols.div_ceil(size.lines()),
        }
    }

    /// Tokens a workgroup computes.
    pub fn tokens(&self) -> u32 {
        match self.cut() {
            Cut::Apart(strip) => strip.tokens,
            Cut::Shared(size) => size.lines(),
        }
    }

    /// The kernel.
    ///
    /// Bindings: state, words, scales, dy, dx. Workgroups `(groups, tokens / self.tokens(), splits)`.
    pub fn wgsl(&self) -> String {
        let dy = if self.whole() { "vec4<f32>" } else { "f32" };
        let [words, scales] = lengths(self.ty, self.rows, self.cols).map(|n| format!("u32, {n}"));
        let buffers =
            [("state", "u32", false), ("words", &words, false), ("scales", &scales, false), ("dy", dy, false)];
        let buffers = declare(&[&buffers[..], &[("dx", "vec4<f32>", true)]].concat());
        let directive = if let Cut::Apart(strip) = self.cut() { strip.apart.directive() } else { "" };
        let mut w = format!("{directive}{buffers}{}", decoders(self.ty));
        match self.cut() {
            Cut::Apart(strip) => self.apart(&mut w, strip),
            Cut::Shared(size) => self.shared(&mut w, size),
        }
        w.push_str("}\n");
        w
    }

    /// Where the rows of a workgroup begin and end.
    fn share(&self, w: &mut String, step: u32) {
        let share = self.rows.div_ceil(self.splits).next_multiple_of(step);
        writeln!(w, "  let begin = group.z * {share}u;\n  let end = min(begin + {share}u, {}u);", self.rows).ok();
    }

    /// Where the first token's sums go, as text.
    fn place(&self) -> String {
        if self.splits > 1 || self.first_split > 0 {
            format!("(group.z + {}u) * {SPLIT_TOKENS}u + ", self.first_split)
        } else {
            String::new()
        }
    }

    fn shared(&self, w: &mut String, size: Size) {
        let Slice { first, all } = self.slice;
        w.push_str(&size.entry());
        self.share(w, 32);
        let from = |token: &str| format!("{token} * {}u + {}u", all / 4, first / 4);
        shared::transposed(w, size, self.ty, [self.rows, self.cols], from);
        for t in 0..size.each_tokens() {
            writeln!(
                w,
                "  if (token0 + {t}u < count) {{ dx[({}token0 + {t}u) * {}u + quad] = a{t}; }}",
                self.place(),
                self.cols / 4
            )
            .ok();
        }
    }

    fn apart(&self, w: &mut String, strip: Strip) {
        let Self { rows, cols, .. } = *self;
        let Strip { apart, octets, tokens } = strip;
        let whole = self.whole();
        if !whole {
            writeln!(
                w,
                "fn at(start: u32, n: u32) -> f32 {{ return select(0.0, dy[start + min(n, {}u)], n < {rows}u); }}",
                rows - 1,
            )
            .ok();
        }
        let octets_all = cols / 8;
        w.push_str(&apart.entry(strip.group()));
        writeln!(
            w,
            "  let mine = (group.x * {}u + l) * {octets}u;
  let octet = min(mine, {}u);
  let token = group.y * {tokens}u;",
            strip.group(),
            octets_all - octets,
        )
        .ok();
        if !apart.by_fours() {
            writeln!(w, "  if (mine >= {octets_all}u || token >= count) {{ return; }}").ok();
        }
        self.share(w, 4);
        for u in 0..tokens {
            if apart.brought(u).0 == u {
                let Slice { first, all } = self.slice;
                let (stride, first) = if whole { (all / 4, first / 4) } else { (all, first) };
                writeln!(w, "  let from{u} = min(token + {u}u + own, count - 1u) * {stride}u + {first}u;").ok();
            }
            for i in 0..2 * octets {
                writeln!(w, "  var a{u}_{i} = vec4<f32>();").ok();
            }
        }
        self.sum(w, strip);
        self.store(w, strip);
    }

    /// The walk down the rows.
    fn sum(&self, w: &mut String, Strip { apart, octets, tokens }: Strip) {
        w.push_str("  for (var n = begin; n < end; n += 4u) {\n");
        self.unpack_rows(w, octets);
        for u in 0..tokens {
            let (whose, exchange) = apart.brought(u);
            if whose == u {
                let grad = if self.whole() {
                    format!("dy[from{u} + n / 4u]")
                } else {
                    let four = [0, 1, 2, 3].map(|i| format!("at(from{u}, n + {i}u)"));
                    format!("vec4<f32>({})", four.join(", "))
                };
                writeln!(w, "    let d{u} = {grad};").ok();
            }
            writeln!(w, "    {{ let d = {exchange}(d{whose});").ok();
            for i in 0..2 * octets {
                writeln!(w, "      a{u}_{i} += d.x * w0_{i} + d.y * w1_{i} + d.z * w2_{i} + d.w * w3_{i};").ok();
            }
            w.push_str("    }\n");
        }
        w.push_str("  }\n");
    }

    /// Where the sums go: in loops, since drivers take long over each place in the text that stores something.
    fn store(&self, w: &mut String, Strip { octets, tokens, .. }: Strip) {
        writeln!(w, "  var sums: array<array<vec4<f32>, {}>, {tokens}>;", 2 * octets).ok();
        for (u, i) in (0..tokens).flat_map(|u| (0..2 * octets).map(move |i| (u, i))) {
            writeln!(w, "  sums[{u}u][{i}u] = a{u}_{i};").ok();
        }
        writeln!(
            w,
            "  for (var u = 0u; u < {tokens}u; u++) {{
    let to = token + (u ^ own);
    if (mine >= {all}u || to >= count) {{ continue; }}
    for (var i = 0u; i < {each}u; i++) {{ dx[({place}to) * {quads}u + octet * 2u + i] = sums[u][i]; }}
  }}",
            place = self.place(),
            all = self.cols / 8,
            each = 2 * octets,
            quads = self.cols / 4,
        )
        .ok();
    }

    /// Whether four rows stand in a vector of `dy`.
    fn whole(&self) -> bool {
        [self.rows, self.slice.first, self.slice.all].iter().all(|n| n.is_multiple_of(4))
    }

    /// The weights of four rows as `w<row>_<quad>`.
    fn unpack_rows(&self, w: &mut String, octets: u32) {
        let blocks = self.cols / 32;
        let parts = if bytes(self.ty) { 2 } else { 1 };
        for r in 0..4 {
            let row = if self.rows.is_multiple_of(4) {
                format!("(n + {r}u)")
            } else {
                format!("min(n + {r}u, {}u)", self.rows - 1)
            };
            writeln!(
                w,
                "    let s{r} = block_scale({row} * {blocks}u + octet / 4u);
    let at{r} = ({row} * {}u + octet) * {parts}u;",
                blocks * 4
            )
            .ok();
            for i in 0..octets {
                let (first, second) = (2 * i, 2 * i + 1);
                // The driver takes each mention of a word for another load.
                let word = |i: u32| format!("words[at{r} + {i}u]");
                let (low, high) = if parts == 2 { (word(first), word(second)) } else { (word(i), format!("v{r}_{i}")) };
                writeln!(
                    w,
                    "    let v{r}_{i} = {low};
    let w{r}_{first} = weights(low(v{r}_{i}), EVEN, s{r}, octet % 4u + {i}u);
    let w{r}_{second} = weights(high({high}), ODD, s{r}, octet % 4u + {i}u);"
                )
                .ok();
            }
        }
    }
}

/// Adds up the results of a product whose rows were shared by `splits`.
///
/// Bindings: state, the results, dx. Workgroups `(cols / 256, tokens)`.
pub fn gather(cols: u32, splits: u32) -> String {
    let quads = cols / 4;
    let buffers = [("state", "u32", false), ("shares", "vec4<f32>", false), ("dx", "vec4<f32>", true)];
    declare(&buffers)
        + &entry()
        + &format!(
            "  let k = group.x * {WORKGROUP}u + l;
  if (k >= {quads}u || group.y >= count) {{ return; }}
  var sum = vec4<f32>();
  for (var i = 0u; i < {splits}u; i++) {{ sum += shares[(i * {SPLIT_TOKENS}u + group.y) * {quads}u + k]; }}
  dx[group.y * {quads}u + k] = sum;
}}
"
        )
}
