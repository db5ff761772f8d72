//! Sentencepiece's BPE: characters are merged in the order of the scores of what they become.
//!
//! Kudo and Richardson 2018; `tokenizer.ggml.model` is `llama`. A space is a character like others, so nothing is cut into
//! words first. What no token spells becomes the tokens of its bytes.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use hashbrown::HashTable;

use super::Pieces;
use super::vocabulary::{self, Vocabulary, corrupt, named_byte};
use crate::error::Result;

/// What vocabularies write in place of a space.
const SPACE: char = '▁';

/// The tokens of a vocabulary with scores.
pub(super) struct SentencePiece {
    /// The tokens that merging may give, by their bytes.
    ids: HashTable<u32>,
    scores: Vec<f32>,
    /// The tokens of single bytes.
    bytes: Vec<Option<u32>>,
    unknown: Option<u32>,
    /// Whether a space is put before a text.
    space_prefix: bool,
    /// Characters after which a token may go on with a space. Before a space after any other one, nothing merges.
    spanning: Vec<char>,
}

/// A stretch of text that is one character or was merged; empty once it is merged into the one before it.
#[derive(Clone, Copy)]
struct Symbol {
    start: usize,
    end: usize,
    before: usize,
    after: usize,
}

/// No symbol.
const NONE: usize = usize::MAX;

/// Two neighbours that together are a token.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    end: usize,
}

impl Ord for Pair {
    /// The highest score first, and of the same score the leftmost.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

/// What merging one word takes, kept for the next.
#[derive(Default)]
struct Scratch {
    symbols: Vec<Symbol>,
    pairs: BinaryHeap<Pair>,
}

impl SentencePiece {
    /// # Errors
    /// `model-corrupt` for a vocabulary without scores, with two tokens of one spelling, or with a byte token that names
    /// no byte.
    pub fn new(vocabulary: &Vocabulary, pieces: &Pieces) -> Result<Self> {
        if vocabulary.scores.is_empty() {
            return Err(corrupt("its tokens have no scores"));
        }
        let mut ids = HashTable::with_capacity(vocabulary.tokens.len());
        let mut bytes = vec![None; 256];
        let mut spanning = Vec::new();
        for (id, &kind) in (0u32..).zip(vocabulary.token_types.iter()) {
            let (piece, name) = (pieces.get(id), &vocabulary.tokens[id as usize]);
            match kind {
                vocabulary::BYTE => match named_byte(name) {
                    Some(byte) => bytes[usize::from(byte)] = Some(id),
                    None => return Err(corrupt(format!("token {id} is a byte, but is called {name:?}"))),
                },
                vocabulary::NORMAL | vocabulary::UNUSED if !piece.is_empty() => {
                    if let Some(other) = ids.find(hash(piece), |&other| pieces.get(other) == piece) {
                        return Err(corrupt(format!("tokens {other} and {id} are both {name:?}")));
                    }
                    ids.insert_unique(hash(piece), id, |&id| hash(pieces.get(id)));
                    spanning.extend(before_spaces(piece));
                }
                _ => {}
            }
        }
        spanning.sort_unstable();
        spanning.dedup();
        let unknown = vocabulary.unknown;
        let scores = vocabulary.scores.to_vec();
        Ok(Self { ids, scores, bytes, unknown, space_prefix: vocabulary.space_prefix, spanning })
    }

    /// Appends the ids of [spaced] `text`; with `begins`, it is the beginning of one.
    pub fn encode(&self, pieces: &Pieces, text: &str, begins: bool, ids: &mut Vec<u32>) {
        let mut text = Cow::from(text);
        if self.space_prefix && begins {
            text = format!(" {text}").into();
        }
        let mut scratch = Scratch::default();
        let mut start = 0;
        let mut last = ' ';
        for (at, c) in text.char_indices() {
            if c == ' ' && last != ' ' && self.spanning.binary_search(&last).is_err() {
                self.encode_word(pieces, &text[start..at], &mut scratch, ids);
                start = at;
            }
            last = c;
        }
        self.encode_word(pieces, &text[start..], &mut scratch, ids);
    }

    /// The id of the token that merging gives for `spelled`.
    pub fn token_to_id(&self, pieces: &Pieces, spelled: &str) -> Option<u32> {
        self.find(pieces, spaced(spelled).as_bytes())
    }

    /// Whether a space is put before a text.
    pub fn space_prefix(&self) -> bool {
        self.space_prefix
    }

    fn find(&self, pieces: &Pieces, spelled: &[u8]) -> Option<u32> {
        self.ids.find(hash(spelled), |&id| pieces.get(id) == spelled).copied()
    }

    fn encode_word(&self, pieces: &Pieces, word: &str, scratch: &mut Scratch, ids: &mut Vec<u32>) {
        let Scratch { symbols, pairs } = scratch;
        symbols.clear();
        for (i, (start, c)) in word.char_indices().enumerate() {
            symbols.push(Symbol { start, end: start + c.len_utf8(), before: i.wrapping_sub(1), after: i + 1 });
        }
        let Some(last) = symbols.last_mut() else { return };
        last.after = NONE;
        let pair = |symbols: &[Symbol], left: usize, right: usize| {
            let (start, end) = (symbols.get(left)?.start, symbols.get(right)?.end);
            let id = self.find(pieces, &word.as_bytes()[start..end])?;
            Some(Pair { score: self.scores[id as usize], left, right, end })
        };
        pairs.extend((1..symbols.len()).filter_map(|right| pair(symbols, right - 1, right)));
        while let Some(Pair { left, right, end, .. }) = pairs.pop() {
            // One of the two may have become another since.
            if symbols[left].end != symbols[right].start || symbols[right].end != end {
                continue;
            }
            let after = symbols[right].after;
            symbols[right].end = symbols[right].start;
            symbols[left] = Symbol { end, after, ..symbols[left] };
            if let Some(after) = symbols.get_mut(after) {
                after.before = left;
            }
            pairs.extend(pair(symbols, symbols[left].before, left));
            pairs.extend(pair(symbols, left, after));
        }
        for symbol in symbols.iter().filter(|symbol| symbol.start < symbol.end) {
            let spelled = &word.as_bytes()[symbol.start..symbol.end];
            match self.find(pieces, spelled) {
                Some(id) => ids.push(id),
                None => self.spell(spelled, ids),
            }
        }
    }

    /// Appends the tokens of the bytes of a character; if some have none, the unknown token, once for several characters.
    fn spell(&self, character: &[u8], ids: &mut Vec<u32>) {
        let bytes = character.iter().map(|&byte| self.bytes[usize::from(byte)]);
        match bytes.collect::<Option<Vec<u32>>>() {
            Some(bytes) => ids.extend(bytes),
            None if self.unknown.is_some() && ids.last() == self.unknown.as_ref() => {}
            None => ids.extend(self.unknown),
        }
    }
}

/// `text` with spaces for what vocabularies write in their place: the two are one.
pub(super) fn spaced(text: &str) -> Cow<'_, str> {
    if text.contains(SPACE) { text.replace(SPACE, " ").into() } else { text.into() }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// The characters of `piece` that a space follows, spaces apart.
fn before_spaces(piece: &[u8]) -> impl Iterator<Item = char> {
    // Only the tokens of bytes are no UTF-8, and they are not merged.
    let text = std::str::from_utf8(piece).unwrap_or_default();
    text.chars().zip(text.chars().skip(1)).filter(|&(c, next)| next == ' ' && c != ' ').map(|(c, _)| c)
}
