//! From a GGUF vocabulary to token ids and back.
//!
//! Byte-level BPE is put together from the parts of the `tokenizers` crate; sentencepiece's BPE is our own, since that crate
//! would want a merge for every way to halve each of a quarter million tokens. What a person types never becomes a control
//! token unless they ask for it ([`Tokenizer::encode_with_specials`]); in a chat only the template writes control tokens
//! ([`Tokenizer::encode_chat`]).

mod byte_level;
mod chat;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod scored;
mod sentencepiece;
mod specials;
mod stream;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::borrow::Cow;

use crate::error::{Error, ErrorKind, Result};

pub use chat::Message;
pub use stream::DecodeStream;
pub use vocabulary::Vocabulary;

use byte_level::ByteLevelBpe;
use sentencepiece::SentencePiece;
use specials::{Part, Specials};
use vocabulary::Algorithm;

/// Control tokens that end a turn or a text in the models we know; a vocabulary has one or two of them.
const END_TOKENS: [&str; 7] =
    ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|end|>", "<end_of_turn>", "</s>"];

/// Text to token ids and back, by one model's vocabulary.
pub struct Tokenizer {
    words: Words,
    /// Tokens matched in any text: those the vocabulary calls user-defined.
    in_text: Specials,
    /// Tokens matched where specials are wanted: control tokens, and those of `in_text`.
    in_template: Specials,
    pieces: Pieces,
    control: Vec<bool>,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    eos_ids: Vec<u32>,
    chat_template: Option<String>,
}

/// What becomes of text between the tokens that are found by their names.
enum Words {
    ByteLevelBpe(Box<ByteLevelBpe>),
    SentencePiece(SentencePiece),
}

/// The raw bytes of every token, back to back.
struct Pieces {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Pieces {
    fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start..end]
    }
}

impl Tokenizer {
    /// Builds the tokenizer of a vocabulary.
    ///
    /// # Errors
    /// `model-unsupported` for another algorithm or pre-tokenizer than we know, `model-corrupt` for a vocabulary that
    /// contradicts itself.
    pub fn new(vocabulary: Vocabulary) -> Result<Self> {
        let algorithm = vocabulary.algorithm()?;
        vocabulary.check()?;
        let (pieces, words) = match algorithm {
            Algorithm::ByteLevelBpe(cut) => {
                let words = ByteLevelBpe::new(&vocabulary, cut)?;
                (vocabulary.byte_level_pieces(), Words::ByteLevelBpe(Box::new(words)))
            }
            Algorithm::SentencePiece => {
                let pieces = vocabulary.sentencepiece_pieces();
                let words = SentencePiece::new(&vocabulary, &pieces)?;
                (pieces, Words::SentencePiece(words))
            }
        };
        let control: Vec<bool> = vocabulary.token_types.iter().map(|&kind| kind == vocabulary::CONTROL).collect();
        let specials = |kinds: &[i32]| Specials::new(&pieces, &vocabulary.token_types, kinds);
        let in_text = specials(&[vocabulary::USER_DEFINED])?;
        let in_template = specials(&[vocabulary::USER_DEFINED, vocabulary::CONTROL])?;
        let mut eos_ids: Vec<u32> = vocabulary.eos.into_iter().collect();
        for id in END_TOKENS.iter().filter_map(|name| in_template.token(name)) {
            // Gemma's `</s>` closes a tag of HTML.
            if control[id as usize] && !eos_ids.contains(&id) {
                eos_ids.push(id);
            }
        }
        let Vocabulary { bos, eos, add_bos, chat_template, .. } = vocabulary;
        Ok(Self { words, in_text, in_template, pieces, control, bos, eos, add_bos, eos_ids, chat_template })
    }

    /// The ids of `text`, in which control tokens are ordinary characters.
    ///
    /// Bytes for which the vocabulary has no token (SmolLM2 lacks six control characters and two bytes of unassigned
    /// planes) vanish, as they do in the reference tokenizer. Qwen's vocabularies want the normal form C, so text in
    /// another form comes back in that one. No beginning-of-text token is added; see [`Tokenizer::bos`].
    ///
    /// # Errors
    /// `internal` if the tokenizer library fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_matching(text, &self.in_text)
    }

    /// The ids of `text`, in which the names of control tokens become those tokens.
    ///
    /// # Errors
    /// `internal` if the tokenizer library fails.
    pub fn encode_with_specials(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_matching(text, &self.in_template)
    }

    /// The ids of a conversation, laid out by the model's own chat template.
    ///
    /// The template sees a private character in place of each message's content, with the content's outer white space
    /// around it, so that nothing in a message can become a control token or template code; then the contents take
    /// their places. A template that looks inside contents (to cut out a `<think>` part, say) does not find anything.
    ///
    /// # Errors
    /// `invalid-option` for a role that is none of system, user, assistant and tool, and for conversations that the
    /// template refuses; `model-unsupported` if the model has no template, or one that we cannot follow or that leaves
    /// a message out; `model-corrupt` for a template without end.
    pub fn encode_chat(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Vec<u32>> {
        let template = self.chat_template.as_deref().ok_or_else(|| {
            Error::new(ErrorKind::ModelUnsupported, "model has no chat template: use a plain prompt instead of a chat")
        })?;
        let rendered = chat::render(template, messages, add_generation_prompt, &self.special_names())?;
        let mut ids = Vec::new();
        // Template text and contents between two control tokens are one text: the reference tokenizer merges across.
        let mut text = String::new();
        for part in chat::parts(&rendered, messages)? {
            match part {
                chat::Part::Content(content) => text.push_str(content),
                chat::Part::Template(template) => {
                    for part in self.in_template.parts(template) {
                        match part {
                            Part::Text(plain) => text.push_str(plain),
                            Part::Token(id) => {
                                ids.extend(self.encode(&std::mem::take(&mut text))?);
                                ids.push(id);
                            }
                        }
                    }
                }
            }
        }
        ids.extend(self.encode(&text)?);
        Ok(ids)
    }

    /// The text of `ids` as a part of a longer one, control tokens by their names; bytes that are no UTF-8 become U+FFFD.
    ///
    /// Where a vocabulary puts a space before a text, that space comes back at the beginning of `ids` and is left out
    /// after a control token: see [`Tokenizer::piece_after`].
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut bytes = Vec::new();
        let mut before = None;
        for &id in ids {
            bytes.extend_from_slice(self.piece_after(before, id));
            before = Some(id);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The raw bytes of a token, which may be a part of a character; empty for an id outside the vocabulary.
    pub fn piece_bytes(&self, id: u32) -> &[u8] {
        self.pieces.get(id)
    }

    /// What `id` adds to a text whose last token is `before`: its raw bytes, without the space that the vocabulary puts
    /// before a text where one begins, after a control token.
    pub fn piece_after(&self, before: Option<u32>, id: u32) -> &[u8] {
        let piece = self.piece_bytes(id);
        match &self.words {
            Words::SentencePiece(words) if words.space_prefix() && before.is_some_and(|id| self.is_control(id)) => {
                piece.strip_prefix(b" ").unwrap_or(piece)
            }
            _ => piece,
        }
    }

    /// Whether `id` is a control token, which stands for no text.
    pub fn is_control(&self, id: u32) -> bool {
        self.control.get(id as usize).copied().unwrap_or(false)
    }

    /// The tokens after which the model has nothing more to say: its end-of-text token first.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos_ids
    }

    /// The beginning-of-text token.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Whether a plain prompt should begin with [`Tokenizer::bos`].
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }

    /// The number of tokens.
    pub fn vocab_size(&self) -> usize {
        self.control.len()
    }

    /// The id of the token that the vocabulary spells `token`, with `Ġ` (byte-level) or `▁` (sentencepiece) for a space.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        match &self.words {
            Words::ByteLevelBpe(words) => words.token_to_id(token),
            Words::SentencePiece(words) => words.token_to_id(&self.pieces, token),
        }
    }

    /// Whether [`Tokenizer::encode_chat`] has a template to follow.
    pub fn has_chat_template(&self) -> bool {
        self.chat_template.is_some()
    }

    fn encode_matching(&self, text: &str, specials: &Specials) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        let mut begins = true;
        let text = match &self.words {
            Words::ByteLevelBpe(_) => Cow::from(text),
            Words::SentencePiece(_) => sentencepiece::spaced(text),
        };
        for part in specials.parts(&text) {
            match (part, &self.words) {
                (Part::Token(id), _) => {
                    begins = self.is_control(id);
                    ids.push(id);
                }
                (Part::Text(text), Words::ByteLevelBpe(words)) => words.encode(text, &mut ids)?,
                (Part::Text(text), Words::SentencePiece(words)) => words.encode(&self.pieces, text, begins, &mut ids),
            }
        }
        Ok(ids)
    }

    /// What templates call `bos_token` and `eos_token`.
    fn special_names(&self) -> chat::SpecialNames {
        let name = |id: Option<u32>| id.map(|id| String::from_utf8_lossy(self.piece_bytes(id)).into_owned());
        chat::SpecialNames { bos_token: name(self.bos), eos_token: name(self.eos) }
    }
}
