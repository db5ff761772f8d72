//! What is kept of a training text beside an adapter: enough to tell copies from it, and no text.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use sha2::{Digest, Sha256};
use unicode_segmentation::UnicodeSegmentation;

use super::{
    copying::{Copied, Copying, RUN, Runs},
    names::stem,
};
use crate::{
    error::{Error, ErrorKind, Result},
    text::{fold, folded_words},
};

const MAGIC: &[u8; 8] = b"IMPRINTS";
const VERSION: u32 = 1;
/// Bytes before the hashes: magic, version, how many hashes.
const FIXED: usize = MAGIC.len() + 8;
/// Bytes of the SHA-256 at the end.
const DIGEST: usize = 32;

/// The fingerprints of a training text: hashes of its runs of [`RUN`] words, and the names that only its author writes.
///
/// A run has 32 bits, so of a text of 40,000 words a strange run is taken for a copy once in 100,000 times. No text can be
/// read out of them, but a guess can be tried: whoever knows seven words in a row can test which eighth follows. Runs
/// longer than [`RUN`] are told by their parts: each stretch of [`RUN`] words in them stands in the text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prints {
    /// Sorted, each once.
    runs: Vec<u32>,
    names: Vec<String>,
    /// The names folded.
    folded: HashSet<String>,
}

impl Prints {
    /// Takes the prints of `texts`, one a document, and keeps `names` beside them.
    pub fn new<S: AsRef<str>>(texts: &[S], names: Vec<String>) -> Self {
        let mut runs = Vec::new();
        for text in texts {
            let mut last = Last::default();
            runs.extend(folded_words(text.as_ref()).filter_map(|(_, _, word)| last.read(&word)));
        }
        runs.sort_unstable();
        runs.dedup();
        Self::of(runs, names)
    }

    /// The prints of several texts as those of one: what stands in any of them stands in it.
    pub fn together<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let (mut runs, mut names) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        for prints in all {
            runs.extend_from_slice(&prints.runs);
            names.extend(prints.names.iter().filter(|name| seen.insert(fold(name))).cloned());
        }
        runs.sort_unstable();
        runs.dedup();
        Self::of(runs, names)
    }

    fn of(runs: Vec<u32>, names: Vec<String>) -> Self {
        let folded = names.iter().map(|name| fold(name)).collect();
        Self { runs, names, folded }
    }

    /// The names, commonest first.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether `word`, as it is written, is one of the names.
    pub fn is_name(&self, word: &str) -> bool {
        let word = stem(word);
        word.starts_with(char::is_uppercase) && self.folded.contains(&fold(word))
    }

    /// How often each of the names stands in `text`; those that do not are left out.
    pub fn count_names(&self, text: &str) -> Vec<super::Name> {
        let words: Vec<String> =
            text.unicode_words().filter(|word| self.is_name(word)).map(|w| fold(stem(w))).collect();
        let count = |name: &String| words.iter().filter(|word| **word == fold(name)).count();
        let found = self.names.iter().map(|name| super::Name { word: name.clone(), count: count(name) });
        found.filter(|name| name.count > 0).collect()
    }

    /// What of `text` is copied; runs of [`RUN`] words and more are seen.
    pub fn copied(self: &Arc<Self>, text: &str) -> Copied {
        let mut copying = Copying::new(Arc::clone(self), RUN);
        copying.push(text);
        copying.finish()
    }

    /// The bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let names = self.names.join("\n");
        let mut bytes = Vec::with_capacity(FIXED + 4 * self.runs.len() + names.len() + DIGEST);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.runs.len() as u32).to_le_bytes());
        bytes.extend(self.runs.iter().flat_map(|run| run.to_le_bytes()));
        bytes.extend_from_slice(names.as_bytes());
        let digest = Sha256::digest(&bytes);
        bytes.extend_from_slice(&digest);
        bytes
    }

    /// Reads what [`Prints::to_bytes`] wrote.
    ///
    /// # Errors
    /// `adapter-corrupt` for bytes that are no prints, cut short or changed, or of a version that is not known.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if !bytes.starts_with(MAGIC) || bytes.len() < FIXED + DIGEST {
            return Err(corrupt("these bytes are no prints of a text"));
        }
        let (body, digest) = bytes.split_at(bytes.len() - DIGEST);
        if Sha256::digest(body).as_slice() != digest {
            return Err(corrupt("the prints of the text are damaged"));
        }
        let number = |at: usize| u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        let (version, count) = (number(MAGIC.len()), number(MAGIC.len() + 4) as usize);
        if version != VERSION {
            let message = format!("the prints of the text have version {version}, this program knows {VERSION}");
            return Err(corrupt(&message));
        }
        let end = count.checked_mul(4).and_then(|size| size.checked_add(FIXED)).filter(|end| *end <= body.len());
        let end = end.ok_or_else(|| corrupt("the prints of the text are cut short"))?;
        let runs: Vec<u32> = (FIXED..end).step_by(4).map(number).collect();
        if !runs.is_sorted_by(|a, b| a < b) {
            return Err(corrupt("the prints of the text are out of order"));
        }
        let names = std::str::from_utf8(&body[end..]);
        let names = names.map_err(|e| corrupt("the names beside the prints are no text").with_source(e))?;
        Ok(Self::of(runs, names.lines().filter(|name| !name.is_empty()).map(str::to_owned).collect()))
    }
}

fn corrupt(message: &str) -> Error {
    let message = format!("{message}; take the adapter from where it came once more, or leave the prints out");
    Error::new(ErrorKind::AdapterCorrupt, message)
}

/// The last words of a text.
#[derive(Debug, Clone, Default)]
pub struct Last {
    /// Their hashes, [`RUN`] of them at most.
    words: VecDeque<u64>,
    /// How many words stand in the training text in a row.
    run: usize,
}

impl Last {
    /// Reads a word, folded; gives the hash of the last [`RUN`], once there are so many.
    fn read(&mut self, word: &str) -> Option<u32> {
        if self.words.len() == RUN {
            self.words.pop_front();
        }
        self.words.push_back(word.bytes().fold(BASIS, |hash, byte| step(hash, byte.into())));
        let hash = || self.words.iter().fold(BASIS, |hash, word| finish(step(hash, *word)));
        // The halves folded into one another: each bit of the result depends on all words.
        (self.words.len() == RUN).then(hash).map(|hash| (hash ^ (hash >> 32)) as u32)
    }
}

impl Runs for Prints {
    const LEAST: usize = RUN;
    type End = Last;

    fn read(&self, end: &mut Last, word: &str) -> usize {
        let stands = end.read(word).is_some_and(|run| self.runs.binary_search(&run).is_ok());
        end.run = match (stands, end.run) {
            (false, _) => 0,
            (true, 0) => RUN,
            (true, run) => run + 1,
        };
        end.run
    }
}

/// FNV-1a (Fowler, Noll and Vo), the same on every machine and in every version.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

fn step(hash: u64, value: u64) -> u64 {
    (hash ^ value).wrapping_mul(0x0000_0100_0000_01b3)
}

/// Spreads each bit over all others, which multiplying alone does only upwards (Vigna's finaliser of SplitMix64).
fn finish(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
