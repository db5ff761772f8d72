//! Learning on the GPU, over the quantised weights of a [`FusedModel`].
//!
//! Windows are read forward block by block. What a block computes is kept for the backward where there is memory for it; if
//! not, three tensors are, and the backward makes the rest anew. The windows of a step are read side by side, as many as
//! there is memory for: a device is busier with them, and each block costs one sequence of dispatches for all. Nothing but
//! the loss and the norm of the gradients comes back to the host, and those a step late.

mod layout;
mod plan;
mod profile;
mod scratch;

use layout::Layout;
use plan::{Extent, Passes, Planner, Step};
use scratch::{BLOCK, Scratch};

use super::{Learner, Loss, Room, State, Update};
use crate::{
    adapter::Adapter,
    error::{Error, ErrorKind, Result},
    fused::FusedModel,
    kernels::{adamw::control, gpu::Gpu, state},
};

/// Tokens times blocks a command buffer, and at most this many blocks: more would keep a page from drawing.
const TOKENS_A_SUBMIT: usize = 1024;
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
    /// A learner that begins at `adapter` and takes windows of up to `max_window` ids; [`Room::of`] tells the room there is.
    ///
    /// # Errors
    /// `adapter-wrong-base` or `adapter-corrupt` for an adapter that does not fit the model, `invalid-option` for windows
    /// too long for the device or an adapter without pairs, `out-of-memory`, `device-lost`.
    pub async fn new(model: &'m FusedModel, adapter: &Adapter, max_window: usize, room: Room) -> Result<Self> {
        adapter.check(&model.config, None)?;
        let layout = Layout::new(&model.config, adapter);
        if layout.host_len == 0 {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                "the adapter has nothing to learn; give it at least one pair",
            ));
        }
        let scratch = Scratch::new(model, &layout, max_window, room).await?;
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

    /// Windows of a step that it reads side by side at most: what the device binds at once may allow fewer than its room does.
    pub fn at_once(&self) -> usize {
        self.scratch.at_once
    }

    fn gpu(&self) -> &'m Gpu {
        &self.model.gpu
    }

    /// Makes the gradients of `windows` and the loss.
    fn differentiate(&self, windows: &[&[u32]], update: Option<&Update>) {
        self.begin(windows, update);
        for side_by_side in self.passes_over(windows) {
            let extent = self.forward(side_by_side);
            self.backward(extent);
        }
    }

    /// Tells the device of a step over `windows`, whose gradients and loss begin at zero.
    fn begin(&self, windows: &[&[u32]], update: Option<&Update>) {
        assert!(!windows.is_empty(), "a step needs a window");
        let total: usize = windows.iter().map(|window| window.len() - 1).sum();
        self.write_control(update, total);
        let mut encoder = self.gpu().device.create_command_encoder(&Default::default());
        encoder.clear_buffer(&self.scratch.gradients, 0, None);
        encoder.clear_buffer(&self.scratch.tally, 0, None);
        self.gpu().queue.submit([encoder.finish()]);
    }

    /// The windows of each pass, in as few as possible and about as many in each.
    fn passes_over<'w>(&self, windows: &'w [&'w [u32]]) -> impl Iterator<Item = &'w [&'w [u32]]> {
        let passes = windows.len().div_ceil(self.scratch.at_once);
        windows.chunks(windows.len().div_ceil(passes))
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

    /// Reads all but the last id of each window, up to the norm before the head.
    fn forward(&self, windows: &[&[u32]]) -> Extent {
        let extent = self.load(windows);
        for blocks in self.passes.forward.chunks(blocks_a_submit(extent)) {
            self.submit(blocks.iter().flatten(), extent);
        }
        self.submit(&self.passes.head_norm, extent);
        extent
    }

    /// Brings the ids of windows to the device, with what follows each of them and where its window begins and ends.
    fn load(&self, windows: &[&[u32]]) -> Extent {
        let s = &self.scratch;
        let (mut ids, mut targets, mut bounds, mut longest) = (Vec::new(), Vec::new(), Vec::<u32>::new(), 0);
        for window in windows {
            let (len, begin) = (window.len().saturating_sub(1), ids.len() as u32);
            assert!(len >= 1, "a window needs an id and the one that follows it");
            assert!(len <= s.longest, "a window of {} ids does not fit {}", window.len(), s.longest + 1);
            ids.extend_from_slice(&window[..len]);
            targets.extend_from_slice(&window[1..]);
            (0..len).for_each(|_| bounds.extend([begin, begin + len as u32]));
            longest = longest.max(len);
        }
        let extent = Extent { tokens: ids.len() as u32, longest: longest as u32 };
        let queue = &self.gpu().queue;
        queue.write_buffer(&s.state, 0, bytemuck::cast_slice(&[0u32, extent.tokens]));
        queue.write_buffer(&s.state, u64::from(state::IDS) * 4, bytemuck::cast_slice(&ids));
        queue.write_buffer(&s.state, (u64::from(state::IDS) + s.tokens as u64) * 4, bytemuck::cast_slice(&bounds));
        queue.write_buffer(&s.targets, 0, bytemuck::cast_slice(&targets));
        for (rows, tokens) in s.rows.iter().zip(ids.chunks(BLOCK)) {
            let count = tokens.len() as u32;
            queue.write_buffer(&rows.state, u64::from(state::COUNT) * 4, bytemuck::bytes_of(&count));
        }
        extent
    }

    /// Likelihoods and gradients of the windows read last.
    fn backward(&self, extent: Extent) {
        for (rows, block) in self.passes.head.iter().zip(blocks_of(extent)) {
            self.submit(rows.likelihood.iter().chain(&rows.gradient), block);
        }
        let mut encoder = self.gpu().device.create_command_encoder(&Default::default());
        encoder.clear_buffer(&self.scratch.grad, 0, None);
        self.gpu().queue.submit([encoder.finish()]);
        self.submit(&self.passes.head_back, extent);
        for blocks in self.passes.backward.rchunks(blocks_a_submit(extent).div_ceil(2)) {
            self.submit(blocks.iter().rev().flatten(), extent);
        }
    }

    fn submit<'s>(&self, steps: impl IntoIterator<Item = &'s Step>, extent: Extent) {
        let mut encoder = self.gpu().device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            steps.into_iter().for_each(|step| step.record(&mut pass, extent));
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

/// Blocks of the model in a command buffer of a forward; a backward takes twice as long a block.
fn blocks_a_submit(extent: Extent) -> usize {
    (TOKENS_A_SUBMIT / extent.tokens as usize).clamp(1, BLOCKS_A_SUBMIT)
}

/// The tokens before the head, [`BLOCK`] at a time.
fn blocks_of(extent: Extent) -> impl Iterator<Item = Extent> {
    (0..extent.tokens)
        .step_by(BLOCK)
        .map(move |first| Extent { tokens: (extent.tokens - first).min(BLOCK as u32), ..extent })
}

impl Drop for FusedLearner<'_> {
    /// Frees what it took now: in a browser it would otherwise wait for a garbage collection, while a run makes a new
    /// learner after each preview.
    fn drop(&mut self) {
        self.scratch.release(&self.model.gpu);
        self.staging.iter().for_each(wgpu::Buffer::destroy);
    }
}

impl Learner for FusedLearner<'_> {
    async fn step(&mut self, windows: &[&[u32]], update: &Update) -> Result<()> {
        self.gpu().check()?;
        self.differentiate(windows, Some(update));
        self.submit(&self.passes.update, Extent { tokens: 0, longest: 0 });
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
        let extent = self.forward(&[window]);
        for (rows, block) in self.passes.head.iter().zip(blocks_of(extent)) {
            self.submit(&rows.likelihood, block);
        }
        let mut nll: Vec<f32> = self.gpu().read_all(&self.scratch.nll).await?;
        nll.truncate(extent.tokens as usize);
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
