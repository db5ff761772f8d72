//! From what a person pastes or drops to passages to learn from.
//!
//! Bytes become text ([`Encoding`]), a page or Markdown becomes plain text ([`Kind`]), and what is nobody's voice goes:
//! invisible characters, boilerplate, repetitions ([`Reason`]). What is voice stays as written: spelling, dashes, quotes,
//! emoji, line breaks of verse, `*emphasis*`. The text is cut into passages, and the last tenth of each document is held
//! out, with nothing in training that would give it away.

mod boilerplate;
mod characters;
mod decode;
mod html;
mod markdown;
mod passages;
mod repeats;
#[cfg(test)]
mod tests;
mod wrap;

use std::borrow::Cow;

use serde::Serialize;
use unicode_segmentation::UnicodeSegmentation;

use crate::error::{Error, ErrorKind, Result};

/// The most that is read at once, over all documents.
pub const MAX_BYTES: usize = 2_000_000;

/// A document as it came in.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    /// The file's name, or what to call pasted text; its extension tells the kind.
    pub name: &'a str,
    /// Its bytes, in UTF-8, UTF-16 or Windows-1252.
    pub bytes: &'a [u8],
    /// Its kind; `None` guesses from name and content.
    pub kind: Option<Kind>,
}

/// What a document is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Text as it is.
    Plain,
    /// Markdown: marks of structure go, emphasis stays as `*one star*`, fenced code and pictures go.
    Markdown,
    /// A web page: its readable text.
    Html,
}

/// How the bytes of a document were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Valid UTF-8, or nearly: damaged characters are dropped.
    Utf8,
    /// UTF-16, of either order.
    Utf16,
    /// Windows-1252, the superset of Latin-1 in which old Western files are written.
    Windows1252,
}

/// Why something was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The document is no text.
    Unreadable,
    /// Characters that no one sees: zero-width, control, byte order marks, soft hyphens.
    Invisible,
    /// Menus, forms, scripts, asides, link lists of a web page.
    PageFurniture,
    /// The metadata block at the top of a Markdown file.
    FrontMatter,
    /// Fenced code.
    Code,
    /// Header, licence and notes of Project Gutenberg.
    Gutenberg,
    /// A line that asks about cookies, invites to share or leads to another page.
    Navigation,
    /// The signature under a mail.
    Signature,
    /// Quoted lines of someone else's mail.
    Quoted,
    /// A passage that stands in the text already, word for word.
    Repeated,
    /// A passage that stands in the text already with small changes.
    NearlyRepeated,
    /// A training passage that nearly repeats a held-out one.
    GivesAway,
}

impl Reason {
    /// The reason in words, to stand after a count.
    pub fn sentence(self) -> &'static str {
        match self {
            Reason::Unreadable => "The file holds no text that can be read.",
            Reason::Invisible => "Invisible characters were removed.",
            Reason::PageFurniture => "Menus, forms, scripts and link lists of the page were left out.",
            Reason::FrontMatter => "The metadata at the top of the file was left out.",
            Reason::Code => "Blocks of code were left out.",
            Reason::Gutenberg => "Project Gutenberg's header and licence were left out.",
            Reason::Navigation => "Lines about cookies, sharing and other pages were left out.",
            Reason::Signature => "Mail signatures were left out.",
            Reason::Quoted => "Quoted lines of other people's mail were left out.",
            Reason::Repeated => "Passages that stand in the text twice were left out the second time.",
            Reason::NearlyRepeated => "Passages that nearly repeat an earlier one were left out.",
            Reason::GivesAway => "Passages that nearly repeat the held-out end were kept out of learning.",
        }
    }
}

/// What was left out of a document for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Why.
    pub reason: Reason,
    /// How many characters, lines, blocks or passages, whatever the reason counts.
    pub pieces: usize,
    /// How many characters they have together.
    pub characters: usize,
}

/// A document made ready.
///
/// The passages of each list, one after another, are its text: separators stand at their ends.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Text {
    /// Its name as given.
    pub name: String,
    /// Its kind as given or guessed.
    pub kind: Kind,
    /// How its bytes were read.
    pub encoding: Encoding,
    /// Passages to learn from, in order.
    pub training: Vec<String>,
    /// Passages held out, in order: the end of the document.
    pub holdout: Vec<String>,
    /// What was left out, by reason.
    pub dropped: Vec<Dropped>,
    /// Why the document could not be read at all.
    pub problem: Option<String>,
}

/// Counts for the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Documents that gave at least one passage.
    pub documents: usize,
    /// Passages.
    pub passages: usize,
    /// Words by Unicode's rules; in scripts without spaces about one a character.
    pub words: usize,
    /// Characters, separators between passages included.
    pub characters: usize,
}

/// All documents made ready.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Material {
    /// One a document, in the order given.
    pub texts: Vec<Text>,
}

impl Material {
    /// What there is to learn from.
    pub fn training(&self) -> Counts {
        count(&self.texts, |text| &text.training)
    }

    /// What is held out.
    pub fn holdout(&self) -> Counts {
        count(&self.texts, |text| &text.holdout)
    }

    /// What was left out of all documents, by reason.
    pub fn dropped(&self) -> Vec<Dropped> {
        let mut tally = Tally::default();
        for dropped in self.texts.iter().flat_map(|text| &text.dropped) {
            tally.add(dropped.reason, dropped.pieces, dropped.characters);
        }
        tally.0
    }
}

fn count(texts: &[Text], of: impl Fn(&Text) -> &Vec<String>) -> Counts {
    let mut counts = Counts::default();
    for passages in texts.iter().map(of).filter(|passages| !passages.is_empty()) {
        counts.documents += 1;
        counts.passages += passages.len();
        for passage in passages {
            counts.words += passage.unicode_words().count();
            counts.characters += passage.chars().count();
        }
    }
    counts
}

/// What is left out of one document, gathered on the way.
#[derive(Debug, Default)]
struct Tally(Vec<Dropped>);

impl Tally {
    fn add(&mut self, reason: Reason, pieces: usize, characters: usize) {
        if pieces == 0 {
            return;
        }
        match self.0.iter_mut().find(|dropped| dropped.reason == reason) {
            Some(dropped) => {
                dropped.pieces += pieces;
                dropped.characters += characters;
            }
            None => self.0.push(Dropped { reason, pieces, characters }),
        }
    }

    fn drop(&mut self, reason: Reason, text: &str) {
        self.add(reason, 1, text.chars().count());
    }
}

/// Makes documents ready to learn from.
///
/// A document that is no text is set aside with its [`Text::problem`] while another can be read. Documents too small to
/// divide (mails, notes) are held out whole, the last of them, a tenth of their characters together. With a single
/// short paragraph in all, nothing is held out.
///
/// # Errors
/// `text-too-long` over [`MAX_BYTES`], `text-unreadable` when no document is text, `text-too-short` when nothing is left.
pub fn prepare(documents: &[Document]) -> Result<Material> {
    let size: usize = documents.iter().map(|document| document.bytes.len()).sum();
    if size > MAX_BYTES {
        let message = format!(
            "text has {:.1} MB, learning reads at most {} MB: leave some out",
            size as f64 / 1e6,
            MAX_BYTES / 1_000_000
        );
        return Err(Error::new(ErrorKind::TextTooLong, message));
    }
    let mut texts = Vec::with_capacity(documents.len());
    let mut tallies = Vec::with_capacity(documents.len());
    let mut pieces = Vec::with_capacity(documents.len());
    for document in documents {
        let mut tally = Tally::default();
        let (text, paragraphs) = read(document, &mut tally);
        pieces.push(passages::cut(&paragraphs));
        texts.push(text);
        tallies.push(tally);
    }
    let mut seen = repeats::Seen::default();
    for (pieces, tally) in pieces.iter_mut().zip(&mut tallies) {
        seen.drop_repeats(pieces, tally);
    }
    let mut split = passages::split(pieces);
    repeats::drop_leaks(&mut split, &mut tallies);
    for (((training, holdout), text), tally) in split.into_iter().zip(&mut texts).zip(tallies) {
        text.training = passages::group(training);
        text.holdout = passages::group(holdout);
        text.dropped = tally.0;
    }
    check(texts)
}

/// Reads a document into clean paragraphs; one that cannot be read has none.
fn read(document: &Document, tally: &mut Tally) -> (Text, Vec<String>) {
    let mut text = Text {
        name: document.name.to_owned(),
        kind: document.kind.unwrap_or(Kind::Plain),
        encoding: Encoding::Utf8,
        training: Vec::new(),
        holdout: Vec::new(),
        dropped: Vec::new(),
        problem: None,
    };
    let (decoded, encoding) = match decode::decode(document.bytes, tally) {
        Ok(decoded) => decoded,
        Err(problem) => {
            tally.add(Reason::Unreadable, 1, 0);
            text.problem = Some(problem);
            return (text, Vec::new());
        }
    };
    text.encoding = encoding;
    text.kind = document.kind.unwrap_or_else(|| guess(document.name, &decoded));
    let plain = match text.kind {
        Kind::Plain => Cow::from(decoded),
        Kind::Markdown => Cow::from(markdown::read(&decoded, tally)),
        Kind::Html => Cow::from(html::read(&decoded, tally)),
    };
    let plain = characters::clean(&plain, tally);
    let lines = boilerplate::drop_lines(&plain, text.kind, tally);
    (text, wrap::paragraphs(&lines))
}

/// The kind of a document by its extension or, where that says nothing, by its look.
fn guess(name: &str, text: &str) -> Kind {
    let start = text.trim_start().get(..15).unwrap_or("").to_ascii_lowercase();
    let page = start.starts_with("<!doctype html") || start.starts_with("<html");
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    match extension.as_str() {
        "html" | "htm" | "xhtml" => Kind::Html,
        "md" | "markdown" => Kind::Markdown,
        _ if page => Kind::Html,
        "txt" | "text" => Kind::Plain,
        _ if markdown::looks_like(text) => Kind::Markdown,
        _ if text.contains("</p>") || text.contains("</div>") => Kind::Html,
        _ => Kind::Plain,
    }
}

fn check(texts: Vec<Text>) -> Result<Material> {
    if texts.iter().any(|text| !text.training.is_empty()) {
        return Ok(Material { texts });
    }
    match texts.iter().find_map(|text| text.problem.as_ref().map(|problem| (&text.name, problem))) {
        Some((name, problem)) => Err(Error::new(ErrorKind::TextUnreadable, format!("{name:?} {problem}"))),
        None => Err(Error::new(ErrorKind::TextTooShort, "there is no text to learn from: paste or drop some writing")),
    }
}

/// The words of `text` with their places, folded so that case and the shape of an apostrophe make no difference.
pub(crate) fn folded_words(text: &str) -> impl Iterator<Item = (usize, &str, String)> {
    text.unicode_word_indices().map(|(at, word)| (at, word, fold(word)))
}

/// `word` in lower case, with straight apostrophes.
pub(crate) fn fold(word: &str) -> String {
    word.chars().flat_map(|c| if c == '’' { '\''.to_lowercase() } else { c.to_lowercase() }).collect()
}
