//! Which kernels a device computes fastest with: a few cuts are tried on it, on the model's own weights.
//!
//! Which cut is fastest depends on how a device reads memory, shuffles and waits, which no device tells. So it is measured,
//! once for a device, its driver and a model: whoever loads a model keeps what was found.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{FusedModel, Variant};
use crate::{
    config::ModelConfig,
    error::{ErrorKind, Result},
    gguf::Gguf,
    kernels::{
        apart::Apart,
        gpu::Gpu,
        project::{Cut, Tile},
        shared::Size,
        state,
    },
    sample::{Mix, Sampling, Seen},
};

/// How long tokens are timed at least: browsers round their clocks to 0.1 ms.
const BATCH_MS: f64 = 12.0;
/// Most tokens at a time.
const BATCH: usize = 16;
/// How often each is timed; the least counts, as other work of the device only adds.
const GOES: usize = 2;
/// Tokens of the prompt that is timed.
const PROMPT: usize = 128;
/// Another cut is taken when it needs at most this much of the time: what is measured wavers by a few percent.
const CLEARLY: f64 = 0.96;

/// What one cut was timed with.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tried {
    /// The cut in words.
    pub kernels: String,
    /// Milliseconds a decoded token.
    pub token_ms: f64,
    /// Milliseconds for a prompt of 128 tokens, or of what the context holds.
    pub prompt_ms: f64,
}

impl Variant {
    /// A cut that suits `gpu`: a processor posing as one wants whole rows, each load serving many; a real one wants
    /// neighbours reading neighbours.
    pub fn for_device(gpu: &Gpu) -> Self {
        let cut = if gpu.software {
            // Lavapipe, whose loads cost less, takes half as long again with kernels that walk.
            let walk = gpu.description.to_lowercase().contains("swiftshader");
            // A loaded activation must serve more rows where no other invocation has use for it.
            let apart = if gpu.subgroup.is_some_and(|size| size >= 4) { Apart::ByFours } else { Apart::Alone(16) };
            Cut { rows: 8, lanes: 1, group: 64, subgroup: gpu.subgroup, walk, tile: Tile::Apart(apart) }
        } else {
            // More lanes only where they add up by shuffles.
            let (lanes, group) = if gpu.subgroup.is_some_and(|size| size >= 16) { (16, 128) } else { (8, 64) };
            Cut { rows: 2, lanes, group, subgroup: gpu.subgroup, walk: false, tile: Tile::Shared(Size::Small) }
        };
        Self { cut }
    }

    /// What is tried when the kernels of a variant compute wrongly: lanes that meet in workgroup memory, then none at all.
    pub const OTHERS: [Self; 2] = [
        Self {
            cut: Cut { rows: 2, lanes: 8, group: 64, subgroup: None, walk: false, tile: Tile::Apart(Apart::Alone(4)) },
        },
        Self {
            cut: Cut { rows: 4, lanes: 1, group: 64, subgroup: None, walk: false, tile: Tile::Apart(Apart::Alone(8)) },
        },
    ];

    /// The cuts that are tried on `gpu` beside that of [`Variant::for_device`], likelier ones first: first how a token is
    /// cut, then how a prompt is.
    pub fn candidates(gpu: &Gpu) -> [Vec<Self>; 2] {
        let present = Self::for_device(gpu);
        let Cut { tile, subgroup, .. } = present.cut;
        // Larger workgroups first: as fast on an H100 without an adapter and up to a fifth faster with one, which is not timed here.
        let shuffled = [(2, 32, 128), (2, 16, 128), (2, 32, 64), (2, 16, 64), (2, 8, 64), (4, 8, 64), (4, 16, 64)]
            .map(|(rows, lanes, group)| (rows, lanes, group, subgroup));
        // Lanes that meet in workgroup memory, and none: shuffles are slow on some devices.
        let plain = [(2, 16, 64, None), (2, 8, 64, None), (4, 1, 64, None)];
        let mut tokens = Vec::new();
        if present.cut.walk {
            tokens.push(Self { cut: Cut { walk: false, ..present.cut } });
        }
        for (rows, lanes, group, subgroup) in shuffled.into_iter().chain(plain) {
            let one = Self { cut: Cut { rows, lanes, group, subgroup, walk: false, tile } };
            if one != present && !tokens.contains(&one) {
                tokens.push(one);
            }
        }
        let [four, eight] = [4, 8].map(|rows| Tile::Apart(Apart::Alone(rows)));
        let tiles = [Tile::Shared(Size::Small), Tile::Shared(Size::Large), four, eight];
        let prompts = tiles.into_iter().filter(|&other| other != tile);
        [tokens, prompts.map(|tile| Self { cut: Cut { tile, ..present.cut } }).collect()]
    }

    /// What a measurement holds for: another device, driver, model or Imprint is measured anew.
    pub fn measured_for(gpu: &Gpu, config: &ModelConfig, gguf: &Gguf) -> String {
        let formats: BTreeSet<_> = gguf.tensors().iter().map(|tensor| tensor.ty.name()).collect();
        let formats = formats.into_iter().collect::<Vec<_>>().join(" ");
        let ModelConfig { architecture, n_layers, d_model, d_ff, n_heads, vocab, .. } = config;
        let subgroup = gpu.subgroup.unwrap_or(0);
        format!(
            "Imprint {} on {}, subgroups of {subgroup}: {architecture}, {n_layers} blocks, {d_model} by {d_ff}, \
             {n_heads} heads, {vocab} tokens, {formats}",
            env!("CARGO_PKG_VERSION"),
            gpu.description
        )
    }

    /// What a measurement found and [`Variant::kept`] gave to keep, if it is one of those that would be tried on `gpu`.
    pub fn found(kept: &str, gpu: &Gpu) -> Option<Self> {
        let variant: Self = serde_json::from_str(kept).ok()?;
        let [tokens, prompts] = Self::candidates(gpu);
        let present = Self::for_device(gpu);
        let row = |v: &Self| (v.cut.rows, v.cut.lanes, v.cut.group, v.cut.subgroup, v.cut.walk);
        let known = tokens.iter().chain([&present]).any(|one| row(one) == row(&variant))
            && prompts.iter().chain([&present]).any(|one| one.cut.tile == variant.cut.tile);
        known.then_some(variant)
    }

    /// The cut as text, to keep.
    pub fn kept(self) -> String {
        serde_json::to_string(&self).expect("a cut is plain numbers")
    }

    /// The cut in words, such as `2 rows, 16 lanes by shuffles, 64 a workgroup, tiles of 32`.
    pub fn words(self) -> String {
        let Cut { rows, lanes, group, walk, tile, .. } = self.cut;
        let tile = match tile {
            Tile::Apart(Apart::Alone(rows)) => format!("{rows} rows of a prompt an invocation"),
            Tile::Apart(Apart::ByFours) => "prompts by fours".to_owned(),
            Tile::Shared(size) => format!("tiles of {}", size.lines()),
        };
        if walk {
            return format!("walking along the rows, {tile}");
        }
        let by = if self.cut.shuffles() { " by shuffles" } else { "" };
        format!("{rows} rows, {lanes} lanes{by}, {group} a workgroup, {tile}")
    }
}

impl FusedModel {
    /// Times the present kernels, then other ones, and goes on with the fastest; tells what was timed, the first the present.
    ///
    /// No other cut is begun after `most_ms`; `now_ms` tells the time. A text under way is over.
    ///
    /// # Errors
    /// `device-lost`, `out-of-memory`. A cut that the driver refuses is left out.
    ///
    /// # Panics
    /// If an adapter is attached: our bug, this is for a model just loaded.
    pub async fn tune(
        &mut self,
        candidates: [Vec<Variant>; 2],
        now_ms: &dyn Fn() -> f64,
        most_ms: f64,
    ) -> Result<Vec<Tried>> {
        let begin_ms = now_ms();
        let mut tried = vec![self.timed(now_ms).await?];
        for (axis, candidates) in candidates.into_iter().enumerate() {
            let cost = |tried: &Tried| if axis == 0 { tried.token_ms } else { tried.prompt_ms };
            let mut best = (self.variant, cost(&tried[0]));
            for candidate in candidates {
                if now_ms() - begin_ms > most_ms {
                    break;
                }
                // What the first round found holds in the second.
                let cut = if axis == 0 { candidate.cut } else { Cut { tile: candidate.cut.tile, ..best.0.cut } };
                let took = match self.cut(Variant { cut }).await {
                    Ok(()) => self.timed(now_ms).await?,
                    Err(refused) if refused.kind() == ErrorKind::Internal => continue,
                    Err(error) => return Err(error),
                };
                if cost(&took) < CLEARLY * best.1 {
                    best = (self.variant, cost(&took));
                }
                tried.push(took);
            }
            self.cut(best.0).await?;
        }
        self.kernels.keep(self.variant);
        Ok(tried)
    }

    async fn timed(&self, now_ms: &dyn Fn() -> f64) -> Result<Tried> {
        let token_ms = self.token_ms(now_ms).await?;
        Ok(Tried { kernels: self.variant.words(), token_ms, prompt_ms: self.prompt_ms(now_ms).await? })
    }

    async fn token_ms(&self, now_ms: &dyn Fn() -> f64) -> Result<f64> {
        let most = BATCH.min(self.capacity - 1).max(1);
        // The first goes through a driver that may still be busy with the kernels.
        let mut n = 1;
        let mut least = f64::INFINITY;
        for go in 0..=GOES + 1 {
            self.start(&Sampling::default(), &Seen::new(self.config.vocab), Mix::Base);
            self.write_state(0, &[0]);
            let from_ms = now_ms();
            self.submit_draws(n);
            self.settle().await?;
            let each_ms = (now_ms() - from_ms) / n as f64;
            match go {
                0 => {}
                1 => n = ((BATCH_MS / each_ms.max(0.01)).ceil() as usize).clamp(1, most),
                _ => least = least.min(each_ms),
            }
        }
        Ok(least)
    }

    async fn prompt_ms(&self, now_ms: &dyn Fn() -> f64) -> Result<f64> {
        let ids = vec![0; PROMPT.min(self.capacity).min(state::MAX_COUNT as usize)];
        let mut least = f64::INFINITY;
        for go in 0..=GOES {
            let from_ms = now_ms();
            self.submit_read(0, &ids);
            self.settle().await?;
            let took_ms = now_ms() - from_ms;
            if go > 0 {
                least = least.min(took_ms);
            }
        }
        Ok(least)
    }
}
