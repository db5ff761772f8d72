//! Looks the ids in the state up in the packed embedding matrix.

use super::state;
use crate::quant::BlockType;

/// Bindings: state, words, scales, out. One workgroup a token, or with two `streams` a stream, both of the first id.
pub fn wgsl(ty: BlockType, d_model: u32, streams: u32) -> String {
    let blocks = d_model / 32;
    let token = if streams > 1 { "0u" } else { "group.x" };
    // An invocation unpacks a block of 32 weights.
    let block = match ty {
        BlockType::Q8_0 => {
            "let d = unpack2x16float(scales[i >> 1u])[i & 1u];
    for (var j = 0u; j < 8u; j++) {
      let v = bitcast<i32>(words[i * 8u + j]);
      out[to + j] = d * vec4<f32>(f32((v << 24u) >> 24u), f32((v << 16u) >> 24u), f32((v << 8u) >> 24u), f32(v >> 24u));
    }"
        }
        _ => {
            "let s = SCALE;
    for (var j = 0u; j < 4u; j++) {
      let v = bitcast<i32>(words[i * 4u + j]);
      out[to + j * 2u] = s.x * vec4<f32>(f32(v & 15), f32((v >> 8u) & 15), f32((v >> 16u) & 15), f32((v >> 24u) & 15)) + s.y;
      out[to + j * 2u + 1u] = s.x * vec4<f32>(f32((v >> 4u) & 15), f32((v >> 12u) & 15), f32((v >> 20u) & 15), f32((v >> 28u) & 15)) + s.y;
    }"
        }
    };
    let scale = match ty {
        BlockType::Q4_0 => "unpack2x16float(scales[i >> 1u])[i & 1u] * vec2<f32>(1.0, -8.0)",
        _ => "unpack2x16float(scales[i])",
    };
    let block = block.replace("SCALE", scale);
    format!(
        "@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> words: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;
@compute @workgroup_size(32)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  if ({token} >= state[{count}]) {{ return; }}
  let id = state[{ids}u + {token}];
  for (var b = l; b < {blocks}u; b += 32u) {{
    let i = id * {blocks}u + b;
    let to = (group.x * {blocks}u + b) * 8u;
    {block}
  }}
}}
",
        count = state::COUNT,
        ids = state::IDS
    )
}
