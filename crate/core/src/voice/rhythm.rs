//! Lengths of sentences and words.

use serde::Serialize;
use unicode_segmentation::UnicodeSegmentation;

/// Words that a full stop shortens before a name; it ends no sentence.
const TITLES: [&str; 20] = [
    "mr", "mrs", "ms", "dr", "st", "prof", "rev", "capt", "col", "gen", "lt", "sr", "jr", "hon", "mme", "mlle",
    "messrs", "hr", "fr", "vs",
];

/// How a measure is spread.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Distribution {
    /// How many were measured.
    pub count: usize,
    /// Their mean; 0 of none.
    pub mean: f32,
    /// A quarter, half and three quarters lie at or below these.
    pub quartiles: [f32; 3],
    /// How many lie in each stretch of `width`, from 0; the last holds all that are longer.
    pub histogram: Vec<usize>,
    /// The width of a stretch.
    pub width: usize,
}

impl Distribution {
    fn new(mut values: Vec<usize>, width: usize, stretches: usize) -> Self {
        values.sort_unstable();
        let mut histogram = vec![0; stretches];
        for value in &values {
            histogram[(value / width).min(stretches - 1)] += 1;
        }
        let Some(last) = values.len().checked_sub(1) else {
            return Self { histogram, width, ..Self::default() };
        };
        let quantile = |share: f32| {
            let place = share * last as f32;
            let (below, above) = (values[place as usize] as f32, values[place.ceil() as usize] as f32);
            below + (above - below) * place.fract()
        };
        let mean = values.iter().sum::<usize>() as f32 / values.len() as f32;
        let quartiles = [quantile(0.25), quantile(0.5), quantile(0.75)];
        Self { count: values.len(), mean, quartiles, histogram, width }
    }
}

/// How a text moves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rhythm {
    /// Words in each sentence; in verse a line counts as one.
    pub sentences: Distribution,
    /// Characters in each word.
    pub words: Distribution,
}

/// Measures the sentences and words of `text`.
pub fn rhythm(text: &str) -> Rhythm {
    let sentences = sentences(text).map(|(_, sentence)| sentence.unicode_words().count()).filter(|words| *words > 0);
    let words = text.unicode_words().map(|word| word.chars().count());
    Rhythm {
        sentences: Distribution::new(sentences.collect(), 5, 16),
        words: Distribution::new(words.collect(), 1, 21),
    }
}

/// The sentences of `text` with their places, by Unicode's rules, but a title or an initial ends none.
pub(super) fn sentences(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut parts = text.split_sentence_bound_indices().peekable();
    std::iter::from_fn(move || {
        let (start, part) = parts.next()?;
        let mut end = start + part.len();
        let mut last = part;
        while shortened(last) {
            let Some((_, part)) = parts.next() else { break };
            end += part.len();
            last = part;
        }
        Some((start, &text[start..end]))
    })
}

pub(super) fn is_title(word: &str) -> bool {
    TITLES.iter().any(|title| word.eq_ignore_ascii_case(title))
}

/// Whether `part` ends in a title or an initial with its full stop.
fn shortened(part: &str) -> bool {
    let Some(part) = part.trim_end_matches(' ').strip_suffix('.') else { return false };
    let word = part.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or("");
    // "I" ends sentences.
    let initial = word.len() == 1 && word != "I" && word.starts_with(char::is_uppercase);
    initial || is_title(word)
}
