//! Weights and buffers into dispatches: which kernels, with which bindings, in which order.

use super::{Dispatch, Groups, Layer, Matrix, Scoring, Scratch, Variant};
use crate::{
    config::ModelConfig,
    error::Result,
    kernels::{
        attention::{Attention, QUERIES},
        embed,
        gpu::Gpu,
        norm,
        project::{Cut, Project, Role},
        sampling, score,
    },
    quant::BlockType,
};

/// What it takes to turn weights into dispatches. Kernels of equal text are built once a list.
pub(super) struct Plan<'a> {
    pub gpu: &'a Gpu,
    pub config: &'a ModelConfig,
    pub scratch: &'a Scratch,
    pub variant: Variant,
}

impl Plan<'_> {
    fn project(&self, ty: BlockType, rows: usize, cols: usize, role: Role) -> Project {
        Project { ty, rows: rows as u32, cols: cols as u32, role, eps: self.config.norm_eps }
    }

    fn qkv_role(&self) -> Role {
        let c = self.config;
        Role::Qkv { d_query: c.d_query() as u32, d_kv: c.d_kv() as u32, d_head: c.d_head as u32 }
    }

    fn attention(&self) -> Attention {
        let c = self.config;
        Attention { n_heads: c.n_heads as u32, n_kv_heads: c.n_kv_heads as u32, d_head: c.d_head as u32 }
    }

    /// Whether each invocation is to do much and share little, as the cut has it for the products.
    fn apart(&self) -> bool {
        self.variant.cut.lanes == 1
    }

    fn dispatch(&self, kernel: &wgpu::ComputePipeline, buffers: &[&wgpu::Buffer], groups: Groups) -> Dispatch {
        Dispatch { kernel: kernel.clone(), bindings: self.gpu.bind(kernel, buffers), groups }
    }

    async fn embed(&self, embedding: &Matrix) -> Result<Dispatch> {
        let kernel = self.gpu.kernel("embed", &embed::wgsl(embedding.ty, self.config.d_model as u32)).await?;
        let s = self.scratch;
        Ok(self.dispatch(&kernel, &[&s.state, &embedding.words, &embedding.scales, &s.x], Groups::Tokens))
    }

    pub async fn decode(&self, embedding: &Matrix, layers: &[Layer]) -> Result<Vec<Dispatch>> {
        let (c, s, cut) = (self.config, self.scratch, self.variant.cut);
        let mut kernels = Kernels::new(self.gpu);
        let mut list = vec![self.embed(embedding).await?];
        let (attention, heads) = match self.apart() {
            true => (self.attention().vector_apart(), self.attention().together()),
            false => (self.attention().vector(), 1),
        };
        let attention = kernels.get("attention", attention).await?;
        for layer in layers {
            let qkv = self.project(layer.qkv.ty, c.d_query() + 2 * c.d_kv(), c.d_model, self.qkv_role());
            let kernel = kernels.get("qkv", qkv.vector(cut)).await?;
            let (words, scales) = (&layer.qkv.words, &layer.qkv.scales);
            let buffers = [&s.state, words, scales, &s.x, &s.q, &layer.attention_norm, &s.rope, &layer.cache];
            list.push(self.dispatch(&kernel, &buffers, Groups::Fixed(qkv.vector_groups(cut))));

            let buffers = [&s.state, &s.q, &layer.cache, &s.attended];
            list.push(self.dispatch(&attention, &buffers, Groups::Fixed(c.n_heads as u32 / heads)));

            let o = self.project(layer.o.ty, c.d_model, c.d_query(), Role::Residual);
            let kernel = kernels.get("o", o.vector(cut)).await?;
            let buffers = [&s.state, &layer.o.words, &layer.o.scales, &s.attended, &s.x];
            list.push(self.dispatch(&kernel, &buffers, Groups::Fixed(o.vector_groups(cut))));

            let gate_up = self.project(layer.gate_up.ty, 2 * c.d_ff, c.d_model, Role::GateUp);
            let kernel = kernels.get("gate up", gate_up.vector(cut)).await?;
            let buffers = [&s.state, &layer.gate_up.words, &layer.gate_up.scales, &s.x, &s.gated, &layer.ffn_norm];
            list.push(self.dispatch(&kernel, &buffers, Groups::Fixed(gate_up.vector_groups(cut))));

            let down = self.project(layer.down.ty, c.d_model, c.d_ff, Role::Residual);
            let kernel = kernels.get("down", down.vector(cut)).await?;
            let buffers = [&s.state, &layer.down.words, &layer.down.scales, &s.gated, &s.x];
            list.push(self.dispatch(&kernel, &buffers, Groups::Fixed(down.vector_groups(cut))));
        }
        Ok(list)
    }

    async fn norm(&self, weight: &wgpu::Buffer) -> Result<Dispatch> {
        let kernel = self.gpu.kernel("norm", &norm::wgsl(self.config.d_model as u32, self.config.norm_eps)).await?;
        let s = self.scratch;
        Ok(self.dispatch(&kernel, &[&s.state, &s.x, weight, &s.normed], Groups::Tokens))
    }

    pub async fn prefill(&self, embedding: &Matrix, layers: &[Layer]) -> Result<Vec<Dispatch>> {
        let (c, s, cut) = (self.config, self.scratch, self.variant.cut);
        let mut kernels = Kernels::new(self.gpu);
        let norm = kernels.get("norm", norm::wgsl(c.d_model as u32, c.norm_eps)).await?;
        let heads = if self.apart() { self.attention().together() } else { 1 };
        let attention = kernels.get("attention", self.attention().many(heads)).await?;
        let mut list = vec![self.embed(embedding).await?];
        for layer in layers {
            list.push(self.dispatch(&norm, &[&s.state, &s.x, &layer.attention_norm, &s.normed], Groups::Tokens));
            let qkv = self.project(layer.qkv.ty, c.d_query() + 2 * c.d_kv(), c.d_model, self.qkv_role());
            let kernel = kernels.get("qkv", qkv.tile(cut)).await?;
            let buffers = [&s.state, &layer.qkv.words, &layer.qkv.scales, &s.normed, &s.q, &s.rope, &layer.cache];
            list.push(self.dispatch(&kernel, &buffers, tiles(&qkv, cut)));

            let groups = Groups::PerTokens(c.n_heads as u32 / heads, QUERIES);
            list.push(self.dispatch(&attention, &[&s.state, &s.q, &layer.cache, &s.attended], groups));

            let o = self.project(layer.o.ty, c.d_model, c.d_query(), Role::Residual);
            let kernel = kernels.get("o", o.tile(cut)).await?;
            let buffers = [&s.state, &layer.o.words, &layer.o.scales, &s.attended, &s.x];
            list.push(self.dispatch(&kernel, &buffers, tiles(&o, cut)));

            list.push(self.dispatch(&norm, &[&s.state, &s.x, &layer.ffn_norm, &s.normed], Groups::Tokens));
            let gate_up = self.project(layer.gate_up.ty, 2 * c.d_ff, c.d_model, Role::GateUp);
            let kernel = kernels.get("gate up", gate_up.tile(cut)).await?;
            let buffers = [&s.state, &layer.gate_up.words, &layer.gate_up.scales, &s.normed, &s.gated];
            list.push(self.dispatch(&kernel, &buffers, tiles(&gate_up, cut)));

            let down = self.project(layer.down.ty, c.d_model, c.d_ff, Role::Residual);
            let kernel = kernels.get("down", down.tile(cut)).await?;
            let buffers = [&s.state, &layer.down.words, &layer.down.scales, &s.gated, &s.x];
            list.push(self.dispatch(&kernel, &buffers, tiles(&down, cut)));
        }
        Ok(list)
    }

    pub async fn choose(&self, head: &Matrix, norm: &wgpu::Buffer) -> Result<Vec<Dispatch>> {
        let (c, s, cut) = (self.config, self.scratch, self.variant.cut);
        let vocab = c.vocab as u32;
        let project = self.project(head.ty, c.vocab, c.d_model, Role::Head);
        let kernel = self.gpu.kernel("head", &project.vector(cut)).await?;
        let buffers = [&s.state, &head.words, &head.scales, &s.x, &s.logits, norm];
        let head = self.dispatch(&kernel, &buffers, Groups::Fixed(project.vector_groups(cut)));
        let kernel = self.gpu.kernel("scan", &sampling::scan(vocab)).await?;
        let buffers = [&s.parameters, &s.seen, &s.logits, &s.partial];
        let scan = self.dispatch(&kernel, &buffers, Groups::Fixed(sampling::scan_groups(vocab)));
        let kernel = self.gpu.kernel("draw", &sampling::draw(vocab)).await?;
        let draw = self.dispatch(&kernel, &[&s.parameters, &s.seen, &s.logits, &s.partial, &s.state], Groups::Fixed(1));
        Ok(vec![head, scan, draw])
    }

    /// Final norm of the tokens read, then scores and likelihoods of [`score::ROWS`] of them.
    pub async fn scoring(&self, head: &Matrix, norm: &wgpu::Buffer) -> Result<Scoring> {
        let (c, s, cut) = (self.config, self.scratch, self.variant.cut);
        let project = self.project(head.ty, c.vocab, c.d_model, Role::Scores);
        let kernel = self.gpu.kernel("scores", &project.tile(cut)).await?;
        let buffers = [&s.state, &head.words, &head.scales, &s.x, &s.logits];
        let scores = self.dispatch(&kernel, &buffers, tiles(&project, cut));
        let kernel = self.gpu.kernel("likelihood", &score::wgsl(c.vocab as u32)).await?;
        let nll = self.dispatch(&kernel, &[&s.state, &s.targets, &s.logits, &s.nll], Groups::Tokens);
        Ok(Scoring { norm: self.norm(norm).await?, rows: vec![scores, nll] })
    }
}

fn tiles(project: &Project, cut: Cut) -> Groups {
    Groups::PerTokens(project.tile_groups(cut), Project::TILE_HEIGHT)
}

/// Pipelines by their text.
struct Kernels<'a> {
    gpu: &'a Gpu,
    built: Vec<(String, wgpu::ComputePipeline)>,
}

impl<'a> Kernels<'a> {
    fn new(gpu: &'a Gpu) -> Self {
        Self { gpu, built: Vec::new() }
    }

    async fn get(&mut self, label: &str, wgsl: String) -> Result<wgpu::ComputePipeline> {
        if let Some((_, kernel)) = self.built.iter().find(|(text, _)| *text == wgsl) {
            return Ok(kernel.clone());
        }
        let kernel = self.gpu.kernel(label, &wgsl).await?;
        self.built.push((wgsl, kernel.clone()));
        Ok(kernel)
    }
}
