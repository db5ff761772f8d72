//! Negative log-likelihood of given tokens, and its gradient in place of the scores.

use super::{WORKGROUP, adamw::control, declare, entry, state};

/// `nll[t] = ln Σ exp(logits) − logits[target]`; then `logits = (softmax − onehot) · weight`.
///
/// Bindings: state, targets, control, logits, nll. One workgroup a token.
pub fn wgsl(vocab: u32) -> String {
    let buffers = [("state", "u32", false), ("targets", "u32", false), ("control", "f32", false)];
    let mut w = declare(&[&buffers[..], &[("logits", "f32", true), ("nll", "f32", true)]].concat());
    w += &format!(
        "var<workgroup> top: array<f32, {WORKGROUP}>;
var<workgroup> sum: array<f32, {WORKGROUP}>;
@compute @workgroup_size({WORKGROUP})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let first = group.x * {vocab}u;
  let live = group.x < state[{count}];
  var m = -3.0e38;
  if (live) {{ for (var i = l; i < {vocab}u; i += {WORKGROUP}u) {{ m = max(m, logits[first + i]); }} }}
  top[l] = m;
  workgroupBarrier();
  for (var i = 0u; i < {WORKGROUP}u; i++) {{ m = max(m, top[i]); }}
  var s = 0.0;
  if (live) {{ for (var i = l; i < {vocab}u; i += {WORKGROUP}u) {{ s += exp(logits[first + i] - m); }} }}
  sum[l] = s;
  workgroupBarrier();
  if (!live) {{ return; }}
  s = 0.0;
  for (var i = 0u; i < {WORKGROUP}u; i++) {{ s += sum[i]; }}
  let target_id = targets[group.x];
  let weight = control[{weight}];
  // The invocation that meets the target is the only one to read or write its score from here on.
  for (var i = l; i < {vocab}u; i += {WORKGROUP}u) {{
    let score = logits[first + i];
    let p = exp(score - m) / s;
    if (i == target_id) {{ nll[group.x] = log(s) + m - score; }}
    logits[first + i] = (p - select(0.0, 1.0, i == target_id)) * weight;
  }}
}}
",
        count = state::COUNT,
        weight = control::WEIGHT,
    );
    w
}

/// Adds the weighted likelihoods of a window to the loss of the step.
///
/// Bindings: state, nll, control, tally. One workgroup.
pub fn tally() -> String {
    let buffers = [("state", "u32", false), ("nll", "f32", false), ("control", "f32", false), ("tally", "f32", true)];
    declare(&buffers)
        + &format!("var<workgroup> sum: array<f32, {WORKGROUP}>;\n")
        + &entry()
        + &format!(
            "  var s = 0.0;
  for (var i = l; i < count; i += {WORKGROUP}u) {{ s += nll[i]; }}
  sum[l] = s;
  workgroupBarrier();
  if (l == 0u) {{
    for (var i = 1u; i < {WORKGROUP}u; i++) {{ s += sum[i]; }}
    tally[0] += s * control[{}];
  }}
}}
",
            control::WEIGHT
        )
}
