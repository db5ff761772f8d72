//! Attention of one query on a real GPU: a workgroup a head, whose invocations share keys, values and what they make of them.

use std::fmt::Write;

use super::{attention::Attention, state};

/// Invocations of a workgroup of [`Attention::vector`].
const TOGETHER: u32 = super::LARGEST_WORKGROUP;
impl Attention {
    /// One query a head: a workgroup a head. Each invocation weighs a key, then they share the elements of the head.
    ///
    /// Loads stand side by side in the text, so that a device waits once for many. Bindings: state, q, cache, out. The
    /// cache holds `[position][keys of all heads, values of all heads]`.
    pub(super) fn vector(&self) -> String {
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
}
