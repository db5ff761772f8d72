//! Negative log-likelihood of given tokens from rows of scores.

use super::state;

/// Scores held at once, at most: more would take memory that a large vocabulary's model has better use for.
const SCORES: usize = 1 << 22;

/// Tokens scored a dispatch, at most: a row of tiles is full then.
const ROWS: usize = 64;

/// Tokens scored a dispatch: a row of scores each is held at once.
pub fn rows(vocab: usize) -> usize {
    (SCORES / vocab).clamp(2, ROWS)
}

/// Bindings: state, targets, logits, out. One workgroup a token; `out[t] = ln Σ exp(logits) − logits[target]`.
pub fn wgsl(vocab: u32) -> String {
    format!(
        "@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read> logits: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
var<workgroup> top: array<f32, 64>;
var<workgroup> sum: array<f32, 64>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let first = group.x * {vocab}u;
  let live = group.x < state[{count}];
  var m = -3.0e38;
  if (live) {{ for (var i = l; i < {vocab}u; i += 64u) {{ m = max(m, logits[first + i]); }} }}
  top[l] = m;
  workgroupBarrier();
  for (var i = 0u; i < 64u; i++) {{ m = max(m, top[i]); }}
  var s = 0.0;
  if (live) {{ for (var i = l; i < {vocab}u; i += 64u) {{ s += exp(logits[first + i] - m); }} }}
  sum[l] = s;
  workgroupBarrier();
  if (live && l == 0u) {{
    for (var i = 1u; i < 64u; i++) {{ s += sum[i]; }}
    out[group.x] = log(s) + m - logits[first + targets[group.x]];
  }}
}}
",
        count = state::COUNT
    )
}
