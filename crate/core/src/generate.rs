//! Writing and scoring: a prompt in, pieces of text out, one step at a time.
//!
//! Whoever owns the loop owns pause, cancel and progress; a step returns within one chunk of prompt or one batch of tokens.

mod stops;
mod strength;

use burn::tensor::{Tensor, TensorData};

pub use strength::{DEFAULT_STRENGTH, Mode};

use stops::Stops;

#[cfg(feature = "gpu")]
use crate::fused::FusedModel;
use crate::{
    adapter::Adapter,
    config::ModelConfig,
    error::{Error, ErrorKind, Result},
    model::{Cache, LowRank, Model, log_likelihoods},
    sample::{Mix, Sampling, Seen, contrast},
    tokenizer::{DecodeStream, Message, Tokenizer},
};

/// Prompt tokens read a step: few enough that a step on a slow machine can be cancelled, enough to fill the tiles.
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
    /// New text; empty while the prompt is read or half a character is held back.
    pub text: String,
    /// Ids drawn in this step, the ending one left out.
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

/// Where the forward runs.
pub enum Backend {
    /// Burn tensors.
    Plain(Box<Model>),
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

/// One text being written. On the GPU a model holds one cache: a new session ends the one before.
pub struct Session {
    options: WriteOptions,
    prompt: Vec<u32>,
    prefilled: usize,
    /// Tokens drawn.
    drawn: usize,
    /// The token drawn last, which the cache does not hold yet.
    last: u32,
    cache: Cache,
    voice: Voice,
    /// [`LanguageModel::changes`] when the text began.
    changes: usize,
    seen: Seen,
    stream: DecodeStream,
    stops: Stops,
    finished: bool,
    /// Tokens to draw a step on the GPU: more hide the wait for the readback, fewer show text sooner.
    pub batch: usize,
}

/// What the plain path writes from; on the GPU the model holds it.
struct Voice {
    mix: Mix,
    /// The adapter, scaled for this text.
    adapter: Option<LowRank>,
    /// What a contrast has read without the adapter.
    base: Cache,
}

impl Session {
    /// Finishes the text: what was held back, and whether a stop string was in it.
    fn flush(&mut self) -> (String, bool) {
        self.finished = true;
        let (mut text, stopped) = self.stops.push(&self.stream.finish());
        if !stopped {
            text.push_str(&self.stops.finish());
        }
        (text, stopped)
    }
}

impl LanguageModel {
    /// A model without an adapter.
    pub fn new(tokenizer: Tokenizer, backend: Backend, capacity: usize) -> Self {
        Self { tokenizer, backend, capacity, adapter: None, changes: 0 }
    }

    /// Its shape.
    pub fn config(&self) -> &ModelConfig {
        match &self.backend {
            Backend::Plain(model) => &model.config,
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
            Backend::Plain(_) => Mode::Scale,
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
        let adapter = match (&self.backend, &self.adapter) {
            (Backend::Plain(model), Some(adapter)) if mix != Mix::Base => {
                Some(LowRank::new(adapter, factor, &model.device))
            }
            _ => None,
        };
        Voice { mix, adapter, base: Cache::default() }
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
        Ok(Session {
            options,
            prompt,
            prefilled: 0,
            drawn: 0,
            last: 0,
            cache: Cache::default(),
            voice: self.voice(mix),
            changes: self.changes,
            seen,
            stream: DecodeStream::new(),
            stops,
            finished: false,
            batch: 1,
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
        let drawn = if left > CHUNK {
            let from = session.prefilled;
            self.read(session, from, CHUNK).await?;
            session.prefilled += CHUNK;
            Vec::new()
        } else if left > 0 {
            let id = self.read_and_draw(session).await?;
            session.prefilled = session.prompt.len();
            vec![id]
        } else {
            self.draw(session).await?
        };
        Ok(self.take(session, &drawn))
    }

    async fn read(&self, session: &mut Session, from: usize, n: usize) -> Result<()> {
        let ids = session.prompt[from..from + n].to_vec();
        match &self.backend {
            Backend::Plain(model) => {
                plain_read(model, session, &ids);
                Ok(())
            }
            #[cfg(feature = "gpu")]
            Backend::Fused(model) => model.read(from, &ids).await,
        }
    }

    async fn read_and_draw(&self, session: &mut Session) -> Result<u32> {
        match &self.backend {
            Backend::Plain(model) => {
                let ids = session.prompt[session.prefilled..].to_vec();
                plain_step(model, session, &ids).await
            }
            #[cfg(feature = "gpu")]
            Backend::Fused(model) => model.read_and_draw(session.prefilled, &session.prompt[session.prefilled..]).await,
        }
    }

    async fn draw(&self, session: &mut Session) -> Result<Vec<u32>> {
        match &self.backend {
            Backend::Plain(model) => {
                let last = session.last;
                Ok(vec![plain_step(model, session, &[last]).await?])
            }
            #[cfg(feature = "gpu")]
            Backend::Fused(model) => {
                let room = (self.capacity - session.prompt.len() - session.drawn + 1)
                    .min(session.options.max_tokens - session.drawn)
                    .min(crate::kernels::state::MAX_DRAWN as usize);
                model.draw(session.drawn, session.batch.clamp(1, room)).await
            }
        }
    }

    /// Ends a text before its time and gives what was held back: the last character, and what might have become a stop
    /// string. Empty for a text that is finished.
    pub fn end(&self, session: &mut Session) -> String {
        if session.finished { String::new() } else { session.flush().0 }
    }

    /// Turns drawn ids into text, up to the first reason to stop.
    fn take(&self, session: &mut Session, drawn: &[u32]) -> Step {
        let mut step = Step::default();
        for &id in drawn {
            session.drawn += 1;
            session.last = id;
            session.seen.insert(id);
            if self.tokenizer.eos_ids().contains(&id) {
                step.finish = Some(Finish::End);
                break;
            }
            step.ids.push(id);
            step.tokens = session.drawn;
            if !self.tokenizer.is_control(id) {
                let text = session.stream.push(self.tokenizer.piece_bytes(id));
                let (text, stopped) = session.stops.push(&text);
                step.text.push_str(&text);
                if stopped {
                    step.finish = Some(Finish::Stop);
                    break;
                }
            }
            if session.drawn >= session.options.max_tokens {
                step.finish = Some(Finish::Length);
                break;
            }
            if session.prompt.len() + session.drawn > self.capacity {
                step.finish = Some(Finish::Context);
                break;
            }
        }
        match step.finish {
            None => {}
            Some(Finish::Stop) => session.finished = true,
            Some(_) => {
                let (text, stopped) = session.flush();
                step.text.push_str(&text);
                if stopped {
                    step.finish = Some(Finish::Stop);
                }
            }
        }
        step.tokens = session.drawn - usize::from(step.finish == Some(Finish::End));
        step.prompt_tokens = session.prompt.len();
        step.prefilled = session.prefilled;
        step
    }

    /// Negative log-likelihood of each id after the first, in nats, under the adapter as it was learned where one is
    /// attached.
    ///
    /// # Errors
    /// As [`LanguageModel::score_at`].
    pub async fn score(&self, ids: &[u32], on_window: &mut impl AsyncFnMut(usize) -> Result<()>) -> Result<Vec<f32>> {
        self.score_at(ids, None, on_window).await
    }

    /// Negative log-likelihood of each id after the first, in nats, the adapter's paths multiplied by `strength` (0 to
    /// 2; `None` is 1 where an adapter is attached).
    ///
    /// Texts longer than the context are read in windows of it that overlap by half, so that every token but those of
    /// the first window is scored with at least half a context before it. `on_window` is told the tokens scored so far,
    /// may wait for its events, and may stop the work with an error.
    ///
    /// # Errors
    /// `text-too-short` under two ids, `invalid-option` for an id outside the vocabulary or a strength out of its range
    /// or without an adapter, `device-lost`, and what `on_window` returns.
    pub async fn score_at(
        &self,
        ids: &[u32],
        strength: Option<f32>,
        on_window: &mut impl AsyncFnMut(usize) -> Result<()>,
    ) -> Result<Vec<f32>> {
        self.check_ids(ids)?;
        let mix = self.mix(strength.or(self.adapter.as_ref().map(|_| 1.0)), Mode::Scale)?;
        let adapter = self.voice(mix).adapter;
        #[cfg(feature = "gpu")]
        if let Backend::Fused(model) = &self.backend {
            model.set_mix(mix);
        }
        if ids.len() < 2 {
            let message = format!("text has {} tokens, scoring needs at least 2", ids.len());
            return Err(Error::new(ErrorKind::TextTooShort, message));
        }
        let mut nll = Vec::with_capacity(ids.len() - 1);
        let mut start = 0;
        loop {
            let end = (start + self.capacity).min(ids.len() - 1);
            let mut cache = Cache::default();
            let mut at = start;
            while at < end {
                let n = (end - at).min(CHUNK);
                let scored = self
                    .score_chunk(&mut cache, adapter.as_ref(), at - start, &ids[at..at + n], &ids[at + 1..at + n + 1])
                    .await?;
                let new = (at + n).saturating_sub(nll.len()).min(n);
                nll.extend_from_slice(&scored[n - new..]);
                at += n;
                on_window(nll.len()).await?;
            }
            if end == ids.len() - 1 {
                return Ok(nll);
            }
            start += self.capacity / 2;
        }
    }

    async fn score_chunk(
        &self,
        cache: &mut Cache,
        adapter: Option<&LowRank>,
        at: usize,
        ids: &[u32],
        targets: &[u32],
    ) -> Result<Vec<f32>> {
        match &self.backend {
            Backend::Plain(model) => {
                let hidden = model.forward(ids, 1, Some(cache), adapter);
                let log_p = log_likelihoods(model.logits(hidden));
                let targets: Vec<i32> = targets.iter().map(|&id| id as i32).collect();
                let targets = Tensor::from_data(TensorData::new(targets, [1, ids.len(), 1]), &model.device);
                let nll = log_p.gather(2, targets).neg();
                read_f32(nll.into_data_async().await)
            }
            #[cfg(feature = "gpu")]
            Backend::Fused(model) => {
                let _ = (cache, adapter);
                model.score(at, ids, targets).await
            }
        }
    }
}

/// Reads `ids` and draws the token after them on the plain path.
async fn plain_step(model: &Model, session: &mut Session, ids: &[u32]) -> Result<u32> {
    let (hidden, base) = plain_read(model, session, ids);
    let mut logits = last_logits(model, hidden).await?;
    if let (Mix::Contrast(strength), Some(base)) = (session.voice.mix, base) {
        let personal = logits;
        logits = last_logits(model, base).await?;
        contrast(&mut logits, &personal, strength);
    }
    session.options.sampling.draw(&mut logits, &session.seen, session.drawn as u32)
}

/// Reads `ids` into the text's cache, for a contrast into both; the hidden states, and those of the base.
fn plain_read(model: &Model, session: &mut Session, ids: &[u32]) -> (Tensor<3>, Option<Tensor<3>>) {
    let voice = &mut session.voice;
    let hidden = model.forward(ids, 1, Some(&mut session.cache), voice.adapter.as_ref());
    let two = matches!(voice.mix, Mix::Contrast(_));
    (hidden, two.then(|| model.forward(ids, 1, Some(&mut voice.base), None)))
}

/// Scores after the last of `hidden`.
async fn last_logits(model: &Model, hidden: Tensor<3>) -> Result<Vec<f32>> {
    let [_, seq, _] = hidden.dims();
    read_f32(model.logits(hidden.narrow(1, seq - 1, 1)).into_data_async().await)
}

/// The numbers of a tensor that was read from its device.
pub(crate) fn read_f32<E: std::error::Error + Send + Sync + 'static>(data: Result<TensorData, E>) -> Result<Vec<f32>> {
    let data = data.map_err(|e| Error::new(ErrorKind::DeviceLost, "the device gave no numbers back").with_source(e))?;
    data.try_into_vec().map_err(|e| Error::new(ErrorKind::Internal, format!("a tensor is not f32: {e:?}")))
}
