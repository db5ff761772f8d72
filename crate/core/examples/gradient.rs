//! Shows the gradient of an adapter that has made one step, for another implementation to compare with its own.
//!
//! `cargo run --example gradient -- MODEL.gguf IDS.json DEVICE OUT` reads a JSON list of two lists of token ids. A fresh
//! adapter makes one step of AdamW on the first; the gradient of the mean loss of the second is taken there. `OUT/after`
//! receives the adapter and `OUT/gradient` its gradient, number by number in its place, both as PEFT folders. DEVICE is
//! `cpu` or `gpu`.
//!
//! Beside a golden run this needs no luck: AdamW's first step moves each number by the whole rate, whichever way its
//! gradient points and however short it is, so two correct runs part where rounding turns a sign. Here both take the
//! gradient at the same place.

use std::{collections::BTreeMap, env, error::Error, fs, path::Path};

use imprint_core::{
    adapter::{Adapter, Shape},
    config::ModelConfig,
    fused::{FusedModel, Variant},
    gguf::Gguf,
    kernels::gpu::{Gpu, GpuOptions},
    learn::{FusedLearner, Learner, ProcessorLearner, Room, Update},
    peft,
    processor::Processor,
    weights::load_packed,
};
use pollster::block_on;

const UPDATE: Update = Update { rate: 5e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, clip: None };

type Failed = Box<dyn Error>;

fn main() -> Result<(), Failed> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [model, ids, device, out] = &args[..] else { return Err("expected MODEL.gguf IDS.json DEVICE OUT".into()) };
    let file = fs::read(model)?;
    let gguf = block_on(Gguf::read(&file))?;
    let config = ModelConfig::from_gguf(&gguf)?;
    let adapter = Adapter::fresh(None, &config, &Shape::default(), 0)?;
    let texts: Vec<Vec<u32>> = serde_json::from_slice(&fs::read(ids)?)?;
    let [first, second] = &texts[..] else { return Err("expected two texts".into()) };

    let (after, gradient) = if device == "gpu" {
        let gpu = block_on(Gpu::request(GpuOptions::default()))?;
        let variant = Variant::for_device(&gpu);
        let longest = first.len().max(second.len());
        let model = block_on(FusedModel::load(gpu, &gguf, &file, longest, variant, &mut |_, _| Ok(())))?;
        let mut learner = block_on(FusedLearner::new(&model, &adapter, longest, Room { at_once: 1, keep: true }))?;
        block_on(learner.step(&[first], &UPDATE))?;
        let gradient = block_on(learner.gradients(&[second]))?;
        (block_on(learner.state())?.parameters, gradient)
    } else {
        let model = block_on(load_packed(&gguf, &file, &mut |_, _| Ok(())))?;
        let processor = Processor::new(model);
        let mut learner = ProcessorLearner::new(&processor, &adapter)?;
        block_on(learner.step(&[first], &UPDATE))?;
        let gradient = block_on(learner.gradient(&[second]))?.values;
        (block_on(learner.state())?.parameters, gradient)
    };
    write(&adapter, &config, &after, &Path::new(out).join("after"))?;
    write(&adapter, &config, &gradient, &Path::new(out).join("gradient"))
}

/// Writes `numbers` in the places of the adapter's own.
fn write(adapter: &Adapter, config: &ModelConfig, numbers: &[f32], folder: &Path) -> Result<(), Failed> {
    let mut adapter = adapter.clone();
    adapter.set_parameters(numbers);
    let files = peft::export(&adapter, config, &BTreeMap::new())?;
    fs::create_dir_all(folder)?;
    fs::write(folder.join("adapter_config.json"), files.config_json)?;
    Ok(fs::write(folder.join("adapter_model.safetensors"), files.safetensors)?)
}
