//! How much memory learning takes beside the model, and a recipe that fits.

use super::Recipe;
use crate::{
    config::ModelConfig,
    error::{Error, ErrorKind, Result},
};

/// Which learner computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Packed weights on the processor.
    Processor,
    /// Fused kernels.
    Fused,
}

/// What learning on a GPU may take beside the weights to be faster: for one window, and for several side by side.
const ONE_BYTES: u64 = 500_000_000;
const SEVERAL_BYTES: u64 = 1_000_000_000;
/// Shortest window that a recipe is cut down to.
const LEAST_WINDOW: usize = 32;
/// Positions whose logits stand in memory at a time.
const LOSS_BLOCK: usize = 64;
/// As on the processor: positions whose scores, and rows of a matrix whose weights stand in memory at a time.
const SCORED: usize = 16;
const UNPACKED: usize = 512;
/// Parts of the vocabulary whose gradients stand in memory side by side on the fused path.
const SPLITS: usize = 8;

/// What a learner on a GPU spends memory on to be faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Windows of a step that are read side by side, at most.
    pub at_once: usize,
    /// Whether the products of the forward are kept for the backward, not made anew.
    pub keep: bool,
}

impl Room {
    /// With the least memory: window by window, most made twice.
    pub const LEAST: Self = Self { at_once: 1, keep: false };

    /// What `recipe` can have within `free_bytes` on a model of `config`: first products are kept, where a window does with
    /// 500 MB on the device, which saves a fifth of the arithmetic; then windows are read side by side, within 1 GB.
    pub fn of(recipe: &Recipe, config: &ModelConfig, engine: Engine, free_bytes: u64) -> Self {
        let fits = |room: Self| {
            let need = Need::of(recipe, config, engine, room);
            let most = if room.at_once == 1 { ONE_BYTES } else { SEVERAL_BYTES };
            need.device_bytes() <= most && need.total_bytes() <= free_bytes
        };
        if engine == Engine::Processor {
            return Self::LEAST;
        }
        let keep = fits(Self { at_once: 1, keep: true });
        let at_once = (1..=recipe.accumulation).take_while(|&at_once| fits(Self { at_once, keep })).last();
        Self { at_once: at_once.unwrap_or(1), keep }
    }
}

/// What learning takes beside the model's own weights, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// The adapter, its gradient and its two moments.
    pub adapter_bytes: u64,
    /// The two kept states and a copy of all on the way to a checkpoint: in the host's memory, whatever computes.
    pub kept_bytes: u64,
    /// What is kept of every block from the forward to the backward pass.
    pub inputs_bytes: u64,
    /// The values of one block and their gradients, and on the processor some weights unpacked.
    pub block_bytes: u64,
    /// Logits of a part of the window, and their gradient.
    pub loss_bytes: u64,
    engine: Engine,
}

impl Need {
    /// What `recipe` takes on a model of `config`, with `f32` numbers throughout, of which `room` counts on the fused path
    /// alone; `numbers` are `rank · Σ (d_in + d_out)` over the pairs.
    ///
    /// - adapter: `4 · 4 · numbers`, on the fused path with the rank filled up to quads
    /// - kept: `6 · 4 · numbers`
    ///
    /// On the processor, where the block is over before the loss begins and their larger one counts:
    ///
    /// - values: `4 · n_layers · window · (2·d_model + 2·d_query + 2·d_kv + 2·d_ff)`, and where queries and keys are
    ///   normed once more what goes into that norm, likewise where the outputs of a block's halves are
    /// - block: `4 · window · (4·d_model + 3·d_query + 4·d_kv + 4·d_ff)` and 512 rows of weights unpacked
    /// - loss: `4 · (min(window, 16) · vocab + 4·window·d_model)` and 512 rows of the head unpacked
    ///
    /// On the fused path, where everything is there from the start, for `tokens`, those of all windows read side by side
    /// filled up to 64s:
    ///
    /// - inputs: `4 · n_layers · tokens · (2·d_model + d_query)`, and where products are kept the values below for each block
    /// - values: `4 · tokens · (2·d_ff + d_query + 2·d_kv + 7·rank)`, and where queries and keys are handled apart those twice
    /// - block: values, and `4 · tokens · (4·d_model + 2·d_query + 2·d_kv + 2·d_ff + 2·d_head + 3·rank + 2·n_heads·window)`
    /// - loss: `4 · 64 · (vocab + 8·d_model)`
    pub fn of(recipe: &Recipe, config: &ModelConfig, engine: Engine, room: Room) -> Self {
        let widths: usize = recipe
            .kinds
            .iter()
            .map(|kind| {
                let (d_in, d_out) = kind.dims(config);
                d_in + d_out
            })
            .sum();
        let numbers = |rank: usize| config.n_layers * rank * widths;
        let (adapter, [inputs, block, loss]) = match engine {
            Engine::Processor => (4 * numbers(recipe.rank), processor(recipe, config)),
            Engine::Fused => (4 * numbers(recipe.rank.next_multiple_of(4)), fused(recipe, config, room)),
        };
        let bytes = |numbers: usize| 4 * numbers as u64;
        Self {
            adapter_bytes: bytes(adapter),
            kept_bytes: bytes(6 * numbers(recipe.rank)),
            inputs_bytes: bytes(inputs),
            block_bytes: bytes(block),
            loss_bytes: bytes(loss),
            engine,
        }
    }

    /// What it takes on the device that computes.
    pub fn device_bytes(&self) -> u64 {
        let work = match self.engine {
            Engine::Processor => self.block_bytes.max(self.loss_bytes),
            Engine::Fused => self.block_bytes + self.loss_bytes,
        };
        self.adapter_bytes + self.inputs_bytes + work
    }

    /// All of it, the host's part too.
    pub fn total_bytes(&self) -> u64 {
        self.device_bytes() + self.kept_bytes
    }
}

/// Numbers for what is kept of all blocks, for one block, and for the loss.
fn processor(recipe: &Recipe, config: &ModelConfig) -> [usize; 3] {
    let (window, d_model, d_ff) = (recipe.window, config.d_model, config.d_ff);
    let (d_query, d_kv) = (config.d_query(), config.d_kv());
    let unnormed = if config.head_norm { d_query + d_kv } else { 0 };
    let given = if config.post_norm { 2 * d_model } else { 0 };
    let kept = 2 * d_model + 2 * d_query + 2 * d_kv + 2 * d_ff + unnormed + given;
    let values = 4 * d_model + 3 * d_query + 4 * d_kv + 4 * d_ff;
    let unpacked = UNPACKED * d_model.max(d_ff);
    let loss = window.min(SCORED) * config.vocab + 4 * window * d_model + unpacked;
    [config.n_layers * window * kept, window * values + unpacked, loss]
}

/// As [`processor`]; a law holds it to the buffers that the learner makes.
fn fused(recipe: &Recipe, config: &ModelConfig, room: Room) -> [usize; 3] {
    let tokens = (recipe.window * room.at_once).next_multiple_of(LOSS_BLOCK);
    let (d_model, d_ff, d_query, d_kv) = (config.d_model, config.d_ff, config.d_query(), config.d_kv());
    let (rank, d_qkv) = (recipe.rank.next_multiple_of(4), d_query + 2 * d_kv);
    let raw = if config.heads_apart() { d_qkv } else { 0 };
    let given = if config.post_norm { d_model } else { 0 };
    let values = 2 * d_ff + d_qkv + 7 * rank + raw;
    let kept = 2 * d_model + 2 * given + d_query + if room.keep { values } else { 0 };
    let scores = 2 * config.n_heads * recipe.window;
    let block = 4 * d_model + d_query + d_qkv + 2 * d_ff + 2 * config.d_head + 3 * rank + scores + given;
    let loss = LOSS_BLOCK * (config.vocab + SPLITS * d_model);
    let values = if room.keep { 0 } else { values };
    [config.n_layers * tokens * kept, tokens * (values + block), loss]
}

impl Recipe {
    /// The recipe in `free_bytes`: windows are halved until it fits, and twice as many are accumulated in a step.
    ///
    /// # Errors
    /// `out-of-memory` with the figures when not even the shortest window fits.
    pub fn fit(&self, config: &ModelConfig, engine: Engine, free_bytes: u64) -> Result<Self> {
        let mut recipe = self.clone();
        loop {
            let need = Need::of(&recipe, config, engine, Room::LEAST).total_bytes();
            if need <= free_bytes {
                return Ok(recipe);
            }
            if recipe.window < 2 * LEAST_WINDOW {
                let mb = |bytes: u64| bytes.div_ceil(1_000_000);
                let message = format!(
                    "learning needs {} MB beside the model and {} MB are free; close other programs, or take a lower \
                     rank or a smaller model",
                    mb(need),
                    mb(free_bytes)
                );
                return Err(Error::new(ErrorKind::OutOfMemory, message));
            }
            recipe.window /= 2;
            recipe.accumulation *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{learn::Effort, testing::plain_config};

    fn config() -> ModelConfig {
        ModelConfig {
            architecture: "llama".into(),
            name: "small".into(),
            d_model: 576,
            d_ff: 1536,
            n_layers: 30,
            n_heads: 9,
            n_kv_heads: 3,
            d_head: 64,
            vocab: 49_152,
            context: 8192,
            ..plain_config()
        }
    }

    #[test]
    fn a_run_is_sized_to_fit_or_refused_with_the_figure() {
        let recipe = Recipe::derive(Effort::Normal, 10_000);
        let need = |window| {
            let recipe = Recipe { window, ..recipe.clone() };
            Need::of(&recipe, &config(), Engine::Fused, Room::LEAST).total_bytes()
        };
        let fit = |bytes| recipe.fit(&config(), Engine::Fused, bytes);
        assert_eq!(fit(need(256)).unwrap(), recipe);
        let shorter = fit(need(256) - 1).unwrap();
        assert_eq!((shorter.window, shorter.accumulation), (128, 2));
        let error = fit(need(32) - 1).unwrap_err();
        let figure = format!("needs {} MB", need(32).div_ceil(1_000_000));
        assert!(error.kind() == ErrorKind::OutOfMemory && error.to_string().contains(&figure), "{error}");
    }
    #[test]
    fn memory_is_spent_on_speed_as_far_as_it_goes() {
        let recipe = Recipe { accumulation: 8, ..Recipe::derive(Effort::Normal, 10_000) };
        let of = |recipe: &Recipe, bytes| Room::of(recipe, &config(), Engine::Fused, bytes);
        let took = |at_once, keep| Need::of(&recipe, &config(), Engine::Fused, Room { at_once, keep });
        let one = took(1, true);
        assert!(one.device_bytes() <= ONE_BYTES, "{one:?}: a window of 256 tokens on the default model");
        let Room { at_once, keep } = of(&recipe, u64::MAX);
        assert!(keep && (4..8).contains(&at_once), "{at_once} windows");
        assert!(took(at_once, true).device_bytes() <= SEVERAL_BYTES);
        assert!(took(at_once + 1, true).device_bytes() > SEVERAL_BYTES);
        assert_eq!(of(&recipe, took(2, true).total_bytes()), Room { at_once: 2, keep: true });
        assert_eq!(of(&recipe, one.total_bytes()), Room { at_once: 1, keep: true });
        let little = of(&recipe, one.total_bytes() - 1);
        assert!(!little.keep && took(little.at_once, false).total_bytes() < one.total_bytes());
        assert_eq!(of(&recipe, 0), Room::LEAST, "one window is always tried");
        let large = ModelConfig { d_model: 1024, d_ff: 3072, n_heads: 16, n_kv_heads: 8, d_head: 128, ..config() };
        assert!(!Room::of(&recipe, &large, Engine::Fused, u64::MAX).keep, "a window would take more than is promised");
        assert_eq!(of(&Recipe { accumulation: 3, ..recipe.clone() }, u64::MAX).at_once, 3);
        assert_eq!(Room::of(&recipe, &config(), Engine::Processor, u64::MAX), Room::LEAST);
    }
}
