//! What each kernel of a step takes, by the device's own clock.

use super::{Extent, FusedLearner, Step, blocks_of};
use crate::{
    error::Result,
    fused::{KernelTime, built::Work, profile::medians},
    kernels::clock::clocked,
    learn::Update,
};

/// Of a step that changes no parameter.
const STILL: Update = Update { rate: 0.0, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, clip: None };

impl FusedLearner<'_> {
    /// Measures a step over `windows`, read side by side, kernel by kernel, `runs` times, and tells the medians. The learner is
    /// of no more use then.
    ///
    /// # Errors
    /// `invalid-option` where the device has no clock for it or was not asked for with one, `device-lost`.
    ///
    /// # Panics
    /// If the windows are none or more than are read side by side, or `runs` is 0.
    pub async fn profile(self, windows: &[&[u32]], runs: usize) -> Result<Vec<KernelTime>> {
        assert!(runs > 0 && (1..=self.scratch.at_once).contains(&windows.len()), "there is a run of windows that fit");
        let mut times = Vec::with_capacity(runs + 1);
        let mut list = Vec::new();
        for _ in 0..=runs {
            self.begin(windows, Some(&STILL));
            list = self.steps(self.load(windows));
            times.push(clocked(self.gpu(), list.len(), |i, pass| list[i].0.record(pass, list[i].1)).await?);
        }
        let work = list.iter().map(|(step, extent)| {
            let [bytes, flops] = step.work;
            Work { name: step.label, bytes, flops: flops * u64::from(extent.tokens) }
        });
        Ok(KernelTime::sum(work.zip(medians(times))))
    }

    /// All dispatches of a step, in order.
    fn steps(&self, extent: Extent) -> Vec<(&Step, Extent)> {
        let passes = &self.passes;
        let head = passes.head.iter().zip(blocks_of(extent));
        let head =
            head.flat_map(|(rows, block)| rows.likelihood.iter().chain(&rows.gradient).map(move |step| (step, block)));
        let before = passes.forward.iter().flatten().chain(&passes.head_norm);
        let after = passes.head_back.iter().chain(passes.backward.iter().rev().flatten()).chain(&passes.update);
        let whole = |step| (step, extent);
        before.map(whole).chain(head).chain(after.map(whole)).collect()
    }
}
