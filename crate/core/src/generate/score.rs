//! How well a model foresees a text.

use super::{Backend, CHUNK, LanguageModel, Mode};
use crate::{
    error::{Error, ErrorKind, Result},
    processor::Reading,
};

impl LanguageModel {
    /// Negative log-likelihood of each id after the first, in nats, under the adapter as it was learned where one is
    /// attached.
    ///
    /// # Errors
    /// As [`LanguageModel::score_at`].
    pub async fn score(&self, ids: &[u32], on_window: &mut impl AsyncFnMut(usize) -> Result<()>) -> Result<Vec<f32>> {
        self.score_at(ids, None, on_window).await
    }

    /// Negative log-likelihood of each id after the first, in nats, the adapter's paths multiplied by `strength` (0 to
    /// 2; `None` is 1 where an adapter is attached).
    ///
    /// Texts longer than the context are read in windows of it that overlap by half, so that every token but those of
    /// the first window is scored with at least half a context before it. `on_window` is told the tokens scored so far,
    /// may wait for its events, and may stop the work with an error.
    ///
    /// # Errors
    /// `text-too-short` under two ids, `invalid-option` for an id outside the vocabulary or a strength out of its range
    /// or without an adapter, `device-lost`, and what `on_window` returns.
    pub async fn score_at(
        &self,
        ids: &[u32],
        strength: Option<f32>,
        on_window: &mut impl AsyncFnMut(usize) -> Result<()>,
    ) -> Result<Vec<f32>> {
        self.check_ids(ids)?;
        let mix = self.mix(strength.or(self.adapter.as_ref().map(|_| 1.0)), Mode::Scale)?;
        let paths = self.voice(mix).own.paths;
        #[cfg(feature = "gpu")]
        if let Backend::Fused(model) = &self.backend {
            model.set_mix(mix);
        }
        if ids.len() < 2 {
            let message = format!("text has {} tokens, scoring needs at least 2", ids.len());
            return Err(Error::new(ErrorKind::TextTooShort, message));
        }
        let mut nll = Vec::with_capacity(ids.len() - 1);
        let mut start = 0;
        loop {
            let end = (start + self.capacity).min(ids.len() - 1);
            let mut reading = Reading::new(paths.clone());
            let mut at = start;
            while at < end {
                let n = (end - at).min(CHUNK);
                let scored =
                    self.score_chunk(&mut reading, at - start, &ids[at..at + n], &ids[at + 1..at + n + 1]).await?;
                let new = (at + n).saturating_sub(nll.len()).min(n);
                nll.extend_from_slice(&scored[n - new..]);
                at += n;
                on_window(nll.len()).await?;
            }
            if end == ids.len() - 1 {
                return Ok(nll);
            }
            start += self.capacity / 2;
        }
    }

    async fn score_chunk(&self, reading: &mut Reading, at: usize, ids: &[u32], targets: &[u32]) -> Result<Vec<f32>> {
        match &self.backend {
            Backend::Processor(processor) => Ok(processor.score(ids, targets, reading)),
            #[cfg(feature = "gpu")]
            Backend::Fused(model) => model.score(at, ids, targets).await,
        }
    }
}
