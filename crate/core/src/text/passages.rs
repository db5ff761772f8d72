//! Paragraphs to passages, and which of them are held out.

use unicode_segmentation::UnicodeSegmentation;

/// The longest piece in characters: about what a training window holds.
const LONGEST: usize = 1000;

/// Pieces are joined until a passage has so many characters: lines of dialogue are none on their own.
const SHORTEST: usize = 240;

/// The share held out.
const HELD_OUT: f32 = 0.1;

/// A document that can only be divided by holding out more than this is held out whole or not at all.
const TOO_MUCH: f32 = 0.25;

/// Between paragraphs.
const SEPARATOR: &str = "\n\n";

/// A paragraph or part of one, with what separates it from the next at its end.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    pub text: String,
    characters: usize,
}

impl Piece {
    fn new(text: String) -> Self {
        Self { characters: text.chars().count(), text }
    }

    /// Makes the piece the last of its paragraph.
    pub fn ends_paragraph(&mut self) {
        if !self.text.ends_with(SEPARATOR) {
            *self = Self::new(self.text.trim_end().to_owned() + SEPARATOR);
        }
    }
}

/// Pieces of at most [`LONGEST`] characters (and a separator), whose texts make up the paragraphs' text.
pub(super) fn cut(paragraphs: &[String]) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(paragraphs.len());
    for paragraph in paragraphs {
        cut_at(paragraph, Border::Line, &mut pieces);
        if let Some(last) = pieces.last_mut() {
            last.ends_paragraph();
        }
    }
    pieces
}

/// Where a paragraph may be cut, best first.
#[derive(Clone, Copy)]
enum Border {
    Line,
    Sentence,
    Word,
    Grapheme,
    Character,
}

impl Border {
    fn segments<'a>(self, text: &'a str) -> Box<dyn Iterator<Item = &'a str> + 'a> {
        match self {
            Border::Line => Box::new(text.split_inclusive('\n')),
            Border::Sentence => Box::new(text.split_sentence_bounds()),
            Border::Word => Box::new(text.split_word_bounds()),
            Border::Grapheme => Box::new(text.graphemes(true)),
            Border::Character => Box::new(text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()])),
        }
    }

    fn next(self) -> Self {
        match self {
            Border::Line => Border::Sentence,
            Border::Sentence => Border::Word,
            Border::Word => Border::Grapheme,
            Border::Grapheme | Border::Character => Border::Character,
        }
    }
}

fn cut_at(text: &str, border: Border, pieces: &mut Vec<Piece>) {
    let mut piece = Piece::new(String::new());
    for segment in border.segments(text) {
        let characters = segment.chars().count();
        if piece.characters > 0 && piece.characters + characters > LONGEST {
            pieces.push(std::mem::replace(&mut piece, Piece::new(String::new())));
        }
        if characters > LONGEST {
            cut_at(segment, border.next(), pieces);
        } else {
            piece.text.push_str(segment);
            piece.characters += characters;
        }
    }
    if piece.characters > 0 {
        pieces.push(piece);
    }
}

/// For each document what to learn from and what is held out: its last tenth, on the nearest border.
pub(super) fn split(documents: Vec<Vec<Piece>>) -> Vec<(Vec<Piece>, Vec<Piece>)> {
    let size = |pieces: &[Piece]| pieces.iter().map(|piece| piece.characters).sum::<usize>();
    let mut whole = Vec::new();
    let mut split = Vec::with_capacity(documents.len());
    for (i, mut pieces) in documents.into_iter().enumerate() {
        let sizes: Vec<usize> = pieces.iter().map(|piece| piece.characters).collect();
        let holdout = match border(&sizes) {
            Some((at, share)) if share <= TOO_MUCH => pieces.split_off(at),
            _ => {
                whole.extend((!pieces.is_empty()).then_some(i));
                Vec::new()
            }
        };
        split.push((pieces, holdout));
    }
    let sizes: Vec<usize> = whole.iter().map(|i| size(&split[*i].0)).collect();
    if let Some((at, _)) = border(&sizes) {
        for i in &whole[at..] {
            let (training, holdout) = &mut split[*i];
            std::mem::swap(training, holdout);
        }
    } else if let [only] = whole[..] {
        let (training, holdout) = &mut split[only];
        let sizes: Vec<usize> = training.iter().map(|piece| piece.characters).collect();
        if let Some((at, _)) = border(&sizes) {
            *holdout = training.split_off(at);
        }
    }
    split
}

/// The border that leaves nearest to a tenth behind it, with something on either side, and the share behind it.
fn border(sizes: &[usize]) -> Option<(usize, f32)> {
    let total: usize = sizes.iter().sum();
    let mut behind = 0;
    let mut best: Option<(usize, f32)> = None;
    for at in (1..sizes.len()).rev() {
        behind += sizes[at];
        let share = behind as f32 / total as f32;
        if best.is_none_or(|(_, best)| (share - HELD_OUT).abs() < (best - HELD_OUT).abs()) {
            best = Some((at, share));
        }
    }
    best
}

/// Joins short pieces to passages. The last ends without a separator.
pub(super) fn group(pieces: Vec<Piece>) -> Vec<String> {
    let mut passages: Vec<String> = Vec::new();
    let mut open = 0;
    for piece in pieces {
        match passages.last_mut() {
            Some(passage) if open > 0 => passage.push_str(&piece.text),
            _ => passages.push(piece.text),
        }
        open += piece.characters;
        if open >= SHORTEST {
            open = 0;
        }
    }
    if let Some(last) = passages.last_mut() {
        last.truncate(last.trim_end().len());
    }
    passages
}
