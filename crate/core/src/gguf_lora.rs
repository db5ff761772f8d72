//! Adapters in llama.cpp's layout: one GGUF file of the type `adapter`.
//!
//! A pair is two tensors, `blk.N.attn_q.weight.lora_a` of `rank` rows and `….lora_b` of `d_out` rows, and one alpha serves
//! all pairs: llama.cpp multiplies a path by `alpha / rank`, by 1 where alpha is absent or 0. Rows stand in the order of
//! the model file: of llama files as ours do, of all others the rows of queries and keys change places on the way, as
//! they do in the hub's layout.
//!
//! What llama.cpp has no place for stands under keys of our own, which it passes by: the fingerprint of the base model,
//! notes, and the prints of the text.
//!
//! Source of the format: `llama-adapter.cpp` and `convert_lora_to_gguf.py` of the llama.cpp project.

use std::collections::BTreeMap;

use crate::{
    adapter::{Adapter, Kind, Pair, fit},
    config::{ModelConfig, RopeStyle},
    error::{Error, ErrorKind, Result},
    gguf::{Gguf, GgufWriter, Source, TensorInfo, Value},
    peft::{BASE, NOTE, from_hub, to_hub},
    quant::{BlockType, dequantise},
};

/// Key of the prints: words of 32 bits, the first of which says how many bytes follow.
const PRINTS: &str = "imprint.prints";
const ALPHA: &str = "adapter.lora.alpha";
/// Key of tokens after which alone an adapter is to speak (aLoRA).
const INVOCATION: &str = "adapter.alora.invocation_tokens";

/// What travels beside the numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beside {
    /// Whatever is worth keeping: a name, a date.
    pub notes: BTreeMap<String, String>,
    /// The bytes of [`crate::voice`]'s prints of the text that the adapter was learned from.
    pub prints: Option<Vec<u8>>,
}

/// Whether a file begins as GGUF files do.
pub fn is_gguf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"GGUF")
}

/// Writes an adapter for llama.cpp, in f32; the same adapter gives the same bytes.
///
/// Where factors differ from pair to pair, or are no `alpha / rank`, what one alpha does not say is multiplied into B.
///
/// # Errors
/// `invalid-option` for an adapter without pairs; what [`Adapter::check`] gives for one that does not fit `config`, or whose
/// factors are too far apart for f32.
pub fn export(adapter: &Adapter, config: &ModelConfig, beside: &Beside) -> Result<Vec<u8>> {
    adapter.check(config, None)?;
    if adapter.max_rank() == 0 {
        return Err(Error::new(ErrorKind::InvalidOption, "this adapter is empty; learn one before exporting it"));
    }
    let (leveled, alpha) = leveled(adapter);
    leveled.check(config, None)?;
    let mut writer = GgufWriter::new()
        .meta_str("general.type", "adapter")
        .meta_str("general.architecture", &config.architecture)
        .meta_str("adapter.type", "lora")
        .meta_f32(ALPHA, alpha);
    if let Some(base) = &adapter.base {
        writer = writer.meta_str(BASE, base);
    }
    for (key, note) in &beside.notes {
        writer = writer.meta_str(&format!("{NOTE}{key}"), note);
    }
    if let Some(prints) = &beside.prints {
        writer = writer.meta_i32s(PRINTS, &words(prints));
    }
    for (layer, kind, pair) in leveled.iter() {
        let (d_in, d_out) = kind.dims(config);
        let name = module(layer, kind);
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let b = if as_on_hub(config) { to_hub(&pair.b, pair.rank, kind, config) } else { pair.b.clone() };
        let (a, b, rank) = (bytes(&pair.a), bytes(&b), pair.rank as u64);
        writer = writer.tensor(&format!("{name}.lora_a"), &[d_in as u64, rank], BlockType::F32, a).tensor(
            &format!("{name}.lora_b"),
            &[rank, d_out as u64],
            BlockType::F32,
            b,
        );
    }
    Ok(writer.finish())
}

/// Reads an adapter that llama.cpp's converter, or [`export`], wrote, and what travels beside it.
///
/// Pairs of any rank, for any part of the projections, in every format that models come in.
///
/// # Errors
/// `adapter-corrupt` for damaged files; `adapter-unsupported` for a file that is no plain LoRA or adapts what Imprint does
/// not, by name; `adapter-wrong-base` for one of another architecture or of other shapes than `config`; whatever `source`
/// reports.
pub async fn import(source: &impl Source, config: &ModelConfig) -> Result<(Adapter, Beside)> {
    let gguf = Gguf::read(source).await.map_err(of_adapter)?;
    check_type(&gguf, config)?;
    check_names(&gguf, config)?;
    let alpha = match gguf.value(ALPHA) {
        None => 0.0,
        Some(Value::Float(alpha)) => *alpha as f32,
        Some(other) => return Err(corrupt(format!("{ALPHA} is {}, not a number", brief(other)))),
    };
    let mut adapter = Adapter::empty(gguf.str(BASE).map(str::to_owned), config.n_layers);
    for (layer, kind) in (0..config.n_layers).flat_map(|layer| Kind::ALL.map(|kind| (layer, kind))) {
        let name = module(layer, kind);
        let (a, b) = (gguf.tensor(&format!("{name}.lora_a")), gguf.tensor(&format!("{name}.lora_b")));
        let (a, b) = match (a, b) {
            (Some(a), Some(b)) => (a, b),
            (None, None) => continue,
            _ => return Err(corrupt(format!("{name} has one half of its pair only"))),
        };
        let rank = fit(&name, kind, config, &shape(a), &shape(b))?;
        let scale = if alpha == 0.0 { 1.0 } else { alpha / rank as f32 };
        let (a, mut b) = (values(&gguf, source, a).await?, values(&gguf, source, b).await?);
        if as_on_hub(config) {
            b = from_hub(&b, rank, kind, config);
        }
        adapter.set(layer, kind, Some(Pair { rank, scale, a, b }));
    }
    adapter.check(config, None)?;
    Ok((adapter, beside(&gguf)?))
}

/// Whether the model's file has its rows in the hub's order.
fn as_on_hub(config: &ModelConfig) -> bool {
    config.rope_style == RopeStyle::Halves
}

/// The same adapter with one alpha for all its pairs, and that alpha.
fn leveled(adapter: &Adapter) -> (Adapter, f32) {
    let alphas = adapter.iter().map(|(_, _, pair)| (f64::from(pair.scale) * pair.rank as f64) as f32);
    // llama.cpp takes an alpha of 0 for none.
    let alpha = alphas.into_iter().find(|alpha| alpha.is_normal()).unwrap_or(1.0);
    let mut leveled = adapter.clone();
    for (layer, kind, pair) in adapter.iter() {
        let scale = alpha / pair.rank as f32;
        if pair.scale != scale {
            let factor = (f64::from(pair.scale) / f64::from(scale)) as f32;
            let b = pair.b.iter().map(|b| b * factor).collect();
            leveled.set(layer, kind, Some(Pair { scale, b, ..pair.clone() }));
        }
    }
    (leveled, alpha)
}

/// llama.cpp's name of a projection's weight.
fn module(layer: usize, kind: Kind) -> String {
    let name = match kind {
        Kind::Q => "attn_q",
        Kind::K => "attn_k",
        Kind::V => "attn_v",
        Kind::O => "attn_output",
        Kind::Gate => "ffn_gate",
        Kind::Up => "ffn_up",
        Kind::Down => "ffn_down",
    };
    format!("blk.{layer}.{name}.weight")
}

/// Refuses what is no LoRA of the model's architecture.
fn check_type(gguf: &Gguf, config: &ModelConfig) -> Result<()> {
    let said = |key: &str| gguf.value(key).map_or_else(|| "nothing".to_owned(), brief);
    if gguf.str("general.type") != Some("adapter") {
        let what = format!("general.type says {}, not \"adapter\"", said("general.type"));
        return Err(unsupported(format!("{what}; choose an adapter's file, a model is opened as one")));
    }
    if gguf.str("adapter.type") != Some("lora") {
        let what = format!("adapter.type says {}", said("adapter.type"));
        return Err(unsupported(format!("{what}, Imprint knows \"lora\"; export the adapter as a plain LoRA")));
    }
    if gguf.value(INVOCATION).is_some() {
        let what = format!("{INVOCATION} let it speak after some tokens only");
        return Err(unsupported(format!("{what}, which Imprint does not; export the adapter as a plain LoRA")));
    }
    if gguf.str("general.architecture") == Some(&config.architecture) {
        return Ok(());
    }
    let (own, open) = (said("general.architecture"), &config.architecture);
    let message = format!("this adapter is for the architecture {own}, the open model is {open:?}; open its own model");
    Err(Error::new(ErrorKind::AdapterWrongBase, message))
}

/// Refuses tensors that Imprint has no place for.
fn check_names(gguf: &Gguf, config: &ModelConfig) -> Result<()> {
    for TensorInfo { name, .. } in gguf.tensors() {
        let layer = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        let known = layer.is_some_and(|layer| {
            let path = name.strip_suffix(".lora_a").or_else(|| name.strip_suffix(".lora_b"));
            Kind::ALL.into_iter().any(|kind| path == Some(&module(layer, kind)))
        });
        let Some(layer) = layer.filter(|_| known) else {
            let what = format!("tensor {name} adapts what Imprint does not");
            return Err(unsupported(format!("{what}; export a LoRA of attention and MLP only")));
        };
        if layer >= config.n_layers {
            let what = format!("tensor {name} belongs to a block past the model's {}", config.n_layers);
            let message = format!("{what}; open the model the adapter was made for");
            return Err(Error::new(ErrorKind::AdapterWrongBase, message));
        }
    }
    if gguf.tensors().is_empty() { Err(corrupt("the adapter holds no tensors".into())) } else { Ok(()) }
}

/// Rows and columns. Some writers leave an axis of one off: the columns of A and of B then tell what stands where.
fn shape(tensor: &TensorInfo) -> Vec<usize> {
    let mut axes: Vec<usize> = tensor.shape.iter().rev().map(|&axis| axis as usize).collect();
    if axes.len() == 1 {
        axes.insert(if tensor.name.ends_with("a") { 0 } else { 1 }, 1);
    }
    axes
}

/// The numbers of a tensor.
async fn values(gguf: &Gguf, source: &impl Source, tensor: &TensorInfo) -> Result<Vec<f32>> {
    let bytes = gguf.read_tensor(source, tensor).await.map_err(of_adapter)?;
    let mut values = vec![0.0; tensor.n_weights() as usize];
    dequantise(tensor.ty, &bytes, &mut values).map_err(of_adapter)?;
    Ok(values)
}

/// What [`export`] was given beside the adapter.
fn beside(gguf: &Gguf) -> Result<Beside> {
    let note = |key: &str| Some((key.strip_prefix(NOTE)?.to_owned(), gguf.str(key)?.to_owned()));
    let notes = gguf.keys().filter_map(note).collect();
    let prints = gguf
        .i32s(PRINTS)
        .map(|words| bytes(words).ok_or_else(|| corrupt(format!("{PRINTS} is not as long as it says"))));
    Ok(Beside { notes, prints: prints.transpose()? })
}

/// Bytes as words: how many they are, and four a word.
fn words(bytes: &[u8]) -> Vec<i32> {
    let word = |part: &[u8]| {
        let mut word = [0; 4];
        word[..part.len()].copy_from_slice(part);
        i32::from_le_bytes(word)
    };
    std::iter::once(bytes.len() as i32).chain(bytes.chunks(4).map(word)).collect()
}

/// The bytes that [`words`] were made of.
fn bytes(words: &[i32]) -> Option<Vec<u8>> {
    let (&len, words) = words.split_first()?;
    let len = usize::try_from(len).ok().filter(|len| len.div_ceil(4) == words.len())?;
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.truncate(len);
    Some(bytes)
}

/// A value as it stands in a sentence: a hostile one may be long.
fn brief(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{:?}", text.chars().take(60).collect::<String>()),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => format!("{value:?}"),
        _ => "a list".into(),
    }
}

/// The GGUF reader's errors speak of models.
fn of_adapter(error: Error) -> Error {
    let kind = match error.kind() {
        ErrorKind::ModelCorrupt => ErrorKind::AdapterCorrupt,
        ErrorKind::ModelUnsupported => ErrorKind::AdapterUnsupported,
        other => other,
    };
    Error::new(kind, error.to_string()).with_source(error)
}

fn unsupported(message: String) -> Error {
    Error::new(ErrorKind::AdapterUnsupported, message)
}

fn corrupt(what: String) -> Error {
    Error::new(ErrorKind::AdapterCorrupt, format!("{what}; the file is damaged, get it again"))
}
