//! Proper names of a text.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use super::rhythm::sentences;
use crate::text::fold;

/// Where more of the words inside sentences are capitalised than this, nouns are (German, English before 1800), and
/// capitals do not tell names.
const NOUNS: f32 = 0.12;

/// A sentence with this share of its words capitalised is a heading.
const HEADING: f32 = 0.6;

/// A name is written without its capital at most once in so many times.
const RARE: usize = 10;

/// After these, capitals begin a sentence as often as a name.
const OPENING: [char; 16] = ['"', '\'', '“', '‘', '«', '»', '„', '‚', '‹', '(', '[', '—', '–', '-', ':', '*'];

/// A word that is a name by its capitals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The word as it first stood inside a sentence, without a possessive ending.
    pub word: String,
    /// How often it stands in the text.
    pub count: usize,
}

/// The names of a text, word by word: "Tom Sawyer" is two.
///
/// A name has a capital inside a sentence, stands in the text at least twice, and hardly ever without its capital. Scripts
/// without case have none that can be told, nor have languages that capitalise nouns. Words that the language always
/// capitalises ("English", "Sunday") are among them: whether a model would write them anyway is for the model to say.
#[derive(Debug, Clone, Default)]
pub struct Names {
    names: Vec<Name>,
    places: HashMap<String, usize>,
}

#[derive(Default)]
struct Cases {
    lower: usize,
    first: usize,
    inside: usize,
    word: String,
}

impl Names {
    /// Finds the names in `texts`.
    pub fn find<S: AsRef<str>>(texts: &[S]) -> Self {
        let mut cases: HashMap<String, Cases> = HashMap::new();
        let (mut inside, mut capitals) = (0, 0);
        for (_, sentence) in texts.iter().flat_map(|text| sentences(text.as_ref())) {
            let words = classify(sentence);
            let upper = words.iter().filter(|(_, case)| *case != Case::Lower).count();
            if words.len() >= 3 && upper as f32 >= HEADING * words.len() as f32 {
                continue;
            }
            for (word, case) in words {
                let entry = cases.entry(fold(word)).or_default();
                inside += usize::from(case != Case::First);
                match case {
                    Case::Lower => entry.lower += 1,
                    Case::First => entry.first += 1,
                    Case::Inside => {
                        capitals += 1;
                        entry.inside += 1;
                        if entry.word.is_empty() {
                            entry.word = word.to_owned();
                        }
                    }
                }
            }
        }
        if capitals as f32 > NOUNS * inside as f32 {
            return Self::default();
        }
        let is_name = |c: &Cases| c.inside > 0 && c.inside + c.first > 1 && c.lower * RARE <= c.inside + c.first;
        let names = cases.into_values().filter(is_name).map(|c| Name { word: c.word, count: c.inside + c.first });
        let mut names: Vec<Name> = names.collect();
        names.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.word.cmp(&b.word)));
        let places = names.iter().enumerate().map(|(i, name)| (fold(&name.word), i)).collect();
        Self { names, places }
    }

    /// The names, commonest first: words that generation can be kept from writing.
    pub fn list(&self) -> &[Name] {
        &self.names
    }

    /// How often each of the names stands in `text`, capitalised; those that do not are left out.
    pub fn count(&self, text: &str) -> Vec<Name> {
        let mut counts = vec![0; self.names.len()];
        for word in text.unicode_words().map(stem).filter(|word| word.starts_with(char::is_uppercase)) {
            if let Some(i) = self.places.get(&fold(word)) {
                counts[*i] += 1;
            }
        }
        let found = self.names.iter().zip(counts).filter(|(_, count)| *count > 0);
        found.map(|(name, count)| Name { word: name.word.clone(), count }).collect()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Case {
    Lower,
    /// A capital that the beginning of a sentence may have given.
    First,
    /// A capital inside a sentence.
    Inside,
}

/// The words of a sentence that say something about capitals.
fn classify(sentence: &str) -> Vec<(&str, Case)> {
    let mut words = Vec::new();
    let mut end = 0;
    for (at, word) in sentence.unicode_word_indices() {
        let between = sentence[end..at].trim_end();
        let opens = end == 0 || between.ends_with(OPENING);
        end = at + word.len();
        let word = stem(word);
        match case(word) {
            Some(false) => words.push((word, Case::Lower)),
            Some(true) if opens => words.push((word, Case::First)),
            Some(true) => words.push((word, Case::Inside)),
            None => {}
        }
    }
    words
}

/// `word` without what follows its apostrophe, but "O'Brien" whole.
pub(super) fn stem(word: &str) -> &str {
    match word.rfind(['\'', '’']) {
        Some(at) if !word[at..].chars().nth(1).is_some_and(char::is_uppercase) => &word[..at],
        _ => word,
    }
}

/// Whether `word` begins with a capital. Nothing can be said of numbers, single letters ("I", initials), titles, words all
/// in capitals and scripts without case.
fn case(word: &str) -> Option<bool> {
    let mut letters = word.chars();
    let (first, second) = (letters.next()?, letters.next()?);
    if first.is_lowercase() {
        return Some(false);
    }
    let shouted = second.is_uppercase();
    (first.is_uppercase() && !shouted && !super::rhythm::is_title(word)).then_some(true)
}
