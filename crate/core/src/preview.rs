//! What an adapter writes while it is learned, held against the text it learns from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    adapter::Adapter,
    error::Result,
    generate::{LanguageModel, WriteOptions},
    sample::Sampling,
    text::{Material, Text},
    voice::{Copied, Name, Names, Prints, RUN, Training},
};

/// Words of the held-out text that a preview goes on from.
const PROMPT_WORDS: usize = 8;
/// Tokens of a preview: room for some thirty runs of eight words.
const TOKENS: usize = 48;

/// Names that are asked about, the commonest: each costs some short readings.
const ASKED: usize = 48;
/// Where a name may stand: after a verb that wants a person, a place, a day.
const FRAMES: [&str; 3] = ["She met", "We went to", "It was on"];
/// A name that the model finds less likely than this in every frame, in nats, is not its own: one in 100,000.
///
/// Under SmolLM2-135M "Sunday" has 5.7, "London" 6.5, "England" 8.0 and "English" 10.5 in the frame that suits it best;
/// "Ahab" has 12.2, "Bingley" 13.4, "Bennet" 15.4, "Longbourn" 19.9 and "Queequeg" 21.5. It is the whole word that counts, since
/// the later tokens of a rare word follow from the first.
const UNLIKELY: f32 = 11.5;

/// A continuation, and what of it is the text's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// The beginning of a held-out passage.
    pub prompt: String,
    /// What was written after it.
    pub text: String,
    /// How much of that stands in the text learned from.
    pub copied: Share,
    /// Names of the text in it that the model alone would hardly write.
    pub names: Vec<Name>,
}

/// How much of a text stands word for word in the text learned from.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Share {
    /// Share of its runs of eight words.
    pub share: f32,
    /// Words of the longest run.
    pub longest: usize,
}

impl From<Copied> for Share {
    fn from(copied: Copied) -> Self {
        Self { share: copied.share(), longest: copied.longest }
    }
}

/// Writes previews of one run.
pub struct Previews {
    learned: Vec<String>,
    training: Arc<Training>,
    names: Names,
    /// Made once the model was asked about the names.
    prints: Option<Arc<Prints>>,
    prompts: Vec<String>,
    /// How much of the author's own held-out text stands in the text learned from: what to compare with.
    pub own: Share,
    written: usize,
}

impl Previews {
    /// For a run over `texts`, with a hold-out of the person's own in place of what was held out of them.
    pub fn new(texts: &Material, holdout: Option<&Material>) -> Self {
        let joined = |text: &Text| {
            if holdout.is_some() { text.training.concat() + &text.holdout.concat() } else { text.training.concat() }
        };
        let learned: Vec<String> = texts.texts.iter().map(joined).collect();
        let own = |text: &Text| if holdout.is_some() { text.training.clone() } else { Vec::new() };
        let passages = |text: &Text| own(text).into_iter().chain(text.holdout.clone()).collect::<Vec<String>>();
        let held: Vec<String> = holdout.unwrap_or(texts).texts.iter().flat_map(passages).collect();
        let start =
            |passage: &String| passage.split_inclusive(char::is_whitespace).take(PROMPT_WORDS).collect::<String>();
        let prompts = held.iter().map(|passage| start(passage).trim_end().to_owned());
        let prompts = prompts.filter(|prompt| !prompt.is_empty()).collect();
        let training = Arc::new(Training::new(&learned));
        let own = training.copied(&held.join("\n"), RUN).into();
        let names = Names::find(&learned);
        Self { learned, training, names, prints: None, prompts, own, written: 0 }
    }

    /// Goes on from the next of the held-out beginnings with `adapter`, which is taken off again. `on_step` may wait for its
    /// events, and may stop the work with an error.
    ///
    /// # Errors
    /// `device-lost`, and what `on_step` returns.
    pub async fn write(
        &mut self,
        model: &mut LanguageModel,
        adapter: &Adapter,
        on_step: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Preview> {
        let prints = self.prints(model, on_step).await?;
        let prompt = self.prompts.get(self.written % self.prompts.len().max(1)).cloned().unwrap_or_default();
        self.written += 1;
        model.attach(adapter, None).await?;
        let written = continued(model, &prompt, self.written as u32, on_step).await;
        model.detach();
        let text = written?;
        let copied = self.training.copied(&text, RUN).into();
        let names = prints.count_names(&text);
        Ok(Preview { prompt, text, copied, names })
    }

    /// The prints of the text learned from, with its names that `model`, without an adapter, would hardly write.
    ///
    /// # Errors
    /// As [`Previews::write`].
    pub async fn prints(
        &mut self,
        model: &LanguageModel,
        on_step: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Arc<Prints>> {
        if let Some(prints) = &self.prints {
            return Ok(Arc::clone(prints));
        }
        let names = unlikely(model, self.names.list(), on_step).await?;
        let prints = Arc::new(Prints::new(&self.learned, names));
        // Nothing else needs the text any more.
        self.learned = Vec::new();
        Ok(Arc::clone(self.prints.insert(prints)))
    }
}

/// The commonest of `names` that the model alone would hardly write.
///
/// # Errors
/// `device-lost`, and what `on_step` returns.
pub async fn unlikely(
    model: &LanguageModel,
    names: &[Name],
    on_step: &mut impl AsyncFnMut() -> Result<()>,
) -> Result<Vec<String>> {
    let alone = model.adapter().map(|_| 0.0);
    let mut kept = Vec::new();
    for Name { word, .. } in names.iter().take(ASKED) {
        let own = model.tokenizer.encode(&format!(" {word}"))?;
        let mut least = f32::INFINITY;
        for frame in FRAMES {
            on_step().await?;
            let ids = [model.encode_text(frame)?, own.clone()].concat();
            let nll = model.score_at(&ids, alone, &mut async |_| Ok(())).await?;
            least = least.min(nll[nll.len() - own.len()..].iter().sum());
            if least < UNLIKELY {
                break;
            }
        }
        if least >= UNLIKELY {
            kept.push(word.clone());
        }
    }
    Ok(kept)
}

async fn continued(
    model: &LanguageModel,
    prompt: &str,
    seed: u32,
    on_step: &mut impl AsyncFnMut() -> Result<()>,
) -> Result<String> {
    let sampling = Sampling { seed, ..Sampling::default() };
    let options = WriteOptions { sampling, max_tokens: TOKENS, strength: Some(1.0), ..WriteOptions::default() };
    let mut session = model.begin(prompt, options)?;
    let mut text = String::new();
    loop {
        on_step().await?;
        let step = model.next(&mut session).await?;
        text.push_str(&step.text);
        if step.finish.is_some() {
            return Ok(text);
        }
    }
}
