//! What each kernel takes, by the device's own clock, beside what the device could do at best.

use super::{Dispatch, FusedModel, Groups, built::Work};
use crate::{
    error::Result,
    kernels::{clock::clocked, state},
    sample::{Mix, Sampling, Seen},
};

/// Words that the kernel of the bandwidth reads: 64 MB, more than caches hold.
const STREAM_WORDS: u32 = 1 << 24;
/// Invocations of the two kernels that find what the device can do.
const INVOCATIONS: u32 = 1 << 16;
/// Rounds of the kernel that only multiplies; each is 8 sums of four numbers.
const ROUNDS: u32 = 256;

/// All dispatches of one kernel, in a token, a prompt or a step of learning.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelTime {
    /// What it is called.
    pub name: &'static str,
    /// Its dispatches.
    pub count: usize,
    /// Seconds of all of them together.
    pub time_s: f64,
    /// Bytes of weights and of the cache that they need.
    pub bytes: u64,
    /// Multiplications and additions that they need.
    pub flops: u64,
}

impl KernelTime {
    /// Adds up the dispatches of each name, in the order in which the names first come.
    pub(crate) fn sum(dispatches: impl Iterator<Item = (Work, f64)>) -> Vec<Self> {
        let mut kernels: Vec<Self> = Vec::new();
        for (Work { name, bytes, flops }, time_s) in dispatches {
            match kernels.iter_mut().find(|kernel| kernel.name == name) {
                Some(kernel) => {
                    kernel.count += 1;
                    kernel.time_s += time_s;
                    kernel.bytes += bytes;
                    kernel.flops += flops;
                }
                None => kernels.push(Self { name, count: 1, time_s, bytes, flops }),
            }
        }
        kernels
    }
}

/// What this device does at best, measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Best {
    /// Bytes a second that it reads.
    pub bytes_per_s: f64,
    /// Multiplications and additions a second.
    pub flops_per_s: f64,
}

/// The median of each dispatch over the runs, of which the first warms up.
pub(crate) fn medians(runs: Vec<Vec<f64>>) -> impl Iterator<Item = f64> {
    let n = runs.first().map_or(0, Vec::len);
    (0..n).map(move |i| median(runs.iter().skip(1).map(|run| run[i]).collect()))
}

impl FusedModel {
    /// Measures a token at `position`, kernel by kernel, `runs` times, and tells the medians. A text under way is over.
    ///
    /// # Errors
    /// `invalid-option` where the device has no clock for it or was not asked for with one, `device-lost`.
    ///
    /// # Panics
    /// If `position` is past the cache or `runs` is 0.
    pub async fn profile_token(&self, position: usize, runs: usize) -> Result<Vec<KernelTime>> {
        assert!(position < self.capacity, "there is a place for the token");
        self.start(&Sampling::default(), &Seen::new(self.config.vocab), Mix::Base);
        let list: Vec<Dispatch> = self.bindings.borrow().base.decode.iter().chain(&self.choose).cloned().collect();
        self.profile(&list, position, &[1], runs).await
    }

    /// As [`FusedModel::profile_token`] for the first `tokens` of a text, read in one go.
    ///
    /// # Errors
    /// As [`FusedModel::profile_token`].
    ///
    /// # Panics
    /// If they are none, more than are read in one go or than the cache holds, or if `runs` is 0.
    pub async fn profile_prompt(&self, tokens: usize, runs: usize) -> Result<Vec<KernelTime>> {
        let most = self.capacity.min(state::MAX_COUNT as usize);
        assert!((1..=most).contains(&tokens), "1 to {most} tokens are read in one go");
        self.start(&Sampling::default(), &Seen::new(self.config.vocab), Mix::Base);
        let list = self.bindings.borrow().base.prefill.clone();
        self.profile(&list, 0, &vec![1; tokens], runs).await
    }

    async fn profile(&self, list: &[Dispatch], position: usize, ids: &[u32], runs: usize) -> Result<Vec<KernelTime>> {
        assert!(runs > 0, "there is a run");
        let mut times = Vec::with_capacity(runs + 1);
        for _ in 0..=runs {
            self.write_state(position, ids);
            times.push(clocked(&self.gpu, list.len(), |i, pass| list[i].record(pass, ids.len() as u32)).await?);
        }
        let work = list.iter().map(|dispatch| self.kernels.work(dispatch, position, ids.len(), self.config.d_ff));
        Ok(KernelTime::sum(work.zip(medians(times))))
    }

    /// Measures what the device can do.
    ///
    /// # Errors
    /// As [`FusedModel::profile_token`].
    pub async fn best(&self) -> Result<Best> {
        Ok(Best { bytes_per_s: self.bandwidth().await?, flops_per_s: self.arithmetic().await? })
    }

    /// Bytes a second of reading memory once, in order.
    async fn bandwidth(&self) -> Result<f64> {
        let quads = STREAM_WORDS / 4;
        // A processor posing as a GPU runs one invocation after the other, so each has a stretch of its own there.
        let (from, step, end) = match self.variant.cut.lanes {
            1 => (format!("id.x * {}u", quads / INVOCATIONS), 1, format!("(id.x + 1u) * {}u", quads / INVOCATIONS)),
            _ => ("id.x".to_owned(), INVOCATIONS, format!("{quads}u")),
        };
        let wgsl = format!(
            "@group(0) @binding(0) var<storage, read> words: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
  var sum = vec4<u32>();
  for (var i = {from}; i < {end}; i += {step}u) {{ sum ^= words[i]; }}
  out[id.x] = sum.x ^ sum.y ^ sum.z ^ sum.w;
}}
"
        );
        let words = self.gpu.buffer("stream", STREAM_WORDS as usize);
        let time_s = self.at_best(&wgsl, &[&words]).await?;
        self.gpu.release(&words);
        Ok(f64::from(STREAM_WORDS) * 4.0 / time_s)
    }

    /// Multiplications and additions a second, with all numbers in registers.
    async fn arithmetic(&self) -> Result<f64> {
        let (mut sums, mut grow, mut all) = (String::new(), String::new(), String::new());
        for i in 0..8 {
            sums += &format!("  var a{i} = vec4<f32>(x + {i}.0);\n");
            grow += &format!("    a{i} = fma(a{i}, vec4<f32>(0.999), vec4<f32>(x));\n");
            all += &format!(" + a{i}");
        }
        let wgsl = format!(
            "@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
  let x = f32(id.x) * 1e-6;
{sums}  for (var i = 0u; i < {ROUNDS}u; i++) {{
{grow}  }}
  let all = vec4<f32>(){all};
  out[id.x] = all.x + all.y + all.z + all.w;
}}
"
        );
        let time_s = self.at_best(&wgsl, &[]).await?;
        Ok(f64::from(INVOCATIONS) * f64::from(ROUNDS) * 64.0 / time_s)
    }

    /// The shortest time of five that a kernel of [`INVOCATIONS`] takes, which writes a word each.
    async fn at_best(&self, wgsl: &str, inputs: &[&wgpu::Buffer]) -> Result<f64> {
        let kernel = self.gpu.kernel("roof", wgsl).await?;
        let out = self.gpu.buffer("roof", INVOCATIONS as usize);
        let buffers: Vec<_> = inputs.iter().copied().chain([&out]).collect();
        let bindings = self.gpu.bind(&kernel, &buffers);
        let dispatch = Dispatch { kernel, bindings, groups: Groups::Fixed(INVOCATIONS / 64), over: None };
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            best = best.min(clocked(&self.gpu, 1, |_, pass| dispatch.record(pass, 1)).await?[0]);
        }
        self.gpu.release(&out);
        Ok(best)
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}
