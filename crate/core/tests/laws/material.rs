//! What the laws are tried on: the default model, its golden numbers, a software or real GPU, tolerances.

use std::{fs, path::PathBuf};

use burn::tensor::Device;
use imprint_core::{
    Result,
    fused::{FusedModel, Variant},
    generate::{Backend, LanguageModel},
    gguf::{Gguf, Source},
    kernels::gpu::{Gpu, GpuOptions},
    model::{Keep, Model},
    packed::Packed,
    processor::Processor,
    testing::model_path,
    tokenizer::{Tokenizer, Vocabulary},
    weights::load_packed,
};
use pollster::block_on;
use serde::Deserialize;

/// f32 arithmetic over the same weights: the order of sums differs, nothing else. Two independent engines agreed to five
/// decimals, so a thousandth of a nat is a wide margin that a wrong kernel cannot meet.
pub const NLL: f32 = 1e-3;
/// Single logits spread more than means.
pub const LOGIT: f32 = 1e-2;
/// Logits of a tiny llama under adapters that PEFT wrote: two layers of f32 sums leave no room for more.
pub const PEFT_LOGIT: f32 = 1e-4;
/// Margins under this may fall either way between two correct engines.
pub const MARGIN: f32 = 1e-2;
/// Largest error of a fused kernel against the plain path, relative to the largest value compared.
pub const RELATIVE: f32 = 1e-3;
/// Largest error of finite differences: what f32 losses leave of a difference of hundredths of a nat.
pub const DIFFERENCE: f32 = 1e-2;
/// How far finite differences move the loss, in nats: far above the noise of f32, near enough for a straight line.
pub const MOVED: f32 = 1e-2;

#[derive(Deserialize)]
pub struct Golden {
    pub prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
pub struct Prompt {
    pub name: String,
    pub text: String,
    pub ids: Vec<u32>,
    pub mean_nll: f32,
    pub top20_ids: Vec<u32>,
    pub top20_logits: Vec<f32>,
    pub greedy_ids: Vec<u32>,
    pub greedy_margin: Vec<f32>,
}

impl Prompt {
    /// Holds scores after the prompt to the golden ones of the likeliest tokens.
    pub fn holds_logits(&self, logits: &[f32]) {
        for (&id, &expected) in self.top20_ids.iter().zip(&self.top20_logits) {
            let found = logits[id as usize];
            assert!((found - expected).abs() < LOGIT, "{}: logit of {id} is {found}, golden {expected}", self.name);
        }
    }

    /// Holds the mean of likelihoods to the golden one.
    pub fn holds_nll(&self, nll: f32) {
        assert!((nll - self.mean_nll).abs() < NLL, "{}: mean NLL {nll}, golden {}", self.name, self.mean_nll);
    }
}

pub fn golden() -> Golden {
    golden_of("smollm2.json")
}

/// The golden numbers in this file of the fixtures.
pub fn golden_of(name: &str) -> Golden {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The model file in memory: tests may hold it.
pub fn file() -> Vec<u8> {
    fs::read(model_path()).unwrap()
}

pub fn gpu(options: GpuOptions) -> Gpu {
    block_on(Gpu::request(options)).expect("a Vulkan device; `cargo xtask setup` installs a software one")
}

pub fn processor(source: &impl Source) -> LanguageModel {
    let gguf = block_on(Gguf::read(source)).unwrap();
    language_model(&gguf, Backend::Processor(Box::new(load_processor(source))))
}

/// The processor's path alone.
pub fn load_processor(source: &impl Source) -> Processor {
    Processor::new(packed(source))
}

/// The plain model alone.
pub fn load_plain(file: &impl Source, keep: Keep) -> Model {
    Model::new(packed(file), keep, &Device::flex())
}

fn packed(source: &impl Source) -> Packed {
    let gguf = block_on(Gguf::read(source)).unwrap();
    block_on(load_packed(&gguf, source, &mut |_, _| Ok(()))).unwrap()
}

pub fn fused(source: &impl Source, options: GpuOptions, variant: impl Fn(&Gpu) -> Variant) -> LanguageModel {
    let gguf = block_on(Gguf::read(source)).unwrap();
    let gpu = gpu(options);
    let variant = variant(&gpu);
    let model = block_on(FusedModel::load(gpu, &gguf, source, CAPACITY, variant, &mut |_, _| Ok(()))).unwrap();
    language_model(&gguf, Backend::Fused(Box::new(model)))
}

/// Context of the models under test, in tokens.
pub const CAPACITY: usize = 512;

fn language_model(gguf: &Gguf, backend: Backend) -> LanguageModel {
    let tokenizer = Tokenizer::new(Vocabulary::from_gguf(gguf)).unwrap();
    LanguageModel::new(tokenizer, backend, CAPACITY)
}

pub fn score(model: &LanguageModel, ids: &[u32]) -> Result<Vec<f32>> {
    block_on(model.score(ids, &mut async |_| Ok(())))
}

pub fn mean(values: &[f32]) -> f32 {
    values.iter().sum::<f32>() / values.len() as f32
}

/// Panics with the largest error and its place where `found` is further from `expected` than `tolerance` times the
/// largest expected value.
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}: lengths differ");
    let scale = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let (at, error) = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .enumerate()
        .fold((0, 0.0f32), |worst, (i, e)| if e > worst.1 || e.is_nan() { (i, e) } else { worst });
    assert!(
        error <= tolerance * scale,
        "{what}: largest error {error:e} at {at} ({} against {}), {:e} of the largest value {scale}",
        found[at],
        expected[at],
        error / scale
    );
}
