//! Adapters in the layout of Hugging Face's PEFT library: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! The safetensors file alone is enough to come back: its metadata holds the config, the fingerprint of the base model
//! and any notes beside the tensors, where PEFT does not look. A PEFT folder is the two files side by side; from the one
//! file it is made by writing it as `adapter_model.safetensors` and the metadata's `imprint.adapter_config` as
//! `adapter_config.json`.
//!
//! The hub's checkpoints rotate the halves of a head together, of every family; in memory, neighbours turn together: the
//! rows of B that belong to queries and keys change places on the way.

mod config;

use std::collections::BTreeMap;

use half::{bf16, f16};
use safetensors::{
    Dtype, SafeTensors,
    tensor::{Metadata, TensorInfo},
};
use serde::Serialize;

use crate::{
    adapter::{Adapter, Kind, Pair, fit},
    config::ModelConfig,
    error::{Error, ErrorKind, Result},
};

/// Key of the config in the metadata of the tensors' file.
const CONFIG: &str = "imprint.adapter_config";
/// Key of the fingerprint of the base model.
pub(crate) const BASE: &str = "imprint.base_sha256";
/// What the keys of notes begin with.
pub(crate) const NOTE: &str = "imprint.note.";

/// The two files of a PEFT folder.
#[derive(Debug, Clone, PartialEq)]
pub struct PeftFiles {
    /// `adapter_config.json`.
    pub config_json: String,
    /// `adapter_model.safetensors`; enough by itself for [`import_blob`].
    pub safetensors: Vec<u8>,
}

/// Which half of a pair a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Half {
    A,
    B,
}

/// Writes an adapter for PEFT, in f32; the same adapter and notes give the same bytes.
///
/// `notes` travel in the metadata and come back from [`notes`]: a name, a date, whatever is worth keeping.
///
/// # Errors
/// `invalid-option` for an adapter without pairs; what [`Adapter::check`] gives for one that does not fit `config`.
pub fn export(adapter: &Adapter, config: &ModelConfig, notes: &BTreeMap<String, String>) -> Result<PeftFiles> {
    adapter.check(config, None)?;
    if adapter.max_rank() == 0 {
        return Err(Error::new(ErrorKind::InvalidOption, "this adapter is empty; learn one before exporting it"));
    }
    let config_json = config::write(adapter, config);
    let mut metadata: BTreeMap<String, String> =
        notes.iter().map(|(key, note)| (format!("{NOTE}{key}"), note.clone())).collect();
    metadata.insert("format".into(), "pt".into());
    metadata.insert(CONFIG.into(), config_json.clone());
    metadata.extend(adapter.base.clone().map(|base| (BASE.into(), base)));

    let mut tensors = BTreeMap::new();
    for (layer, kind, pair) in adapter.iter() {
        let (d_in, d_out) = kind.dims(config);
        let name = |half: char| format!("base_model.model.{}.lora_{half}.weight", module(layer, kind));
        tensors.insert(name('A'), (vec![pair.rank, d_in], pair.a.clone()));
        tensors.insert(name('B'), (vec![d_out, pair.rank], to_hub(&pair.b, pair.rank, kind, config)));
    }
    Ok(PeftFiles { config_json, safetensors: write_tensors(metadata, &tensors) })
}

/// Reads an adapter that PEFT, or [`export`], wrote.
///
/// LoRA with `rank_pattern`, `alpha_pattern`, `use_rslora` and any part of the projections adapted, in F32, F16 or BF16.
///
/// # Errors
/// `adapter-corrupt` for damaged or contradictory files; `adapter-unsupported` for what is no plain LoRA or adapts
/// modules Imprint does not; `adapter-wrong-base` where tensors do not fit `config`.
pub fn import(config_json: &[u8], safetensors: &[u8], config: &ModelConfig) -> Result<Adapter> {
    // First what it is: of an adapter of another kind, the tensors would say less.
    let said = config::read(config_json)?;
    let (header, data) = read_header(safetensors)?;
    let base = header.metadata().as_ref().and_then(|metadata| metadata.get(BASE).cloned());
    let mut halves = BTreeMap::new();
    let mut paths = BTreeMap::new();
    let mut names = header.offset_keys();
    names.sort();
    for name in names {
        let (Some((layer, kind, half, path)), Some(info)) = (place(&name), header.info(&name)) else {
            let message =
                format!("tensor {name} adapts what Imprint does not; export a LoRA of attention and MLP only");
            return Err(Error::new(ErrorKind::AdapterUnsupported, message));
        };
        if layer >= config.n_layers {
            let n_layers = config.n_layers;
            return Err(wrong_base(format!("tensor {name} belongs to a block past the model's {n_layers}")));
        }
        if paths.insert((layer, kind), path.to_owned()).is_some_and(|before| before != path) {
            return Err(corrupt(format!("tensor {name} stands for a projection that another path stands for too")));
        }
        let values = values(&name, info, &data[info.data_offsets.0..info.data_offsets.1])?;
        halves.insert((layer, kind, half), (info.shape.clone(), values));
    }
    if halves.is_empty() {
        return Err(corrupt("the adapter holds no tensors"));
    }
    let mut adapter = pair_up(base, halves, config)?;
    said.set_scales(&mut adapter, &paths)?;
    adapter.check(config, None)?;
    Ok(adapter)
}

/// Reads an adapter from the tensors' file alone, as [`export`] writes it.
///
/// # Errors
/// As [`import`]; `adapter-unsupported` for a file without its config, which PEFT keeps beside it.
pub fn import_blob(safetensors: &[u8], config: &ModelConfig) -> Result<Adapter> {
    let (header, _) = read_header(safetensors)?;
    let Some(config_json) = header.metadata().as_ref().and_then(|metadata| metadata.get(CONFIG)) else {
        let message = "the file does not hold its adapter_config.json; import the folder with both files";
        return Err(Error::new(ErrorKind::AdapterUnsupported, message));
    };
    import(config_json.as_bytes(), safetensors, config)
}

/// The notes that [`export`] was given.
///
/// # Errors
/// `adapter-corrupt` for a damaged file.
pub fn notes(safetensors: &[u8]) -> Result<BTreeMap<String, String>> {
    let (header, _) = read_header(safetensors)?;
    let all = header.metadata().iter().flatten();
    Ok(all.filter_map(|(key, note)| Some((key.strip_prefix(NOTE)?.to_owned(), note.clone()))).collect())
}

/// What stands before `layers.` in the hub's paths: a language model with its head, one beside other parts (Gemma 3 reads
/// pictures, too; transformers has changed its order since), and both without their heads.
const ROOTS: [&str; 5] = ["model.", "model.language_model.", "language_model.model.", "language_model.", ""];

/// The hub's path of a projection in a language model with its head.
fn module(layer: usize, kind: Kind) -> String {
    let part = match kind {
        Kind::Q | Kind::K | Kind::V | Kind::O => "self_attn",
        Kind::Gate | Kind::Up | Kind::Down => "mlp",
    };
    format!("{}layers.{layer}.{part}.{}", ROOTS[0], kind.name())
}

/// Where the tensor of this name belongs, and the path of its projection.
fn place(name: &str) -> Option<(usize, Kind, Half, &str)> {
    let path = name.strip_prefix("base_model.model.")?.strip_suffix(".weight")?;
    let (path, half) = match path.rsplit_once('.')? {
        (path, "lora_A") => (path, Half::A),
        (path, "lora_B") => (path, Half::B),
        _ => return None,
    };
    let (root, rest) = path.split_at(path.find("layers.")?);
    let layer: usize = rest.split('.').nth(1)?.parse().ok()?;
    let kind = Kind::from_name(rest.rsplit('.').next()?)?;
    let known = ROOTS.contains(&root) && module(layer, kind).strip_prefix(ROOTS[0]) == Some(rest);
    known.then_some((layer, kind, half, path))
}

/// The row in the hub's order, whose halves turn together, of each row of `kind` in ours, whose neighbours do.
fn hub_rows(kind: Kind, config: &ModelConfig) -> impl Iterator<Item = usize> {
    let &ModelConfig { d_head, .. } = config;
    let turned = matches!(kind, Kind::Q | Kind::K);
    let (_, d_out) = kind.dims(config);
    (0..d_out).map(move |row| {
        let (head, i) = (row / d_head * d_head, row % d_head);
        if turned { head + i / 2 + i % 2 * (d_head / 2) } else { row }
    })
}

/// A B of `kind` with its rows in the hub's order.
pub(crate) fn to_hub(b: &[f32], rank: usize, kind: Kind, config: &ModelConfig) -> Vec<f32> {
    let mut out = vec![0.0; b.len()];
    for (row, values) in hub_rows(kind, config).zip(b.chunks_exact(rank)) {
        out[row * rank..][..rank].copy_from_slice(values);
    }
    out
}

/// A B of `kind` with its rows in our order.
pub(crate) fn from_hub(b: &[f32], rank: usize, kind: Kind, config: &ModelConfig) -> Vec<f32> {
    hub_rows(kind, config).flat_map(|row| b[row * rank..][..rank].iter().copied()).collect()
}

type Halves = BTreeMap<(usize, Kind, Half), (Vec<usize>, Vec<f32>)>;

/// Makes pairs of the tensors, of scale 1 for now.
fn pair_up(base: Option<String>, mut halves: Halves, config: &ModelConfig) -> Result<Adapter> {
    let mut adapter = Adapter::empty(base, config.n_layers);
    for layer in 0..config.n_layers {
        for kind in Kind::ALL {
            let a = halves.remove(&(layer, kind, Half::A));
            let b = halves.remove(&(layer, kind, Half::B));
            let name = module(layer, kind);
            let ((a_shape, a), (b_shape, b)) = match (a, b) {
                (Some(a), Some(b)) => (a, b),
                (None, None) => continue,
                _ => return Err(corrupt(format!("{name} has one half of its pair only"))),
            };
            let rank = fit(&name, kind, config, &a_shape, &b_shape)?;
            let b = from_hub(&b, rank, kind, config);
            adapter.set(layer, kind, Some(Pair { rank, scale: 1.0, a, b }));
        }
    }
    Ok(adapter)
}

fn read_header(file: &[u8]) -> Result<(Metadata, &[u8])> {
    let (len, header) = SafeTensors::read_metadata(file)
        .map_err(|e| corrupt(format!("the adapter's tensors cannot be read ({e})")).with_source(e))?;
    Ok((header, &file[len + size_of::<u64>()..]))
}

/// The numbers of a tensor in f32.
fn values(name: &str, info: &TensorInfo, bytes: &[u8]) -> Result<Vec<f32>> {
    let (two, four) = (bytes.as_chunks().0.iter(), bytes.as_chunks().0.iter());
    match info.dtype {
        Dtype::F32 => Ok(four.map(|&b| f32::from_le_bytes(b)).collect()),
        Dtype::F16 => Ok(two.map(|&b| f16::from_le_bytes(b).to_f32()).collect()),
        Dtype::BF16 => Ok(two.map(|&b| bf16::from_le_bytes(b).to_f32()).collect()),
        other => {
            let message = format!("tensor {name} is of type {other}; export the adapter in F32, F16 or BF16");
            Err(Error::new(ErrorKind::AdapterUnsupported, message))
        }
    }
}

/// What stands before the numbers of a safetensors file.
#[derive(Serialize)]
struct Header {
    __metadata__: BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: BTreeMap<String, TensorInfo>,
}

/// Writes a safetensors file with everything in the order of names; the crate's own writer shuffles the metadata.
fn write_tensors(metadata: BTreeMap<String, String>, tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Vec<u8> {
    let mut end = 0;
    let mut info = |shape: &[usize], values: &[f32]| {
        let start = end;
        end += size_of_val(values);
        TensorInfo { dtype: Dtype::F32, shape: shape.to_vec(), data_offsets: (start, end) }
    };
    let tensors_info = tensors.iter().map(|(name, (shape, values))| (name.clone(), info(shape, values))).collect();
    let header = Header { __metadata__: metadata, tensors: tensors_info };
    let mut header = serde_json::to_vec(&header).expect("maps with text keys always become JSON");
    header.resize(header.len().next_multiple_of(size_of::<u64>()), b' ');
    let mut file = Vec::with_capacity(size_of::<u64>() + header.len() + end);
    file.extend((header.len() as u64).to_le_bytes());
    file.extend(header);
    for (_, values) in tensors.values() {
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    file
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::AdapterCorrupt, message)
}

fn wrong_base(what: String) -> Error {
    Error::new(ErrorKind::AdapterWrongBase, format!("{what}; open the model the adapter was made for"))
}
