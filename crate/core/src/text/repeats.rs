//! Passages that stand in the text twice.
//!
//! Texts are compared by their runs of five folded words (Broder 1997), over the borders of passages, so that neither where
//! a passage begins nor a changed word hides a repetition, and a short line that recurs elsewhere is none.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::passages::Piece;
use super::{Reason, Tally, folded_words};

/// Words in a run.
const RUN: usize = 5;

/// A passage with this share of its runs seen before is a repetition.
const SHARE: f32 = 0.5;

/// So many words of a held-out passage in a row give it away; a tenth of a page, longer than any idiom.
const GIVES_AWAY: usize = 20;

/// Below so many words a share says nothing: greetings and exclamations recur.
const ENOUGH: usize = 12;

/// The hash of every run of `words`; of all of them where they are too few for one.
fn runs(words: &[u64]) -> Vec<u64> {
    let hash = |run: &[u64]| {
        let mut hasher = DefaultHasher::new();
        run.hash(&mut hasher);
        hasher.finish()
    };
    if words.len() < RUN { vec![hash(words)] } else { words.windows(RUN).map(hash).collect() }
}

fn words(text: &str) -> Vec<u64> {
    let hash = |word: &str| {
        let mut hasher = DefaultHasher::new();
        word.hash(&mut hasher);
        hasher.finish()
    };
    folded_words(text).map(|(_, _, word)| hash(&word)).collect()
}

/// The runs of all that has been read.
#[derive(Default)]
pub(super) struct Seen(HashSet<u64>);

impl Seen {
    /// Drops the pieces of a document that repeat earlier ones, of this document or those before.
    pub fn drop_repeats(&mut self, pieces: &mut Vec<Piece>, tally: &mut Tally) {
        let mut all = Vec::new();
        let mut ends = Vec::with_capacity(pieces.len());
        for piece in pieces.iter() {
            all.extend(words(&piece.text));
            ends.push(all.len());
        }
        if all.is_empty() {
            return;
        }
        let runs = runs(&all);
        let (mut start, mut verdicts, mut inserted) = (0_usize, Vec::with_capacity(pieces.len()), 0);
        for end in ends {
            // Runs that touch the piece: they reach into its neighbours, which tell whether a short one is in a repeated place.
            let touching = &runs[start.saturating_sub(RUN - 1).min(runs.len())..end.clamp(1, runs.len())];
            let seen = touching.iter().filter(|run| self.0.contains(run)).count();
            verdicts.push(match seen as f32 / touching.len() as f32 {
                // Pieces without words at the end go with what stands before them.
                share if share.is_nan() => verdicts.last().copied().flatten(),
                share if share < SHARE => None,
                share if share < 1.0 => Some(Reason::NearlyRepeated),
                _ => Some(Reason::Repeated),
            });
            // Only runs that have ended: one that goes on into the next piece must not make that look repeated.
            let ended = (end + 1).saturating_sub(RUN).max(inserted);
            self.0.extend(&runs[inserted..ended]);
            (start, inserted) = (end, ended);
        }
        self.0.extend(&runs[inserted..]);
        let mut verdicts = verdicts.into_iter();
        drop_pieces(pieces, tally, |_| verdicts.next().flatten());
    }
}

/// Drops training pieces that would give a held-out passage away.
pub(super) fn drop_leaks(documents: &mut [(Vec<Piece>, Vec<Piece>)], tallies: &mut [Tally]) {
    let mut held_out = HashSet::new();
    for (_, holdout) in documents.iter() {
        let all: Vec<u64> = holdout.iter().flat_map(|piece| words(&piece.text)).collect();
        if all.len() >= RUN {
            held_out.extend(runs(&all));
        }
    }
    for ((training, _), tally) in documents.iter_mut().zip(tallies) {
        drop_pieces(training, tally, |piece| gives_away(&words(&piece.text), &held_out).then_some(Reason::GivesAway));
    }
}

fn gives_away(words: &[u64], held_out: &HashSet<u64>) -> bool {
    let (mut shared, mut row, mut longest) = (0, 0, 0);
    let runs = runs(words);
    for run in &runs {
        row = if held_out.contains(run) { row + 1 } else { 0 };
        shared += usize::from(row > 0);
        longest = longest.max(row);
    }
    let most = words.len() >= ENOUGH && shared as f32 >= SHARE * runs.len() as f32;
    most || longest + RUN > GIVES_AWAY
}

fn drop_pieces(pieces: &mut Vec<Piece>, tally: &mut Tally, mut reason: impl FnMut(&Piece) -> Option<Reason>) {
    let mut kept: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces.drain(..) {
        match reason(&piece) {
            None => kept.push(piece),
            Some(reason) => {
                tally.drop(reason, &piece.text);
                // What follows does not go on from what stood before.
                if let Some(before) = kept.last_mut() {
                    before.ends_paragraph();
                }
            }
        }
    }
    *pieces = kept;
}
