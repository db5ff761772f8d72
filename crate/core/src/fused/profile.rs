//! What each kernel of a decoded token takes, by the device's own clock, beside what the device could do at best.

use super::{Dispatch, FusedModel, Groups, built::Work};
use crate::{
    error::{Error, ErrorKind, Result},
    sample::{Mix, Sampling, Seen},
};

/// Words that the kernel of the bandwidth reads: 64 MB, more than caches hold.
const STREAM_WORDS: u32 = 1 << 24;
/// Invocations of the two kernels that find what the device can do.
const INVOCATIONS: u32 = 1 << 16;
/// Rounds of the kernel that only multiplies; each is 8 sums of four numbers.
const ROUNDS: u32 = 256;

/// One kernel of a decoded token.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelTime {
    /// What it is called.
    pub name: &'static str,
    /// Dispatches a token.
    pub count: usize,
    /// Seconds a token, all dispatches together.
    pub time_s: f64,
    /// Bytes of weights and of the cache that a token needs of it.
    pub bytes: u64,
    /// Multiplications and additions a token needs of it.
    pub flops: u64,
}

/// A token, kernel by kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// In the order in which they first run.
    pub kernels: Vec<KernelTime>,
    /// Bytes a second that this device reads at best, measured.
    pub bytes_per_s: f64,
    /// Multiplications and additions a second that it does at best, measured.
    pub flops_per_s: f64,
}

impl FusedModel {
    /// Measures a token at `position`, `runs` times, and tells the medians. A text under way is over.
    ///
    /// # Errors
    /// `invalid-option` where the device has no clock for it or was not asked for with one, `device-lost`.
    ///
    /// # Panics
    /// If `position` is past the cache or `runs` is 0.
    pub async fn profile(&self, position: usize, runs: usize) -> Result<Profile> {
        if !self.gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            let what = format!("{} has no clock for kernels; measure on another device", self.gpu.description);
            return Err(Error::new(ErrorKind::InvalidOption, what));
        }
        assert!(position < self.capacity && runs > 0, "there is a place and a run");
        self.start(&Sampling::default(), &Seen::new(self.config.vocab), Mix::Base);
        let list: Vec<Dispatch> = self.bindings.borrow().base.decode.iter().chain(&self.choose).cloned().collect();
        let mut times = vec![Vec::with_capacity(runs); list.len()];
        for run in 0..=runs {
            self.write_state(position, &[1]);
            let seconds = self.clocked(&list).await?;
            // The first one warms up.
            if run > 0 {
                times.iter_mut().zip(seconds).for_each(|(times, time)| times.push(time));
            }
        }
        let mut kernels: Vec<KernelTime> = Vec::new();
        for (dispatch, times) in list.iter().zip(times) {
            let Work { name, bytes, flops } =
                self.kernels.work(&dispatch.kernel, position as u64 + 1, self.config.d_ff);
            let time_s = median(times);
            match kernels.iter_mut().find(|kernel| kernel.name == name) {
                Some(kernel) => {
                    kernel.count += 1;
                    kernel.time_s += time_s;
                    kernel.bytes += bytes;
                    kernel.flops += flops;
                }
                None => kernels.push(KernelTime { name, count: 1, time_s, bytes, flops }),
            }
        }
        let (bytes_per_s, flops_per_s) = (self.bandwidth().await?, self.arithmetic().await?);
        Ok(Profile { kernels, bytes_per_s, flops_per_s })
    }

    /// Seconds that each of `list` takes, one after the other, each in a pass of its own.
    async fn clocked(&self, list: &[Dispatch]) -> Result<Vec<f64>> {
        let (device, n) = (&self.gpu.device, 2 * list.len() as u32);
        let set = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("clock"),
            ty: wgpu::QueryType::Timestamp,
            count: n,
        });
        let size = u64::from(n) * 8;
        let ticks = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("ticks"),
            size,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let staging = self.gpu.staging(size);
        let mut encoder = device.create_command_encoder(&Default::default());
        for (at, dispatch) in (0..).step_by(2).zip(list) {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &set,
                    beginning_of_pass_write_index: Some(at),
                    end_of_pass_write_index: Some(at + 1),
                }),
            });
            pass.set_pipeline(&dispatch.kernel);
            pass.set_bind_group(0, &dispatch.bindings, &[]);
            let groups = if let Groups::Fixed(n) | Groups::PerTokens(n, _) = dispatch.groups { n } else { 1 };
            pass.dispatch_workgroups(groups, 1, 1);
        }
        encoder.resolve_query_set(&set, 0..n, &ticks, 0);
        encoder.copy_buffer_to_buffer(&ticks, 0, &staging, 0, size);
        self.gpu.queue.submit([encoder.finish()]);
        let ticks: Vec<u64> = self.gpu.read(&staging).await?;
        let seconds = f64::from(self.gpu.queue.get_timestamp_period()) * 1e-9;
        Ok(ticks.as_chunks::<2>().0.iter().map(|[from, to]| to.saturating_sub(*from) as f64 * seconds).collect())
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
        let dispatch = Dispatch { kernel, bindings, groups: Groups::Fixed(INVOCATIONS / 64) };
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            best = best.min(self.clocked(std::slice::from_ref(&dispatch)).await?[0]);
        }
        self.gpu.release(&out);
        Ok(best)
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}
