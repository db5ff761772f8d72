//! The side paths' long sums, each shared by the invocations of a workgroup: for devices that wait long for memory and
//! little for each other. What is computed is told at their namesakes in [`low_rank`](super::low_rank).

use std::fmt::Write;

use super::{
    declare,
    low_rank::{LowRank, Part},
    state,
};

/// Invocations that share a sum over a row.
const LANES: u32 = 16;
/// Tokens of a workgroup of the kernels whose sums run over rows.
const TOKENS: u32 = 4;
/// Invocations that share a sum over tokens.
const SHARES: u32 = 8;
/// Neighbouring sums of a workgroup of the kernels whose sums run over tokens.
const NEIGHBOURS: u32 = 16;
/// Tokens an invocation of those loads at once.
const AT_ONCE: u32 = 4;

/// The head of a kernel whose workgroups have `size` invocations.
fn entry(size: u32, vectors: u32) -> String {
    format!(
        "var<workgroup> team: array<vec4<f32>, {vectors}>;
@compute @workgroup_size({size})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let count = state[{}];
",
        state::COUNT
    )
}

impl LowRank {
    /// Tokens a workgroup of [`LowRank::narrow_shared`] and [`LowRank::narrow_back_shared`] covers.
    pub const SHARED_TOKENS: u32 = TOKENS;

    /// As [`LowRank::narrow`]; workgroups `(tokens / SHARED_TOKENS, quads)`.
    pub fn narrow_shared(&self) -> String {
        let width = self.cols / 4;
        let buffers = [("state", "u32", false), ("x", "vec4<f32>", false), ("a", "vec4<f32>", false)];
        let mut w = declare(&[&buffers[..], &[("t", "vec4<f32>", true)]].concat());
        self.by_rows(&mut w, "t", |w| {
            writeln!(
                w,
                "    let start = token * {width}u;
    let row = group.y * {four}u;
    for (var i = lane; i < {width}u; i += {LANES}u) {{
      let v = x[start + i];
      sum += vec4<f32>(dot(v, a[row + i]), dot(v, a[row + {width}u + i]), dot(v, a[row + {two}u + i]), dot(v, a[row + {three}u + i]));
    }}",
                two = 2 * width,
                three = 3 * width,
                four = 4 * width,
            )
            .ok();
        });
        w
    }

    /// As [`LowRank::narrow_back`]; workgroups `(tokens / SHARED_TOKENS, quads)`.
    pub fn narrow_back_shared(&self) -> String {
        let buffers = [("state", "u32", false), ("dy", "vec4<f32>", false), ("b", "vec4<f32>", false)];
        let mut w = declare(&[&buffers[..], &[("dt", "vec4<f32>", true)]].concat());
        self.by_rows(&mut w, "dt", |w| {
            writeln!(w, "    let start = token * {}u;", self.rows() / 4).ok();
            self.back_terms(w, "lane", LANES);
        });
        w
    }

    /// Sums over a row that [`LANES`] invocations share: `terms` adds those of `lane` to `sum` for `token` and the quad
    /// `group.y`.
    fn by_rows(&self, w: &mut String, out: &str, terms: impl Fn(&mut String)) {
        w.push_str(&entry(TOKENS * LANES, TOKENS * LANES));
        writeln!(
            w,
            "  let token = group.x * {TOKENS}u + l / {LANES}u;
  let lane = l % {LANES}u;
  var sum = vec4<f32>();
  if (token < count) {{"
        )
        .ok();
        terms(w);
        writeln!(
            w,
            "  }}
  team[l] = sum;
  workgroupBarrier();
  if (lane == 0u && token < count) {{
    for (var i = 1u; i < {LANES}u; i++) {{ sum += team[l + i]; }}
    {out}[token * {}u + group.y] = sum;
  }}
}}",
            self.quads()
        )
        .ok();
    }

    /// Workgroups of [`LowRank::grow_a_shared`] along the columns.
    pub fn grow_a_shared_groups(&self) -> u32 {
        (self.cols / 4).div_ceil(NEIGHBOURS)
    }

    /// As [`LowRank::grow_a`]; workgroups `(grow_a_shared_groups, quads)`.
    pub fn grow_a_shared(&self) -> String {
        let (width, quads) = (self.cols / 4, self.quads());
        let buffers = [("state", "u32", false), ("x", "vec4<f32>", false), ("dt", "vec4<f32>", false)];
        let mut w = declare(&[&buffers[..], &[("grad", "vec4<f32>", true)]].concat());
        let invocations = NEIGHBOURS * SHARES;
        w.push_str(&entry(invocations, 4 * invocations));
        writeln!(
            w,
            "  let k = group.x * {NEIGHBOURS}u + l % {NEIGHBOURS}u;
  let column = min(k, {}u);
  var sx = vec4<f32>();
  var sy = vec4<f32>();
  var sz = vec4<f32>();
  var sw = vec4<f32>();",
            width - 1
        )
        .ok();
        over_tokens(&mut w, |w, i| {
            writeln!(
                w,
                "    let v{i} = x[i{i} * {width}u + column];
    let d{i} = select(vec4<f32>(), dt[i{i} * {quads}u + group.y], live{i});"
            )
            .ok();
        });
        for i in 0..AT_ONCE {
            writeln!(
                w,
                "    sx += d{i}.x * v{i};\n    sy += d{i}.y * v{i};\n    sz += d{i}.z * v{i};\n    sw += d{i}.w * v{i};"
            )
            .ok();
        }
        writeln!(
            w,
            "  }}
  team[l] = sx;
  team[{n}u + l] = sy;
  team[{two}u + l] = sz;
  team[{three}u + l] = sw;
  workgroupBarrier();
  // One row of A for each {NEIGHBOURS} invocations.
  if (l < {rows}u && k < {width}u) {{
    let first = l / {NEIGHBOURS}u * {n}u + l % {NEIGHBOURS}u;
    var sum = team[first];
    for (var i = 1u; i < {SHARES}u; i++) {{ sum += team[first + i * {NEIGHBOURS}u]; }}
    grad[(group.y * 4u + l / {NEIGHBOURS}u) * {width}u + k] += sum;
  }}
}}",
            n = invocations,
            two = 2 * invocations,
            three = 3 * invocations,
            rows = 4 * NEIGHBOURS,
        )
        .ok();
        w
    }

    /// Workgroups of [`LowRank::grow_b_shared`]: rows and quads of the largest part, and parts.
    pub fn grow_b_shared_groups(&self) -> [u32; 3] {
        let most =
            |of: &dyn Fn(&Part) -> u32| self.parts.iter().filter(|part| part.quads > 0).map(of).max().unwrap_or(0);
        [most(&|part| part.rows.div_ceil(NEIGHBOURS)), most(&|part| part.quads), self.parts.len() as u32]
    }

    /// As [`LowRank::grow_b`]; workgroups [`LowRank::grow_b_shared_groups`].
    pub fn grow_b_shared(&self) -> String {
        let (rows, all) = (self.rows(), self.quads());
        let buffers = [("state", "u32", false), ("dy", "f32", false), ("t", "vec4<f32>", false)];
        let mut w = declare(&[&buffers[..], &[("grad", "vec4<f32>", true)]].concat());
        let invocations = NEIGHBOURS * SHARES;
        w.push_str(&entry(invocations, invocations));
        writeln!(
            w,
            "  let row = group.x * {NEIGHBOURS}u + l % {NEIGHBOURS}u;
  var column = 0u;
  var quad = 0u;
  var rows = 0u;
  var to = 0u;
  var scale = 0.0;"
        )
        .ok();
        for (p, part) in self.live() {
            let (first, step) = self.row(p);
            writeln!(
                w,
                "  if (group.z == {p}u && group.y < {quads}u) {{
    rows = {part_rows}u;
    column = {first}u + min(row, {last}u) * {step}u;
    quad = {quad}u + group.y;
    to = {b}u + row * {quads}u + group.y;
    scale = {scale:e};
  }}",
                quads = part.quads,
                part_rows = part.rows,
                last = part.rows - 1,
                quad = self.first_quad(p),
                b = self.first_b(p),
                scale = part.scale,
            )
            .ok();
        }
        w.push_str("  var sum = vec4<f32>();\n");
        over_tokens(&mut w, |w, i| {
            writeln!(
                w,
                "    let d{i} = select(0.0, dy[i{i} * {rows}u + column], live{i});
    let v{i} = t[i{i} * {all}u + quad];"
            )
            .ok();
        });
        for i in 0..AT_ONCE {
            writeln!(w, "    sum += d{i} * v{i};").ok();
        }
        writeln!(
            w,
            "  }}
  team[l] = sum;
  workgroupBarrier();
  if (l < {NEIGHBOURS}u && row < rows) {{
    for (var i = 1u; i < {SHARES}u; i++) {{ sum += team[l + i * {NEIGHBOURS}u]; }}
    grad[to] += scale * sum;
  }}
}}"
        )
        .ok();
        w
    }
}

/// Opens the loop over the tokens of a share, [`AT_ONCE`] of them a round; `load` reads what token `i<n>` has, which counts
/// where it is `live<n>`.
fn over_tokens(w: &mut String, load: impl Fn(&mut String, u32)) {
    writeln!(w, "  for (var i = l / {NEIGHBOURS}u; i < count; i += {}u) {{", SHARES * AT_ONCE).ok();
    for n in 0..AT_ONCE {
        let at = n * SHARES;
        writeln!(w, "    let live{n} = i + {at}u < count;\n    let i{n} = min(i + {at}u, count - 1u);").ok();
        load(w, n);
    }
}
