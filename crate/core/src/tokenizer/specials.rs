//! Tokens with a name that text is searched for before the rest of it is split.

use daachorse::{DoubleArrayAhoCorasick, DoubleArrayAhoCorasickBuilder, MatchKind};

use super::Pieces;
use super::vocabulary::corrupt;
use crate::error::Result;

/// Finds the names of tokens in text: the first one there is, and where several begin the longest.
pub(super) struct Specials {
    names: Option<DoubleArrayAhoCorasick<u32>>,
}

/// A piece of text that is cut at the names of tokens; never empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Text without a name in it.
    Text(&'a str),
    /// A token whose name stood here.
    Token(u32),
}

impl Specials {
    /// Those of the tokens called `names` whose type is one of `kinds`.
    ///
    /// # Errors
    /// `model-corrupt` if they are more than the library finds at once.
    pub fn new(names: &Pieces, token_types: &[i32], kinds: &[i32]) -> Result<Self> {
        let tokens = (0u32..).zip(token_types).filter(|(_, kind)| kinds.contains(kind));
        let named = tokens.map(|(id, _)| (names.get(id), id)).filter(|(name, _)| !name.is_empty());
        let named: Vec<(&[u8], u32)> = named.collect();
        if named.is_empty() {
            return Ok(Self { names: None });
        }
        let names = DoubleArrayAhoCorasickBuilder::new().match_kind(MatchKind::LeftmostLongest);
        let names = names
            .build_with_values(named)
            .map_err(|source| corrupt("it has too many tokens with a name").with_source(source.to_string()))?;
        Ok(Self { names: Some(names) })
    }

    /// Cuts `text` at the names.
    pub fn parts<'a>(&self, text: &'a str) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        let mut rest = 0;
        for found in self.names.iter().flat_map(|names| names.leftmost_find_iter(text)) {
            parts.extend((found.start() > rest).then(|| Part::Text(&text[rest..found.start()])));
            parts.push(Part::Token(found.value()));
            rest = found.end();
        }
        parts.extend((text.len() > rest).then(|| Part::Text(&text[rest..])));
        parts
    }

    /// The token called `name`.
    pub fn token(&self, name: &str) -> Option<u32> {
        match self.parts(name)[..] {
            [Part::Token(id)] => Some(id),
            _ => None,
        }
    }
}
