//! Weights and buffers into dispatches: which kernels, with which bindings, in which order.

use super::{
    Dispatch, Groups, Layer, Lists, Matrix, Scoring, Scratch, Variant,
    adapt::{Side, Sides},
    built::{Kernels, Which},
    vocabulary::{Part, Slab},
};
use crate::{
    config::ModelConfig,
    error::Result,
    kernels::{
        attention::{Attention, QUERIES},
        gpu::Gpu,
        heads::Heads,
        norm::{self, To},
        project::{Cut, Project, Role},
        sampling, score, side,
    },
    quant::BlockType,
};

/// What it takes to turn weights into dispatches.
pub(super) struct Plan<'a> {
    pub gpu: &'a Gpu,
    pub config: &'a ModelConfig,
    pub scratch: &'a Scratch,
    pub variant: Variant,
    pub kernels: &'a Kernels,
}

/// The formats of a model's matrices as kernels read them.
pub(super) struct Formats {
    pub embedding: Vec<Slab>,
    /// Of each block: q k v, o, gate and up, down.
    pub blocks: Vec<[BlockType; 4]>,
    pub head: Vec<Slab>,
}

/// What the blocks of a list of dispatches bind.
pub(super) struct Blocks<'a> {
    pub layers: &'a [Layer],
    pub sides: &'a [Sides],
    pub caches: &'a Caches,
    /// Which text's part of the caches, or all of them for two streams.
    pub text: Option<usize>,
}

impl Blocks<'_> {
    fn each(&self) -> impl Iterator<Item = (usize, &Layer, &Sides, wgpu::BufferBinding<'_>)> {
        let parts = self.layers.iter().zip(self.sides).enumerate();
        parts.map(|(i, (layer, sides))| (i, layer, sides, self.caches.part(i, self.text)))
    }

    fn streams(&self) -> u32 {
        if self.text.is_none() { 2 } else { 1 }
    }
}

/// Keys and values of one text, or of two after each other, block by block.
#[derive(Clone)]
pub(super) struct Caches {
    pub buffers: Vec<wgpu::Buffer>,
    pub texts: u64,
}

impl Caches {
    pub fn new(gpu: &Gpu, config: &ModelConfig, capacity: usize, texts: usize) -> Self {
        // A text's part may be bound alone, which WebGPU allows at multiples of 256 bytes; it holds whole heads.
        let words = capacity.next_multiple_of(32) * 2 * config.d_kv();
        let buffers = (0..config.n_layers).map(|_| gpu.buffer("cache", texts * words)).collect();
        Self { buffers, texts: texts as u64 }
    }

    fn part(&self, layer: usize, text: Option<usize>) -> wgpu::BufferBinding<'_> {
        let buffer = &self.buffers[layer];
        let size = buffer.size() / self.texts;
        match text {
            // Before there are two, the one cache is everyone's.
            Some(text) => {
                let offset = size * (text as u64).min(self.texts - 1);
                wgpu::BufferBinding { buffer, offset, size: std::num::NonZeroU64::new(size) }
            }
            None => buffer.as_entire_buffer_binding(),
        }
    }
}

impl Plan<'_> {
    fn project(&self, ty: BlockType, rows: usize, cols: usize, role: Role, streams: u32) -> Project {
        Project { ty, rows: rows as u32, cols: cols as u32, role, eps: self.config.norm_eps, streams }
    }

    fn qkv(&self, ty: BlockType, streams: u32) -> Project {
        let c = self.config;
        let role = qkv_role(c);
        self.project(ty, c.d_query() + 2 * c.d_kv(), c.d_model, role, streams)
    }

    /// What the projections do that the residual stream comes after.
    fn joining(&self) -> Role {
        if self.config.post_norm { Role::Given } else { Role::Residual }
    }

    fn o(&self, ty: BlockType, streams: u32) -> Project {
        self.project(ty, self.config.d_model, self.config.d_query(), self.joining(), streams)
    }

    fn gate_up(&self, ty: BlockType, streams: u32) -> Project {
        self.project(ty, 2 * self.config.d_ff, self.config.d_model, Role::GateUp(self.config.activation), streams)
    }

    fn down(&self, ty: BlockType, streams: u32) -> Project {
        self.project(ty, self.config.d_model, self.config.d_ff, self.joining(), streams)
    }

    fn head(&self, slab: &Slab, streams: u32) -> Project {
        self.project(slab.ty, slab.rows, self.config.d_model, Role::Head(slab.slice), streams)
    }

    fn attention(&self, layer: usize, texts: u32) -> Attention {
        attention_kernel(self.config, layer, texts)
    }

    fn heads_of(&self, streams: u32) -> Heads {
        heads_kernel(self.config, streams)
    }

    /// Whether each invocation is to do much and share little, as the cut has it for the products.
    fn apart(&self) -> bool {
        self.variant.cut.lanes == 1
    }

    /// Heads a workgroup of attention answers.
    fn heads(&self) -> u32 {
        self.attention(0, 1).heads(self.apart())
    }

    /// Lets the driver compile all that a text is written with, known from the formats of the matrices alone.
    pub fn begin(&self, formats: &Formats) {
        let mut needed: Vec<Which> = vec![Which::Norm(To::Own), Which::Scan, Which::Weigh, Which::Draw];
        needed.extend(formats.embedding.iter().map(|slab| Which::Embed(slab.embed(self.config, 1))));
        needed.extend(formats.head.iter().map(|slab| Which::Vector(self.head(slab, 1))));
        for (i, [qkv, o, gate_up, down]) in formats.blocks.iter().enumerate() {
            let attention = self.attention(i, 1);
            needed.extend([Which::Attention(attention), Which::ManyAttention(attention)]);
            let products = [self.qkv(*qkv, 1), self.o(*o, 1), self.gate_up(*gate_up, 1), self.down(*down, 1)];
            needed.extend(products.into_iter().flat_map(|product| [Which::Vector(product), Which::Tile(product)]));
        }
        if self.config.heads_apart() {
            needed.push(Which::Heads(self.heads_of(1)));
        }
        if self.config.post_norm {
            needed.push(Which::Norm(To::Stream { streams: 1 }));
        }
        needed.into_iter().for_each(|which| self.kernels.begin(self, which));
    }

    /// As [`Plan::begin`] for what an adapter takes besides.
    pub fn begin_sides(&self) {
        self.kernels.begin(self, Which::Narrow);
        if self.variant.cut.walk {
            self.kernels.begin(self, Which::NarrowOne { streams: 1 });
        }
    }

    async fn kernel(&self, which: Which) -> Result<wgpu::ComputePipeline> {
        self.kernels.get(self, which).await
    }

    pub fn text(&self, which: Which) -> String {
        let (c, cut) = (self.config, self.variant.cut);
        let (vocab, many) = (c.vocab as u32, sampling::workgroup(self.apart()));
        match which {
            Which::Embed(embed) => embed.wgsl(),
            Which::Norm(to) => norm::wgsl(c.d_model as u32, c.norm_eps, to),
            Which::Heads(heads) => heads.wgsl(),
            Which::Attention(attention) if self.apart() => attention.vector_apart(),
            Which::Attention(attention) => attention.vector(),
            Which::ManyAttention(attention) => attention.many(self.apart()),
            Which::Narrow => side::narrow(),
            Which::NarrowOne { streams } => side::narrow_one(streams),
            Which::Vector(project) => project.vector(cut),
            Which::Tile(project) => project.tile(cut),
            Which::Merge { peaks } => sampling::merge(vocab, peaks, many),
            Which::Scan => sampling::scan(vocab, many),
            Which::Weigh => sampling::weigh(vocab, many),
            Which::Draw => sampling::draw(vocab, many),
        }
    }

    fn dispatch(&self, kernel: &wgpu::ComputePipeline, buffers: &[&wgpu::Buffer], groups: Groups) -> Dispatch {
        Dispatch { kernel: kernel.clone(), bindings: self.gpu.bind(kernel, buffers), groups }
    }

    /// As [`Plan::dispatch`], with the part of a cache among the buffers.
    fn with_cache(
        &self,
        kernel: &wgpu::ComputePipeline,
        before: &[&wgpu::Buffer],
        cache: &wgpu::BufferBinding<'_>,
        after: &[&wgpu::Buffer],
        groups: Groups,
    ) -> Dispatch {
        let mut parts: Vec<_> = before.iter().map(|buffer| buffer.as_entire_buffer_binding()).collect();
        parts.push(cache.clone());
        parts.extend(after.iter().map(|buffer| buffer.as_entire_buffer_binding()));
        Dispatch { kernel: kernel.clone(), bindings: self.gpu.bind_parts(kernel, &parts), groups }
    }

    async fn embed(&self, embedding: &[Part], streams: u32) -> Result<Vec<Dispatch>> {
        let s = self.scratch;
        let groups = if streams > 1 { Groups::Fixed(streams) } else { Groups::Tokens };
        let mut list = Vec::with_capacity(embedding.len());
        for part in embedding {
            let kernel = self.kernel(Which::Embed(part.slab.embed(self.config, streams))).await?;
            let Matrix { words, scales, .. } = &part.matrix;
            list.push(self.dispatch(&kernel, &[&s.state, words, scales, &s.x], groups));
        }
        Ok(list)
    }

    /// All dispatches of one text.
    pub async fn lists(&self, embedding: &[Part], blocks: &Blocks<'_>) -> Result<Lists> {
        Ok(Lists { decode: self.decode(embedding, blocks).await?, prefill: self.prefill(embedding, blocks).await? })
    }

    /// Where a projection puts its rows: the residual stream, or a buffer from which a norm brings them there.
    fn joined(&self) -> &wgpu::Buffer {
        if self.config.post_norm { &self.scratch.given } else { &self.scratch.x }
    }

    /// What brings the output of attention (0) or of the feed-forward layer (1) into the residual stream.
    async fn join(&self, layer: &Layer, which: usize, streams: u32) -> Result<Option<Dispatch>> {
        let Some(norms) = &layer.post_norms else { return Ok(None) };
        let kernel = self.kernel(Which::Norm(To::Stream { streams })).await?;
        let s = self.scratch;
        let groups = if streams > 1 { Groups::Fixed(streams) } else { Groups::Tokens };
        Ok(Some(self.dispatch(&kernel, &[&s.state, &s.given, &norms[which], &s.x], groups)))
    }

    /// Queries, keys and values from the activations `x`: by `kernel`, and where heads are handled apart by another one.
    async fn queries(
        &self,
        kernel: &wgpu::ComputePipeline,
        (i, layer, sides, cache): (usize, &Layer, &Sides, &wgpu::BufferBinding<'_>),
        x: &wgpu::Buffer,
        groups: Groups,
        streams: u32,
    ) -> Result<Vec<Dispatch>> {
        let s = self.scratch;
        let (words, scales, side) = (&layer.qkv.words, &layer.qkv.scales, &sides.qkv.buffer);
        let rope = s.rope(self.config, i);
        let Some(more) = &layer.more else {
            let buffers = [&s.state, words, scales, x, &s.q, side, rope];
            return Ok(vec![self.with_cache(kernel, &buffers, cache, &[], groups)]);
        };
        let product = self.dispatch(kernel, &[&s.state, words, scales, x, &s.raw, side], groups);
        let heads = self.heads_of(streams);
        let kernel = self.kernel(Which::Heads(heads)).await?;
        let groups = match streams {
            1 => Groups::PerTokens(heads.groups(), 1),
            n => Groups::Plane(heads.groups(), n),
        };
        let turned = self.with_cache(&kernel, &[&s.state, &s.raw, more, rope, &s.q], cache, &[], groups);
        Ok(vec![product, turned])
    }

    /// One token, of one text or of two.
    pub async fn decode(&self, embedding: &[Part], blocks: &Blocks<'_>) -> Result<Vec<Dispatch>> {
        let (c, s, cut) = (self.config, self.scratch, self.variant.cut);
        let streams = blocks.streams();
        let mut list = self.embed(embedding, streams).await?;
        for (i, layer, sides, cache) in blocks.each() {
            let qkv = self.qkv(layer.qkv.ty, streams);
            let kernel = self.kernel(Which::Vector(qkv)).await?;
            let groups = Groups::Fixed(qkv.vector_groups(cut));
            list.extend(self.narrow_one(&sides.qkv, &s.x, streams).await?);
            list.extend(self.queries(&kernel, (i, layer, sides, &cache), &s.x, groups, streams).await?);

            let attention = self.kernel(Which::Attention(self.attention(i, streams))).await?;
            let groups = Groups::Fixed(streams * c.n_heads as u32 / self.heads());
            list.push(self.with_cache(&attention, &[&s.state, &s.q], &cache, &[&s.attended], groups));

            let o = self.o(layer.o.ty, streams);
            list.extend(self.vector(o, &layer.o, &sides.o, &s.attended, self.joined()).await?);
            list.extend(self.join(layer, 0, streams).await?);
            let gate_up = self.gate_up(layer.gate_up.ty, streams);
            list.extend(self.vector(gate_up, &layer.gate_up, &sides.gate_up, &s.x, &s.gated).await?);
            let down = self.down(layer.down.ty, streams);
            list.extend(self.vector(down, &layer.down, &sides.down, &s.gated, self.joined()).await?);
            list.extend(self.join(layer, 1, streams).await?);
        }
        Ok(list)
    }

    /// A projection of one token, after the bottleneck of its side path where kernels do not make that themselves.
    async fn vector(
        &self,
        project: Project,
        matrix: &Matrix,
        side: &Side,
        from: &wgpu::Buffer,
        to: &wgpu::Buffer,
    ) -> Result<impl Iterator<Item = Dispatch>> {
        let narrow = self.narrow_one(side, from, project.streams).await?;
        let kernel = self.kernel(Which::Vector(project)).await?;
        let buffers = [&self.scratch.state, &matrix.words, &matrix.scales, from, to, &side.buffer];
        let product = self.dispatch(&kernel, &buffers, Groups::Fixed(project.vector_groups(self.variant.cut)));
        Ok(narrow.into_iter().chain([product]))
    }

    /// The bottleneck of one token's side path, for kernels that find it behind their activations.
    async fn narrow_one(&self, side: &Side, x: &wgpu::Buffer, streams: u32) -> Result<Option<Dispatch>> {
        if !self.variant.cut.walk || side.width == 0 {
            return Ok(None);
        }
        let kernel = self.kernel(Which::NarrowOne { streams }).await?;
        let groups = Groups::Fixed(side.width.div_ceil(4));
        Ok(Some(self.dispatch(&kernel, &[&self.scratch.state, &side.buffer, x], groups)))
    }

    async fn norm(&self, weight: &wgpu::Buffer) -> Result<Dispatch> {
        let kernel = self.kernel(Which::Norm(To::Own)).await?;
        let s = self.scratch;
        Ok(self.dispatch(&kernel, &[&s.state, &s.x, weight, &s.normed], Groups::Tokens))
    }

    /// The bottleneck of a side path over the activations in `x`, where there is one.
    async fn narrow(&self, side: &Side, x: &wgpu::Buffer) -> Result<Option<Dispatch>> {
        if side.width == 0 {
            return Ok(None);
        }
        let kernel = self.kernel(Which::Narrow).await?;
        let groups = Groups::PerTokens(side::narrow_groups(side.width), 4);
        Ok(Some(self.dispatch(&kernel, &[&self.scratch.state, &side.buffer, x], groups)))
    }

    /// Many tokens of one text.
    pub async fn prefill(&self, embedding: &[Part], blocks: &Blocks<'_>) -> Result<Vec<Dispatch>> {
        let (c, s, cut) = (self.config, self.scratch, self.variant.cut);
        let mut list = self.embed(embedding, 1).await?;
        for (i, layer, sides, cache) in blocks.each() {
            list.push(self.norm(&layer.attention_norm).await?);
            list.extend(self.narrow(&sides.qkv, &s.normed).await?);
            let qkv = self.qkv(layer.qkv.ty, 1);
            let kernel = self.kernel(Which::Tile(qkv)).await?;
            list.extend(self.queries(&kernel, (i, layer, sides, &cache), &s.normed, tiles(&qkv, cut), 1).await?);

            let attention = self.kernel(Which::ManyAttention(self.attention(i, 1))).await?;
            let groups = Groups::PerTokens(c.n_heads as u32 / self.heads(), QUERIES);
            list.push(self.with_cache(&attention, &[&s.state, &s.q], &cache, &[&s.attended], groups));

            list.extend(self.tile(self.o(layer.o.ty, 1), &layer.o, &sides.o, &s.attended, self.joined()).await?);
            list.extend(self.join(layer, 0, 1).await?);
            list.push(self.norm(&layer.ffn_norm).await?);
            list.extend(
                self.tile(self.gate_up(layer.gate_up.ty, 1), &layer.gate_up, &sides.gate_up, &s.normed, &s.gated)
                    .await?,
            );
            list.extend(
                self.tile(self.down(layer.down.ty, 1), &layer.down, &sides.down, &s.gated, self.joined()).await?,
            );
            list.extend(self.join(layer, 1, 1).await?);
        }
        Ok(list)
    }

    /// A projection of many tokens, after the bottleneck of its side path.
    async fn tile(
        &self,
        project: Project,
        matrix: &Matrix,
        side: &Side,
        from: &wgpu::Buffer,
        to: &wgpu::Buffer,
    ) -> Result<impl Iterator<Item = Dispatch>> {
        let narrow = self.narrow(side, from).await?;
        let kernel = self.kernel(Which::Tile(project)).await?;
        let buffers = [&self.scratch.state, &matrix.words, &matrix.scales, from, to, &side.buffer];
        let product = self.dispatch(&kernel, &buffers, tiles(&project, self.variant.cut));
        Ok(narrow.into_iter().chain([product]))
    }

    /// The head over the last token of one text, or of two.
    async fn scores(&self, head: &[Part], norm: &wgpu::Buffer, streams: u32) -> Result<Vec<Dispatch>> {
        let s = self.scratch;
        let mut list = Vec::with_capacity(head.len());
        for part in head {
            let Matrix { words, scales, .. } = &part.matrix;
            let project = self.head(&part.slab, streams);
            let kernel = self.kernel(Which::Vector(project)).await?;
            let groups = Groups::Fixed(project.vector_groups(self.variant.cut));
            list.push(self.dispatch(&kernel, &[&s.state, words, scales, &s.x, &s.logits, norm], groups));
        }
        Ok(list)
    }

    pub async fn choose(&self, head: &[Part], norm: &wgpu::Buffer) -> Result<Vec<Dispatch>> {
        let mut list = self.scores(head, norm, 1).await?;
        list.extend(self.draw().await?);
        Ok(list)
    }

    async fn draw(&self) -> Result<[Dispatch; 3]> {
        let (s, shares) = (self.scratch, Groups::Fixed(sampling::scan_groups(self.config.vocab as u32)));
        let kernel = self.kernel(Which::Scan).await?;
        let scan = self.dispatch(&kernel, &[&s.parameters, &s.seen, &s.logits, &s.partial], shares);
        let kernel = self.kernel(Which::Weigh).await?;
        let weigh = self.dispatch(&kernel, &[&s.parameters, &s.logits, &s.partial, &s.totals], shares);
        let kernel = self.kernel(Which::Draw).await?;
        let buffers = [&s.parameters, &s.seen, &s.logits, &s.partial, &s.totals, &s.state];
        Ok([scan, weigh, self.dispatch(&kernel, &buffers, Groups::Fixed(1))])
    }

    /// Bytes of workgroup memory that the widest kernel of a contrast needs.
    pub fn contrast_bytes(&self) -> u32 {
        let c = self.config;
        let widest = self.project(BlockType::Q8_0, c.d_model, c.d_model.max(c.d_ff), Role::GateUp(c.activation), 2);
        widest.workgroup_bytes(self.variant.cut)
    }

    /// As [`Plan::choose`] from the two rows of a contrast.
    pub async fn choose_both(&self, head: &[Part], norm: &wgpu::Buffer) -> Result<Vec<Dispatch>> {
        let s = self.scratch;
        let mut list = self.scores(head, norm, 2).await?;
        for peaks in [true, false] {
            let kernel = self.kernel(Which::Merge { peaks }).await?;
            let groups = Groups::Fixed(sampling::scan_groups(self.config.vocab as u32));
            list.push(self.dispatch(&kernel, &[&s.parameters, &s.logits, &s.partial], groups));
        }
        list.extend(self.draw().await?);
        Ok(list)
    }

    /// Final norm of the tokens read, then scores and likelihoods of [`score::rows`] of them.
    pub async fn scoring(&self, head: &[Part], norm: &wgpu::Buffer) -> Result<Scoring> {
        let (c, s, cut) = (self.config, self.scratch, self.variant.cut);
        let mut rows = Vec::with_capacity(head.len() + 1);
        for part in head {
            let Matrix { words, scales, ty } = &part.matrix;
            let project = self.project(*ty, part.slab.rows, c.d_model, Role::Scores(part.slab.slice), 1);
            let kernel = self.kernel(Which::Tile(project)).await?;
            rows.push(self.dispatch(&kernel, &[&s.state, words, scales, &s.x, &s.logits], tiles(&project, cut)));
        }
        let kernel = self.gpu.kernel("likelihood", &score::wgsl(c.vocab as u32)).await?;
        rows.push(self.dispatch(&kernel, &[&s.state, &s.targets, &s.logits, &s.nll], Groups::Tokens));
        Ok(Scoring { norm: self.norm(norm).await?, rows })
    }
}

/// What the projection before attention does with its rows.
pub(crate) fn qkv_role(c: &ModelConfig) -> Role {
    let turned = !c.heads_apart();
    Role::Qkv { d_query: c.d_query() as u32, d_kv: c.d_kv() as u32, d_head: c.d_head as u32, turned }
}

/// Attention of block `layer`.
pub(crate) fn attention_kernel(c: &ModelConfig, layer: usize, texts: u32) -> Attention {
    Attention {
        n_heads: c.n_heads as u32,
        n_kv_heads: c.n_kv_heads as u32,
        d_head: c.d_head as u32,
        window: c.window_of(layer).unwrap_or(0) as u32,
        texts,
        row: None,
    }
}

/// The kernel between that projection and attention, for models that need one.
pub(crate) fn heads_kernel(c: &ModelConfig, streams: u32) -> Heads {
    Heads {
        n_heads: c.n_heads as u32,
        n_kv_heads: c.n_kv_heads as u32,
        d_head: c.d_head as u32,
        eps: c.norm_eps,
        bias: c.qkv_bias,
        normed: c.head_norm,
        streams,
    }
}

fn tiles(project: &Project, cut: Cut) -> Groups {
    Groups::PerTokens(project.tile_groups(cut), Project::tile_tokens(cut))
}
