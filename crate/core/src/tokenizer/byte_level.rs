//! Byte-level BPE: text is cut into words, and the bytes of each word are merged.
//!
//! Families differ in how they cut. What is published with their checkpoints as `tokenizer.json` is followed here; GGUF
//! files name it by `tokenizer.ggml.pre`.

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    Model, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior,
};

use super::vocabulary::Vocabulary;
use crate::error::{Error, ErrorKind, Result};

/// The library takes some hundred bytes of memory for each byte of text, so a long text goes through it in stretches of
/// about this size.
const STRETCH_BYTES: usize = 1 << 16;

/// How a family cuts text into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Contractions, letters, digits and other signs, each with the space before it (Radford et al. 2019).
    Gpt2,
    /// The same after digits are set apart one by one.
    SmolLm,
    /// Up to three digits are a word, a word of letters takes any sign before it, and signs take the line breaks after.
    LlamaBpe,
    /// The same with single digits, of text in the normal form C.
    Qwen2,
}

impl Cut {
    /// All of them.
    pub const ALL: [Cut; 4] = [Cut::Gpt2, Cut::LlamaBpe, Cut::Qwen2, Cut::SmolLm];

    /// What files call it.
    pub fn name(self) -> &'static str {
        match self {
            Cut::Gpt2 => "gpt-2",
            Cut::SmolLm => "smollm",
            Cut::LlamaBpe => "llama-bpe",
            Cut::Qwen2 => "qwen2",
        }
    }

    /// How Llama 3 and Qwen cut; most digits of a number that stay together are `digits`.
    fn pattern(digits: &str) -> String {
        let digits = format!(r"\p{{N}}{digits}");
        [
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
            r"[^\r\n\p{L}\p{N}]?\p{L}+",
            &digits,
            r" ?[^\s\p{L}\p{N}]+[\r\n]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        ]
        .join("|")
    }

    fn steps(self) -> Result<Vec<Step>> {
        let gpt2 = || Box::new(ByteLevel::new(false, true, true));
        Ok(match self {
            Cut::Gpt2 => vec![gpt2()],
            Cut::SmolLm => vec![Box::new(Digits::new(true)), gpt2()],
            Cut::LlamaBpe | Cut::Qwen2 => {
                let pattern = SplitPattern::Regex(Self::pattern(if self == Cut::Qwen2 { "" } else { "{1,3}" }));
                let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(failed)?;
                vec![Box::new(split), Box::new(ByteLevel::new(false, true, false))]
            }
        })
    }

    /// Where to cut a long `text` so that its words stay the same.
    ///
    /// The first two cut before a line break that follows a visible character anyway: their words are either white space
    /// or end before white space. The others cut after a line break that a visible character follows: no word of theirs
    /// goes on after its line breaks.
    pub fn border(self, text: &str) -> usize {
        let breaks = text.bytes().enumerate().skip(STRETCH_BYTES).filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at);
        let visible = |c: char| !c.is_whitespace();
        let border = match self {
            Cut::Gpt2 | Cut::SmolLm => breaks.into_iter().find(|&at| text[..at].ends_with(visible)),
            Cut::LlamaBpe | Cut::Qwen2 => breaks.map(|at| at + 1).find(|&at| text[at..].starts_with(visible)),
        };
        border.unwrap_or(text.len())
    }
}

/// One of the library's cuts; its own list of them would bring them all.
type Step = Box<dyn PreTokenizer + Send + Sync>;

/// Cuts text into words and merges the bytes of each.
pub(super) struct ByteLevelBpe {
    bpe: BPE,
    cut: Cut,
    steps: Vec<Step>,
}

impl ByteLevelBpe {
    /// # Errors
    /// `model-corrupt` for merges that contradict the tokens.
    pub fn new(vocabulary: &Vocabulary, cut: Cut) -> Result<Self> {
        // Llama 3 takes a word that is a token as it is, even where no merges lead to it.
        let bpe = vocabulary.bpe(cut == Cut::LlamaBpe)?;
        Ok(Self { bpe, cut, steps: cut.steps()? })
    }

    /// Appends the ids of `text`.
    ///
    /// # Errors
    /// `internal` if the library fails.
    pub fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let mut rest = text;
        while !rest.is_empty() {
            let (stretch, after) = rest.split_at(self.cut.border(rest));
            self.encode_stretch(stretch, ids)?;
            rest = after;
        }
        Ok(())
    }

    /// Appends the ids of `text` at once.
    pub fn encode_stretch(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let mut text = PreTokenizedString::from(text);
        if self.cut == Cut::Qwen2 {
            text.normalize(|text| NFC.normalize(text)).map_err(failed)?;
        }
        for step in &self.steps {
            step.pre_tokenize(&mut text).map_err(failed)?;
        }
        text.tokenize(|word| self.bpe.tokenize(word.get())).map_err(failed)?;
        let words = text.get_splits(OffsetReferential::Normalized, OffsetType::None);
        ids.extend(words.iter().filter_map(|(_, _, tokens)| tokens.as_ref()).flatten().map(|token| token.id));
        Ok(())
    }

    /// The id of the token that the vocabulary spells `token`.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.bpe.token_to_id(token)
    }
}

fn failed(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::new(ErrorKind::Internal, "text could not be split into tokens").with_source(source)
}
