//! How many tokens to draw at once, and how many of a prompt to read.

use super::{CHUNK, Session, Step};

/// A step shall last about this long: short enough that text flows and a cancel is felt at once.
const STEP_MS: f64 = 80.0;
/// Most tokens a step: what the GPU keeps of those it has drawn.
const MOST: usize = 32;

/// Finds the steps that last about 80 ms: waiting for the GPU costs the same for one token as for many, and many tokens of a
/// prompt fill it better.
#[derive(Debug)]
pub struct Pace {
    /// Tokens to draw: at first one.
    batch: usize,
    /// Tokens of a prompt to read: at first 64, and never fewer.
    chunk: usize,
    /// How many tokens of the prompt were read before the step under way, or none where all were.
    before: Option<usize>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { batch: 1, chunk: CHUNK, before: None }
    }
}

impl Pace {
    /// Tells the text that is about to go on how far.
    pub fn set(&mut self, session: &mut Session) {
        (session.batch, session.chunk) = (self.batch, self.chunk);
        self.before = (session.prefilled < session.prompt.len()).then_some(session.prefilled);
    }

    /// Learns that the step since took `elapsed_ms`.
    pub fn note(&mut self, step: &Step, elapsed_ms: f64) {
        match self.before {
            Some(before) => self.note_read(step.prefilled - before, elapsed_ms),
            None => self.note_drawn(step.ids.len(), elapsed_ms),
        }
    }

    fn note_drawn(&mut self, tokens: usize, elapsed_ms: f64) {
        if tokens > 0 {
            // At most double, since the first steps of a kernel are not typical of it.
            self.batch = fitting(tokens, elapsed_ms).clamp(1, (self.batch * 2).min(MOST));
        }
    }

    fn note_read(&mut self, tokens: usize, elapsed_ms: f64) {
        // A prompt's last tokens tell nothing: few do not fill the device.
        if tokens >= CHUNK {
            self.chunk = (fitting(tokens, elapsed_ms) / CHUNK * CHUNK).clamp(CHUNK, 2 * self.chunk);
        }
    }
}

/// How many tokens fit a step.
fn fitting(tokens: usize, elapsed_ms: f64) -> usize {
    (STEP_MS * tokens as f64 / elapsed_ms.max(0.1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The batch after steps on a device that takes `fixed_ms` a step and `token_ms` a token.
    fn settled(fixed_ms: f64, token_ms: f64) -> usize {
        let mut pace = Pace::default();
        for _ in 0..20 {
            let tokens = pace.batch;
            pace.note_drawn(tokens, fixed_ms + token_ms * tokens as f64);
        }
        pace.batch
    }

    #[test]
    fn a_fast_device_draws_many_and_a_slow_one_draws_one() {
        assert_eq!(settled(2.0, 1.0), MOST);
        assert_eq!(settled(5.0, 300.0), 1);
        assert!((3..=4).contains(&settled(0.0, 20.0)));
    }

    #[test]
    fn one_slow_step_makes_the_next_short_and_growth_is_gradual() {
        let mut pace = Pace::default();
        pace.note_drawn(1, 1.0);
        assert_eq!(pace.batch, 2);
        pace.note_drawn(2, 1.0);
        assert_eq!(pace.batch, 4);
        pace.note_drawn(4, 2_000.0);
        assert_eq!(pace.batch, 1);
    }

    #[test]
    fn a_prompt_is_read_in_larger_pieces_where_they_are_quick_and_never_in_small_ones() {
        let mut pace = Pace::default();
        let mut read = |tokens_per_ms: f64, tokens: usize| {
            pace.note_read(tokens, tokens as f64 / tokens_per_ms);
            pace.chunk
        };
        assert_eq!([read(30.0, 64), read(30.0, 128), read(30.0, 256)], [128, 256, 512]);
        assert_eq!(read(3.0, 512), 192);
        assert_eq!(read(30.0, 5), 192, "a few tokens tell nothing");
        assert_eq!(read(0.03, 192), CHUNK);
    }

    #[test]
    fn a_step_without_tokens_teaches_nothing() {
        let mut pace = Pace::default();
        pace.note_drawn(0, 5_000.0);
        pace.note_drawn(1, 0.0);
        assert_eq!(pace.batch, 2);
    }
}
