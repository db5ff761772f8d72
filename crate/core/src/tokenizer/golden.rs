//! The vocabularies of the real models, and small ones of every family, against the ids of reference tokenizers.

use std::sync::LazyLock;

use serde_json::Value;

use super::byte_level::Cut;
use super::*;
use crate::gguf::Gguf;
use crate::gguf::testing::GgufWriter;
use crate::testing::{gemma_path, model_path};

static SMOLLM2: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::new(Vocabulary::from_gguf(&smollm2())).unwrap());
static GEMMA3: LazyLock<Tokenizer> = LazyLock::new(|| {
    let gguf = read(&std::fs::read(gemma_path()).unwrap());
    Tokenizer::new(Vocabulary::from_gguf(&gguf)).unwrap()
});

fn read(file: &Vec<u8>) -> Gguf {
    pollster::block_on(Gguf::read(file)).unwrap()
}

fn smollm2() -> Gguf {
    read(&std::fs::read(model_path()).unwrap())
}

pub(super) fn fixture(name: &str) -> Value {
    let path = format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The hard texts that reference tokenizers were given.
pub(super) fn texts() -> Vec<String> {
    let texts: Vec<String> = serde_json::from_value(fixture("tokenizers/texts.json")).unwrap();
    assert_eq!(texts.len(), 200);
    texts
}

/// A small vocabulary of its own: `byte-level` or `sentencepiece`.
pub(super) fn small(name: &str) -> Vocabulary<'static> {
    let fixture = fixture(&format!("tokenizers/{name}.json"));
    let list = |key: &str| fixture[key].as_array().cloned().unwrap_or_default().into_iter();
    let texts = |key| list(key).map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let token_types: Vec<i32> = list("token_types").map(|kind| kind.as_i64().unwrap() as i32).collect();
    Vocabulary {
        model: "llama".into(),
        tokens: texts("tokens").into(),
        merges: texts("merges").into(),
        scores: list("scores").map(|score| score.as_f64().unwrap() as f32).collect::<Vec<_>>().into(),
        unknown: token_types.iter().position(|&kind| kind == 2).map(|id| id as u32),
        token_types: token_types.into(),
        ..Vocabulary::default()
    }
}

/// Holds a tokenizer to the ids of the hard texts in `tokenizers/{name}.json`.
fn hard_texts_are_the_references(name: &str, tokenizer: &Tokenizer) {
    let golden = fixture(&format!("tokenizers/{name}.json"));
    for (n, text) in texts().iter().enumerate() {
        assert_eq!(tokenizer.encode(text).unwrap(), ids(&golden["ids"][n]), "{name}: {text:?}");
        if let Some(specials) = golden.get("with_specials") {
            let specials = specials.get(n.to_string()).unwrap_or(&golden["ids"][n]);
            assert_eq!(tokenizer.encode_with_specials(text).unwrap(), ids(specials), "{name}: {text:?} with specials");
        }
    }
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn every_byte_level_family_gives_the_references_ids_of_hard_texts() {
    for cut in Cut::ALL {
        let vocabulary = Vocabulary { model: "gpt2".into(), pre: cut.name().into(), ..small("byte-level") };
        hard_texts_are_the_references(cut.name(), &Tokenizer::new(vocabulary).unwrap());
    }
}

#[test]
fn sentencepiece_gives_the_references_ids_of_hard_texts_with_and_without_the_space() {
    for (name, space_prefix) in [("space-prefix", true), ("no-prefix", false)] {
        let vocabulary = Vocabulary { space_prefix, ..small("sentencepiece") };
        hard_texts_are_the_references(name, &Tokenizer::new(vocabulary).unwrap());
    }
}

#[test]
fn the_real_models_give_the_references_ids_of_hard_texts() {
    hard_texts_are_the_references("smollm2", &SMOLLM2);
    hard_texts_are_the_references("gemma3", &GEMMA3);
}

#[test]
fn gemmas_metadata_is_read() {
    assert_eq!(GEMMA3.vocab_size(), 262_144);
    assert_eq!((GEMMA3.bos(), GEMMA3.add_bos(), GEMMA3.eos_ids()), (Some(2), true, &[1, 106][..]));
    assert_eq!(GEMMA3.piece_bytes(GEMMA3.token_to_id("▁Paris").unwrap()), b" Paris");
    assert_eq!(GEMMA3.piece_bytes(238 + 0xE6), b"\xE6");
    assert!(!GEMMA3.has_chat_template());
    let turn = GEMMA3.encode_with_specials("<start_of_turn>user\n<end_of_turn>").unwrap();
    assert_eq!(turn, [105, GEMMA3.token_to_id("user").unwrap(), 107, 106]);
}

#[test]
fn metadata_is_read() {
    assert_eq!(SMOLLM2.vocab_size(), 49_152);
    assert_eq!((SMOLLM2.bos(), SMOLLM2.add_bos(), SMOLLM2.eos_ids()), (Some(1), false, &[2, 0][..]));
    assert_eq!(SMOLLM2.piece_bytes(SMOLLM2.token_to_id("ĠParis").unwrap()), b" Paris");
    assert!(SMOLLM2.has_chat_template());
    let bare = read(&GgufWriter::new().meta_str("general.architecture", "llama").finish());
    assert_eq!(Tokenizer::new(Vocabulary::from_gguf(&bare)).err().unwrap().kind(), ErrorKind::ModelUnsupported);
}

#[test]
fn a_start_token_and_a_space_come_first_unless_the_file_or_the_family_says_otherwise() {
    let said = |model: &str, pre: &str, told: Option<bool>| {
        let mut file = GgufWriter::new().meta_str("tokenizer.ggml.model", model).meta_str("tokenizer.ggml.pre", pre);
        if let Some(told) = told {
            file = file.meta_bool("tokenizer.ggml.add_bos_token", told);
            file = file.meta_bool("tokenizer.ggml.add_space_prefix", told);
        }
        let gguf = read(&file.finish());
        let vocabulary = Vocabulary::from_gguf(&gguf);
        (vocabulary.add_bos, vocabulary.space_prefix)
    };
    assert_eq!(said("llama", "default", None), (true, true));
    assert_eq!(said("llama", "default", Some(false)), (false, false));
    assert!(said("gpt2", "llama-bpe", None).0);
    assert!(!said("gpt2", "llama-bpe", Some(false)).0);
    assert!(!said("gpt2", "qwen2", None).0);
    assert!(said("gpt2", "qwen2", Some(true)).0);
}

#[test]
fn golden_prompts_have_the_golden_ids() {
    for (name, tokenizer) in [("smollm2", &*SMOLLM2), ("gemma3", &*GEMMA3)] {
        let golden = fixture(&format!("{name}.json"));
        let prompts = golden["prompts"].as_array().unwrap();
        assert_eq!(prompts.len(), 6);
        for prompt in prompts {
            let text = prompt["text"].as_str().unwrap();
            let mut expected = ids(&prompt["ids"]);
            if tokenizer.add_bos() {
                assert_eq!(Some(expected.remove(0)), tokenizer.bos());
            }
            assert_eq!(tokenizer.encode_with_specials(text).unwrap(), expected, "{name}: {}", prompt["name"]);
            assert_eq!(tokenizer.decode(&expected), text);
            assert_eq!(tokenizer.decode(&ids(&prompt["greedy_ids"])), prompt["greedy_text"].as_str().unwrap());
        }
    }
}

#[test]
fn hard_texts_have_the_reference_ids() {
    for case in fixture("tokens.json")["texts"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(SMOLLM2.encode(text).unwrap(), ids(&case["ids"]), "{text:?}");
        let specials = case.get("ids_with_specials").unwrap_or(&case["ids"]);
        assert_eq!(SMOLLM2.encode_with_specials(text).unwrap(), ids(specials), "{text:?} with specials");
    }
}

#[test]
fn hard_texts_survive_the_round_trip() {
    // SmolLM2 has no tokens for these characters' bytes; the reference tokenizer drops them, too.
    let missing = ['\u{4}', '\u{6}', '\u{13}', '\u{14}', '\u{16}', '\u{1D}', '\u{40000}', '\u{80000}'];
    for case in fixture("tokens.json")["texts"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let round = SMOLLM2.decode(&SMOLLM2.encode(text).unwrap());
        if !text.contains(missing) {
            assert_eq!(round, text);
        } else {
            assert_ne!(round, text);
        }
    }
}

#[test]
fn chats_have_the_reference_ids() {
    let (fixture, gguf) = (fixture("tokens.json"), smollm2());
    for chats in fixture["chats"].as_array().unwrap().chunk_by(|a, b| a["template"] == b["template"]) {
        let mut vocabulary = Vocabulary::from_gguf(&gguf);
        if let Some(template) = chats[0]["template"].as_str() {
            vocabulary.chat_template = Some(template.to_owned());
        }
        let tokenizer = Tokenizer::new(vocabulary).unwrap();
        for case in chats {
            let field = |message: &Value, name: &str| message[name].as_str().unwrap().to_owned();
            let messages = case["messages"].as_array().unwrap().iter();
            let messages: Vec<_> = messages.map(|m| Message::new(field(m, "role"), field(m, "content"))).collect();
            let prompt = case["add_generation_prompt"].as_bool().unwrap();
            assert_eq!(tokenizer.encode_chat(&messages, prompt).unwrap(), ids(&case["ids"]), "{case}");
        }
    }
}
