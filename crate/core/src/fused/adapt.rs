//! An adapter in GPU memory: side buffers beside the weights.

use super::{FusedModel, Layer, plan::qkv_role};
use crate::{
    adapter::{Adapter, Kind, Pair},
    config::ModelConfig,
    error::{Error, ErrorKind, Result},
    kernels::{
        gpu::Gpu,
        project::Role,
        side::{MAX_RANK, fill},
    },
    sample::Mix,
};

/// What stands beside one projection.
pub(super) struct Side {
    pub buffer: wgpu::Buffer,
    /// Numbers in its bottleneck; 0 is no path.
    pub width: u32,
}

/// What stands beside the projections of a block.
pub(super) struct Sides {
    pub qkv: Side,
    pub o: Side,
    pub gate_up: Side,
    pub down: Side,
}

impl Sides {
    /// The side buffers of every block: of `adapter`, or without paths.
    pub fn of(gpu: &Gpu, config: &ModelConfig, layers: &[Layer], adapter: Option<&Adapter>) -> Vec<Self> {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut all = Vec::with_capacity(layers.len());
        for (i, layer) in layers.iter().enumerate() {
            let mut side = |role: Role, kinds: &[Kind], norm: Option<&wgpu::Buffer>| {
                let pairs: Vec<Option<&Pair>> = kinds.iter().map(|&kind| adapter?.pair(i, kind)).collect();
                let outs: Vec<usize> = kinds.iter().map(|kind| kind.dims(config).1).collect();
                let (words, width) = fill(role, kinds[0].dims(config).0, &pairs, &outs);
                let buffer = gpu.upload("side", &words);
                if let Some(norm) = norm {
                    encoder.copy_buffer_to_buffer(norm, 0, &buffer, 16, norm.size());
                }
                Side { buffer, width }
            };
            all.push(Self {
                qkv: side(qkv_role(config), &[Kind::Q, Kind::K, Kind::V], Some(&layer.attention_norm)),
                o: side(Role::Residual, &[Kind::O], None),
                gate_up: side(Role::GateUp(config.activation), &[Kind::Gate, Kind::Up], Some(&layer.ffn_norm)),
                down: side(Role::Residual, &[Kind::Down], None),
            });
        }
        gpu.queue.submit([encoder.finish()]);
        all
    }

    /// Their buffers.
    pub fn buffers(&self) -> [&wgpu::Buffer; 4] {
        [&self.qkv.buffer, &self.o.buffer, &self.gate_up.buffer, &self.down.buffer]
    }
}

impl FusedModel {
    /// Puts `adapter` beside the weights, in place of one that is there. No weight is touched; the first
    /// one has a few small kernels built.
    ///
    /// # Errors
    /// As [`Adapter::check`], `invalid-option` for a rank over [`MAX_RANK`], `out-of-memory`, `device-lost`.
    pub async fn attach(&mut self, adapter: &Adapter) -> Result<()> {
        adapter.check(&self.config, None)?;
        if adapter.max_rank() > MAX_RANK as usize {
            let message = format!(
                "this adapter has rank {}, the GPU takes at most {MAX_RANK}; use it on the CPU",
                adapter.max_rank()
            );
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        self.detach();
        self.plan().begin_sides(&self.formats);
        let sides = Sides::of(&self.gpu, &self.config, &self.layers, Some(adapter));
        let caches = self.bindings.get_mut().caches.clone();
        let lists = self.lists(&caches, &sides, 1).await?;
        self.gpu.check()?;
        self.personal = Some(sides);
        self.bindings.get_mut().personal = Some(lists);
        self.set_mix(Mix::Scaled(1.0));
        Ok(())
    }

    /// Takes the adapter away, if there is one.
    pub fn detach(&mut self) {
        let bindings = self.bindings.get_mut();
        bindings.personal = None;
        if let Some(both) = bindings.both.take() {
            self.gpu.release(&both.held);
        }
        self.set_mix(Mix::Base);
        for buffer in self.personal.take().iter().flatten().flat_map(Sides::buffers) {
            self.gpu.release(buffer);
        }
    }

    /// Whether an adapter is attached.
    pub fn has_adapter(&self) -> bool {
        self.personal.is_some()
    }
}
