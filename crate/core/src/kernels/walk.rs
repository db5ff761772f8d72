//! The product of [`project`](super::project) for one token on processors that pose as a GPU.
//!
//! Such a device reads buffers and workgroup memory number by number, and checks each; only what an invocation has for
//! itself, at places known when the kernel is compiled, costs it nothing. So invocations share the columns of a row, each holds its
//! part of the activations, and they walk along the rows: of all that is read again and again, only weights are left.
//! The parts of a row's sum meet in workgroup memory, chunk by chunk of the rows.

use std::fmt::Write;

use super::{
    LARGEST_WORKGROUP,
    project::{Cut, Project},
    side::MAX_RANK,
};

/// Blocks of a row that an invocation may have, likelier ones first: more take longer to compile, fewer leave little
/// between the starts of two rows.
const BLOCKS_EACH: [u32; 7] = [4, 3, 5, 6, 7, 2, 1];
/// Rows that make it worth bringing the activations.
const ENOUGH_ROWS: u32 = 240;
/// Most workgroups: a device of this kind has few processors.
const MOST_GROUPS: u32 = 16;
/// Numbers of sums in workgroup memory.
const MOST_SUMS: u32 = 2048;
/// Rows whose sums an invocation adds up at a time.
const ROWS: u32 = 4;

/// How a matrix is cut for the walk.
#[derive(Debug, Clone, Copy)]
struct Steps {
    /// Blocks of a row that an invocation has.
    each: u32,
    /// Invocations that share a row.
    shares: u32,
    /// Invocations a workgroup.
    group: u32,
    /// Rows whose sums stand in workgroup memory at a time.
    chunk: u32,
    /// How many such chunks a workgroup goes through.
    chunks: u32,
}

impl Project {
    fn steps(&self) -> Steps {
        let blocks = self.cols / 32;
        let fits = |each: &u32| blocks.is_multiple_of(*each) && blocks / each <= LARGEST_WORKGROUP;
        let each = BLOCKS_EACH.into_iter().chain(1..=blocks).find(fits).unwrap_or(blocks);
        let shares = blocks / each;
        // Such devices compute four invocations at once.
        let teams = 4 >> shares.trailing_zeros().min(2);
        let teams = if shares * teams <= LARGEST_WORKGROUP { teams } else { 1 };
        let groups = (self.rows / ENOUGH_ROWS).clamp(1, MOST_GROUPS);
        let groups = 1 << groups.ilog2();
        let rows = self.rows.div_ceil(groups);
        let most = (MOST_SUMS / shares / self.streams / ROWS * ROWS).max(ROWS);
        let chunks = rows.div_ceil(most);
        let chunk = rows.div_ceil(chunks).next_multiple_of(ROWS);
        Steps { each, shares, group: shares * teams, chunk, chunks }
    }

    /// Workgroups of [`Project::walk`].
    pub(super) fn walk_groups(&self) -> u32 {
        let Steps { chunk, chunks, .. } = self.steps();
        self.rows.div_ceil(chunk * chunks)
    }

    /// Bytes of workgroup memory that it takes at most.
    pub(super) fn walk_bytes(&self) -> u32 {
        let Steps { shares, chunk, .. } = self.steps();
        4 * (chunk * shares * self.streams + shares * self.streams + self.role.parts() * MAX_RANK)
    }

    /// The kernel for one token. Bindings are those of [`Project::vector`]; the bottleneck of the side path stands behind the
    /// activations, where [`narrow_one`](super::side::narrow_one) put it.
    pub(super) fn walk(&self, cut: Cut) -> String {
        let Steps { each, shares, group, chunk, chunks } = self.steps();
        let streams = self.streams;
        let cut = Cut { rows: ROWS, lanes: 1, group, subgroup: None, ..cut };
        let mut w = self.header(Some(cut));
        let sums = chunk * shares;
        writeln!(
            w,
            "var<workgroup> sums: array<f32, {all_sums}>;
@compute @workgroup_size({group})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let lane = 0u;
  let share = l % {shares}u;",
            all_sums = sums * streams,
        )
        .ok();
        self.held(&mut w, each, shares);
        if let Some(side) = self.side() {
            side.bottleneck_kept(&mut w, group);
        }
        w.push_str("  workgroupBarrier();\n");
        self.scales(&mut w, "partial", shares);
        let last = self.rows * shares - 1;
        writeln!(
            w,
            "  for (var c = 0u; c < {chunks}u; c++) {{
  let begin = (group.x * {chunks}u + c) * {chunk}u;
  for (var n = l; n < {sums}u; n += {group}u) {{
    let base = min(begin * {shares}u + n, {last}u) * {each}u;"
        )
        .ok();
        (0..streams).for_each(|s| w.push_str(&format!("    var a0_{s} = 0.0;\n")));
        for b in 0..each {
            w.push_str("    {\n");
            self.block(&mut w, &format!("base + {b}u"), &format!("{b}_0"));
            self.block_sums(&mut w, Cut { rows: 1, ..cut }, each, &format!("{b}u"), &format!("{b}_"));
            w.push_str("    }\n");
        }
        (0..streams).for_each(|s| w.push_str(&format!("    sums[{}u + n] = a0_{s};\n", s * sums)));
        writeln!(
            w,
            "  }}
  workgroupBarrier();
  for (var n = l * {ROWS}u; n < {chunk}u; n += {}u) {{
    let row = begin + n;",
            group * ROWS
        )
        .ok();
        let each_sum = |f: &mut dyn FnMut(u32, u32)| (0..ROWS).for_each(|r| (0..streams).for_each(|s| f(r, s)));
        each_sum(&mut |r, s| w.push_str(&format!("    var a{r}_{s} = 0.0;\n")));
        writeln!(w, "    for (var i = 0u; i < {shares}u; i++) {{").ok();
        each_sum(&mut |r, s| {
            writeln!(w, "      a{r}_{s} += sums[{}u + (n + {r}u) * {shares}u + i];", s * sums).ok();
        });
        w.push_str("    }\n");
        if let Some(side) = self.side() {
            side.widen(&mut w, ROWS, cut, |r| format!("a{r}_{}", streams - 1));
        }
        self.hand_over(&mut w, ROWS, false);
        w.push_str("  }\n");
        if chunks > 1 {
            w.push_str("  workgroupBarrier();\n");
        }
        w.push_str("  }\n}\n");
        w
    }

    /// Brings an invocation's part of the activations, times the norm's weight, into memory of its own, with the plain sums of
    /// each block, of those that meet a biased weight.
    fn held(&self, w: &mut String, each: u32, shares: u32) {
        let (quads, streams, normed) = (self.cols / 4, self.streams, self.role.normed());
        let first = self.first_quad();
        writeln!(
            w,
            "  let first = {first};
  var xs: array<array<vec4<f32>, 8>, {all}>;
  var block_sum: array<f32, {all}>;",
            all = each * streams
        )
        .ok();
        if normed {
            (0..streams).for_each(|s| w.push_str(&format!("  var square{s} = 0.0;\n")));
        }
        writeln!(w, "  for (var b = 0u; b < {each}u; b++) {{").ok();
        (0..streams).for_each(|s| w.push_str(&format!("    var plain{s} = 0.0;\n")));
        writeln!(w, "    for (var q = 0u; q < 8u; q++) {{\n      let i = (share * {each}u + b) * 8u + q;").ok();
        writeln!(w, "      let place = select(EVEN, ODD, (q & 1u) == 1u);").ok();
        if normed {
            writeln!(w, "      let g = {};", self.norm("i")).ok();
        }
        for s in 0..streams {
            writeln!(w, "      var x{s} = x[first + {}u + i];", s * quads).ok();
            if normed {
                writeln!(w, "      square{s} += dot(x{s}, x{s});\n      x{s} *= g;").ok();
            }
            writeln!(w, "      plain{s} += dot(x{s}, BIAS);\n      xs[{}u + b][q] = x{s} * place;", s * each).ok();
        }
        w.push_str("    }\n");
        (0..streams).for_each(|s| w.push_str(&format!("    block_sum[{}u + b] = plain{s};\n", s * each)));
        w.push_str("  }\n");
        if normed {
            for s in 0..streams {
                writeln!(w, "  if (l < {shares}u) {{ partial[{}u + l] = square{s}; }}", s * shares).ok();
            }
        }
    }
}
