//! Adapters cross to PEFT and back unchanged. `tests/fixtures/make_peft.py` made the files, with the real library.

use std::{collections::BTreeMap, fs, path::PathBuf};

use burn::tensor::Device;
use imprint_core::{
    Error,
    adapter::{Adapter, Kind, Shape},
    config::ModelConfig,
    gguf::Gguf,
    model::{Keep, LowRank, Model},
    peft::{export, import, import_blob, notes},
    weights::load_packed,
};
use pollster::block_on;
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::material::PEFT_LOGIT;

#[derive(Deserialize)]
pub struct Expected {
    pub ids: Vec<u32>,
    /// Of the last two positions, by adapter; the empty name is the base alone.
    pub logits: BTreeMap<String, [Vec<f32>; 2]>,
}

pub fn fixture(path: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/peft").join(path)).unwrap()
}

pub fn written_by_peft(name: &str) -> (Vec<u8>, Vec<u8>) {
    (fixture(&format!("{name}/adapter_config.json")), fixture(&format!("{name}/adapter_model.safetensors")))
}

pub fn expected() -> Expected {
    serde_json::from_slice(&fixture("logits.json")).unwrap()
}

pub fn base() -> Model {
    let file = fixture("base.gguf");
    let gguf = block_on(Gguf::read(&file)).unwrap();
    let packed = block_on(load_packed(&gguf, &file, &mut |_, _| Ok(()))).unwrap();
    Model::new(packed, Keep::Dense, &Device::flex())
}

pub fn config() -> ModelConfig {
    ModelConfig::from_gguf(&block_on(Gguf::read(&fixture("base.gguf"))).unwrap()).unwrap()
}

/// Ranks, factors and places that differ, and no number that is zero.
pub fn uneven(config: &ModelConfig) -> Adapter {
    let mut random = fastrand::Rng::with_seed(3);
    let mut adapter = Adapter::fresh(Some("abc".into()), config, &Shape { rank: 4, ..Shape::default() }, 1).unwrap();
    let values: Vec<f32> = (0..adapter.n_parameters()).map(|_| random.f32() - 0.5).collect();
    adapter.set_parameters(&values);
    adapter.set(0, Kind::V, None);
    for (layer, kind, scale) in [(0, Kind::Q, 0.1), (1, Kind::Down, 1.0 / 3.0)] {
        let mut pair = adapter.pair(layer, kind).unwrap().clone();
        pair.a.truncate(pair.a.len() / 4 * 3);
        pair.b.truncate(pair.b.len() / 4 * 3);
        (pair.rank, pair.scale) = (3, scale);
        adapter.set(layer, kind, Some(pair));
    }
    adapter
}

#[test]
fn adapters_that_peft_wrote_give_its_logits() {
    let expected = expected();
    let model = base();
    for (name, expected_logits) in &expected.logits {
        let adapter = (!name.is_empty()).then(|| {
            let (config_json, tensors) = written_by_peft(name);
            LowRank::new(&import(&config_json, &tensors, &model.config).unwrap(), 1.0, &model.device)
        });
        let logits = model.logits(model.forward(&expected.ids, 1, None, adapter.as_ref()));
        let logits = logits.into_data().try_to_vec::<f32>().unwrap();
        let last = &logits[(expected.ids.len() - 2) * model.config.vocab..];
        let pairs = last.iter().zip(expected_logits.iter().flatten());
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= PEFT_LOGIT, "{name:?}: largest error {worst:e}");
    }
}

#[test]
fn export_gives_peft_its_own_tensors_back() {
    let (config_json, tensors) = written_by_peft("plain");
    let adapter = import(&config_json, &tensors, &config()).unwrap();
    let exported = export(&adapter, &config(), &BTreeMap::new()).unwrap();
    let (ours, theirs) = (SafeTensors::deserialize(&exported.safetensors), SafeTensors::deserialize(&tensors));
    let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
    assert_eq!(ours.len(), theirs.len());
    for (name, tensor) in theirs.iter() {
        assert_eq!(ours.tensor(name).unwrap(), tensor, "{name}");
    }
    let [ours, theirs] =
        [exported.config_json.as_bytes(), &config_json].map(|json| serde_json::from_slice::<Value>(json).unwrap());
    for key in ["peft_type", "task_type", "r", "lora_alpha", "lora_dropout", "bias"] {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
}

#[test]
fn what_is_exported_comes_back_unchanged() {
    let config = config();
    let adapter = uneven(&config);
    let said = BTreeMap::from([("name".to_owned(), "Élodie \"E\" 🌍".to_owned()), (String::new(), "x".to_owned())]);
    let files = export(&adapter, &config, &said).unwrap();
    assert_eq!(import(files.config_json.as_bytes(), &files.safetensors, &config).unwrap(), adapter);
    assert_eq!(import_blob(&files.safetensors, &config).unwrap(), adapter);
    assert_eq!(notes(&files.safetensors).unwrap(), said);
    assert_eq!(export(&adapter, &config, &said).unwrap(), files, "the same adapter gives the same bytes");
}

#[test]
fn an_adapter_without_pairs_is_not_exported() {
    let error = export(&Adapter::empty(None, 2), &config(), &BTreeMap::new()).unwrap_err();
    assert_eq!(error.code(), "invalid-option");
}

#[test]
fn what_is_no_plain_lora_is_refused_by_name() {
    let (plain, tensors) = written_by_peft("plain");
    let cases = [
        ("peft_type", json!("IA3"), "adapter-unsupported"),
        ("bias", json!("all"), "adapter-unsupported"),
        ("use_dora", json!(true), "adapter-unsupported"),
        ("modules_to_save", json!(["lm_head"]), "adapter-unsupported"),
        ("layer_replication", json!([[0, 2]]), "adapter-unsupported"),
        ("trainable_token_indices", json!({"embed_tokens": [1]}), "adapter-unsupported"),
        ("init_lora_weights", json!("pissa_niter_4"), "adapter-unsupported"),
        ("peft_type", json!(null), "adapter-corrupt"),
        ("r", json!(8), "adapter-corrupt"),
        ("r", json!(-1), "adapter-corrupt"),
        ("lora_alpha", json!(1e300), "adapter-corrupt"),
        ("rank_pattern", json!({"q_proj": 3}), "adapter-corrupt"),
        ("alpha_pattern", json!({"(": 3}), "adapter-corrupt"),
        ("alpha_pattern", json!({"((a{1000}){1000}){1000}": 3}), "adapter-corrupt"),
    ];
    for (key, value, code) in cases {
        let mut changed: Value = serde_json::from_slice(&plain).unwrap();
        changed[key] = value.clone();
        let error = import(changed.to_string().as_bytes(), &tensors, &config()).unwrap_err();
        assert_eq!(error.code(), code, "{key} = {value}: {error}");
        assert!(code != "adapter-unsupported" || error.to_string().contains(key), "{key}: {error}");
    }
    let harmless = [("init_lora_weights", json!("gaussian")), ("use_dora", json!(null)), ("from_the_future", json!(1))];
    for (key, value) in harmless {
        let mut changed: Value = serde_json::from_slice(&plain).unwrap();
        changed[key] = value;
        import(changed.to_string().as_bytes(), &tensors, &config()).unwrap();
    }
    let code = |result: imprint_core::Result<Adapter>| result.map_err(|error: Error| error.code()).unwrap_err();
    assert_eq!(code(import(b"", &tensors, &config())), "adapter-corrupt");
    assert_eq!(code(import_blob(&tensors, &config())), "adapter-unsupported");
}

/// The same tensors under other names.
fn renamed(tensors: &[u8], name: impl Fn(&str) -> String) -> Vec<u8> {
    let tensors = SafeTensors::deserialize(tensors).unwrap();
    safetensors::serialize(tensors.iter().map(|(old, tensor)| (name(old), tensor)), None).unwrap()
}

#[test]
fn every_way_the_hub_writes_a_path_is_the_same_place() {
    let (config_json, tensors) = written_by_peft("plain");
    let adapter = import(&config_json, &tensors, &config()).unwrap();
    for root in ["model.language_model.", "language_model.model.", "language_model.", ""] {
        let to = format!("base_model.model.{root}");
        let other = renamed(&tensors, |name| name.replace("base_model.model.model.", &to));
        assert_eq!(import(&config_json, &other, &config()).unwrap(), adapter, "{root:?}");
        // Patterns hold for the path as the file has it.
        let mut said: Value = serde_json::from_slice(&config_json).unwrap();
        said["alpha_pattern"] = json!({ format!("^{root}layers.1.self_attn.q_proj"): 2, "^wrong.layers.1": 3 });
        let changed = import(said.to_string().as_bytes(), &other, &config()).unwrap();
        let scale = |layer, kind| changed.pair(layer, kind).unwrap().scale;
        assert_eq!([scale(0, Kind::Q), scale(1, Kind::Q), scale(1, Kind::K)], [2.0, 0.5, 2.0], "{root:?}");
    }
    let codes = |name: &dyn Fn(&str) -> String| {
        let error = import(&config_json, &renamed(&tensors, name), &config()).unwrap_err();
        (error.code(), error.to_string())
    };
    let tower = codes(&|name| name.replace("model.model.", "model.vision_tower.vision_model.encoder."));
    assert_eq!(tower.0, "adapter-unsupported", "{}", tower.1);
    assert!(tower.1.contains("vision_tower"), "{}", tower.1);
    let two = codes(&|name| {
        name.replace("model.model.layers.0.self_attn.q_proj.lora_A", "model.layers.0.self_attn.q_proj.lora_A")
    });
    assert_eq!(two.0, "adapter-corrupt", "{}", two.1);
}

#[test]
fn adapters_of_other_kinds_are_named_before_their_tensors_are_looked_at() {
    let (config_json, tensors) = written_by_peft("plain");
    let strange = renamed(&tensors, |name| name.replace("lora_A", "hada_w1_a"));
    for (key, value) in [("peft_type", json!("LOHA")), ("peft_type", json!("VERA")), ("use_dora", json!(true))] {
        let mut said: Value = serde_json::from_slice(&config_json).unwrap();
        said[key] = value.clone();
        let error = import(said.to_string().as_bytes(), &strange, &config()).unwrap_err();
        assert_eq!(error.code(), "adapter-unsupported", "{error}");
        let named = value.as_str().unwrap_or(key);
        assert!(error.to_string().contains(named), "{error}");
    }
    // Of a plain LoRA beside something else, the tensor is named.
    let error = import(&config_json, &strange, &config()).unwrap_err();
    assert!(error.to_string().contains("hada_w1_a"), "{error}");
}

#[test]
fn adapters_of_other_models_are_refused() {
    let files = export(&uneven(&config()), &config(), &BTreeMap::new()).unwrap();
    for other in [ModelConfig { n_layers: 1, ..config() }, ModelConfig { d_ff: 44, ..config() }] {
        let error = import_blob(&files.safetensors, &other).unwrap_err();
        assert_eq!(error.code(), "adapter-wrong-base", "{error}");
    }
    let adapter = import_blob(&files.safetensors, &config()).unwrap();
    assert_eq!(adapter.check(&config(), Some("abd")).unwrap_err().code(), "adapter-wrong-base");
}

#[test]
fn tensors_that_make_no_adapter_are_refused() {
    let (config_json, good) = written_by_peft("plain");
    let first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    // Names of the same length, so that the header stays as long as it says.
    let renamed = |to: &str| {
        let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
        assert_eq!(first.len(), to.len());
        let text = String::from_utf8(good[8..header].to_vec()).unwrap().replace(first, to);
        [&good[..8], text.as_bytes(), &good[header..]].concat()
    };
    let mut not_a_number = good.clone();
    let end = good.len();
    not_a_number[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut huge = good.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let cases = [
        (renamed("base_model.model.model.layers.0.self_attn.x_proj.lora_A.weight"), "adapter-unsupported"),
        (renamed("base_model.model.model.layers.0.self_attn.q_proj.lora_C.weight"), "adapter-unsupported"),
        (renamed("base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"), "adapter-wrong-base"),
        (renamed("base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight"), "adapter-corrupt"),
        (not_a_number, "adapter-corrupt"),
        (huge, "adapter-corrupt"),
        (good[..good.len() - 1].to_vec(), "adapter-corrupt"),
        (Vec::new(), "adapter-corrupt"),
        (b"\x02\0\0\0\0\0\0\0{}".to_vec(), "adapter-corrupt"),
    ];
    for (i, (tensors, code)) in cases.iter().enumerate() {
        let error = import(&config_json, tensors, &config()).unwrap_err();
        assert_eq!(error.code(), *code, "case {i}: {error}");
    }
}
