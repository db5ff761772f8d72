//! Writing and scoring: a prompt in, pieces of text out, one step at a time.
//!
//! Whoever owns the loop owns pause, cancel and progress; a step returns within one chunk of prompt or one batch of tokens.

mod guard;
mod pace;
mod score;
mod session;
mod stops;
mod strength;

use std::sync::Arc;

pub use guard::{Guard, Run};
pub use pace::Pace;
pub use session::Session;
pub use strength::{DEFAULT_STRENGTH, Mode};

use guard::Watch;
use session::{Guarded, Voice};
use stops::Stops;

#[cfg(feature = "gpu")]
use crate::fused::FusedModel;
use crate::{
    adapter::Adapter,
    config::ModelConfig,
    error::{Error, ErrorKind, Result},
    processor::{Paths, Processor, Reading},
    sample::{EXCLUDED, Mix, Sampling, Seen, contrast},
    tokenizer::{DecodeStream, Message, Tokenizer},
};

/// Prompt tokens read a step, where nobody asks for more: few enough that a step on a slow machine can be cancelled, enough to
/// fill the tiles.
const CHUNK: usize = 64;

/// What to write and when to stop.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteOptions {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens to write.
    pub max_tokens: usize,
    /// Writing ends before any of these.
    pub stop: Vec<String>,
    /// How strongly the attached adapter speaks: 0 is the base, 1 the adapter as it was learned, up to 3 for a contrast
    /// and up to 2 for a scaled path; `None` is [`DEFAULT_STRENGTH`] where an adapter is attached.
    pub strength: Option<f32>,
    /// How the strength is applied; `None` is a contrast on the GPU and a scaled path on the CPU.
    pub mode: Option<Mode>,
    /// Whether the prompt is a message to answer, laid out by the model's chat template, rather than text to continue.
    pub chat: bool,
    /// What the text is compared with, word by word: text then comes in whole words.
    pub guard: Option<Guard>,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            sampling: Sampling::default(),
            max_tokens: 256,
            stop: Vec::new(),
            strength: None,
            mode: None,
            chat: false,
            guard: None,
        }
    }
}

/// Why writing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended its text.
    End,
    /// A stop string came.
    Stop,
    /// `max_tokens` are written.
    Length,
    /// The context is full.
    Context,
}

impl Finish {
    /// The name in interfaces.
    pub fn name(self) -> &'static str {
        match self {
            Finish::End => "end",
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::Context => "context",
        }
    }
}

/// What one step brought.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// New text; empty while the prompt is read or half a character is held back, under guard half a word.
    pub text: String,
    /// Which of it stands in copied runs, in order; none without a guard.
    pub runs: Vec<Run>,
    /// Ids drawn in this step, the ending one left out; under guard those whose words are finished.
    pub ids: Vec<u32>,
    /// Tokens written so far.
    pub tokens: usize,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the prompt read so far.
    pub prefilled: usize,
    /// Set on the last step.
    pub finish: Option<Finish>,
}

impl Step {
    /// The text in pieces that stand inside a copied run or not, and for those that do where it begins, in bytes of all
    /// that was written.
    pub fn pieces(&self) -> Vec<(&str, Option<usize>)> {
        let mut pieces = Vec::with_capacity(2 * self.runs.len() + 1);
        let mut end = 0;
        for Run { range, begins } in &self.runs {
            pieces.push((&self.text[end..range.start], None));
            pieces.push((&self.text[range.clone()], Some(*begins)));
            end = range.end;
        }
        pieces.push((&self.text[end..], None));
        pieces.retain(|(text, _)| !text.is_empty());
        pieces
    }
}

/// Where the forward runs.
pub enum Backend {
    /// Packed weights on the processor.
    Processor(Box<Processor>),
    /// Fused kernels.
    #[cfg(feature = "gpu")]
    Fused(Box<FusedModel>),
}

/// A model with its tokenizer, ready to write.
pub struct LanguageModel {
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// What computes.
    pub backend: Backend,
    /// Longest text, prompt and answer, in tokens.
    pub capacity: usize,
    adapter: Option<Adapter>,
    /// Changes of adapter so far: a text ends with the adapter it began with.
    changes: usize,
}

impl LanguageModel {
    /// A model without an adapter.
    pub fn new(tokenizer: Tokenizer, backend: Backend, capacity: usize) -> Self {
        Self { tokenizer, backend, capacity, adapter: None, changes: 0 }
    }

    /// Its shape.
    pub fn config(&self) -> &ModelConfig {
        match &self.backend {
            Backend::Processor(processor) => &processor.model.config,
            #[cfg(feature = "gpu")]
            Backend::Fused(model) => &model.config,
        }
    }

    /// Attaches `adapter` in place of one that is there; `base` is the fingerprint of this model, where it is known.
    /// Texts begun before are over.
    ///
    /// # Errors
    /// `adapter-wrong-base`, `adapter-corrupt`; on the GPU `invalid-option` for a rank over 128, `out-of-memory`,
    /// `device-lost`. After an error of the device no adapter is attached.
    pub async fn attach(&mut self, adapter: &Adapter, base: Option<&str>) -> Result<()> {
        adapter.check(self.config(), base)?;
        self.changes += 1;
        self.adapter = None;
        #[cfg(feature = "gpu")]
        if let Backend::Fused(model) = &mut self.backend {
            model.attach(adapter).await?;
        }
        self.adapter = Some(adapter.clone());
        Ok(())
    }

    /// Takes the adapter away, if there is one: scores are those of the base again, to the bit.
    pub fn detach(&mut self) {
        self.changes += 1;
        self.adapter = None;
        #[cfg(feature = "gpu")]
        if let Backend::Fused(model) = &mut self.backend {
            model.detach();
        }
    }

    /// The adapter that is attached.
    pub fn adapter(&self) -> Option<&Adapter> {
        self.adapter.as_ref()
    }

    /// The mode where none is asked for: a second row costs little on the GPU, and twice on the CPU.
    fn mode(&self, asked: Option<Mode>) -> Mode {
        let default = match &self.backend {
            Backend::Processor(_) => Mode::Scale,
            #[cfg(feature = "gpu")]
            Backend::Fused(_) => Mode::Contrast,
        };
        asked.unwrap_or(default)
    }

    fn mix(&self, strength: Option<f32>, mode: Mode) -> Result<Mix> {
        strength.map_or(Ok(()), |strength| mode.check(strength))?;
        match (strength, &self.adapter) {
            (Some(strength), None) if strength != 0.0 => {
                let message = format!("strength is {strength}, but no adapter is attached; name one, or leave it out");
                Err(Error::new(ErrorKind::InvalidOption, message))
            }
            (_, None) => Ok(Mix::Base),
            (strength, Some(_)) => Ok(mode.at(strength.unwrap_or(DEFAULT_STRENGTH))),
        }
    }

    fn voice(&self, mix: Mix) -> Voice {
        let factor = if let Mix::Scaled(factor) = mix { factor } else { 1.0 };
        let paths = match (&self.backend, &self.adapter) {
            (Backend::Processor(_), Some(adapter)) if mix != Mix::Base => Some(Arc::new(Paths::new(adapter, factor))),
            _ => None,
        };
        let base = matches!(mix, Mix::Contrast(_)).then(Reading::default);
        Voice { mix, own: Reading::new(paths), base }
    }

    /// Lays out a prompt; nothing is computed yet.
    ///
    /// # Errors
    /// `invalid-option`, `text-too-short` for an empty prompt to a model without a start token, `context-full` when the
    /// prompt leaves no room to write, `model-unsupported` for a chat with a model that has no template.
    pub fn begin(&self, prompt: &str, options: WriteOptions) -> Result<Session> {
        options.sampling.check()?;
        if options.max_tokens == 0 {
            return Err(Error::new(ErrorKind::InvalidOption, "max tokens is 0, it must be at least 1"));
        }
        options.guard.as_ref().and_then(|guard| guard.most_copied_words).map_or(Ok(()), Guard::check)?;
        if options.stop.iter().any(String::is_empty) {
            return Err(Error::new(ErrorKind::InvalidOption, "a stop string is empty, which would stop everything"));
        }
        let ids = if options.chat {
            self.tokenizer.encode_chat(&[Message::new("user", prompt)], true)?
        } else {
            self.encode_text(prompt)?
        };
        self.begin_ids(ids, options)
    }

    /// Text as the model reads it from its start: with the start token where the model wants or needs one.
    ///
    /// # Errors
    /// `text-too-short` for an empty text to a model without a start token.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.tokenizer.encode(text)?;
        if self.tokenizer.add_bos() || ids.is_empty() {
            let start = self.tokenizer.bos().or(self.tokenizer.eos_ids().first().copied());
            match start {
                Some(start) => ids.insert(0, start),
                None if ids.is_empty() => {
                    return Err(Error::new(ErrorKind::TextTooShort, "the prompt is empty; write a word or two first"));
                }
                None => {}
            }
        }
        Ok(ids)
    }

    /// Starts from ids.
    ///
    /// # Errors
    /// `context-full`, or `invalid-option` for an id outside the vocabulary or a strength out of its range.
    pub fn begin_ids(&self, prompt: Vec<u32>, options: WriteOptions) -> Result<Session> {
        self.check_ids(&prompt)?;
        let mix = self.mix(options.strength, self.mode(options.mode))?;
        if prompt.len() >= self.capacity {
            return Err(Error::new(
                ErrorKind::ContextFull,
                format!("the prompt has {} tokens, the context holds {}; shorten it", prompt.len(), self.capacity),
            ));
        }
        let mut seen = Seen::new(self.tokenizer.vocab_size());
        prompt.iter().for_each(|&id| seen.insert(id));
        #[cfg(feature = "gpu")]
        if let Backend::Fused(model) = &self.backend {
            model.start(&options.sampling, &seen, mix);
        }
        let stops = Stops::new(options.stop.clone());
        let guarded = options.guard.clone().map(|guard| {
            // A message to answer is no beginning of the text.
            let ids: &[u32] = if options.chat { &[] } else { &prompt };
            let said: Vec<u32> = ids.iter().copied().filter(|&id| !self.tokenizer.is_control(id)).collect();
            Guarded::new(Watch::new(guard, &self.tokenizer.decode(&said)))
        });
        Ok(Session {
            options,
            prompt,
            prefilled: 0,
            drawn: 0,
            last: 0,
            voice: self.voice(mix),
            changes: self.changes,
            seen,
            stream: DecodeStream::new(),
            stops,
            finished: false,
            guarded,
            batch: 1,
            chunk: CHUNK,
        })
    }

    fn check_ids(&self, ids: &[u32]) -> Result<()> {
        match ids.iter().find(|&&id| id as usize >= self.tokenizer.vocab_size()) {
            Some(id) => Err(Error::new(
                ErrorKind::InvalidOption,
                format!("token id {id} is outside the vocabulary of {}", self.tokenizer.vocab_size()),
            )),
            None => Ok(()),
        }
    }

    /// Goes on: reads the next chunk of the prompt, or draws the next tokens.
    ///
    /// # Errors
    /// `device-lost`, `out-of-memory`, or `internal` when the numbers go wrong. After an error or a step with `finish`,
    /// the session is over; another call gives `internal`.
    pub async fn next(&self, session: &mut Session) -> Result<Step> {
        if session.finished {
            return Err(Error::new(ErrorKind::Internal, "this text is finished; begin another"));
        }
        if session.changes != self.changes {
            let message = "the adapter was changed while this text was written; begin another";
            return Err(Error::new(ErrorKind::Internal, message));
        }
        let left = session.prompt.len() - session.prefilled;
        let chunk = session.chunk.clamp(1, self.most_read());
        let drawn = if left > chunk {
            let from = session.prefilled;
            self.read(session, from, chunk).await?;
            session.prefilled += chunk;
            Vec::new()
        } else if left > 0 {
            let id = self.read_and_draw(session).await?;
            session.prefilled = session.prompt.len();
            vec![id]
        } else if session.is_back() {
            vec![self.redraw(session).await?]
        } else {
            self.draw(session).await?
        };
        Ok(self.take(session, &drawn))
    }

    /// Most prompt tokens a step.
    fn most_read(&self) -> usize {
        match &self.backend {
            Backend::Processor(_) => CHUNK,
            #[cfg(feature = "gpu")]
            Backend::Fused(_) => crate::kernels::state::MAX_COUNT as usize,
        }
    }

    async fn read(&self, session: &mut Session, from: usize, n: usize) -> Result<()> {
        let ids = session.prompt[from..from + n].to_vec();
        match &self.backend {
            Backend::Processor(processor) => {
                session.voice.read(processor, &ids);
                Ok(())
            }
            #[cfg(feature = "gpu")]
            Backend::Fused(model) => model.read(from, &ids).await,
        }
    }

    async fn read_and_draw(&self, session: &mut Session) -> Result<u32> {
        match &self.backend {
            Backend::Processor(processor) => {
                let ids = session.prompt[session.prefilled..].to_vec();
                step(processor, session, &ids)
            }
            #[cfg(feature = "gpu")]
            Backend::Fused(model) => model.read_and_draw(session.prefilled, &session.prompt[session.prefilled..]).await,
        }
    }

    async fn draw(&self, session: &mut Session) -> Result<Vec<u32>> {
        match &self.backend {
            Backend::Processor(processor) => {
                let last = session.last;
                Ok(vec![step(processor, session, &[last])?])
            }
            #[cfg(feature = "gpu")]
            Backend::Fused(model) => {
                let left = (self.capacity - session.prompt.len() - session.drawn + 1)
                    .min(session.options.max_tokens - session.drawn);
                let room = left.min(crate::kernels::state::MAX_DRAWN as usize);
                let n = session.batch.clamp(1, room);
                // A device that takes long for a token would draw it in vain after a stop, and a guard may go back.
                let ahead = if n > 1 && session.guarded.is_none() { left - n } else { 0 };
                model.draw(session.drawn, n, ahead).await
            }
        }
    }

    /// Draws the next token of a text that has gone back, without those that are banned there.
    ///
    /// The last token is read once more and its scores come to the host: words are refused seldom.
    async fn redraw(&self, session: &mut Session) -> Result<u32> {
        let position = session.prompt.len() + session.drawn - 1;
        let (mut scores, mut personal) = match &self.backend {
            Backend::Processor(processor) => {
                session.voice.truncate(position);
                session.voice.scores(processor, &[session.last])
            }
            #[cfg(feature = "gpu")]
            Backend::Fused(model) => model.scores(position, session.last).await?,
        };
        if let Some(guarded) = &mut session.guarded {
            guarded.back = false;
            for id in guarded.watch.banned(session.drawn) {
                // Of both, so that a banned token makes no other implausible.
                [Some(&mut scores), personal.as_mut()].into_iter().flatten().for_each(|of| of[id as usize] = EXCLUDED);
            }
        }
        let id = draw(session, scores, personal)?;
        #[cfg(feature = "gpu")]
        if let Backend::Fused(model) = &self.backend {
            session.seen.insert(id);
            model.go_on(position + 1, id, session.drawn + 1, &session.seen);
        }
        Ok(id)
    }

    /// Ends a text before its time and gives what was held back: the last character, and what might have become a stop
    /// string. Empty for a text that is finished.
    pub fn end(&self, session: &mut Session) -> String {
        if session.finished { String::new() } else { session.cut() }
    }

    /// Turns drawn ids into text, up to the first reason to stop or to go back.
    fn take(&self, session: &mut Session, drawn: &[u32]) -> Step {
        let mut step = Step::default();
        for &id in drawn {
            step.finish = self.take_one(session, id, &mut step);
            if step.finish.is_some() || session.is_back() {
                break;
            }
        }
        match step.finish {
            None => {}
            Some(Finish::Stop) => session.finished = true,
            Some(_) => session.finish(&mut step),
        }
        step.tokens = session.drawn - usize::from(step.finish == Some(Finish::End));
        if let Some(Guarded { watch, .. }) = &mut session.guarded {
            step.tokens = watch.done();
            step.runs = watch.runs(step.text.len());
        }
        step.prompt_tokens = session.prompt.len();
        step.prefilled = session.prefilled;
        step
    }

    /// Takes one id into the text; a reason to stop after it.
    fn take_one(&self, session: &mut Session, id: u32, step: &mut Step) -> Option<Finish> {
        let before = if session.drawn == 0 { session.prompt.last().copied() } else { Some(session.last) };
        session.drawn += 1;
        session.last = id;
        session.seen.insert(id);
        if self.tokenizer.eos_ids().contains(&id) {
            return Some(Finish::End);
        }
        let bytes = (!self.tokenizer.is_control(id)).then(|| self.tokenizer.piece_after(before, id));
        if session.push(id, bytes, step) {
            Some(Finish::Stop)
        } else if session.is_back() {
            None
        } else if session.drawn >= session.options.max_tokens {
            Some(Finish::Length)
        } else if session.prompt.len() + session.drawn > self.capacity {
            Some(Finish::Context)
        } else {
            None
        }
    }
}

/// Reads `ids` and draws the token after them on the processor.
fn step(processor: &Processor, session: &mut Session, ids: &[u32]) -> Result<u32> {
    let (scores, personal) = session.voice.scores(processor, ids);
    draw(session, scores, personal)
}

/// Draws a token from the scores of the mix, or for a contrast the base's and the personal ones.
fn draw(session: &Session, mut scores: Vec<f32>, personal: Option<Vec<f32>>) -> Result<u32> {
    if let (Mix::Contrast(strength), Some(personal)) = (session.voice.mix, personal) {
        contrast(&mut scores, &personal, strength);
    }
    session.options.sampling.draw(&mut scores, &session.seen, session.drawn as u32)
}
