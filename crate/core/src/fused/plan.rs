//! Weights and buffers into dispatches: which kernels, with which bindings, in which order.

use super::{
    Dispatch, Groups, Layer, Lists, Matrix, Over, Scoring, Scratch, Variant,
    adapt::{Side, Sides},
    built::{Kernels, Which},
    matrix::dims,
    vocabulary::{Part, Slab},
};
use crate::{
    config::ModelConfig,
    error::Result,
    kernels::{
        attention::Attention,
        gpu::Gpu,
        heads::Heads,
        norm::{self, To},
        product::Product,
        project::{Project, Role, Tile},
        sampling, score,
        shared::Size,
        side,
        unpack::lengths,
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

impl Formats {
    /// Words and scales of the longest matrix of this format in any block.
    pub fn longest(&self, config: &ModelConfig, ty: BlockType) -> [u32; 2] {
        let all = self.blocks.iter().flat_map(|types| types.iter().zip(dims(config))).filter(|(of, _)| **of == ty);
        all.map(|(_, [rows, cols])| lengths(ty, rows as u32, cols as u32))
            .reduce(|a, b| [a[0].max(b[0]), a[1].max(b[1])])
            .unwrap_or_default()
    }
}

/// A projection of a list of dispatches: the kernel and what it binds.
struct Projection<'a> {
    project: Project,
    matrix: &'a Matrix,
    side: &'a Side,
    from: &'a wgpu::Buffer,
    to: &'a wgpu::Buffer,
    /// Rope and cache, where rows are turned.
    more: Vec<wgpu::BufferBinding<'a>>,
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

    /// The projections of a block of these formats: q k v, o, gate and up, down.
    fn projects(&self, types: [BlockType; 4], streams: u32) -> [Project; 4] {
        let dims = dims(self.config);
        let roles = [qkv_role(self.config), self.joining(), Role::GateUp(self.config.activation), self.joining()];
        [0, 1, 2, 3].map(|i| self.project(types[i], dims[i][0], dims[i][1], roles[i], streams))
    }

    /// What the projections do that the residual stream comes after.
    fn joining(&self) -> Role {
        if self.config.post_norm { Role::Given } else { Role::Residual }
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

    /// Lets the driver compile all that a text is written with, known from the formats of the matrices alone.
    pub fn begin(&self, formats: &Formats) {
        let mut needed: Vec<Which> = vec![Which::Norm(To::Own), Which::Scan, Which::Weigh, Which::Draw];
        needed.extend(formats.embedding.iter().map(|slab| Which::Embed(slab.embed(self.config, 1))));
        needed.extend(formats.head.iter().map(|slab| Which::Vector(self.head(slab, 1))));
        for (i, types) in formats.blocks.iter().enumerate() {
            let attention = self.attention(i, 1);
            needed.extend([Which::Attention(attention), Which::ManyAttention(attention)]);
            for project in self.projects(*types, 1) {
                needed.push(Which::Vector(project));
                match self.variant.cut.tile {
                    Tile::Shared(_) => needed.push(Which::Tile(project)),
                    Tile::Apart(apart) => {
                        let lengths = formats.longest(self.config, project.ty);
                        needed.push(Which::Product(Product { ty: project.ty, lengths, apart }));
                        needed.extend((!project.role.plain()).then_some(Which::Rest(project)));
                    }
                }
            }
        }
        if self.config.heads_apart() {
            needed.push(Which::Heads(self.heads_of(1)));
        }
        if self.config.post_norm {
            needed.push(Which::Norm(To::Stream { streams: 1 }));
        }
        self.begin_each(&needed);
    }

    /// Begins kernels, of which blocks ask for the same ones: a text is long to write, and is written once.
    fn begin_each(&self, needed: &[Which]) {
        for (i, which) in needed.iter().enumerate() {
            if !needed[..i].contains(which) {
                self.kernels.begin(self, *which);
            }
        }
    }

    /// As [`Plan::begin`] for what an adapter takes besides.
    pub fn begin_sides(&self, formats: &Formats) {
        let mut needed = vec![Which::Narrow];
        if matches!(self.variant.cut.tile, Tile::Apart(_)) {
            let all = formats.blocks.iter().flat_map(|types| self.projects(*types, 1));
            needed.extend(all.map(Which::Widen));
        }
        if self.variant.cut.walk {
            needed.push(Which::NarrowOne { streams: 1 });
        }
        self.begin_each(&needed);
    }

    async fn kernel(&self, which: Which) -> Result<wgpu::ComputePipeline> {
        self.kernels.get(self, which).await
    }

    pub fn text(&self, which: Which) -> String {
        let (c, cut) = (self.config, self.variant.cut);
        let (vocab, many) = (c.vocab as u32, sampling::workgroup(cut.apart()));
        match which {
            Which::Embed(embed) => embed.wgsl(),
            Which::Norm(to) => norm::wgsl(c.d_model as u32, c.norm_eps, to),
            Which::Heads(heads) => heads.wgsl(),
            Which::Attention(attention) => attention.one(cut),
            Which::ManyAttention(attention) => attention.many(cut),
            Which::Narrow => side::narrow(),
            Which::NarrowOne { streams } => side::narrow_one(streams),
            Which::Vector(project) => project.vector(cut),
            Which::Tile(project) => match cut.tile {
                Tile::Shared(size) => project.tile(size),
                Tile::Apart(_) => unreachable!("a product and its rest are kernels of their own there"),
            },
            Which::Product(product) => product.wgsl(),
            Which::Widen(project) => project.widen(),
            Which::Rest(project) => project.rest(),
            Which::Merge { peaks } => sampling::merge(vocab, peaks, many),
            Which::Scan => sampling::scan(vocab, many),
            Which::Weigh => sampling::weigh(vocab, many),
            Which::Draw => sampling::draw(vocab, many),
        }
    }

    fn dispatch(&self, kernel: &wgpu::ComputePipeline, buffers: &[&wgpu::Buffer], groups: Groups) -> Dispatch {
        self.dispatch_parts(kernel, &buffers.iter().map(|buffer| all(buffer)).collect::<Vec<_>>(), groups)
    }

    /// As [`Plan::dispatch`], with parts of buffers.
    fn dispatch_parts(
        &self,
        kernel: &wgpu::ComputePipeline,
        parts: &[wgpu::BufferBinding<'_>],
        groups: Groups,
    ) -> Dispatch {
        Dispatch { kernel: kernel.clone(), bindings: self.gpu.bind_parts(kernel, parts), groups, over: None }
    }

    async fn embed(&self, embedding: &[Part], streams: u32) -> Result<Vec<Dispatch>> {
        let s = self.scratch;
        let groups = if streams > 1 { Groups::Fixed(streams) } else { Groups::Tokens };
        let mut list = Vec::with_capacity(embedding.len());
        for part in embedding {
            let kernel = self.kernel(Which::Embed(part.slab.embed(self.config, streams))).await?;
            let [words, scales] = part.matrix.own();
            list.push(self.dispatch_parts(&kernel, &[all(&s.state), words, scales, all(&s.x)], groups));
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

    /// The projections of block `i`: q k v, o, gate and up, down; `normed` holds what the first and the third read.
    fn projections<'b>(
        &'b self,
        (i, layer, sides): (usize, &'b Layer, &'b Sides),
        cache: &wgpu::BufferBinding<'b>,
        normed: &'b wgpu::Buffer,
        streams: u32,
    ) -> [Projection<'b>; 4] {
        let s = self.scratch;
        let matrices = [&layer.qkv, &layer.o, &layer.gate_up, &layer.down];
        let [qkv, o, gate_up, down] = self.projects(matrices.map(|matrix| matrix.ty), streams);
        let (queries, more) = match qkv.role.turned() {
            true => (&s.q, vec![all(s.rope(self.config, i)), cache.clone()]),
            false => (&s.raw, Vec::new()),
        };
        let of = |project, matrix, side, from, to| Projection { project, matrix, side, from, to, more: Vec::new() };
        [
            Projection { more, ..of(qkv, &layer.qkv, &sides.qkv, normed, queries) },
            of(o, &layer.o, &sides.o, &s.attended, self.joined()),
            of(gate_up, &layer.gate_up, &sides.gate_up, normed, &s.gated),
            of(down, &layer.down, &sides.down, &s.gated, self.joined()),
        ]
    }

    /// What brings queries, keys and values to attention, where the projection before it does not.
    async fn turn(
        &self,
        i: usize,
        layer: &Layer,
        cache: &wgpu::BufferBinding<'_>,
        streams: u32,
    ) -> Result<Option<Dispatch>> {
        let Some(more) = &layer.more else { return Ok(None) };
        let (s, heads) = (self.scratch, self.heads_of(streams));
        let kernel = self.kernel(Which::Heads(heads)).await?;
        let groups = match streams {
            1 => Groups::PerTokens(heads.groups(), 1),
            n => Groups::Plane(heads.groups(), n),
        };
        let rope = s.rope(self.config, i);
        let parts = [all(&s.state), all(&s.raw), all(more), all(rope), all(&s.q), cache.clone()];
        Ok(Some(self.dispatch_parts(&kernel, &parts, groups)))
    }

    /// One token, of one text or of two.
    pub async fn decode(&self, embedding: &[Part], blocks: &Blocks<'_>) -> Result<Vec<Dispatch>> {
        let (c, s) = (self.config, self.scratch);
        let streams = blocks.streams();
        let mut list = self.embed(embedding, streams).await?;
        for (i, layer, sides, cache) in blocks.each() {
            let [qkv, o, gate_up, down] = self.projections((i, layer, sides), &cache, &s.x, streams);
            list.extend(self.vector(qkv).await?);
            list.extend(self.turn(i, layer, &cache, streams).await?);

            let attention = self.attention(i, streams);
            let groups = Groups::Fixed(streams * c.n_heads as u32 / attention.heads_of_one(self.variant.cut));
            let attention = self.kernel(Which::Attention(attention)).await?;
            list.push(self.attend(&attention, &cache, groups));

            list.extend(self.vector(o).await?);
            list.extend(self.join(layer, 0, streams).await?);
            list.extend(self.vector(gate_up).await?);
            list.extend(self.vector(down).await?);
            list.extend(self.join(layer, 1, streams).await?);
        }
        Ok(list)
    }

    fn attend(&self, kernel: &wgpu::ComputePipeline, cache: &wgpu::BufferBinding<'_>, groups: Groups) -> Dispatch {
        let s = self.scratch;
        self.dispatch_parts(kernel, &[all(&s.state), all(&s.q), cache.clone(), all(&s.attended)], groups)
    }

    /// A projection of one token, after the bottleneck of its side path where kernels do not make that themselves.
    async fn vector(&self, projection: Projection<'_>) -> Result<impl Iterator<Item = Dispatch>> {
        let Projection { project, matrix, side, from, to, mut more } = projection;
        let narrow = self.narrow_one(side, from, project.streams).await?;
        let kernel = self.kernel(Which::Vector(project)).await?;
        let [words, scales] = matrix.own();
        let mut parts = vec![all(&self.scratch.state), words, scales, all(from), all(to), all(&side.buffer)];
        parts.append(&mut more);
        let product = self.dispatch_parts(&kernel, &parts, Groups::Fixed(project.vector_groups(self.variant.cut)));
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
        let (c, s) = (self.config, self.scratch);
        let mut list = self.embed(embedding, 1).await?;
        for (i, layer, sides, cache) in blocks.each() {
            let [qkv, o, gate_up, down] = self.projections((i, layer, sides), &cache, &s.normed, 1);
            list.push(self.norm(&layer.attention_norm).await?);
            list.extend(self.tile(qkv).await?);
            list.extend(self.turn(i, layer, &cache, 1).await?);

            let (attention, cut) = (self.attention(i, 1), self.variant.cut);
            let groups = Groups::PerTokens(c.n_heads as u32 / attention.heads(cut), Attention::queries(cut));
            let attention = self.kernel(Which::ManyAttention(attention)).await?;
            list.push(self.attend(&attention, &cache, groups));

            list.extend(self.tile(o).await?);
            list.extend(self.join(layer, 0, 1).await?);
            list.push(self.norm(&layer.ffn_norm).await?);
            list.extend(self.tile(gate_up).await?);
            list.extend(self.tile(down).await?);
            list.extend(self.join(layer, 1, 1).await?);
        }
        Ok(list)
    }

    /// A projection of many tokens, after the bottleneck of its side path.
    async fn tile(&self, projection: Projection<'_>) -> Result<Vec<Dispatch>> {
        let Projection { project, matrix, side, from, to, mut more } = projection;
        let s = self.scratch;
        let mut list: Vec<_> = self.narrow(side, from).await?.into_iter().collect();
        if let Tile::Shared(size) = self.variant.cut.tile {
            more.insert(0, all(&side.buffer));
            list.push(self.shared((project, size), matrix, from, to, &more).await?);
            return Ok(list);
        }
        let sums = if project.role.plain() { to } else { &s.product };
        list.push(self.product(project, matrix, from, sums).await?);
        let groups = Groups::PerTokens(project.rest_groups(), Project::REST_TOKENS);
        if side.width > 0 {
            let kernel = self.kernel(Which::Widen(project)).await?;
            list.push(self.dispatch(&kernel, &[&s.state, &side.buffer, from, sums], groups));
        }
        if !project.role.plain() {
            let kernel = self.kernel(Which::Rest(project)).await?;
            let mut parts = vec![all(&s.state), all(sums), all(to)];
            parts.append(&mut more);
            list.push(self.dispatch_parts(&kernel, &parts, groups));
        }
        Ok(list)
    }

    /// A projection of many tokens in tiles that a workgroup shares; `more` is what its role binds besides.
    async fn shared(
        &self,
        (project, size): (Project, Size),
        matrix: &Matrix,
        from: &wgpu::Buffer,
        to: &wgpu::Buffer,
        more: &[wgpu::BufferBinding<'_>],
    ) -> Result<Dispatch> {
        let kernel = self.kernel(Which::Tile(project)).await?;
        let [words, scales] = matrix.own();
        let parts = [&[all(&self.scratch.state), words, scales, all(from), all(to)], more].concat();
        let groups = Groups::PerTokens(project.rows.div_ceil(size.lines()), size.lines());
        Ok(self.dispatch_parts(&kernel, &parts, groups))
    }

    /// The product alone, of many tokens: by its own kernel where a workgroup shares tiles, else by that of the format.
    async fn product(
        &self,
        project: Project,
        matrix: &Matrix,
        from: &wgpu::Buffer,
        to: &wgpu::Buffer,
    ) -> Result<Dispatch> {
        match self.variant.cut.tile {
            Tile::Shared(size) => self.shared((project, size), matrix, from, to, &[]).await,
            Tile::Apart(apart) => {
                let product = matrix.product(apart);
                let kernel = self.kernel(Which::Product(product)).await?;
                let [shape, words, scales] = matrix.open();
                let groups = Groups::PerTokens(product.groups(project.rows), product.tokens());
                let parts = [all(&self.scratch.state), shape, words, scales, all(from), all(to)];
                let [bytes, flops] = project.work();
                let over = Over { name: Which::Tile(project).name(self.config.d_ff), bytes, flops };
                Ok(Dispatch { over: Some(over), ..self.dispatch_parts(&kernel, &parts, groups) })
            }
        }
    }

    /// The head over the last token of one text, or of two.
    async fn scores(&self, head: &[Part], norm: &wgpu::Buffer, streams: u32) -> Result<Vec<Dispatch>> {
        let s = self.scratch;
        let mut list = Vec::with_capacity(head.len());
        for part in head {
            let project = self.head(&part.slab, streams);
            let kernel = self.kernel(Which::Vector(project)).await?;
            let groups = Groups::Fixed(project.vector_groups(self.variant.cut));
            let [words, scales] = part.matrix.own();
            let parts = [all(&s.state), words, scales, all(&s.x), all(&s.logits), all(norm)];
            list.push(self.dispatch_parts(&kernel, &parts, groups));
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
        let (c, s) = (self.config, self.scratch);
        let mut rows = Vec::with_capacity(head.len() + 1);
        for part in head {
            let project = self.project(part.matrix.ty, part.slab.rows, c.d_model, Role::Scores(part.slab.slice), 1);
            rows.push(self.product(project, &part.matrix, &s.x, &s.logits).await?);
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

fn all(buffer: &wgpu::Buffer) -> wgpu::BufferBinding<'_> {
    buffer.as_entire_buffer_binding()
}
