//! How many tokens to draw at once.

/// A step shall last about this long: short enough that text flows and a cancel is felt at once.
const STEP_MS: f64 = 80.0;
/// Most tokens a step: what the GPU keeps of those it has drawn.
const MOST: usize = 32;

/// Finds the batch whose step lasts about 80 ms: waiting for the GPU costs the same for one token as for many.
#[derive(Debug)]
pub struct Pace {
    batch: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { batch: 1 }
    }
}

impl Pace {
    /// Tokens to draw in the next step: at first one.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Learns that a step drew `tokens` in `elapsed_ms`.
    pub fn note(&mut self, tokens: usize, elapsed_ms: f64) {
        if tokens == 0 {
            return;
        }
        let fitting = STEP_MS * tokens as f64 / elapsed_ms.max(0.1);
        // At most double, since the first steps of a kernel are not typical of it.
        self.batch = (fitting as usize).clamp(1, (self.batch * 2).min(MOST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The batch after steps on a device that takes `fixed_ms` a step and `token_ms` a token.
    fn settled(fixed_ms: f64, token_ms: f64) -> usize {
        let mut pace = Pace::default();
        for _ in 0..20 {
            let tokens = pace.batch();
            pace.note(tokens, fixed_ms + token_ms * tokens as f64);
        }
        pace.batch()
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
        pace.note(1, 1.0);
        assert_eq!(pace.batch(), 2);
        pace.note(2, 1.0);
        assert_eq!(pace.batch(), 4);
        pace.note(4, 2_000.0);
        assert_eq!(pace.batch(), 1);
    }

    #[test]
    fn a_step_without_tokens_teaches_nothing() {
        let mut pace = Pace::default();
        pace.note(0, 5_000.0);
        pace.note(1, 0.0);
        assert_eq!(pace.batch(), 2);
    }
}
