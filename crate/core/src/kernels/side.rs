//! The low-rank side path beside a projection: `y += factor · B·(A·x)` (Hu et al. 2021, §4.1).
//!
//! Every projection of a block binds a *side* buffer. Its first word is the rank, read at run time: at 0 the loops below
//! run no time and the numbers are those of the bare projection, so attaching an adapter makes buffers and bindings and
//! no kernel. One buffer holds all that belongs to the path, and the weight of the norm before the projection, because
//! WebGPU promises only 8 storage buffers a kernel.
//!
//! The side buffer, in `vec4<f32>`:
//!
//! | vectors | |
//! |---|---|
//! | 1 | rank, vectors a row of A, numbers in the bottleneck, where A begins |
//! | `cols / 4` | the norm's weight, where the role has a norm |
//! | `parts · rank · cols / 4` | A, row-major: of q, k and v one after the other, of gate and up likewise |
//! | `rank · ⌈rows / 4⌉` | B times the pair's scale, transposed: row `k` has column `k` of every row's own part |
//!
//! The one-token kernels make the bottleneck `t = A·x` in each workgroup, for the parts its rows belong to: that costs a
//! few per cent of the product, a dispatch of its own would cost more than the product on many drivers. The tiled kernels
//! and those that [walk](super::walk) find `t` behind the activations they read, where [`narrow`] or [`narrow_one`] put it.

use std::fmt::Write;

use super::{
    project::{Cut, Role},
    state,
    vector::add_lanes,
};
use crate::adapter::Pair;

/// Widest bottleneck the kernels take.
pub const MAX_RANK: u32 = 128;
/// Most bottlenecks that share one input: q, k, v.
pub const MAX_PARTS: u32 = 3;
/// Invocations a workgroup of [`narrow`].
const WORKGROUP: u32 = 64;
/// So many invocations share a row of A.
const TEAM: u32 = 8;
/// Vectors of A that an invocation asks for ahead.
const AHEAD: u32 = 24;
/// Invocations of [`narrow_one`].
const TEAM_ONE: u32 = 16;
/// Teams of [`narrow`].
const TEAMS: u32 = WORKGROUP / TEAM;

/// Vectors behind the activations of [`state::MAX_COUNT`] tokens that `parts` bottlenecks take.
pub fn tail(parts: u32) -> usize {
    (parts * MAX_RANK * state::MAX_COUNT / 4) as usize
}

/// Numbers behind the activations that `parts` bottlenecks of one token take.
pub fn tail_one(parts: u32) -> usize {
    (parts * MAX_RANK) as usize
}

/// Workgroups of [`narrow`] along the bottleneck's `width`; along the tokens stands one a four.
pub fn narrow_groups(width: u32) -> u32 {
    width.div_ceil(TEAMS)
}

/// The bottleneck of many tokens, written behind the activations: number `k` of four neighbouring tokens is a vector.
///
/// One text for every projection. Bindings: state, side, x.
pub fn narrow() -> String {
    format!(
        "@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> side: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> x: array<vec4<f32>>;
var<workgroup> team: array<vec4<f32>, {WORKGROUP}>;
@compute @workgroup_size({WORKGROUP})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let quads = u32(side[0].y);
  let width = u32(side[0].z);
  let k = group.x * {TEAMS}u + l / 8u;
  let token = group.y * 4u * quads;
  var s = vec4<f32>();
  if (k < width) {{
    let row = u32(side[0].w) + k * quads;
    for (var i = l % 8u; i < quads; i += 8u) {{
      let a = side[row + i];
      let at = token + i;
      s += vec4<f32>(dot(a, x[at]), dot(a, x[at + quads]), dot(a, x[at + 2u * quads]), dot(a, x[at + 3u * quads]));
    }}
  }}
  team[l] = s;
  workgroupBarrier();
  if (l < {TEAMS}u && group.x * {TEAMS}u + l < width) {{
    var t = team[l * 8u];
    for (var i = 1u; i < 8u; i++) {{ t += team[l * 8u + i]; }}
    let place = (group.x * {TEAMS}u + l) * {row}u + group.y;
    x[{max_count}u * quads + place] = t * bitcast<f32>(state[{factor}]);
  }}
}}
",
        row = state::MAX_COUNT / 4,
        max_count = state::MAX_COUNT,
        factor = state::FACTOR,
    )
}

/// The bottleneck of one token, or of the second of two, written behind the activations: four numbers a workgroup.
///
/// For kernels that [walk](super::walk), whose workgroups are too busy to make it each. One text for every projection.
/// Bindings: state, side, x.
pub fn narrow_one(streams: u32) -> String {
    format!(
        "@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> side: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> x: array<vec4<f32>>;
var<workgroup> team: array<vec4<f32>, {TEAM_ONE}>;
@compute @workgroup_size({TEAM_ONE})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let quads = u32(side[0].y);
  let last = u32(side[0].z) - 1u;
  let a_from = u32(side[0].w);
  let k = group.x * 4u;
  let row0 = a_from + k * quads;
  let row1 = a_from + min(k + 1u, last) * quads;
  let row2 = a_from + min(k + 2u, last) * quads;
  let row3 = a_from + min(k + 3u, last) * quads;
  var s = vec4<f32>();
  for (var i = l; i < quads; i += {TEAM_ONE}u) {{
    var v = x[{personal}u * quads + i];
    // Between rank and A stands the weight of the norm, where there is one.
    if (a_from > 1u) {{ v *= side[1u + i]; }}
    s += vec4<f32>(dot(side[row0 + i], v), dot(side[row1 + i], v), dot(side[row2 + i], v), dot(side[row3 + i], v));
  }}
  team[l] = s;
  workgroupBarrier();
  if (l == 0u) {{
    for (var i = 1u; i < {TEAM_ONE}u; i++) {{ s += team[i]; }}
    x[{max_count}u * quads + group.x] = s * bitcast<f32>(state[{factor}]);
  }}
}}
",
        personal = streams - 1,
        max_count = state::MAX_COUNT,
        factor = state::FACTOR,
    )
}

/// What stands beside a projection, as text for its kernels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side {
    pub role: Role,
    pub rows: u32,
    pub cols: u32,
}

impl Side {
    /// Vector at which A begins.
    fn a_from(&self) -> u32 {
        1 + if self.role.normed() { self.cols / 4 } else { 0 }
    }

    /// Declares what a one-token kernel needs in workgroup memory.
    pub fn declare(&self, w: &mut String, cut: Cut) {
        writeln!(w, "var<workgroup> t: array<f32, {}>;", self.role.parts() * MAX_RANK).ok();
        if cut.lanes > 1 && !cut.shuffles() {
            writeln!(w, "var<workgroup> team: array<f32, {}>;", cut.group).ok();
        }
    }

    /// Which part a row belongs to, as text.
    fn part(&self, row: &str) -> String {
        match self.role {
            Role::Qkv { d_query, d_kv, .. } => {
                format!("(select(0u, 1u, {row} >= {d_query}u) + select(0u, 1u, {row} >= {}u))", d_query + d_kv)
            }
            Role::GateUp(_) => format!("({row} & 1u)"),
            _ => "0u".into(),
        }
    }

    /// Rank and the places of B's rows; both kernels begin with it.
    fn open(&self, w: &mut String) {
        let (parts, quads) = (self.role.parts(), self.cols / 4);
        writeln!(w, "  let rank = u32(side[0].x);\n  let b_from = {}u + {parts}u * rank * {quads}u;", self.a_from())
            .ok();
    }

    /// Rank, the places of B's rows, and which numbers of the bottleneck rows `first` to `last` need.
    pub fn open_vector(&self, w: &mut String, first: &str, last: &str) {
        let (begin, end) = match self.role {
            Role::Qkv { .. } => (self.part(first), format!("({} + 1u)", self.part(last))),
            role => ("0u".into(), format!("{}u", role.parts())),
        };
        self.open(w);
        writeln!(w, "  let k_begin = {begin} * rank;\n  let k_end = {end} * rank;").ok();
    }

    /// Asks for what the first round reads of A, as `v<n>`, and of B at rows `row…`, as `ahead<row>`.
    pub fn ask(&self, w: &mut String, rows: u32, cut: Cut) {
        let team = self.team(cut);
        writeln!(
            w,
            "  let factor = bitcast<f32>(state[{}]);\n  let number = l / {team}u;\n  let mine = l % {team}u;",
            state::FACTOR
        )
        .ok();
        for n in 0..self.loads(cut).min(AHEAD) {
            writeln!(w, "  var v{n} = vec4<f32>();").ok();
        }
        // Rows past the last are read in vain, so that whoever has an adapter does not wait for its rank first.
        self.ask_a(w, "  {", "k_begin", cut);
        for r in b_reads(rows) {
            // Past the rank stands something else.
            writeln!(w, "  let ahead{r} = side[select(0u, {}, lane < rank)];", self.b_at("lane", r)).ok();
        }
    }

    /// Where column `k` of B stands at row `row + r`, as text.
    fn b_at(&self, k: &str, r: u32) -> String {
        let stride = self.rows.div_ceil(4);
        format!("b_from + {k} * {stride}u + min((row + {r}u) / 4u, {}u)", stride - 1)
    }

    /// Where a team's row of A begins in the round from `start`, as text.
    fn a_at(&self, start: &str) -> String {
        format!("{}u + ({start} + number) * {}u", self.a_from(), self.cols / 4)
    }

    /// Invocations that share a row of A where lanes shuffle: so many that rank 8 takes one round, or where subgroups are small
    /// as many as shuffle.
    fn team(&self, cut: Cut) -> u32 {
        let parts = if matches!(self.role, Role::GateUp(_)) { 2 } else { 1 };
        (cut.group / 8 / parts).min(cut.subgroup.unwrap_or(1))
    }

    /// Vectors of a row of A that an invocation reads.
    fn loads(&self, cut: Cut) -> u32 {
        (self.cols / 4).div_ceil(self.team(cut))
    }

    /// Reads the first vectors of the rows of A from `start` on, one a team; `open` opens the block that does it.
    fn ask_a(&self, w: &mut String, open: &str, start: &str, cut: Cut) {
        writeln!(w, "{open}\n    let row = {};", self.a_at(start)).ok();
        for n in 0..self.loads(cut).min(AHEAD) {
            writeln!(w, "    v{n} = side[row + {}];", self.quad(n, cut)).ok();
        }
        w.push_str("  }\n");
    }

    /// The `n`-th quad of an invocation, as text.
    fn quad(&self, n: u32, cut: Cut) -> String {
        let (team, quads) = (self.team(cut), self.cols / 4);
        match (n + 1) * team <= quads {
            true => format!("mine + {}u", n * team),
            false => format!("min(mine + {}u, {}u)", n * team, quads - 1),
        }
    }

    /// [`Side::bottleneck`] where lanes shuffle: the first vectors of each round were asked for before.
    fn bottleneck_asked(&self, w: &mut String, block: u32, cut: Cut) {
        let (team, quads, all) = (self.team(cut), self.cols / 4, self.loads(cut));
        let at_once = cut.group / team;
        let x = |n: u32| {
            let quad = self.quad(n, cut);
            let within = match (n + 1) * team <= quads {
                true => String::new(),
                false => format!(" * select(0.0, 1.0, mine + {}u < {quads}u)", n * team),
            };
            format!("xs[{block}u + ({quad}) / 8u][({quad}) % 8u]{within}")
        };
        writeln!(w, "  for (var start = k_begin; start < k_end; start += {at_once}u) {{\n    var v = vec4<f32>();")
            .ok();
        for n in 0..all.min(AHEAD) {
            writeln!(w, "    v += v{n} * {};", x(n)).ok();
        }
        if all > AHEAD {
            let (row, step) = (self.a_at("start"), AHEAD * team);
            writeln!(
                w,
                "    if (start + number < k_end) {{
      let row = {row};
      for (var c = mine + {step}u; c < {quads}u; c += {step}u) {{"
            )
            .ok();
            for n in 0..AHEAD {
                let last = quads - 1;
                writeln!(
                    w,
                    "        let i{n} = min(c + {}u, {last}u);\n        let u{n} = side[row + i{n}];",
                    n * team
                )
                .ok();
            }
            for n in 0..AHEAD {
                let within = format!("select(0.0, 1.0, c + {}u < {quads}u)", n * team);
                writeln!(w, "        v += u{n} * xs[{block}u + i{n} / 8u][i{n} % 8u] * {within};").ok();
            }
            w.push_str("      }\n    }\n");
        }
        let next = format!("start + {at_once}u");
        self.ask_a(w, &format!("    if ({next} + number < k_end) {{"), &next, cut);
        w.push_str("    var s = dot(v, select(1.0 / EVEN, 1.0 / ODD, (mine & 1u) == 1u));\n");
        add_lanes(w, &["s".into()], team);
        writeln!(
            w,
            "    if (mine == 0u && start + number < k_end) {{ t[start + number] = s * factor; }}
  }}
  workgroupBarrier();"
        )
        .ok();
    }

    /// Makes the bottleneck of the token in blocks `xs[block…]`, of the parts that rows `first` to `last` belong to: each
    /// number by eight invocations, or, where barriers are what costs, apart by one.
    pub fn bottleneck(&self, w: &mut String, block: u32, cut: Cut) {
        let quads = self.cols / 4;
        if cut.apart() {
            writeln!(
                w,
                "  for (var k = k_begin + l; k < k_end; k += {group}u) {{
    var even = vec4<f32>();
    var odd = vec4<f32>();
    let row = {a_from}u + k * {quads}u;
    for (var i = 0u; i < {quads}u; i += 2u) {{
      even += side[row + i] * xs[{block}u + i / 8u][i % 8u];
      odd += side[row + i + 1u] * xs[{block}u + i / 8u][i % 8u + 1u];
    }}
    t[k] = (dot(even, 1.0 / EVEN) + dot(odd, 1.0 / ODD)) * bitcast<f32>(state[{factor}]);
  }}
  workgroupBarrier();",
                a_from = self.a_from(),
                group = cut.group,
                factor = state::FACTOR,
            )
            .ok();
            return;
        }
        if cut.shuffles() {
            return self.bottleneck_asked(w, block, cut);
        }
        let teams = cut.group / TEAM;
        // Loads side by side, so that the device waits for memory once: as many as divide the row.
        let blocks = quads / TEAM;
        let loads = (1..=8).rev().find(|&n| blocks.is_multiple_of(n)).unwrap_or(1);
        writeln!(
            w,
            "  for (var start = k_begin; start < k_end; start += {teams}u) {{
    let k = start + l / 8u;
    var v = vec4<f32>();
    if (k < k_end) {{
      let row = {a_from}u + k * {quads}u + l % 8u;
      for (var i = 0u; i < {blocks}u; i += {loads}u) {{",
            a_from = self.a_from(),
        )
        .ok();
        for n in 0..loads {
            writeln!(w, "        let v{n} = side[row + (i + {n}u) * 8u];").ok();
        }
        let product = |n: u32| format!("v{n} * xs[{block}u + i + {n}u][l % 8u]");
        writeln!(w, "        v += {};\n      }}\n    }}", (0..loads).map(product).collect::<Vec<_>>().join(" + ")).ok();
        writeln!(
            w,
            "    team[l] = dot(v, select(1.0 / EVEN, 1.0 / ODD, (l & 1u) == 1u));
    workgroupBarrier();
    if (l < {teams}u && start + l < k_end) {{
      var s = team[l * 8u];
      for (var i = 1u; i < 8u; i++) {{ s += team[l * 8u + i]; }}
      t[start + l] = s * bitcast<f32>(state[{}]);
    }}
    workgroupBarrier();
  }}",
            state::FACTOR
        )
        .ok();
    }

    /// Brings the bottleneck that [`narrow_one`] made into workgroup memory, with `group` invocations.
    pub fn bottleneck_kept(&self, w: &mut String, group: u32) {
        self.open(w);
        writeln!(
            w,
            "  for (var k = l; k * 4u < {parts}u * rank; k += {group}u) {{
    let v = x[{from}u + k];
    for (var i = 0u; i < 4u; i++) {{ t[k * 4u + i] = v[i]; }}
  }}",
            parts = self.role.parts(),
            from = state::MAX_COUNT * self.cols / 4,
        )
        .ok();
    }

    /// Adds the path to the sums of `rows` neighbouring rows from `row`: `sum(r)` names the sum of a row, each lane takes
    /// its share of the bottleneck.
    pub fn widen(&self, w: &mut String, rows: u32, cut: Cut, sum: impl Fn(u32) -> String) {
        let lanes = cut.lanes;
        let (names, parts) = self.parts_of(rows);
        for (name, part) in &parts {
            writeln!(w, "  let {name}_from = {part} * rank;").ok();
        }
        let mut from = "lane".to_owned();
        if cut.shuffles() {
            w.push_str("  {\n");
            for (name, _) in &parts {
                writeln!(w, "    let {name} = select(0.0, t[{name}_from + lane], lane < rank);").ok();
            }
            for (r, b) in (0..).zip(self.elements(w, rows, |r| format!("ahead{r}"))) {
                writeln!(w, "    {} += {b} * {};", sum(r), names[r as usize]).ok();
            }
            w.push_str("  }\n");
            from = format!("lane + {lanes}u");
        }
        writeln!(w, "  for (var k = {from}; k < rank; k += {lanes}u) {{").ok();
        for (name, _) in &parts {
            writeln!(w, "    let {name} = t[{name}_from + k];").ok();
        }
        for (r, b) in (0..).zip(self.columns(w, rows)) {
            writeln!(w, "    {} += {b} * {};", sum(r), names[r as usize]).ok();
        }
        w.push_str("  }\n");
    }

    /// As [`Side::widen`] for the tiled kernel: `tokens` (4, or a multiple of 8) from `token0`, `sum(r, t)` the sum of a row
    /// and a token.
    pub fn widen_tile(&self, w: &mut String, rows: u32, tokens: u32, sum: impl Fn(u32, u32) -> String) {
        let (names, parts) = self.parts_of(rows);
        // The activations are read in pairs of vectors, eight tokens of the bottleneck a pair.
        let (row, tail) = (state::MAX_COUNT / 8, state::MAX_COUNT * self.cols / 8);
        self.open(w);
        w.push_str("  for (var k = 0u; k < rank; k++) {\n");
        for (name, part) in &parts {
            writeln!(w, "    let {name}_at = {tail}u + ({part} * rank + k) * {row}u + token0 / 8u;").ok();
            if tokens == 4 {
                writeln!(w, "    let {name}_0 = x[{name}_at][token0 / 4u % 2u];").ok();
                continue;
            }
            for quad in 0..tokens / 4 {
                writeln!(w, "    let {name}_{quad} = x[{name}_at + {}u][{}];", quad / 2, quad % 2).ok();
            }
        }
        for (r, b) in (0..).zip(self.columns(w, rows)) {
            for t in 0..tokens {
                let (name, element) = (&names[r as usize], ["x", "y", "z", "w"][t as usize % 4]);
                writeln!(w, "    {} += {b} * {name}_{}.{element};", sum(r, t), t / 4).ok();
            }
        }
        w.push_str("  }\n");
    }

    /// Names of the bottlenecks that rows `row…` read, row by row, and once each with the part it is, as text.
    fn parts_of(&self, rows: u32) -> (Vec<String>, Vec<(String, String)>) {
        // Neighbouring rows that surely belong to one part; heads are multiples of 4 wide.
        let run =
            match self.role {
                Role::Qkv { d_query, d_kv, .. } if d_query % rows != 0 || d_kv % rows != 0 => {
                    if rows.is_multiple_of(4) { 4 } else { 2 }
                }
                _ => rows,
            };
        let of = |r: u32| if matches!(self.role, Role::GateUp(_)) { r % 2 } else { r / run * run };
        let names: Vec<String> = (0..rows).map(|r| format!("t{}", of(r))).collect();
        let mut parts: Vec<(String, String)> = Vec::new();
        for r in 0..rows {
            if of(r) == r {
                parts.push((names[r as usize].clone(), self.part(&format!("(row + {r}u)"))));
            }
        }
        (names, parts)
    }

    /// Reads column `k` of B at rows `row…`; one expression a row.
    fn columns(&self, w: &mut String, rows: u32) -> Vec<String> {
        for r in b_reads(rows) {
            writeln!(w, "    let b{r} = side[{}];", self.b_at("k", r)).ok();
        }
        self.elements(w, rows, |r| format!("b{r}"))
    }

    /// The elements of what was read of B, a row each.
    fn elements(&self, w: &mut String, rows: u32, read: impl Fn(u32) -> String) -> Vec<String> {
        let wide = rows.is_multiple_of(4);
        let step = if wide { 4 } else { 2 };
        if !wide {
            for r in b_reads(rows) {
                let b = read(r);
                writeln!(w, "    let c{r} = select({b}.xy, {b}.zw, ((row + {r}u) & 2u) != 0u);").ok();
            }
        }
        let element = |r: u32| {
            let within = r % step;
            let name = if wide { read(r - within) } else { format!("c{}", r - within) };
            format!("{name}.{}", ["x", "y", "z", "w"][within as usize])
        };
        (0..rows).map(element).collect()
    }
}

/// The rows, of as many, at which a vector of B is read.
fn b_reads(rows: u32) -> impl Iterator<Item = u32> {
    (0..rows).step_by(if rows.is_multiple_of(4) { 4 } else { 2 })
}

/// The side buffer of pairs that share an input of `cols` numbers; `outs` are their output widths. The norm's weight is
/// left zero where there is one. Also the numbers in the bottleneck; none where there is no pair.
///
/// Missing pairs and narrower ones are filled up with zeros.
pub fn fill(role: Role, cols: usize, pairs: &[Option<&Pair>], outs: &[usize]) -> (Vec<f32>, u32) {
    let rank = pairs.iter().flatten().map(|pair| pair.rank).max().unwrap_or(0);
    let a_from = 4 + if role.normed() { cols } else { 0 };
    let rows: usize = outs.iter().sum();
    let (b_from, b_row) = (a_from + pairs.len() * rank * cols, rows.div_ceil(4) * 4);
    let mut side = vec![0.0; b_from + rank * b_row];
    let width = pairs.len() * rank;
    side[..4].copy_from_slice(&[rank as f32, (cols / 4) as f32, width as f32, (a_from / 4) as f32]);
    for (part, pair) in pairs.iter().enumerate() {
        let Some(pair) = pair else { continue };
        let a = a_from + part * rank * cols;
        side[a..a + pair.a.len()].copy_from_slice(&pair.a);
        for (row, b) in pair.b.chunks_exact(pair.rank).enumerate() {
            let row =
                if matches!(role, Role::GateUp(_)) { row * 2 + part } else { outs[..part].iter().sum::<usize>() + row };
            for (k, b) in b.iter().enumerate() {
                side[b_from + k * b_row + row] = b * pair.scale;
            }
        }
    }
    (side, width as u32)
}
