//! Looks the ids in the state up in the packed embedding matrix, or in a part of its rows.

use super::{
    project::Slice,
    state,
    unpack::{bytes, decoders},
};
use crate::quant::BlockType;

/// Embeddings of the ids of one part of the vocabulary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Embed {
    /// Format of the matrix.
    pub ty: BlockType,
    /// Weights a row: a multiple of 32.
    pub d_model: u32,
    /// Rows of the matrix.
    pub rows: u32,
    /// Which of the vocabulary's they are; ids of other rows are left alone.
    pub slice: Slice,
    /// What embeddings are multiplied by.
    pub scale: f32,
    /// Texts that read the first id, or 1 for as many ids as the state has.
    pub streams: u32,
}

impl Embed {
    /// The kernel: an invocation unpacks a block of 32 weights. One workgroup a token, or a stream.
    ///
    /// Bindings: state, words, scales, out.
    pub fn wgsl(&self) -> String {
        let blocks = self.d_model / 32;
        let token = if self.streams > 1 { "0u" } else { "group.x" };
        let (parts, second) = if bytes(self.ty) { (2, "at + 1u") } else { (1, "at") };
        let factor = if self.scale == 1.0 { String::new() } else { format!(" * {:e}", self.scale) };
        format!(
            "@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> words: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;
{decoders}@compute @workgroup_size(32)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  if ({token} >= state[{count}]) {{ return; }}
  let id = state[{ids}u + {token}] - {first}u;
  // Ids before the first are large now.
  if (id >= {rows}u) {{ return; }}
  for (var b = l; b < {blocks}u; b += 32u) {{
    let i = id * {blocks}u + b;
    let to = (group.x * {blocks}u + b) * 8u;
    let s = block_scale(i);
    for (var o = 0u; o < 4u; o++) {{
      let at = (i * 4u + o) * {parts}u;
      out[to + o * 2u] = weights(low(words[at]), EVEN, s, o){factor};
      out[to + o * 2u + 1u] = weights(high(words[{second}]), ODD, s, o){factor};
    }}
  }}
}}
",
            decoders = decoders(self.ty),
            count = state::COUNT,
            ids = state::IDS,
            first = self.slice.first,
            rows = self.rows,
        )
    }
}
