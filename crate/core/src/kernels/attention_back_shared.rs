//! The gradient of attention, its long sums shared by the invocations of a workgroup: for devices that wait long for memory
//! and little for each other. What is computed is told at their namesakes in [`attention_back`](super::attention_back).

use super::{
    attention::Attention,
    attention_back::{KEY_BUFFERS, QUERY_BUFFERS, UNTURN},
    declare, state,
};

/// Neighbouring queries, or keys, of a workgroup.
const NEIGHBOURS: u32 = 16;
/// Invocations that share the sums of each.
const SHARES: u32 = 8;
/// The same for the scores of a query.
const SCORE_NEIGHBOURS: u32 = 8;

/// The head of a kernel of [`NEIGHBOURS`] by [`SHARES`] invocations, with `vectors` for each in workgroup memory.
fn entry(vectors: u32) -> String {
    format!(
        "var<workgroup> team: array<vec4<f32>, {all}>;
@compute @workgroup_size({size})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let count = state[{count}];
  let neighbour = l % {NEIGHBOURS}u;
  let share = l / {NEIGHBOURS}u;
",
        all = NEIGHBOURS * SHARES * vectors,
        size = NEIGHBOURS * SHARES,
        count = state::COUNT,
    )
}

/// Puts the sums `names` of every share into workgroup memory and adds them up; invocations past `NEIGHBOURS × names` are
/// done. The sum of `neighbour` under the name of number `which` is left as `sum`.
fn gather(names: &[String]) -> String {
    let all = NEIGHBOURS * SHARES;
    let put: String = (0..).zip(names).map(|(n, name)| format!("  team[{}u + l] = {name};\n", n * all)).collect();
    format!(
        "{put}  workgroupBarrier();
  let which = share;
  if (which >= {}u) {{ return; }}
  var sum = vec4<f32>();
  for (var s = 0u; s < {SHARES}u; s++) {{ sum += team[which * {all}u + s * {NEIGHBOURS}u + neighbour]; }}
",
        names.len()
    )
}

impl Attention {
    /// Queries a workgroup of [`Attention::back_scores_shared`] covers.
    pub const SCORE_QUERIES: u32 = SCORE_NEIGHBOURS;
    /// Queries or keys a workgroup of the last two kernels covers.
    pub const BACK_NEIGHBOURS: u32 = NEIGHBOURS;

    /// Quads of a head that an invocation of [`Attention::back_queries_shared`] holds.
    fn query_quads(&self) -> u32 {
        (1..=4).rev().find(|&n| (self.d_head / 4).is_multiple_of(n)).expect("one divides every number")
    }

    /// Quads of a head that an invocation of [`Attention::back_keys_shared`] holds, of keys and of values.
    fn key_quads(&self) -> u32 {
        (1..=2).rev().find(|&n| (self.d_head / 4).is_multiple_of(n)).expect("one divides every number")
    }

    /// Workgroups of [`Attention::back_queries_shared`] along a head.
    pub fn query_groups(&self) -> u32 {
        self.d_head / 4 / self.query_quads()
    }

    /// Workgroups of [`Attention::back_keys_shared`] along a head.
    pub fn key_groups(&self) -> u32 {
        self.d_head / 4 / self.key_quads()
    }

    /// As [`Attention::back_scores`]; workgroups `(tokens / SCORE_QUERIES, n_heads)`.
    pub fn back_scores_shared(&self) -> String {
        let size = SCORE_NEIGHBOURS * SHARES;
        let each = |line: &dyn Fn(u32) -> String| (1..SHARES).map(line).collect::<String>();
        declare(&[("state", "u32", false), ("score", "f32", true), ("slope", "f32", true)])
            + &format!(
                "var<workgroup> team: array<vec2<f32>, {size}>;
@compute @workgroup_size({size})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let count = state[{count}];
  let neighbour = l % {SCORE_NEIGHBOURS}u;
  let share = l / {SCORE_NEIGHBOURS}u;
  let live = group.x * {SCORE_NEIGHBOURS}u + neighbour < count;
  let i = min(group.x * {SCORE_NEIGHBOURS}u + neighbour, count - 1u);
  let first = {scores} + i;
  let begin = {begin} + share;
  var top = -3.0e38;
  for (var j = begin; j <= i; j += {SHARES}u) {{ top = max(top, score[first + j * count]); }}
  team[l] = vec2<f32>(top, 0.0);
  workgroupBarrier();
  top = team[neighbour].x;
{most}  workgroupBarrier();
  var sums = vec2<f32>();
  for (var j = begin; j <= i; j += {SHARES}u) {{
    let p = exp(score[first + j * count] - top);
    sums += vec2<f32>(p, p * slope[first + j * count]);
  }}
  team[l] = sums;
  workgroupBarrier();
  sums = team[neighbour];
{add}  if (!live) {{ return; }}
  let along = sums.y / sums.x;
  for (var j = begin; j <= i; j += {SHARES}u) {{
    let at = first + j * count;
    let p = exp(score[at] - top) / sums.x;
    score[at] = p;
    slope[at] = p * (slope[at] - along) * {scale:e};
  }}
}}
",
                count = state::COUNT,
                scores = self.scores("group.y", &self.begin("i")),
                begin = self.first_seen("i"),
                most = each(&|s| format!("  top = max(top, team[neighbour + {}u].x);\n", s * SCORE_NEIGHBOURS)),
                add = each(&|s| format!("  sums += team[neighbour + {}u];\n", s * SCORE_NEIGHBOURS)),
                scale = 1.0 / (self.d_head as f32).sqrt(),
            )
    }

    /// As [`Attention::back_queries`]; workgroups `(tokens / BACK_NEIGHBOURS, query_groups, n_heads)`.
    pub fn back_queries_shared(&self) -> String {
        let (quads, held) = (self.d_head / 4, self.query_quads());
        let stride = 2 * self.n_kv_heads * quads;
        let each = |line: &dyn Fn(u32) -> String| (0..held).map(line).collect::<String>();
        let names: Vec<_> = (0..held).map(|n| format!("a{n}")).collect();
        declare(QUERY_BUFFERS)
            + UNTURN
            + &entry(held)
            + &format!(
                "  let query = group.x * {NEIGHBOURS}u + neighbour;
  let i = min(query, count - 1u);
  let c = group.y * {held}u;
  let first = {scores} + i;
  let head = group.z / {group_size}u * {quads}u + c;
{declare}  for (var j = {begin} + share; j <= i; j += {two}u) {{
    let k = min(j + {SHARES}u, i);
    let d = slope[first + j * count];
    let e = select(0.0, slope[first + k * count], j + {SHARES}u <= i);
{add}  }}
{gather}  if (query >= count) {{ return; }}
  dy[i * {all}u + group.z * {quads}u + c + which] = unturn(sum, rope[i * {quads}u + c + which]);
}}
",
                scores = self.scores("group.z", &self.begin("i")),
                group_size = self.n_heads / self.n_kv_heads,
                begin = self.first_seen("i"),
                two = 2 * SHARES,
                declare = each(&|n| format!("  var a{n} = vec4<f32>();\n")),
                add = each(&|n| format!(
                    "    a{n} += d * kv[j * {stride}u + head + {n}u] + e * kv[k * {stride}u + head + {n}u];\n"
                )),
                gather = gather(&names),
                all = self.n_heads * quads + stride,
            )
    }

    /// As [`Attention::back_keys`]; workgroups `(tokens / BACK_NEIGHBOURS, key_groups, n_kv_heads)`.
    pub fn back_keys_shared(&self) -> String {
        let (quads, held, group_size) = (self.d_head / 4, self.key_quads(), self.n_heads / self.n_kv_heads);
        let (query, width) = (self.n_heads * quads, self.n_kv_heads * quads);
        let each = |line: &dyn Fn(u32) -> String| (0..held).map(line).collect::<String>();
        let names: Vec<_> = (0..held).flat_map(|n| [format!("k{n}"), format!("v{n}")]).collect();
        declare(KEY_BUFFERS)
            + UNTURN
            + &entry(2 * held)
            + &format!(
                "  let key = group.x * {NEIGHBOURS}u + neighbour;
  let j = min(key, count - 1u);
  let c = group.y * {held}u;
  let begin = {begin};
  let end = {end};
{declare}  for (var h = group.z * {group_size}u; h < group.z * {group_size}u + {group_size}u; h++) {{
    let first = {scores} + j * count;
    for (var i = group.x * {NEIGHBOURS}u + share; i < end; i += {two}u) {{
      let n = min(i + {SHARES}u, end - 1u);
      let seen = i >= j{near};
      let seen_n = i + {SHARES}u < end && n >= j{near_n};
      let p = select(0.0, weight[first + i], seen);
      let d = select(0.0, slope[first + i], seen);
      let p_n = select(0.0, weight[first + n], seen_n);
      let d_n = select(0.0, slope[first + n], seen_n);
      let start = i * {query}u + h * {quads}u + c;
      let start_n = n * {query}u + h * {quads}u + c;
{add}    }}
  }}
{gather}  if (key >= count) {{ return; }}
  let quad = c + which / 2u;
  let to = j * {all}u + {query}u + group.z * {quads}u + quad;
  if (which % 2u == 0u) {{ dy[to] = unturn(sum, rope[j * {quads}u + quad]); }} else {{ dy[to + {width}u] = sum; }}
}}
",
                begin = self.begin("j"),
                end = self.end("j"),
                scores = self.scores("h", "begin"),
                declare = each(&|n| format!("  var k{n} = vec4<f32>();\n  var v{n} = vec4<f32>();\n")),
                two = 2 * SHARES,
                near = self.near("i"),
                near_n = self.near("n"),
                add = each(&|n| format!(
                    "      k{n} += d * q[start + {n}u] + d_n * q[start_n + {n}u];
      v{n} += p * grad[start + {n}u] + p_n * grad[start_n + {n}u];\n"
                )),
                gather = gather(&names),
                all = query + 2 * width,
            )
    }

    /// That key `j` lies within the window of query `i`, as text that follows another condition.
    pub(super) fn near(&self, i: &str) -> String {
        if self.window == 0 { String::new() } else { format!(" && {i} - j < {}u", self.window) }
    }
}
