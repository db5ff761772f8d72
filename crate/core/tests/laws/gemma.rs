//! Gemma 3, the second family: golden numbers, a vocabulary larger than a binding, texts longer than its window.

use std::fs;

use imprint_core::{
    adapter::{Adapter, Shape},
    fused::{FusedModel, Variant},
    generate::Backend,
    gguf::Gguf,
    kernels::gpu::GpuOptions,
    learn::{FusedLearner, Learner, ProcessorLearner, Room},
    processor::{Processor, Reading},
    testing::gemma_path,
};
use pollster::block_on;

use crate::{golden::follows_golden, golden_run::UPDATE, material::*};

/// Longer than Gemma's window of 512.
const CONTEXT: usize = 768;

fn gemma() -> Vec<u8> {
    fs::read(gemma_path()).unwrap()
}

fn on_gpu(file: &Vec<u8>, options: GpuOptions) -> FusedModel {
    let gguf = block_on(Gguf::read(file)).unwrap();
    let gpu = gpu(options);
    let variant = Variant::for_device(&gpu);
    block_on(FusedModel::load(gpu, &gguf, file, CONTEXT, variant, &mut |_, _| Ok(()))).unwrap()
}

/// Scores after the last of `ids`.
fn logits(processor: &Processor, ids: &[u32], reading: &mut Reading) -> Vec<f32> {
    let hidden = processor.read(ids, &mut [reading]);
    processor.logits(&hidden[(ids.len() - 1) * processor.model.config.d_model..])
}

/// The golden prompts one after the other, again and again: longer than the window.
fn long_text() -> Vec<u32> {
    let ids: Vec<u32> = golden_of("gemma3.json").prompts.into_iter().flat_map(|prompt| prompt.ids).collect();
    ids.into_iter().cycle().take(570).collect()
}

#[test]
fn the_processor_follows_golden_numbers_and_forgets_nothing_past_the_window() {
    let model = processor(&gemma());
    follows_golden(&model, golden_of("gemma3.json"));
    let Backend::Processor(processor) = &model.backend else { panic!("the processor was asked for") };
    let ids = long_text();
    let whole = logits(processor, &ids, &mut Reading::default());
    let mut reading = Reading::default();
    let last = ids.len() - 1;
    processor.read(&ids[..500], &mut [&mut reading]);
    processor.read(&ids[500..last], &mut [&mut reading]);
    assert_eq!(logits(processor, &ids[last..], &mut reading), whole, "cached and uncached");
}

#[test]
fn the_gpu_follows_golden_numbers_and_the_processor_past_the_window() {
    let file = gemma();
    // Within WebGPU's default limits the vocabulary stands in two parts.
    let model = on_gpu(&file, GpuOptions { default_limits: true, ..GpuOptions::default() });
    assert!(model.weight_bytes() as f64 <= 1.1 * file.len() as f64, "{} bytes of weights", model.weight_bytes());
    for prompt in golden_of("gemma3.json").prompts {
        let ids = &prompt.ids;
        block_on(model.read(0, ids)).unwrap();
        prompt.holds_logits(&block_on(model.logits()).unwrap());
        // All of a long one takes a software GPU as long again.
        if ids.len() < 80 {
            prompt.holds_nll(mean(&block_on(model.score(0, &ids[..ids.len() - 1], &ids[1..])).unwrap()));
        }
    }
    let (ids, processor) = (long_text(), load_processor(&file));
    let expected = logits(&processor, &ids, &mut Reading::default());
    let last = ids.len() - 1;
    for (i, piece) in ids[..last].chunks(256).enumerate() {
        block_on(model.read(i * 256, piece)).unwrap();
    }
    block_on(model.step(last, ids[last])).unwrap();
    assert_close("past the window", &block_on(model.logits()).unwrap(), &expected, RELATIVE);
}

#[test]
fn gemma_learns_alike_on_the_gpu_and_on_the_processor() {
    let file = gemma();
    let (model, processor) = (on_gpu(&file, GpuOptions::default()), load_processor(&file));
    let adapter = Adapter::fresh(None, &model.config, &Shape { rank: 4, ..Shape::default() }, 1).unwrap();
    let window = &long_text()[..48];
    let mut on_gpu = block_on(FusedLearner::new(&model, &adapter, 64, Room { at_once: 1, keep: true })).unwrap();
    let mut here = ProcessorLearner::new(&processor, &adapter).unwrap();
    for _ in 0..2 {
        block_on(on_gpu.step(&[window], &UPDATE)).unwrap();
        block_on(here.step(&[window], &UPDATE)).unwrap();
    }
    let of = |losses: Vec<imprint_core::learn::Loss>| losses.iter().map(|loss| loss.nll).collect::<Vec<_>>();
    let found = of(block_on(on_gpu.losses(true)).unwrap());
    let expected = of(block_on(here.losses(true)).unwrap());
    assert_close("losses", &found, &expected, RELATIVE);
    assert!(expected[1] < expected[0] - 0.01, "a step on one text brings its loss down: {expected:?}");
}
