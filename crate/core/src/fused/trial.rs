//! Whether this device computes rightly: a few tokens through the first blocks and the head, held to the processor.
//!
//! A driver that compiles a kernel wrongly gives numbers, not errors. So every kernel that writes a text is tried once at
//! load, on the model's own weights, before a person reads what it makes.

use std::ops::Range;

use super::{
    Bindings, Dispatch, FusedModel, Groups, Lists, Variant,
    plan::{Blocks as Bound, Formats},
    vocabulary::Slab,
};
use crate::{
    config::ModelConfig,
    error::{Error, ErrorKind, Result},
    gguf::{Gguf, Source},
    packed::{Blocks, Packed},
    processor::Processor,
    sample::{Mix, Sampling, Seen},
    weights::{EMBEDDING, OUTPUT, OUTPUT_NORM, Reader, read_layer},
};

/// Tokens of the trial, the last of which goes through the one-token kernels too: a tile of a product that is not full, so that
/// its edge is tried as well.
const TOKENS: usize = 7;
/// Rows of the vocabulary in each of [`PARTS`] parts, from which the tokens come and whose scores are compared.
const ROWS: usize = 32;
/// Parts of the vocabulary: two that are scored wherever the trial is held, and its end.
const PARTS: usize = 3;
/// The share of its rows that the head scores where a processor poses as the GPU: all of them took half of the trial there, and
/// a kernel computes no row otherwise than another. A real GPU scores all.
const SHARE: usize = 4;
/// What stands in place of a score that is not computed: no draw reaches it.
const UNSCORED: f32 = -1e9;
/// How far a right device may be off, of the largest value: five times what the laws allow, and a wrong kernel is off by
/// far more.
const TOLERANCE: f32 = 5e-3;
/// Draws from the whole vocabulary, through every filter.
const SAMPLING: Sampling =
    Sampling { temperature: 1.0, top_k: 40, top_p: 0.95, min_p: 0.01, repetition_penalty: 1.0, seed: 1 };

/// The trial of one model: what goes in, and what must come out.
pub(super) struct Trial {
    ids: Vec<u32>,
    /// Blocks that hold every kernel of the model.
    n_layers: usize,
    /// Which rows of the vocabulary are compared.
    rows: [Range<usize>; PARTS],
    /// The residual stream after the blocks, of the last token.
    x: Vec<f32>,
    /// Scores of the rows compared.
    scores: Vec<f32>,
}

/// What the device made of it.
struct Found {
    many_x: Vec<f32>,
    single_x: Vec<f32>,
    logits: Vec<f32>,
    /// How many parts of the vocabulary were scored.
    parts: usize,
    drawn: u32,
}

impl FusedModel {
    /// Tries the kernels that write, and where they compute wrongly, those of each of `others` until some do not; the model
    /// goes on with these. Tells what was wrong before, if anything was.
    ///
    /// A text under way is over.
    ///
    /// # Errors
    /// `device-wrong` with all that was wrong when no variant computes rightly, and what the device reports.
    ///
    /// # Panics
    /// If an adapter is attached: our bug, this is for a model just loaded.
    pub async fn prove(&mut self, others: &[Variant]) -> Result<Option<String>> {
        assert!(self.personal.is_none(), "the trial is of the model alone");
        let mut wrong: Vec<String> = Vec::new();
        let mut others = others.iter().filter(|&&other| other != self.variant).copied().collect::<Vec<_>>().into_iter();
        loop {
            match self.trial.flaw(&self.attempt().await?)? {
                None => return Ok((!wrong.is_empty()).then(|| format!("other kernels are used: {}", wrong.join("; ")))),
                Some(flaw) => wrong.push(flaw),
            }
            let Some(other) = others.next() else {
                let what = format!("the GPU computes wrongly: {}; use the CPU, or update the driver", wrong.join("; "));
                return Err(Error::new(ErrorKind::DeviceWrong, what));
            };
            self.recut(other).await?;
        }
    }

    /// Cuts the kernels another way and builds them; the weights stay.
    ///
    /// # Errors
    /// `device-lost`, `internal` where the driver refuses a kernel.
    ///
    /// # Panics
    /// If an adapter is attached: take it away first.
    pub async fn recut(&mut self, variant: Variant) -> Result<()> {
        self.kernels = Default::default();
        self.cut(variant).await
    }

    /// As [`FusedModel::recut`], with the kernels that are there already.
    pub(super) async fn cut(&mut self, variant: Variant) -> Result<()> {
        assert!(self.personal.is_none(), "kernels are changed without an adapter");
        self.variant = variant;
        self.scoring.take();
        self.plan().begin(&self.formats);
        let caches = self.bindings.get_mut().caches.clone();
        let base = self.lists(&caches, &self.plain, 0).await?;
        self.choose = self.plan().choose(&self.head, &self.output_norm).await?;
        *self.bindings.get_mut() = Bindings { caches, base, personal: None, both: None };
        self.gpu.check()
    }

    /// The dispatches of the first `n` blocks.
    async fn first(&self, n: usize) -> Result<Lists> {
        let caches = self.bindings.borrow().caches.clone();
        let blocks = Bound { layers: &self.layers[..n], sides: &self.plain[..n], caches: &caches, text: Some(0) };
        self.plan().lists(&self.embedding, &blocks).await
    }

    /// The dispatches that score and draw, of the head the rows that the trial looks at, and how many parts of the vocabulary
    /// these hold.
    fn score_some(&self) -> (Vec<Dispatch>, usize) {
        if !self.gpu.software {
            return (self.choose.clone(), PARTS);
        }
        let unscored = vec![UNSCORED; self.config.vocab];
        self.gpu.queue.write_buffer(&self.scratch.logits, 0, bytemuck::cast_slice(&unscored));
        let mut list = self.choose.clone();
        for head in &mut list[..self.head.len()] {
            let Groups::Fixed(all) = head.groups else { unreachable!("a head has as many workgroups as rows want") };
            head.groups = Groups::Fixed(all.div_ceil(SHARE as u32));
        }
        (list, PARTS - 1)
    }

    /// Reads the trial's tokens at once, the last of them again alone, scores and draws.
    async fn attempt(&self) -> Result<Found> {
        let trial = &self.trial;
        let (ids, d_model, vocab) = (&trial.ids, self.config.d_model, self.config.vocab);
        let lists = self.first(trial.n_layers).await?;
        self.start(&SAMPLING, &Seen::new(vocab), Mix::Base);
        let row = d_model as u64 * 4;
        let state = self.staging.size();
        let staging = self.gpu.staging(2 * row + vocab as u64 * 4 + state);
        let submit = |list: &[&[Dispatch]], at: usize, ids: &[u32], x_to: u64| {
            self.write_state(at, ids);
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            list.iter().for_each(|list| self.record(&mut encoder, list, ids.len() as u32));
            encoder.copy_buffer_to_buffer(&self.scratch.x, (ids.len() as u64 - 1) * row, &staging, x_to, row);
            self.gpu.queue.submit([encoder.finish()]);
        };
        submit(&[&lists.prefill], 0, ids, 0);
        let last = ids.len() - 1;
        let (score, parts) = self.score_some();
        submit(&[&lists.decode, &score], last, &ids[last..], row);
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&self.scratch.logits, 0, &staging, 2 * row, vocab as u64 * 4);
        encoder.copy_buffer_to_buffer(&self.scratch.state, 0, &staging, 2 * row + vocab as u64 * 4, state);
        self.gpu.queue.submit([encoder.finish()]);
        let words: Vec<u32> = self.gpu.read(&staging).await?;
        staging.destroy();
        let numbers = |range: Range<usize>| words[range].iter().map(|&word| f32::from_bits(word)).collect::<Vec<_>>();
        Ok(Found {
            many_x: numbers(0..d_model),
            single_x: numbers(d_model..2 * d_model),
            logits: numbers(2 * d_model..2 * d_model + vocab),
            parts,
            drawn: words[2 * d_model + vocab + crate::kernels::state::DRAWN_IDS as usize],
        })
    }
}

impl Trial {
    /// Has the processor compute in f32 what must come out: before the kernels are there, so that it does while they compile.
    pub(super) async fn of(
        gguf: &Gguf,
        source: &impl Source,
        config: &ModelConfig,
        formats: &Formats,
        capacity: usize,
    ) -> Result<Self> {
        let rows = parts(config.vocab, &formats.head);
        // From words that the model has often read, and from the end of the vocabulary, by turns.
        let behind = rows[0].len() + rows[1].len();
        let token = |i: usize| {
            let (before, rows) = [(0, &rows[0]), (behind, &rows[2])][i % 2];
            let row = i * 7 % rows.len();
            ((before + row) as u32, (rows.start + row) as u32)
        };
        let (ranks, ids): (Vec<_>, Vec<_>) = (0..TOKENS.min(capacity)).map(token).unzip();
        let n_layers = layers_with_every_kernel(config, formats);
        let (x, scores) = Processor::new(packed(gguf, source, config, n_layers, &rows).await?).trace(&ranks);
        Ok(Self { ids, n_layers, rows, x, scores })
    }

    /// What is wrong with what a device made, if anything is.
    fn flaw(&self, found: &Found) -> Result<Option<String>> {
        let scores: Vec<f32> =
            self.rows[..found.parts].iter().flat_map(|rows| &found.logits[rows.clone()]).copied().collect();
        let compared: [(&str, &[f32], &[f32]); 3] = [
            ("the kernels that read a prompt", &found.many_x, &self.x),
            ("the kernels that read a token", &found.single_x, &self.x),
            ("the kernel that scores", &scores, &self.scores[..scores.len()]),
        ];
        for (what, found, expected) in compared {
            if let Some(apart) = apart(found, expected) {
                return Ok(Some(format!("{what} are off by {apart:.1e} of the largest value")));
            }
        }
        let drawn = SAMPLING.draw(&mut found.logits.clone(), &Seen::new(found.logits.len()), 0)?;
        Ok((drawn != found.drawn).then(|| format!("the kernels that draw took token {} for {drawn}", found.drawn)))
    }
}

/// Which rows of a vocabulary of `vocab` are looked at: some in the first [`SHARE`] of the head's first matrix, the end of
/// that share of its last, and the vocabulary's end.
fn parts(vocab: usize, head: &[Slab]) -> [Range<usize>; PARTS] {
    let [Some(first), Some(last)] = [head.first(), head.last()] else { unreachable!("a head has rows") };
    let share = |slab: &Slab| slab.rows.div_ceil(SHARE);
    let some = share(first) / 2..(share(first) / 2 + ROWS).min(share(first));
    let (start, end) = (last.slice.first as usize, last.slice.first as usize + share(last));
    [some, end.saturating_sub(ROWS).max(start)..end, vocab.saturating_sub(ROWS)..vocab]
}

/// By how much of the largest expected value `found` is off, where that is too much or no number.
fn apart(found: &[f32], expected: &[f32]) -> Option<f32> {
    let largest = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let errors = found.iter().zip(expected).map(|(a, b)| (a - b).abs() / largest);
    let most = errors.fold(0.0f32, |most, error| if error > most || error.is_nan() { error } else { most });
    (most.is_nan() || most > TOLERANCE).then_some(most)
}

/// The fewest first blocks in which every kernel of the model occurs: blocks differ by their formats and by what they see.
fn layers_with_every_kernel(config: &ModelConfig, formats: &Formats) -> usize {
    let kinds: Vec<_> = formats.blocks.iter().enumerate().map(|(i, block)| (block, config.window_of(i))).collect();
    let all = kinds.len();
    (1..all).find(|&n| kinds[n..].iter().all(|kind| kinds[..n].contains(kind))).unwrap_or(all)
}

/// The first `n_layers` blocks with a vocabulary of `rows`.
async fn packed(
    gguf: &Gguf,
    source: &impl Source,
    config: &ModelConfig,
    n_layers: usize,
    rows: &[Range<usize>; PARTS],
) -> Result<Packed> {
    let mut on_tensor = |_, _| Ok(());
    let mut reader = Reader::new(gguf, source, &mut on_tensor);
    let mut layers = Vec::with_capacity(n_layers);
    for layer in 0..n_layers {
        layers.push(read_layer(&mut reader, config, layer).await?);
    }
    let norm = reader.vector(OUTPUT_NORM, config.d_model).await?;
    let embedding = pick(gguf, source, EMBEDDING, rows).await?;
    let head = if gguf.tensor(OUTPUT).is_some() { pick(gguf, source, OUTPUT, rows).await? } else { embedding.clone() };
    let config = ModelConfig { n_layers, vocab: embedding.rows, ..config.clone() };
    Ok(Packed { config, embedding, layers, norm, head })
}

/// Some rows of the matrix `name`, after each other.
async fn pick(gguf: &Gguf, source: &impl Source, name: &str, rows: &[Range<usize>; PARTS]) -> Result<Blocks> {
    let missing = || Error::new(ErrorKind::ModelCorrupt, format!("tensor {name} is missing; download the model again"));
    let tensor = gguf.tensor(name).ok_or_else(missing)?;
    let mut bytes = Vec::new();
    for rows in rows {
        bytes.extend(gguf.read_rows(source, tensor, rows.start as u64..rows.end as u64).await?);
    }
    let rows = rows.iter().map(|rows| rows.len()).sum();
    Ok(Blocks { ty: tensor.ty, bytes: bytes.into(), rows, cols: tensor.cols() as usize })
}
