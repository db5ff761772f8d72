//! Global norm, clip and AdamW (Loshchilov & Hutter 2019) over all parameters at once.

use super::{WORKGROUP, declare};

/// Where the kernels find the numbers of a step, as `f32` words of the control buffer.
pub mod control {
    /// Learning rate.
    pub const RATE: u32 = 0;
    /// Decay of the mean of gradients.
    pub const BETA1: u32 = 1;
    /// Decay of the mean of squared gradients.
    pub const BETA2: u32 = 2;
    /// Keeps the root from zero.
    pub const EPS: u32 = 3;
    /// Decoupled weight decay.
    pub const DECAY: u32 = 4;
    /// Largest global norm; 0 where none is set.
    pub const CLIP: u32 = 5;
    /// `1 − beta1^steps`.
    pub const UNBIAS1: u32 = 6;
    /// `1 − beta2^steps`.
    pub const UNBIAS2: u32 = 7;
    /// What a token counts: one by the number of predicted tokens of the step.
    pub const WEIGHT: u32 = 8;
    /// Words in all.
    pub const WORDS: u32 = 12;
}

/// Workgroups of [`squares`]: as many sums are left to [`norm`].
pub const SHARES: u32 = 256;
/// Most workgroups along an axis.
const MOST_GROUPS: u32 = 65535;

/// Sums of squares of the gradients.
///
/// Bindings: gradients, sums. [`SHARES`] workgroups.
pub fn squares(parameters: u32) -> String {
    let (quads, step) = (parameters / 4, SHARES * WORKGROUP);
    declare(&[("grad", "vec4<f32>", false), ("sums", "f32", true)])
        + &format!(
            "var<workgroup> partial: array<f32, {WORKGROUP}>;
@compute @workgroup_size({WORKGROUP})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  var s = 0.0;
  for (var i = group.x * {WORKGROUP}u + l; i < {quads}u; i += {step}u) {{ s += dot(grad[i], grad[i]); }}
  partial[l] = s;
  workgroupBarrier();
  if (l == 0u) {{
    for (var i = 1u; i < {WORKGROUP}u; i++) {{ s += partial[i]; }}
    sums[group.x] = s;
  }}
}}
"
        )
}

/// Global norm and clip factor, the second and third word of the tally.
///
/// Bindings: sums, control, tally. One workgroup.
pub fn norm() -> String {
    declare(&[("sums", "f32", false), ("control", "f32", false), ("tally", "f32", true)])
        + &format!(
            "@compute @workgroup_size(1)
fn main() {{
  var s = 0.0;
  for (var i = 0u; i < {SHARES}u; i++) {{ s += sums[i]; }}
  let norm = sqrt(s);
  tally[1] = norm;
  let clip = control[{}];
  tally[2] = 1.0;
  if (clip > 0.0 && norm > clip) {{ tally[2] = clip / norm; }}
}}
",
            control::CLIP
        )
}

/// Workgroups of [`update`].
pub fn update_groups(parameters: u32) -> u32 {
    (parameters / 4).div_ceil(WORKGROUP).min(MOST_GROUPS)
}

/// One update of everything.
///
/// Bindings: control, tally, gradients, parameters, first moments, second moments. [`update_groups`] workgroups.
pub fn update(parameters: u32) -> String {
    let (quads, step) = (parameters / 4, update_groups(parameters) * WORKGROUP);
    let buffers = [("control", "f32", false), ("tally", "f32", false), ("grad", "vec4<f32>", false)];
    let moved = [("parameter", "vec4<f32>", true), ("first", "vec4<f32>", true), ("second", "vec4<f32>", true)];
    let c = |word: u32| format!("control[{word}]");
    declare(&[&buffers[..], &moved[..]].concat())
        + &format!(
            "@compute @workgroup_size({WORKGROUP})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  for (var i = group.x * {WORKGROUP}u + l; i < {quads}u; i += {step}u) {{
    let g = grad[i] * tally[2];
    let m = {b1} * first[i] + (1.0 - {b1}) * g;
    let v = {b2} * second[i] + (1.0 - {b2}) * g * g;
    first[i] = m;
    second[i] = v;
    let kept = parameter[i] * (1.0 - {rate} * {decay});
    parameter[i] = kept - {rate} * (m / {unbias1}) / (sqrt(v / {unbias2}) + {eps});
  }}
}}
",
            b1 = c(control::BETA1),
            b2 = c(control::BETA2),
            rate = c(control::RATE),
            decay = c(control::DECAY),
            unbias1 = c(control::UNBIAS1),
            unbias2 = c(control::UNBIAS2),
            eps = c(control::EPS),
        )
}
