//! The side paths of a matrix, `y += scale · (x·Aᵀ)·Bᵀ`, and their gradients.
//!
//! A matrix holds the rows of one to three projections; each may have a pair of its own or none. The A of all of them
//! stand below each other as one matrix, so that one product makes every bottleneck `t`. Ranks are filled up with zeros
//! to whole quads: zeros get no gradient and stay zeros. `y += …` itself is part of [`Finish`](super::finish::Finish).
//!
//! In each kernel one factor is read at an address all invocations share: a processor that poses as a GPU reads it once.

use std::fmt::Write;

use super::{WORKGROUP, declare, entry};

/// How the rows of several projections stand in one matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// One projection after the other.
    Stacked,
    /// A row of each in turn.
    Alternating,
}

/// The side path of one projection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// Rows of the projection.
    pub rows: u32,
    /// Quads of its bottleneck; 0 where it has no pair.
    pub quads: u32,
    /// Factor of the path.
    pub scale: f32,
}

/// The side paths of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// Weights a row: a multiple of 4.
    pub cols: u32,
    /// Its projections.
    pub parts: Vec<Part>,
    /// How their rows stand.
    pub order: Order,
}

/// Tokens an invocation of [`LowRank::widen`] computes.
const TOKENS: u32 = 8;

impl LowRank {
    /// Quads of all bottlenecks.
    pub fn quads(&self) -> u32 {
        self.parts.iter().map(|part| part.quads).sum()
    }

    /// Rows of all projections.
    pub fn rows(&self) -> u32 {
        self.parts.iter().map(|part| part.rows).sum()
    }

    /// First quad of the bottleneck of part `p`.
    pub fn first_quad(&self, p: usize) -> u32 {
        self.parts[..p].iter().map(|part| part.quads).sum()
    }

    /// Where B of part `p` begins, in quads.
    pub fn first_b(&self, p: usize) -> u32 {
        self.parts[..p].iter().map(|part| part.rows * part.quads).sum()
    }

    /// First row of part `p`, and from one of its rows to the next.
    pub(super) fn row(&self, p: usize) -> (u32, u32) {
        match self.order {
            Order::Stacked => (self.parts[..p].iter().map(|part| part.rows).sum(), 1),
            Order::Alternating => (p as u32, self.parts.len() as u32),
        }
    }

    /// Parts with a pair.
    pub(super) fn live(&self) -> impl Iterator<Item = (usize, Part)> {
        self.parts.iter().copied().enumerate().filter(|(_, part)| part.quads > 0)
    }

    /// Bottlenecks: `t = x·Aᵀ`.
    ///
    /// Bindings: state, x, a, t. Workgroups `(tokens / 64, quads)`.
    pub fn narrow(&self) -> String {
        let (width, quads) = (self.cols / 4, self.quads());
        let buffers = [("state", "u32", false), ("x", "vec4<f32>", false), ("a", "vec4<f32>", false)];
        let mut w = declare(&[&buffers[..], &[("t", "vec4<f32>", true)]].concat()) + &entry();
        writeln!(
            w,
            "  let token = group.x * {WORKGROUP}u + l;
  if (token >= count) {{ return; }}
  let start = token * {width}u;
  let row = group.y * {}u;
  var sum = vec4<f32>();
  for (var i = 0u; i < {width}u; i++) {{
    let v = x[start + i];
    sum += vec4<f32>(dot(v, a[row + i]), dot(v, a[row + {width}u + i]), dot(v, a[row + {}u + i]), dot(v, a[row + {}u + i]));
  }}
  t[token * {quads}u + group.y] = sum;
}}",
            4 * width,
            2 * width,
            3 * width
        )
        .ok();
        w
    }

    /// Gradient of the bottlenecks: `dt = scale · dy·B`.
    ///
    /// Bindings: state, dy, b, dt. Workgroups `(tokens / 64, quads)`.
    pub fn narrow_back(&self) -> String {
        let buffers = [("state", "u32", false), ("dy", "vec4<f32>", false), ("b", "vec4<f32>", false)];
        let mut w = declare(&[&buffers[..], &[("dt", "vec4<f32>", true)]].concat()) + &entry();
        writeln!(
            w,
            "  let token = group.x * {WORKGROUP}u + l;
  if (token >= count) {{ return; }}
  let start = token * {}u;
  var sum = vec4<f32>();",
            self.rows() / 4
        )
        .ok();
        self.back_terms(&mut w, "0u", 1);
        writeln!(w, "  dt[token * {}u + group.y] = sum;\n}}", self.quads()).ok();
        w
    }

    /// Adds to `sum` what every `step`-th row from `first` gives the bottleneck's gradient: part of both kernels that make it.
    pub(super) fn back_terms(&self, w: &mut String, first: &str, step: u32) {
        for (p, part) in self.live() {
            let (first_quad, quads) = (self.first_quad(p), part.quads);
            // A quad of `dy` holds this many rows of the part.
            let lanes: &[&str] = match (self.order, p) {
                (Order::Stacked, _) => &["x", "y", "z", "w"],
                (Order::Alternating, 0) => &["x", "z"],
                (Order::Alternating, _) => &["y", "w"],
            };
            let (steps, lead) = (part.rows / lanes.len() as u32, self.row(p).0 / 4);
            let terms: Vec<_> =
                (0..lanes.len()).map(|i| format!("d.{} * b[at + {}u]", lanes[i], i as u32 * quads)).collect();
            writeln!(
                w,
                "  if (group.y >= {first_quad}u && group.y < {end}u) {{
    for (var i = {first}; i < {steps}u; i += {step}u) {{
      let d = dy[start + {lead}u + i];
      let at = {b}u + i * {stride}u + group.y - {first_quad}u;
      sum += {terms};
    }}
    sum *= {scale:e};
  }}",
                end = first_quad + quads,
                b = self.first_b(p),
                stride = lanes.len() as u32 * quads,
                terms = terms.join(" + "),
                scale = part.scale,
            )
            .ok();
        }
    }

    /// Gradient of A: adds `dtᵀ·x`.
    ///
    /// Bindings: state, x, dt, grad of A. Workgroups `(cols / 256, quads)`.
    pub fn grow_a(&self) -> String {
        let (width, quads) = (self.cols / 4, self.quads());
        let buffers = [("state", "u32", false), ("x", "vec4<f32>", false), ("dt", "vec4<f32>", false)];
        let mut w = declare(&[&buffers[..], &[("grad", "vec4<f32>", true)]].concat()) + &entry();
        writeln!(
            w,
            "  let k = group.x * {WORKGROUP}u + l;
  if (k >= {width}u) {{ return; }}
  var sx = vec4<f32>();
  var sy = vec4<f32>();
  var sz = vec4<f32>();
  var sw = vec4<f32>();
  for (var i = 0u; i < count; i++) {{
    let v = x[i * {width}u + k];
    let d = dt[i * {quads}u + group.y];
    sx += d.x * v;
    sy += d.y * v;
    sz += d.z * v;
    sw += d.w * v;
  }}
  let at = group.y * {}u + k;
  grad[at] += sx;
  grad[at + {width}u] += sy;
  grad[at + {}u] += sz;
  grad[at + {}u] += sw;
}}",
            4 * width,
            2 * width,
            3 * width
        )
        .ok();
        w
    }

    /// Gradient of B: adds `scale · dyᵀ·t`.
    ///
    /// Bindings: state, dy, t, grad of B. Workgroups `(most rows of a part / 64, 1, parts)`.
    pub fn grow_b(&self) -> String {
        let (rows, all) = (self.rows(), self.quads());
        let buffers = [("state", "u32", false), ("dy", "f32", false), ("t", "vec4<f32>", false)];
        let mut w = declare(&[&buffers[..], &[("grad", "vec4<f32>", true)]].concat()) + &entry();
        writeln!(w, "  let row = group.x * {WORKGROUP}u + l;").ok();
        for (p, part) in self.live() {
            let (first, step) = self.row(p);
            let each = |line: &dyn Fn(u32) -> String| (0..part.quads).map(line).collect::<String>();
            writeln!(
                w,
                "  if (group.z == {p}u && row < {part_rows}u) {{
{declare}    for (var i = 0u; i < count; i++) {{
      let d = dy[i * {rows}u + {first}u + row * {step}u];
{add}    }}
{store}  }}",
                part_rows = part.rows,
                declare = each(&|q| format!("    var s{q} = vec4<f32>();\n")),
                add = each(&|q| format!("      s{q} += d * t[i * {all}u + {}u];\n", self.first_quad(p) + q)),
                store = each(&|q| format!(
                    "    grad[{}u + row * {}u + {q}u] += {:e} * s{q};\n",
                    self.first_b(p),
                    part.quads,
                    part.scale
                )),
            )
            .ok();
        }
        w.push_str("}\n");
        w
    }

    /// Workgroups of [`LowRank::grow_b`] along the rows.
    pub fn grow_b_groups(&self) -> u32 {
        self.live().map(|(_, part)| part.rows.div_ceil(WORKGROUP)).max().unwrap_or(0)
    }

    /// Workgroups of kernels whose invocations hold a quad of the columns each.
    pub fn column_groups(&self) -> u32 {
        (self.cols / 4).div_ceil(WORKGROUP)
    }

    /// Tokens a workgroup of [`LowRank::widen`] covers.
    pub const WIDEN_TOKENS: u32 = TOKENS;

    /// Gradient of the input by way of the bottlenecks: adds `dt·A`.
    ///
    /// Bindings: state, a, dt, dx. Workgroups `(cols / 256, tokens / WIDEN_TOKENS)`.
    pub fn widen(&self) -> String {
        let (width, quads) = (self.cols / 4, self.quads());
        let buffers = [("state", "u32", false), ("a", "vec4<f32>", false), ("dt", "vec4<f32>", false)];
        let mut w = declare(&[&buffers[..], &[("dx", "vec4<f32>", true)]].concat()) + &entry();
        let each = |line: &dyn Fn(u32) -> String| (0..TOKENS).map(line).collect::<String>();
        writeln!(
            w,
            "  let k = group.x * {WORKGROUP}u + l;
  let token = group.y * {TOKENS}u;
  if (k >= {width}u || token >= count) {{ return; }}
{declare}  for (var q = 0u; q < {quads}u; q++) {{
    let at = q * {four}u + k;
    let ax = a[at];
    let ay = a[at + {width}u];
    let az = a[at + {two}u];
    let aw = a[at + {three}u];
{add}  }}
{store}}}",
            declare = each(&|u| format!(
                "  let from{u} = min(token + {u}u, count - 1u) * {quads}u;\n  var s{u} = vec4<f32>();\n"
            )),
            four = 4 * width,
            two = 2 * width,
            three = 3 * width,
            add = each(&|u| format!(
                "    {{ let d = dt[from{u} + q]; s{u} += d.x * ax + d.y * ay + d.z * az + d.w * aw; }}\n"
            )),
            store =
                each(&|u| format!("  if (token + {u}u < count) {{ dx[(token + {u}u) * {width}u + k] += s{u}; }}\n")),
        )
        .ok();
        w
    }
}
