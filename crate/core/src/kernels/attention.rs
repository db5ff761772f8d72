//! Causal attention over the cache, with a running softmax so that no score matrix is ever stored (Dao et al. 2022).

use std::fmt::Write;

use super::{project::Cut, state};

/// Sizes of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    /// Query heads.
    pub n_heads: u32,
    /// Key and value heads.
    pub n_kv_heads: u32,
    /// Width of a head: a multiple of 4.
    pub d_head: u32,
    /// The last positions a query sees, its own among them; 0 is all.
    pub window: u32,
    /// Texts the one-query kernels answer, their queries one after the other, each with its part of the cache.
    pub texts: u32,
    /// Set where the tokens of a pass are several texts in a row, of which none sees another.
    pub row: Option<Row>,
}

/// Several texts in a row, as one pass reads them.
///
/// Positions run on from one text to the next: rope turns a query against a key by their distance alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Where the state holds, for each token, the first token of its text and the one after its last.
    pub bounds: u32,
    /// Tokens of the longest text there may be.
    pub longest: u32,
}

/// Invocations of a workgroup of [`Attention::vector`].
const TOGETHER: u32 = super::LARGEST_WORKGROUP;
/// Queries a workgroup of the many-token kernels answers where invocations need not stay apart.
const QUERIES: u32 = 32;
/// Keys weighed between two rescalings, where an invocation answers one head.
const KEYS: u32 = 4;
/// The same where it answers several.
const KEYS_TOGETHER: u32 = 1;
/// Most elements of heads that an invocation answers: their queries and sums are registers.
const MOST_TOGETHER: u32 = 256;
/// Longest head of [`Attention::many_shared`]: more would not fit WebGPU's workgroup memory.
const MOST_SHARED: u32 = 64;
/// Invocations that share the keys in [`Attention::many_shared`] and [`Attention::apart`]: what a software driver
/// computes side by side.
const SHARES: u32 = 4;

impl Attention {
    /// Heads are arrays of a known length: browsers check only the index of a head then, not of each of its quads.
    fn header(&self) -> String {
        let head = format!("array<array<vec4<f32>, {}>>", self.d_head / 4);
        format!(
            "@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> q: {head};
@group(0) @binding(2) var<storage, read> cache: {head};
@group(0) @binding(3) var<storage, read_write> out: {head};
"
        )
    }

    /// Where a workgroup of one query finds the `heads` it answers: `row` among the queries, `head` in its text,
    /// `text` where that text's keys begin.
    fn rows(&self, heads: u32) -> String {
        let n_heads = self.n_heads;
        let text = if self.texts > 1 {
            format!("row / {n_heads}u * (arrayLength(&cache) / {}u)", self.texts)
        } else {
            "0u".into()
        };
        format!(
            "  let row = group.y * {n_heads}u + group.x * {heads}u;\n  let head = row % {n_heads}u;\n  let text = {text};\n"
        )
    }

    /// The first position that a query at `last` sees, as text.
    pub(super) fn first_seen(&self, last: &str) -> String {
        let begin = self.begin(last);
        match self.window {
            0 => begin,
            window => format!("max({begin}, max({last}, {before}u) - {before}u)", before = window - 1),
        }
    }

    /// Where the text of token `i` begins, as text.
    pub(super) fn begin(&self, i: &str) -> String {
        self.row.map_or_else(|| "0u".into(), |row| format!("state[{}u + 2u * {i}]", row.bounds))
    }

    /// One query a head: a workgroup a head. Each invocation weighs a key, then they share the elements of the head.
    ///
    /// Loads stand side by side in the text, so that a device waits once for many. Bindings: state, q, cache, out. The
    /// cache holds `[position][keys of all heads, values of all heads]`.
    fn vector(&self) -> String {
        let Attention { n_heads, n_kv_heads, d_head, .. } = *self;
        let quads = d_head / 4;
        // Each invocation holds one quad of the head for a share of the keys.
        let shares = (TOGETHER / quads).max(1);
        let held = quads.div_ceil(TOGETHER);
        let mut w = self.header();
        writeln!(
            w,
            "var<workgroup> query: array<vec4<f32>, {quads}>;
var<workgroup> score: array<f32, {TOGETHER}>;
var<workgroup> product: array<array<f32, {padded}>, {stretch}>;
var<workgroup> some: array<f32, 16>;
var<workgroup> sums: array<vec4<f32>, {TOGETHER}>;
@compute @workgroup_size({TOGETHER})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
{rows}  let len = state[{position}] + 1u;
  let keys = text + head / {group_size}u;
  let values = keys + {n_kv_heads}u;
  for (var i = l; i < {quads}u; i += {TOGETHER}u) {{ query[i] = q[row][i] * {scale:e}; }}
  workgroupBarrier();
  let share = l / {quads}u;
  var top = -3.0e38;
  var weight_sum = 0.0;",
            padded = self.sharing() + 1,
            stretch = self.stretch(),
            rows = self.rows(1),
            position = state::POSITION,
            group_size = n_heads / n_kv_heads,
            scale = 1.0 / (d_head as f32).sqrt(),
        )
        .ok();
        // Each invocation holds what meets its share of a key; read by each for itself it is slower (docs/experiments.md).
        for i in 0..quads / self.sharing() {
            writeln!(w, "  let query{i} = query[l % {sharing}u + {}u];", i * self.sharing(), sharing = self.sharing())
                .ok();
        }
        (0..held).for_each(|h| w.push_str(&format!("  var acc{h} = vec4<f32>();\n")));
        let first = self.first_seen("(len - 1u)");
        writeln!(w, "  for (var start = {first}; start < len; start += {TOGETHER}u) {{").ok();
        self.read_values(&mut w, shares, held);
        self.weigh_together(&mut w);
        w.push_str("    weight_sum *= shrink;\n");
        (0..held).for_each(|h| w.push_str(&format!("    acc{h} *= shrink;\n")));
        self.gather_values(&mut w, shares, held);
        w.push_str("    workgroupBarrier();\n  }\n");
        if shares == 1 {
            for h in 0..held {
                let i = format!("l + {}u", h * TOGETHER);
                writeln!(w, "  if ({i} < {quads}u) {{ out[row][{i}] = acc{h} / weight_sum; }}").ok();
            }
            w.push_str("}\n");
            return w;
        }
        // Shares are added up through workgroup memory; `score` now carries the weights' sums.
        writeln!(
            w,
            "  sums[l] = acc0;
  score[l] = weight_sum;
  workgroupBarrier();
  if (l < {quads}u) {{
    var v = sums[l];
    var n = score[l];
{others}    out[row][l] = v / n;
  }}
}}",
            others = (1..shares)
                .map(|i| format!("    v += sums[l + {at}u];\n    n += score[l + {at}u];\n", at = i * quads))
                .collect::<String>(),
        )
        .ok();
        w
    }

    /// Invocations that share a key in [`Attention::vector`], so that neighbours read neighbouring memory: a power of two.
    fn sharing(&self) -> u32 {
        let quads = self.d_head / 4;
        (1 << quads.trailing_zeros()).min(16)
    }

    /// Keys whose products stand in workgroup memory at a time; with one number between them, so that invocations that read
    /// a key each do not wait for one bank.
    fn stretch(&self) -> u32 {
        if self.sharing() == 16 { TOGETHER / 2 } else { TOGETHER }
    }

    /// The products of `query` with the keys from `start`: `s` is that of key `start + l`.
    fn products(&self, w: &mut String) {
        let (quads, stride) = (self.d_head / 4, self.n_kv_heads * 2);
        let (sharing, stretch) = (self.sharing(), self.stretch());
        let at_once = TOGETHER / sharing;
        w.push_str("    var s = 0.0;\n");
        for first in (0..TOGETHER).step_by(stretch as usize) {
            if first > 0 {
                w.push_str("    workgroupBarrier();\n");
            }
            writeln!(w, "    if (start + {first}u < len) {{").ok();
            for k in 0..stretch / at_once {
                let at = format!("min(start + {}u + l / {sharing}u, len - 1u)", first + k * at_once);
                writeln!(w, "      let key{k} = &cache[{at} * {stride}u + keys];").ok();
            }
            for k in 0..stretch / at_once {
                let dots = (0..quads / sharing)
                    .map(|i| format!("dot(query{i}, (*key{k})[l % {sharing}u + {}u])", i * sharing));
                let dots = dots.collect::<Vec<_>>().join(" + ");
                writeln!(w, "      let d{k} = {dots};").ok();
            }
            for k in 0..stretch / at_once {
                writeln!(w, "      product[l / {sharing}u + {}u][l % {sharing}u] = d{k};", k * at_once).ok();
            }
            w.push_str("    }\n    workgroupBarrier();\n");
            let sum = (0..sharing).map(|i| format!("product[l % {stretch}u][{i}]")).collect::<Vec<_>>().join(" + ");
            writeln!(w, "    if (l / {stretch}u == {}u) {{ s = {sum}; }}", first / stretch).ok();
        }
    }

    /// The scores of the keys from `start`, one an invocation, into their weights; `top` is the largest so far, `shrink`
    /// what earlier sums are worth by it.
    fn weigh_together(&self, w: &mut String) {
        self.products(w);
        writeln!(
            w,
            "    if (start + l >= len) {{ s = -3.0e38; }}
    score[l] = s;
    workgroupBarrier();
    if (l < 16u) {{
      var m = score[l];"
        )
        .ok();
        for i in (16..TOGETHER).step_by(16) {
            writeln!(w, "      m = max(m, score[l + {i}u]);").ok();
        }
        w.push_str(
            "      some[l] = m;
    }
    workgroupBarrier();
    var new_top = top;
",
        );
        for i in 0..16 {
            writeln!(w, "    new_top = max(new_top, some[{i}]);").ok();
        }
        w.push_str(
            "    let shrink = exp(top - new_top);
    top = new_top;
    score[l] = exp(s - top);
    workgroupBarrier();
",
        );
    }

    /// Values of a stretch of keys that each invocation asks for before their weights are known: as far as registers go.
    fn values_ahead(&self, shares: u32, held: u32) -> u32 {
        (TOGETHER / shares).min(16 / held)
    }

    /// Asks for them, as `v<part>_<n>`; `here` is how many keys the stretch has.
    fn read_values(&self, w: &mut String, shares: u32, held: u32) {
        let (quads, stride) = (self.d_head / 4, self.n_kv_heads * 2);
        writeln!(w, "    let here = min({TOGETHER}u, len - start);").ok();
        for i in 0..self.values_ahead(shares, held) {
            writeln!(
                w,
                "    let j{i} = min(share + {}u, here - 1u);\n    let at{i} = (start + j{i}) * {stride}u + values;",
                i * shares
            )
            .ok();
            for h in 0..held {
                let place = format!("min(l % {quads}u + {}u, {}u)", h * TOGETHER, quads - 1);
                writeln!(w, "    let v{h}_{i} = cache[at{i}][{place}];").ok();
            }
        }
    }

    /// Adds the values of those keys by their weights, each invocation a share of them.
    fn gather_values(&self, w: &mut String, shares: u32, held: u32) {
        let ahead = self.values_ahead(shares, held);
        let (quads, stride) = (self.d_head / 4, self.n_kv_heads * 2);
        let add = |w: &mut String, n: u32| {
            for h in 0..held {
                let sum = (0..n).map(|i| format!(" + p{i} * v{h}_{i}")).collect::<String>();
                writeln!(w, "      acc{h} += vec4<f32>(){sum};").ok();
            }
            let sum = (0..n).map(|i| format!(" + p{i}")).collect::<String>();
            writeln!(w, "      weight_sum += 0.0{sum};").ok();
        };
        writeln!(w, "    if (share < {shares}u) {{").ok();
        for i in 0..ahead {
            writeln!(w, "      let p{i} = select(0.0, score[j{i}], share + {}u < here);", i * shares).ok();
        }
        add(w, ahead);
        if ahead * shares >= TOGETHER {
            w.push_str("    }\n");
            return;
        }
        const SIDE_BY_SIDE: u32 = 4;
        writeln!(w, "      for (var j = share + {}u; j < here; j += {}u) {{", ahead * shares, shares * SIDE_BY_SIDE)
            .ok();
        for i in 0..SIDE_BY_SIDE {
            writeln!(
                w,
                "        let j{i} = j + {}u;
        let at{i} = (start + min(j{i}, here - 1u)) * {stride}u + values;
        let p{i} = select(0.0, score[min(j{i}, here - 1u)], j{i} < here);",
                i * shares
            )
            .ok();
        }
        for h in 0..held {
            let place = format!("min(l % {quads}u + {}u, {}u)", h * TOGETHER, quads - 1);
            for i in 0..SIDE_BY_SIDE {
                writeln!(w, "        let v{h}_{i} = cache[at{i}][{place}];").ok();
            }
        }
        add(w, SIDE_BY_SIDE);
        w.push_str("      }\n    }\n");
    }

    /// One query a head, or many, for processors that pose as a GPU: a workgroup a query and key head (or part of its query
    /// heads), each invocation weighs a share of the keys for all of them on its own.
    ///
    /// There every load costs several sums and every barrier more, so a key serves all queries of its group, and
    /// invocations meet once, at the end. Bindings as [`Attention::vector`]; workgroups `(n_heads / together, tokens)`.
    fn apart(&self) -> String {
        let heads = self.together();
        let quads = self.d_head / 4;
        let mut w = self.header();
        writeln!(
            w,
            "var<workgroup> tops: array<f32, {sums}>;
var<workgroup> sums: array<f32, {sums}>;
var<workgroup> parts: array<vec4<f32>, {parts}>;
@compute @workgroup_size({SHARES})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
{rows}  let last = state[{position}] + group.y;",
            rows = self.rows(heads),
            sums = SHARES * heads,
            parts = SHARES * heads * quads,
            position = state::POSITION,
        )
        .ok();
        self.hold(&mut w, heads);
        self.weigh(&mut w, heads, self.keys(heads), &format!("{} + l", self.first_seen("last")), SHARES, true);
        for h in 0..heads {
            writeln!(w, "  tops[{}u + l] = top{h};", h * SHARES).ok();
        }
        writeln!(w, "  workgroupBarrier();\n  var part: array<f32, {heads}>;").ok();
        for h in 0..heads {
            let others = (1..SHARES).map(|i| format!("  most = max(most, tops[{}u]);\n", h * SHARES + i));
            writeln!(
                w,
                "  {{\n  var most = tops[{at}u];\n{others}  part[{h}u] = exp(top{h} - most);
  sums[{at}u + l] = sum{h} * part[{h}u];\n  }}",
                at = h * SHARES,
                others = others.collect::<String>(),
            )
            .ok();
        }
        writeln!(
            w,
            "  for (var h = 0u; h < {heads}u; h++) {{
    for (var i = 0u; i < {quads}u; i++) {{ parts[(h * {quads}u + i) * {SHARES}u + l] = acc[h][i] * part[h]; }}
  }}"
        )
        .ok();
        writeln!(
            w,
            "  workgroupBarrier();
  for (var i = l; i < {all}u; i += {SHARES}u) {{
    var v = vec4<f32>();
    var sum = 0.0;
    for (var j = 0u; j < {SHARES}u; j++) {{ v += parts[i * {SHARES}u + j]; sum += sums[i / {quads}u * {SHARES}u + j]; }}
    out[row + i / {quads}u][i % {quads}u] = v / sum;
  }}
}}",
            all = heads * quads,
        )
        .ok();
        w
    }

    /// Many queries: an invocation answers one of so many heads that share a key head.
    ///
    /// Bindings as [`Attention::vector`]; workgroups `(n_heads / heads, tokens / QUERIES)`.
    fn many_alone(&self, heads: u32) -> String {
        let mut w = self.header();
        writeln!(
            w,
            "@compute @workgroup_size({QUERIES})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let head = group.x * {heads}u;
  let token = group.y * {QUERIES}u + l;
  if (token >= state[{count}]) {{ return; }}
  let row = token * {n_heads}u + head;
  let text = 0u;
  let last = state[{position}] + token;",
            count = state::COUNT,
            position = state::POSITION,
            n_heads = self.n_heads,
        )
        .ok();
        self.hold(&mut w, heads);
        self.weigh(&mut w, heads, self.keys(heads), &self.first_seen("last"), 1, true);
        writeln!(w, "  var total: array<f32, {heads}>;").ok();
        (0..heads).for_each(|h| w.push_str(&format!("  total[{h}u] = sum{h};\n")));
        writeln!(
            w,
            "  for (var h = 0u; h < {heads}u; h++) {{
    let result = &out[row + h];
    for (var i = 0u; i < {}u; i++) {{ (*result)[i] = acc[h][i] / total[h]; }}
  }}
}}",
            self.d_head / 4
        )
        .ok();
        w
    }

    /// Keys between two rescalings, where an invocation answers so many heads: as many as registers are likely to hold.
    fn keys(&self, heads: u32) -> u32 {
        if heads > 1 || self.d_head > 128 { KEYS_TOGETHER } else { KEYS }
    }

    /// As [`Attention::many_alone`], but several invocations share the keys of a query: for devices that have room for more of
    /// them. Only for heads up to [`MOST_SHARED`]; workgroups `(n_heads, tokens / QUERIES)`.
    fn many_shared(&self) -> String {
        let quads = self.d_head / 4;
        let mut w = self.header();
        writeln!(
            w,
            "var<workgroup> parts: array<vec4<f32>, {parts}>;
var<workgroup> tops: array<vec2<f32>, {invocations}>;
@compute @workgroup_size({invocations})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let head = group.x;
  let count = state[{count}];
  let query = l % {QUERIES}u;
  let share = l / {QUERIES}u;
  let token = min(group.y * {QUERIES}u + query, count - 1u);
  let row = token * {n_heads}u + head;
  let text = 0u;
  let last = state[{position}] + token;",
            parts = QUERIES * quads,
            invocations = QUERIES * SHARES,
            count = state::COUNT,
            position = state::POSITION,
            n_heads = self.n_heads,
        )
        .ok();
        let first = format!("{} + share", self.first_seen("last"));
        self.weigh(&mut w, 1, KEYS, &first, SHARES, false);
        // What each share has seen is worth as much as its largest score says.
        writeln!(
            w,
            "  tops[l] = vec2<f32>(top0, sum0);
  workgroupBarrier();
  var most = top0;
  for (var s = 0u; s < {SHARES}u; s++) {{ most = max(most, tops[s * {QUERIES}u + query].x); }}
  var total = 0.0;
  for (var s = 0u; s < {SHARES}u; s++) {{
    let other = tops[s * {QUERIES}u + query];
    total += other.y * exp(other.x - most);
  }}
  let worth = exp(top0 - most);"
        )
        .ok();
        for s in 1..SHARES {
            writeln!(w, "  if (share == {s}u) {{").ok();
            for i in 0..quads {
                writeln!(w, "    parts[{}u + query] = a0_{i} * worth;", i * QUERIES).ok();
            }
            w.push_str("  }\n  workgroupBarrier();\n  if (share == 0u) {\n");
            for i in 0..quads {
                let own = if s == 1 { format!("a0_{i} * worth") } else { format!("a0_{i}") };
                writeln!(w, "    a0_{i} = {own} + parts[{}u + query];", i * QUERIES).ok();
            }
            w.push_str("  }\n  workgroupBarrier();\n");
        }
        writeln!(w, "  if (share == 0u && group.y * {QUERIES}u + query < count) {{\n    let result = &out[row];").ok();
        for i in 0..quads {
            writeln!(w, "    (*result)[{i}] = a0_{i} / total;").ok();
        }
        w.push_str("  }\n}\n");
        w
    }

    /// Heads a workgroup answers: several for processors that pose as a GPU, whose invocations stay apart.
    pub fn heads(&self, cut: Cut) -> u32 {
        if cut.apart() { self.together() } else { 1 }
    }

    /// Queries a workgroup answers where there are many.
    pub fn queries(cut: Cut) -> u32 {
        if cut.walk { 1 } else { QUERIES }
    }

    /// One query. Bindings as [`Attention::vector`]; workgroups `n_heads / heads`.
    pub fn one(&self, cut: Cut) -> String {
        if cut.apart() { self.apart() } else { self.vector() }
    }

    /// Many queries. Where [`Cut::walk`] is set it is the kernel of one, which saves a driver that compiles slowly a second.
    ///
    /// Bindings as [`Attention::vector`]; workgroups `(n_heads / heads, tokens / queries)`.
    pub fn many(&self, cut: Cut) -> String {
        match cut {
            Cut { walk: true, .. } => self.apart(),
            cut if cut.apart() || self.d_head > MOST_SHARED => self.many_alone(self.heads(cut)),
            _ => self.many_shared(),
        }
    }

    /// Query heads an invocation may answer at once: all that share a key head, or a part of them where they are many.
    fn together(&self) -> u32 {
        let group = self.n_heads / self.n_kv_heads;
        (1..=group.min(MOST_TOGETHER / self.d_head)).rev().find(|&n| group.is_multiple_of(n)).unwrap_or(1)
    }

    /// Brings the queries from `row` on, and room for their sums, into memory of the invocation's own.
    ///
    /// Loops, as everything that reads or writes a buffer but the keys and values: each place in the text where a number
    /// comes from a buffer takes a processor's driver long to compile.
    fn hold(&self, w: &mut String, heads: u32) {
        let quads = self.d_head / 4;
        writeln!(
            w,
            "  var query: array<array<vec4<f32>, {quads}>, {heads}>;
  var acc: array<array<vec4<f32>, {quads}>, {heads}>;
  for (var h = 0u; h < {heads}u; h++) {{
    let from_q = &q[row + h];
    for (var i = 0u; i < {quads}u; i++) {{ query[h][i] = (*from_q)[i] * {scale:e}; }}
  }}",
            scale = 1.0 / (self.d_head as f32).sqrt()
        )
        .ok();
    }

    /// The running softmax of queries `row…` over every `apart`-th key from `first` to `last`, `keys` of them between two
    /// rescalings; leaves `top`, `sum` and the weighted sums of each head.
    ///
    /// Queries and sums are named variables, `q` and `a`: an indexed array would live in memory, not in registers. Where no
    /// registers hold them anyway they are [held](Attention::hold).
    fn weigh(&self, w: &mut String, heads: u32, keys: u32, first: &str, apart: u32, held: bool) {
        let Attention { n_heads, n_kv_heads, d_head, .. } = *self;
        let quads = d_head / 4;
        let scale = 1.0 / (d_head as f32).sqrt();
        let name = |short: &str, long: &str, h: u32, i: u32| {
            if held { format!("{long}[{h}u][{i}u]") } else { format!("{short}{h}_{i}") }
        };
        let (q, a) = (|h, i| name("q", "query", h, i), |h, i| name("a", "acc", h, i));
        for h in 0..heads {
            writeln!(w, "  var top{h} = -3.0e38;\n  var sum{h} = 0.0;").ok();
            if held {
                continue;
            }
            writeln!(w, "  let query{h} = &q[row + {h}u];").ok();
            for i in 0..quads {
                writeln!(w, "  let {} = (*query{h})[{i}] * {scale:e};\n  var {} = vec4<f32>();", q(h, i), a(h, i)).ok();
            }
        }
        let key_head = n_heads / n_kv_heads;
        writeln!(w, "  for (var start = {first}; start <= last; start += {}u) {{", keys * apart).ok();
        for j in 0..keys {
            // Keys past the query, which the first never is, are read at its own place and weigh nothing.
            if j > 0 {
                writeln!(w, "    let place{j} = start + {}u;", j * apart).ok();
            }
            let place = if j == 0 { "start".to_owned() } else { format!("min(place{j}, last)") };
            writeln!(
                w,
                "    let at{j} = {place} * {}u + text + head / {key_head}u;
    let key{j} = &cache[at{j}];
    let value{j} = &cache[at{j} + {n_kv_heads}u];",
                2 * n_kv_heads,
            )
            .ok();
            for i in 0..quads {
                writeln!(w, "    let k{j}_{i} = (*key{j})[{i}];").ok();
            }
            for h in 0..heads {
                let dots = (0..quads).map(|i| format!(" + dot({}, k{j}_{i})", q(h, i))).collect::<String>();
                match j {
                    0 => writeln!(w, "    let s{h}_0 = 0.0{dots};").ok(),
                    _ => writeln!(w, "    let s{h}_{j} = select(-3.0e38, 0.0{dots}, place{j} <= last);").ok(),
                };
            }
        }
        for h in 0..heads {
            writeln!(w, "    var new_top{h} = top{h};").ok();
            for j in 0..keys {
                writeln!(w, "    new_top{h} = max(new_top{h}, s{h}_{j});").ok();
            }
            writeln!(
                w,
                "    let shrink{h} = exp(top{h} - new_top{h});\n    sum{h} *= shrink{h};\n    top{h} = new_top{h};"
            )
            .ok();
            for j in 0..keys {
                writeln!(w, "    let p{h}_{j} = exp(s{h}_{j} - top{h});\n    sum{h} += p{h}_{j};").ok();
            }
        }
        for j in 0..keys {
            for i in 0..quads {
                writeln!(w, "    {{\n      let v = (*value{j})[{i}];").ok();
                for h in 0..heads {
                    let before = if j == 0 { format!("{} * shrink{h}", a(h, i)) } else { a(h, i) };
                    writeln!(w, "      {} = {before} + p{h}_{j} * v;", a(h, i)).ok();
                }
                w.push_str("    }\n");
            }
        }
        w.push_str("  }\n");
    }
}
