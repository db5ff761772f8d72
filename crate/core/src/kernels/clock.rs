//! What dispatches take by the device's own clock.

use super::gpu::Gpu;
use crate::error::{Error, ErrorKind, Result};

/// Dispatches timed in one go: two readings of the clock each, of the 4096 that WebGPU promises to hold.
const AT_ONCE: usize = 1024;

/// Seconds that each of `n` dispatches takes, one after the other; `record` records one into a pass of its own.
///
/// # Errors
/// `invalid-option` where the device has no clock for it or was not asked for with one, `device-lost`.
pub(crate) async fn clocked(
    gpu: &Gpu,
    n: usize,
    record: impl Fn(usize, &mut wgpu::ComputePass<'_>),
) -> Result<Vec<f64>> {
    if !gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
        let what = format!("{} has no clock for kernels; measure on another device", gpu.description);
        return Err(Error::new(ErrorKind::InvalidOption, what));
    }
    let mut seconds = Vec::with_capacity(n);
    for first in (0..n).step_by(AT_ONCE) {
        seconds.extend(some(gpu, first..(first + AT_ONCE).min(n), &record).await?);
    }
    Ok(seconds)
}

async fn some(
    gpu: &Gpu,
    range: std::ops::Range<usize>,
    record: &impl Fn(usize, &mut wgpu::ComputePass<'_>),
) -> Result<Vec<f64>> {
    let count = 2 * range.len() as u32;
    let descriptor = wgpu::QuerySetDescriptor { label: Some("clock"), ty: wgpu::QueryType::Timestamp, count };
    let set = gpu.device.create_query_set(&descriptor);
    let size = u64::from(count) * 8;
    let ticks = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("ticks"),
        size,
        usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    });
    let staging = gpu.staging(size);
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    for (at, i) in (0..).step_by(2).zip(range) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: &set,
                beginning_of_pass_write_index: Some(at),
                end_of_pass_write_index: Some(at + 1),
            }),
        });
        record(i, &mut pass);
    }
    encoder.resolve_query_set(&set, 0..count, &ticks, 0);
    encoder.copy_buffer_to_buffer(&ticks, 0, &staging, 0, size);
    gpu.queue.submit([encoder.finish()]);
    let ticks: Vec<u64> = gpu.read(&staging).await?;
    let period_s = f64::from(gpu.queue.get_timestamp_period()) * 1e-9;
    Ok(ticks.as_chunks::<2>().0.iter().map(|[from, to]| to.saturating_sub(*from) as f64 * period_s).collect())
}
