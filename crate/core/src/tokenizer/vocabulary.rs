//! What a model file says about its tokens, checked.

use tokenizers::models::bpe::{BPE, Vocab};

use super::Pieces;
use crate::error::{Error, ErrorKind, Result};
use crate::gguf::Gguf;

pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;

const UNKNOWN: i32 = 2;
const KINDS: std::ops::RangeInclusive<i32> = 1..=6;

/// The vocabulary as the model file has it, in plain data.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    /// `tokenizer.ggml.model`: the algorithm; we know `gpt2`, byte-level BPE.
    pub model: String,
    /// `tokenizer.ggml.pre`: how text is split before merging; we know `smollm`.
    pub pre: String,
    /// Every token, by id, in the byte-level alphabet.
    pub tokens: Vec<String>,
    /// What each token is: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub token_types: Vec<i32>,
    /// The merges, first one first: two tokens with a space between them.
    pub merges: Vec<String>,
    /// Scores for algorithms that use them; empty otherwise.
    pub scores: Vec<f32>,
    /// The beginning-of-text token.
    pub bos: Option<u32>,
    /// The end-of-text token.
    pub eos: Option<u32>,
    /// Whether a plain prompt begins with `bos`.
    pub add_bos: bool,
    /// The chat template, in Jinja.
    pub chat_template: Option<String>,
}

fn corrupt(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::ModelCorrupt, format!("model has a damaged vocabulary: {}", what.into()))
}

impl Vocabulary {
    /// What the metadata of `gguf` says; what is absent there stays empty, and [`Tokenizer::new`](super::Tokenizer::new)
    /// says what it misses.
    pub fn from_gguf(gguf: &Gguf) -> Self {
        let text = |key| gguf.str(key).unwrap_or_default().to_owned();
        let texts = |key| gguf.strings(key).unwrap_or_default().to_vec();
        Self {
            model: text("tokenizer.ggml.model"),
            pre: text("tokenizer.ggml.pre"),
            tokens: texts("tokenizer.ggml.tokens"),
            token_types: gguf.i32s("tokenizer.ggml.token_type").unwrap_or_default().to_vec(),
            merges: texts("tokenizer.ggml.merges"),
            scores: gguf.f32s("tokenizer.ggml.scores").unwrap_or_default().to_vec(),
            bos: gguf.u32("tokenizer.ggml.bos_token_id"),
            eos: gguf.u32("tokenizer.ggml.eos_token_id"),
            add_bos: gguf.bool("tokenizer.ggml.add_bos_token").unwrap_or(false),
            chat_template: gguf.str("tokenizer.chat_template").map(str::to_owned),
        }
    }

    /// Refuses what we do not know and what contradicts itself; [`Vocabulary::bpe`] checks duplicates and merges.
    pub(super) fn check(&self) -> Result<()> {
        if self.model != "gpt2" || self.pre != "smollm" {
            let found = format!("model has tokenizer {:?} with pre-tokenizer {:?}", self.model, self.pre);
            let known = "Imprint knows \"gpt2\" with \"smollm\", as in SmolLM2: choose such a model";
            return Err(Error::new(ErrorKind::ModelUnsupported, format!("{found}; {known}")));
        }
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
        for (name, id) in [("beginning", self.bos), ("end", self.eos)] {
            if let Some(id) = id.filter(|&id| id as usize >= count) {
                return Err(corrupt(format!("its {name}-of-text token is {id}, but it has {count} tokens")));
            }
        }
        Ok(())
    }

    /// The merging model. Whatever the library would trip over is checked before: it panics on some damaged merges.
    pub(super) fn bpe(&self) -> Result<BPE> {
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
            .build()
            .map_err(|source| corrupt("its merges do not fit its tokens").with_source(source))
    }

    /// The raw bytes of every token: control, user-defined and unknown tokens are spelled as they are, the others in
    /// the byte-level alphabet.
    pub(super) fn pieces(&self) -> Pieces {
        let alphabet = ByteAlphabet::new();
        let mut pieces = Pieces { bytes: Vec::new(), ends: Vec::with_capacity(self.tokens.len()) };
        for (token, &kind) in self.tokens.iter().zip(&self.token_types) {
            let spelled = matches!(kind, CONTROL | USER_DEFINED | UNKNOWN);
            let start = pieces.bytes.len();
            // A token with a character outside the alphabet is spelled as it is, too (as in the reference tokenizer).
            if spelled || !token.chars().all(|c| alphabet.byte(c).map(|byte| pieces.bytes.push(byte)).is_some()) {
                pieces.bytes.truncate(start);
                pieces.bytes.extend_from_slice(token.as_bytes());
            }
            pieces.ends.push(pieces.bytes.len());
        }
        pieces
    }
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
