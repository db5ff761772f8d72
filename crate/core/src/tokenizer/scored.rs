//! Laws of sentencepiece's BPE; `golden.rs` holds it to the reference.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;

use super::golden::{small, texts};
use super::tests::Dice;
use super::*;

/// A vocabulary of control tokens, all bytes unless `bytes` is false, and `pieces` with falling scores.
fn scored(bytes: bool, pieces: &[&str]) -> Vocabulary<'static> {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).to_vec();
    let mut token_types = vec![2, 3, 3];
    if bytes {
        tokens.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
        token_types.resize(tokens.len(), 6);
    }
    let first = tokens.len();
    tokens.extend(pieces.iter().map(ToString::to_string));
    token_types.resize(tokens.len(), 1);
    let scores: Vec<f32> = (0..tokens.len()).map(|id| -(id.saturating_sub(first) as f32)).collect();
    Vocabulary {
        model: "llama".into(),
        tokens: tokens.into(),
        token_types: token_types.into(),
        scores: scores.into(),
        bos: Some(1),
        eos: Some(2),
        unknown: Some(0),
        ..Vocabulary::default()
    }
}

/// Merging as it is defined: of all neighbours that are a token, those with the highest score, again and again.
fn merged_slowly(vocabulary: &Vocabulary, text: &str) -> Vec<u32> {
    let find = |spelled: &str| {
        let mut found = vocabulary.tokens.iter().zip(vocabulary.token_types.iter()).zip(0u32..);
        found.find(|((token, kind), _)| **kind == 1 && token.replace('▁', " ") == spelled).map(|(_, id)| id)
    };
    let mut parts: Vec<String> = text.chars().map(String::from).collect();
    loop {
        let mut best: Option<(f32, usize)> = None;
        for at in 1..parts.len() {
            if let Some(id) = find(&[parts[at - 1].as_str(), &parts[at]].concat()) {
                let score = vocabulary.scores[id as usize];
                if best.is_none_or(|(other, _)| score > other) {
                    best = Some((score, at));
                }
            }
        }
        let Some((_, at)) = best else { break };
        let right = parts.remove(at);
        parts[at - 1].push_str(&right);
    }
    let byte =
        |byte: u8| vocabulary.tokens.iter().position(|token| *token == format!("<0x{byte:02X}>")).unwrap() as u32;
    parts.iter().flat_map(|part| find(part).map_or_else(|| part.bytes().map(byte).collect(), |id| vec![id])).collect()
}

#[test]
fn merging_by_words_is_merging_the_whole_text() {
    let units = ["a", "b", "c", " ", "é"];
    let mut dice = Dice(0x5EED_CAFE_1234_ABCD);
    for case in 0..300 {
        // Pieces with spaces anywhere in them, so that some reach over the end of a word.
        let mut pieces: Vec<String> = units[..3 + case % 3].iter().map(|unit| unit.replace(' ', "▁")).collect();
        for _ in 0..dice.roll(25) {
            let mut piece: String = (0..2 + dice.roll(2)).map(|_| pieces[dice.roll(pieces.len())].clone()).collect();
            piece.truncate(piece.char_indices().nth(5).map_or(piece.len(), |(at, _)| at));
            if !pieces.contains(&piece) {
                pieces.push(piece);
            }
        }
        let mut vocabulary = scored(true, &pieces.iter().map(String::as_str).collect::<Vec<_>>());
        for score in vocabulary.scores.to_mut() {
            *score = -(dice.roll(8) as f32);
        }
        let text: String = (0..dice.roll(40)).map(|_| units[dice.roll(units.len())]).collect();
        let expected = merged_slowly(&vocabulary, &text);
        let found = Tokenizer::new(vocabulary).unwrap().encode(&text).unwrap();
        assert_eq!(found, expected, "case {case}: {text:?} with {pieces:?}");
    }
}

#[test]
fn every_text_survives_the_round_trip() {
    for space_prefix in [false, true] {
        let tokenizer = Tokenizer::new(Vocabulary { space_prefix, bos: Some(1), ..small("sentencepiece") }).unwrap();
        for text in texts() {
            let ids = tokenizer.encode(&text).unwrap();
            // The vocabulary has no other sign for a space than this one.
            let spaced = text.replace('▁', " ");
            let put = if space_prefix && !text.is_empty() { " " } else { "" };
            assert_eq!(tokenizer.decode(&ids), format!("{put}{spaced}"));
            let begun = [&[1], ids.as_slice()].concat();
            assert_eq!(tokenizer.decode(&begun), format!("<s>{spaced}"), "the space after a start token is not text");
        }
    }
}

#[test]
fn half_a_character_of_byte_tokens_is_never_shown() {
    let tokenizer = Tokenizer::new(small("sentencepiece")).unwrap();
    let mut byte_tokens = 0;
    for text in texts().iter().map(|text| text.replace('▁', " ")) {
        let ids = tokenizer.encode(&text).unwrap();
        byte_tokens += ids.iter().filter(|&&id| !tokenizer.piece_bytes(id).is_ascii()).count();
        let borders: Vec<usize> = text.grapheme_indices(true).map(|(at, _)| at).chain([text.len()]).collect();
        let (mut stream, mut shown) = (DecodeStream::new(), String::new());
        for id in ids {
            shown.push_str(&stream.push(tokenizer.piece_bytes(id)));
            assert!(text.starts_with(&shown), "{shown:?} is no beginning of {text:?}");
            assert!(borders.contains(&shown.len()), "{shown:?} cuts a character of {text:?}");
        }
        shown.push_str(&stream.finish());
        assert_eq!(shown, text);
    }
    assert!(byte_tokens > 500, "{byte_tokens} tokens are a part of a character");
}

#[test]
fn a_space_comes_before_each_text_and_is_left_out_where_one_begins() {
    let vocabulary = Vocabulary { space_prefix: true, ..scored(true, &["▁", "a", "▁a"]) };
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    let [space, a, spaced] = ["▁", "a", "▁a"].map(|piece| tokenizer.token_to_id(piece).unwrap());
    assert!(tokenizer.encode("").unwrap().is_empty());
    assert_eq!(tokenizer.encode("a").unwrap(), [spaced]);
    assert_eq!(tokenizer.encode(" a").unwrap(), [space, spaced]);
    assert_eq!(tokenizer.encode_with_specials("<s>a</s>a").unwrap(), [1, spaced, 2, spaced]);
    assert_eq!(tokenizer.piece_after(Some(1), spaced), b"a");
    assert_eq!(tokenizer.piece_after(Some(a), spaced), b" a");
    assert_eq!(tokenizer.piece_after(None, spaced), b" a");
    let mut named = Vocabulary { space_prefix: true, ..scored(true, &["▁", "a", "▁a", "<h1>"]) };
    *named.token_types.to_mut().last_mut().unwrap() = 4;
    let named = Tokenizer::new(named).unwrap();
    let ids = named.encode("a<h1>a").unwrap();
    assert_eq!(ids, [spaced, spaced + 1, a], "a token with a name is a part of the text");
    assert_eq!(named.decode(&[[1].as_slice(), &ids].concat()), "<s>a<h1>a");
    let without = Tokenizer::new(scored(true, &["▁", "a", "▁a"])).unwrap();
    assert_eq!(without.encode("a").unwrap(), [a]);
    assert_eq!(without.piece_after(Some(1), spaced), b" a", "what was not put there stays");
}

#[test]
fn what_has_no_token_is_unknown_once() {
    let unknown = Tokenizer::new(scored(false, &["a"])).unwrap();
    assert_eq!(unknown.encode("aéü東a").unwrap(), [3, 0, 3]);
    let nothing = Tokenizer::new(Vocabulary { unknown: None, ..scored(false, &["a"]) }).unwrap();
    assert_eq!(nothing.encode("aéa").unwrap(), [3, 3]);
}

#[test]
fn names_of_control_and_byte_tokens_stay_text() {
    let pieces = ["<", ">", "s", "/", "0", "x", "A", "<0", "<0x", "<0x0", "<0x0A", "<s", "</", "</s"];
    let tokenizer = Tokenizer::new(scored(true, &pieces)).unwrap();
    for text in ["<s>", "</s>", "<0x0A>", "<unk>"] {
        let ids = tokenizer.encode(text).unwrap();
        assert!(ids.iter().all(|&id| id > 2 && tokenizer.piece_bytes(id) != b"\n"), "{text}: {ids:?}");
        assert_eq!(tokenizer.decode(&ids), text);
    }
    assert_eq!(tokenizer.encode_with_specials("<s></s>").unwrap(), [1, 2]);
}

#[test]
fn damaged_scored_vocabularies_are_refused() {
    type Damage = fn(&mut Vocabulary);
    let damage: [(&str, Damage); 6] = [
        ("no scores", |v| v.scores = Cow::default()),
        ("scores", |v| v.scores.to_mut().truncate(9)),
        ("are both", |v| *v.tokens.to_mut().last_mut().unwrap() = "a".into()),
        ("is a byte, but is called \"<0xGG>\"", |v| v.tokens.to_mut()[9] = "<0xGG>".into()),
        ("is a byte, but is called \"a\"", |v| v.tokens.to_mut()[9] = "a".into()),
        ("has type 0", |v| v.token_types.to_mut()[5] = 0),
    ];
    for (expected, damage) in damage {
        let mut vocabulary = scored(true, &["a", "b"]);
        damage(&mut vocabulary);
        let error = Tokenizer::new(vocabulary).err().expect(expected);
        assert_eq!(error.kind(), ErrorKind::ModelCorrupt, "{error}");
        assert!(error.to_string().contains(expected), "{error} should say {expected:?}");
    }
}

#[test]
fn scores_of_any_value_end_in_some_ids() {
    let vocabulary = Vocabulary {
        scores: vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN, 0.0, -0.0].into(),
        ..scored(false, &["a", "b", "ab", "aba"])
    };
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    assert_eq!(tokenizer.decode(&tokenizer.encode("abaabab").unwrap()), "abaabab");
}
