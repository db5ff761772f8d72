//! What some architectures do to queries, keys and values between their projection and attention: a bias, a norm of each
//! head, rope and the cache. Where a head must be known whole before it turns, the projection cannot do it.

use super::{declare, state};

/// Sizes, and what is to be done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// Query heads.
    pub n_heads: u32,
    /// Key and value heads.
    pub n_kv_heads: u32,
    /// Width of a head: even.
    pub d_head: u32,
    /// Epsilon of the norms.
    pub eps: f32,
    /// Whether a bias stands before the norms in `more`.
    pub bias: bool,
    /// Whether queries and keys are normed: the two weights stand last in `more`.
    pub normed: bool,
    /// Texts whose token at one position stands in a row each, or 1 for a row a position.
    pub streams: u32,
}

/// Invocations a workgroup.
const WORKGROUP: u32 = 32;

impl Heads {
    /// Workgroups along the heads; along the tokens stands one each.
    pub fn groups(&self) -> u32 {
        self.n_heads + 2 * self.n_kv_heads
    }

    /// Where the norms of queries and of keys begin in `more`.
    fn norms(&self) -> [u32; 2] {
        let begin = if self.bias { self.groups() * self.d_head } else { 0 };
        [begin, begin + self.d_head]
    }

    /// The first lines of both kernels: a workgroup has a `head` of a `token`; `value(i)` is element `i` of it as it goes
    /// into the norm, `scale` what the norm multiplies it by.
    fn entry(&self, buffers: &[(&str, &str, bool)], rows: &str) -> String {
        let Self { d_head, eps, .. } = self;
        let bias = if self.bias { format!(" + more[head * {d_head}u + i]") } else { String::new() };
        format!(
            "{declared}var<workgroup> partial: array<vec2<f32>, {WORKGROUP}>;
@compute @workgroup_size({WORKGROUP})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let head = group.x;
  let token = group.y;
  let first = (token * {heads}u + head) * {d_head}u;
  var sums = vec2<f32>();
  for (var i = l; i < {d_head}u; i += {WORKGROUP}u) {{
    let v = rows[first + i]{bias};
    sums += vec2<f32>(v * v, {rows});
  }}
  partial[l] = sums;
  workgroupBarrier();
  var total = vec2<f32>();
  for (var i = 0u; i < {WORKGROUP}u; i++) {{ total += partial[i]; }}
  let scale = inverseSqrt(total.x / {d_head}.0 + {eps:e});
",
            declared = declare(buffers),
            heads = self.groups(),
        )
    }

    /// An element `i` of the head as text, the bias added.
    fn value(&self, i: &str) -> String {
        match self.bias {
            true => format!("(rows[first + {i}] + more[head * {}u + {i}])", self.d_head),
            false => format!("rows[first + {i}]"),
        }
    }

    /// Queries to one buffer, keys and values to the cache.
    ///
    /// Bindings: state, rows of the projection, more, rope, q, cache. Workgroups `(groups, tokens)`.
    pub fn wgsl(&self) -> String {
        let Self { n_heads, n_kv_heads, d_head, .. } = *self;
        let buffers = [("state", "u32", false), ("rows", "f32", false), ("more", "f32", false)];
        let more = [("rope", "vec2<f32>", false), ("q", "f32", true), ("cache", "f32", true)];
        let [q_norm, k_norm] = self.norms();
        let (position, text) = match self.streams {
            1 => (format!("state[{}] + token", state::POSITION), "0u".into()),
            n => (format!("state[{}]", state::POSITION), format!("token * (arrayLength(&cache) / {n}u)")),
        };
        let norm = if self.normed {
            format!(
                "    if (head < {keys_end}u) {{
      let weight = select({q_norm}u, {k_norm}u, head >= {n_heads}u) + i;
      v *= scale * vec2<f32>(more[weight], more[weight + 1u]);
    }}
",
                keys_end = n_heads + n_kv_heads
            )
        } else {
            String::new()
        };
        self.entry(&[&buffers[..], &more[..]].concat(), "0.0")
            + &format!(
                "  let position = {position};
  for (var i = 2u * l; i < {d_head}u; i += {step}u) {{
    var v = vec2<f32>({x}, {y});
{norm}    let turn = rope[position * {half}u + i / 2u];
    let turned = vec2<f32>(v.x * turn.x - v.y * turn.y, v.x * turn.y + v.y * turn.x);
    if (head < {n_heads}u) {{
      let to = (token * {n_heads}u + head) * {d_head}u + i;
      q[to] = turned.x;
      q[to + 1u] = turned.y;
    }} else {{
      let to = {text} + (position * {kv}u + head - {n_heads}u) * {d_head}u + i;
      let kept = select(v, turned, head < {keys_end}u);
      cache[to] = kept.x;
      cache[to + 1u] = kept.y;
    }}
  }}
}}
",
                step = 2 * WORKGROUP,
                x = self.value("i"),
                y = self.value("i + 1u"),
                half = d_head / 2,
                kv = 2 * n_kv_heads,
                keys_end = n_heads + n_kv_heads,
            )
    }

    /// Gradient of the norms of queries and keys, in place of that of what they give: `r·w∘dy − x·r³/d·Σ(x∘w∘dy)`.
    ///
    /// Bindings: state, rows of the projection, more, dy. Workgroups `(n_heads + n_kv_heads, tokens)`.
    pub fn backward(&self) -> String {
        let Self { n_heads, d_head, .. } = *self;
        let buffers = [("state", "u32", false), ("rows", "f32", false), ("more", "f32", false), ("dy", "f32", true)];
        let [q_norm, k_norm] = self.norms();
        let weight = format!("more[select({q_norm}u, {k_norm}u, head >= {n_heads}u) + i]");
        self.entry(&buffers, &format!("v * {weight} * dy[first + i]"))
            + &format!(
                "  let along = total.y * scale * scale * scale / {d_head}.0;
  for (var i = l; i < {d_head}u; i += {WORKGROUP}u) {{
    dy[first + i] = {weight} * dy[first + i] * scale - {value} * along;
  }}
}}
",
                value = self.value("i"),
            )
    }
}
