//! The gradient of causal attention.
//!
//! Scores are made anew and kept, `[head][key][query]`, keys counted from the first of their text: texts of some hundred
//! tokens have few, and with them every gradient is a plain product. Queries lie innermost, for whatever a query's
//! invocation reads stands beside its neighbour's. WebGPU adds no f32 atomically: gradients of queries and of keys are two
//! kernels.

use super::{WORKGROUP, attention::Attention, declare, entry};

/// Keys an invocation of [`Attention::pairs`] weighs.
const KEYS: u32 = 4;

/// The buffers of [`Attention::back_queries`].
pub(super) const QUERY_BUFFERS: &[(&str, &str, bool)] = &[
    ("state", "u32", false),
    ("kv", "vec4<f32>", false),
    ("slope", "f32", false),
    ("rope", "vec4<f32>", false),
    ("dy", "vec4<f32>", true),
];
/// The buffers of [`Attention::back_keys`].
pub(super) const KEY_BUFFERS: &[(&str, &str, bool)] = &[
    ("state", "u32", false),
    ("q", "vec4<f32>", false),
    ("grad", "vec4<f32>", false),
    ("weight", "f32", false),
    ("slope", "f32", false),
    ("rope", "vec4<f32>", false),
    ("dy", "vec4<f32>", true),
];

impl Attention {
    /// Keys a workgroup of [`Attention::pairs`] covers.
    pub const PAIR_KEYS: u32 = KEYS;

    fn quads(&self) -> u32 {
        self.d_head / 4
    }

    /// Quads of a head that an invocation of the last two kernels holds.
    fn held(&self) -> u32 {
        (1..=4).rev().find(|&n| self.quads().is_multiple_of(n)).expect("one divides every number")
    }

    /// Where the scores of `head` begin, for the queries of the text that begins at `begin`: that of key `j` and query `i`
    /// stands `j · count + i` further, as text. Wraps around below zero and back.
    pub(super) fn scores(&self, head: &str, begin: &str) -> String {
        let longest = self.row.map_or_else(|| "count".into(), |row| format!("{}u", row.longest));
        format!("({head} * {longest} - {begin}) * count")
    }

    /// Where the text of token `j` ends, as text.
    pub(super) fn end(&self, j: &str) -> String {
        self.row.map_or_else(|| "count".into(), |row| format!("state[{}u + 2u * {j}]", row.bounds + 1))
    }

    /// Workgroups of [`Attention::back_queries`] and [`Attention::back_keys`] along a head.
    pub fn back_groups(&self) -> u32 {
        self.quads() / self.held()
    }

    /// Scores `q·k / √d_head`, and the gradients of the weights, `grad·v`.
    ///
    /// Bindings: state, q, kv, grad, scores, weights' gradients. Workgroups `(tokens / 64, tokens of the longest text /
    /// PAIR_KEYS, n_heads)`.
    pub fn pairs(&self) -> String {
        let (quads, query, stride) = (self.quads(), self.n_heads * self.quads(), 2 * self.n_kv_heads * self.quads());
        let buffers = [("state", "u32", false), ("q", "vec4<f32>", false), ("kv", "vec4<f32>", false)];
        let more = [("grad", "vec4<f32>", false), ("score", "f32", true), ("slope", "f32", true)];
        let each = |line: &dyn Fn(u32) -> String| (0..KEYS).map(line).collect::<String>();
        declare(&[&buffers[..], &more[..]].concat())
            + &entry()
            + &format!(
                "  let i = group.x * {WORKGROUP}u + l;
  if (i >= count) {{ return; }}
  let begin = {begin};
  let j = begin + group.y * {KEYS}u;
  if (j > i) {{ return; }}
  let scores = {scores};
  let start = i * {query}u + group.z * {quads}u;
  let head = group.z / {share}u * {quads}u;
{declare}  for (var c = 0u; c < {quads}u; c++) {{
    let a = q[start + c];
    let d = grad[start + c];
{add}  }}
{store}}}
",
                begin = self.begin("i"),
                scores = self.scores("group.z", "begin"),
                share = self.n_heads / self.n_kv_heads,
                declare = each(&|u| format!(
                    "  let at{u} = min(j + {u}u, count - 1u) * {stride}u + head;\n  var s{u} = 0.0;\n  var p{u} = 0.0;\n"
                )),
                add = each(&|u| format!(
                    "    s{u} += dot(a, kv[at{u} + c]);\n    p{u} += dot(d, kv[at{u} + {}u + c]);\n",
                    stride / 2
                )),
                store = each(&|u| format!(
                    "  if (j + {u}u <= i) {{
    let to = scores + (j + {u}u) * count + i;
    score[to] = s{u} * {:e};
    slope[to] = p{u};
  }}\n",
                    1.0 / (self.d_head as f32).sqrt()
                )),
            )
    }

    /// Scores into weights `p`, and gradients of weights into those of scores: `p·(slope − Σ p·slope) / √d_head`.
    ///
    /// Bindings: state, scores, weights' gradients. Workgroups `(tokens / 64, n_heads)`; an invocation a query.
    pub fn back_scores(&self) -> String {
        let buffers = [("state", "u32", false), ("score", "f32", true), ("slope", "f32", true)];
        declare(&buffers)
            + &entry()
            + &format!(
                "  let i = group.x * {WORKGROUP}u + l;
  if (i >= count) {{ return; }}
  let first = {scores} + i;
  var top = -3.0e38;
  let begin = {begin};
  for (var j = begin; j <= i; j++) {{ top = max(top, score[first + j * count]); }}
  var total = 0.0;
  var along = 0.0;
  for (var j = begin; j <= i; j++) {{
    let p = exp(score[first + j * count] - top);
    score[first + j * count] = p;
    total += p;
    along += p * slope[first + j * count];
  }}
  along /= total;
  for (var j = begin; j <= i; j++) {{
    let p = score[first + j * count] / total;
    score[first + j * count] = p;
    slope[first + j * count] = p * (slope[first + j * count] - along) * {scale:e};
  }}
}}
",
                scores = self.scores("group.y", &self.begin("i")),
                begin = self.first_seen("i"),
                scale = 1.0 / (self.d_head as f32).sqrt(),
            )
    }

    /// Gradients of queries, rotated back, into the first columns of the projection's gradient.
    ///
    /// Bindings: state, kv, scores' gradients, rope, dy. Workgroups `(tokens / 64, back_groups, n_heads)`.
    pub fn back_queries(&self) -> String {
        let (quads, held) = (self.quads(), self.held());
        let stride = 2 * self.n_kv_heads * quads;
        let each = |line: &dyn Fn(u32) -> String| (0..held).map(line).collect::<String>();
        declare(QUERY_BUFFERS)
            + UNTURN
            + &entry()
            + &format!(
                "  let i = group.x * {WORKGROUP}u + l;
  if (i >= count) {{ return; }}
  let c = group.y * {held}u;
  let first = {scores} + i;
  let head = group.z / {share}u * {quads}u + c;
{declare}  for (var j = {begin}; j <= i; j++) {{
    let d = slope[first + j * count];
{add}  }}
{store}}}
",
                scores = self.scores("group.z", &self.begin("i")),
                share = self.n_heads / self.n_kv_heads,
                begin = self.first_seen("i"),
                declare = each(&|n| format!("  var a{n} = vec4<f32>();\n")),
                add = each(&|n| format!("    a{n} += d * kv[j * {stride}u + head + {n}u];\n")),
                store = each(&|n| format!(
                    "  dy[i * {}u + group.z * {quads}u + c + {n}u] = unturn(a{n}, rope[i * {quads}u + c + {n}u]);\n",
                    self.n_heads * quads + stride
                )),
            )
    }

    /// Gradients of keys, rotated back, and of values, into the last columns of the projection's gradient.
    ///
    /// Bindings: state, q, grad, weights, scores' gradients, rope, dy. Workgroups `(tokens / 64, back_groups, n_kv_heads)`.
    pub fn back_keys(&self) -> String {
        let (quads, held, share) = (self.quads(), self.held(), self.n_heads / self.n_kv_heads);
        let (query, width) = (self.n_heads * quads, self.n_kv_heads * quads);
        let each = |line: &dyn Fn(u32) -> String| (0..held).map(line).collect::<String>();
        declare(KEY_BUFFERS)
            + UNTURN
            + &entry()
            + &format!(
                "  let j = group.x * {WORKGROUP}u + l;
  if (j >= count) {{ return; }}
  let c = group.y * {held}u;
  let begin = {begin};
  let end = {end};
{declare}  for (var h = group.z * {share}u; h < group.z * {share}u + {share}u; h++) {{
    let first = {scores} + j * count;
    // Every query, not only those from `j` on: whatever all invocations read alike is read once.
    for (var i = group.x * {WORKGROUP}u; i < end; i++) {{
      let seen = i >= j{near};
      let p = select(0.0, weight[first + i], seen);
      let d = select(0.0, slope[first + i], seen);
      let start = i * {query}u + h * {quads}u + c;
{add}    }}
  }}
  let to = j * {all}u + {query}u + group.z * {quads}u + c;
{store}}}
",
                begin = self.begin("j"),
                end = self.end("j"),
                scores = self.scores("h", "begin"),
                declare = each(&|n| format!("  var k{n} = vec4<f32>();\n  var v{n} = vec4<f32>();\n")),
                add = each(&|n| format!("      k{n} += d * q[start + {n}u];\n      v{n} += p * grad[start + {n}u];\n")),
                all = query + 2 * width,
                near = self.near("i"),
                store = each(&|n| format!(
                    "  dy[to + {n}u] = unturn(k{n}, rope[j * {quads}u + c + {n}u]);\n  dy[to + {}u] = v{n};\n",
                    width + n
                )),
            )
    }
}

/// Two neighbouring pairs turned back by their angles, whose cosines and sines alternate in `turn`.
pub(super) const UNTURN: &str = "fn unturn(v: vec4<f32>, turn: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(
    v.x * turn.x + v.y * turn.y, v.y * turn.x - v.x * turn.y,
    v.z * turn.z + v.w * turn.w, v.w * turn.z - v.z * turn.w,
  );
}
";
