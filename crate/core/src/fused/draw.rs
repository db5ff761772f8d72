//! Drawing tokens, a batch at a time; the device draws the next batch while the host waits for one.

use std::cell::{Cell, RefCell};

use super::FusedModel;
use crate::{
    error::{Error, ErrorKind, Result},
    kernels::{
        gpu::{Gpu, Mapping},
        state,
    },
};

/// The batches under way.
pub(super) struct Draws {
    /// Where the state is read after a batch: two in turn.
    staging: [wgpu::Buffer; 2],
    turn: Cell<usize>,
    /// The batch that nobody has asked for yet.
    ahead: RefCell<Option<Batch>>,
}

/// Tokens that the device draws.
struct Batch {
    /// How many were drawn before.
    drawn: usize,
    n: usize,
    /// Which staging buffer their ids go to.
    staging: usize,
    mapping: Mapping,
    submission: wgpu::SubmissionIndex,
}

impl Draws {
    pub fn new(gpu: &Gpu) -> Self {
        let staging = [(); 2].map(|()| gpu.staging(u64::from(state::WORDS) * 4));
        Self { staging, turn: Cell::new(0), ahead: RefCell::new(None) }
    }

    /// Forgets the batch under way: what comes next begins elsewhere. The device draws it to its end.
    pub fn abandon(&self) {
        if let Some(batch) = self.ahead.take() {
            self.staging[batch.staging].unmap();
        }
    }
}

impl FusedModel {
    /// Reads the last `ids` of a prompt and draws the first token after them.
    ///
    /// # Panics
    /// As [`FusedModel::read`].
    pub async fn read_and_draw(&self, position: usize, ids: &[u32]) -> Result<u32> {
        self.prepare().await?;
        self.submit_read(position, ids);
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        self.record(&mut encoder, self.choose(&self.bindings.borrow()), 1);
        self.gpu.queue.submit([encoder.finish()]);
        let words = self.fetch_state().await?;
        Ok(self.drawn(&words, 0, 1)?[0])
    }

    /// Reads the token drawn last and draws the next, `n` times; `drawn` is how many were drawn before.
    ///
    /// `ahead` more, at most `n`, are begun before these are waited for: the next call gets them, whatever its `n`. What the
    /// text is written from may not change until then, unless it begins anew or [goes on](FusedModel::go_on) elsewhere.
    ///
    /// # Errors
    /// `internal` when a score is not a number or these are not the tokens under way, `device-lost`.
    ///
    /// # Panics
    /// If `n` is 0 or more than [`state::MAX_DRAWN`].
    pub async fn draw(&self, drawn: usize, n: usize, ahead: usize) -> Result<Vec<u32>> {
        assert!((1..=state::MAX_DRAWN as usize).contains(&n), "{n} tokens do not fit the ring");
        if self.draws.ahead.borrow().as_ref().is_some_and(|batch| batch.drawn != drawn) {
            self.draws.abandon();
            let what = "another text was begun on this GPU while this one was written; begin it again";
            return Err(Error::new(ErrorKind::Internal, what));
        }
        let batch = self.draws.ahead.take().unwrap_or_else(|| self.begin(drawn, n));
        // As if these had been asked for at first: what is ahead is counted from their end.
        let more = (n + ahead).saturating_sub(batch.n).min(n);
        if ahead > 0 && more > 0 {
            *self.draws.ahead.borrow_mut() = Some(self.begin(drawn + batch.n, more));
        }
        let staging = &self.draws.staging[batch.staging];
        let words: Vec<u32> = self.gpu.mapped(staging, batch.mapping, Some(batch.submission)).await?;
        self.drawn(&words, drawn, batch.n)
    }

    /// Gives the device `n` tokens to draw, and asks for their ids.
    fn begin(&self, drawn: usize, n: usize) -> Batch {
        self.submit_draws(n);
        let turn = self.draws.turn.replace(1 - self.draws.turn.get());
        let staging = &self.draws.staging[turn];
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&self.scratch.state, 0, staging, 0, staging.size());
        let submission = self.gpu.queue.submit([encoder.finish()]);
        Batch { drawn, n, staging: turn, mapping: self.gpu.map(staging), submission }
    }

    pub(super) fn submit_draws(&self, n: usize) {
        let bindings = self.bindings.borrow();
        for _ in 0..n {
            // Each on its own: the device begins with the first while the next is recorded.
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            self.record(&mut encoder, bindings.decode(self.mix.get()), 1);
            self.record(&mut encoder, self.choose(&bindings), 1);
            self.gpu.queue.submit([encoder.finish()]);
        }
    }

    /// The `n` ids drawn after the first `before`, from the words of the state.
    fn drawn(&self, words: &[u32], before: usize, n: usize) -> Result<Vec<u32>> {
        let ids: Vec<u32> =
            (before..before + n).map(|i| words[(state::DRAWN_IDS + i as u32 % state::MAX_DRAWN) as usize]).collect();
        if ids.iter().any(|&id| id as usize >= self.config.vocab) {
            return Err(Error::new(ErrorKind::Internal, "the model's scores are not numbers on this GPU; use the CPU"));
        }
        Ok(ids)
    }
}
