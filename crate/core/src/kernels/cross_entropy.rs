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

/// Invocations of a workgroup of [`shared`], and scores each loads at once.
const TOGETHER: u32 = 256;
const AT_ONCE: u32 = 4;

/// As [`wgsl`], with a larger workgroup whose loads stand side by side: for devices that wait long for memory. The largest
/// score and the sum are found in one sweep, a sum being worth less as a larger score is met.
pub fn shared(vocab: u32) -> String {
    let buffers = [("state", "u32", false), ("targets", "u32", false), ("control", "f32", false)];
    let declared = declare(&[&buffers[..], &[("logits", "f32", true), ("nll", "f32", true)]].concat());
    let each = |line: &dyn Fn(u32) -> String| (0..AT_ONCE).map(line).collect::<String>();
    // Places past the end are read at the last score and count for nothing.
    let load = each(&|n| {
        format!(
            "    let live{n} = i + {at}u < {vocab}u;\n    let x{n} = logits[first + min(i + {at}u, {last}u)];\n",
            at = n * TOGETHER,
            last = vocab - 1
        )
    });
    format!(
        "{declared}var<workgroup> team: array<vec2<f32>, {TOGETHER}>;
var<workgroup> sixteen: array<vec2<f32>, 16>;
fn both(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {{
  let m = max(a.x, b.x);
  return vec2<f32>(m, a.y * exp(a.x - m) + b.y * exp(b.x - m));
}}
@compute @workgroup_size({TOGETHER})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let first = group.x * {vocab}u;
  let live = group.x < state[{count}];
  // The largest score and the sum of all powers over it.
  var own = vec2<f32>(-3.0e38, 0.0);
  if (live) {{
    for (var i = l; i < {vocab}u; i += {stride}u) {{
{load}      var m = own.x;
{most}      own = vec2<f32>(m, own.y * exp(own.x - m){sum});
    }}
  }}
  team[l] = own;
  workgroupBarrier();
  if (l < 16u) {{
    for (var i = l + 16u; i < {TOGETHER}u; i += 16u) {{ own = both(own, team[i]); }}
    sixteen[l] = own;
  }}
  workgroupBarrier();
  if (!live) {{ return; }}
  var all = sixteen[0];
  for (var i = 1u; i < 16u; i++) {{ all = both(all, sixteen[i]); }}
  let target_id = targets[group.x];
  let weight = control[{weight}];
  for (var i = l; i < {vocab}u; i += {stride}u) {{
{load}{store}  }}
}}
",
        count = state::COUNT,
        weight = control::WEIGHT,
        stride = TOGETHER * AT_ONCE,
        most = each(&|n| format!("      m = max(m, x{n});\n")),
        sum = each(&|n| format!(" + select(0.0, exp(x{n} - m), live{n})")),
        store = each(&|n| format!(
            "    if (live{n}) {{
      let at = i + {}u;
      if (at == target_id) {{ nll[group.x] = log(all.y) + all.x - x{n}; }}
      logits[first + at] = (exp(x{n} - all.x) / all.y - select(0.0, 1.0, at == target_id)) * weight;
    }}\n",
            n * TOGETHER
        )),
    )
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
