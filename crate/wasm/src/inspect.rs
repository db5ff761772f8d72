//! What a model is and whether it runs here, before it is downloaded.

use std::collections::BTreeMap;

use imprint_core::{
    Error, ErrorKind, Result,
    config::ModelConfig,
    fused::check_kernels,
    gguf::{Gguf, Source},
    needs::Needs,
    tokenizer::{Tokenizer, Vocabulary},
    weights::refuse_unknown,
};
use serde::Serialize;
use web_sys::AbortSignal;

use crate::{
    device::{check_cpu, has_gpu},
    engine::{CONTEXT, Named},
    fetch::check_address,
    source::{BlobSource, RangeSource},
    store::models,
    web::check_signal,
};

/// What the header of a model says, and where the model runs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    name: String,
    architecture: String,
    // Numbers of JavaScript.
    parameters: f64,
    size_bytes: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_tokens: Option<u32>,
    /// Under what it may be used, as far as the file says.
    licence: Licence,
    /// What it takes while it writes, where it runs at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    /// Tensors in each block format.
    formats: BTreeMap<&'static str, usize>,
    runs_on: Vec<&'static str>,
    /// Why it does not run on the GPU, or not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Under what a model may be used.
#[derive(Debug, Serialize)]
struct Licence {
    /// A short name such as `apache-2.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// What a model takes in memory, in numbers of JavaScript.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    gpu_bytes: f64,
    gpu_piece_bytes: f64,
    cpu_bytes: f64,
}

impl From<Needs> for Memory {
    fn from(needs: Needs) -> Self {
        Self {
            gpu_bytes: needs.gpu_bytes as f64,
            gpu_piece_bytes: needs.gpu_piece_bytes as f64,
            cpu_bytes: needs.cpu_bytes as f64,
        }
    }
}

/// Reads the header of a model: from the browser's storage where it is kept, else piece by piece from its server.
///
/// # Errors
/// `invalid-option` for what is no address; `model-unreachable`; `model-corrupt` or `model-unsupported` where not even
/// the header can be read; `cancelled`. A sound model that does not run is no error.
pub async fn inspect(model: Named, signal: Option<&AbortSignal>) -> Result<Inspection> {
    check_signal(signal)?;
    match model {
        Named::Blob(blob) => describe(&BlobSource::new(blob)).await,
        Named::Url(url) => {
            check_address(&url)?;
            match models::kept(&url).await {
                Some(blob) => describe(&BlobSource::new(blob)).await,
                None => describe(&RangeSource::open(&url, signal).await?).await,
            }
        }
    }
}

async fn describe(source: &impl Source) -> Result<Inspection> {
    let gguf = Gguf::read(source).await?;
    let architecture = gguf.str("general.architecture").unwrap_or_default().to_owned();
    let mut formats = BTreeMap::new();
    for tensor in gguf.tensors() {
        *formats.entry(tensor.ty.name()).or_default() += 1;
    }
    let config = sound(&gguf);
    let memory = config.as_ref().ok().map(|config| Needs::of(&gguf, config, config.context.min(CONTEXT)).into());
    let (runs_on, reason) = devices(&gguf, config).await;
    let told = |key: &str| gguf.str(key).map(str::to_owned);
    let licence =
        Licence { id: told("general.license"), name: told("general.license.name"), url: told("general.license.link") };
    Ok(Inspection {
        name: gguf.str("general.name").unwrap_or(&architecture).to_owned(),
        parameters: gguf.tensors().iter().map(|tensor| tensor.n_weights() as f64).sum(),
        size_bytes: gguf.size_bytes() as f64,
        context_tokens: gguf.u32(&format!("{architecture}.context_length")),
        formats,
        licence,
        memory,
        architecture,
        runs_on,
        reason,
    })
}

/// Where the model runs, as far as its header and this browser tell, and why not elsewhere.
async fn devices(gguf: &Gguf, config: Result<ModelConfig>) -> (Vec<&'static str>, Option<String>) {
    let config = match config {
        Ok(config) => config,
        Err(error) => return (Vec::new(), Some(error.to_string())),
    };
    let gpu = match check_kernels(gguf, &config) {
        Ok(()) if !has_gpu().await => Err(Error::new(ErrorKind::NoWebgpu, "this browser offers no GPU")),
        checked => checked,
    };
    let (mut runs_on, mut reasons) = (Vec::new(), Vec::new());
    for (device, checked) in [("webgpu", gpu), ("cpu", check_cpu(gguf))] {
        match checked {
            Ok(()) => runs_on.push(device),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    (runs_on, (!reasons.is_empty()).then(|| reasons.join("; ")))
}

/// Tries everything short of reading the weights.
fn sound(gguf: &Gguf) -> Result<ModelConfig> {
    let config = ModelConfig::from_gguf(gguf)?;
    refuse_unknown(gguf, &config)?;
    Tokenizer::new(Vocabulary::from_gguf(gguf))?;
    Ok(config)
}
