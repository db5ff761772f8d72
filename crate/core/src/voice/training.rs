//! A text learned from, indexed whole: what is copied from it can be told to the word.

use std::{collections::HashMap, sync::Arc};

use super::copying::{Copied, Copying, Runs};
use crate::text::folded_words;

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

/// The longest end of what was read that stands in the training text.
#[derive(Debug, Clone, Default)]
pub struct End {
    /// Its words, the last [`DEPTH`] of them.
    words: Vec<u32>,
    /// How many words it has.
    run: usize,
}

impl Runs for Training {
    const LEAST: usize = 1;
    type End = End;

    fn read(&self, end: &mut End, word: &str) -> usize {
        let Some(number) = self.numbers.get(word) else {
            *end = End::default();
            return 0;
        };
        end.run += 1;
        end.words.push(*number);
        if end.words.len() > DEPTH {
            end.words.remove(0);
        }
        while !self.contains(&end.words) {
            end.words.remove(0);
            end.run = end.words.len();
        }
        end.run
    }
}
