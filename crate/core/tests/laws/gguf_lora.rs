//! Adapters cross to llama.cpp's layout and back. `tests/fixtures/make_peft.py` made the file, with llama.cpp's own package.

use std::collections::BTreeMap;

use imprint_core::{
    adapter::{Adapter, Kind, Shape},
    config::{ModelConfig, RopeStyle},
    gguf::{Gguf, GgufWriter},
    gguf_lora::{Beside, export, import},
    model::LowRank,
    quant::BlockType,
    voice::Prints,
};
use pollster::block_on;
use safetensors::SafeTensors;

use crate::{
    material::*,
    peft::{base, config, expected, fixture, uneven, written_by_peft},
};

fn read(file: &[u8], config: &ModelConfig) -> imprint_core::Result<(Adapter, Beside)> {
    block_on(import(&file, config))
}

fn code(file: &[u8], config: &ModelConfig) -> (&'static str, String) {
    let error = read(file, config).unwrap_err();
    (error.code(), error.to_string())
}

#[test]
fn an_adapter_that_llama_cpps_package_wrote_gives_its_logits() {
    let (model, expected) = (base(), expected());
    let (adapter, beside) = read(&fixture("plain.gguf"), &model.config).unwrap();
    assert_eq!(beside, Beside::default());
    let (config_json, tensors) = written_by_peft("plain");
    assert_eq!(adapter, imprint_core::peft::import(&config_json, &tensors, &model.config).unwrap());
    let attached = LowRank::new(&adapter, 1.0, &model.device);
    let logits = model.logits(model.forward(&expected.ids, 1, None, Some(&attached)));
    let logits = logits.into_data().try_to_vec::<f32>().unwrap();
    let last = &logits[(expected.ids.len() - 2) * model.config.vocab..];
    assert_close("logits", last, &expected.logits["plain"].concat(), PEFT_LOGIT);
}

#[test]
fn what_is_exported_comes_back_unchanged() {
    let config = config();
    let shape = Shape { rank: 3, alpha: 5.0, kinds: vec![Kind::Q, Kind::Down] };
    let mut adapter = Adapter::fresh(Some("abc".into()), &config, &shape, 1).unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    let values: Vec<f32> = (0..adapter.n_parameters()).map(|_| random.f32() - 0.5).collect();
    adapter.set_parameters(&values);
    let notes = BTreeMap::from([("name".to_owned(), "Élodie 🌍".to_owned()), (String::new(), "x".to_owned())]);
    for names in [vec![], vec!["Marta".to_owned()], vec!["Marta".to_owned(), "Quill".to_owned()]] {
        let prints = Prints::new(&["one two three four five six seven eight nine"], names);
        let beside = Beside { notes: notes.clone(), prints: Some(prints.to_bytes()) };
        let file = export(&adapter, &config, &beside).unwrap();
        assert_eq!(read(&file, &config).unwrap(), (adapter.clone(), beside.clone()));
        assert_eq!(export(&adapter, &config, &beside).unwrap(), file, "the same adapter gives the same bytes");
    }
}

#[test]
fn factors_that_one_alpha_does_not_say_are_in_the_numbers() {
    let config = config();
    let mut adapter = uneven(&config);
    let mut silent = adapter.pair(1, Kind::V).unwrap().clone();
    silent.scale = 0.0;
    adapter.set(1, Kind::V, Some(silent));
    let (found, _) = read(&export(&adapter, &config, &Beside::default()).unwrap(), &config).unwrap();
    assert_eq!(found.iter().count(), adapter.iter().count());
    for ((layer, kind, found), (_, _, pair)) in found.iter().zip(adapter.iter()) {
        let times = |pair: &imprint_core::adapter::Pair| pair.b.iter().map(|b| b * pair.scale).collect::<Vec<_>>();
        assert_eq!((found.rank, &found.a), (pair.rank, &pair.a));
        assert_close(&format!("{kind:?} of block {layer}"), &times(found), &times(pair), 1e-6);
    }
    // All silent: an alpha of 0 would mean the contrary.
    for (layer, kind, pair) in found.iter() {
        adapter.set(layer, kind, Some(imprint_core::adapter::Pair { scale: 0.0, ..pair.clone() }));
    }
    let (found, _) = read(&export(&adapter, &config, &Beside::default()).unwrap(), &config).unwrap();
    assert!(found.iter().all(|(_, _, pair)| pair.scale * pair.b.iter().sum::<f32>() == 0.0));
}

#[test]
fn a_file_without_alpha_is_not_scaled_as_in_llama_cpp() {
    let config = config();
    let file = |alpha: Option<f32>| {
        let writer = start("adapter", "llama", "lora");
        alpha.into_iter().fold(writer, |writer, alpha| writer.meta_f32("adapter.lora.alpha", alpha))
    };
    for (alpha, scale) in [(None, 1.0), (Some(0.0), 1.0), (Some(3.0), 1.5)] {
        let file = pair(file(alpha), &config, "blk.0.attn_q.weight", 2).finish();
        let (adapter, _) = read(&file, &config).unwrap();
        assert_eq!(adapter.pair(0, Kind::Q).unwrap().scale, scale, "{alpha:?}");
    }
}

#[test]
fn rows_stand_in_the_order_of_the_models_file() {
    let halves = ModelConfig { rope_style: RopeStyle::Halves, ..config() };
    let (config_json, tensors) = written_by_peft("plain");
    let adapter = imprint_core::peft::import(&config_json, &tensors, &halves).unwrap();
    let file = export(&adapter, &halves, &Beside::default()).unwrap();
    assert_eq!(read(&file, &halves).unwrap().0, adapter);
    // Where halves turn together, the file has the hub's own numbers; where neighbours do, other ones for q and k.
    let theirs = SafeTensors::deserialize(&tensors).unwrap();
    let neighbours = export(&adapter, &config(), &Beside::default()).unwrap();
    for (part, name, turns) in [("self_attn.k_proj", "attn_k", true), ("mlp.down_proj", "ffn_down", false)] {
        let hub = theirs.tensor(&format!("base_model.model.model.layers.1.{part}.lora_B.weight")).unwrap();
        let of = |file: &Vec<u8>| {
            let gguf = block_on(Gguf::read(file)).unwrap();
            let tensor = gguf.tensor(&format!("blk.1.{name}.weight.lora_b")).unwrap();
            block_on(gguf.read_tensor(file, tensor)).unwrap()
        };
        assert_eq!(of(&file), hub.data(), "{part}");
        assert_eq!(of(&neighbours) != hub.data(), turns, "{part}");
    }
}

fn start(general: &str, architecture: &str, kind: &str) -> GgufWriter {
    GgufWriter::new()
        .meta_str("general.type", general)
        .meta_str("general.architecture", architecture)
        .meta_str("adapter.type", kind)
}

/// Adds both halves of a pair of the queries' shape.
fn pair(writer: GgufWriter, config: &ModelConfig, name: &str, rank: u64) -> GgufWriter {
    let (d_in, d_out) = Kind::Q.dims(config);
    let (d_in, d_out) = (d_in as u64, d_out as u64);
    writer
        .tensor_of(&format!("{name}.lora_a"), &[d_in, rank], BlockType::F32, &vec![0.5; (d_in * rank) as usize])
        .tensor_of(&format!("{name}.lora_b"), &[rank, d_out], BlockType::F32, &vec![0.5; (d_out * rank) as usize])
}

#[test]
fn rank_1_is_read_from_vectors_too() {
    let config = config();
    let (d_in, d_out) = Kind::Q.dims(&config);
    let file = start("adapter", "llama", "lora")
        .tensor_of("blk.0.attn_q.weight.lora_a", &[d_in as u64], BlockType::F32, &vec![0.5; d_in])
        .tensor_of("blk.0.attn_q.weight.lora_b", &[1, d_out as u64], BlockType::F16, &vec![0.25; d_out])
        .finish();
    let (adapter, _) = read(&file, &config).unwrap();
    let pair = adapter.pair(0, Kind::Q).unwrap();
    assert_eq!((pair.rank, pair.a[0], pair.b[0]), (1, 0.5, 0.25));
}

#[test]
fn what_is_no_adapter_of_this_model_is_refused_by_name() {
    let config = config();
    let q = "blk.0.attn_q.weight";
    let good = || start("adapter", "llama", "lora");
    let whole = pair(good(), &config, q, 2).finish();
    read(&whole, &config).unwrap();
    let half = good().tensor_of(&format!("{q}.lora_a"), &[32, 2], BlockType::F32, &[0.5; 64]);
    let unlike = half.clone().tensor_of(&format!("{q}.lora_b"), &[3, 32], BlockType::F32, &[0.5; 96]);
    let norm = pair(good(), &config, q, 2).tensor_of("blk.0.attn_norm.weight", &[32], BlockType::F32, &[1.0; 32]);
    let nan = half.clone().tensor_of(&format!("{q}.lora_b"), &[2, 32], BlockType::F32, &[f32::NAN; 64]);
    let alora = good().meta_list("adapter.alora.invocation_tokens", 4, [vec![1, 0, 0, 0]].into_iter());
    let cases = [
        (fixture("base.gguf"), "adapter-unsupported", "general.type"),
        (pair(start("model", "llama", "lora"), &config, q, 2).finish(), "adapter-unsupported", "\"model\""),
        (pair(start("adapter", "llama", "loha"), &config, q, 2).finish(), "adapter-unsupported", "\"loha\""),
        (pair(start("adapter", "qwen2", "lora"), &config, q, 2).finish(), "adapter-wrong-base", "\"qwen2\""),
        (pair(alora, &config, q, 2).finish(), "adapter-unsupported", "adapter.alora.invocation_tokens"),
        (norm.finish(), "adapter-unsupported", "blk.0.attn_norm.weight"),
        (pair(good(), &config, "token_embd.weight", 2).finish(), "adapter-unsupported", "token_embd.weight"),
        (pair(good(), &config, "blk.0.attn_qkv.weight", 2).finish(), "adapter-unsupported", "attn_qkv"),
        (pair(good(), &config, "blk.2.attn_q.weight", 2).finish(), "adapter-wrong-base", "past the model's 2"),
        (pair(good(), &config, "blk.0.ffn_up.weight", 2).finish(), "adapter-wrong-base", "ffn_up"),
        (half.finish(), "adapter-corrupt", "one half"),
        (unlike.finish(), "adapter-corrupt", "rank 2 in one half and 3"),
        (nan.finish(), "adapter-corrupt", "not a number"),
        (good().meta_str("adapter.lora.alpha", "much").finish(), "adapter-corrupt", "no tensors"),
        (pair(good().meta_str("adapter.lora.alpha", "much"), &config, q, 2).finish(), "adapter-corrupt", "much"),
        (
            pair(good(), &config, q, 2).meta_i32s("imprint.prints", &[9, 1]).finish(),
            "adapter-corrupt",
            "imprint.prints",
        ),
        (whole[..whole.len() - 40].to_vec(), "adapter-corrupt", "ends before"),
        (b"GGUF".to_vec(), "adapter-corrupt", ""),
    ];
    for (i, (file, expected, named)) in cases.iter().enumerate() {
        let (code, message) = code(file, &config);
        assert_eq!(code, *expected, "case {i}: {message}");
        assert!(message.contains(named), "case {i}: {message}");
    }
    let error = export(&Adapter::empty(None, 2), &config, &Beside::default()).unwrap_err();
    assert_eq!(error.code(), "invalid-option");
}

#[test]
fn a_key_of_ours_does_not_make_a_file_anything_else() {
    // Any reader of GGUF reads it: the container itself is sound.
    let config = config();
    let file = export(&uneven(&config), &config, &Beside { prints: Some(vec![1, 2, 3]), ..Beside::default() }).unwrap();
    let gguf = block_on(Gguf::read(&file)).unwrap();
    assert_eq!(gguf.str("general.type"), Some("adapter"));
    assert_eq!(gguf.str("imprint.base_sha256"), Some("abc"));
    assert!(gguf.tensors().iter().all(|tensor| tensor.ty == BlockType::F32));
}
