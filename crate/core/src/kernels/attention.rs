//! Causal attention over the cache, with a running softmax so that no score matrix is ever stored (Dao et al. 2022).

use std::fmt::Write;

use super::{SUBGROUPS, project::Cut, state};

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

/// Queries a workgroup of the many-token kernels answers where invocations need not stay apart.
const QUERIES: u32 = 32;
/// Keys weighed between two rescalings, where an invocation answers one head.
const KEYS: u32 = 4;
/// The same where it answers several.
const KEYS_TOGETHER: u32 = 1;
/// Most elements of heads that an invocation answers, or four together: more of them compile for most of a minute on lavapipe.
const MOST_TOGETHER: u32 = 256;
/// Longest head of [`Attention::many_shared`]: more would not fit WebGPU's workgroup memory.
const MOST_SHARED: u32 = 64;
/// Invocations that share the keys in [`Attention::many_shared`].
const SHARES: u32 = 4;

impl Attention {
    /// Heads are arrays of a known length: browsers check only the index of a head then, not of each of its quads.
    pub(super) fn header(&self) -> String {
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
    pub(super) fn rows(&self, heads: u32) -> String {
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

    /// One query, or many, for processors that pose as a GPU: four invocations hold a quarter each of all heads that share a
    /// key head, and exchange what a key makes of their quarters.
    ///
    /// So a text that is a quarter as long serves all queries of a key, and invocations never wait for each other. Bindings as
    /// [`Attention::vector`]; workgroups `(n_heads / heads, tokens)`.
    fn by_fours(&self) -> String {
        let Attention { n_heads, n_kv_heads, d_head, .. } = *self;
        let (heads, quads) = (self.together(), d_head / 4);
        let each = quads.div_ceil(4);
        // What a quarter lacks is another's: read there, and worth nothing.
        let at = |i: &str| {
            if quads.is_multiple_of(4) { format!("own + {i}") } else { format!("min(own + {i}, {}u)", quads - 1) }
        };
        let mut w = SUBGROUPS.to_owned() + &self.header();
        writeln!(
            w,
            "@compute @workgroup_size(4)
fn main(@builtin(subgroup_invocation_id) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
{rows}  let last = state[{position}] + group.y;
  let own = l % 4u * {each}u;
  var query: array<array<vec4<f32>, {each}>, {heads}>;
  var acc: array<array<vec4<f32>, {each}>, {heads}>;
  for (var h = 0u; h < {heads}u; h++) {{
    for (var i = 0u; i < {each}u; i++) {{
      query[h][i] = q[row + h][{place}] * select(0.0, {scale:e}, own + i < {quads}u);
    }}
  }}",
            rows = self.rows(heads),
            position = state::POSITION,
            place = at("i"),
            scale = 1.0 / (d_head as f32).sqrt(),
        )
        .ok();
        (0..heads).for_each(|h| w.push_str(&format!("  var top{h} = -3.0e38;\n  var sum{h} = 0.0;\n")));
        writeln!(
            w,
            "  for (var place = {first}; place <= last; place++) {{
    let at = place * {stride}u + text + head / {group}u;
    let key = &cache[at];
    let value = &cache[at + {n_kv_heads}u];",
            first = self.first_seen("last"),
            stride = 2 * n_kv_heads,
            group = n_heads / n_kv_heads,
        )
        .ok();
        for i in 0..each {
            let place = at(&format!("{i}u"));
            writeln!(w, "    let k{i} = (*key)[{place}];\n    let v{i} = (*value)[{place}];").ok();
        }
        for h in 0..heads {
            let dots = (0..each).map(|i| format!(" + dot(query[{h}u][{i}u], k{i})")).collect::<String>();
            writeln!(
                w,
                "    var s{h} = 0.0{dots};
    s{h} += quadSwapX(s{h});
    s{h} += quadSwapY(s{h});
    let new_top{h} = max(top{h}, s{h});
    let shrink{h} = exp(top{h} - new_top{h});
    let p{h} = exp(s{h} - new_top{h});
    top{h} = new_top{h};
    sum{h} = sum{h} * shrink{h} + p{h};"
            )
            .ok();
            for i in 0..each {
                writeln!(w, "    acc[{h}u][{i}u] = acc[{h}u][{i}u] * shrink{h} + p{h} * v{i};").ok();
            }
        }
        w.push_str("  }\n");
        self.hand_over(&mut w, heads, each, "own");
        w
    }

    /// Divides the weighted sums by the weights' own, of `each` quads of heads `row…` from quad `own` on, and stores them.
    fn hand_over(&self, w: &mut String, heads: u32, each: u32, own: &str) {
        writeln!(w, "  var total: array<f32, {heads}>;").ok();
        (0..heads).for_each(|h| w.push_str(&format!("  total[{h}u] = sum{h};\n")));
        writeln!(
            w,
            "  for (var h = 0u; h < {heads}u; h++) {{
    let result = &out[row + h];
    for (var i = 0u; i < min({each}u, {quads}u - min({own}, {quads}u)); i++) {{ (*result)[{own} + i] = acc[h][i] / total[h]; }}
  }}
}}",
            quads = self.d_head / 4
        )
        .ok();
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
        self.hand_over(&mut w, heads, self.d_head / 4, "0u");
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

    /// Heads a workgroup of many queries answers: several for processors that pose as a GPU.
    pub fn heads(&self, cut: Cut) -> u32 {
        if cut.apart() { self.together() } else { 1 }
    }

    /// The same for one query.
    pub fn heads_of_one(&self, cut: Cut) -> u32 {
        if cut.by_fours() { self.heads(cut) } else { 1 }
    }

    /// Queries a workgroup answers where there are many.
    pub fn queries(cut: Cut) -> u32 {
        if cut.by_fours() { 1 } else { QUERIES }
    }

    /// One query. Bindings as [`Attention::vector`]; workgroups `n_heads / heads`.
    pub fn one(&self, cut: Cut) -> String {
        if cut.by_fours() { self.by_fours() } else { self.vector() }
    }

    /// Many queries: of invocations that go by fours it is the kernel of one, which saves a driver that compiles slowly a second.
    ///
    /// Bindings as [`Attention::vector`]; workgroups `(n_heads / heads, tokens / queries)`.
    pub fn many(&self, cut: Cut) -> String {
        match cut {
            cut if cut.by_fours() => self.by_fours(),
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
