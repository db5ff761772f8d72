//! Forward, backward and update as dispatches: which kernels, with which bindings, in which order.

use super::{
    layout::{Layout, Place, Side, Span},
    scratch::{BLOCK, Scratch, Values, splits},
};
use crate::{
    error::Result,
    fused::{
        FusedModel, Layer, Matrix,
        plan::{attention_kernel, heads_kernel},
        rope_of,
    },
    kernels::{
        adamw,
        attention::{Attention, Row},
        cross_entropy,
        finish::{self, Finish, Then},
        low_rank::LowRank,
        norm::{self, To},
        project::{Project, Role, Slice, Tile},
        state,
        transposed::{self, Transposed},
    },
};

type Part<'a> = wgpu::BufferBinding<'a>;

/// Workgroups along an axis.
#[derive(Debug, Clone, Copy)]
pub enum Axis {
    /// Always as many.
    Fixed(u32),
    /// One a `n` tokens.
    Tokens(u32),
    /// One a `n` tokens of the longest window.
    Longest(u32),
}
use Axis::{Fixed, Longest, Tokens};

/// How much a pass reads.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Tokens of all windows.
    pub tokens: u32,
    /// Those of the longest one.
    pub longest: u32,
}

/// A dispatch ready to be recorded.
pub struct Step {
    pub label: &'static str,
    /// Bytes of weights it needs, and multiplications and additions for each token it goes over.
    pub work: [u64; 2],
    kernel: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    groups: [Axis; 3],
}

impl Step {
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>, extent: Extent) {
        pass.set_pipeline(&self.kernel);
        pass.set_bind_group(0, &self.bindings, &[]);
        let [x, y, z] = self.groups.map(|axis| match axis {
            Fixed(n) => n,
            Tokens(per) => extent.tokens.div_ceil(per),
            Longest(per) => extent.longest.div_ceil(per),
        });
        pass.dispatch_workgroups(x, y, z);
    }
}

/// Some tokens before the head.
pub struct HeadRows {
    pub likelihood: Vec<Step>,
    pub gradient: Vec<Step>,
}

/// All dispatches of a learner.
#[derive(Default)]
pub struct Passes {
    /// Block by block, the embedding before the first.
    pub forward: Vec<Vec<Step>>,
    pub head_norm: Vec<Step>,
    pub head: Vec<HeadRows>,
    /// Loss of the windows, and the gradient through the norm before the head.
    pub head_back: Vec<Step>,
    /// Block by block, the first block first.
    pub backward: Vec<Vec<Step>>,
    pub update: Vec<Step>,
}

/// What it takes to write the passes.
pub struct Planner<'a> {
    model: &'a FusedModel,
    layout: &'a Layout,
    scratch: &'a Scratch,
    /// While kernels are only begun, so that the driver compiles them side by side.
    beginning: bool,
    list: Vec<Step>,
}

fn all(buffer: &wgpu::Buffer) -> Part<'_> {
    buffer.as_entire_buffer_binding()
}

fn part(buffer: &wgpu::Buffer, span: Span) -> Part<'_> {
    let size = wgpu::BufferSize::new(4 * span.len as u64);
    wgpu::BufferBinding { buffer, offset: 4 * span.at as u64, size }
}

/// The side paths of a matrix, and where their bottleneck stands.
#[derive(Clone, Copy)]
struct Path<'a> {
    side: &'a Side,
    t: &'a wgpu::Buffer,
}

impl<'a> Planner<'a> {
    pub fn new(model: &'a FusedModel, layout: &'a Layout, scratch: &'a Scratch) -> Self {
        Self { model, layout, scratch, beginning: true, list: Vec::new() }
    }

    pub async fn passes(mut self) -> Result<Passes> {
        self.write().await?;
        self.model.kernels.finish().await?;
        self.beginning = false;
        self.write().await
    }

    async fn write(&mut self) -> Result<Passes> {
        let n_layers = self.model.config.n_layers;
        let (mut forward, mut backward) = (Vec::new(), Vec::new());
        for l in 0..n_layers {
            if l == 0 {
                self.embed().await?;
            }
            self.forward(l).await?;
            forward.push(std::mem::take(&mut self.list));
            self.backward(l).await?;
            backward.push(std::mem::take(&mut self.list));
        }
        let s = self.scratch;
        self.norm(&s.output, &self.model.output_norm).await?;
        let head_norm = std::mem::take(&mut self.list);
        let mut head = Vec::new();
        for rows in 0..s.rows.len() {
            self.likelihood(rows).await?;
            let likelihood = std::mem::take(&mut self.list);
            self.head_gradient(rows).await?;
            head.push(HeadRows { likelihood, gradient: std::mem::take(&mut self.list) });
        }
        let tally = [all(&s.state), all(&s.nll), all(&s.control), all(&s.tally)];
        self.push("tally", cross_entropy::tally(), &tally, [Fixed(1); 3]).await?;
        self.norm_back(&s.output, &self.model.output_norm).await?;
        let head_back = std::mem::take(&mut self.list);
        self.update().await?;
        Ok(Passes { forward, head_norm, head, head_back, backward, update: std::mem::take(&mut self.list) })
    }

    async fn push(&mut self, label: &'static str, wgsl: String, parts: &[Part<'_>], groups: [Axis; 3]) -> Result<()> {
        let FusedModel { gpu, kernels, .. } = self.model;
        if self.beginning {
            kernels.begin_text(gpu, label, wgsl);
            return Ok(());
        }
        let kernel = kernels.of_text(&wgsl).expect("the first writing of the passes began each");
        let bindings = gpu.bind_parts(&kernel, parts);
        self.list.push(Step { label, work: [0; 2], kernel, bindings, groups });
        Ok(())
    }

    /// Tells of the dispatch pushed last that it goes over a matrix.
    fn over(&mut self, m: &Matrix, [rows, cols]: [usize; 2]) {
        if let Some(step) = self.list.last_mut() {
            step.work = [(rows * m.ty.row_bytes(cols)) as u64, (2 * rows * cols) as u64];
        }
    }

    /// Whether each invocation is to do much and share little, as the model's cut has it.
    fn apart(&self) -> bool {
        self.model.variant.cut.apart()
    }

    fn attention(&self, l: usize) -> Attention {
        let s = self.scratch;
        let row = Row { bounds: state::IDS + s.tokens as u32, longest: s.longest as u32 };
        Attention { row: Some(row), ..attention_kernel(&self.model.config, l, 1) }
    }

    fn path(&self, l: usize, place: Place) -> Path<'a> {
        Path { side: self.layout.side(l, place), t: &self.scratch.values(l).t[place as usize] }
    }

    fn rope(&self, l: usize) -> &'a wgpu::Buffer {
        rope_of(&self.scratch.ropes, &self.model.config, l)
    }

    async fn embed(&mut self) -> Result<()> {
        let (s, model) = (self.scratch, self.model);
        for part in &model.embedding {
            let wgsl = part.slab.embed(&model.config, 1).wgsl();
            let [words, scales] = part.matrix.own();
            let parts = [all(&s.state), words, scales, all(&s.kept[0].input)];
            self.push("embed", wgsl, &parts, [Tokens(1), Fixed(1), Fixed(1)]).await?;
        }
        Ok(())
    }

    async fn norm(&mut self, x: &wgpu::Buffer, weight: &wgpu::Buffer) -> Result<()> {
        let (s, c) = (self.scratch, &self.model.config);
        let parts = [all(&s.state), all(x), all(weight), all(&s.normed)];
        let wgsl = norm::wgsl(c.d_model as u32, c.norm_eps, To::Own);
        self.push("norm", wgsl, &parts, [Tokens(1), Fixed(1), Fixed(1)]).await
    }

    /// From the gradient in `dx` to that of the residual stream, which it is added to.
    async fn norm_back(&mut self, x: &wgpu::Buffer, weight: &wgpu::Buffer) -> Result<()> {
        let (s, c) = (self.scratch, &self.model.config);
        let parts = [all(&s.state), all(x), all(weight), all(&s.dx), all(&s.grad)];
        let wgsl = norm::backward(c.d_model as u32, c.norm_eps, true);
        self.push("norm back", wgsl, &parts, [Tokens(1), Fixed(1), Fixed(1)]).await
    }

    /// The product alone, of a matrix or of a part of one.
    async fn product(
        &mut self,
        label: &'static str,
        state: &wgpu::Buffer,
        (m, slice): (&Matrix, Slice),
        x: Part<'_>,
        y: &wgpu::Buffer,
        dims: [usize; 2],
    ) -> Result<()> {
        let [rows, cols] = dims.map(|n| n as u32);
        let role = Role::Scores(slice);
        let project = Project { ty: m.ty, rows, cols, role, eps: self.model.config.norm_eps, streams: 1 };
        match self.model.variant.cut.tile {
            Tile::Shared(size) => {
                let [words, scales] = m.own();
                let groups = [Fixed(rows.div_ceil(size.lines())), Tokens(size.lines()), Fixed(1)];
                self.push(label, project.tile(size), &[all(state), words, scales, x, all(y)], groups).await?;
            }
            Tile::Apart(apart) => {
                let (product, [shape, words, scales]) = (m.product(apart), m.open());
                let groups = [Fixed(product.groups(rows)), Tokens(product.tokens()), Fixed(1)];
                self.push(label, product.wgsl(), &[all(state), shape, words, scales, x, all(y)], groups).await?;
            }
        }
        self.over(m, dims);
        Ok(())
    }

    /// Product and bottlenecks of `x`: `y` and `t`.
    async fn project(&mut self, m: &Matrix, path: Path<'_>, x: &wgpu::Buffer, y: &wgpu::Buffer) -> Result<()> {
        let s = self.scratch;
        let (rows, cols) = (path.side.low.rows(), path.side.low.cols);
        self.product("product", &s.state, (m, Slice::whole(rows)), all(x), y, [rows as usize, cols as usize]).await?;
        self.narrow(path, x).await
    }

    async fn narrow(&mut self, Path { side, t }: Path<'_>, x: &wgpu::Buffer) -> Result<()> {
        let (s, low) = (self.scratch, &side.low);
        if low.quads() == 0 {
            return Ok(());
        }
        let parts = [all(&s.state), all(x), part(&s.parameters, side.a), all(t)];
        let (wgsl, tokens) =
            if self.apart() { (low.narrow(), 64) } else { (low.narrow_shared(), LowRank::SHARED_TOKENS) };
        self.push("narrow", wgsl, &parts, [Tokens(tokens), Fixed(low.quads()), Fixed(1)]).await
    }

    async fn finish(&mut self, path: Path<'_>, y: &wgpu::Buffer, then: Then, more: &[Part<'_>]) -> Result<()> {
        let Path { side, t } = path;
        let s = self.scratch;
        if then == Then::Keep && side.low.quads() == 0 {
            return Ok(());
        }
        let mut parts = vec![all(&s.state), all(y)];
        if side.low.quads() > 0 {
            parts.extend([all(t), part(&s.parameters, side.b)]);
        }
        parts.extend_from_slice(more);
        let finish = Finish { side: &side.low, then };
        let groups = [Fixed(finish.groups()), Tokens(Finish::TOKENS), Fixed(1)];
        self.push("finish", finish.wgsl(), &parts, groups).await
    }

    /// Norm and projection before attention: `normed`, and of the block's values `t`, `q` and `kv`.
    async fn before_attention(&mut self, l: usize) -> Result<()> {
        let (s, layer, c) = (self.scratch, &self.model.layers[l], &self.model.config);
        let (path, values) = (self.path(l, Place::Qkv), s.values(l));
        self.norm(&s.kept[l].input, &layer.attention_norm).await?;
        let rope = self.rope(l);
        if let Some(more) = &layer.more {
            self.project(&layer.qkv, path, &s.normed, &values.raw).await?;
            self.finish(path, &values.raw, Then::Keep, &[]).await?;
            let heads = heads_kernel(c, 1);
            let parts = [all(&s.state), all(&values.raw), all(more), all(rope), all(&values.q), all(&values.kv)];
            return self.push("heads", heads.wgsl(), &parts, [Fixed(heads.groups()), Tokens(1), Fixed(1)]).await;
        }
        self.project(&layer.qkv, path, &s.normed, &s.y).await?;
        let then = Then::Rotate { d_query: c.d_query() as u32, d_kv: c.d_kv() as u32, d_head: c.d_head as u32 };
        self.finish(path, &s.y, then, &[all(rope), all(&values.q), all(&values.kv)]).await
    }

    /// What attention (0) or the feed-forward layer (1) gives, and the residual stream after it.
    async fn give(
        &mut self,
        l: usize,
        which: usize,
        (m, path, x): (&Matrix, Path<'_>, &wgpu::Buffer),
        [before, after]: [&wgpu::Buffer; 2],
    ) -> Result<()> {
        let (s, c) = (self.scratch, &self.model.config);
        let (Some(given), Some(norms)) = (&s.kept[l].given, &self.model.layers[l].post_norms) else {
            self.project(m, path, x, &s.y).await?;
            return self.finish(path, &s.y, Then::Add, &[all(before), all(after)]).await;
        };
        self.project(m, path, x, &given[which]).await?;
        self.finish(path, &given[which], Then::Keep, &[]).await?;
        let parts = [all(&s.state), all(&given[which]), all(&norms[which]), all(before), all(after)];
        let wgsl = norm::wgsl(c.d_model as u32, c.norm_eps, To::After);
        self.push("norm", wgsl, &parts, [Tokens(1), Fixed(1), Fixed(1)]).await
    }

    /// The gradient of what attention (0) or the feed-forward layer (1) gives: that of the residual stream, or what its
    /// norm makes of it.
    async fn taken(&mut self, l: usize, which: usize) -> Result<&'a wgpu::Buffer> {
        let (s, c) = (self.scratch, &self.model.config);
        let (Some(given), Some(norms)) = (&s.kept[l].given, &self.model.layers[l].post_norms) else {
            return Ok(&s.grad);
        };
        let parts = [all(&s.state), all(&given[which]), all(&norms[which]), all(&s.grad), all(&s.taken)];
        let wgsl = norm::backward(c.d_model as u32, c.norm_eps, false);
        self.push("norm back", wgsl, &parts, [Tokens(1), Fixed(1), Fixed(1)]).await?;
        Ok(&s.taken)
    }

    /// Norm and projection of the feed-forward layer: `normed`, `gated`, and of the block's values `t` and `gate_up`.
    async fn gate(&mut self, l: usize) -> Result<()> {
        let (s, layer) = (self.scratch, &self.model.layers[l]);
        let (path, gate_up) = (self.path(l, Place::GateUp), &s.values(l).gate_up);
        self.norm(&s.kept[l].middle, &layer.ffn_norm).await?;
        self.project(&layer.gate_up, path, &s.normed, gate_up).await?;
        self.finish(path, gate_up, Then::Gate(self.model.config.activation), &[all(&s.gated)]).await
    }

    /// What [`Planner::gate`] leaves, from values that are still there.
    async fn gate_again(&mut self, l: usize) -> Result<()> {
        let (s, c) = (self.scratch, &self.model.config);
        self.norm(&s.kept[l].middle, &self.model.layers[l].ffn_norm).await?;
        let parts = [all(&s.state), all(&s.values(l).gate_up), all(&s.gated)];
        let groups = [Fixed(finish::gate_groups(c.d_ff as u32)), Tokens(1), Fixed(1)];
        self.push("gate", finish::gate(c.d_ff as u32, c.activation), &parts, groups).await
    }

    async fn forward(&mut self, l: usize) -> Result<()> {
        let (s, layer) = (self.scratch, &self.model.layers[l]);
        let kept = &s.kept[l];
        self.before_attention(l).await?;
        let attention = self.attention(l);
        let values = s.values(l);
        let parts = [all(&s.state), all(&values.q), all(&values.kv), all(&kept.attended)];
        let cut = self.model.variant.cut;
        let across = Fixed(attention.n_heads / attention.heads(cut));
        let groups = [across, Tokens(Attention::queries(cut)), Fixed(1)];
        self.push("attention", attention.many(cut), &parts, groups).await?;
        let path = self.path(l, Place::O);
        self.give(l, 0, (&layer.o, path, &kept.attended), [&kept.input, &kept.middle]).await?;
        self.gate(l).await?;
        let path = self.path(l, Place::Down);
        let after = s.kept.get(l + 1).map_or(&s.output, |next| &next.input);
        self.give(l, 1, (&layer.down, path, &s.gated), [&kept.middle, after]).await
    }

    /// Gradients of a matrix's side paths, from the gradient `dy` of what it gives and from `t` and `x`.
    async fn side_back(&mut self, Path { side, t }: Path<'_>, dy: &wgpu::Buffer, x: &wgpu::Buffer) -> Result<()> {
        let (s, low) = (self.scratch, &side.low);
        if low.quads() == 0 {
            return Ok(());
        }
        let quads = Fixed(low.quads());
        let parts = [all(&s.state), all(dy), part(&s.parameters, side.b), all(&s.dt)];
        let (wgsl, tokens) =
            if self.apart() { (low.narrow_back(), 64) } else { (low.narrow_back_shared(), LowRank::SHARED_TOKENS) };
        self.push("narrow back", wgsl, &parts, [Tokens(tokens), quads, Fixed(1)]).await?;
        let parts = [all(&s.state), all(dy), all(t), part(&s.gradients, side.b)];
        let (wgsl, groups) = match self.apart() {
            true => (low.grow_b(), [low.grow_b_groups(), 1, low.parts.len() as u32]),
            false => (low.grow_b_shared(), low.grow_b_shared_groups()),
        };
        self.push("grow b", wgsl, &parts, groups.map(Fixed)).await?;
        let parts = [all(&s.state), all(x), all(&s.dt), part(&s.gradients, side.a)];
        let (wgsl, columns) = match self.apart() {
            true => (low.grow_a(), low.column_groups()),
            false => (low.grow_a_shared(), low.grow_a_shared_groups()),
        };
        self.push("grow a", wgsl, &parts, [Fixed(columns), quads, Fixed(1)]).await
    }

    fn transposed(&self, m: &Matrix, rows: u32, cols: u32) -> Transposed {
        let (slice, tile) = (Slice::whole(rows), self.model.variant.cut.tile);
        Transposed { ty: m.ty, rows, slice, cols, splits: 1, tile, first_split: 0 }
    }

    /// Gradient of what goes into a matrix: `dx`, from `dy` and `dt`.
    async fn product_back(&mut self, m: &Matrix, side: &Side, dy: &wgpu::Buffer) -> Result<()> {
        let (s, low) = (self.scratch, &side.low);
        let product = self.transposed(m, low.rows(), low.cols);
        let [words, scales] = m.own();
        let parts = [all(&s.state), words, scales, all(dy), all(&s.dx)];
        let groups = [Fixed(product.groups()), Tokens(product.tokens()), Fixed(1)];
        self.push("product back", product.wgsl(), &parts, groups).await?;
        self.over(m, [low.rows() as usize, low.cols as usize]);
        if low.quads() == 0 {
            return Ok(());
        }
        let parts = [all(&s.state), part(&s.parameters, side.a), all(&s.dt), all(&s.dx)];
        let groups = [Fixed(low.column_groups()), Tokens(LowRank::WIDEN_TOKENS), Fixed(1)];
        self.push("widen", low.widen(), &parts, groups).await
    }

    async fn backward(&mut self, l: usize) -> Result<()> {
        let (model, s) = (self.model, self.scratch);
        let (layer, kept, values): (&Layer, _, _) = (&model.layers[l], &s.kept[l], s.values(l));
        let path = self.path(l, Place::Down);
        if s.keeps_values() {
            self.gate_again(l).await?;
        } else {
            self.gate(l).await?;
            self.narrow(path, &s.gated).await?;
        }
        let taken = self.taken(l, 1).await?;
        self.side_back(path, taken, &s.gated).await?;
        self.product_back(&layer.down, path.side, taken).await?;
        let parts = [all(&s.state), all(&s.dx), all(&values.gate_up)];
        let d_ff = model.config.d_ff as u32;
        self.push(
            "gate back",
            finish::gate_back(d_ff, model.config.activation),
            &parts,
            [Fixed(finish::gate_groups(d_ff)), Tokens(1), Fixed(1)],
        )
        .await?;
        let path = self.path(l, Place::GateUp);
        self.side_back(path, &values.gate_up, &s.normed).await?;
        self.product_back(&layer.gate_up, path.side, &values.gate_up).await?;
        self.norm_back(&kept.middle, &layer.ffn_norm).await?;

        let path = self.path(l, Place::O);
        if !s.keeps_values() {
            self.narrow(path, &kept.attended).await?;
        }
        let taken = self.taken(l, 0).await?;
        self.side_back(path, taken, &kept.attended).await?;
        self.product_back(&layer.o, path.side, taken).await?;
        if s.keeps_values() {
            self.norm(&kept.input, &layer.attention_norm).await?;
        } else {
            self.before_attention(l).await?;
        }
        self.attention_back(l).await?;
        let path = self.path(l, Place::Qkv);
        self.side_back(path, &s.y, &s.normed).await?;
        // Nothing before the first block learns.
        if l > 0 {
            self.product_back(&layer.qkv, path.side, &s.y).await?;
            self.norm_back(&kept.input, &layer.attention_norm).await?;
        }
        Ok(())
    }

    /// From the gradient of attention in `dx` to that of the projection before it in `y`.
    async fn attention_back(&mut self, l: usize) -> Result<()> {
        let (s, a, rope) = (self.scratch, self.attention(l), self.rope(l));
        let Values { q, kv, raw, .. } = s.values(l);
        let queries = Tokens(64);
        let parts = [all(&s.state), all(q), all(kv), all(&s.dx), all(&s.score), all(&s.slope)];
        self.push("pairs", a.pairs(), &parts, [queries, Longest(Attention::PAIR_KEYS), Fixed(a.n_heads)]).await?;
        let scores = [all(&s.state), all(&s.score), all(&s.slope)];
        let for_queries = [all(&s.state), all(kv), all(&s.slope), all(rope), all(&s.y)];
        let weights = [all(&s.score), all(&s.slope)];
        let for_keys = [&[all(&s.state), all(q), all(&s.dx)], &weights[..], &[all(rope), all(&s.y)]].concat();
        let (heads, kv_heads) = (Fixed(a.n_heads), Fixed(a.n_kv_heads));
        if self.apart() {
            let groups = Fixed(a.back_groups());
            self.push("back scores", a.back_scores(), &scores, [queries, heads, Fixed(1)]).await?;
            self.push("back queries", a.back_queries(), &for_queries, [queries, groups, heads]).await?;
            self.push("back keys", a.back_keys(), &for_keys, [queries, groups, kv_heads]).await?;
        } else {
            let groups = [Tokens(Attention::SCORE_QUERIES), heads, Fixed(1)];
            self.push("back scores", a.back_scores_shared(), &scores, groups).await?;
            let some = Tokens(Attention::BACK_NEIGHBOURS);
            let groups = [some, Fixed(a.query_groups()), heads];
            self.push("back queries", a.back_queries_shared(), &for_queries, groups).await?;
            let groups = [some, Fixed(a.key_groups()), kv_heads];
            self.push("back keys", a.back_keys_shared(), &for_keys, groups).await?;
        }
        let c = &self.model.config;
        let Some(more) = self.model.layers[l].more.as_ref().filter(|_| c.head_norm) else { return Ok(()) };
        let parts = [all(&s.state), all(raw), all(more), all(&s.y)];
        let groups = [Fixed(a.n_heads + a.n_kv_heads), Tokens(1), Fixed(1)];
        self.push("heads back", heads_kernel(c, 1).backward(), &parts, groups).await
    }

    /// A block of [`BLOCK`] tokens of a buffer that holds `width` floats a token.
    fn rows<'b>(&self, buffer: &'b wgpu::Buffer, rows: usize, width: usize) -> Part<'b> {
        part(buffer, Span { at: self.scratch.rows[rows].first * width, len: BLOCK * width })
    }

    async fn likelihood(&mut self, rows: usize) -> Result<()> {
        let (s, c) = (self.scratch, &self.model.config);
        let state = &s.rows[rows].state;
        let hidden = self.rows(&s.normed, rows, c.d_model);
        for head in &self.model.head {
            let matrix = (&head.matrix, head.slab.slice);
            self.product("head", state, matrix, hidden.clone(), &s.logits, [head.slab.rows, c.d_model]).await?;
        }
        let (targets, nll) = (self.rows(&s.targets, rows, 1), self.rows(&s.nll, rows, 1));
        let parts = [all(state), targets, all(&s.control), all(&s.logits), nll];
        let vocab = c.vocab as u32;
        let wgsl = if self.apart() { cross_entropy::wgsl(vocab) } else { cross_entropy::shared(vocab) };
        self.push("cross entropy", wgsl, &parts, [Tokens(1), Fixed(1), Fixed(1)]).await
    }

    async fn head_gradient(&mut self, rows: usize) -> Result<()> {
        let (s, c, head) = (self.scratch, &self.model.config, &self.model.head);
        let state = &s.rows[rows].state;
        let splits = splits(head.len());
        for (i, part) in head.iter().enumerate() {
            let product = Transposed {
                slice: part.slab.slice,
                splits: splits as u32,
                first_split: (i * splits) as u32,
                ..self.transposed(&part.matrix, part.slab.rows as u32, c.d_model as u32)
            };
            let [words, scales] = part.matrix.own();
            let parts = [all(state), words, scales, all(&s.logits), all(&s.shares)];
            let groups = [Fixed(product.groups()), Tokens(product.tokens()), Fixed(splits as u32)];
            self.push("head back", product.wgsl(), &parts, groups).await?;
            self.over(&part.matrix, [part.slab.rows, c.d_model]);
        }
        let parts = [all(state), all(&s.shares), self.rows(&s.dx, rows, c.d_model)];
        let wgsl = transposed::gather(c.d_model as u32, (splits * head.len()) as u32);
        let across = Fixed((c.d_model as u32 / 4).div_ceil(64));
        self.push("gather", wgsl, &parts, [across, Tokens(1), Fixed(1)]).await
    }

    async fn update(&mut self) -> Result<()> {
        let (s, n) = (self.scratch, self.layout.len as u32);
        let once = |n| [Fixed(n), Fixed(1), Fixed(1)];
        let parts = [all(&s.gradients), all(&s.sums)];
        self.push("squares", adamw::squares(n), &parts, once(adamw::SHARES)).await?;
        let parts = [all(&s.sums), all(&s.control), all(&s.tally)];
        self.push("gradient norm", adamw::norm(), &parts, once(1)).await?;
        let moved = [all(&s.parameters), all(&s.first), all(&s.second)];
        let parts = [&[all(&s.control), all(&s.tally), all(&s.gradients)], &moved[..]].concat();
        self.push("update", adamw::update(n), &parts, once(adamw::update_groups(n))).await
    }
}
