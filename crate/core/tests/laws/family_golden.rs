//! Every family follows the numbers that transformers computes on a tiny random model of it, on every path: what it reads,
//! what it reads with an adapter, and what it learns. `tests/fixtures/make_families.py` made models and numbers.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use imprint_core::{
    adapter::{Adapter, Kind, Pair},
    config::ModelConfig,
    fused::{FusedModel, Variant},
    gguf::Gguf,
    kernels::gpu::GpuOptions,
    learn::{FusedLearner, PlainLearner, ProcessorLearner, Room, Update},
    model::{Keep, LowRank, log_likelihoods},
    processor::{Paths, Reading},
    sample::{Mix, Sampling, Seen},
    weights::neighbours,
};
use pollster::block_on;
use serde::Deserialize;

use crate::{golden_run::Open, material::*};

const FAMILIES: [&str; 5] = ["llama-linear", "llama3", "qwen2", "qwen3", "gemma3"];

#[derive(Deserialize)]
struct Family {
    sequences: Vec<Vec<u32>>,
    base: Numbers,
    rank: usize,
    scale: f32,
    check_init: BTreeMap<String, Vec<f32>>,
    adapted: Numbers,
    adamw: Adamw,
    learning: Learning,
}

#[derive(Deserialize)]
struct Numbers {
    nll: Vec<Vec<f32>>,
    logits: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Adamw {
    lr: f32,
}

#[derive(Deserialize)]
struct Learning {
    loss: Vec<f32>,
    grad_norm: Vec<f32>,
    gradient: BTreeMap<String, Norm>,
    final_nll: Vec<f32>,
}

#[derive(Deserialize)]
struct Norm {
    norm: f32,
    head: Vec<f32>,
}

fn family(name: &str) -> (Vec<u8>, Family) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/families").join(name);
    let numbers = fs::read_to_string(path.with_extension("json")).unwrap();
    (fs::read(path.with_extension("gguf")).unwrap(), serde_json::from_str(&numbers).unwrap())
}

/// The formula of the fixtures: a number of `-spread` to `spread` for every element.
fn formula(tensor: u64, n: usize, spread: f64) -> Vec<f32> {
    let number = |e: u64| {
        let mut z = (tensor << 32).wrapping_add(e).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (((z >> 40) as f64 / f64::from(1 << 24) * 2.0 - 1.0) * spread) as f32
    };
    (0..n as u64).map(number).collect()
}

/// Rows of the hub in the order in which they stand here.
fn here(kind: Kind, config: &ModelConfig, rows: Vec<f32>, rank: usize) -> Vec<f32> {
    if !matches!(kind, Kind::Q | Kind::K) {
        return rows;
    }
    let n_heads = rows.len() / rank / config.d_head;
    neighbours(n_heads, config.d_head).flat_map(|row| rows[row * rank..][..rank].to_vec()).collect()
}

/// The fixtures' adapter.
fn adapter(config: &ModelConfig, family: &Family) -> Adapter {
    let (rank, scale) = (family.rank, family.scale);
    let mut adapter = Adapter::empty(None, config.n_layers);
    for (layer, kind) in (0..config.n_layers).flat_map(|layer| Kind::ALL.map(|kind| (layer, kind))) {
        let (d_in, d_out) = kind.dims(config);
        let tensor = (layer * 7 + kind as usize) as u64;
        let a = formula(tensor, rank * d_in, 1.0 / (d_in as f64).sqrt());
        let b = formula(tensor + 4096, d_out * rank, 0.25);
        for (half, values) in [("A", &a), ("B", &b)] {
            if let Some(expected) = family.check_init.get(&format!("{layer}.{}.{half}", kind.name())) {
                assert_close("the formula", &values[..4], expected, 1e-6);
            }
        }
        let b = here(kind, config, b, rank);
        adapter.set(layer, kind, Some(Pair { rank, scale, a, b }));
    }
    adapter
}

fn holds(what: &str, numbers: &Numbers, found: impl Fn(usize) -> (Vec<f32>, Vec<f32>)) {
    for (i, (nll, logits)) in numbers.nll.iter().zip(&numbers.logits).enumerate() {
        let (found_nll, found_logits) = found(i);
        let worst = found_nll.iter().zip(nll).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < NLL, "{what}, text {i}: a likelihood is {worst} nats off");
        assert_close(&format!("{what}, logits after text {i}"), &found_logits, logits, RELATIVE);
    }
}

#[test]
fn every_family_reads_as_transformers_does() {
    for name in FAMILIES {
        let (file, golden) = family(name);
        let plain = load_plain(&file, Keep::Dense);
        let adapter = adapter(&plain.config, &golden);
        let low_rank = LowRank::new(&adapter, 1.0, &plain.device);
        for (what, numbers, low_rank) in [("", &golden.base, None), (" adapted", &golden.adapted, Some(&low_rank))] {
            holds(&format!("{name}{what}"), numbers, |i| {
                let ids = &golden.sequences[i];
                let logits = plain.logits(plain.forward(ids, 1, None, low_rank));
                let vocab = plain.config.vocab;
                let log_p: Vec<f32> = log_likelihoods(logits.clone()).into_data().try_into_vec().unwrap();
                let nll = ids[1..].iter().enumerate().map(|(i, &id)| -log_p[i * vocab + id as usize]).collect();
                let logits: Vec<f32> = logits.into_data().try_into_vec().unwrap();
                (nll, logits[(ids.len() - 1) * vocab..].to_vec())
            });
        }
        let processor = load_processor(&file);
        let paths = Arc::new(Paths::new(&adapter, 1.0));
        for (what, numbers, paths) in [("", &golden.base, None), (" adapted", &golden.adapted, Some(paths))] {
            holds(&format!("{name}{what} on the processor"), numbers, |i| {
                let (ids, mut text) = (&golden.sequences[i], Reading::new(paths.clone()));
                let nll = processor.score(&ids[..ids.len() - 1], &ids[1..], &mut text);
                let hidden = processor.read(ids, &mut [&mut Reading::new(paths.clone())]);
                (nll, processor.logits(&hidden[(ids.len() - 1) * processor.model.config.d_model..]))
            });
        }
        let mut fused = on_gpu(&file);
        block_on(fused.attach(&adapter)).unwrap();
        for (what, numbers, mix) in [("", &golden.base, Mix::Base), (" adapted", &golden.adapted, Mix::Scaled(1.0))] {
            holds(&format!("{name}{what} on the GPU"), numbers, |i| {
                let ids = &golden.sequences[i];
                fused.start(&Sampling::default(), &Seen::new(fused.config.vocab), mix);
                let nll = block_on(fused.score(0, &ids[..ids.len() - 1], &ids[1..])).unwrap();
                block_on(fused.read(0, ids)).unwrap();
                (nll, block_on(fused.logits()).unwrap())
            });
        }
    }
}

fn on_gpu(file: &Vec<u8>) -> FusedModel {
    let gguf = block_on(Gguf::read(file)).unwrap();
    let gpu = gpu(GpuOptions::default());
    let variant = Variant::for_device(&gpu);
    block_on(FusedModel::load(gpu, &gguf, file, CAPACITY, variant, &mut |_, _| Ok(()))).unwrap()
}

/// Holds a learner that begins at the fixtures' adapter to the losses, gradients and numbers of a short run.
fn learns(what: &str, golden: &Family, adapter: &Adapter, config: &ModelConfig, learner: &mut impl Open) {
    let expected = &golden.learning;
    let mut gradient = adapter.clone();
    gradient.set_parameters(&learner.gradient_of(&[&golden.sequences[0]]));
    for (layer, kind, pair) in gradient.iter() {
        for (half, values) in [("A", &pair.a), ("B", &pair.b)] {
            let name = format!("{layer}.{}.{half}", kind.name());
            let golden = &expected.gradient[&name];
            let norm = values.iter().map(|v| v * v).sum::<f32>().sqrt();
            assert_close(&format!("{what}, norm of {name}"), &[norm], &[golden.norm], RELATIVE);
            let moved = half == "B" && matches!(kind, Kind::Q | Kind::K);
            let places = here(kind, config, (0..values.len()).map(|i| i as f32).collect(), pair.rank);
            let of = |i: usize| if moved { places.iter().position(|&p| p == i as f32).unwrap() } else { i };
            let typical = golden.norm / (values.len() as f32).sqrt();
            for (i, &number) in golden.head.iter().enumerate() {
                let error = (values[of(i)] - number).abs();
                assert!(error <= RELATIVE * number.abs().max(typical), "{what}, {name}: number {i} is off by {error}");
            }
        }
    }
    let update = Update { rate: golden.adamw.lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, clip: None };
    for ids in &golden.sequences {
        block_on(learner.step(&[ids], &update)).unwrap();
    }
    let losses = block_on(learner.losses(true)).unwrap();
    let nll: Vec<f32> = losses.iter().map(|loss| loss.nll).collect();
    let norms: Vec<f32> = losses.iter().map(|loss| loss.grad_norm).collect();
    assert_close(&format!("{what}, losses"), &nll, &expected.loss, RELATIVE);
    assert_close(&format!("{what}, norms of gradients"), &norms, &expected.grad_norm, RELATIVE);
    let last = golden.sequences.last().unwrap();
    let found = block_on(learner.evaluate(last)).unwrap();
    assert_close(&format!("{what}, after learning"), &found, &expected.final_nll, RELATIVE);
}

#[test]
fn every_family_learns_as_torch_does() {
    for name in FAMILIES {
        let (file, golden) = family(name);
        let plain = load_plain(&file, Keep::Dense);
        let (config, adapter) = (&plain.config, adapter(&plain.config, &golden));
        learns(name, &golden, &adapter, config, &mut PlainLearner::new(&plain, &adapter).unwrap());
        let processor = load_processor(&file);
        let what = format!("{name} on the processor");
        learns(&what, &golden, &adapter, config, &mut ProcessorLearner::new(&processor, &adapter).unwrap());
        let fused = on_gpu(&file);
        let longest = golden.sequences.iter().map(Vec::len).max().unwrap();
        let mut learner =
            block_on(FusedLearner::new(&fused, &adapter, longest, Room { at_once: 1, keep: true })).unwrap();
        learns(&format!("{name} on the GPU"), &golden, &adapter, config, &mut learner);
    }
}
