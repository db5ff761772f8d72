//! Causal attention over the cache, with a running softmax so that no score matrix is ever stored (Dao et al. 2022).

use super::state;

/// Sizes of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    /// Query heads.
    pub n_heads: u32,
    /// Key and value heads.
    pub n_kv_heads: u32,
    /// Width of a head: a multiple of 4.
    pub d_head: u32,
}

/// Queries a workgroup of the many-token kernel answers, one an invocation.
pub const QUERIES: u32 = 32;
/// Keys the many-token kernel weighs between two rescalings.
const KEYS: u32 = 4;

impl Attention {
    fn header(&self) -> &'static str {
        "@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> cache: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;
"
    }

    /// One query a head: a workgroup a head, invocations share the keys, then the elements of the head.
    ///
    /// Bindings: state, q, cache, out. The cache holds `[position][keys of all heads, values of all heads]`.
    pub fn vector(&self) -> String {
        let Attention { n_heads, n_kv_heads, d_head } = *self;
        let quads = d_head / 4;
        let stride = n_kv_heads * quads * 2;
        // Each of the 64 invocations holds one quad of the head for a share of the chunk's keys.
        let shares = (64 / quads).max(1);
        let each = |line: &dyn Fn(u32) -> String| (0..quads.div_ceil(64)).map(line).collect::<String>();
        format!(
            "{header}
var<workgroup> query: array<vec4<f32>, {quads}>;
var<workgroup> score: array<f32, 64>;
var<workgroup> octet: array<f32, 8>;
var<workgroup> sums: array<vec4<f32>, {gathered}>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let head = group.x;
  let len = state[{position}] + 1u;
  let keys = (head / {group_size}u) * {quads}u;
  let values = keys + {half}u;
  for (var i = l; i < {quads}u; i += 64u) {{ query[i] = q[head * {quads}u + i] * {scale:e}; }}
  workgroupBarrier();
  let share = l / {quads}u;
  var top = -3.0e38;
  var weight_sum = 0.0;
{declare}  for (var start = 0u; start < len; start += 64u) {{
    let at = start + l;
    var s = -3.0e38;
    if (at < len) {{
      s = 0.0;
      for (var i = 0u; i < {quads}u; i++) {{ s += dot(query[i], cache[at * {stride}u + keys + i]); }}
    }}
    score[l] = s;
    workgroupBarrier();
    if (l < 8u) {{
      var m = score[l];
      for (var i = 8u; i < 64u; i += 8u) {{ m = max(m, score[l + i]); }}
      octet[l] = m;
    }}
    workgroupBarrier();
    var new_top = top;
    for (var i = 0u; i < 8u; i++) {{ new_top = max(new_top, octet[i]); }}
    let shrink = exp(top - new_top);
    top = new_top;
    score[l] = exp(s - top);
    workgroupBarrier();
    let here = min(64u, len - start);
    weight_sum *= shrink;
{shrink}    if (share < {shares}u) {{
      for (var j = share; j < here; j += {shares}u) {{
        let p = score[j];
        weight_sum += p;
{sum}      }}
    }}
    workgroupBarrier();
  }}
  {gather}
}}
",
            header = self.header(),
            position = state::POSITION,
            declare = each(&|h| format!("  var acc{h} = vec4<f32>();\n")),
            shrink = each(&|h| format!("    acc{h} *= shrink;\n")),
            sum = each(&|h| format!(
                "        {{ let i = (l % {quads}u) + {}u; if (i < {quads}u) {{ acc{h} += p * cache[(start + j) * {stride}u + values + i]; }} }}\n",
                h * 64
            )),
            group_size = n_heads / n_kv_heads,
            half = n_kv_heads * quads,
            scale = 1.0 / (d_head as f32).sqrt(),
            gathered = if shares > 1 { 64 } else { 1 },
            gather = if shares > 1 {
                // Shares are added up through workgroup memory; `score` now carries the weights' sums.
                format!(
                    "sums[l] = acc0;
  score[l] = weight_sum;
  workgroupBarrier();
  if (l < {quads}u) {{
    var v = sums[l];
    var n = score[l];
    for (var i = 1u; i < {shares}u; i++) {{ v += sums[l + i * {quads}u]; n += score[l + i * {quads}u]; }}
    out[head * {quads}u + l] = v / n;
  }}"
                )
            } else {
                each(&|h| {
                    let i = format!("l + {}u", h * 64);
                    format!("  if ({i} < {quads}u) {{ out[head * {quads}u + {i}] = acc{h} / weight_sum; }}\n")
                })
            },
        )
    }

    /// Many queries: an invocation answers one query of one head.
    ///
    /// The query and the sum are named variables, not arrays: an indexed array would live in memory, not in registers.
    ///
    /// Bindings as [`Attention::vector`]; workgroups `(n_heads, tokens / QUERIES)`.
    pub fn many(&self) -> String {
        let Attention { n_heads, n_kv_heads, d_head } = *self;
        let quads = d_head / 4;
        let stride = n_kv_heads * quads * 2;
        let each = |line: &dyn Fn(u32) -> String| (0..quads).map(line).collect::<String>();
        let keys = |line: &dyn Fn(u32) -> String| (0..KEYS).map(line).collect::<String>();
        format!(
            "{header}
@compute @workgroup_size({QUERIES})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let head = group.x;
  let token = group.y * {QUERIES}u + l;
  if (token >= state[{count}]) {{ return; }}
  let last = state[{position}] + token;
  let keys = (head / {group_size}u) * {quads}u;
  let values = keys + {half}u;
  let from_q = (token * {n_heads}u + head) * {quads}u;
{load}  var top = -3.0e38;
  var weight_sum = 0.0;
  for (var start = 0u; start <= last; start += {KEYS}u) {{
    var new_top = top;
{scores}    if (new_top > top) {{
      let shrink = exp(top - new_top);
      weight_sum *= shrink;
{shrink}      top = new_top;
    }}
{weights}  }}
{store}}}
",
            header = self.header(),
            count = state::COUNT,
            position = state::POSITION,
            group_size = n_heads / n_kv_heads,
            half = n_kv_heads * quads,
            load = each(&|i| format!(
                "  let q{i} = q[from_q + {i}u] * {:e};\n  var a{i} = vec4<f32>();\n",
                1.0 / (d_head as f32).sqrt()
            )),
            // Keys past the query are read at its own place and weigh nothing.
            scores = keys(&|j| {
                let dots = each(&|i| format!(" + dot(q{i}, cache[at{j} + {i}u])"));
                format!(
                    "    let at{j} = min(start + {j}u, last) * {stride}u + keys;
    let s{j} = select(-3.0e38, 0.0{dots}, start + {j}u <= last);
    new_top = max(new_top, s{j});\n"
                )
            }),
            shrink = each(&|i| format!("      a{i} *= shrink;\n")),
            weights = keys(&|j| {
                let sums = each(&|i| format!("    a{i} += p{j} * cache[from{j} + {i}u];\n"));
                format!(
                    "    let p{j} = exp(s{j} - top);
    weight_sum += p{j};
    let from{j} = min(start + {j}u, last) * {stride}u + values;
{sums}"
                )
            }),
            store = each(&|i| format!("  out[from_q + {i}u] = a{i} / weight_sum;\n")),
        )
    }
}
