//! Root-mean-square norm of many tokens, for the tiled products; the one-token products norm for themselves.

use super::state;

/// Bindings: state, x, weight, out. One workgroup a token.
pub fn wgsl(d_model: u32, eps: f32) -> String {
    let quads = d_model / 4;
    format!(
        "@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;
var<workgroup> partial: array<f32, 32>;
@compute @workgroup_size(32)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let first = group.x * {quads}u;
  var square = 0.0;
  if (group.x < state[{count}]) {{
    for (var i = l; i < {quads}u; i += 32u) {{ let v = x[first + i]; square += dot(v, v); }}
  }}
  partial[l] = square;
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < 32u; i++) {{ total += partial[i]; }}
  let scale = inverseSqrt(total / {d_model}.0 + {eps:e});
  if (group.x < state[{count}]) {{
    for (var i = l; i < {quads}u; i += 32u) {{ out[first + i] = x[first + i] * scale * weight[i]; }}
  }}
}}
",
        count = state::COUNT
    )
}

/// Gradient of the norm's input: `r·w∘dy − x·r³/d·Σ(x∘w∘dy)` with `r = 1/√(mean x² + eps)`, added to `grad`.
///
/// Bindings: state, x, weight, dy, grad. One workgroup a token.
pub fn backward(d_model: u32, eps: f32) -> String {
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
      grad[first + i] += weight[i] * dy[first + i] * scale - x[first + i] * along;
    }}
  }}
}}
",
        count = state::COUNT
    )
}
