//! Weights out of their blocks, as text that every kernel over quantised matrices begins with.

use crate::quant::{BlockType, plane_lens};

/// `low` and `high` unpack eight weights of a 4-bit block, four of them each, from the word that holds them all.
///
/// A weight stays where it stands in the word, so that a mask and a conversion unpack it: `EVEN` and `ODD` take its place
/// value back, by powers of two, which lose no digit. Shifts are left out because software drivers compute them one
/// invocation at a time, and conversions go through `i32` because processors convert signed integers in one instruction,
/// unsigned ones in several. `BIAS` tells which weights the block's shift (the second part of `block_scale`) is added to.
const NIBBLES: &str = "const EVEN = vec4<f32>(1.0, 0x1p-8, 0x1p-16, 0x1p-24);
const ODD = vec4<f32>(0x1p-4, 0x1p-12, 0x1p-20, 0x1p-28);
const BIAS = vec4<f32>(1.0);
fn low(w: u32) -> vec4<f32> {
  let v = bitcast<i32>(w);
  return vec4<f32>(f32(v & 0xf), f32(v & 0xf00), f32(v & 0xf0000), f32(v & 0xf000000));
}
fn high(w: u32) -> vec4<f32> {
  let v = bitcast<i32>(w);
  let last = f32(bitcast<i32>((w & 0xf0000000u) ^ 0x80000000u)) + 0x1p31;
  return vec4<f32>(f32(v & 0xf0), f32(v & 0xf000), f32(v & 0xf00000), last);
}
";

/// The same for bytes, four a word: the lower three are biased by 128 to be unsigned, the last brings the sign along.
const BYTES: &str = "const EVEN = vec4<f32>(1.0, 0x1p-8, 0x1p-16, 0x1p-24);
const ODD = EVEN;
const BIAS = vec4<f32>(1.0, 1.0, 1.0, 0.0);
fn low(w: u32) -> vec4<f32> {
  let v = bitcast<i32>(w ^ 0x808080u);
  return vec4<f32>(f32(v & 0xff), f32(v & 0xff00), f32(v & 0xff0000), f32(bitcast<i32>(w & 0xff000000u)));
}
fn high(w: u32) -> vec4<f32> { return low(w); }
";

/// Bytes that are the numbers themselves, each left in its place with its sign. `BIAS` follows.
const PLAIN_BYTES: &str = "const EVEN = vec4<f32>(1.0, 0x1p-8, 0x1p-16, 0x1p-24);
const ODD = EVEN;
fn low(w: u32) -> vec4<f32> {
  let v = bitcast<i32>(w);
  return vec4<f32>(f32((v << 24u) >> 24u), f32(((v << 16u) >> 16u) & -256), f32(((v << 8u) >> 8u) & -65536), f32(v & -16777216));
}
fn high(w: u32) -> vec4<f32> { return low(w); }
";

/// Scale and least weight of 32 weights of Q4_K or Q5_K: six bits each, packed in twelve bytes (see ggml's
/// `get_scale_min_k4`).
const SCALE_K: &str = "fn block_scale(i: u32) -> vec2<f32> {
  let at = i / 8u * 4u;
  let shift = i % 4u * 8u;
  let d = unpack2x16float(scales[at]);
  let a = scales[at + 1u] >> shift;
  let b = scales[at + 2u] >> shift;
  let c = scales[at + 3u] >> shift;
  let upper = (i & 4u) != 0u;
  let scale = select(a & 63u, (c & 15u) | ((a >> 2u) & 48u), upper);
  let least = select(b & 63u, ((c >> 4u) & 15u) | ((b >> 2u) & 48u), upper);
  return vec2<f32>(d.x * f32(scale), -d.y * f32(least));
}
";

/// The scales of the two halves of 32 weights of Q6_K.
const SCALE_6: &str = "fn block_scale(i: u32) -> vec2<f32> {
  let at = i / 8u * 5u;
  let d = unpack2x16float(scales[at + 4u]).x;
  let v = bitcast<i32>(scales[at + i % 8u / 2u] >> (i % 2u * 16u));
  return d * vec2<f32>(f32((v << 24u) >> 24u), f32((v << 16u) >> 24u));
}
";

/// Whether a format has a byte a weight for the kernels: two words an eighth of a block.
pub(crate) fn bytes(ty: BlockType) -> bool {
    matches!(ty, BlockType::Q8_0 | BlockType::Q5_1 | BlockType::Q5K | BlockType::Q6K)
}

/// Words and scales of a matrix of `rows` by `cols`, as WGSL's `u32`.
///
/// Arrays of a known length: browsers check an index against a number then, and need not divide a buffer's bytes to know the
/// length, which software drivers do at every access, lane by lane.
pub(crate) fn lengths(ty: BlockType, rows: u32, cols: u32) -> [u32; 2] {
    let weights = rows * cols;
    let words = if bytes(ty) { weights / 4 } else { weights / 8 };
    [words, plane_lens(ty, weights as usize / ty.block_len())[2] as u32]
}

/// WGSL functions that unpack the words and scales of a format, as [`Packed::for_kernels`](crate::quant::Packed) has
/// them: see [`NIBBLES`]. `weights` makes of what `low` or `high` gave the weights themselves; `eighth` is where in its
/// 32 weights they stand.
pub(super) fn decoders(ty: BlockType) -> String {
    let unpack = match ty {
        BlockType::Q8_0 => BYTES.into(),
        BlockType::Q5_1 | BlockType::Q5K => format!("{PLAIN_BYTES}const BIAS = vec4<f32>(1.0);\n"),
        BlockType::Q6K => format!("{PLAIN_BYTES}const BIAS = vec4<f32>(0.0);\n"),
        _ => NIBBLES.to_owned(),
    };
    let half = |bias: &str| {
        format!(
            "fn block_scale(i: u32) -> vec2<f32> {{ let d = unpack2x16float(scales[i >> 1u])[i & 1u]; return vec2<f32>(d, {bias} * d); }}\n"
        )
    };
    let scale = match ty {
        BlockType::Q8_0 => half("-128.0"),
        BlockType::Q4_0 => half("-8.0"),
        BlockType::Q4_1 | BlockType::Q5_1 => {
            "fn block_scale(i: u32) -> vec2<f32> { return unpack2x16float(scales[i]); }\n".into()
        }
        BlockType::Q4K | BlockType::Q5K => SCALE_K.into(),
        BlockType::Q6K => SCALE_6.into(),
        BlockType::F32 | BlockType::F16 | BlockType::BF16 | BlockType::Q5_0 => String::new(),
    };
    let weights = match ty {
        BlockType::Q6K => "return v * (place * select(s.x, s.y, eighth >= 2u));",
        _ => "return v * (place * s.x) + BIAS * s.y;",
    };
    format!(
        "{unpack}{scale}fn weights(v: vec4<f32>, place: vec4<f32>, s: vec2<f32>, eighth: u32) -> vec4<f32> {{ {weights} }}\n"
    )
}
