//! What a model file says about its tokens, checked.

use std::borrow::Cow;

use tokenizers::models::bpe::{BPE, Vocab};

use super::Pieces;
use super::byte_level::Cut;
use super::sentencepiece::spaced;
use crate::error::{Error, ErrorKind, Result};
use crate::gguf::Gguf;

pub(super) const NORMAL: i32 = 1;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
pub(super) const UNUSED: i32 = 5;
pub(super) const BYTE: i32 = 6;

const UNKNOWN: i32 = 2;
const KINDS: std::ops::RangeInclusive<i32> = NORMAL..=BYTE;

/// The vocabulary as the model file has it, in plain data; long lists stay where they are.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary<'a> {
    /// `tokenizer.ggml.model`: the algorithm; we know `gpt2`, byte-level BPE, and `llama`, sentencepiece's BPE.
    pub model: String,
    /// `tokenizer.ggml.pre`: how text is split before merging; of `gpt2` we know `gpt-2`, `llama-bpe`, `qwen2` and `smollm`.
    pub pre: String,
    /// Every token, by id: for `gpt2` in the byte-level alphabet, for `llama` with `▁` in place of a space.
    pub tokens: Cow<'a, [String]>,
    /// What each token is: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub token_types: Cow<'a, [i32]>,
    /// The merges, first one first: two tokens with a space between them.
    pub merges: Cow<'a, [String]>,
    /// Scores for algorithms that use them; empty otherwise.
    pub scores: Cow<'a, [f32]>,
    /// The beginning-of-text token.
    pub bos: Option<u32>,
    /// The end-of-text token.
    pub eos: Option<u32>,
    /// The token for what cannot be spelled.
    pub unknown: Option<u32>,
    /// Whether a plain prompt begins with `bos`.
    pub add_bos: bool,
    /// Whether `llama` puts a space before a text.
    pub space_prefix: bool,
    /// The chat template, in Jinja.
    pub chat_template: Option<String>,
}

/// The algorithms we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    ByteLevelBpe(Cut),
    SentencePiece,
}

pub(super) fn corrupt(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::ModelCorrupt, format!("model has a damaged vocabulary: {}", what.into()))
}

impl<'a> Vocabulary<'a> {
    /// What the metadata of `gguf` says; what is absent there stays empty, and [`Tokenizer::new`](super::Tokenizer::new)
    /// says what it misses.
    ///
    /// Whether text begins with `bos`, and with a space, is what llama.cpp takes where the file does not say.
    pub fn from_gguf(gguf: &'a Gguf) -> Self {
        let text = |key| gguf.str(key).unwrap_or_default().to_owned();
        let texts = |key| Cow::from(gguf.strings(key).unwrap_or_default());
        let (model, pre) = (text("tokenizer.ggml.model"), text("tokenizer.ggml.pre"));
        let add_bos = gguf.bool("tokenizer.ggml.add_bos_token");
        Self {
            add_bos: add_bos.unwrap_or(model == "llama" || pre == Cut::LlamaBpe.name()),
            space_prefix: gguf.bool("tokenizer.ggml.add_space_prefix").unwrap_or(true),
            model,
            pre,
            tokens: texts("tokenizer.ggml.tokens"),
            token_types: gguf.i32s("tokenizer.ggml.token_type").unwrap_or_default().into(),
            merges: texts("tokenizer.ggml.merges"),
            scores: gguf.f32s("tokenizer.ggml.scores").unwrap_or_default().into(),
            bos: gguf.u32("tokenizer.ggml.bos_token_id"),
            eos: gguf.u32("tokenizer.ggml.eos_token_id"),
            unknown: gguf.u32("tokenizer.ggml.unknown_token_id"),
            chat_template: gguf.str("tokenizer.chat_template").map(str::to_owned),
        }
    }

    /// The algorithm.
    ///
    /// # Errors
    /// `model-unsupported`, with what was found and what is known.
    pub(super) fn algorithm(&self) -> Result<Algorithm> {
        let cut = Cut::ALL.into_iter().find(|cut| cut.name() == self.pre);
        match (self.model.as_str(), cut) {
            ("gpt2", Some(cut)) => Ok(Algorithm::ByteLevelBpe(cut)),
            ("llama", _) => Ok(Algorithm::SentencePiece),
            _ => {
                let found = format!("model has tokenizer {:?} with pre-tokenizer {:?}", self.model, self.pre);
                let cuts = Cut::ALL.map(|cut| format!("{:?}", cut.name())).join(", ");
                let known = format!("Imprint knows \"gpt2\" with {cuts}, and \"llama\": choose such a model");
                Err(Error::new(ErrorKind::ModelUnsupported, format!("{found}; {known}")))
            }
        }
    }

    /// Refuses what contradicts itself; duplicates, merges and scores are checked where they are used.
    pub(super) fn check(&self) -> Result<()> {
        let count = self.tokens.len();
        if count == 0 {
            return Err(corrupt("it has no tokens"));
        }
        if self.token_types.len() != count {
            return Err(corrupt(format!("{count} tokens, but {} token types", self.token_types.len())));
        }
        if !self.scores.is_empty() && self.scores.len() != count {
            return Err(corrupt(format!("{count} tokens, but {} scores", self.scores.len())));
        }
        if let Some(id) = self.token_types.iter().position(|kind| !KINDS.contains(kind)) {
            return Err(corrupt(format!("token {id} has type {}, which is none of 1 to 6", self.token_types[id])));
        }
        for (name, id) in [("beginning-of-text", self.bos), ("end-of-text", self.eos), ("unknown", self.unknown)] {
            if let Some(id) = id.filter(|&id| id as usize >= count) {
                return Err(corrupt(format!("its {name} token is {id}, but it has {count} tokens")));
            }
        }
        Ok(())
    }

    /// The merging model. Whatever the library would trip over is checked before: it panics on some damaged merges.
    ///
    /// With `whole_words`, a word that is a token is taken as it is.
    pub(super) fn bpe(&self, whole_words: bool) -> Result<BPE> {
        let mut ids = Vocab::with_capacity(self.tokens.len());
        for (id, token) in self.tokens.iter().enumerate() {
            if let Some(other) = ids.insert(token.clone(), id as u32) {
                return Err(corrupt(format!("tokens {other} and {id} are both {token:?}")));
            }
        }
        let mut joined = String::new();
        let mut merges = Vec::with_capacity(self.merges.len());
        for (rank, merge) in self.merges.iter().enumerate() {
            let (left, right) = merge
                .split_once(' ')
                .filter(|(left, right)| !left.is_empty() && !right.is_empty())
                .ok_or_else(|| corrupt(format!("merge {rank} is {merge:?}, not two tokens with a space between")))?;
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            if let Some(missing) = [left, right, &joined].into_iter().find(|token| !ids.contains_key(*token)) {
                return Err(corrupt(format!("merge {rank} is {merge:?}, but there is no token {missing:?}")));
            }
            merges.push((left.to_owned(), right.to_owned()));
        }
        // The library's cache belongs to the thread and outlives the model: without it, closing a model frees it all.
        BPE::builder()
            .vocab_and_merges(ids, merges)
            .cache_capacity(0)
            .ignore_merges(whole_words)
            .build()
            .map_err(|source| corrupt("its merges do not fit its tokens").with_source(source))
    }

    /// The raw bytes of every token: control, user-defined and unknown tokens are spelled as they are, the others in the
    /// byte-level alphabet.
    pub(super) fn byte_level_pieces(&self) -> Pieces {
        let alphabet = ByteAlphabet::new();
        self.pieces_by(|token, kind, bytes| {
            let spelled = matches!(kind, CONTROL | USER_DEFINED | UNKNOWN);
            let start = bytes.len();
            // A token with a character outside the alphabet is spelled as it is, too (as in the reference tokenizer).
            if spelled || !token.chars().all(|c| alphabet.byte(c).map(|byte| bytes.push(byte)).is_some()) {
                bytes.truncate(start);
                bytes.extend_from_slice(token.as_bytes());
            }
        })
    }

    /// The raw bytes of every token: control and unknown tokens are spelled as they are, a byte stands for itself, and the
    /// others have spaces again.
    pub(super) fn sentencepiece_pieces(&self) -> Pieces {
        self.pieces_by(|token, kind, bytes| match (kind, named_byte(token)) {
            (CONTROL | UNKNOWN, _) => bytes.extend_from_slice(token.as_bytes()),
            (BYTE, Some(byte)) => bytes.push(byte),
            _ => bytes.extend_from_slice(spaced(token).as_bytes()),
        })
    }

    fn pieces_by(&self, spell: impl Fn(&str, i32, &mut Vec<u8>)) -> Pieces {
        let size_bytes = self.tokens.iter().map(String::len).sum();
        let mut pieces = Pieces { bytes: Vec::with_capacity(size_bytes), ends: Vec::with_capacity(self.tokens.len()) };
        for (token, &kind) in self.tokens.iter().zip(self.token_types.iter()) {
            spell(token, kind, &mut pieces.bytes);
            pieces.ends.push(pieces.bytes.len());
        }
        pieces
    }
}

/// The byte that sentencepiece calls `name`, such as `<0x0A>`.
pub(super) fn named_byte(name: &str) -> Option<u8> {
    u8::from_str_radix(name.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok()
}

/// GPT-2's printable stand-ins for bytes: visible Latin-1 characters stand for themselves, the other bytes, in order, for
/// U+0100 and on (Radford et al. 2019, `bytes_to_unicode`).
struct ByteAlphabet {
    bytes: [Option<u8>; 256 + 68],
}

impl ByteAlphabet {
    fn new() -> Self {
        let mut bytes = [None; 256 + 68];
        let mut next = 256;
        for byte in 0..=u8::MAX {
            if matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) {
                bytes[byte as usize] = Some(byte);
            } else {
                bytes[next] = Some(byte);
                next += 1;
            }
        }
        Self { bytes }
    }

    fn byte(&self, c: char) -> Option<u8> {
        self.bytes.get(c as usize).copied().flatten()
    }
}
