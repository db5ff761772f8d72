//! Contrast: the base and the personal model side by side, over one reading of the weights.

use super::{Bindings, Bound, Caches, Dispatch, FusedModel};
use crate::{
    error::{Error, ErrorKind, Result},
    sample::Mix,
};

/// The dispatches of two texts that go on together.
pub(super) struct Both {
    /// One token of both, the base in the first row of the activations.
    pub decode: Vec<Dispatch>,
    /// Two rows of scores, merged, and the draw.
    pub choose: Vec<Dispatch>,
    /// Last tokens of a prompt, while the other text's is read.
    pub held: wgpu::Buffer,
}

impl FusedModel {
    /// Builds what a contrast needs, the first time one is written: a second cache and the kernels for two rows.
    pub(super) async fn prepare(&self) -> Result<()> {
        let ready = self.bindings.borrow().both.is_some();
        let (Mix::Contrast(_), false, Some(personal)) = (self.mix.get(), ready, &self.personal) else { return Ok(()) };
        let plan = self.plan();
        let (needed, offered) = (plan.contrast_bytes(), self.gpu.device.limits().max_compute_workgroup_storage_size);
        if needed > offered {
            let message = format!(
                "a contrast over this model needs {needed} bytes of workgroup memory, the GPU has {offered}; \
                 write with the mode \"scale\""
            );
            return Err(Error::new(ErrorKind::ModelUnsupported, message));
        }
        let old = self.bindings.borrow().caches.clone();
        let new = (old.texts == 1).then(|| Caches::new(&self.gpu, &self.config, self.capacity, 2));
        let caches = new.clone().unwrap_or_else(|| old.clone());
        let blocks = Bound { layers: &self.layers, sides: personal, caches: &caches, text: None };
        let both = Both {
            decode: plan.decode(&self.embedding, &blocks).await?,
            choose: plan.choose_both(&self.head, &self.output_norm).await?,
            held: self.gpu.buffer("held", 2 * self.config.d_model),
        };
        let base = self.lists(&caches, &self.plain, 0).await?;
        let personal = Some(self.lists(&caches, personal, 1).await?);
        self.gpu.check()?;
        *self.bindings.borrow_mut() = Bindings { caches, base, personal, both: Some(both) };
        if new.is_some() {
            old.buffers.iter().for_each(|buffer| self.gpu.release(buffer));
        }
        Ok(())
    }

    /// Reads `n` ids of the state into both caches and leaves the last of them, base and personal, in the first two rows.
    pub(super) fn record_read_both(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        bindings: &Bindings,
        both: &Both,
        n: usize,
    ) {
        let row = self.config.d_model as u64 * 4;
        for (text, mix) in [(0, Mix::Base), (1, Mix::Scaled(1.0))] {
            self.record(encoder, &bindings.of(mix).prefill, n as u32);
            encoder.copy_buffer_to_buffer(&self.scratch.x, (n as u64 - 1) * row, &both.held, text * row, row);
        }
        encoder.copy_buffer_to_buffer(&both.held, 0, &self.scratch.x, 0, 2 * row);
    }
}
