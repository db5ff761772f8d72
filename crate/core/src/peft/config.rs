//! `adapter_config.json`: which ranks and factors the tensors go with, and what else they would need.

use std::{collections::BTreeMap, fmt};

use regex::RegexBuilder;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use crate::{
    adapter::{Adapter, Kind},
    config::ModelConfig,
    error::{Error, ErrorKind, Result},
};

use super::{corrupt, module};

/// Options that change what an adapter computes, or what else must be in place for it. Each is absent, null, false or
/// empty in a plain LoRA.
const EXTRAS: [&str; 12] = [
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
];

/// Ways to start A and B that leave the base model's own weights as they are. PEFT's others do not, so their pairs mean
/// nothing beside the unchanged base; PEFT can convert such an adapter when it saves it.
const HARMLESS_STARTS: [&str; 3] = ["gaussian", "orthogonal", "eva"];

/// Most memory one pattern may take to compile.
const PATTERN_BYTES: usize = 1 << 20;

#[derive(Serialize)]
struct Written<'a> {
    peft_type: &'a str,
    task_type: &'a str,
    base_model_name_or_path: &'a str,
    inference_mode: bool,
    r: usize,
    lora_alpha: Number,
    lora_dropout: f32,
    bias: &'a str,
    target_modules: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    rank_pattern: BTreeMap<String, usize>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    alpha_pattern: BTreeMap<String, Number>,
}

/// The text of the config for `adapter`.
///
/// # Panics
/// If the adapter has no pairs: `export` refuses it.
pub(super) fn write(adapter: &Adapter, config: &ModelConfig) -> String {
    let (_, _, first) = adapter.iter().next().expect("an adapter with pairs");
    // An f64 holds the product of a factor and a rank exactly, so the factor comes back as it was.
    let alpha_of = |rank: usize, scale: f32| rank as f64 * f64::from(scale);
    let (r, alpha) = (first.rank, alpha_of(first.rank, first.scale));
    let (mut rank_pattern, mut alpha_pattern) = (BTreeMap::new(), BTreeMap::new());
    for (layer, kind, pair) in adapter.iter() {
        if pair.rank != r {
            rank_pattern.insert(module(layer, kind), pair.rank);
        }
        let own = alpha_of(pair.rank, pair.scale);
        if own != alpha {
            alpha_pattern.insert(module(layer, kind), number(own));
        }
    }
    let written = Written {
        peft_type: "LORA",
        task_type: "CAUSAL_LM",
        base_model_name_or_path: &config.name,
        inference_mode: true,
        r,
        lora_alpha: number(alpha),
        lora_dropout: 0.0,
        bias: "none",
        target_modules: targets(adapter),
        rank_pattern,
        alpha_pattern,
    };
    serde_json::to_string_pretty(&written).expect("maps with text keys always become JSON") + "\n"
}

/// Names of the kinds where every block has them all, whole paths elsewhere.
fn targets(adapter: &Adapter) -> Vec<String> {
    let n_layers = adapter.n_layers();
    let blocks = |kind: Kind| (0..n_layers).filter(move |&layer| adapter.pair(layer, kind).is_some());
    let mut targets = Vec::new();
    for kind in Kind::ALL {
        if blocks(kind).count() == n_layers {
            targets.push(kind.name().to_owned());
        } else {
            targets.extend(blocks(kind).map(|layer| module(layer, kind)));
        }
    }
    targets
}

/// Whole numbers without a point: PEFT calls alpha an integer.
fn number(value: f64) -> Number {
    let whole = value as i64;
    if whole as f64 == value { whole.into() } else { Number::from_f64(value).expect("checked to be finite") }
}

/// What decides the factors of the pairs.
#[derive(Debug, Deserialize)]
pub(super) struct Read {
    peft_type: String,
    #[serde(default = "eight")]
    r: usize,
    #[serde(default = "eight")]
    lora_alpha: f64,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    use_rslora: Option<bool>,
    #[serde(default)]
    init_lora_weights: Value,
    #[serde(default)]
    rank_pattern: Patterns<usize>,
    #[serde(default)]
    alpha_pattern: Patterns<f64>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// PEFT's default of both `r` and `lora_alpha`.
fn eight<T: From<u8>>() -> T {
    8.into()
}

/// Reads a config and refuses what is no plain LoRA.
///
/// # Errors
/// `adapter-corrupt` for what is no config; `adapter-unsupported`, naming the option, for other adapters.
pub(super) fn read(json: &[u8]) -> Result<Read> {
    let read: Read = serde_json::from_slice(json)
        .map_err(|e| corrupt(format!("adapter_config.json cannot be read ({e})")).with_source(e))?;
    let unsupported = |what: String| {
        let message = format!("{what} is not what Imprint knows; export the adapter as a plain LoRA");
        Err(Error::new(ErrorKind::AdapterUnsupported, message))
    };
    if read.peft_type != "LORA" {
        return unsupported(format!("peft_type {:?}", read.peft_type));
    }
    if let Some(bias) = read.bias.as_deref().filter(|&bias| bias != "none") {
        return unsupported(format!("bias {bias:?}"));
    }
    let starts = |start: &str| HARMLESS_STARTS.contains(&start);
    if read.init_lora_weights.as_str().is_some_and(|start| !starts(start)) {
        return unsupported(format!("init_lora_weights {}", read.init_lora_weights));
    }
    let plain = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        _ => false,
    };
    if let Some(name) = EXTRAS.into_iter().find(|&name| read.rest.get(name).is_some_and(|value| !plain(value))) {
        return unsupported(name.to_owned());
    }
    Ok(read)
}

impl Read {
    /// Gives each pair the factor that PEFT would; `paths` are those of the projections as the file names them.
    ///
    /// # Errors
    /// `adapter-corrupt` where a tensor is not of the rank the config says, or for a pattern that is none.
    pub(super) fn set_scales(&self, adapter: &mut Adapter, paths: &BTreeMap<(usize, Kind), String>) -> Result<()> {
        let mut pairs: Vec<_> = adapter.iter().map(|(layer, kind, pair)| (layer, kind, pair.clone())).collect();
        let modules: Vec<&str> = pairs.iter().map(|(layer, kind, _)| paths[&(*layer, *kind)].as_str()).collect();
        let ranks = self.rank_pattern.resolve(&modules, self.r)?;
        let alphas = self.alpha_pattern.resolve(&modules, self.lora_alpha)?;
        for (i, (layer, kind, mut pair)) in pairs.drain(..).enumerate() {
            if pair.rank != ranks[i] {
                let (module, rank, said) = (&modules[i], pair.rank, ranks[i]);
                return Err(corrupt(format!("{module} is of rank {rank}, the config says {said}; the files differ")));
            }
            let rank = pair.rank as f64;
            let divisor = if self.use_rslora == Some(true) { rank.sqrt() } else { rank };
            pair.scale = (alphas[i] / divisor) as f32;
            adapter.set(layer, kind, Some(pair));
        }
        Ok(())
    }
}

/// Values by regular expression over the end of a module's path, in the file's order: the first that fits counts.
#[derive(Debug)]
struct Patterns<T>(Vec<(String, T)>);

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Patterns<T> {
    fn resolve(&self, modules: &[&str], default: T) -> Result<Vec<T>> {
        let mut values = vec![None; modules.len()];
        for (pattern, value) in &self.0 {
            let regex = RegexBuilder::new(&format!(r"^(?:.*\.)?(?:{pattern})$"))
                .size_limit(PATTERN_BYTES)
                .dfa_size_limit(PATTERN_BYTES)
                .build()
                .map_err(|e| corrupt(format!("{pattern:?} is no pattern of module names")).with_source(e))?;
            for (module, found) in modules.iter().zip(&mut values) {
                if found.is_none() && regex.is_match(module) {
                    *found = Some(*value);
                }
            }
        }
        Ok(values.into_iter().map(|value| value.unwrap_or(default)).collect())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patterns<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Patterns<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a map of patterns")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Patterns::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(Patterns(all))
            }
        }

        deserializer.deserialize_any(InOrder(std::marker::PhantomData))
    }
}
