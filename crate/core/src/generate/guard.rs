//! Keeps what is written from repeating the text that a voice was learned from: marks copied runs, and refuses words.

use std::{
    collections::{HashSet, VecDeque},
    ops::Range,
    sync::Arc,
};

use crate::{
    error::{Error, ErrorKind, Result},
    text::fold,
    tokenizer::DecodeStream,
    voice::{Prints, RUN, Runs, finished},
};

/// Tokens refused at one place before the next is let through, so that every text comes to an end.
const PATIENCE: usize = 32;

/// What a text is compared with while it is written, and what it may not say.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    /// Of the text that the adapter was learned from.
    pub prints: Arc<Prints>,
    /// The longest run of words that may be copied, at least 7; `None` allows any and only marks them.
    pub most_copied_words: Option<usize>,
    /// Whether the names among the prints may not be written.
    pub without_names: bool,
}

impl Guard {
    /// A guard that marks copied runs and refuses nothing.
    pub fn new(prints: Arc<Prints>) -> Self {
        Self { prints, most_copied_words: None, without_names: false }
    }

    /// Refuses a length of runs that cannot be told.
    ///
    /// # Errors
    /// `invalid-option` naming the value and the least.
    pub fn check(most_copied_words: usize) -> Result<()> {
        if most_copied_words >= RUN - 1 {
            return Ok(());
        }
        let message = format!(
            "most copied words is {most_copied_words}, it must be at least {}: shorter runs are everybody's, and \
             only runs of {RUN} words are kept of a text",
            RUN - 1
        );
        Err(Error::new(ErrorKind::InvalidOption, message))
    }

    fn refuses(&self, word: &str, run: usize) -> bool {
        self.most_copied_words.is_some_and(|most| run > most) || (self.without_names && self.prints.is_name(word))
    }
}

/// A stretch of text inside a copied run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its place in the text of the step, in bytes.
    pub range: Range<usize>,
    /// Where the run begins, in bytes of all that was written: a run is known for one at its eighth word.
    pub begins: usize,
}

/// A token whose text is not let out.
struct Token {
    id: u32,
    /// The decoder before it.
    before: DecodeStream,
    /// Where its text begins.
    start: usize,
}

/// The words read so far.
#[derive(Clone, Default)]
struct Reader {
    end: <Prints as Runs>::End,
    /// Where the last [`RUN`] words begin.
    starts: VecDeque<usize>,
    /// Where the copied run begins that the words end in.
    begins: Option<usize>,
}

impl Reader {
    /// Reads the word at `at`; gives how many words of a copied run it ends.
    fn read(&mut self, prints: &Prints, at: usize, word: &str) -> usize {
        let run = prints.read(&mut self.end, &fold(word));
        if self.starts.len() == RUN {
            self.starts.pop_front();
        }
        self.starts.push_back(at);
        self.begins = if run < RUN { None } else { self.begins.or(self.starts.front().copied()) };
        run
    }
}

/// Follows a text word by word. Places are bytes of the prompt and what was written after it.
pub(super) struct Watch {
    guard: Guard,
    reader: Reader,
    /// Decoded text that is not let out: an unfinished word, and what shares a token with it.
    tail: String,
    at: usize,
    /// Where the prompt ends.
    prompt: usize,
    tokens: VecDeque<Token>,
    /// Tokens that are let out.
    done: usize,
    /// Where words were refused last, in tokens drawn before, and with which ids they began.
    place: usize,
    banned: HashSet<u32>,
    /// From where on text stands in which run; up to `shown`, in `run`.
    marks: VecDeque<(usize, Option<usize>)>,
    run: Option<usize>,
    shown: usize,
}

/// What becomes of a token.
pub(super) enum Judged {
    /// Text and tokens are let out, or none yet.
    Out { text: String, ids: Vec<u32> },
    /// A word is refused: the text goes on after so many tokens, decoded so far by this.
    Back { drawn: usize, stream: DecodeStream },
}

impl Watch {
    /// Follows the text after `prompt`, whose last words count.
    pub fn new(guard: Guard, prompt: &str) -> Self {
        let mut watch = Self {
            guard,
            reader: Reader::default(),
            tail: prompt.to_owned(),
            at: 0,
            prompt: prompt.len(),
            tokens: VecDeque::new(),
            done: 0,
            place: usize::MAX,
            banned: HashSet::new(),
            marks: VecDeque::new(),
            run: None,
            shown: prompt.len(),
        };
        watch.judge("", false);
        watch
    }

    /// Tokens that are let out.
    pub fn done(&self) -> usize {
        self.done
    }

    /// What may not be drawn as token `place` of the text.
    pub fn banned(&self, place: usize) -> impl Iterator<Item = u32> {
        self.banned.iter().copied().filter(move |_| place == self.place)
    }

    /// Reads the token `id`, which made the decoder, `before` it, give `text` and hold `held` back.
    pub fn push(&mut self, id: u32, before: DecodeStream, text: &str, held: &str) -> Judged {
        let start = self.at + self.tail.len() + before.held().len();
        self.tokens.push_back(Token { id, before, start });
        self.tail.push_str(text);
        self.judge(held, false)
    }

    /// Ends the text with `rest`, whose last word counts as finished.
    pub fn finish(&mut self, rest: &str) -> Judged {
        self.tail.push_str(rest);
        self.judge("", true)
    }

    /// Ends the text with `rest`, leaving a word that is refused, and all after it.
    pub fn cut(&mut self, rest: &str) -> String {
        match self.finish(rest) {
            Judged::Out { text, .. } => text,
            // Words before the refused one share a token with it, or stand in front of the one left.
            Judged::Back { .. } => match self.judge("", true) {
                Judged::Out { text, .. } => text,
                Judged::Back { .. } => String::new(),
            },
        }
    }

    /// Which stretches of the next `len` bytes shown stand in copied runs.
    pub fn runs(&mut self, len: usize) -> Vec<Run> {
        let (from, end) = (self.shown, self.shown + len);
        let mut runs = Vec::new();
        while self.shown < end {
            while let Some(&(at, run)) = self.marks.front()
                && at <= self.shown
            {
                self.run = run;
                self.marks.pop_front();
            }
            let to = self.marks.front().map_or(end, |&(at, _)| at.min(end));
            if let Some(begins) = self.run {
                runs.push(Run { range: self.shown - from..to - from, begins: begins.saturating_sub(self.prompt) });
            }
            self.shown = to;
        }
        runs
    }

    /// Reads the finished words of the tail and `held`, or all; lets them out up to the token of the first unfinished one.
    fn judge(&mut self, held: &str, all: bool) -> Judged {
        let text = format!("{}{held}", self.tail);
        let (words, rest) = finished(&text, all);
        let mut ahead = self.reader.clone();
        for &(at, word) in &words {
            let run = ahead.read(&self.guard.prints, self.at + at, word);
            let own = self.at + at + word.len() > self.prompt;
            if own
                && self.guard.refuses(word, run)
                // A word that began in the prompt goes on with the first token.
                && let Some(token) = self.token(self.at + at).or((!self.tokens.is_empty()).then_some(0))
                && (self.place != self.done + token || self.banned.len() < PATIENCE)
            {
                return self.back(token);
            }
        }
        let mut out = if all || rest == text.len() { text.len() } else { self.start(rest) }.min(self.tail.len());
        // Text is let out by whole tokens, and words are read when they are out: going back takes nothing of them back.
        while let Some((at, _)) = words.iter().find(|(at, word)| *at < out && at + word.len() > out) {
            out = self.start(*at);
        }
        for (at, word) in words.into_iter().filter(|(at, word)| at + word.len() <= out) {
            let (before, start) = (self.reader.begins, self.at + at);
            self.reader.read(&self.guard.prints, start, word);
            if self.reader.begins.is_some() {
                // What stands between two words of a run belongs to it, unless it was shown before the second came.
                match self.marks.back() {
                    Some((_, None)) if before == self.reader.begins => drop(self.marks.pop_back()),
                    _ => self.marks.push_back((start, self.reader.begins)),
                }
                self.marks.push_back((start + word.len(), None));
            }
        }
        self.let_out(out, self.at + text.len())
    }

    /// Lets the first `out` bytes of the tail out; what is decoded ends at `end`.
    fn let_out(&mut self, out: usize, end: usize) -> Judged {
        let own = self.prompt.saturating_sub(self.at).min(out);
        let text = self.tail[own..out].to_owned();
        self.tail.drain(..out);
        self.at += out;
        let mut ids = Vec::new();
        while let Some(token) = self.tokens.front() {
            if self.tokens.get(1).map_or(end, |next| next.start) > self.at {
                break;
            }
            ids.push(token.id);
            self.tokens.pop_front();
        }
        self.done += ids.len();
        Judged::Out { text, ids }
    }

    /// Forgets the text from a token on and bans it there.
    fn back(&mut self, token: usize) -> Judged {
        let drawn = self.done + token;
        let Some(Token { id, before: mut stream, start }) = self.tokens.drain(token..).next() else {
            unreachable!("the token is one of those not let out");
        };
        if self.place != drawn {
            self.place = drawn;
            self.banned.clear();
        }
        self.banned.insert(id);
        // What the decoder held back then may have been let out since.
        let decoded = start - stream.held().len();
        stream.skip(self.at.saturating_sub(decoded));
        self.tail.truncate(decoded.max(self.at) - self.at);
        Judged::Back { drawn, stream }
    }

    /// The last token that begins at `place` or before it.
    fn token(&self, place: usize) -> Option<usize> {
        self.tokens.iter().rposition(|token| token.start <= place)
    }

    /// Where in the tail the token begins that the text at `at` stands in.
    fn start(&self, at: usize) -> usize {
        self.token(self.at + at).map_or(at, |token| self.tokens[token].start.saturating_sub(self.at).min(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIDE: &str = "The tide went out before anyone in the harbour had woken, as Marta knew.";

    /// Writes `tokens`; when a word is refused, the next of `others` in place of the token it began with.
    fn written(guard: Guard, prompt: &str, tokens: &[&str], others: &[&str]) -> (String, Vec<u32>) {
        let (mut watch, mut stream) = (Watch::new(guard, prompt), DecodeStream::new());
        let mut others = others.iter();
        let mut left: VecDeque<(u32, &str)> = (0..).zip(tokens.iter().copied()).collect();
        let mut drawn: Vec<(u32, &str)> = Vec::new();
        let (mut all, mut done) = (String::new(), Vec::new());
        loop {
            let judged = match left.pop_front() {
                Some((id, token)) => {
                    drawn.push((id, token));
                    let before = stream.clone();
                    let text = stream.push(token.as_bytes());
                    watch.push(id, before, &text, stream.held())
                }
                None => watch.finish(&stream.finish()),
            };
            match judged {
                Judged::Out { text, ids } => {
                    all += &text;
                    done.extend(ids);
                    if left.is_empty() && done.len() == drawn.len() && watch.tail.is_empty() && stream.held().is_empty()
                    {
                        return (all, done);
                    }
                }
                Judged::Back { drawn: to, stream: before } => {
                    assert!(watch.banned(to).any(|id| id == drawn[to].0), "what was refused is banned there");
                    stream = before;
                    let tail = drawn.split_off(to);
                    let next = others.next().expect("no more is refused than that");
                    let rest = tail.into_iter().skip(1).chain(left.drain(..));
                    left = std::iter::once((900 + to as u32, *next)).chain(rest.collect::<Vec<_>>()).collect();
                }
            }
        }
    }

    fn guard(most: Option<usize>, without_names: bool) -> Guard {
        let prints = Arc::new(Prints::new(&[TIDE], vec!["Marta".into()]));
        Guard { prints, most_copied_words: most, without_names }
    }

    #[test]
    fn all_that_is_not_refused_comes_out_whatever_the_tokens() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..500 {
            let parts = ["a", " b", "'", "s", " ", ".", "—", "\n", "é", "\u{301}", "海", "3", ",", " Marta", "!? "];
            let tokens: Vec<&str> = (0..random.usize(1..20)).map(|_| parts[random.usize(..parts.len())]).collect();
            let (text, ids) = written(guard(Some(7), false), "The tide", &tokens, &[]);
            assert_eq!((text, ids.len()), (tokens.concat(), tokens.len()), "{tokens:?}");
        }
    }

    #[test]
    fn a_word_is_refused_where_its_first_token_stands() {
        let tokens = [" ti", "de", " went", " out", " before", " any", "one", " in", " the", " har", "bour", "."];
        let (text, ids) = written(guard(Some(7), false), "The", &tokens, &[" on"]);
        assert_eq!(text, " tide went out before anyone in on harbour.");
        assert_eq!(ids[8], 908);
        let (text, _) =
            written(guard(None, true), "So Mar", &["ta", " and", " Mar", "ta", "'s", " man"], &["k", " his"]);
        assert_eq!(text, "k and hista's man");
    }

    #[test]
    fn a_run_that_goes_on_from_the_prompt_is_too_long_as_well() {
        let prompt = "The tide went out before anyone in";
        assert_eq!(written(guard(Some(7), false), prompt, &[" the", " sea"], &[" a"]).0, " a sea");
        assert_eq!(written(guard(Some(8), false), prompt, &[" the", " sea"], &[]).0, " the sea");
    }
}
