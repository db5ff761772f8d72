//! Learning on the GPU, over the quantised weights of a [`FusedModel`].
//!
//! A window is read forward block by block, of which three tensors are kept; the backward makes the rest anew. Nothing
//! but the loss and the norm of the gradients comes back to the host, and those a step late.

mod layout;
mod plan;
mod scratch;

use layout::Layout;
use plan::{Passes, Planner, Step};
use scratch::{BLOCK, Scratch};

use super::{Learner, Loss, State, Update};
use crate::{
    adapter::Adapter,
    error::{Error, ErrorKind, Result},
    fused::FusedModel,
    kernels::{adamw::control, gpu::Gpu, state},
};

/// Blocks a command buffer: more would keep a page from drawing.
const BLOCKS_A_SUBMIT: usize = 4;

/// A learner on the GPU.
pub struct FusedLearner<'m> {
    model: &'m FusedModel,
    layout: Layout,
    scratch: Scratch,
    passes: Passes,
    steps: u32,
    /// Where the loss of a step is read: two in turn.
    staging: [wgpu::Buffer; 2],
    /// The step whose loss has not been read yet.
    pending: Option<usize>,
    losses: Vec<Loss>,
}

impl<'m> FusedLearner<'m> {
    /// A learner that begins at `adapter` and takes windows of up to `max_window` ids.
    ///
    /// # Errors
    /// `adapter-wrong-base` or `adapter-corrupt` for an adapter that does not fit the model, `invalid-option` for windows
    /// too long for the device or an adapter without pairs, `out-of-memory`, `device-lost`.
    pub async fn new(model: &'m FusedModel, adapter: &Adapter, max_window: usize) -> Result<Self> {
        adapter.check(&model.config, None)?;
        let layout = Layout::new(&model.config, adapter);
        if layout.host_len == 0 {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                "the adapter has nothing to learn; give it at least one pair",
            ));
        }
        let scratch = Scratch::new(model, &layout, max_window)?;
        let staging = [model.gpu.staging(8), model.gpu.staging(8)];
        let passes = Passes::default();
        // From here on it frees what it took, whatever fails.
        let mut learner = Self { model, layout, scratch, passes, steps: 0, staging, pending: None, losses: Vec::new() };
        model.gpu.check()?;
        learner.passes = Planner::new(model, &learner.layout, &learner.scratch).passes().await?;
        let zeros = vec![0.0; learner.layout.host_len];
        let parameters = adapter.parameters();
        learner.set_state(&State { parameters, first: zeros.clone(), second: zeros, steps: 0 });
        model.gpu.check()?;
        Ok(learner)
    }

    /// The gradients that a step over `windows` would use, in the order of [`Adapter::parameters`]: for tests.
    ///
    /// # Errors
    /// `device-lost`.
    pub async fn gradients(&mut self, windows: &[&[u32]]) -> Result<Vec<f32>> {
        self.differentiate(windows, None);
        let gradients: Vec<f32> = self.gpu().read_all(&self.scratch.gradients).await?;
        Ok(self.layout.collect(&gradients))
    }

    fn gpu(&self) -> &'m Gpu {
        &self.model.gpu
    }

    /// Makes the gradients of `windows` and the loss.
    fn differentiate(&self, windows: &[&[u32]], update: Option<&Update>) {
        assert!(!windows.is_empty(), "a step needs a window");
        let total: usize = windows.iter().map(|window| window.len() - 1).sum();
        self.write_control(update, total);
        let mut encoder = self.gpu().device.create_command_encoder(&Default::default());
        encoder.clear_buffer(&self.scratch.gradients, 0, None);
        encoder.clear_buffer(&self.scratch.tally, 0, None);
        self.gpu().queue.submit([encoder.finish()]);
        for window in windows {
            self.forward(window);
            self.backward(window.len() as u32 - 1);
        }
    }

    fn write_control(&self, update: Option<&Update>, total: usize) {
        let mut words = [0f32; control::WORDS as usize];
        if let Some(update) = update {
            let steps = self.steps as i32 + 1;
            let unbias = |beta: f32| (1.0 - f64::from(beta).powi(steps)) as f32;
            words[control::RATE as usize] = update.rate;
            words[control::BETA1 as usize] = update.beta1;
            words[control::BETA2 as usize] = update.beta2;
            words[control::EPS as usize] = update.eps;
            words[control::DECAY as usize] = update.weight_decay;
            words[control::CLIP as usize] = update.clip.unwrap_or(0.0);
            words[control::UNBIAS1 as usize] = unbias(update.beta1);
            words[control::UNBIAS2 as usize] = unbias(update.beta2);
        }
        words[control::WEIGHT as usize] = 1.0 / total as f32;
        self.gpu().queue.write_buffer(&self.scratch.control, 0, bytemuck::cast_slice(&words));
    }

    /// Reads all but the last id of `window`, up to the norm before the head.
    fn forward(&self, window: &[u32]) {
        let s = &self.scratch;
        assert!(window.len() >= 2, "a window needs an id and the one that follows it");
        assert!(window.len() <= s.tokens + 1, "a window of {} ids does not fit {}", window.len(), s.tokens + 1);
        let (ids, targets) = (&window[..window.len() - 1], &window[1..]);
        let tokens = ids.len() as u32;
        let queue = &self.gpu().queue;
        queue.write_buffer(&s.state, 0, bytemuck::cast_slice(&[0u32, tokens]));
        queue.write_buffer(&s.state, u64::from(state::IDS) * 4, bytemuck::cast_slice(ids));
        queue.write_buffer(&s.targets, 0, bytemuck::cast_slice(targets));
        for (rows, tokens) in s.rows.iter().zip(ids.chunks(BLOCK)) {
            let count = tokens.len() as u32;
            queue.write_buffer(&rows.state, u64::from(state::COUNT) * 4, bytemuck::bytes_of(&count));
        }
        for blocks in self.passes.forward.chunks(BLOCKS_A_SUBMIT) {
            self.submit(blocks.iter().flatten(), tokens);
        }
        self.submit(&self.passes.head_norm, tokens);
    }

    /// Likelihoods and gradients of the window read last.
    fn backward(&self, tokens: u32) {
        let block = BLOCK as u32;
        for (rows, first) in self.passes.head.iter().zip((0..tokens).step_by(BLOCK)) {
            self.submit(rows.likelihood.iter().chain(&rows.gradient), (tokens - first).min(block));
        }
        let mut encoder = self.gpu().device.create_command_encoder(&Default::default());
        encoder.clear_buffer(&self.scratch.grad, 0, None);
        self.gpu().queue.submit([encoder.finish()]);
        self.submit(&self.passes.head_back, tokens);
        for blocks in self.passes.backward.rchunks(BLOCKS_A_SUBMIT / 2) {
            self.submit(blocks.iter().rev().flatten(), tokens);
        }
    }

    fn submit<'s>(&self, steps: impl IntoIterator<Item = &'s Step>, tokens: u32) {
        let mut encoder = self.gpu().device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            steps.into_iter().for_each(|step| step.record(&mut pass, tokens));
        }
        self.gpu().queue.submit([encoder.finish()]);
    }

    /// Waits for the loss of the step that was queued to `slot`.
    async fn fetch(&mut self, slot: usize) -> Result<()> {
        let words: Vec<f32> = self.gpu().read(&self.staging[slot]).await?;
        self.losses.push(Loss { nll: words[0], grad_norm: words[1] });
        Ok(())
    }
}

impl Drop for FusedLearner<'_> {
    /// Frees what it took now: in a browser it would otherwise wait for a garbage collection, while a run makes a new
    /// learner after each preview.
    fn drop(&mut self) {
        self.scratch.held.iter().for_each(|buffer| self.model.gpu.release(buffer));
        self.staging.iter().for_each(wgpu::Buffer::destroy);
    }
}

impl Learner for FusedLearner<'_> {
    async fn step(&mut self, windows: &[&[u32]], update: &Update) -> Result<()> {
        self.gpu().check()?;
        self.differentiate(windows, Some(update));
        self.submit(&self.passes.update, 0);
        let slot = self.pending.map_or(0, |before| 1 - before);
        let mut encoder = self.gpu().device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&self.scratch.tally, 0, &self.staging[slot], 0, 8);
        self.gpu().queue.submit([encoder.finish()]);
        self.steps += 1;
        // Never more than this step and the one before are on their way.
        match self.pending.replace(slot) {
            Some(before) => self.fetch(before).await,
            None => Ok(()),
        }
    }

    async fn losses(&mut self, all: bool) -> Result<Vec<Loss>> {
        if let Some(slot) = self.pending.take_if(|_| all) {
            self.fetch(slot).await?;
        }
        Ok(std::mem::take(&mut self.losses))
    }

    async fn evaluate(&mut self, window: &[u32]) -> Result<Vec<f32>> {
        self.forward(window);
        let tokens = window.len() as u32 - 1;
        for (rows, first) in self.passes.head.iter().zip((0..tokens).step_by(BLOCK)) {
            self.submit(&rows.likelihood, (tokens - first).min(BLOCK as u32));
        }
        let mut nll: Vec<f32> = self.gpu().read_all(&self.scratch.nll).await?;
        nll.truncate(tokens as usize);
        Ok(nll)
    }

    async fn state(&mut self) -> Result<State> {
        let (gpu, s) = (self.gpu(), &self.scratch);
        let collect = |here: Vec<f32>| self.layout.collect(&here);
        Ok(State {
            parameters: collect(gpu.read_all(&s.parameters).await?),
            first: collect(gpu.read_all(&s.first).await?),
            second: collect(gpu.read_all(&s.second).await?),
            steps: self.steps,
        })
    }

    fn set_state(&mut self, state: &State) {
        let s = &self.scratch;
        let moved = [(&s.parameters, &state.parameters), (&s.first, &state.first), (&s.second, &state.second)];
        for (buffer, values) in moved {
            assert_eq!(values.len(), self.layout.host_len, "a learner keeps the size of its adapter");
            self.gpu().queue.write_buffer(buffer, 0, bytemuck::cast_slice(&self.layout.spread(values)));
        }
        self.steps = state.steps;
    }
}
