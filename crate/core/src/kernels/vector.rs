//! The product of [`project`](super::project) for one token: a matrix–vector product, cut among lanes. [`walk`](super::walk) has
//! another way.
//!
//! What stands before the sums (norm, bottleneck of the side path) each workgroup makes for itself. Where lanes add up by
//! shuffles, everything that a kernel reads is asked for before anything is computed, so that a device waits for memory about
//! once; elsewhere, as on processors that pose as a GPU, reading late keeps registers free.

use std::fmt::Write;

use super::{
    LARGEST_WORKGROUP,
    project::{Cut, Project, Role},
    side::MAX_RANK,
    state,
    unpack::bytes,
};
use crate::quant::BlockType;

/// What the activation of quad `i` is multiplied by, to meet its weights.
const PLACE: &str = "select(EVEN, ODD, (i & 1u) == 1u)";
/// Vectors of weights that an invocation asks for ahead: as far as registers go. Of activations workgroup memory sets a limit.
const WEIGHTS_AHEAD: u32 = 8;
/// More workgroups than this are more than devices run side by side, and each norms its input anew.
const MANY_GROUPS: u32 = 2048;
/// So many workgroups keep a large device busy; where there are more, workgroups twice as large make norm and bottleneck half
/// as often.
const ENOUGH_GROUPS: u32 = 100;
/// Lanes that are left to a matrix of very many rows.
const FEW_LANES: u32 = 4;

impl Project {
    /// At most this many bytes of workgroup memory does the kernel take.
    pub fn workgroup_bytes(&self, cut: Cut) -> u32 {
        if cut.walk {
            return self.walk_bytes();
        }
        let a_stream = self.cols * 4 + self.cols / 32 * 4 + (cut.group + 8) * 4;
        self.streams * a_stream + self.role.parts() * MAX_RANK * 4 + 2 * cut.group * 4
    }

    /// `cut` for this matrix: more rows a workgroup where there would be many workgroups.
    fn suited(&self, mut cut: Cut) -> Cut {
        let groups = |cut: Cut| self.rows / (cut.group / cut.lanes * cut.rows);
        while cut.lanes > FEW_LANES && groups(cut) > MANY_GROUPS {
            cut.lanes /= 2;
        }
        if cut.shuffles() && cut.group < LARGEST_WORKGROUP && self.side().is_some() && groups(cut) > ENOUGH_GROUPS {
            cut.group *= 2;
        }
        cut
    }

    /// Workgroups of the kernel.
    pub fn vector_groups(&self, cut: Cut) -> u32 {
        if cut.walk {
            return self.walk_groups();
        }
        let cut = self.suited(cut);
        self.rows.div_ceil(cut.group / cut.lanes * cut.rows)
    }

    /// The kernel for one token.
    ///
    /// Bindings: state, words, scales, x, out, then [side](super::side) (for [`Role::Head`] the norm), then rope and
    /// cache for [`Role::Qkv`].
    pub fn vector(&self, cut: Cut) -> String {
        if cut.walk {
            return self.walk(cut);
        }
        let cut = self.suited(cut);
        let mut w = self.header(Some(cut));
        let blocks = self.cols / 32;
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
        writeln!(w, "  let first = {};", self.first_quad()).ok();
        let ahead = cut.shuffles();
        if ahead {
            self.ask(&mut w, cut);
        }
        if let Some(side) = self.side() {
            let group_rows = groups * rows;
            writeln!(w, "  let first_row = group.x * {group_rows}u;").ok();
            side.open_vector(&mut w, "first_row", &format!("(first_row + {}u)", group_rows - 1));
            if ahead {
                side.ask(&mut w, rows, cut);
            }
        }
        if ahead {
            self.input_asked(&mut w, cut)
        } else {
            self.input(&mut w, cut.group)
        }
        let personal = self.streams - 1;
        if let Some(side) = self.side() {
            side.bottleneck(&mut w, personal * blocks, cut);
        }
        self.sums(&mut w, cut);
        if let Some(side) = self.side() {
            side.widen(&mut w, rows, cut, |r| format!("a{r}_{personal}"));
        }
        self.reduce(&mut w, cut);
        if lanes > 1 {
            writeln!(w, "  if (lane != 0u) {{ return; }}").ok();
        }
        self.hand_over(&mut w, rows, ahead);
        w.push_str("}\n");
        w
    }

    /// Where the activations begin, as text. Two streams stand in the first two rows of them.
    pub(super) fn first_quad(&self) -> String {
        match self.role {
            Role::Head(_) if self.streams == 1 => format!("(state[{}] - 1u) * {}u", state::COUNT, self.cols / 4),
            _ => "0u".into(),
        }
    }

    /// Hands the sums `a<row>_<stream>` of `rows` rows to where the role puts them; what they are joined with may have been
    /// read `ahead`.
    pub(super) fn hand_over(&self, w: &mut String, rows: u32, ahead: bool) {
        for s in 0..self.streams {
            writeln!(w, "  {{\n    let token = {s}u;").ok();
            for r in 0..rows {
                let old = if ahead && self.role == Role::Residual { format!("old{r}_{s} + ") } else { String::new() };
                writeln!(w, "    let y{r} = {old}a{r}_{s} * scale{s};").ok();
            }
            self.store(w, rows, "", if s > 0 { " + arrayLength(&cache) / 2u" } else { "" }, ahead);
            w.push_str("  }\n");
        }
    }

    /// Rounds of the lanes' walk along their rows whose weights are asked for ahead.
    fn rounds_ahead(&self, cut: Cut) -> u32 {
        if !cut.shuffles() {
            return 0;
        }
        (self.cols / 32).div_ceil(cut.lanes).min((WEIGHTS_AHEAD / (cut.rows * self.parts())).max(1))
    }

    /// How many quads of each stream an invocation makes.
    fn quads_each(&self, cut: Cut) -> u32 {
        (self.cols / 4).div_ceil(cut.group)
    }

    /// Where the norm's weight of quad `i` stands, as text: a side buffer holds it after its first vector.
    pub(super) fn norm(&self, i: &str) -> String {
        if self.side().is_none() { format!("norm[{i}]") } else { format!("side[1u + {i}]") }
    }

    /// Asks for what does not depend on anything: weights, activations, and what the result is joined with.
    fn ask(&self, w: &mut String, cut: Cut) {
        let (blocks, quads, streams) = (self.cols / 32, self.cols / 4, self.streams);
        self.bases(w, cut);
        for k in 0..self.rounds_ahead(cut) {
            writeln!(w, "  let at_{k} = min(lane + {}u, {}u);", k * cut.lanes, blocks - 1).ok();
            for r in 0..cut.rows {
                self.block(w, &format!("base{r} + at_{k}"), &format!("{k}_{r}"));
            }
        }
        for n in 0..self.quads_each(cut) {
            writeln!(w, "  let i{n} = min(l + {}u, {}u);", n * cut.group, quads - 1).ok();
            (0..streams).for_each(|s| w.push_str(&format!("  let x{n}_{s} = x[first + {}u + i{n}];\n", s * quads)));
            if self.role.normed() {
                writeln!(w, "  let g{n} = {};", self.norm(&format!("i{n}"))).ok();
            }
        }
        match self.role {
            Role::Residual => {
                for (r, s) in (0..cut.rows).flat_map(|r| (0..streams).map(move |s| (r, s))) {
                    let all = self.rows;
                    writeln!(w, "  let old{r}_{s} = out[{}u + min(row + {r}u, {}u)];", s * all, all - 1).ok();
                }
            }
            Role::Qkv { d_head, turned: true, .. } => {
                writeln!(w, "  let position = state[{}];", state::POSITION).ok();
                for r in (0..cut.rows).step_by(2) {
                    let half = d_head / 2;
                    writeln!(w, "  let turn{r} = rope[position * {half}u + (row + {r}u) % {d_head}u / 2u];").ok();
                }
            }
            _ => {}
        }
    }

    /// Brings the token's activations, times the norm's weight, into workgroup memory, from what was asked for.
    ///
    /// They stand divided by the place value of the weight each will meet (see [`unpack`](super::unpack)).
    fn input_asked(&self, w: &mut String, cut: Cut) {
        let (quads, blocks, streams, group) = (self.cols / 4, self.cols / 32, self.streams, cut.group);
        let normed = self.role.normed();
        if normed {
            (0..streams).for_each(|s| w.push_str(&format!("  var square{s} = 0.0;\n")));
        }
        for n in 0..self.quads_each(cut) {
            let all = (n + 1) * group <= quads;
            let open = if all { "  {".to_owned() } else { format!("  if (l + {}u < {quads}u) {{", n * group) };
            writeln!(w, "{open}\n    let i = i{n};").ok();
            for s in 0..streams {
                let mut x = format!("x{n}_{s}");
                if normed {
                    writeln!(w, "    square{s} += dot({x}, {x});").ok();
                    x += &format!(" * g{n}");
                }
                writeln!(w, "    xs[{}u + i / 8u][i % 8u] = {x} * {PLACE};", s * blocks).ok();
            }
            w.push_str("  }\n");
        }
        let teams = group / cut.lanes;
        if normed {
            let squares: Vec<_> = (0..streams).map(|s| format!("square{s}")).collect();
            add_lanes(w, &squares, cut.lanes);
            for s in 0..streams {
                let at = s * teams;
                writeln!(w, "  if (lane == 0u) {{ partial[{at}u + l / {}u] = square{s}; }}", cut.lanes).ok();
            }
        }
        w.push_str("  workgroupBarrier();\n");
        self.scales(w, "partial", teams);
    }

    /// As [`Project::input_asked`], reading as it goes; `block_sum` holds the plain sums of each block, of those that meet a
    /// biased weight.
    fn input(&self, w: &mut String, group: u32) {
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
        self.scales(w, "octet", 8);
    }

    /// What the sums of each stream are to be multiplied by: where there is a norm, by the squares' sum, which stands in
    /// `parts` parts in `from`.
    pub(super) fn scales(&self, w: &mut String, from: &str, parts: u32) {
        for s in 0..self.streams {
            if !self.role.normed() {
                writeln!(w, "  let scale{s} = 1.0;").ok();
                continue;
            }
            writeln!(
                w,
                "  var total{s} = 0.0;
  for (var i = 0u; i < {parts}u; i++) {{ total{s} += {from}[{at}u + i]; }}
  let scale{s} = inverseSqrt(total{s} / {cols}.0 + {eps:e});",
                at = s * parts,
                cols = self.cols,
                eps = self.eps,
            )
            .ok();
        }
    }

    /// The activations times the norm's weight, and their squares' sum in eight parts.
    fn normed_input(&self, w: &mut String, group: u32) {
        let (quads, blocks, streams) = (self.cols / 4, self.cols / 32, self.streams);
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
                weight = self.norm("i"),
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

    /// Where the rows of an invocation begin.
    fn bases(&self, w: &mut String, cut: Cut) {
        for r in 0..cut.rows {
            writeln!(w, "  let base{r} = min(row + {r}u, {}u) * {}u;", self.rows - 1, self.cols / 32).ok();
        }
    }

    /// Reads the block at `at`: its scale and its words.
    pub(super) fn block(&self, w: &mut String, at: &str, name: &str) {
        writeln!(w, "    let s{name} = block_scale({at});\n    let words{name} = &words[{at}];").ok();
        for part in 0..self.parts() {
            writeln!(w, "    let w{name}_{part} = (*words{name})[{part}];").ok();
        }
    }

    /// The sums of each row: `d · Σ q·x + m · Σ x` a block, the unpacked integers never scaled one by one.
    fn sums(&self, w: &mut String, cut: Cut) {
        let (blocks, ahead) = (self.cols / 32, self.rounds_ahead(cut));
        if ahead == 0 {
            self.bases(w, cut);
        }
        for r in 0..cut.rows {
            (0..self.streams).for_each(|s| w.push_str(&format!("  var a{r}_{s} = 0.0;\n")));
        }
        for k in 0..ahead {
            let all = (k + 1) * cut.lanes <= blocks;
            let open = if all { "  {".to_owned() } else { format!("  if (lane + {}u < {blocks}u) {{", k * cut.lanes) };
            writeln!(w, "{open}").ok();
            self.block_sums(w, cut, blocks, &format!("at_{k}"), &format!("{k}_"));
            w.push_str("  }\n");
        }
        if ahead * cut.lanes >= blocks {
            return;
        }
        writeln!(w, "  for (var b = lane + {}u; b < {blocks}u; b += {}u) {{", ahead * cut.lanes, cut.lanes).ok();
        for r in 0..cut.rows {
            self.block(w, &format!("base{r} + b"), &r.to_string());
        }
        self.block_sums(w, cut, blocks, "b", "");
        w.push_str("  }\n");
    }

    /// Adds what block `b` of each row gives, of `blocks` a stream whose activations stand in `xs`; `read` begins the names of
    /// what [`Project::block`] read of it.
    pub(super) fn block_sums(&self, w: &mut String, cut: Cut, blocks: u32, b: &str, read: &str) {
        let streams = self.streams;
        // Cheaper than to meet once more, where shuffles are all that lanes share.
        let own = cut.shuffles();
        for s in 0..streams {
            writeln!(w, "    let block{s} = &xs[{}u + {b}];", s * blocks).ok();
            let plain = if own { "0.0".into() } else { format!("block_sum[{}u + {b}]", s * blocks) };
            writeln!(w, "    {} plain{s} = {plain};", if own { "var" } else { "let" }).ok();
        }
        for r in 0..cut.rows {
            (0..streams).for_each(|s| w.push_str(&format!("    var d{r}_{s} = 0.0;\n")));
        }
        for octet in 0..4 {
            w.push_str("    {\n");
            for s in 0..streams {
                let (p, q) = (octet * 2, octet * 2 + 1);
                writeln!(w, "      let p{s} = (*block{s})[{p}];\n      let q{s} = (*block{s})[{q}];").ok();
                if own {
                    writeln!(w, "      plain{s} += dot(p{s}, BIAS / EVEN) + dot(q{s}, BIAS / ODD);").ok();
                }
            }
            for r in 0..cut.rows {
                let word = |i: usize| format!("w{read}{r}_{}.{}", i / 4, ["x", "y", "z", "w"][i % 4]);
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
                    writeln!(w, "    a{r}_{s} += s{read}{r}.x * d{r}_{s};\n    d{r}_{s} = 0.0;").ok();
                }
            }
        }
        for (r, s) in (0..cut.rows).flat_map(|r| (0..streams).map(move |s| (r, s))) {
            let scale = format!("s{read}{r}");
            let sum = match self.ty {
                BlockType::Q6K => format!("{scale}.y * d{r}_{s}"),
                _ => format!("{scale}.x * d{r}_{s} + {scale}.y * plain{s}"),
            };
            writeln!(w, "    a{r}_{s} += {sum};").ok();
        }
    }

    /// Adds up the lanes' sums; lane 0 holds the result.
    fn reduce(&self, w: &mut String, cut: Cut) {
        let lanes = cut.lanes;
        if lanes == 1 {
            return;
        }
        let sums: Vec<_> = (0..cut.rows).flat_map(|r| (0..self.streams).map(move |s| format!("a{r}_{s}"))).collect();
        if cut.shuffles() {
            return add_lanes(w, &sums, lanes);
        }
        for a in sums {
            writeln!(w, "  workgroupBarrier();\n  lanes[l] = {a};\n  workgroupBarrier();").ok();
            writeln!(w, "  if (lane == 0u) {{ for (var i = 1u; i < {lanes}u; i++) {{ {a} += lanes[l + i]; }} }}").ok();
        }
    }
}

/// Adds up each of `sums` over neighbouring lanes, by shuffles; each holds the result.
pub(super) fn add_lanes(w: &mut String, sums: &[String], lanes: u32) {
    let mut step = lanes / 2;
    while step > 0 {
        for a in sums {
            writeln!(w, "  {a} += subgroupShuffleXor({a}, {step}u);").ok();
        }
        step /= 2;
    }
}
