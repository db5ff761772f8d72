//! A low-rank adapter (LoRA, Hu et al. 2021) as plain numbers: what is learned, kept, exported and attached.

mod mix;

pub use mix::{MOST_VOICES, WEIGHTS, check_weights};

use crate::{
    config::ModelConfig,
    error::{Error, ErrorKind, Result},
};

/// The linear layers of a block, in the order in which their pairs stand in an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Query projection.
    Q,
    /// Key projection.
    K,
    /// Value projection.
    V,
    /// Output projection of attention.
    O,
    /// Gate of the feed-forward layer.
    Gate,
    /// Up projection of the feed-forward layer.
    Up,
    /// Down projection of the feed-forward layer.
    Down,
}

impl Kind {
    /// All kinds, in order.
    pub const ALL: [Kind; 7] = [Kind::Q, Kind::K, Kind::V, Kind::O, Kind::Gate, Kind::Up, Kind::Down];

    /// The hub's name of the projection.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Q => "q_proj",
            Kind::K => "k_proj",
            Kind::V => "v_proj",
            Kind::O => "o_proj",
            Kind::Gate => "gate_proj",
            Kind::Up => "up_proj",
            Kind::Down => "down_proj",
        }
    }

    /// The projection the hub calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Width of what goes in and of what comes out: `(d_in, d_out)`.
    pub fn dims(self, config: &ModelConfig) -> (usize, usize) {
        let (d_model, d_ff, d_query, d_kv) = (config.d_model, config.d_ff, config.d_query(), config.d_kv());
        match self {
            Kind::Q => (d_model, d_query),
            Kind::K | Kind::V => (d_model, d_kv),
            Kind::O => (d_query, d_model),
            Kind::Gate | Kind::Up => (d_model, d_ff),
            Kind::Down => (d_ff, d_model),
        }
    }
}

/// The side path of one projection: `y += scale · (x·Aᵀ)·Bᵀ`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Width of the bottleneck.
    pub rank: usize,
    /// Factor of the path: `alpha / rank` as a rule.
    pub scale: f32,
    /// `[rank, d_in]`, row-major.
    pub a: Vec<f32>,
    /// `[d_out, rank]`, row-major; rows of q and k in the order in which they turn: neighbours together, whatever the model file has.
    pub b: Vec<f32>,
}

/// Low-rank pairs for some or all projections of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// Fingerprint of the model it was learned on: the sha256 of its file in hexadecimal, where known.
    pub base: Option<String>,
    /// `7 · layer + kind`.
    pairs: Vec<Option<Pair>>,
}

/// What a fresh adapter looks like.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Width of every bottleneck.
    pub rank: usize,
    /// `alpha / rank` is the factor of the path.
    pub alpha: f32,
    /// Which projections get a pair.
    pub kinds: Vec<Kind>,
}

impl Default for Shape {
    fn default() -> Self {
        Self { rank: 8, alpha: 16.0, kinds: Kind::ALL.to_vec() }
    }
}

impl Adapter {
    /// An adapter without pairs for a model of `n_layers` blocks.
    pub fn empty(base: Option<String>, n_layers: usize) -> Self {
        Self { base, pairs: vec![None; n_layers * Kind::ALL.len()] }
    }

    /// An adapter that changes nothing yet: B is zero, A uniform in `±1/√d_in`.
    ///
    /// The random numbers come from the place of each element, so the same seed gives the same adapter everywhere.
    ///
    /// # Errors
    /// `invalid-option` for a rank of 0 or over the smallest width, or no kinds.
    pub fn fresh(base: Option<String>, config: &ModelConfig, shape: &Shape, seed: u64) -> Result<Self> {
        let widest = config.d_kv().min(config.d_model).min(config.d_ff);
        if shape.rank == 0 || shape.rank > widest || !shape.alpha.is_finite() {
            let message = format!(
                "rank {} with alpha {} is impossible here; take a rank from 1 to {widest}",
                shape.rank, shape.alpha
            );
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        if shape.kinds.is_empty() {
            return Err(Error::new(ErrorKind::InvalidOption, "no projections to adapt are named; name at least one"));
        }
        let mut adapter = Self::empty(base, config.n_layers);
        for layer in 0..config.n_layers {
            for &kind in &shape.kinds {
                let (d_in, d_out) = kind.dims(config);
                let tensor = (layer * Kind::ALL.len() + kind as usize) as u64;
                let a = (0..(shape.rank * d_in) as u64).map(|e| uniform(seed, (tensor << 32) + e, d_in)).collect();
                let (rank, scale) = (shape.rank, shape.alpha / shape.rank as f32);
                adapter.set(layer, kind, Some(Pair { rank, scale, a, b: vec![0.0; d_out * shape.rank] }));
            }
        }
        Ok(adapter)
    }

    /// Blocks of the model it fits.
    pub fn n_layers(&self) -> usize {
        self.pairs.len() / Kind::ALL.len()
    }

    /// The pair of a projection, where it has one.
    ///
    /// # Panics
    /// If `layer` is past the last block.
    pub fn pair(&self, layer: usize, kind: Kind) -> Option<&Pair> {
        self.pairs[layer * Kind::ALL.len() + kind as usize].as_ref()
    }

    /// Puts or removes the pair of a projection.
    ///
    /// # Panics
    /// If `layer` is past the last block.
    pub fn set(&mut self, layer: usize, kind: Kind, pair: Option<Pair>) {
        self.pairs[layer * Kind::ALL.len() + kind as usize] = pair;
    }

    /// Pairs with their places, in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Kind, &Pair)> {
        let kinds = Kind::ALL.len();
        (0..).zip(&self.pairs).filter_map(move |(i, pair)| Some((i / kinds, Kind::ALL[i % kinds], pair.as_ref()?)))
    }

    /// Numbers in it.
    pub fn n_parameters(&self) -> usize {
        self.iter().map(|(_, _, pair)| pair.a.len() + pair.b.len()).sum()
    }

    /// Widest bottleneck; 0 without pairs.
    pub fn max_rank(&self) -> usize {
        self.iter().map(|(_, _, pair)| pair.rank).max().unwrap_or(0)
    }

    /// All numbers in a row: pair after pair, A before B.
    pub fn parameters(&self) -> Vec<f32> {
        self.iter().flat_map(|(_, _, pair)| pair.a.iter().chain(&pair.b).copied()).collect()
    }

    /// Replaces all numbers, in the order of [`Adapter::parameters`].
    ///
    /// # Panics
    /// If there are not as many as [`Adapter::n_parameters`].
    pub fn set_parameters(&mut self, values: &[f32]) {
        assert_eq!(values.len(), self.n_parameters(), "an adapter keeps its size");
        let mut rest = values;
        for pair in self.pairs.iter_mut().flatten() {
            for part in [&mut pair.a, &mut pair.b] {
                let (now, later) = rest.split_at(part.len());
                part.copy_from_slice(now);
                rest = later;
            }
        }
    }

    /// Refuses an adapter that does not belong to a model.
    ///
    /// # Errors
    /// `adapter-wrong-base` when fingerprints differ or a pair does not fit its projection, `adapter-corrupt` when a
    /// number is not finite.
    pub fn check(&self, config: &ModelConfig, base: Option<&str>) -> Result<()> {
        let wrong = |what: String| {
            let message = format!("{what}; open the model it was learned on, or learn again on this one");
            Err(Error::new(ErrorKind::AdapterWrongBase, message))
        };
        if let (Some(own), Some(base)) = (self.base.as_deref(), base)
            && own != base
        {
            let start = |hash: &str| hash.chars().take(12).collect::<String>();
            return wrong(format!("this adapter was learned on model {}, the open one is {}", start(own), start(base)));
        }
        if self.n_layers() != config.n_layers {
            return wrong(format!("this adapter has {} blocks, the model {}", self.n_layers(), config.n_layers));
        }
        for (layer, kind, pair) in self.iter() {
            let (d_in, d_out) = kind.dims(config);
            if pair.rank == 0 || pair.a.len() != pair.rank * d_in || pair.b.len() != pair.rank * d_out {
                return wrong(format!("the pair of {} in block {layer} does not fit the model", kind.name()));
            }
            let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
            if !pair.scale.is_finite() || !finite(&pair.a) || !finite(&pair.b) {
                let message = format!("{} in block {layer} holds what is not a number; import it again", kind.name());
                return Err(Error::new(ErrorKind::AdapterCorrupt, message));
            }
        }
        Ok(())
    }
}

/// The rank of a pair whose halves, in the file of somebody else, have these shapes: rows and columns.
///
/// # Errors
/// `adapter-corrupt` for halves that make no pair, `adapter-wrong-base` for a pair that does not fit the model's `kind`.
pub(crate) fn fit(name: &str, kind: Kind, config: &ModelConfig, a: &[usize], b: &[usize]) -> Result<usize> {
    let corrupt = |message: String| Err(Error::new(ErrorKind::AdapterCorrupt, message));
    let (&[rank, a_in], &[b_out, b_rank]) = (a, b) else {
        return corrupt(format!("{name} holds {a:?} and {b:?}, which are no matrices"));
    };
    if rank != b_rank || rank == 0 {
        return corrupt(format!("{name} is of rank {rank} in one half and {b_rank} in the other"));
    }
    let (d_in, d_out) = kind.dims(config);
    if (a_in, b_out) == (d_in, d_out) {
        return Ok(rank);
    }
    let what = format!("{name} maps {a_in} to {b_out}, in this model it maps {d_in} to {d_out}");
    Err(Error::new(ErrorKind::AdapterWrongBase, format!("{what}; open the model the adapter was made for")))
}

/// A number in `±1/√d_in` that depends on nothing but `seed` and `place`: one step of splitmix64 (Steele et al. 2014).
fn uniform(seed: u64, place: u64, d_in: usize) -> f32 {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut z = place.wrapping_add(seed.wrapping_mul(0xD134_2543_DE82_EF95)).wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    let u = (z >> 40) as f64 / f64::from(1u32 << 24);
    ((2.0 * u - 1.0) / (d_in as f64).sqrt()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plain_config;

    fn config() -> ModelConfig {
        ModelConfig {
            architecture: "llama".into(),
            name: "small".into(),
            d_model: 576,
            d_ff: 1536,
            n_layers: 30,
            n_heads: 9,
            n_kv_heads: 3,
            d_head: 64,
            vocab: 100,
            context: 64,
            ..plain_config()
        }
    }

    #[test]
    fn fresh_adapter_has_the_golden_numbers() {
        let adapter = Adapter::fresh(None, &config(), &Shape::default(), 0).unwrap();
        let starts = [
            (0, Kind::Q, [0.031942565, 0.0055467933, 0.00759914]),
            (0, Kind::K, [0.022191813, -0.031164085, 0.016744265]),
            (29, Kind::Down, [-0.004022226, 0.01070763, 0.02242448]),
        ];
        for (layer, kind, expected) in starts {
            let found = &adapter.pair(layer, kind).unwrap().a[..3];
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{layer} {kind:?}: {found} is not {expected}");
            }
        }
        assert!(adapter.iter().all(|(_, _, pair)| pair.b.iter().all(|&b| b == 0.0)));
        assert_eq!(adapter.n_parameters(), 2_442_240);
    }

    #[test]
    fn parameters_come_back_where_they_were() {
        let shape = Shape { rank: 2, alpha: 4.0, kinds: vec![Kind::K, Kind::Down] };
        let adapter = Adapter::fresh(None, &config(), &shape, 7).unwrap();
        let mut other = Adapter::fresh(None, &config(), &shape, 8).unwrap();
        assert_ne!(adapter, other);
        other.set_parameters(&adapter.parameters());
        assert_eq!(adapter, other);
    }

    #[test]
    fn wrong_base_is_refused() {
        let config = config();
        let adapter = Adapter::fresh(Some("a".into()), &config, &Shape::default(), 0).unwrap();
        adapter.check(&config, Some("a")).unwrap();
        adapter.check(&config, None).unwrap();
        let kind = |base: &str, config: &ModelConfig| adapter.check(config, Some(base)).unwrap_err().kind();
        assert_eq!(kind("b", &config), ErrorKind::AdapterWrongBase);
        assert_eq!(kind("a", &ModelConfig { n_layers: 29, ..config.clone() }), ErrorKind::AdapterWrongBase);
        assert_eq!(kind("a", &ModelConfig { d_ff: 1024, ..config.clone() }), ErrorKind::AdapterWrongBase);
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        let config = config();
        let mut adapter = Adapter::fresh(None, &config, &Shape::default(), 0).unwrap();
        let mut pair = adapter.pair(3, Kind::V).unwrap().clone();
        pair.b[5] = f32::NAN;
        adapter.set(3, Kind::V, Some(pair));
        assert_eq!(adapter.check(&config, None).unwrap_err().kind(), ErrorKind::AdapterCorrupt);
    }
}
