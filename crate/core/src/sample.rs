//! Scores to a token: temperature, top-k, top-p, min-p, repetition penalty, seed.
//!
//! Each filter is a threshold on the scores after penalty and temperature, taken over the whole vocabulary; a token must
//! pass them all, so the order in which they are named does not matter. Among those left, the token with the highest
//! `score / temperature + Gumbel noise` is drawn, which is a draw from their softmax (Gumbel 1954; Maddison et al. 2014).
//! The noise of a token depends on seed, step and id alone: the GPU draws with the same numbers.

use crate::error::{Error, ErrorKind, Result};

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the scores; 0 always takes the likeliest token.
    pub temperature: f32,
    /// Only this many likeliest tokens compete; 0 is off.
    pub top_k: u32,
    /// Only the likeliest tokens that together hold this probability compete; 1 is off.
    pub top_p: f32,
    /// Only tokens with at least this share of the likeliest token's probability compete; 0 is off.
    pub min_p: f32,
    /// Divides the positive scores of tokens already in the text, multiplies their negative ones (Keskar et al. 2019); 1 is off.
    pub repetition_penalty: f32,
    /// Same seed, same device, same text.
    pub seed: u32,
}

/// Whose scores a text is written from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mix {
    /// The model's own, without an adapter.
    Base,
    /// The adapter's, its low-rank paths multiplied by this factor: 1 leaves them as they were learned.
    Scaled(f32),
    /// `base + s·(personal − base)` of two texts read side by side, s being this.
    Contrast(f32),
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.0, repetition_penalty: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Refuses values outside their range.
    ///
    /// # Errors
    /// `invalid-option` naming the option, the value and the range.
    pub fn check(&self) -> Result<()> {
        let ranges = [
            ("temperature", self.temperature, 0.0, 10.0),
            ("top-p", self.top_p, 0.0, 1.0),
            ("min-p", self.min_p, 0.0, 1.0),
            ("repetition penalty", self.repetition_penalty, 0.1, 10.0),
        ];
        for (name, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                let message = format!("{name} is {value}, it must lie between {low} and {high}");
                return Err(Error::new(ErrorKind::InvalidOption, message));
            }
        }
        Ok(())
    }

    /// Draws a token from `logits`, which the penalty changes in place. `seen` says which ids stand in the text.
    ///
    /// # Errors
    /// `internal` when no score is a number.
    pub fn draw(&self, logits: &mut [f32], seen: &Seen, step: u32) -> Result<u32> {
        if self.repetition_penalty != 1.0 {
            for (_, logit) in logits.iter_mut().enumerate().filter(|(id, _)| seen.contains(*id as u32)) {
                *logit = if *logit > 0.0 { *logit / self.repetition_penalty } else { *logit * self.repetition_penalty };
            }
        }
        let (best, top) = argmax(logits.iter().copied().enumerate())
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the model's scores are not numbers"))?;
        if self.temperature == 0.0 {
            return Ok(best as u32);
        }
        let threshold = self.threshold(logits, top);
        let inverse = 1.0 / self.temperature;
        let noisy = logits.iter().enumerate().filter(|(_, l)| **l >= threshold);
        let noisy = noisy.map(|(id, l)| (id, (l - top) * inverse + gumbel(self.seed, step, id as u32)));
        Ok(argmax(noisy).map_or(best, |(id, _)| id) as u32)
    }

    /// The lowest score that passes every filter.
    fn threshold(&self, logits: &[f32], top: f32) -> f32 {
        let mut threshold = f32::NEG_INFINITY;
        if self.min_p > 0.0 {
            threshold = top + self.temperature * self.min_p.ln();
        }
        let by_k = self.top_k > 0 && (self.top_k as usize) < logits.len();
        if !by_k && self.top_p >= 1.0 {
            return threshold;
        }
        let mut sorted: Vec<f32> = logits.iter().copied().filter(|l| !l.is_nan()).collect();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        if by_k {
            threshold = threshold.max(sorted[(self.top_k as usize).min(sorted.len()) - 1]);
        }
        if self.top_p < 1.0 {
            let mass = |l: f32| f64::from((l - top) / self.temperature).exp();
            let target = f64::from(self.top_p) * sorted.iter().map(|&l| mass(l)).sum::<f64>();
            let mut sum = 0.0;
            let last = sorted.iter().find(|&&l| {
                sum += mass(l);
                sum >= target
            });
            threshold = threshold.max(last.copied().unwrap_or(f32::NEG_INFINITY));
        }
        threshold
    }
}

/// Share of its best token's probability that a token must have under the personal model, to compete in a contrast
/// beyond 1.
pub const PLAUSIBLE: f32 = 0.1;
/// The score of a token that may not compete: far under any real one, and still finite times any penalty.
pub const EXCLUDED: f32 = -1e30;

/// Moves the scores of the base past the personal ones, or part of the way: `base + strength · (personal − base)`, in
/// place of the base's.
///
/// Beyond 1 the difference also grows where both models find a token absurd, so only tokens that the personal model
/// finds plausible compete there (Li et al. 2023).
///
/// # Panics
/// If there are not as many scores of each.
pub fn contrast(base: &mut [f32], personal: &[f32], strength: f32) {
    assert_eq!(base.len(), personal.len(), "both models score one vocabulary");
    let best = personal.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let least = if strength > 1.0 { best + PLAUSIBLE.ln() } else { f32::NEG_INFINITY };
    for (base, &personal) in base.iter_mut().zip(personal) {
        *base = if personal < least { EXCLUDED } else { *base + strength * (personal - *base) };
    }
}

/// The first largest of `scores`, or `None` where none is a number.
fn argmax(scores: impl Iterator<Item = (usize, f32)>) -> Option<(usize, f32)> {
    scores.fold(None, |best, (id, score)| match best {
        Some((_, top)) if score <= top || score.is_nan() => best,
        None if score.is_nan() => None,
        _ => Some((id, score)),
    })
}

/// Standard Gumbel noise, a pure function of its arguments.
pub fn gumbel(seed: u32, step: u32, id: u32) -> f32 {
    let hash = mix(id ^ mix(seed ^ mix(step.wrapping_add(0x9e37_79b9))));
    // In (0, 1), 24 bits; the complement is exact, so that the exponential stays accurate near zero.
    let away = ((hash >> 8) as f32 + 0.5) / 16_777_216.0;
    let exponential = if away < 0.1 {
        away * (1.0 + away * (1.0 / 2.0 + away * (1.0 / 3.0 + away * (1.0 / 4.0 + away * (1.0 / 5.0 + away / 6.0)))))
    } else {
        -(1.0 - away).ln()
    };
    -exponential.ln()
}

/// A bijection of 32 bits without visible pattern (Wellons 2018, `lowbias32`).
fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// The set of ids that stand in the text, a bit an id.
#[derive(Debug, Clone)]
pub struct Seen {
    words: Vec<u32>,
}

impl Seen {
    /// An empty set over `vocab` ids.
    pub fn new(vocab: usize) -> Self {
        Self { words: vec![0; vocab.div_ceil(32)] }
    }

    /// An empty set over as many ids.
    pub fn emptied(&self) -> Self {
        Self { words: vec![0; self.words.len()] }
    }

    /// Adds `id`.
    pub fn insert(&mut self, id: u32) {
        self.words[id as usize / 32] |= 1 << (id % 32);
    }

    /// Whether `id` is in the text.
    pub fn contains(&self, id: u32) -> bool {
        self.words[id as usize / 32] >> (id % 32) & 1 == 1
    }

    /// The bits, 32 ids a word, lowest first: as the GPU reads them.
    pub fn words(&self) -> &[u32] {
        &self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores() -> Vec<f32> {
        (0..500).map(|i| ((i * 7919 % 500) as f32) / 50.0).collect()
    }

    fn draws(sampling: Sampling, n: u32) -> Vec<u32> {
        (0..n).map(|step| sampling.draw(&mut scores(), &Seen::new(500), step).unwrap()).collect()
    }

    #[test]
    fn temperature_zero_takes_the_likeliest() {
        let best = scores().iter().position(|&s| s == 499.0 / 50.0).unwrap() as u32;
        assert!(draws(Sampling { temperature: 0.0, ..Default::default() }, 20).iter().all(|&id| id == best));
    }

    #[test]
    fn same_seed_same_draws_and_another_seed_others() {
        let of = |seed| draws(Sampling { seed, ..Default::default() }, 50);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn top_k_lets_only_k_compete() {
        let drawn = draws(Sampling { temperature: 10.0, top_k: 5, top_p: 1.0, ..Default::default() }, 500);
        let least = drawn.iter().map(|&id| scores()[id as usize]).fold(f32::INFINITY, f32::min);
        assert_eq!(least, 495.0 / 50.0);
    }

    #[test]
    fn min_p_cuts_the_tail() {
        let drawn = draws(Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.5, ..Default::default() }, 500);
        let least = drawn.iter().map(|&id| scores()[id as usize]).fold(f32::INFINITY, f32::min);
        assert!(least >= 499.0 / 50.0 + 0.5f32.ln(), "{least}");
    }

    #[test]
    fn beyond_1_only_what_the_personal_model_finds_plausible_competes() {
        let personal = [2.0, 1.0, -3.0, 2.0 + PLAUSIBLE.ln() + 0.01];
        let merged = |strength| {
            let mut scores = [1.0, 2.0, -9.0, 0.5];
            contrast(&mut scores, &personal, strength);
            scores
        };
        assert_eq!(merged(0.0), [1.0, 2.0, -9.0, 0.5]);
        assert_eq!(merged(0.5)[..3], [1.5, 1.5, -6.0]);
        let far = merged(2.0);
        assert_eq!(far[..3], [3.0, 0.0, EXCLUDED]);
        assert!(far[3] > EXCLUDED, "just plausible enough: {}", far[3]);
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.0f32, 1.0, 2.0, -1.0];
        let sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, ..Default::default() };
        let mut counts = [0u32; 4];
        let n = 40_000;
        for step in 0..n {
            counts[sampling.draw(&mut logits.clone(), &Seen::new(4), step).unwrap() as usize] += 1;
        }
        let total: f32 = logits.iter().map(|l| l.exp()).sum();
        for (count, logit) in counts.iter().zip(logits) {
            let (share, expected) = (*count as f32 / n as f32, logit.exp() / total);
            // Four standard errors of a share of 0.25 over 40,000 draws are 0.0087.
            assert!((share - expected).abs() < 0.009, "{share} against {expected}");
        }
    }

    #[test]
    fn top_p_keeps_the_token_that_crosses_the_line() {
        // Probabilities 0.665, 0.245, 0.090: 0.7 needs the second.
        let logits = [2.0f32, 1.0, 0.0];
        let sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 0.7, ..Default::default() };
        let drawn: std::collections::BTreeSet<_> =
            (0..200).map(|step| sampling.draw(&mut logits.clone(), &Seen::new(3), step).unwrap()).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn repetition_penalty_discourages_what_was_seen() {
        let mut seen = Seen::new(3);
        seen.insert(0);
        let sampling = Sampling { temperature: 0.0, repetition_penalty: 2.0, ..Default::default() };
        assert_eq!(sampling.draw(&mut [2.0, 1.5, -1.0], &seen, 0).unwrap(), 1);
    }

    #[test]
    fn scores_that_are_no_numbers_are_an_error() {
        let error = Sampling::default().draw(&mut [f32::NAN; 3], &Seen::new(3), 0).unwrap_err();
        assert_eq!(error.code(), "internal");
    }

    #[test]
    fn values_out_of_range_are_named() {
        let error = Sampling { temperature: -1.0, ..Default::default() }.check().unwrap_err();
        assert_eq!((error.code(), error.to_string().contains("temperature is -1")), ("invalid-option", true));
        assert!(Sampling { top_p: f32::NAN, ..Default::default() }.check().is_err());
    }
}
