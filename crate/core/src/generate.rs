//! Writing and scoring: a prompt in, pieces of text out, one step at a time.
//!
//! Whoever owns the loop owns pause, cancel and progress; a step returns within one chunk of prompt or one batch of tokens.

use burn::tensor::{Tensor, TensorData, activation};

#[cfg(feature = "gpu")]
use crate::fused::FusedModel;
use crate::{
    error::{Error, ErrorKind, Result},
    model::{Cache, Model},
    sample::{Mix, Sampling, Seen},
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
    /// Whether the prompt is a message to answer, laid out by the model's chat template, rather than text to continue.
    pub chat: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { sampling: Sampling::default(), max_tokens: 256, stop: Vec::new(), chat: false }
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
    seen: Seen,
    stream: DecodeStream,
    stops: Stops,
    finished: bool,
    /// Tokens to draw a step on the GPU: more hide the wait for the readback, fewer show text sooner.
    pub batch: usize,
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
    /// `context-full`, or `invalid-option` for an id outside the vocabulary.
    pub fn begin_ids(&self, prompt: Vec<u32>, options: WriteOptions) -> Result<Session> {
        self.check_ids(&prompt)?;
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
            model.start(&options.sampling, &seen, Mix::Base);
        }
        let stops = Stops::new(options.stop.clone());
        Ok(Session {
            options,
            prompt,
            prefilled: 0,
            drawn: 0,
            last: 0,
            cache: Cache::default(),
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
        let ids = &session.prompt[from..from + n];
        match &self.backend {
            Backend::Plain(model) => {
                model.forward(ids, 1, Some(&mut session.cache), None);
                Ok(())
            }
            #[cfg(feature = "gpu")]
            Backend::Fused(model) => model.read(from, ids).await,
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

    /// Negative log-likelihood of each id after the first, in nats.
    ///
    /// Texts longer than the context are read in windows of it that overlap by half, so that every token but those of
    /// the first window is scored with at least half a context before it. `on_window` is told the tokens scored so far,
    /// may wait for its events, and may stop the work with an error.
    ///
    /// # Errors
    /// `text-too-short` under two ids, `invalid-option` for an id outside the vocabulary, `device-lost`, and what
    /// `on_window` returns.
    pub async fn score(&self, ids: &[u32], on_window: &mut impl AsyncFnMut(usize) -> Result<()>) -> Result<Vec<f32>> {
        self.check_ids(ids)?;
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
                let scored =
                    self.score_chunk(&mut cache, at - start, &ids[at..at + n], &ids[at + 1..at + n + 1]).await?;
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

    async fn score_chunk(&self, cache: &mut Cache, at: usize, ids: &[u32], targets: &[u32]) -> Result<Vec<f32>> {
        match &self.backend {
            Backend::Plain(model) => {
                let hidden = model.forward(ids, 1, Some(cache), None);
                let log_p = activation::log_softmax(model.logits(hidden), 2);
                let targets: Vec<i32> = targets.iter().map(|&id| id as i32).collect();
                let targets = Tensor::from_data(TensorData::new(targets, [1, ids.len(), 1]), &model.device);
                let nll = log_p.gather(2, targets).neg();
                read_f32(nll.into_data_async().await)
            }
            #[cfg(feature = "gpu")]
            Backend::Fused(model) => {
                let _ = cache;
                model.score(at, ids, targets).await
            }
        }
    }
}

/// Reads `ids` and draws the token after them on the plain path.
async fn plain_step(model: &Model, session: &mut Session, ids: &[u32]) -> Result<u32> {
    let hidden = model.forward(ids, 1, Some(&mut session.cache), None);
    let [_, seq, _] = hidden.dims();
    let logits = model.logits(hidden.narrow(1, seq - 1, 1));
    let mut logits = read_f32(logits.into_data_async().await)?;
    session.options.sampling.draw(&mut logits, &session.seen, session.drawn as u32)
}

/// The numbers of a tensor that was read from its device.
pub(crate) fn read_f32<E: std::error::Error + Send + Sync + 'static>(data: Result<TensorData, E>) -> Result<Vec<f32>> {
    let data = data.map_err(|e| Error::new(ErrorKind::DeviceLost, "the device gave no numbers back").with_source(e))?;
    data.try_into_vec().map_err(|e| Error::new(ErrorKind::Internal, format!("a tensor is not f32: {e:?}")))
}

/// Watches a stream of text for stop strings, holding back what may become one.
struct Stops {
    stops: Vec<String>,
    held: String,
}

impl Stops {
    fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// What may be shown now, and whether a stop string came.
    fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let shown = self.held.len() - keep;
        let rest = self.held.split_off(shown);
        (std::mem::replace(&mut self.held, rest), false)
    }

    fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length of the longest end of `text` with which `stop` begins.
fn overlap(text: &str, stop: &str) -> usize {
    let ends = stop.char_indices().map(|(i, _)| i).rev();
    ends.filter(|&n| n <= text.len() && text.is_char_boundary(text.len() - n))
        .find(|&n| text.ends_with(&stop[..n]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_string_across_pieces_is_never_shown() {
        let mut stops = Stops::new(vec!["END".into(), "\n\n".into()]);
        let pieces = ["one E", "N", "or two\n", "EN", "D three"];
        let mut shown = String::new();
        let mut stopped = false;
        for piece in pieces {
            let (text, stop) = stops.push(piece);
            shown.push_str(&text);
            stopped |= stop;
        }
        assert_eq!((shown.as_str(), stopped), ("one ENor two\n", true));
    }

    #[test]
    fn text_held_back_for_a_stop_string_comes_in_the_end() {
        let mut stops = Stops::new(vec!["é!".into()]);
        let (text, stopped) = stops.push("café");
        assert_eq!((text.as_str(), stopped), ("caf", false));
        assert_eq!(stops.finish(), "é");
    }
}
