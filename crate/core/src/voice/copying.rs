//! Runs of words that stand in the training text.

use std::{fmt::Debug, ops::Range, sync::Arc};

use serde::Serialize;
use unicode_segmentation::UnicodeSegmentation;

use super::Training;
use crate::text::{fold, folded_words};

/// Words in a run whose share is reported: longer than idioms, shorter than anyone remembers by accident.
pub const RUN: usize = 8;

/// What is known of a training text, in which runs of words are looked up.
pub trait Runs {
    /// The shortest run that it can tell.
    const LEAST: usize;
    /// What it remembers of a text while that is read.
    type End: Debug + Clone + Default;

    /// Reads the next word of a text, folded, and gives how many of the last words stand in the training text in a row;
    /// 0 for less than [`Runs::LEAST`].
    fn read(&self, end: &mut Self::End, word: &str) -> usize;
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

/// Follows a text while it is written, piece by piece.
#[derive(Debug)]
pub struct Copying<R: Runs = Training> {
    training: Arc<R>,
    least: usize,
    end: R::End,
    /// Words of the copied run that the finished words end in.
    run: usize,
    /// Where the last `least` words begin.
    starts: Vec<usize>,
    /// The unfinished word and what may still belong to it.
    tail: String,
    /// Where the tail begins.
    at: usize,
    copied: Copied,
}

impl<R: Runs> Copying<R> {
    /// Begins a text in which runs of at least `least` words are marked; at least [`Runs::LEAST`].
    pub fn new(training: Arc<R>, least: usize) -> Self {
        let (least, copied) = (least.max(R::LEAST), Copied::default());
        let end = R::End::default();
        Self { training, least, end, run: 0, starts: Vec::new(), tail: String::new(), at: 0, copied }
    }

    /// Reads the next piece, which may end inside a word, and gives the place of the copied run that the text now ends in,
    /// in bytes of all that was read. An unfinished word counts as if it ended here.
    pub fn push(&mut self, piece: &str) -> Option<Range<usize>> {
        self.tail.push_str(piece);
        self.absorb(false);
        let mut ahead = self.end.clone();
        let mut run = self.run;
        let mut pending = None;
        for (at, word, folded) in folded_words(&self.tail) {
            run = self.training.read(&mut ahead, &folded);
            pending = Some((self.at + at, self.at + at + word.len()));
        }
        let Some((start, end)) = pending else {
            let inside = self.run >= self.least;
            return inside.then(|| self.copied.ranges.last().cloned()).flatten();
        };
        if run < self.least {
            None
        } else if self.run >= self.least {
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
        folded_words(&text).any(|(_, _, word)| self.training.read(&mut ahead, &word) > most)
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

    /// Reads the words of the tail that are finished, or all of them.
    fn absorb(&mut self, all: bool) {
        let tail = std::mem::take(&mut self.tail);
        let (words, rest) = finished(&tail, all);
        for (at, word) in words {
            self.word(self.at + at, word);
        }
        self.at += rest;
        self.tail.push_str(&tail[rest..]);
    }

    fn word(&mut self, at: usize, word: &str) {
        let before = self.run;
        self.run = self.training.read(&mut self.end, &fold(word));
        if self.starts.len() == self.least {
            self.starts.remove(0);
        }
        self.starts.push(at);
        let copied = &mut self.copied;
        copied.words += 1;
        copied.runs += usize::from(copied.words >= RUN);
        copied.copied_runs += usize::from(self.run >= RUN);
        copied.longest = copied.longest.max(self.run);
        let end = at + word.len();
        match copied.ranges.last_mut() {
            // A run grows by a word at a time, so a new one begins with the oldest start.
            _ if self.run < self.least => {}
            Some(range) if before >= self.least => range.end = end,
            _ => copied.ranges.push(self.starts[0]..end),
        }
    }
}

/// The words of `text` that nothing can be added to any more, since another word or a space follows them, or `all`; and where
/// what follows them begins.
pub(crate) fn finished(text: &str, all: bool) -> (Vec<(usize, &str)>, usize) {
    let space = text.rfind(char::is_whitespace);
    let mut rest = space.map_or(0, |space| space + text[space..].chars().next().map_or(0, char::len_utf8));
    let mut found = Vec::new();
    let mut words = text.unicode_word_indices().peekable();
    while let Some((at, word)) = words.next() {
        let followed = words.peek().is_some() || space.is_some_and(|space| space > at);
        if !followed && !all {
            rest = at;
            break;
        }
        found.push((at, word));
        rest = rest.max(at + word.len());
    }
    (found, rest)
}
