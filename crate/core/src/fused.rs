//! The fused GPU path: the same forward as [`crate::model`], in few dispatches over quantised weights.
//!
//! Buffers, pipelines and bind groups are made once. A decoded token is one compute pass of `5 · n_layers + 4` dispatches
//! that reads and writes only GPU memory, the drawn id included, so several tokens are queued and fetched together.

mod adapt;
pub(crate) mod built;
mod contrast;
mod draw;
mod matrix;
pub(crate) mod plan;
pub(crate) mod profile;
mod trial;
mod tune;
mod upload;
mod vocabulary;

pub(crate) use matrix::Matrix;
pub use profile::{Best, KernelTime};
pub use tune::Tried;
pub use upload::check_kernels;
pub(crate) use upload::{rope_of, ropes};
pub(crate) use vocabulary::Part;

use std::cell::{Cell, OnceCell, RefCell};

use adapt::Sides;
use built::Kernels;
use contrast::Both;
use draw::Draws;
use matrix::dims;
use plan::{Blocks as Bound, Caches, Formats, Plan};
use trial::Trial;
use upload::{formats, read_layer};
use vocabulary::upload_vocabulary;

use serde::{Deserialize, Serialize};

use crate::{
    config::ModelConfig,
    error::Result,
    gguf::{Gguf, Source},
    kernels::{gpu::Gpu, project::Cut, sampling, score, side, state},
    sample::{Mix, Sampling, Seen},
    weights::{EMBEDDING, OUTPUT, OUTPUT_NORM, OnTensor, Reader},
};

/// A dispatch ready to be recorded: pipeline, bindings, workgroups.
#[derive(Clone)]
struct Dispatch {
    kernel: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    groups: Groups,
    /// What it does, where its kernel does not tell: of products with one kernel for several matrices.
    over: Option<Over>,
}

/// The matrix that a dispatch goes over.
#[derive(Clone, Copy)]
struct Over {
    name: &'static str,
    /// Bytes of its weights.
    bytes: u64,
    /// Multiplications and additions a token.
    flops: u64,
}

/// Workgroups of a dispatch.
#[derive(Clone, Copy)]
enum Groups {
    /// Always the same.
    Fixed(u32),
    /// As many along the first axis, one a `n` tokens along the second.
    PerTokens(u32, u32),
    /// One a token.
    Tokens,
    /// Always as many along two axes.
    Plane(u32, u32),
}

impl Dispatch {
    fn record(&self, pass: &mut wgpu::ComputePass<'_>, tokens: u32) {
        pass.set_pipeline(&self.kernel);
        pass.set_bind_group(0, &self.bindings, &[]);
        let (across, down) = match self.groups {
            Groups::Fixed(n) => (n, 1),
            Groups::PerTokens(n, per) => (n, tokens.div_ceil(per)),
            Groups::Tokens => (tokens, 1),
            Groups::Plane(across, down) => (across, down),
        };
        pass.dispatch_workgroups(across, down, 1);
    }
}

/// The dispatches that score a text.
struct Scoring {
    /// Norm before the head, of all tokens read.
    norm: Dispatch,
    /// Scores and likelihoods of some of them.
    rows: Vec<Dispatch>,
}

/// A block's weights in GPU memory.
pub(crate) struct Layer {
    pub(crate) attention_norm: wgpu::Buffer,
    pub(crate) qkv: Matrix,
    pub(crate) o: Matrix,
    pub(crate) ffn_norm: wgpu::Buffer,
    pub(crate) gate_up: Matrix,
    pub(crate) down: Matrix,
    /// What [`heads`](crate::kernels::heads) reads, for models that need it.
    pub(crate) more: Option<wgpu::Buffer>,
    pub(crate) post_norms: Option<[wgpu::Buffer; 2]>,
}

/// The dispatches of one text: with an adapter, or of the base.
struct Lists {
    decode: Vec<Dispatch>,
    prefill: Vec<Dispatch>,
}

/// What is bound to caches and side paths, and changes with them.
struct Bindings {
    caches: Caches,
    base: Lists,
    personal: Option<Lists>,
    both: Option<Both>,
}

/// Activations of up to [`state::MAX_COUNT`] tokens.
struct Scratch {
    state: wgpu::Buffer,
    x: wgpu::Buffer,
    normed: wgpu::Buffer,
    /// Queries, keys and values as they come from their projection, where heads are handled apart.
    raw: wgpu::Buffer,
    /// What attention or the feed-forward layer gives, where a norm follows it.
    given: wgpu::Buffer,
    /// A product that stands alone, of the widest matrix.
    product: wgpu::Buffer,
    q: wgpu::Buffer,
    attended: wgpu::Buffer,
    gated: wgpu::Buffer,
    logits: wgpu::Buffer,
    /// The rotations of blocks that see all, and of those with a window.
    ropes: Vec<wgpu::Buffer>,
    parameters: wgpu::Buffer,
    seen: wgpu::Buffer,
    partial: wgpu::Buffer,
    totals: wgpu::Buffer,
    targets: wgpu::Buffer,
    nll: wgpu::Buffer,
}

/// How the kernels are cut; a device may compute faster another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// The cut of the products.
    pub cut: Cut,
}

/// A language model in GPU memory, with its cache and its dispatches.
pub struct FusedModel {
    /// Its shape.
    pub config: ModelConfig,
    /// Positions the cache has room for.
    pub capacity: usize,
    /// The device.
    pub gpu: Gpu,
    scratch: Scratch,
    formats: Formats,
    pub(crate) kernels: Kernels,
    bindings: RefCell<Bindings>,
    /// Side buffers without paths.
    plain: Vec<Sides>,
    /// Side buffers of the adapter, where one is attached.
    personal: Option<Vec<Sides>>,
    /// Whose scores the present text is written from.
    mix: Cell<Mix>,
    /// Head on the last token read, then sampling.
    choose: Vec<Dispatch>,
    /// Built when a text is first scored: whoever only writes need not wait for its kernels.
    scoring: OnceCell<Scoring>,
    pub(crate) embedding: Vec<Part>,
    pub(crate) head: Vec<Part>,
    pub(crate) output_norm: wgpu::Buffer,
    pub(crate) variant: Variant,
    staging: wgpu::Buffer,
    draws: Draws,
    weight_bytes: u64,
    pub(crate) layers: Vec<Layer>,
    trial: Trial,
}

impl FusedModel {
    /// Reads the weights onto the GPU, tensor by tensor, and builds every kernel.
    ///
    /// # Errors
    /// `model-unsupported` where a matrix has a block format or a width without a kernel (the plain path runs it),
    /// `model-corrupt`, `out-of-memory`, `device-lost`, and what `source` and `on_tensor` return.
    pub async fn load(
        gpu: Gpu,
        gguf: &Gguf,
        source: &impl Source,
        capacity: usize,
        variant: Variant,
        on_tensor: OnTensor<'_>,
    ) -> Result<Self> {
        let mut reader = Reader::new(gguf, source, on_tensor);
        let config = reader.config().await?;
        check_kernels(gguf, &config)?;
        let scratch = Scratch::new(&gpu, &config, capacity);
        let kernels = Kernels::default();
        let formats = formats(&gpu, gguf, &config);
        // The driver compiles while the weights come in.
        Plan { gpu: &gpu, config: &config, scratch: &scratch, variant, kernels: &kernels }.begin(&formats);
        let before = gpu.allocated_bytes();
        let embedding = upload_vocabulary(&gpu, &mut reader, EMBEDDING, &config).await?;
        let mut layers = Vec::with_capacity(config.n_layers);
        for layer in 0..config.n_layers {
            layers.push(read_layer(&gpu, &mut reader, (&config, &formats), layer).await?);
            gpu.check()?;
        }
        let output_norm = gpu.upload("output norm", &reader.vector(OUTPUT_NORM, config.d_model).await?);
        let head = match reader.has_head() {
            true => upload_vocabulary(&gpu, &mut reader, OUTPUT, &config).await?,
            false => embedding.clone(),
        };
        let weight_bytes = gpu.allocated_bytes() - before;
        let trial = Trial::of(gguf, source, &config, &formats, capacity).await?;
        let caches = Caches::new(&gpu, &config, capacity, 1);
        let plain = Sides::of(&gpu, &config, &layers, None);
        let plan = Plan { gpu: &gpu, config: &config, scratch: &scratch, variant, kernels: &kernels };
        let blocks = Bound { layers: &layers, sides: &plain, caches: &caches, text: Some(0) };
        let base = plan.lists(&embedding, &blocks).await?;
        let choose = plan.choose(&head, &output_norm).await?;
        debug_assert!(kernels.all_foreseen(), "a kernel was begun late, or in vain");
        gpu.check()?;
        let staging = gpu.staging(u64::from(state::WORDS) * 4);
        let draws = Draws::new(&gpu);
        Ok(Self {
            config,
            capacity,
            scratch,
            formats,
            kernels,
            bindings: RefCell::new(Bindings { caches, base, personal: None, both: None }),
            plain,
            personal: None,
            mix: Cell::new(Mix::Base),
            choose,
            scoring: OnceCell::new(),
            embedding,
            head,
            output_norm,
            variant,
            staging,
            draws,
            weight_bytes,
            layers,
            trial,
            gpu,
        })
    }

    /// How its kernels are cut.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// Dispatches a decoded token takes.
    pub fn dispatches_per_token(&self) -> usize {
        self.bindings.borrow().base.decode.len() + self.choose.len()
    }

    /// Bytes of GPU memory the weights take.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    /// Starts a text: nothing drawn, nothing read, `seen` in the text already.
    ///
    /// # Panics
    /// If `mix` needs an adapter and none is attached: our bug.
    pub fn start(&self, sampling: &Sampling, seen: &Seen, mix: Mix) {
        self.set_mix(mix);
        self.write_state(0, &[]);
        self.gpu.queue.write_buffer(&self.scratch.state, u64::from(state::DRAWN) * 4, bytemuck::bytes_of(&0u32));
        let parameters = sampling::parameters(sampling, mix);
        self.gpu.queue.write_buffer(&self.scratch.parameters, 0, bytemuck::cast_slice(&parameters));
        self.gpu.queue.write_buffer(&self.scratch.seen, 0, bytemuck::cast_slice(seen.words()));
    }

    /// Writes and scores by `mix` from here on.
    ///
    /// # Panics
    /// If `mix` needs an adapter and none is attached: our bug.
    pub fn set_mix(&self, mix: Mix) {
        assert!(mix == Mix::Base || self.personal.is_some(), "{mix:?} needs an adapter");
        let factor = if let Mix::Scaled(factor) = mix { factor } else { 1.0 };
        self.draws.abandon();
        self.mix.set(mix);
        self.gpu.queue.write_buffer(&self.scratch.state, u64::from(state::FACTOR) * 4, bytemuck::bytes_of(&factor));
    }

    /// Reads `ids` at `position` into the cache.
    ///
    /// # Panics
    /// If there are none or more than [`state::MAX_COUNT`], or they pass the capacity.
    pub async fn read(&self, position: usize, ids: &[u32]) -> Result<()> {
        self.prepare().await?;
        self.submit_read(position, ids);
        self.settle().await
    }

    /// The scores after the token `id`, read at `position`: those of the mix, or for a contrast the base's and the
    /// personal ones.
    ///
    /// # Errors
    /// `device-lost`.
    pub async fn scores(&self, position: usize, id: u32) -> Result<(Vec<f32>, Option<Vec<f32>>)> {
        self.read(position, &[id]).await?;
        let two = matches!(self.mix.get(), Mix::Contrast(_));
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        // The head alone: what follows it merges, penalises and draws.
        self.record(&mut encoder, &self.choose(&self.bindings.borrow())[..self.head.len()], 1);
        self.gpu.queue.submit([encoder.finish()]);
        let size_bytes = self.config.vocab as u64 * if two { 8 } else { 4 };
        let mut scores: Vec<f32> = self.gpu.read_first(&self.scratch.logits, size_bytes).await?;
        let personal = two.then(|| scores.split_off(self.config.vocab));
        Ok((scores, personal))
    }

    /// Goes on from the token `id`, drawn elsewhere as the last of `drawn`, which is to be read at `position`; `seen` are in
    /// the text.
    pub fn go_on(&self, position: usize, id: u32, drawn: usize, seen: &Seen) {
        self.write_state(position, &[id]);
        let drawn = drawn as u32;
        self.gpu.queue.write_buffer(&self.scratch.state, u64::from(state::DRAWN) * 4, bytemuck::bytes_of(&drawn));
        self.gpu.queue.write_buffer(&self.scratch.seen, 0, bytemuck::cast_slice(seen.words()));
    }

    /// Negative log-likelihood of each of `targets`, the tokens that follow `ids` read at `position`.
    ///
    /// # Panics
    /// If a contrast is set, which only writes, or there is not a target for each id.
    pub async fn score(&self, position: usize, ids: &[u32], targets: &[u32]) -> Result<Vec<f32>> {
        assert!(!matches!(self.mix.get(), Mix::Contrast(_)), "a contrast does not score");
        assert_eq!(ids.len(), targets.len(), "every token read needs the one that follows");
        let scoring = self.scoring().await?;
        self.submit_read(position, ids);
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        self.record(&mut encoder, std::slice::from_ref(&scoring.norm), ids.len() as u32);
        self.gpu.queue.submit([encoder.finish()]);
        let mut nll = Vec::with_capacity(ids.len());
        let row = self.config.d_model as u64 * 4;
        let rows = score::rows(self.config.vocab);
        for (block, targets) in targets.chunks(rows).enumerate() {
            let from = (block * rows) as u64 * row;
            self.gpu.queue.write_buffer(&self.scratch.targets, 0, bytemuck::cast_slice(targets));
            self.gpu.queue.write_buffer(
                &self.scratch.state,
                u64::from(state::COUNT) * 4,
                bytemuck::bytes_of(&(targets.len() as u32)),
            );
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            // The rows to score are put first in `x`, which nothing else needs now.
            encoder.copy_buffer_to_buffer(&self.scratch.normed, from, &self.scratch.x, 0, targets.len() as u64 * row);
            self.record(&mut encoder, &scoring.rows, targets.len() as u32);
            self.gpu.queue.submit([encoder.finish()]);
            let rows: Vec<f32> = self.gpu.read_all(&self.scratch.nll).await?;
            nll.extend_from_slice(&rows[..targets.len()]);
        }
        Ok(nll)
    }

    async fn scoring(&self) -> Result<&Scoring> {
        if self.scoring.get().is_none() {
            let built = self.plan().scoring(&self.head, &self.output_norm).await?;
            let _ = self.scoring.set(built);
        }
        Ok(self.scoring.get().expect("it was built just now"))
    }

    /// The scores of the vocabulary after the token read last: for tests.
    pub async fn logits(&self) -> Result<Vec<f32>> {
        self.submit_scores();
        let mut logits: Vec<f32> = self.gpu.read_all(&self.scratch.logits).await?;
        logits.truncate(self.config.vocab);
        Ok(logits)
    }

    /// The residual stream after `id` went through the one-token kernels at `position`: for tests.
    pub async fn step(&self, position: usize, id: u32) -> Result<Vec<f32>> {
        self.write_state(position, &[id]);
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        self.record(&mut encoder, self.bindings.borrow().decode(self.mix.get()), 1);
        self.gpu.queue.submit([encoder.finish()]);
        let mut x: Vec<f32> = self.gpu.read_all(&self.scratch.x).await?;
        x.truncate(self.config.d_model);
        Ok(x)
    }

    fn submit_scores(&self) {
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        let bindings = self.bindings.borrow();
        let choose = self.choose(&bindings);
        // Without scan and draw.
        self.record(&mut encoder, &choose[..choose.len() - 2], 1);
        self.gpu.queue.submit([encoder.finish()]);
    }

    fn submit_read(&self, position: usize, ids: &[u32]) {
        assert!(!ids.is_empty() && ids.len() <= state::MAX_COUNT as usize, "{} ids cannot be read at once", ids.len());
        assert!(position + ids.len() <= self.capacity, "position {position} plus {} is past the cache", ids.len());
        self.write_state(position, ids);
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        let bindings = self.bindings.borrow();
        match (self.mix.get(), &bindings.both) {
            (Mix::Contrast(_), Some(both)) => self.record_read_both(&mut encoder, &bindings, both, ids.len()),
            (mix, _) => self.record(&mut encoder, &bindings.of(mix).prefill, ids.len() as u32),
        }
        self.gpu.queue.submit([encoder.finish()]);
    }

    fn plan(&self) -> Plan<'_> {
        let Self { gpu, config, scratch, variant, kernels, .. } = self;
        Plan { gpu, config, scratch, variant: *variant, kernels }
    }

    /// The dispatches over `sides` of the text whose part of the caches is `text`.
    async fn lists(&self, caches: &Caches, sides: &[Sides], text: usize) -> Result<Lists> {
        let blocks = Bound { layers: &self.layers, sides, caches, text: Some(text) };
        self.plan().lists(&self.embedding, &blocks).await
    }

    /// From the residual stream to the token drawn.
    fn choose<'a>(&'a self, bindings: &'a Bindings) -> &'a [Dispatch] {
        match (self.mix.get(), &bindings.both) {
            (Mix::Contrast(_), Some(both)) => &both.choose,
            _ => &self.choose,
        }
    }

    fn write_state(&self, position: usize, ids: &[u32]) {
        self.draws.abandon();
        let head = [position as u32, ids.len() as u32];
        self.gpu.queue.write_buffer(&self.scratch.state, 0, bytemuck::cast_slice(&head));
        self.gpu.queue.write_buffer(&self.scratch.state, u64::from(state::IDS) * 4, bytemuck::cast_slice(ids));
    }

    fn record(&self, encoder: &mut wgpu::CommandEncoder, dispatches: &[Dispatch], tokens: u32) {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        dispatches.iter().for_each(|dispatch| dispatch.record(&mut pass, tokens));
    }

    /// Waits until the device has done all it was given.
    async fn settle(&self) -> Result<()> {
        self.fetch_state().await.map(drop)
    }

    async fn fetch_state(&self) -> Result<Vec<u32>> {
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&self.scratch.state, 0, &self.staging, 0, self.staging.size());
        self.gpu.queue.submit([encoder.finish()]);
        self.gpu.read(&self.staging).await
    }
}

impl Bindings {
    fn of(&self, mix: Mix) -> &Lists {
        match mix {
            Mix::Base => &self.base,
            Mix::Scaled(_) | Mix::Contrast(_) => self.personal.as_ref().expect("set_mix asks for an adapter"),
        }
    }

    fn decode(&self, mix: Mix) -> &[Dispatch] {
        match (mix, &self.both) {
            (Mix::Contrast(_), Some(both)) => &both.decode,
            _ => &self.of(mix).decode,
        }
    }
}

impl Scratch {
    fn new(gpu: &Gpu, config: &ModelConfig, capacity: usize) -> Self {
        let tokens = state::MAX_COUNT as usize;
        let rows = score::rows(config.vocab);
        let widest = dims(config).map(|[rows, _]| rows).into_iter().max().unwrap_or(0);
        // Buffers of models that need them; the others bind a word.
        let only = |needed: bool, words: usize| if needed { tokens * words } else { 1 };
        Self {
            state: gpu.buffer("state", state::WORDS as usize),
            // Behind activations that a side path reads stands its bottleneck.
            x: gpu.buffer("x", tokens * config.d_model + side::tail_one(side::MAX_PARTS)),
            normed: gpu.buffer("normed", tokens * config.d_model + 4 * side::tail(side::MAX_PARTS)),
            raw: gpu.buffer("raw", only(config.heads_apart(), config.d_query() + 2 * config.d_kv())),
            given: gpu.buffer("given", only(config.post_norm, config.d_model)),
            product: gpu.buffer("product", tokens * widest),
            q: gpu.buffer("q", tokens * config.d_query()),
            attended: gpu.buffer("attended", tokens * config.d_query() + 4 * side::tail(1)),
            gated: gpu.buffer("gated", tokens * config.d_ff + 4 * side::tail(1)),
            logits: gpu.buffer("logits", rows * config.vocab),
            ropes: ropes(gpu, config, capacity),
            parameters: gpu.buffer("parameters", 8),
            seen: gpu.buffer("seen", config.vocab.div_ceil(32)),
            partial: gpu.buffer("partial", sampling::partial_words(config.vocab as u32)),
            totals: gpu.buffer("totals", sampling::TOTALS),
            targets: gpu.buffer("targets", rows),
            nll: gpu.buffer("nll", rows),
        }
    }

    /// The rotations that block `layer` reads.
    fn rope(&self, config: &ModelConfig, layer: usize) -> &wgpu::Buffer {
        rope_of(&self.ropes, config, layer)
    }
}
