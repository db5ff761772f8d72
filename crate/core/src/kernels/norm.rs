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
