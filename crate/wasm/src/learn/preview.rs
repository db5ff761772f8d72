//! Short continuations by an adapter as it stands, and what of them is copied from the text.

use std::sync::Arc;

use imprint_core::{
    Result,
    adapter::Adapter,
    generate::WriteOptions,
    sample::Sampling,
    text::Material,
    voice::{self, Training},
};
use serde::{Deserialize, Serialize};
use web_sys::AbortSignal;

use crate::{
    engine::Open,
    web::{self, check_signal},
};

/// Words of the held-out text that a preview goes on from.
const PROMPT_WORDS: usize = 8;
/// Tokens of a preview: room for some thirty runs of eight words.
const TOKENS: usize = 48;

/// A continuation, as JavaScript sees it.
#[derive(Debug, Clone, Serialize)]
pub struct Preview {
    prompt: String,
    text: String,
    /// How much of it stands in the text.
    pub copied: Copied,
}

/// How much of a text stands word for word in the text learned from.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Copied {
    /// Share of its runs of eight words.
    pub share: f32,
    longest: usize,
}

/// Writes previews and watches them for copying.
pub struct Watch {
    training: Arc<Training>,
    prompts: Vec<String>,
    /// The same of the author's own held-out text, to compare with.
    pub own: Copied,
    /// What was copied in the latest preview.
    pub copied: Copied,
    written: usize,
}

impl Watch {
    /// For a run over these texts.
    pub fn new(texts: &Material) -> Self {
        let learned: Vec<String> = texts.texts.iter().map(|text| text.training.concat()).collect();
        let training = Arc::new(Training::new(&learned));
        let held: Vec<String> = texts.texts.iter().map(|text| text.holdout.concat()).collect();
        let start =
            |passage: &String| passage.split_inclusive(char::is_whitespace).take(PROMPT_WORDS).collect::<String>();
        let starts = texts.texts.iter().flat_map(|text| &text.holdout).map(start);
        let prompts = starts.map(|start| start.trim_end().to_owned()).filter(|start| !start.is_empty()).collect();
        let own = training.copied(&held.join("\n"), voice::RUN).into();
        Self { training, prompts, own, copied: Copied::default(), written: 0 }
    }

    /// Goes on from the next of the held-out beginnings with `adapter`, which is taken off again.
    ///
    /// # Errors
    /// `device-lost`, `cancelled`.
    pub async fn write(&mut self, open: &mut Open, adapter: &Adapter, signal: Option<&AbortSignal>) -> Result<Preview> {
        let prompt = self.prompts.get(self.written % self.prompts.len().max(1)).cloned().unwrap_or_default();
        self.written += 1;
        open.model.attach(adapter, None).await?;
        let written = continued(open, &prompt, self.written as u32, signal).await;
        open.model.detach();
        let text = written?;
        self.copied = self.training.copied(&text, voice::RUN).into();
        Ok(Preview { prompt, text, copied: self.copied })
    }
}

async fn continued(open: &mut Open, prompt: &str, seed: u32, signal: Option<&AbortSignal>) -> Result<String> {
    let sampling = Sampling { seed, ..Sampling::default() };
    let options = WriteOptions { sampling, max_tokens: TOKENS, strength: Some(1.0), ..WriteOptions::default() };
    let mut session = open.model.begin(prompt, options)?;
    let mut text = String::new();
    loop {
        web::breathe().await;
        check_signal(signal)?;
        let step = open.model.next(&mut session).await?;
        text.push_str(&step.text);
        if step.finish.is_some() {
            return Ok(text);
        }
    }
}

impl From<voice::Copied> for Copied {
    fn from(copied: voice::Copied) -> Self {
        Self { share: copied.share(), longest: copied.longest }
    }
}
