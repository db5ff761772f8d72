//! SmolLM2's own vocabulary against the reference tokenizer's ids.

use std::sync::LazyLock;

use serde_json::Value;

use super::*;
use crate::gguf::Gguf;
use crate::gguf::testing::GgufWriter;
use crate::testing::model_path;

static SMOLLM2: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::new(vocabulary()).unwrap());

fn vocabulary() -> Vocabulary {
    let file = std::fs::read(model_path()).unwrap();
    Vocabulary::from_gguf(&pollster::block_on(Gguf::read(&file)).unwrap())
}

fn fixture(name: &str) -> Value {
    let path = format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn metadata_is_read() {
    assert_eq!(SMOLLM2.vocab_size(), 49_152);
    assert_eq!((SMOLLM2.bos(), SMOLLM2.add_bos(), SMOLLM2.eos_ids()), (Some(1), false, &[2, 0][..]));
    assert_eq!(SMOLLM2.piece_bytes(SMOLLM2.token_to_id("ĠParis").unwrap()), b" Paris");
    assert!(SMOLLM2.has_chat_template());
    let bare = GgufWriter::new().meta_str("general.architecture", "llama").finish();
    let bare = Vocabulary::from_gguf(&pollster::block_on(Gguf::read(&bare)).unwrap());
    assert_eq!(Tokenizer::new(bare).err().unwrap().kind(), ErrorKind::ModelUnsupported);
}

#[test]
fn golden_prompts_have_the_golden_ids() {
    let golden = fixture("smollm2.json");
    let prompts = golden["prompts"].as_array().unwrap();
    assert_eq!(prompts.len(), 6);
    for prompt in prompts {
        let text = prompt["text"].as_str().unwrap();
        assert_eq!(SMOLLM2.encode_with_specials(text).unwrap(), ids(&prompt["ids"]), "{}", prompt["name"]);
        assert_eq!(SMOLLM2.decode(&ids(&prompt["ids"])), text);
        assert_eq!(SMOLLM2.decode(&ids(&prompt["greedy_ids"])), prompt["greedy_text"].as_str().unwrap());
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
    let fixture = fixture("tokens.json");
    for chats in fixture["chats"].as_array().unwrap().chunk_by(|a, b| a["template"] == b["template"]) {
        let mut vocabulary = vocabulary();
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
