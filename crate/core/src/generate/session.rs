//! One text being written.

use super::{
    Finish, Step, Stops, WriteOptions,
    guard::{Judged, Watch},
};
use crate::{
    processor::{Processor, Reading},
    sample::{Mix, Seen},
    tokenizer::DecodeStream,
};

/// One text being written. On the GPU a model holds one cache: a new session ends the one before.
pub struct Session {
    pub(super) options: WriteOptions,
    pub(super) prompt: Vec<u32>,
    pub(super) prefilled: usize,
    /// Tokens drawn.
    pub(super) drawn: usize,
    /// The token drawn last, which is not read yet.
    pub(super) last: u32,
    pub(super) voice: Voice,
    /// Changes of the model's adapter when the text began.
    pub(super) changes: usize,
    pub(super) seen: Seen,
    pub(super) stream: DecodeStream,
    pub(super) stops: Stops,
    pub(super) finished: bool,
    pub(super) guarded: Option<Guarded>,
    /// Tokens to draw a step on the GPU: more hide the wait for the readback, fewer show text sooner.
    pub batch: usize,
    /// Tokens of the prompt to read in the next step.
    pub chunk: usize,
}

/// What the processor writes from; on the GPU the model holds it.
pub(super) struct Voice {
    pub mix: Mix,
    /// What is read with the adapter, scaled for this text, where there is one.
    pub own: Reading,
    /// What a contrast has read without it.
    pub base: Option<Reading>,
}

impl Voice {
    /// Reads `ids`, for a contrast into both texts; the hidden states of each, one after the other.
    pub fn read(&mut self, processor: &Processor, ids: &[u32]) -> Vec<f32> {
        match &mut self.base {
            Some(base) => processor.read(ids, &mut [base, &mut self.own]),
            None => processor.read(ids, &mut [&mut self.own]),
        }
    }

    /// Reads `ids`: the scores after them, for a contrast the base's and the personal ones.
    pub fn scores(&mut self, processor: &Processor, ids: &[u32]) -> (Vec<f32>, Option<Vec<f32>>) {
        let hidden = self.read(processor, ids);
        let d_model = processor.model.config.d_model;
        let last: Vec<f32> = hidden
            .chunks_exact(ids.len() * d_model)
            .flat_map(|text| &text[(ids.len() - 1) * d_model..])
            .copied()
            .collect();
        let mut scores = processor.logits(&last);
        let personal = self.base.as_ref().map(|_| scores.split_off(processor.model.config.vocab));
        (scores, personal)
    }

    /// Forgets all but the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        self.own.truncate(len);
        if let Some(base) = &mut self.base {
            base.truncate(len);
        }
    }
}

/// What a text under guard needs besides, to go back.
pub(super) struct Guarded {
    pub watch: Watch,
    /// All that was drawn.
    ids: Vec<u32>,
    /// Whether the text has gone back, so that the next token must be drawn with what is banned there.
    pub back: bool,
}

impl Guarded {
    pub fn new(watch: Watch) -> Self {
        Self { watch, ids: Vec::new(), back: false }
    }
}

impl Session {
    /// Whether the text has just gone back.
    pub(super) fn is_back(&self) -> bool {
        self.guarded.as_ref().is_some_and(|guarded| guarded.back)
    }

    /// Takes a token that stands for `bytes` of text, or none, into the text; whether a stop string came.
    pub(super) fn push(&mut self, id: u32, bytes: Option<&[u8]>, step: &mut Step) -> bool {
        let Some(guarded) = &mut self.guarded else {
            step.ids.push(id);
            let Some(bytes) = bytes else { return false };
            let text = self.stream.push(bytes);
            return self.stops.show(&text, &mut step.text);
        };
        guarded.ids.push(id);
        let before = self.stream.clone();
        let text = bytes.map(|bytes| self.stream.push(bytes)).unwrap_or_default();
        let judged = guarded.watch.push(id, before, &text, self.stream.held());
        self.judged(judged, step)
    }

    /// Finishes the text, unless its last word is refused: then it goes on.
    pub(super) fn finish(&mut self, step: &mut Step) {
        let rest = self.stream.finish();
        let stopped = match &mut self.guarded {
            None => self.stops.show(&rest, &mut step.text),
            Some(guarded) => {
                let judged = guarded.watch.finish(&rest);
                self.judged(judged, step)
            }
        };
        if self.is_back() {
            step.finish = None;
            return;
        }
        self.finished = true;
        if stopped {
            step.finish = Some(Finish::Stop);
        } else {
            step.text.push_str(&self.stops.finish());
        }
    }

    /// Ends the text before its time; gives what was held back.
    pub(super) fn cut(&mut self) -> String {
        let rest = self.stream.finish();
        let rest = match &mut self.guarded {
            None => rest,
            Some(guarded) => guarded.watch.cut(&rest),
        };
        self.finished = true;
        let mut text = String::new();
        if !self.stops.show(&rest, &mut text) {
            text.push_str(&self.stops.finish());
        }
        text
    }

    fn judged(&mut self, judged: Judged, step: &mut Step) -> bool {
        match judged {
            Judged::Out { text, ids } => {
                step.ids.extend(ids);
                self.stops.show(&text, &mut step.text)
            }
            Judged::Back { drawn, stream } => {
                self.stream = stream;
                self.go_back(drawn);
                false
            }
        }
    }

    /// Goes back to where `drawn` tokens were drawn.
    fn go_back(&mut self, drawn: usize) {
        let Some(guarded) = &mut self.guarded else { return };
        guarded.back = true;
        guarded.ids.truncate(drawn);
        self.drawn = drawn;
        self.last = guarded.ids.last().or(self.prompt.last()).copied().unwrap_or_default();
        self.seen = self.seen.emptied();
        self.prompt.iter().chain(&guarded.ids).for_each(|&id| self.seen.insert(id));
    }
}
