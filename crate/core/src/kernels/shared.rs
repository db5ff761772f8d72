//! Tiled products for devices with fast workgroup memory: forward and transposed.
//!
//! A workgroup brings a slice of weights, unpacked, and of activations into its memory, and each invocation multiplies
//! four rows by four or eight tokens of it from registers; the next slice is on its way meanwhile. Tokens and rows lie in
//! that memory at places ([`Size::slot`]) where neighbouring invocations read neighbouring banks.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::{state, unpack::bytes};
use crate::quant::BlockType;

/// How large a tile is: more reads a number less often, fewer keeps more of a device busy with few tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Size {
    /// 32 rows by 32 tokens, 4 by 4 an invocation.
    Small,
    /// 64 rows by 64 tokens, 4 by 8 an invocation.
    Large,
}

/// Rows an invocation computes.
pub(super) const EACH_ROWS: u32 = 4;
/// Names of the elements of a vector.
const ELEMENTS: [&str; 4] = ["x", "y", "z", "w"];

impl Size {
    /// Rows and tokens of a tile; columns and tokens of a transposed one.
    pub(crate) fn lines(self) -> u32 {
        match self {
            Size::Small => 32,
            Size::Large => 64,
        }
    }

    /// Tokens an invocation computes.
    pub(super) fn each_tokens(self) -> u32 {
        match self {
            Size::Small => 4,
            Size::Large => 8,
        }
    }

    /// Invocations a workgroup.
    pub(super) fn workgroup(self) -> u32 {
        self.lines() / EACH_ROWS * (self.lines() / self.each_tokens())
    }

    /// `across` and `down`: which rows and which tokens an invocation has. 32 neighbours are 8 across and 4 down, so that
    /// what they read at once are few different vectors.
    fn places(self, w: &mut String) {
        w.push_str(match self {
            Size::Small => "  let across = l % 8u;\n  let down = l / 8u;\n",
            Size::Large => "  let across = l % 8u + l / 32u % 2u * 8u;\n  let down = l / 8u % 4u + l / 64u * 4u;\n",
        });
    }

    /// Where line `line` of a slice stands, of which an invocation has `each` neighbours.
    fn slot(self, line: &str, each: u32) -> String {
        format!("({line} % {each}u * {}u + {line} / {each}u)", self.lines() / each)
    }

    /// Goes through an invocation's tokens, of which `multiply` adds to the sums of token `t` its quad `q` of the slice, `v`;
    /// closes the loops over quads and slices.
    fn each_token(self, w: &mut String, multiply: impl Fn(&mut String, u32)) {
        let stride = self.lines() / self.each_tokens();
        for t in 0..self.each_tokens() {
            writeln!(w, "      {{ let v = rhs[({}u + down) * 8u + (q ^ (down & 7u))];", t * stride).ok();
            multiply(w, t);
            w.push_str("      }\n");
        }
        w.push_str("    }\n  }\n");
    }

    /// The slices in workgroup memory, as 32 numbers a line, and the head of `main`.
    pub(super) fn entry(self) -> String {
        let (vectors, workgroup) = (self.lines() * 8, self.workgroup());
        format!(
            "var<workgroup> lhs: array<vec4<f32>, {vectors}>;
var<workgroup> rhs: array<vec4<f32>, {vectors}>;
@compute @workgroup_size({workgroup})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let count = state[{}];
",
            state::COUNT
        )
    }
}

/// The two vectors that eight neighbouring weights are unpacked to, as text, from the words `word` and, for a format of
/// bytes, the one after it.
fn unpacked(ty: BlockType, word: &str, scale: &str, eighth: &str) -> [String; 2] {
    let second = if bytes(ty) { format!("{word}b") } else { word.to_owned() };
    [
        format!("weights(low({word}), EVEN, {scale}, {eighth})"),
        format!("weights(high({second}), ODD, {scale}, {eighth})"),
    ]
}

/// A product `y = W·x` over the blocks of a row, of `rows` and `blocks`.
///
/// Leaves the sums `a<row>_<token>` of rows `row…` and tokens `token0…`, in functions that read `words` as `u32` and `x` as
/// `array<vec4<f32>, 2>`; `group` and `l` are the usual ones.
pub(super) fn product(w: &mut String, size: Size, ty: BlockType, rows: u32, blocks: u32) {
    let parts = if bytes(ty) { 2 } else { 1 };
    size.places(w);
    let (each_rows, each_tokens, lines) = (EACH_ROWS, size.each_tokens(), size.lines());
    writeln!(
        w,
        "  let row = group.x * {lines}u + across * {each_rows}u;
  let token0 = group.y * {lines}u + down * {each_tokens}u;
  if (group.y * {lines}u >= count) {{ return; }}"
    )
    .ok();
    // Who brings what: a word of a row each, neighbours the words of a block; a pair of vectors of a token each.
    let loads = lines * 4 / size.workgroup();
    for i in 0..loads {
        writeln!(
            w,
            "  let line{i} = (l + {at}u) / 4u;
  let eighth{i} = (l + {at}u) % 4u;
  let from{i} = min(group.x * {lines}u + line{i}, {last}u) * {blocks}u;
  let slot_w{i} = {slot_w};
  let put_w{i} = slot_w{i} * 8u;
  let turn_w{i} = slot_w{i} & 7u;
  let slot_x{i} = {slot_x};
  let put_x{i} = slot_x{i} * 8u;
  let turn_x{i} = slot_x{i} & 7u;
  let from_x{i} = min(group.y * {lines}u + line{i}, count - 1u) * {octets}u + eighth{i};",
            at = i * size.workgroup(),
            last = rows - 1,
            octets = blocks * 4,
            slot_w = size.slot(&format!("line{i}"), each_rows),
            slot_x = size.slot(&format!("line{i}"), each_tokens),
        )
        .ok();
    }
    let fetch = |w: &mut String, b: &str, how: &str| {
        for i in 0..loads {
            let word = format!("((from{i} + {b}) * 4u + eighth{i}) * {parts}u");
            writeln!(w, "    {how}s{i} = block_scale(from{i} + {b});\n    {how}w{i} = words[{word}];").ok();
            if parts == 2 {
                writeln!(w, "    {how}w{i}b = words[{word} + 1u];").ok();
            }
            writeln!(w, "    {how}u{i} = x[from_x{i} + ({b}) * 4u];").ok();
        }
    };
    fetch(w, "0u", "var ");
    for (r, t) in (0..each_rows).flat_map(|r| (0..each_tokens).map(move |t| (r, t))) {
        writeln!(w, "  var a{r}_{t} = 0.0;").ok();
    }
    writeln!(w, "  for (var b = 0u; b < {blocks}u; b++) {{\n    workgroupBarrier();").ok();
    for i in 0..loads {
        let [first, second] = unpacked(ty, &format!("w{i}"), &format!("s{i}"), &format!("eighth{i}"));
        writeln!(
            w,
            "    lhs[put_w{i} + ((2u * eighth{i}) ^ turn_w{i})] = {first};
    lhs[put_w{i} + ((2u * eighth{i} + 1u) ^ turn_w{i})] = {second};
    rhs[put_x{i} + ((2u * eighth{i}) ^ turn_x{i})] = u{i}[0];
    rhs[put_x{i} + ((2u * eighth{i} + 1u) ^ turn_x{i})] = u{i}[1];"
        )
        .ok();
    }
    w.push_str("    workgroupBarrier();\n    let next = min(b + 1u, ");
    writeln!(w, "{}u);", blocks - 1).ok();
    fetch(w, "next", "");
    w.push_str("    for (var q = 0u; q < 8u; q++) {\n");
    for r in 0..each_rows {
        writeln!(w, "      let p{r} = lhs[({}u + across) * 8u + (q ^ (across & 7u))];", r * lines / each_rows).ok();
    }
    size.each_token(w, |w, t| {
        for (r, element) in (0..each_rows).flat_map(|r| ELEMENTS.map(|element| (r, element))) {
            writeln!(w, "        a{r}_{t} = fma(p{r}.{element}, v.{element}, a{r}_{t});").ok();
        }
    });
    writeln!(w, "  if (row >= {rows}u || token0 >= count) {{ return; }}").ok();
}

/// A product `dx = dy·W` over the rows `begin…end` (multiples of 4), of a matrix of `rows` and `cols`.
///
/// Leaves the sums `a<token>` of tokens `token0…` in four columns, the quad `quad` of a row. `dy` is `array<vec4<f32>>`,
/// `from` tells where the row of a token begins in it, as text.
pub(super) fn transposed(
    w: &mut String,
    size: Size,
    ty: BlockType,
    [rows, cols]: [u32; 2],
    from: impl Fn(&str) -> String,
) {
    let parts = if bytes(ty) { 2 } else { 1 };
    let (blocks, each_tokens, lines) = (cols / 32, size.each_tokens(), size.lines());
    // Vectors and eights of a row of the tile.
    let (quads, octets) = (lines / 4, lines / 8);
    size.places(w);
    writeln!(
        w,
        "  let quad = group.x * {quads}u + across;
  let token0 = group.y * {lines}u + down * {each_tokens}u;
  if (group.y * {lines}u >= count) {{ return; }}"
    )
    .ok();
    let (words, vectors) = (32 * octets / size.workgroup(), lines * 8 / size.workgroup());
    for i in 0..words {
        let at = i * size.workgroup();
        writeln!(
            w,
            "  let line{i} = (l + {at}u) / {octets}u;
  let octet{i} = min(group.x * {octets}u + l % {octets}u, {last}u);
  let put_w{i} = line{i} * {quads}u + l % {octets}u * 2u;",
            last = cols / 8 - 1,
        )
        .ok();
    }
    for i in 0..vectors {
        writeln!(
            w,
            "  let line_x{i} = (l + {at}u) / 8u;
  let slot{i} = {slot};
  let put_x{i} = slot{i} * 8u + ((l % 8u) ^ (slot{i} & 7u));
  let from{i} = {from};",
            at = i * size.workgroup(),
            slot = size.slot(&format!("line_x{i}"), each_tokens),
            from = from(&format!("min(group.y * {lines}u + line_x{i}, count - 1u)")),
        )
        .ok();
    }
    let fetch = |w: &mut String, n: &str, how: &str| {
        for i in 0..words {
            writeln!(w, "    let row{i} = min({n} + line{i}, {}u);", rows - 1).ok();
            let word = format!("(row{i} * {}u + octet{i}) * {parts}u", blocks * 4);
            writeln!(
                w,
                "    {how}s{i} = block_scale(row{i} * {blocks}u + octet{i} / 4u);\n    {how}w{i} = words[{word}];"
            )
            .ok();
            if parts == 2 {
                writeln!(w, "    {how}w{i}b = words[{word} + 1u];").ok();
            }
        }
        for i in 0..vectors {
            // Rows past the end weigh nothing.
            writeln!(
                w,
                "    {how}u{i} = select(vec4<f32>(), dy[from{i} + min({n} / 4u + l % 8u, {last}u)], {n} + l % 8u * 4u < end);",
                last = rows / 4 - 1
            )
            .ok();
        }
    };
    for t in 0..each_tokens {
        writeln!(w, "  var a{t} = vec4<f32>();").ok();
    }
    fetch(w, "begin", "var ");
    w.push_str("  for (var n = begin; n < end; n += 32u) {\n    workgroupBarrier();\n");
    for i in 0..words {
        let [first, second] = unpacked(ty, &format!("w{i}"), &format!("s{i}"), &format!("(octet{i} % 4u)"));
        writeln!(w, "    lhs[put_w{i}] = {first};\n    lhs[put_w{i} + 1u] = {second};").ok();
    }
    for i in 0..vectors {
        writeln!(w, "    rhs[put_x{i}] = u{i};").ok();
    }
    w.push_str("    workgroupBarrier();\n    let next = n + 32u;\n");
    fetch(w, "next", "");
    w.push_str("    for (var q = 0u; q < 8u; q++) {\n");
    for i in 0..4 {
        writeln!(w, "      let p{i} = lhs[q * {}u + {}u + across];", 4 * quads, i * quads).ok();
    }
    size.each_token(w, |w, t| {
        for (i, element) in ELEMENTS.iter().enumerate() {
            writeln!(w, "        a{t} = fma(vec4<f32>(v.{element}), p{i}, a{t});").ok();
        }
    });
    writeln!(w, "  if (quad >= {}u || token0 >= count) {{ return; }}", cols / 4).ok();
}
