//! Several adapters at once.

use std::ops::RangeInclusive;

use super::{Adapter, Kind, Pair};
use crate::{
    config::ModelConfig,
    error::{Error, ErrorKind, Result},
};

/// What a voice in a mix can weigh.
pub const WEIGHTS: RangeInclusive<f32> = 0.0..=2.0;
/// Most voices in a mix.
pub const MOST_VOICES: usize = 8;

/// Refuses weights that no mix has, before anything is read for it.
///
/// # Errors
/// `invalid-option` for no voice, more than [`MOST_VOICES`], a weight outside [`WEIGHTS`], or none above 0.
pub fn check_weights(weights: &[f32]) -> Result<()> {
    let refuse = |message: String| Err(Error::new(ErrorKind::InvalidOption, message));
    if weights.is_empty() || weights.len() > MOST_VOICES {
        return refuse(format!("{} adapters are to be mixed; name 1 to {MOST_VOICES}", weights.len()));
    }
    if let Some(weight) = weights.iter().find(|weight| !WEIGHTS.contains(*weight)) {
        let (least, most) = WEIGHTS.into_inner();
        return refuse(format!("an adapter weighs {weight} in the mix, it must lie between {least} and {most}"));
    }
    if weights.iter().all(|weight| *weight == 0.0) {
        return refuse("every adapter weighs 0 in the mix; give one a weight above 0, or name none".into());
    }
    Ok(())
}

impl Adapter {
    /// Several adapters of one model as one, each times its weight.
    ///
    /// `y += Σ weight · scale · (x·Aᵀ)·Bᵀ`: the As stand below one another, the Bs beside one another with weight and scale
    /// in them. That is the sum itself, whatever the voices' ranks, and no product `B·A` is formed; the rank is that of
    /// all together.
    ///
    /// # Errors
    /// As [`check_weights`]; as [`Adapter::check`] for a voice that does not fit `config` and `base`.
    pub fn mix(voices: &[(&Adapter, f32)], config: &ModelConfig, base: Option<&str>) -> Result<Adapter> {
        check_weights(&voices.iter().map(|(_, weight)| *weight).collect::<Vec<_>>())?;
        voices.iter().try_for_each(|(adapter, _)| adapter.check(config, base))?;
        let own = voices.iter().find_map(|(adapter, _)| adapter.base.clone());
        if let Some(own) = own.as_deref() {
            voices.iter().try_for_each(|(adapter, _)| adapter.check(config, Some(own)))?;
        }
        let mut mixed = Self::empty(own, config.n_layers);
        for (layer, kind) in (0..config.n_layers).flat_map(|layer| Kind::ALL.map(|kind| (layer, kind))) {
            let heard = voices.iter().filter(|(_, weight)| *weight != 0.0);
            let pairs: Vec<_> =
                heard.filter_map(|(adapter, weight)| Some((adapter.pair(layer, kind)?, *weight))).collect();
            mixed.set(layer, kind, sum(&pairs));
        }
        Ok(mixed)
    }
}

/// The pairs of one projection as one; none of none.
fn sum(pairs: &[(&Pair, f32)]) -> Option<Pair> {
    match pairs {
        [] => None,
        [(pair, weight)] => Some(Pair { scale: pair.scale * weight, ..(*pair).clone() }),
        pairs => {
            let rank = pairs.iter().map(|(pair, _)| pair.rank).sum();
            let d_out = pairs[0].0.b.len() / pairs[0].0.rank;
            let a = pairs.iter().flat_map(|(pair, _)| &pair.a).copied().collect();
            let row = |row: usize| {
                let parts = pairs
                    .iter()
                    .map(move |(pair, weight)| (&pair.b[row * pair.rank..][..pair.rank], pair.scale * weight));
                parts.flat_map(|(b, factor)| b.iter().map(move |b| b * factor))
            };
            Some(Pair { rank, scale: 1.0, a, b: (0..d_out).flat_map(row).collect() })
        }
    }
}
