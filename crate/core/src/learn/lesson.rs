//! Passages of text → windows of ids to learn from, and windows to measure on.

use sha2::{Digest, Sha256};

use crate::{
    error::{Error, ErrorKind, Result},
    text::{Material, Text},
    tokenizer::Tokenizer,
};

/// Fewest tokens that a voice can be learned from.
pub const LEAST_TOKENS: usize = 512;
/// Fewest tokens that a hold-out of the person's own must have.
const LEAST_HELD: usize = 32;
/// Windows of the hold-out that are measured, spread over it: a measurement costs no more than about four steps.
const MEASURED: usize = 12;

/// Tokenised passages in a row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stream {
    ids: Vec<u32>,
    /// Where passages begin.
    borders: Vec<usize>,
    /// What stands before every window, for models that want a start token.
    start: Option<u32>,
}

impl Stream {
    /// Tokenises documents, each a list of passages that hold the separators between them. A blank line stands between
    /// two documents.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn new<'a>(tokenizer: &Tokenizer, documents: impl IntoIterator<Item = &'a [String]>) -> Result<Self> {
        // As one text: a passage may end with the space that belongs to the next one's first token.
        let mut text = String::new();
        let mut places = Vec::new();
        for passages in documents.into_iter().filter(|passages| !passages.is_empty()) {
            if !text.is_empty() && !text.ends_with("\n\n") {
                text.push_str("\n\n");
            }
            for passage in passages {
                places.push(text.len());
                text.push_str(passage);
            }
        }
        let ids = tokenizer.encode(&text)?;
        let ends: Vec<usize> = ids
            .iter()
            .scan(0, |end, &id| {
                *end += tokenizer.piece_bytes(id).len();
                Some(*end)
            })
            .collect();
        // The first token that reaches into the passage.
        let borders = places.iter().map(|&place| ends.partition_point(|&end| end <= place)).collect();
        Ok(Self { ids, borders, start: tokenizer.bos().filter(|_| tokenizer.add_bos()) })
    }

    /// Tokens in it.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Cuts it into windows of at most `window` ids.
    ///
    /// A window ends where a passage ends if that leaves it at least three quarters full. Each begins with the id before
    /// its first, or the start token, so that every id but the very first is predicted once.
    fn windows(&self, window: usize) -> Vec<Vec<u32>> {
        let mut windows = Vec::new();
        let mut at = usize::from(self.start.is_none());
        while at < self.ids.len() {
            let most = (at + window - 1).min(self.ids.len());
            let last = self.borders.partition_point(|&border| border <= most);
            let border = self.borders[..last].last().copied().filter(|&border| border >= at + window * 3 / 4);
            let end = if most == self.ids.len() { most } else { border.unwrap_or(most) };
            let first = self.start.unwrap_or_else(|| self.ids[at - 1]);
            windows.push([&[first], &self.ids[at..end]].concat());
            at = end;
        }
        windows
    }
}

/// A text to learn from and a text to measure on.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// What is learned from.
    pub learned: Stream,
    /// What is held out.
    pub held: Stream,
}

impl Course {
    /// Tokenises texts made ready, and a hold-out of the person's own in place of what was held out of them.
    ///
    /// # Errors
    /// As [`Course::new`] and [`Tokenizer::encode`].
    pub fn of(tokenizer: &Tokenizer, texts: &Material, holdout: Option<&Material>) -> Result<Self> {
        let whole = |material: &Material| -> Vec<Vec<String>> {
            material.texts.iter().map(|text| [&text.training[..], &text.holdout].concat()).collect()
        };
        let stream = |documents: Vec<Vec<String>>| Stream::new(tokenizer, documents.iter().map(Vec::as_slice));
        match holdout {
            Some(holdout) => Self::new(stream(whole(texts))?, stream(whole(holdout))?, true),
            None => {
                let part = |of: fn(&Text) -> &Vec<String>| texts.texts.iter().map(|text| of(text).clone()).collect();
                Self::new(stream(part(|text| &text.training))?, stream(part(|text| &text.holdout))?, false)
            }
        }
    }

    /// Takes both, if they are long enough; `own` says that the hold-out is no part of the person's text but came with it.
    ///
    /// # Errors
    /// `text-too-short` with what is missing.
    pub fn new(learned: Stream, held: Stream, own: bool) -> Result<Self> {
        let tokens = learned.tokens() + if own { 0 } else { held.tokens() };
        if tokens < LEAST_TOKENS {
            // English prose has about four tokens for three words.
            let words = ((LEAST_TOKENS - tokens) * 3).div_ceil(4).next_multiple_of(10);
            let message = format!(
                "text has {tokens} tokens, learning needs at least {LEAST_TOKENS}; add some {words} words or more"
            );
            return Err(Error::new(ErrorKind::TextTooShort, message));
        }
        let least = if own { LEAST_HELD } else { 2 };
        if held.tokens() < least {
            let message = format!(
                "the held-out text has {} tokens, measuring needs at least {least}; give a longer one",
                held.tokens()
            );
            return Err(Error::new(ErrorKind::TextTooShort, message));
        }
        Ok(Self { learned, held })
    }

    /// The windows of a run.
    pub fn lessons(&self, tokenizer: &Tokenizer, window: usize) -> Lessons {
        let holdout = spread(self.held.windows(window), MEASURED);
        let characters = holdout.iter().map(|window| tokenizer.decode(&window[1..]).chars().count()).sum();
        let mut windows = self.learned.windows(window);
        // A step over a few tokens is noise: the last window reaches back to its full length.
        if let Some(last) = windows.last_mut()
            && last.len() < window.min(self.learned.ids.len())
        {
            let from = self.learned.ids.len() - window.min(self.learned.ids.len());
            *last = self.learned.ids[from..].to_vec();
            if let Some(start) = self.learned.start {
                last[0] = start;
            }
        }
        Lessons { windows, holdout, characters }
    }
}

/// What a run reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Lessons {
    /// Windows to learn from.
    pub windows: Vec<Vec<u32>>,
    /// Windows to measure on: at most twelve, spread over what is held out.
    pub holdout: Vec<Vec<u32>>,
    /// Characters that the predicted ids of the hold-out stand for.
    pub characters: usize,
}

impl Lessons {
    /// The sha256 of all ids and where their windows end, in hexadecimal: other texts, another tokenizer or another length
    /// of window give another.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for windows in [&self.windows, &self.holdout] {
            hash.update((windows.len() as u32).to_le_bytes());
            for window in windows {
                hash.update((window.len() as u32).to_le_bytes());
                window.iter().for_each(|id| hash.update(id.to_le_bytes()));
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// At most `most` of the windows, the first and the last among them, evenly apart.
fn spread(windows: Vec<Vec<u32>>, most: usize) -> Vec<Vec<u32>> {
    let count = windows.len();
    if count <= most {
        return windows;
    }
    (0..most).map(|i| windows[i * (count - 1) / (most - 1)].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(lengths: &[usize], start: Option<u32>) -> Stream {
        let mut stream = Stream { start, ..Stream::default() };
        for length in lengths {
            let from = stream.ids.len();
            stream.borders.push(from);
            stream.ids.extend(from as u32..(from + length) as u32);
        }
        stream
    }

    #[test]
    fn every_id_but_the_first_is_predicted_once() {
        for start in [None, Some(9999)] {
            let stream = stream(&[20, 3, 50, 7, 1, 40], start);
            let windows = stream.windows(16);
            let predicted: Vec<u32> = windows.iter().flat_map(|window| window[1..].to_vec()).collect();
            assert_eq!(predicted, stream.ids[usize::from(start.is_none())..]);
            assert!(windows.iter().all(|window| (2..=16).contains(&window.len())), "{windows:?}");
            assert!(start.is_none_or(|start| windows.iter().all(|window| window[0] == start)));
        }
    }

    #[test]
    fn a_window_ends_with_a_passage_where_little_is_lost() {
        let ends = |lengths| stream(lengths, None).windows(16).iter().map(|w| w[w.len() - 1] + 1).collect::<Vec<_>>();
        // 14 is at least three quarters of a window in; 5 is not.
        assert_eq!(ends(&[14, 30]), [14, 29, 44]);
        assert_eq!(ends(&[5, 39]), [16, 31, 44]);
    }

    #[test]
    fn a_hold_out_is_measured_from_its_start_to_its_end() {
        let windows: Vec<Vec<u32>> = (0..100).map(|i| vec![i]).collect();
        let measured = spread(windows, MEASURED);
        assert_eq!((measured.len(), measured[0][0], measured[11][0]), (12, 0, 99));
        assert_eq!(spread(vec![vec![1], vec![2]], MEASURED).len(), 2);
    }

    #[test]
    fn a_short_text_is_told_what_is_missing() {
        let refused = |learned: usize, held: usize, own| {
            let error = Course::new(stream(&[learned], None), stream(&[held], None), own).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TextTooShort);
            error.to_string()
        };
        assert!(refused(461, 50, false).contains("has 511 tokens, learning needs at least 512; add some 10 words"));
        assert!(refused(400, 500, true).contains("has 400 tokens"));
        assert!(refused(600, 5, true).contains("held-out text has 5 tokens"));
        assert!(Course::new(stream(&[461], None), stream(&[51], None), false).is_ok());
    }
}
