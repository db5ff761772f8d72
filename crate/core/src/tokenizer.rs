//! From a GGUF vocabulary to token ids and back.
//!
//! The parts of the `tokenizers` crate are put together directly: its byte-level BPE, its pre-tokenizers and its matcher of
//! added tokens. What a person types never becomes a control token unless they ask for it ([`Tokenizer::encode_with_specials`]);
//! in a chat only the template writes control tokens ([`Tokenizer::encode_chat`]).

mod chat;
#[cfg(test)]
mod golden;
mod stream;
#[cfg(test)]
mod tests;
mod vocabulary;

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::{AddedToken, AddedVocabulary, Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use crate::error::{Error, ErrorKind, Result};

pub use chat::Message;
pub use stream::DecodeStream;
pub use vocabulary::Vocabulary;

/// Control tokens that end a turn or a text in the models we know; a vocabulary has one or two of them.
const END_TOKENS: [&str; 7] =
    ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|end|>", "<end_of_turn>", "</s>"];

/// The library takes some hundred bytes of memory for each byte of text, so a long text goes through it in stretches of
/// about this size.
const STRETCH_BYTES: usize = 1 << 16;

/// Text to token ids and back, by one model's vocabulary.
pub struct Tokenizer {
    bpe: BPE,
    digits: Digits,
    byte_level: ByteLevel,
    /// Tokens matched in any text: those the vocabulary calls user-defined.
    in_text: AddedVocabulary,
    /// Tokens matched where specials are wanted: control tokens, and those of `in_text`.
    in_template: AddedVocabulary,
    pieces: Pieces,
    control: Vec<bool>,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    eos_ids: Vec<u32>,
    chat_template: Option<String>,
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
        vocabulary.check()?;
        let pieces = vocabulary.pieces();
        let control = vocabulary.token_types.iter().map(|&kind| kind == vocabulary::CONTROL).collect();
        let bpe = vocabulary.bpe()?;
        let added = |kinds: &[i32]| added_tokens(&vocabulary, kinds, &bpe);
        let in_text = added(&[vocabulary::USER_DEFINED])?;
        let in_template = added(&[vocabulary::USER_DEFINED, vocabulary::CONTROL])?;
        let mut eos_ids: Vec<u32> = vocabulary.eos.into_iter().collect();
        for name in END_TOKENS {
            match in_template.get_vocab().get(name) {
                Some(id) if !eos_ids.contains(id) => eos_ids.push(*id),
                _ => {}
            }
        }
        let Vocabulary { bos, eos, add_bos, chat_template, .. } = vocabulary;
        let digits = Digits::new(true);
        let byte_level = ByteLevel::new(false, true, true);
        Ok(Self {
            bpe,
            digits,
            byte_level,
            in_text,
            in_template,
            pieces,
            control,
            bos,
            eos,
            add_bos,
            eos_ids,
            chat_template,
        })
    }

    /// The ids of `text`, in which control tokens are ordinary characters.
    ///
    /// Bytes for which the vocabulary has no token (SmolLM2 lacks six control characters and two bytes of unassigned
    /// planes) vanish, as they do in the reference tokenizer. No beginning-of-text token is added; see [`Tokenizer::bos`].
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
                    let splits = self.in_template.extract_and_normalize(None::<&NFC>, template);
                    for (plain, _, token) in splits.get_splits(OffsetReferential::Original, OffsetType::Byte) {
                        let Some(token) = token else {
                            text.push_str(plain);
                            continue;
                        };
                        ids.extend(self.encode(&std::mem::take(&mut text))?);
                        ids.extend(token.iter().map(|token| token.id));
                    }
                }
            }
        }
        ids.extend(self.encode(&text)?);
        Ok(ids)
    }

    /// The text of `ids`, control tokens by their names; bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.piece_bytes(id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The raw bytes of a token, which may be a part of a character; empty for an id outside the vocabulary.
    pub fn piece_bytes(&self, id: u32) -> &[u8] {
        self.pieces.get(id)
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

    /// The id of the token that the vocabulary spells `token` (in the byte-level alphabet: `Ġ` for a space).
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.bpe.token_to_id(token)
    }

    /// Whether [`Tokenizer::encode_chat`] has a template to follow.
    pub fn has_chat_template(&self) -> bool {
        self.chat_template.is_some()
    }

    fn encode_matching(&self, text: &str, added: &AddedVocabulary) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let cut = border(rest, added);
            ids.extend(self.encode_stretch(&rest[..cut], added)?);
            rest = &rest[cut..];
        }
        Ok(ids)
    }

    fn encode_stretch(&self, text: &str, added: &AddedVocabulary) -> Result<Vec<u32>> {
        let mut pretokenized: PreTokenizedString = added.extract_and_normalize(None::<&NFC>, text);
        self.digits
            .pre_tokenize(&mut pretokenized)
            .and_then(|()| self.byte_level.pre_tokenize(&mut pretokenized))
            .and_then(|()| pretokenized.tokenize(|word| self.bpe.tokenize(word.get())))
            .map_err(|source| {
                Error::new(ErrorKind::Internal, "text could not be split into tokens").with_source(source)
            })?;
        let splits = pretokenized.get_splits(OffsetReferential::Normalized, OffsetType::None);
        Ok(splits.iter().filter_map(|(_, _, tokens)| tokens.as_ref()).flatten().map(|token| token.id).collect())
    }

    /// What templates call `bos_token` and `eos_token`.
    fn special_names(&self) -> chat::SpecialNames {
        let name = |id: Option<u32>| id.map(|id| String::from_utf8_lossy(self.piece_bytes(id)).into_owned());
        chat::SpecialNames { bos_token: name(self.bos), eos_token: name(self.eos) }
    }
}

/// Where to cut `text` so that the ids stay the same: before a line break after a visible character, where the
/// pre-tokenizer cuts anyway (its words are either white space or end before white space).
fn border(text: &str, added: &AddedVocabulary) -> usize {
    if added.get_vocab().keys().any(|token| token.contains('\n')) {
        return text.len();
    }
    let breaks = text.bytes().enumerate().skip(STRETCH_BYTES).filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at);
    let mut borders = breaks.filter(|&at| text[..at].ends_with(|c: char| !c.is_whitespace()));
    borders.next().unwrap_or(text.len())
}

fn added_tokens(vocabulary: &Vocabulary, kinds: &[i32], bpe: &BPE) -> Result<AddedVocabulary> {
    let tokens = vocabulary.tokens.iter().zip(&vocabulary.token_types).filter(|(_, kind)| kinds.contains(kind));
    let tokens = tokens.map(|(token, _)| AddedToken::from(token.as_str(), true));
    let mut added = AddedVocabulary::new();
    added.add_tokens(tokens, bpe, None::<&NFC>).map_err(|source| {
        Error::new(ErrorKind::ModelCorrupt, "model has control tokens that cannot be told apart").with_source(source)
    })?;
    Ok(added)
}
