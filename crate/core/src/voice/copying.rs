//! Runs of words that stand in the training text.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use unicode_segmentation::UnicodeSegmentation;

use crate::text::{fold, folded_words};

/// Words in a run whose share is reported: longer than idioms, shorter than anyone remembers by accident.
pub const RUN: usize = 8;

/// Places in the training text are sorted by so many words. A longer run counts as copied while each stretch of so many
/// words in it is.
const DEPTH: usize = 64;

/// Stands between texts; no word has this number.
const BORDER: u32 = u32::MAX;

/// The training text, made ready to be searched for runs of words: its words as numbers, and a suffix array of them.
#[derive(Debug)]
pub struct Training {
    numbers: HashMap<String, u32>,
    words: Vec<u32>,
    /// Places in `words`, sorted by the words from there on.
    places: Vec<u32>,
}

impl Training {
    /// Indexes `texts`, one a document: runs do not go from one to the next.
    pub fn new<S: AsRef<str>>(texts: &[S]) -> Self {
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut words = Vec::new();
        for text in texts {
            for (_, _, word) in folded_words(text.as_ref()) {
                let next = numbers.len() as u32;
                words.push(*numbers.entry(word).or_insert(next));
            }
            words.push(BORDER);
        }
        let from = |place: &u32| &words[*place as usize..words.len().min(*place as usize + DEPTH)];
        let mut places: Vec<u32> = (0..words.len() as u32).collect();
        places.sort_unstable_by(|a, b| from(a).cmp(from(b)));
        Self { numbers, words, places }
    }

    fn contains(&self, run: &[u32]) -> bool {
        let from = |place: u32| &self.words[place as usize..self.words.len().min(place as usize + run.len())];
        let at = self.places.partition_point(|place| from(*place) < run);
        self.places.get(at).is_some_and(|place| from(*place) == run)
    }

    /// What of `text` is copied; runs of at least `least` words are marked.
    pub fn copied(self: &Arc<Self>, text: &str, least: usize) -> Copied {
        let mut copying = Copying::new(Arc::clone(self), least);
        copying.push(text);
        copying.finish()
    }
}

/// What of a text stands in the training text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Copied {
    /// Words of the text.
    pub words: usize,
    /// Runs of [`RUN`] words, overlapping.
    pub runs: usize,
    /// How many of them stand in the training text.
    pub copied_runs: usize,
    /// Words of the longest run that stands in the training text.
    pub longest: usize,
    /// Where runs of at least the words asked for stand, in bytes; runs that overlap are one range.
    pub ranges: Vec<Range<usize>>,
}

impl Copied {
    /// The share of runs of [`RUN`] words that stand in the training text; 0 for a text without any.
    pub fn share(&self) -> f32 {
        self.copied_runs as f32 / self.runs.max(1) as f32
    }
}

/// The longest end of what was read that stands in the training text.
#[derive(Debug, Clone, Default)]
struct End {
    /// Its words, the last [`DEPTH`] of them.
    words: Vec<u32>,
    /// How many words it has.
    run: usize,
}

impl End {
    fn read(&mut self, training: &Training, word: &str) {
        let Some(number) = training.numbers.get(word) else {
            *self = Self::default();
            return;
        };
        self.run += 1;
        self.words.push(*number);
        if self.words.len() > DEPTH {
            self.words.remove(0);
        }
        while !training.contains(&self.words) {
            self.words.remove(0);
            self.run = self.words.len();
        }
    }
}

/// Follows a text while it is written, piece by piece.
#[derive(Debug, Clone)]
pub struct Copying {
    training: Arc<Training>,
    least: usize,
    end: End,
    /// Where the last `least` words begin.
    starts: Vec<usize>,
    /// The unfinished word and what may still belong to it.
    tail: String,
    /// Where the tail begins.
    at: usize,
    copied: Copied,
}

impl Copying {
    /// Begins a text in which runs of at least `least` words are marked; at least 1.
    pub fn new(training: Arc<Training>, least: usize) -> Self {
        let least = least.max(1);
        let copied = Copied::default();
        Self { training, least, end: End::default(), starts: Vec::new(), tail: String::new(), at: 0, copied }
    }

    /// Reads the next piece, which may end inside a word, and gives the place of the copied run that the text now ends in,
    /// in bytes of all that was read. An unfinished word counts as if it ended here.
    pub fn push(&mut self, piece: &str) -> Option<Range<usize>> {
        self.tail.push_str(piece);
        self.absorb(false);
        let mut ahead = self.end.clone();
        let mut pending = None;
        for (at, word, folded) in folded_words(&self.tail) {
            ahead.read(&self.training, &folded);
            pending = Some((self.at + at, self.at + at + word.len()));
        }
        let Some((start, end)) = pending else {
            let inside = self.end.run >= self.least;
            return inside.then(|| self.copied.ranges.last().cloned()).flatten();
        };
        if ahead.run < self.least {
            None
        } else if self.end.run >= self.least {
            self.copied.ranges.last().map(|range| range.start..end)
        } else {
            let back = self.starts.len() + 1 - self.least.min(self.starts.len() + 1);
            Some(self.starts.get(back).copied().unwrap_or(start)..end)
        }
    }

    /// Whether going on with `piece` would make a copied run of more than `most` words. A word that `piece` leaves
    /// unfinished counts as if it ended there.
    pub fn would_copy(&self, piece: &str, most: usize) -> bool {
        let mut ahead = self.end.clone();
        let text = format!("{}{piece}", self.tail);
        folded_words(&text).any(|(_, _, word)| {
            ahead.read(&self.training, &word);
            ahead.run > most
        })
    }

    /// What of the finished words is copied.
    pub fn copied(&self) -> &Copied {
        &self.copied
    }

    /// Ends the text.
    pub fn finish(mut self) -> Copied {
        self.absorb(true);
        self.copied
    }

    /// Reads the words of the tail that nothing can be added to any more: another word or a space follows them.
    fn absorb(&mut self, all: bool) {
        let tail = std::mem::take(&mut self.tail);
        let space = tail.rfind(char::is_whitespace);
        let mut words = tail.unicode_word_indices().peekable();
        let mut rest = space.map_or(0, |space| space + tail[space..].chars().next().map_or(0, char::len_utf8));
        while let Some((at, word)) = words.next() {
            let followed = words.peek().is_some() || space.is_some_and(|space| space > at);
            if !followed && !all {
                rest = at;
                break;
            }
            self.word(self.at + at, word);
            rest = rest.max(at + word.len());
        }
        self.at += rest;
        self.tail.push_str(&tail[rest..]);
    }

    fn word(&mut self, at: usize, word: &str) {
        let before = self.end.run;
        self.end.read(&self.training, &fold(word));
        if self.starts.len() == self.least {
            self.starts.remove(0);
        }
        self.starts.push(at);
        let copied = &mut self.copied;
        copied.words += 1;
        copied.runs += usize::from(copied.words >= RUN);
        copied.copied_runs += usize::from(self.end.run >= RUN);
        copied.longest = copied.longest.max(self.end.run);
        let end = at + word.len();
        match copied.ranges.last_mut() {
            // A run grows by a word at a time, so a new one begins with the oldest start.
            _ if self.end.run < self.least => {}
            Some(range) if before >= self.least => range.end = end,
            _ => copied.ranges.push(self.starts[0]..end),
        }
    }
}
