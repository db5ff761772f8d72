//! What to learn with: one dial and the length of the text give every number, and every number can be set.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use super::Update;
use crate::{
    adapter::{Kind, Shape},
    error::{Error, ErrorKind, Result},
};

/// The dial: how far to go towards the voice, and how long to wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// Half the passes of `Normal`.
    Light,
    /// The best hold-out loss or a little past it.
    #[default]
    Normal,
    /// Half as many passes again as `Normal`: more voice at some cost in loss.
    Deep,
}

impl Effort {
    /// All of them.
    pub const ALL: [Effort; 3] = [Effort::Light, Effort::Normal, Effort::Deep];

    /// The name in interfaces.
    pub fn name(self) -> &'static str {
        match self {
            Effort::Light => "light",
            Effort::Normal => "normal",
            Effort::Deep => "deep",
        }
    }
}

/// Every number of a run of learning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Width of every bottleneck.
    pub rank: usize,
    /// `alpha / rank` is the factor of the side path.
    pub alpha: f32,
    /// Which projections get a pair; the hub's names in JSON.
    #[serde(serialize_with = "names", deserialize_with = "kinds")]
    pub kinds: Vec<Kind>,
    /// Learning rate after the warm-up.
    pub rate: f32,
    /// Steps in which the rate climbs to it; never more than half of the run.
    pub warmup: u32,
    /// Share of the rate at which the cosine ends.
    pub floor: f32,
    /// How often the text is read.
    pub passes: f32,
    /// Longest window, in tokens.
    pub window: usize,
    /// Windows a step, whose gradients are accumulated.
    pub accumulation: usize,
    /// Gradients of a larger global norm are scaled down to it.
    pub clip: f32,
    /// Decay of AdamW's mean of gradients.
    pub beta1: f32,
    /// Decay of AdamW's mean of squared gradients.
    pub beta2: f32,
    /// Keeps AdamW's root from zero.
    pub eps: f32,
    /// Decoupled weight decay.
    pub decay: f32,
    /// Same seed, same texts, same device: same adapter.
    pub seed: u32,
    /// Passes between two measurements on the hold-out.
    pub interval: f32,
    /// Share of the best gain that the fullest state still holds.
    pub hold: f32,
    /// Learning ends when a larger share of what is written in previews is copied from the text.
    pub copying: f32,
}

impl Recipe {
    /// The recipe for a text of `tokens`, its hold-out left out.
    ///
    /// - `passes`: `2·(10,000 / tokens)^¼` within 1 to 3 on `Normal`, half of that (never under one) on `Light`, half as
    ///   much again on `Deep`. With 40 kB of prose, some 10,000 tokens, the hold-out loss is best after one pass to two,
    ///   and the voice grows to the third; shorter texts bear more passes, longer ones need fewer.
    /// - `window`: 256 tokens, or as many as leave a text at least eight windows a pass, since small steps learn more than
    ///   large ones; never under 64.
    /// - `warmup`: a tenth of the steps, at most 10.
    /// - The rest does not depend on the text: rank 8, alpha 16, all kinds, rate 5e-4, one window a step. Rates from 2e-4
    ///   to 1e-3 and ranks 8 and 16 come within 0.01 nats of each other at their best pass.
    pub fn derive(effort: Effort, tokens: usize) -> Self {
        let window = [256, 128].into_iter().find(|window| tokens >= 8 * window).unwrap_or(64);
        let normal = (2.0 * (1e4 / tokens.max(1) as f32).powf(0.25)).clamp(1.0, 3.0);
        let passes = match effort {
            Effort::Light => (normal / 2.0).max(1.0),
            Effort::Normal => normal,
            Effort::Deep => normal * 1.5,
        };
        // Whole quarters, so that the last measurement falls on the rhythm of the others.
        let passes = (passes * 4.0).round() / 4.0;
        let steps = passes * tokens as f32 / window as f32;
        let Shape { rank, alpha, kinds } = Shape::default();
        Self {
            rank,
            alpha,
            kinds,
            rate: 5e-4,
            warmup: (steps / 10.0).clamp(1.0, 10.0) as u32,
            floor: 0.1,
            passes,
            window,
            accumulation: 1,
            clip: 1.0,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            decay: 0.0,
            seed: 0,
            interval: 0.25,
            hold: 0.85,
            copying: 0.02,
        }
    }

    /// The recipe with the numbers of a JSON object in place of its own. Alpha follows the rank unless it is set too.
    ///
    /// # Errors
    /// `invalid-option` for a name that no number has, a value of another type or outside its range.
    pub fn with(&self, set: &serde_json::Map<String, Value>) -> Result<Self> {
        let refuse = |e| Error::new(ErrorKind::InvalidOption, format!("the recipe cannot be used: {e}"));
        let mut all = serde_json::to_value(self).map_err(refuse)?;
        if let Some(rank) = set.get("rank").and_then(Value::as_u64) {
            all["alpha"] = (2.0 * rank as f64).into();
        }
        for (name, value) in set {
            all[name] = value.clone();
        }
        let recipe: Self = serde_json::from_value(all).map_err(refuse)?;
        recipe.check()?;
        Ok(recipe)
    }

    /// Refuses numbers that nothing can be learned with.
    ///
    /// # Errors
    /// `invalid-option` with the range of the first number that lies outside of it.
    pub fn check(&self) -> Result<()> {
        let ranges = [
            ("rank", self.rank as f64, 1.0, 256.0),
            ("alpha", self.alpha.into(), 1e-3, 1e4),
            ("rate", self.rate.into(), 1e-7, 1.0),
            ("warmup", self.warmup.into(), 0.0, 1e6),
            ("floor", self.floor.into(), 0.0, 1.0),
            ("passes", self.passes.into(), 0.01, 1000.0),
            ("window", self.window as f64, 8.0, 8192.0),
            ("accumulation", self.accumulation as f64, 1.0, 1024.0),
            ("clip", self.clip.into(), 1e-6, 1e6),
            ("beta1", self.beta1.into(), 0.0, 0.999_999),
            ("beta2", self.beta2.into(), 0.0, 0.999_999),
            ("eps", self.eps.into(), 1e-12, 1e-2),
            ("decay", self.decay.into(), 0.0, 10.0),
            ("interval", self.interval.into(), 0.01, 1000.0),
            ("hold", self.hold.into(), 0.0, 1.0),
            ("copying", self.copying.into(), 0.0, 1.0),
        ];
        // f32 values a hair outside of an f64 border are meant to be on it.
        let outside = |&&(_, value, low, high): &&(&str, f64, f64, f64)| {
            !(low * (1.0 - 1e-6)..=high * (1.0 + 1e-6)).contains(&value)
        };
        if let Some((name, value, low, high)) = ranges.iter().find(outside) {
            let message = format!("{name} is {value}, it must lie between {low} and {high}");
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        if self.kinds.is_empty() {
            return Err(Error::new(ErrorKind::InvalidOption, "kinds is empty; name at least one, such as q_proj"));
        }
        Ok(())
    }

    /// What a fresh adapter looks like.
    pub fn shape(&self) -> Shape {
        Shape { rank: self.rank, alpha: self.alpha, kinds: self.kinds.clone() }
    }

    /// Steps of a run over `windows` windows.
    pub fn steps(&self, windows: usize) -> u32 {
        (f64::from(self.passes) * windows as f64 / self.accumulation as f64).ceil().max(1.0) as u32
    }

    /// The update of one of `steps` steps, the first being 0: warm-up, then a cosine down to the floor.
    pub fn update(&self, step: u32, steps: u32) -> Update {
        let warmup = self.warmup.min(steps / 2);
        let share = if step < warmup {
            (step + 1) as f32 / (warmup + 1) as f32
        } else {
            let done = (step - warmup) as f32 / (steps - warmup).max(1) as f32;
            self.floor + (1.0 - self.floor) * 0.5 * (1.0 + (std::f32::consts::PI * done).cos())
        };
        Update {
            rate: self.rate * share,
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.eps,
            weight_decay: self.decay,
            clip: Some(self.clip),
        }
    }
}

fn names<S: Serializer>(kinds: &[Kind], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(kinds.iter().map(|kind| kind.name()))
}

fn kinds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Kind>, D::Error> {
    let mut kinds = Vec::new();
    for name in Vec::<String>::deserialize(deserializer)? {
        let known = || Kind::ALL.map(Kind::name).join(", ");
        let kind = Kind::from_name(&name)
            .ok_or_else(|| de::Error::custom(format!("no projection is called {name}; known: {}", known())))?;
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shorter_texts_are_read_more_often_and_deeper_is_longer() {
        let passes = |effort, tokens| Recipe::derive(effort, tokens).passes;
        let table: Vec<[f32; 3]> =
            [500, 2_500, 10_000, 30_000, 500_000].map(|n| Effort::ALL.map(|effort| passes(effort, n))).to_vec();
        assert_eq!(table, [[1.5, 3.0, 4.5], [1.5, 2.75, 4.25], [1.0, 2.0, 3.0], [1.0, 1.5, 2.25], [1.0, 1.0, 1.5]]);
        assert_eq!([460, 1_100, 2_500].map(|n| Recipe::derive(Effort::Normal, n).window), [64, 128, 256]);
        for tokens in [1, 512, 1 << 20] {
            Effort::ALL.iter().for_each(|&effort| Recipe::derive(effort, tokens).check().unwrap());
        }
    }

    #[test]
    fn the_rate_climbs_to_its_peak_and_falls_to_its_floor() {
        let recipe = Recipe { warmup: 4, ..Recipe::derive(Effort::Normal, 10_000) };
        let rates: Vec<f32> = (0..100).map(|step| recipe.update(step, 100).rate / recipe.rate).collect();
        assert!(rates[..5].is_sorted() && rates[4..].is_sorted_by(|a, b| a > b), "{rates:?}");
        assert_eq!((rates[0], rates[4]), (0.2, 1.0));
        assert!((0.1..0.102).contains(&rates[99]), "{}", rates[99]);
        // A run of one step learns at the full rate.
        assert_eq!(recipe.update(0, 1).rate, recipe.rate);
    }

    #[test]
    fn every_number_can_be_set_and_alpha_follows_the_rank() {
        let set = |value: Value| Recipe::derive(Effort::Light, 9_000).with(value.as_object().unwrap());
        let recipe = set(json!({ "rank": 4, "kinds": ["q_proj", "v_proj"], "rate": 0.001 })).unwrap();
        assert_eq!((recipe.rank, recipe.alpha, recipe.kinds.len(), recipe.rate), (4, 8.0, 2, 1e-3));
        assert_eq!(set(json!({ "rank": 4, "alpha": 4 })).unwrap().alpha, 4.0);
        let again: Recipe = serde_json::from_str(&serde_json::to_string(&recipe).unwrap()).unwrap();
        assert_eq!(again, recipe);
        let refused = [
            (json!({ "rank": 0 }), "rank is 0"),
            (json!({ "rate": "fast" }), "fast"),
            (json!({ "depth": 3 }), "depth"),
            (json!({ "kinds": ["attn"] }), "q_proj"),
            (json!({ "kinds": [] }), "kinds is empty"),
            (json!({ "beta2": 1.0 }), "between 0 and"),
            (json!({ "window": 7 }), "between 8 and 8192"),
        ];
        for (value, words) in refused {
            let error = set(value).unwrap_err();
            assert!(error.kind() == ErrorKind::InvalidOption && error.to_string().contains(words), "{error}");
        }
    }
}
