//! Projections over quantised weights: a matrix–vector product for one token, a tiled product for many.
//!
//! Weights are unpacked in registers and multiplied with f32 activations, so the numbers are those of the plain path but
//! for the order of the sums. One generator writes both products; what stands before (norm) and after (rope and cache,
//! gate, residual) the product is part of the kernel, so that it costs no dispatch of its own.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::{
    shared::{self, Size},
    side::{MAX_RANK, Side},
    state,
    unpack::{bytes, decoders},
};
use crate::{config::Activation, quant::BlockType};

/// Invocations a workgroup of the tiled kernel.
const WORKGROUP: u32 = 64;

/// What a projection does with its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Norm, then query, key and value rows in one matrix.
    Qkv {
        /// Width of all query heads.
        d_query: u32,
        /// Width of all key heads.
        d_kv: u32,
        /// Width of one head.
        d_head: u32,
        /// Queries and keys are rotated here, keys and values go to the cache; else the rows stay as they are, for
        /// [`heads`](super::heads).
        turned: bool,
    },
    /// Adds the product to the residual stream.
    Residual,
    /// The product alone, which a norm brings into the residual stream.
    Given,
    /// Norm, then rows that alternate gate and up: the gate, bent, times up.
    GateUp(Activation),
    /// Norm of the last token read, then the scores of the vocabulary.
    Head(Slice),
    /// The scores of the vocabulary for tokens normed before, `first` of them skipped by the dispatch.
    Scores(Slice),
}

/// Which of the rows of a larger matrix a matrix has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// The first.
    pub first: u32,
    /// How many the larger one has.
    pub all: u32,
}

impl Slice {
    /// A matrix that is no part of a larger one.
    pub fn whole(rows: u32) -> Self {
        Self { first: 0, all: rows }
    }
}

impl Role {
    /// Whether the one-token kernel norms its input.
    pub fn normed(self) -> bool {
        matches!(self, Role::Qkv { .. } | Role::GateUp(_) | Role::Head(_))
    }

    /// Projections in the matrix that may have a low-rank path beside them.
    pub fn parts(self) -> u32 {
        match self {
            Role::Qkv { .. } => 3,
            Role::GateUp(_) => 2,
            Role::Residual | Role::Given => 1,
            Role::Head(_) | Role::Scores(_) => 0,
        }
    }
}

/// How a product is cut among invocations: chosen by device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Neighbouring rows one invocation computes; even.
    pub rows: u32,
    /// Invocations that share the blocks of those rows (a power of two): 1 needs no reduction, more read memory in one sweep.
    pub lanes: u32,
    /// Invocations a workgroup of the one-token kernel: more make the norm and the side path's bottleneck less often, fewer
    /// keep more of a device busy.
    pub group: u32,
    /// Smallest subgroup of the device, to reduce with shuffles where it holds all lanes.
    pub subgroup: Option<u32>,
    /// How the tiled products are cut.
    pub tile: Tile,
}

/// How the products of many tokens are cut among invocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tile {
    /// Each invocation reads all it needs, for as many rows; even. More rows share a loaded activation, and need registers.
    Apart(u32),
    /// A workgroup brings weights and activations into its memory, for all its invocations.
    Shared(Size),
}

/// A quantised projection kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Project {
    /// Format of the weights.
    pub ty: BlockType,
    /// Rows of the matrix.
    pub rows: u32,
    /// Weights a row: a multiple of 32.
    pub cols: u32,
    /// What happens to the rows.
    pub role: Role,
    /// Epsilon of the norm, where the role has one.
    pub eps: f32,
    /// Tokens the one-token kernel computes over one reading of the weights: 1, or 2 that stand at the same position of
    /// two texts, each with half of the cache, the second alone with the side path.
    pub streams: u32,
}

/// Tokens an invocation of the tiled product computes.
const TILE_TOKENS: u32 = 8;
/// Invocations of a workgroup along the rows; the others lie along the tokens.
const TILE_ACROSS: u32 = 8;
/// Tokens a workgroup of it covers.
const TILE_HEIGHT: u32 = WORKGROUP / TILE_ACROSS * TILE_TOKENS;

/// What the activation of quad `i` is multiplied by, to meet its weights.
const PLACE: &str = "select(EVEN, ODD, (i & 1u) == 1u)";

impl Project {
    /// At most this many bytes of workgroup memory does the one-token kernel take.
    pub fn workgroup_bytes(&self, cut: Cut) -> u32 {
        let a_stream = self.cols * 4 + self.cols / 32 * 4 + (cut.group + 8) * 4;
        self.streams * a_stream + self.role.parts() * MAX_RANK * 4 + 2 * cut.group * 4
    }

    /// Workgroups of the one-token kernel.
    pub fn vector_groups(&self, cut: Cut) -> u32 {
        self.rows.div_ceil(cut.group / cut.lanes * cut.rows)
    }

    /// Workgroups of the tiled kernel along the rows; along the tokens stands one a [`Project::tile_tokens`].
    pub fn tile_groups(&self, cut: Cut) -> u32 {
        self.rows.div_ceil(match cut.tile {
            Tile::Apart(rows) => TILE_ACROSS * rows,
            Tile::Shared(size) => size.lines(),
        })
    }

    /// Tokens a workgroup of the tiled kernel covers.
    pub fn tile_tokens(cut: Cut) -> u32 {
        match cut.tile {
            Tile::Apart(_) => TILE_HEIGHT,
            Tile::Shared(size) => size.lines(),
        }
    }

    fn side(&self) -> Option<Side> {
        (self.role.parts() > 0).then_some(Side { role: self.role, rows: self.rows, cols: self.cols })
    }

    /// The kernel for one token.
    ///
    /// Bindings: state, words, scales, x, out, then [side](super::side) (for [`Role::Head`] the norm), then rope and
    /// cache for [`Role::Qkv`].
    pub fn vector(&self, cut: Cut) -> String {
        let mut w = self.header(Some(cut));
        let (blocks, quads) = (self.cols / 32, self.cols / 4);
        let Cut { rows, lanes, group, .. } = cut;
        let groups = group / lanes;
        writeln!(
            w,
            "var<workgroup> xs: array<array<vec4<f32>, 8>, {all_blocks}>;
@compute @workgroup_size({group})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let lane = l % {lanes}u;
  let row = (group.x * {groups}u + l / {lanes}u) * {rows}u;",
            all_blocks = blocks * self.streams,
        )
        .ok();
        // Two streams stand in the first two rows of the activations.
        let last = matches!(self.role, Role::Head(_)) && self.streams == 1;
        let first = if last { format!("(state[{}] - 1u) * {quads}u", state::COUNT) } else { "0u".into() };
        writeln!(w, "  let first = {first};").ok();
        self.vector_input(&mut w, group);
        let personal = self.streams - 1;
        if let Some(side) = self.side() {
            let group_rows = groups * rows;
            writeln!(w, "  let first_row = group.x * {group_rows}u;").ok();
            side.bottleneck(&mut w, "first_row", &format!("(first_row + {}u)", group_rows - 1), personal * blocks, cut);
        }
        self.vector_sums(&mut w, cut);
        if let Some(side) = self.side() {
            side.widen(&mut w, rows, lanes, |r| format!("a{r}_{personal}"));
        }
        self.reduce(&mut w, cut);
        if lanes > 1 {
            writeln!(w, "  if (lane != 0u) {{ return; }}").ok();
        }
        for s in 0..self.streams {
            writeln!(w, "  {{\n    let token = {s}u;").ok();
            for r in 0..rows {
                writeln!(w, "    let y{r} = a{r}_{s} * scale{s};").ok();
            }
            self.store(&mut w, rows, "", if s > 0 { " + arrayLength(&cache) / 2u" } else { "" });
            w.push_str("  }\n");
        }
        w.push_str("}\n");
        w
    }

    /// Brings the token's activations, times the norm's weight, into workgroup memory.
    ///
    /// They stand divided by the place value of the weight each will meet (see [`unpack`](super::unpack)), and `block_sum` holds
    /// the plain sums of each block, of those that meet a biased weight.
    fn vector_input(&self, w: &mut String, group: u32) {
        if self.role.normed() {
            self.normed_input(w, group);
        } else {
            let all = self.cols / 4 * self.streams;
            writeln!(w, "  for (var i = l; i < {all}u; i += {group}u) {{ xs[i / 8u][i % 8u] = x[first + i] * {PLACE}; }}\n  workgroupBarrier();").ok();
        }
        writeln!(
            w,
            "  for (var b = l; b < {blocks}u; b += {group}u) {{
    let block = &xs[b];
    var s = 0.0;
    for (var i = 0u; i < 8u; i += 2u) {{ s += dot((*block)[i], BIAS / EVEN) + dot((*block)[i + 1u], BIAS / ODD); }}
    block_sum[b] = s;
  }}
  workgroupBarrier();",
            blocks = self.cols / 32 * self.streams,
        )
        .ok();
        for s in 0..self.streams {
            if self.role.normed() {
                writeln!(
                    w,
                    "  var total{s} = 0.0;
  for (var i = 0u; i < 8u; i++) {{ total{s} += octet[{at}u + i]; }}
  let scale{s} = inverseSqrt(total{s} / {cols}.0 + {eps:e});",
                    at = s * 8,
                    cols = self.cols,
                    eps = self.eps,
                )
                .ok();
            } else {
                writeln!(w, "  let scale{s} = 1.0;").ok();
            }
        }
    }

    /// The activations times the norm's weight, and their squares' sum in eight parts.
    fn normed_input(&self, w: &mut String, group: u32) {
        let (quads, blocks, streams) = (self.cols / 4, self.cols / 32, self.streams);
        // A side buffer holds the norm after its first vector.
        let weight = if self.side().is_none() { "norm[i]" } else { "side[1u + i]" };
        for s in 0..streams {
            writeln!(w, "  var square{s} = 0.0;").ok();
        }
        writeln!(w, "  for (var i = l; i < {quads}u; i += {group}u) {{").ok();
        for s in 0..streams {
            writeln!(
                w,
                "    let v{s} = x[first + {}u + i];
    square{s} += dot(v{s}, v{s});
    xs[{}u + i / 8u][i % 8u] = v{s} * {weight} * {PLACE};",
                s * quads,
                s * blocks,
            )
            .ok();
        }
        w.push_str("  }\n");
        for s in 0..streams {
            writeln!(w, "  partial[{}u + l] = square{s};", s * group).ok();
        }
        writeln!(
            w,
            "  workgroupBarrier();
  if (l < {}u) {{
    var s = 0.0;
    let eighth = l / 8u * {group}u + l % 8u;
    for (var i = 0u; i < {group}u; i += 8u) {{ s += partial[eighth + i]; }}
    octet[l] = s;
  }}",
            8 * streams
        )
        .ok();
    }

    /// The sums of the one-token kernel: `d · Σ q·x + m · Σ x` a block, the unpacked integers never scaled one by one.
    fn vector_sums(&self, w: &mut String, cut: Cut) {
        let (blocks, streams) = (self.cols / 32, self.streams);
        for r in 0..cut.rows {
            writeln!(w, "  let base{r} = min(row + {r}u, {}u) * {blocks}u;", self.rows - 1).ok();
            (0..streams).for_each(|s| w.push_str(&format!("  var a{r}_{s} = 0.0;\n")));
        }
        writeln!(w, "  for (var b = lane; b < {blocks}u; b += {}u) {{", cut.lanes).ok();
        for s in 0..streams {
            writeln!(w, "    let block{s} = &xs[{}u + b];", s * blocks).ok();
        }
        for r in 0..cut.rows {
            writeln!(w, "    let s{r} = block_scale(base{r} + b);\n    let words{r} = &words[base{r} + b];").ok();
            (0..streams).for_each(|s| w.push_str(&format!("    var d{r}_{s} = 0.0;\n")));
            for part in 0..self.parts() {
                writeln!(w, "    let w{r}_{part} = (*words{r})[{part}];").ok();
            }
        }
        for octet in 0..4 {
            w.push_str("    {\n");
            for s in 0..streams {
                let (p, q) = (octet * 2, octet * 2 + 1);
                writeln!(w, "      let p{s} = (*block{s})[{p}];\n      let q{s} = (*block{s})[{q}];").ok();
            }
            for r in 0..cut.rows {
                let word = |i: usize| format!("w{r}_{}.{}", i / 4, ["x", "y", "z", "w"][i % 4]);
                let (first, second) = if bytes(self.ty) { (octet * 2, octet * 2 + 1) } else { (octet, octet) };
                let (low, high) = (word(first), word(second));
                writeln!(w, "      let l{r} = low({low});\n      let h{r} = high({high});").ok();
                for s in 0..streams {
                    writeln!(w, "      d{r}_{s} += dot(l{r}, p{s}) + dot(h{r}, q{s});").ok();
                }
            }
            w.push_str("    }\n");
            if self.ty == BlockType::Q6K && octet == 1 {
                for (r, s) in (0..cut.rows).flat_map(|r| (0..streams).map(move |s| (r, s))) {
                    writeln!(w, "    a{r}_{s} += s{r}.x * d{r}_{s};\n    d{r}_{s} = 0.0;").ok();
                }
            }
        }
        for r in 0..cut.rows {
            for s in 0..streams {
                let sum = match self.ty {
                    BlockType::Q6K => format!("s{r}.y * d{r}_{s}"),
                    _ => format!("s{r}.x * d{r}_{s} + s{r}.y * block_sum[{}u + b]", s * blocks),
                };
                writeln!(w, "    a{r}_{s} += {sum};").ok();
            }
        }
        w.push_str("  }\n");
    }

    /// Adds up the lanes' sums; lane 0 holds the result.
    fn reduce(&self, w: &mut String, cut: Cut) {
        let lanes = cut.lanes;
        if lanes == 1 {
            return;
        }
        let sums = (0..cut.rows).flat_map(|r| (0..self.streams).map(move |s| format!("a{r}_{s}")));
        if cut.shuffles() {
            let sums: Vec<String> = sums.collect();
            let mut step = lanes / 2;
            while step > 0 {
                for a in &sums {
                    writeln!(w, "  {a} += subgroupShuffleXor({a}, {step}u);").ok();
                }
                step /= 2;
            }
            return;
        }
        for a in sums {
            writeln!(w, "  workgroupBarrier();\n  lanes[l] = {a};\n  workgroupBarrier();").ok();
            writeln!(w, "  if (lane == 0u) {{ for (var i = 1u; i < {lanes}u; i++) {{ {a} += lanes[l + i]; }} }}").ok();
        }
    }

    /// The kernel for many tokens; its input is normed already.
    ///
    /// Bindings: state, words, scales, x, out, then [side](super::side) unless it makes scores, then rope and cache for
    /// [`Role::Qkv`]. Behind the activations stands the side path's bottleneck.
    pub fn tile(&self, cut: Cut) -> String {
        let mut w = self.header(None);
        let (tile_rows, tile_tokens) = match cut.tile {
            Tile::Apart(rows) => {
                self.tile_apart(&mut w, rows);
                (rows, TILE_TOKENS)
            }
            Tile::Shared(size) => {
                w.push_str(&size.entry());
                shared::product(&mut w, size, self.ty, self.rows, self.cols / 32);
                (shared::EACH_ROWS, size.each_tokens())
            }
        };
        if let Some(side) = self.side() {
            side.widen_tile(&mut w, tile_rows, tile_tokens, |r, t| format!("a{r}_{t}"));
        }
        for t in 0..tile_tokens {
            writeln!(w, "  if (token0 + {t}u < count) {{\n    let token = token0 + {t}u;").ok();
            for r in 0..tile_rows {
                writeln!(w, "    let y{r} = a{r}_{t};").ok();
            }
            self.store(&mut w, tile_rows, " + token", "");
            w.push_str("  }\n");
        }
        w.push_str("}\n");
        w
    }

    fn tile_apart(&self, w: &mut String, tile_rows: u32) {
        let (blocks, octets) = (self.cols / 32, self.cols / 8);
        writeln!(
            w,
            "@compute @workgroup_size({WORKGROUP})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let row = (group.x * {TILE_ACROSS}u + l % {TILE_ACROSS}u) * {tile_rows}u;
  let token0 = (group.y * {down}u + l / {TILE_ACROSS}u) * {TILE_TOKENS}u;
  let count = state[{count}];
  if (row >= {rows}u || token0 >= count) {{ return; }}",
            down = WORKGROUP / TILE_ACROSS,
            count = state::COUNT,
            rows = self.rows,
        )
        .ok();
        for t in 0..TILE_TOKENS {
            writeln!(w, "  let x{t} = min(token0 + {t}u, count - 1u) * {octets}u;").ok();
        }
        for r in 0..tile_rows {
            writeln!(w, "  let base{r} = min(row + {r}u, {}u) * {blocks}u;", self.rows - 1).ok();
            for t in 0..TILE_TOKENS {
                writeln!(w, "  var a{r}_{t} = 0.0;").ok();
            }
        }
        writeln!(w, "  for (var b = 0u; b < {blocks}u; b++) {{").ok();
        for r in 0..tile_rows {
            writeln!(w, "    let s{r} = block_scale(base{r} + b);").ok();
        }
        // A loop over the eighths of a block, not four copies: drivers take long over long kernels.
        w.push_str("    for (var o = 0u; o < 4u; o++) {\n");
        let eighth = self.parts();
        for r in 0..tile_rows {
            let word = format!("words[((base{r} + b) * 4u + o) * {eighth}u");
            let second = if eighth == 2 { " + 1u" } else { "" };
            writeln!(w, "      let p{r} = weights(low({word}]), EVEN, s{r}, o);").ok();
            writeln!(w, "      let q{r} = weights(high({word}{second}]), ODD, s{r}, o);").ok();
        }
        for t in 0..TILE_TOKENS {
            writeln!(w, "      {{ let pair = &x[x{t} + b * 4u + o]; let u = (*pair)[0]; let v = (*pair)[1];").ok();
            for r in 0..tile_rows {
                writeln!(w, "        a{r}_{t} += dot(p{r}, u) + dot(q{r}, v);").ok();
            }
            w.push_str("      }\n");
        }
        w.push_str("    }\n");
        w.push_str("  }\n");
    }

    /// `vec4<u32>` words a block.
    fn parts(&self) -> u32 {
        if bytes(self.ty) { 2 } else { 1 }
    }

    /// Declarations: of the one-token kernel in a cut, or of the tiled one.
    fn header(&self, one_token: Option<Cut>) -> String {
        let mut w = String::new();
        let vector = one_token.is_some();
        let shuffles = one_token.is_some_and(|cut| cut.shuffles());
        let normed = vector && self.role.normed();
        // Browsers demand the directive, naga does not know it yet (gfx-rs/wgpu#5555).
        if shuffles && cfg!(target_arch = "wasm32") {
            w.push_str("enable subgroups;\n");
        }
        let mut binding = 0;
        let mut bind = |w: &mut String, name: &str, ty: &str, write: bool| {
            let access = if write { "read_write" } else { "read" };
            writeln!(w, "@group(0) @binding({binding}) var<storage, {access}> {name}: array<{ty}>;").ok();
            binding += 1;
        };
        bind(&mut w, "state", "u32", false);
        // Nested arrays: browsers check the index of a block then, not of each of its parts.
        let block = format!("array<vec4<u32>, {}>", self.parts());
        bind(&mut w, "words", if vector { &block } else { "u32" }, false);
        bind(&mut w, "scales", "u32", false);
        bind(&mut w, "x", if vector { "vec4<f32>" } else { "array<vec4<f32>, 2>" }, false);
        bind(&mut w, "out", "f32", true);
        if self.side().is_some() {
            bind(&mut w, "side", "vec4<f32>", false);
        } else if normed {
            bind(&mut w, "norm", "vec4<f32>", false);
        }
        if matches!(self.role, Role::Qkv { turned: true, .. }) {
            bind(&mut w, "rope", "vec2<f32>", false);
            bind(&mut w, "cache", "f32", true);
        }
        if normed {
            let (partial, octet) = (one_token.map_or(0, |cut| cut.group) * self.streams, 8 * self.streams);
            writeln!(w, "var<workgroup> partial: array<f32, {partial}>;\nvar<workgroup> octet: array<f32, {octet}>;")
                .ok();
        }
        if let Some(cut) = one_token {
            writeln!(w, "var<workgroup> block_sum: array<f32, {}>;", self.cols / 32 * self.streams).ok();
            if let Some(side) = self.side() {
                side.declare(&mut w, cut.group);
            }
            if cut.lanes > 1 && !shuffles {
                writeln!(w, "var<workgroup> lanes: array<f32, {}>;", cut.group).ok();
            }
        }
        w.push_str(&decoders(self.ty));
        w
    }

    /// Hands the sums `y0…` of rows `row…` of `token` to where the role puts them. `after` is what its position is past
    /// the state's, `cache` where its text's half of the cache begins.
    fn store(&self, w: &mut String, rows: u32, after: &str, cache: &str) {
        let all = self.rows;
        match self.role {
            Role::Residual | Role::Given | Role::Qkv { turned: false, .. } => {
                let op = if self.role == Role::Residual { "+=" } else { "=" };
                for r in 0..rows {
                    writeln!(w, "    if (row + {r}u < {all}u) {{ out[token * {all}u + row + {r}u] {op} y{r}; }}").ok();
                }
            }
            Role::Head(slice) | Role::Scores(slice) => {
                let Slice { first, all: stride } = slice;
                for r in 0..rows {
                    let place = first + r;
                    writeln!(w, "    if (row + {r}u < {all}u) {{ out[token * {stride}u + row + {place}u] = y{r}; }}")
                        .ok();
                }
            }
            Role::GateUp(activation) => {
                let half = all / 2;
                for r in (0..rows).step_by(2) {
                    let gated = format!("{} * y{}", bend(activation, &format!("y{r}")), r + 1);
                    writeln!(
                        w,
                        "    if (row + {r}u < {all}u) {{ out[token * {half}u + row / 2u + {}u] = {gated}; }}",
                        r / 2
                    )
                    .ok();
                }
            }
            Role::Qkv { d_query, d_kv, d_head, turned: true } => {
                let (half, keys) = (d_head / 2, d_query + d_kv);
                writeln!(w, "    let position = state[{}]{after};", state::POSITION).ok();
                for r in (0..rows).step_by(2) {
                    let up = r + 1;
                    writeln!(
                        w,
                        "    if (row + {r}u < {all}u) {{
      let i = row + {r}u;
      let turn = rope[position * {half}u + (i % {d_head}u) / 2u];
      let a = y{r} * turn.x - y{up} * turn.y;
      let b = y{r} * turn.y + y{up} * turn.x;
      if (i < {d_query}u) {{
        out[token * {d_query}u + i] = a; out[token * {d_query}u + i + 1u] = b;
      }} else {{
        let at = position * {width}u + i - {d_query}u{cache};
        cache[at] = select(y{r}, a, i < {keys}u); cache[at + 1u] = select(y{up}, b, i < {keys}u);
      }}
    }}",
                        width = 2 * d_kv
                    )
                    .ok();
                }
            }
        }
    }
}

impl Cut {
    /// Whether a subgroup holds all lanes of a row, which then add up by shuffles.
    pub fn shuffles(&self) -> bool {
        self.lanes > 1 && self.subgroup.is_some_and(|size| size >= self.lanes)
    }
}

/// What an activation makes of `x`, as text.
pub(super) fn bend(activation: Activation, x: &str) -> String {
    match activation {
        Activation::Silu => format!("{x} / (1.0 + exp(-{x}))"),
        Activation::Gelu => {
            let (slope, cube) = (Activation::GELU_SLOPE, Activation::GELU_CUBE);
            format!("{x} / (1.0 + exp(-{slope:e} * {x} * (1.0 + {cube:e} * {x} * {x})))")
        }
    }
}
