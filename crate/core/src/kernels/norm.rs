//! Root-mean-square norm of many tokens, for the tiled products; the one-token products norm for themselves.

use super::{declare, state};

/// Where a norm's result goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// A buffer of its own.
    Own,
    /// Added to the residual stream, for whose `streams` the first as many tokens stand; 1 is as many as the state has.
    Stream {
        /// Texts that are written side by side.
        streams: u32,
    },
    /// Added to the residual stream before, into the one after.
    After,
}

/// Bindings: state, x, weight, for [`To::After`] the stream before, out. One workgroup a token.
pub fn wgsl(d_model: u32, eps: f32, to: To) -> String {
    let quads = d_model / 4;
    let before = [("before", "vec4<f32>", false)];
    let buffers = [("state", "u32", false), ("x", "vec4<f32>", false), ("weight", "vec4<f32>", false)];
    let before = if to == To::After { &before[..] } else { &[] };
    let declared = declare(&[&buffers[..], before, &[("out", "vec4<f32>", true)]].concat());
    let count = match to {
        To::Stream { streams: 2.. } => "2u".into(),
        _ => format!("state[{}]", state::COUNT),
    };
    let store = match to {
        To::Own => "out[first + i] = y;",
        To::Stream { .. } => "out[first + i] += y;",
        To::After => "out[first + i] = before[first + i] + y;",
    };
    format!(
        "{declared}var<workgroup> partial: array<f32, 32>;
@compute @workgroup_size(32)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let first = group.x * {quads}u;
  var square = 0.0;
  if (group.x < {count}) {{
    for (var i = l; i < {quads}u; i += 32u) {{ let v = x[first + i]; square += dot(v, v); }}
  }}
  partial[l] = square;
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < 32u; i++) {{ total += partial[i]; }}
  let scale = inverseSqrt(total / {d_model}.0 + {eps:e});
  if (group.x < {count}) {{
    for (var i = l; i < {quads}u; i += 32u) {{ let y = x[first + i] * scale * weight[i]; {store} }}
  }}
}}
"
    )
}

/// Gradient of the norm's input: `r·w∘dy − x·r³/d·Σ(x∘w∘dy)` with `r = 1/√(mean x² + eps)`, `added` to `grad` or in its
/// place.
///
/// Bindings: state, x, weight, dy, grad. One workgroup a token.
pub fn backward(d_model: u32, eps: f32, added: bool) -> String {
    let op = if added { "+=" } else { "=" };
    let quads = d_model / 4;
    format!(
        "@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> grad: array<vec4<f32>>;
var<workgroup> partial: array<vec2<f32>, 32>;
@compute @workgroup_size(32)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let first = group.x * {quads}u;
  var sums = vec2<f32>();
  if (group.x < state[{count}]) {{
    for (var i = l; i < {quads}u; i += 32u) {{
      let v = x[first + i];
      sums += vec2<f32>(dot(v, v), dot(v * weight[i], dy[first + i]));
    }}
  }}
  partial[l] = sums;
  workgroupBarrier();
  var total = vec2<f32>();
  for (var i = 0u; i < 32u; i++) {{ total += partial[i]; }}
  let scale = inverseSqrt(total.x / {d_model}.0 + {eps:e});
  let along = total.y * scale * scale * scale / {d_model}.0;
  if (group.x < state[{count}]) {{
    for (var i = l; i < {quads}u; i += 32u) {{
      grad[first + i] {op} weight[i] * dy[first + i] * scale - x[first + i] * along;
    }}
  }}
}}
",
        count = state::COUNT
    )
}
