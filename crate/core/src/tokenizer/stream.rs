//! Bytes of tokens to text, shown only when whole.

use unicode_segmentation::UnicodeSegmentation;

/// Turns the bytes of one token after another into text, and never lets go of half a character.
///
/// A character here is what a reader sees as one (an extended grapheme cluster, Unicode Annex 29): a letter with its
/// marks, a flag, a family of emoji. Since a mark may follow any letter, the last character stays back until the next one
/// begins, or until [`DecodeStream::finish`]; after a line break nothing stays back. All pieces together are exactly the
/// lossy UTF-8 of all bytes.
#[derive(Debug, Default, Clone)]
pub struct DecodeStream {
    /// The beginning of a UTF-8 sequence whose end has not come: at most three bytes.
    bytes: Vec<u8>,
    /// Characters not shown yet: the last one, which may grow.
    held: String,
}

impl DecodeStream {
    /// A stream at the beginning of a text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the bytes of the next token and gives the characters that have become whole.
    pub fn push(&mut self, piece: &[u8]) -> String {
        self.bytes.extend_from_slice(piece);
        let mut kept = 0;
        for chunk in self.bytes.utf8_chunks() {
            self.held.push_str(chunk.valid());
            kept += chunk.valid().len();
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            if kept + invalid.len() == self.bytes.len() && is_beginning(invalid) {
                break;
            }
            self.held.push(char::REPLACEMENT_CHARACTER);
            kept += invalid.len();
        }
        self.bytes.drain(..kept);
        let whole = self.whole();
        let rest = self.held.split_off(whole);
        std::mem::replace(&mut self.held, rest)
    }

    /// The characters that are held back.
    pub fn held(&self) -> &str {
        &self.held
    }

    /// Leaves out the first `bytes` of the characters held back, which are shown already.
    ///
    /// # Panics
    /// If they are more, or end inside a character.
    pub fn skip(&mut self, bytes: usize) {
        self.held.drain(..bytes);
    }

    /// Ends the text: gives what was held back.
    pub fn finish(&mut self) -> String {
        let mut text = std::mem::take(&mut self.held);
        text.push_str(&String::from_utf8_lossy(&std::mem::take(&mut self.bytes)));
        text
    }

    /// How many bytes of `held` nothing that follows can change.
    fn whole(&self) -> usize {
        match self.held.chars().next_back() {
            None => 0,
            // Nothing joins a control character (GB4), but a carriage return waits for its line feed (GB3).
            Some(last) if last.is_control() && last != '\r' => self.held.len(),
            Some(_) => self.held.grapheme_indices(true).next_back().map_or(0, |(start, _)| start),
        }
    }
}

/// Whether `bytes`, which are no UTF-8, are the beginning of a sequence that can still become valid.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
