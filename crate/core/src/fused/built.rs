//! The pipelines of a model: which there are, and each built once.

use std::cell::{Cell, RefCell};

use super::{Dispatch, Over, Variant, plan::Plan};
use crate::{
    error::Result,
    kernels::{
        attention::Attention,
        embed::Embed,
        gpu::{Begun, Gpu},
        heads::Heads,
        norm::To,
        product::Product,
        project::{Project, Role},
    },
};

/// A kernel, by what its text is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Which {
    Embed(Embed),
    Norm(To),
    Heads(Heads),
    Attention(Attention),
    ManyAttention(Attention),
    Narrow,
    NarrowOne { streams: u32 },
    Vector(Project),
    Tile(Project),
    Product(Product),
    Widen(Project),
    Rest(Project),
    Merge { peaks: bool },
    Scan,
    Weigh,
    Draw,
}

impl Which {
    /// As [`Which::label`], and tells the two products apart that go into the residual stream.
    pub fn name(self, d_ff: usize) -> &'static str {
        match self {
            Which::Vector(p) | Which::Tile(p) => match p.role {
                Role::Residual | Role::Given if p.cols as usize == d_ff => "down",
                Role::Residual | Role::Given => "o",
                Role::Head(_) => "head",
                _ => self.label(),
            },
            _ => self.label(),
        }
    }

    fn label(self) -> &'static str {
        match self {
            Which::Embed(_) => "embed",
            Which::Norm(_) => "norm",
            Which::Heads(_) => "heads",
            Which::Attention(_) | Which::ManyAttention(_) => "attention",
            Which::Narrow | Which::NarrowOne { .. } | Which::Widen(_) => "side path",
            Which::Product(_) => "product",
            Which::Rest(project) => match project.role {
                Role::Qkv { .. } => "rope",
                Role::GateUp(_) => "gate",
                _ => "join",
            },
            Which::Merge { .. } => "contrast",
            Which::Scan => "scan",
            Which::Weigh => "weigh",
            Which::Draw => "draw",
            Which::Vector(project) | Which::Tile(project) => match project.role {
                Role::Qkv { .. } => "qkv",
                Role::GateUp(_) => "gate up",
                Role::Residual | Role::Given => "residual",
                Role::Head(_) | Role::Scores(_) => "scores",
            },
        }
    }
}

/// The pipelines of one model, each text built once.
#[derive(Default)]
pub(crate) struct Kernels {
    built: RefCell<Vec<(Variant, Which, wgpu::ComputePipeline)>>,
    texts: RefCell<Vec<(String, wgpu::ComputePipeline)>>,
    begun: RefCell<Vec<(String, Begun)>>,
    /// How many were asked for before they were begun.
    late: Cell<usize>,
}

impl Kernels {
    /// Whether every kernel was begun before it was asked for, and all of these were asked for.
    pub(super) fn all_foreseen(&self) -> bool {
        self.begun.borrow().is_empty() && self.late.get() == 0
    }

    /// The built kernel of this text, where there is one.
    pub fn of_text(&self, text: &str) -> Option<wgpu::ComputePipeline> {
        self.texts.borrow().iter().find(|(there, _)| there == text).map(|(_, kernel)| kernel.clone())
    }

    /// Begins the kernel of this text, unless it is built or begun.
    pub fn begin_text(&self, gpu: &Gpu, label: &str, text: String) {
        let mut begun = self.begun.borrow_mut();
        if self.of_text(&text).is_none() && begun.iter().all(|(there, _)| *there != text) {
            let kernel = gpu.begin(label, &text);
            begun.push((text, kernel));
        }
    }

    /// Waits for all that were begun: a learner's, which the next one after a preview finds here.
    pub async fn finish(&self) -> Result<()> {
        for (text, begun) in self.begun.take() {
            let kernel = begun.await?;
            self.texts.borrow_mut().push((text, kernel));
        }
        Ok(())
    }

    /// Gives up the kernels that `variant` does not use.
    pub(super) fn keep(&self, variant: Variant) {
        let mut built = self.built.borrow_mut();
        built.retain(|(of, ..)| *of == variant);
        self.texts.borrow_mut().retain(|(_, kernel)| built.iter().any(|(.., used)| used == kernel));
    }

    fn find(&self, variant: Variant, which: Which) -> Option<wgpu::ComputePipeline> {
        self.built.borrow().iter().find(|(v, w, _)| (*v, *w) == (variant, which)).map(|(.., kernel)| kernel.clone())
    }

    /// Begins what is not there, for whoever [gets](Kernels::get) it later.
    pub(super) fn begin(&self, plan: &Plan<'_>, which: Which) {
        if self.find(plan.variant, which).is_some() {
            return;
        }
        self.begin_text(plan.gpu, which.label(), plan.text(which));
    }

    /// The kernel, built or waited for.
    pub(super) async fn get(&self, plan: &Plan<'_>, which: Which) -> Result<wgpu::ComputePipeline> {
        if let Some(kernel) = self.find(plan.variant, which) {
            return Ok(kernel);
        }
        let text = plan.text(which);
        let kernel = match self.of_text(&text) {
            Some(kernel) => kernel,
            None => {
                let kernel = self.waited_for(plan.gpu, which, &text).await?;
                self.texts.borrow_mut().push((text, kernel.clone()));
                kernel
            }
        };
        self.built.borrow_mut().push((plan.variant, which, kernel.clone()));
        Ok(kernel)
    }

    fn waited_for(&self, gpu: &Gpu, which: Which, text: &str) -> Begun {
        let mut begun = self.begun.borrow_mut();
        match begun.iter().position(|(begun, _)| begun == text) {
            Some(at) => begun.swap_remove(at).1,
            None => {
                self.late.set(self.late.get() + 1);
                gpu.begin(which.label(), text)
            }
        }
    }

    /// What `dispatch` does for `tokens` from `position` on, in a model whose feed-forward layers are `d_ff` wide.
    pub(super) fn work(&self, dispatch: &Dispatch, position: usize, tokens: usize, d_ff: usize) -> Work {
        if let Some(Over { name, bytes, flops }) = dispatch.over {
            return Work { name, bytes, flops: flops * tokens as u64 };
        }
        let built = self.built.borrow();
        let Some((_, which, _)) = built.iter().find(|(.., built)| *built == dispatch.kernel) else {
            return Work { name: "other", bytes: 0, flops: 0 };
        };
        let (bytes, flops) = match which {
            Which::Vector(p) | Which::Tile(p) => {
                let [bytes, flops] = p.work();
                (bytes, flops * tokens as u64)
            }
            Which::Attention(a) | Which::ManyAttention(a) => {
                let keys = |at: usize| (at as u64 + 1).min(if a.window == 0 { u64::MAX } else { a.window.into() });
                let weighed: u64 = (position..position + tokens).map(keys).sum();
                let (width, read) = (u64::from(a.d_head), (position + tokens) as u64);
                // Of many tokens each key is needed once.
                let read = if tokens == 1 { weighed } else { read };
                (read * 8 * width * u64::from(a.n_kv_heads), weighed * 4 * width * u64::from(a.n_heads))
            }
            _ => (0, 0),
        };
        Work { name: which.name(d_ff), bytes, flops }
    }
}

/// What one dispatch is called, reads of weights and cache, and computes.
pub(crate) struct Work {
    pub name: &'static str,
    pub bytes: u64,
    pub flops: u64,
}
