//! Drawing the next token on the GPU, by the rule of [`crate::sample`].
//!
//! Three dispatches: the first applies the penalty and finds the likeliest token of each share of the vocabulary; the second adds
//! up probabilities and lists the scores that can matter; the third, one workgroup, finds the thresholds by a radix search over
//! the bits of those scores, draws, and sets the state for the next step, so that the host only fetches ids now and then.

use super::state;
use crate::sample::{EXCLUDED, Mix, PLAUSIBLE, Sampling};

/// Scores a workgroup of the first kernel looks at: so few that there are more largest ones than most people let be drawn.
const SHARE: u32 = 1024;
/// Invocations a workgroup where they are cheap.
const WORKGROUP: u32 = 256;
/// And where each that waits at a barrier costs microseconds, as on processors that pose as a GPU: as few as [`draw`] needs.
const WORKGROUP_APART: u32 = 64;
/// Parameter that holds the strength of a contrast.
const STRENGTH: usize = 6;

/// How many of the likeliest hold most of the probability, more often than not.
const FEW: u32 = 48;

/// Scores that an invocation of the last kernel reads at once, so that a device waits for memory once.
const AT_ONCE: u32 = 16;
/// Most scores that are listed for the passes over a few: pairs of words behind those of the groups.
const LISTED: u32 = 2048;

/// Words of the buffer of sums, which begins at zero.
pub const TOTALS: usize = 5;

/// Words of the buffer that the kernels share.
pub fn partial_words(vocab: u32) -> usize {
    2 * (scan_groups(vocab) + LISTED) as usize
}

/// Workgroups of the first kernel.
pub fn scan_groups(vocab: u32) -> u32 {
    vocab.div_ceil(SHARE)
}

/// Invocations a workgroup of the kernels, on a device where each is to do much and share little or on another.
pub fn workgroup(apart: bool) -> u32 {
    if apart { WORKGROUP_APART } else { WORKGROUP }
}

/// The parameter buffer's words.
pub fn parameters(sampling: &Sampling, mix: Mix) -> [u32; 8] {
    let strength = if let Mix::Contrast(strength) = mix { strength } else { 1.0 };
    [
        sampling.temperature.to_bits(),
        sampling.top_k,
        sampling.top_p.to_bits(),
        sampling.min_p.to_bits(),
        sampling.repetition_penalty.to_bits(),
        sampling.seed,
        strength.to_bits(),
        0,
    ]
}

/// Merges two rows of scores, the base's and the personal ones, into the first, by the rule of [`crate::sample::contrast`].
///
/// Two kernels, one after the other: with `peaks` each group writes the largest personal score it sees, then without
/// it merges its share. Bindings: parameters, logits, partial; workgroups as the scan's.
pub fn merge(vocab: u32, peaks: bool, workgroup: u32) -> String {
    let groups = scan_groups(vocab);
    let share = if peaks {
        format!("best = max(best, logits[{vocab}u + i]);")
    } else {
        format!(
            "let base = logits[i];
    let personal = logits[{vocab}u + i];
    logits[i] = select(base + strength * (personal - base), {EXCLUDED:e}, personal < least);"
        )
    };
    let open = if peaks {
        "var best = -3.0e38;".to_owned()
    } else {
        format!(
            "var best = -3.0e38;
  for (var g = 0u; g < {groups}u; g++) {{ best = max(best, bitcast<f32>(partial[g].x)); }}
  let least = select(-3.0e38, best + {cut:e}, strength > 1.0);",
            cut = PLAUSIBLE.ln()
        )
    };
    let close = if peaks {
        format!(
            "top[l] = best;
  workgroupBarrier();
  for (var step = {half}u; step > 0u; step >>= 1u) {{
    if (l < step) {{ top[l] = max(top[l], top[l + step]); }}
    workgroupBarrier();
  }}
  if (l == 0u) {{ partial[group.x] = vec2<u32>(bitcast<u32>(top[0]), 0u); }}",
            half = workgroup / 2
        )
    } else {
        String::new()
    };
    format!(
        "@group(0) @binding(0) var<storage, read> parameters: array<u32>;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> partial: array<vec2<u32>>;
var<workgroup> top: array<f32, {workgroup}>;
@compute @workgroup_size({workgroup})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let strength = bitcast<f32>(parameters[{STRENGTH}]);
  {open}
  let end = min((group.x + 1u) * {SHARE}u, {vocab}u);
  for (var i = group.x * {SHARE}u + l; i < end; i += {workgroup}u) {{
    {share}
  }}
  {close}
}}
"
    )
}

/// Bindings: parameters, seen, logits, partial. `partial[group]` is the largest score and its id.
pub fn scan(vocab: u32, workgroup: u32) -> String {
    format!(
        "@group(0) @binding(0) var<storage, read> parameters: array<u32>;
@group(0) @binding(1) var<storage, read> seen: array<u32>;
@group(0) @binding(2) var<storage, read_write> logits: array<f32>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec2<u32>>;
var<workgroup> top: array<f32, {workgroup}>;
var<workgroup> who: array<u32, {workgroup}>;
@compute @workgroup_size({workgroup})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let penalty = bitcast<f32>(parameters[4]);
  let end = min((group.x + 1u) * {SHARE}u, {vocab}u);
  var best = -3.0e38;
  var id = 0xffffffffu;
  for (var i = group.x * {SHARE}u + l; i < end; i += {workgroup}u) {{
    var s = logits[i];
    if (penalty != 1.0 && ((seen[i >> 5u] >> (i & 31u)) & 1u) == 1u) {{
      s = select(s * penalty, s / penalty, s > 0.0);
      logits[i] = s;
    }}
    if (s > best) {{ best = s; id = i; }}
  }}
  top[l] = best;
  who[l] = id;
  workgroupBarrier();
  for (var step = {half}u; step > 0u; step >>= 1u) {{
    if (l < step) {{
      let other = top[l + step];
      if (other > top[l] || (other == top[l] && who[l + step] < who[l])) {{ top[l] = other; who[l] = who[l + step]; }}
    }}
    workgroupBarrier();
  }}
  if (l == 0u) {{ partial[group.x] = vec2<u32>(bitcast<u32>(top[0]), who[0]); }}
}}
",
        half = workgroup / 2
    )
}

/// What the two kernels after the scan begin with: the rule's parameters, `best` with its id in `who[0]`, and `bound`, below
/// which nothing is drawn where a count is asked for, and seldom else.
const LIKELIEST: &str = "// Unsigned integers in the order of the floats.
fn key(s: f32) -> u32 {
  let bits = bitcast<u32>(s);
  return bits ^ select(0x80000000u, 0xffffffffu, (bits >> 31u) == 1u);
}
// The exponential of a number that is not positive, in wholes of 2⁻¹³ and parts of 2⁻²⁶.
fn parts(z: f32) -> vec2<u32> {
  let m = exp(z) * 8192.0;
  let whole = floor(m);
  return vec2<u32>(u32(whole), u32((m - whole) * 8192.0));
}
fn largest(l: u32) {
  workgroupBarrier();
  for (var step = HALF; step > 0u; step >>= 1u) {
    if (l < step) {
      let other = top[l + step];
      if (other > top[l] || (other == top[l] && who[l + step] < who[l])) { top[l] = other; who[l] = who[l + step]; }
    }
    workgroupBarrier();
  }
}
fn temperature() -> f32 { return bitcast<f32>(parameters[0]); }
fn by_count() -> bool { return parameters[1] > 0u && parameters[1] < VOCAB; }
fn by_mass() -> bool { return bitcast<f32>(parameters[2]) < 1.0; }
// Below, a probability is less than the smallest part that is counted.
fn weightless(best: f32) -> f32 { return best - 18.1 * temperature(); }
// The largest score; its id stands in `who[0]`.
fn likeliest(l: u32) -> f32 {
  top[l] = -3.0e38;
  who[l] = 0xffffffffu;
  for (var i = l; i < GROUPS; i += WORKGROUP) {
    let s = bitcast<f32>(partial[i].x);
    if (s > top[l]) { top[l] = s; who[l] = partial[i].y; }
  }
  // The k-th of some of the largest is no larger than the k-th of all.
  if (l == 0u) { bound = -3.0e38; }
  workgroupBarrier();
  var rank = 1u;
  let mine = top[l];
  for (var i = 0u; i < min(GROUPS, WORKGROUP); i++) {
    let other = top[i];
    if (other > mine || (other == mine && i < l)) { rank++; }
  }
  if (rank == select(FEW, parameters[1], by_count())) { bound = mine; }
  largest(l);
  return top[0];
}
";

/// [`LIKELIEST`] for a vocabulary, and what it stands on.
fn likeliest(vocab: u32, workgroup: u32) -> String {
    format!(
        "const VOCAB = {vocab}u;
const GROUPS = {groups}u;
const WORKGROUP = {workgroup}u;
const HALF = {half}u;
const FEW = {FEW}u;
var<workgroup> top: array<f32, {workgroup}>;
var<workgroup> who: array<u32, {workgroup}>;
var<workgroup> bound: f32;
{LIKELIEST}",
        groups = scan_groups(vocab),
        half = workgroup / 2,
    )
}

/// Bindings: parameters, logits, partial, totals; workgroups as the scan's.
///
/// `totals` gets the mass of all tokens and of those from the bound on, each in wholes and parts, and how many these are; they
/// stand in `partial` behind what the scan wrote, as far as there is room. Probabilities are added up in two integers, of 2⁻¹³
/// and 2⁻²⁶, since WGSL has no atomic floats: sums are the same in any order, and 2¹⁸ tokens cannot overflow them.
pub fn weigh(vocab: u32, workgroup: u32) -> String {
    format!(
        "@group(0) @binding(0) var<storage, read> parameters: array<u32>;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> partial: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> totals: array<atomic<u32>>;
{likeliest}var<workgroup> masses: array<atomic<u32>, 4>;
@compute @workgroup_size({workgroup})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  if (temperature() <= 0.0 || !(by_count() || by_mass())) {{ return; }}
  let best = likeliest(l);
  let least = weightless(best);
  let inverse = 1.0 / temperature();
  // The thresholds leave out the last two bits.
  let least_key = key(bound) >> 2u;
  var all = vec2<u32>();
  var upper = vec2<u32>();
  let end = min((group.x + 1u) * {SHARE}u, VOCAB);
  for (var i = group.x * {SHARE}u + l; i < end; i += WORKGROUP) {{
    let s = logits[i];
    if ((key(s) >> 2u) >= least_key) {{
      let n = atomicAdd(&totals[4], 1u);
      if (n < {LISTED}u) {{ partial[GROUPS + n] = vec2<u32>(i, bitcast<u32>(s)); }}
    }}
    if (by_mass() && s >= least) {{
      let m = parts((s - best) * inverse);
      all += m;
      if (s >= bound) {{ upper += m; }}
    }}
  }}
  atomicAdd(&masses[0], all.x);
  atomicAdd(&masses[1], all.y);
  atomicAdd(&masses[2], upper.x);
  atomicAdd(&masses[3], upper.y);
  workgroupBarrier();
  if (l < 4u) {{ atomicAdd(&totals[l], atomicLoad(&masses[l])); }}
}}
",
        likeliest = likeliest(vocab, workgroup),
    )
}

/// Bindings: parameters, seen, logits, partial, totals, state.
///
/// Goes over the list, or where it is too short over all scores; leaves the totals at zero for the next token.
pub fn draw(vocab: u32, workgroup: u32) -> String {
    format!(
        "@group(0) @binding(0) var<storage, read> parameters: array<u32>;
@group(0) @binding(1) var<storage, read_write> seen: array<u32>;
@group(0) @binding(2) var<storage, read> logits: array<f32>;
@group(0) @binding(3) var<storage, read> partial: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> totals: array<u32>;
@group(0) @binding(5) var<storage, read_write> state: array<u32>;
var<workgroup> counts: array<atomic<u32>, 1024>;
var<workgroup> coarse: array<atomic<u32>, 1024>;
var<workgroup> fine: array<atomic<u32>, 1024>;
var<workgroup> group_count: array<u32, 64>;
var<workgroup> group_mass: array<f32, 64>;
var<workgroup> count_prefix: u32;
var<workgroup> count_left: u32;
var<workgroup> mass_prefix: u32;
var<workgroup> mass_left: f32;
{likeliest}
fn mix(v: u32) -> u32 {{
  var x = v;
  x ^= x >> 16u; x *= 0x7feb352du; x ^= x >> 15u; x *= 0x846ca68bu; x ^= x >> 16u;
  return x;
}}
fn gumbel(stream: u32, id: u32) -> f32 {{
  let a = (f32(mix(id ^ stream) >> 8u) + 0.5) / 16777216.0;
  var e = a * (1.0 + a * (1.0 / 2.0 + a * (1.0 / 3.0 + a * (1.0 / 4.0 + a * (1.0 / 5.0 + a / 6.0)))));
  if (a >= 0.1) {{ e = -log(1.0 - a); }}
  return -log(e);
}}
fn put(bin: u32, z: f32) {{
  let m = parts(z);
  if (m.x > 0u) {{ atomicAdd(&coarse[bin], m.x); }}
  atomicAdd(&fine[bin], m.y);
}}
fn mass(bin: u32) -> f32 {{ return f32(atomicLoad(&coarse[bin])) + f32(atomicLoad(&fine[bin])) / 8192.0; }}

// One pass of the search for the scores that the thresholds lie at.
struct Pass {{ shift: u32, first: bool, counted: u32, weighed: u32, least_counted: f32, least_weighed: f32, best: f32, inverse: f32 }}
fn sort(p: Pass, s: f32) {{
  if (s < min(p.least_counted, p.least_weighed)) {{ return; }}
  let k = key(s);
  let bin = (k >> p.shift) & 1023u;
  let above = select(k >> ((p.shift + 10u) & 31u), 0u, p.first);
  if (s >= p.least_counted && above == p.counted) {{ atomicAdd(&counts[bin], 1u); }}
  if (s >= p.least_weighed && above == p.weighed) {{ put(bin, (s - p.best) * p.inverse); }}
}}

// The draw among those that are left: the largest noisy score, of equal ones the first.
struct Left {{ floor: f32, least: u32, best: f32, inverse: f32, stream: u32 }}
fn contend(d: Left, l: u32, i: u32, s: f32) {{
  if (s < d.floor || key(s) < d.least) {{ return; }}
  let noisy = (s - d.best) * d.inverse + gumbel(d.stream, i);
  if (noisy > top[l] || (noisy == top[l] && i < who[l])) {{ top[l] = noisy; who[l] = i; }}
}}

@compute @workgroup_size({workgroup})
fn main(@builtin(local_invocation_index) l: u32) {{
  let best = likeliest(l);
  let top_p = bitcast<f32>(parameters[2]);
  let min_p = bitcast<f32>(parameters[3]);
  var chosen = who[0];
  workgroupBarrier();
  if (temperature() > 0.0) {{
    let inverse = 1.0 / temperature();
    let least_mass = weightless(best);
    if (l == 0u) {{ count_prefix = 0u; mass_prefix = 0u; count_left = parameters[1]; }}
    let wanted = (f32(totals[0]) + f32(totals[1]) / 8192.0) * top_p;
    let upper = f32(totals[2]) + f32(totals[3]) / 8192.0;
    // Few have what is wanted, nearly always. Where a count is asked for, those below the bound are out by it.
    let few = by_count() || upper >= wanted;
    let n_listed = totals[4];
    let by_list = few && (by_count() || by_mass()) && n_listed <= {LISTED}u;
    if (l == 0u) {{ mass_left = wanted; }}
    if (by_count() || by_mass()) {{
      for (var pass_ = 0u; pass_ < 3u; pass_++) {{
        let shift = 22u - 10u * pass_;
        for (var i = l; i < 1024u; i += WORKGROUP) {{
          atomicStore(&counts[i], 0u); atomicStore(&coarse[i], 0u); atomicStore(&fine[i], 0u);
        }}
        workgroupBarrier();
        let prefix_c = count_prefix;
        let prefix_m = mass_prefix;
        let least_counted = select(3.0e38, bound, by_count());
        let least_weighed = select(3.0e38, max(least_mass, select(least_mass, bound, few)), by_mass());
        let pass_now = Pass(shift, pass_ == 0u, prefix_c, prefix_m, least_counted, least_weighed, best, inverse);
{sort}        workgroupBarrier();
        if (l < 64u) {{
          var n = 0u;
          var m = 0.0;
          for (var i = l * 16u; i < l * 16u + 16u; i++) {{ n += atomicLoad(&counts[i]); m += mass(i); }}
          group_count[l] = n;
          group_mass[l] = m;
        }}
        workgroupBarrier();
        if (l == 0u) {{
          // From the largest bin down to the one that holds the count-th score.
          var left = count_left;
          var g = 63u;
          while (g > 0u && group_count[g] < left) {{ left -= group_count[g]; g--; }}
          var bin = g * 16u + 15u;
          while (bin > g * 16u && atomicLoad(&counts[bin]) < left) {{ left -= atomicLoad(&counts[bin]); bin--; }}
          count_left = left;
          count_prefix = (prefix_c << 10u) | bin;
        }}
        if (l == 32u) {{
          var left = mass_left;
          var g = 63u;
          while (g > 0u && group_mass[g] < left) {{ left -= group_mass[g]; g--; }}
          var bin = g * 16u + 15u;
          while (bin > g * 16u && mass(bin) < left) {{ left -= mass(bin); bin--; }}
          mass_left = left;
          mass_prefix = (prefix_m << 10u) | bin;
        }}
        workgroupBarrier();
      }}
    }}
    workgroupBarrier();
    var least = 0u;
    if (by_count()) {{ least = count_prefix << 2u; }}
    if (by_mass()) {{ least = max(least, mass_prefix << 2u); }}
    var floor_ = -3.0e38;
    if (min_p > 0.0) {{ floor_ = best + temperature() * log(min_p); }}
    let stream = mix(parameters[5] ^ mix(state[{drawn}] + 0x9e3779b9u));
    top[l] = -3.0e38;
    who[l] = chosen;
    let left = Left(floor_, least, best, inverse, stream);
{contend}    largest(l);
    chosen = who[0];
  }}
  workgroupBarrier();
  if (l < {TOTALS}u) {{ totals[l] = 0u; }}
  if (l == 0u) {{
    // An id past the vocabulary tells the host that no score was a number.
    let drawn = state[{drawn}];
    state[{drawn_ids}u + drawn % {max_drawn}u] = chosen;
    state[{drawn}] = drawn + 1u;
    state[{position}] += state[{count}];
    state[{count}] = 1u;
    if (chosen < VOCAB) {{
      state[{ids}] = chosen;
      seen[chosen >> 5u] |= 1u << (chosen & 31u);
    }}
  }}
}}
",
        likeliest = likeliest(vocab, workgroup),
        sort = sweep(vocab, workgroup, "sort(pass_now, s);"),
        contend = sweep(vocab, workgroup, "contend(left, l, i, s);"),
        drawn = state::DRAWN,
        drawn_ids = state::DRAWN_IDS,
        max_drawn = state::MAX_DRAWN,
        position = state::POSITION,
        count = state::COUNT,
        ids = state::IDS,
    )
}

/// A loop over the list, or where it is too short over all scores, that does `each` with the score `s` of token `i`.
fn sweep(vocab: u32, workgroup: u32, each: &str) -> String {
    if workgroup == WORKGROUP_APART {
        // Once in the text: the drivers of processors take long over each place that does something.
        return format!(
            "        for (var n = l; n < select(VOCAB, n_listed, by_list); n += WORKGROUP) {{
          var i = n;
          var s = 0.0;
          if (by_list) {{ i = partial[GROUPS + n].x; s = bitcast<f32>(partial[GROUPS + n].y); }} else {{ s = logits[n]; }}
          {each}
        }}
"
        );
    }
    let quad = |q: u32| {
        let element = |e: u32| format!("logits[min(first + {}u, {}u)]", (4 * q + e) * workgroup, vocab - 1);
        format!("vec4<f32>({})", (0..4).map(element).collect::<Vec<_>>().join(", "))
    };
    format!(
        "        if (by_list) {{
          for (var n = l; n < n_listed; n += WORKGROUP) {{
            let i = partial[GROUPS + n].x;
            let s = bitcast<f32>(partial[GROUPS + n].y);
            {each}
          }}
        }} else {{
          for (var first = l; first < VOCAB; first += {stride}u) {{
            var read = array<vec4<f32>, {quads}>({read});
            for (var j = 0u; j < {AT_ONCE}u; j++) {{
              let i = first + j * WORKGROUP;
              let s = read[j / 4u][j % 4u];
              if (i < VOCAB) {{ {each} }}
            }}
          }}
        }}
",
        stride = AT_ONCE * workgroup,
        quads = AT_ONCE / 4,
        read = (0..AT_ONCE / 4).map(quad).collect::<Vec<_>>().join(", "),
    )
}
