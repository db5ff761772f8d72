//! Reads an adapter that PEFT or llama.cpp wrote, runs a model with it and writes it again.
//!
//! `cargo run --example peft -- MODEL.gguf IDS.json ADAPTER OUT` reads a PEFT folder or a GGUF file and a JSON list of
//! lists of token ids. It prints one JSON object: `nll`, for each list the negative log-likelihood in nats of each id after
//! the first, and `logits`, those after the last id. A new folder OUT receives the adapter in both layouts: PEFT's two
//! files and `adapter.gguf`.

use std::{collections::BTreeMap, env, error::Error, fs, path::Path};

use burn::tensor::{Device, activation};
use imprint_core::{
    adapter::Adapter,
    config::ModelConfig,
    gguf::Gguf,
    gguf_lora,
    model::{Keep, LowRank, Model},
    peft,
    weights::load_packed,
};
use pollster::block_on;
use serde::Serialize;

const CONFIG: &str = "adapter_config.json";
const TENSORS: &str = "adapter_model.safetensors";

#[derive(Serialize, Default)]
struct Report {
    nll: Vec<Vec<f32>>,
    logits: Vec<Vec<f32>>,
}

impl Report {
    fn add(&mut self, model: &Model, adapter: &LowRank, ids: &[u32]) -> Result<(), Box<dyn Error>> {
        let logits = model.logits(model.forward(ids, 1, None, Some(adapter)));
        let log_probabilities = activation::log_softmax(logits.clone(), 2).into_data().try_to_vec::<f32>()?;
        let rows = log_probabilities.chunks_exact(model.config.vocab);
        self.nll.push(rows.zip(&ids[1..]).map(|(row, &id)| -row[id as usize]).collect());
        let last = logits.narrow(1, ids.len() - 1, 1);
        self.logits.push(last.into_data().try_to_vec::<f32>()?);
        Ok(())
    }
}

fn adapter(path: &Path, config: &ModelConfig) -> Result<Adapter, Box<dyn Error>> {
    if path.is_file() {
        return Ok(block_on(gguf_lora::import(&fs::read(path)?, config))?.0);
    }
    let read = |name: &str| fs::read(path.join(name));
    Ok(peft::import(&read(CONFIG)?, &read(TENSORS)?, config)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [model, ids, from, out] = &args[..] else { return Err("expected MODEL.gguf IDS.json ADAPTER OUT".into()) };
    let file = fs::read(model)?;
    let gguf = block_on(Gguf::read(&file))?;
    let packed = block_on(load_packed(&gguf, &file, &mut |_, _| Ok(())))?;
    let model = Model::new(packed, Keep::Dense, &Device::flex());
    let texts: Vec<Vec<u32>> = serde_json::from_slice(&fs::read(ids)?)?;

    let adapter = adapter(Path::new(from), &model.config)?;
    let attached = LowRank::new(&adapter, 1.0, &model.device);
    let mut report = Report::default();
    for ids in &texts {
        report.add(&model, &attached, ids)?;
    }
    println!("{}", serde_json::to_string(&report)?);

    let files = peft::export(&adapter, &model.config, &BTreeMap::new())?;
    let out = Path::new(out);
    fs::create_dir(out)?;
    fs::write(out.join(CONFIG), files.config_json)?;
    fs::write(out.join(TENSORS), files.safetensors)?;
    fs::write(out.join("adapter.gguf"), gguf_lora::export(&adapter, &model.config, &gguf_lora::Beside::default())?)?;
    Ok(())
}
