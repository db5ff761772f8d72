//! Where the model runs: on the GPU, or on the processor with the reason why.

use imprint_core::{
    Error, ErrorKind, Result,
    config::ModelConfig,
    fused::{FusedModel, Tried, Variant},
    generate::Backend,
    gguf::Gguf,
    kernels::gpu::{Gpu, GpuOptions, is_software, software_reason},
    processor::Processor,
    weights::{OnTensor, load_packed},
};
use js_sys::{Object, Promise};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::{
    ahead::ahead,
    kernels::Kernels,
    source::BlobSource,
    subgroups::Subgroups,
    web::{field, now_ms, set_field, settle},
};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = ["navigator", "gpu"], js_name = requestAdapter, catch)]
    fn request_adapter(options: &JsValue) -> Result<Promise, JsValue>;
}

/// What the caller asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// A real GPU where it can be had, else the processor.
    #[default]
    Auto,
    /// The GPU or nothing.
    Webgpu,
    /// The processor.
    Cpu,
}

/// Which device it is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceInfo {
    /// `webgpu` or `cpu`.
    pub kind: &'static str,
    /// Its name, to show.
    pub description: String,
    /// Why it is not the GPU, or not the kernels it is to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How its kernels are cut, on the GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernels: Option<String>,
    /// What was timed to choose them, where that was done now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
    /// How long it took to see whether the GPU computes rightly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial_ms: Option<f64>,
}

/// All of wasm's memory is 4 GiB, and a model on the processor lies in it as a whole beside the working space.
const MOST_CPU_BYTES: u64 = 3 << 30;

/// Loads the model on the device of `choice`; whether kernels are measured is as in [`Kernels::find`].
///
/// # Errors
/// With [`Choice::Webgpu`] `no-webgpu`, `device-wrong` and what the GPU path reports; with each choice `model-corrupt`,
/// `model-unsupported`, `model-unreachable`, `out-of-memory`, `cancelled`.
pub async fn load(
    (choice, measure): (Choice, Option<bool>),
    gguf: &Gguf,
    source: &BlobSource,
    capacity: usize,
    on_tensor: OnTensor<'_>,
) -> Result<(Backend, DeviceInfo)> {
    if choice == Choice::Cpu {
        return on_cpu(gguf, source, None, on_tensor).await;
    }
    // Such a GPU has the memory that a page has not.
    if choice == Choice::Auto && check_cpu(gguf).is_ok() {
        let offered = Adapter::offered().await.filter(|adapter| adapter.software);
        if let Some(Adapter { name, .. }) = offered {
            return on_cpu(
                gguf,
                source,
                Some(software_reason(name.as_deref().unwrap_or("of this browser"))),
                on_tensor,
            )
            .await;
        }
    }
    match on_gpu(measure, gguf, source, capacity, on_tensor).await {
        Err(error) if choice == Choice::Auto && cpu_may_help(error.kind()) => {
            on_cpu(gguf, source, Some(reason(&error)), on_tensor).await
        }
        loaded => loaded,
    }
}

/// Whether the processor may succeed where the GPU failed.
fn cpu_may_help(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::Cancelled | ErrorKind::ModelCorrupt | ErrorKind::ModelUnreachable)
}

/// The error as a reason, with what it came from.
fn reason(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error} ({source})"),
        None => error.to_string(),
    }
}

async fn on_gpu(
    measure: Option<bool>,
    gguf: &Gguf,
    source: &BlobSource,
    capacity: usize,
    on_tensor: OnTensor<'_>,
) -> Result<(Backend, DeviceInfo)> {
    let gpu = request(GpuOptions::default()).await?;
    let measured_for = Variant::measured_for(&gpu, &ModelConfig::from_gguf(gguf)?, gguf);
    let kernels = Kernels::find(&gpu, &measured_for, measure).await;
    let description = gpu.description.clone();
    let mut model = FusedModel::load(gpu, gguf, source, capacity, kernels.variant, on_tensor).await?;
    let tried = kernels.choose(&mut model).await?;
    let started_ms = now_ms();
    let reason = model.prove(&Variant::OTHERS).await?;
    let trial_ms = Some(now_ms() - started_ms);
    let kernels = Some(model.variant().words());
    let device = DeviceInfo { kind: "webgpu", description, reason, kernels, tried, trial_ms };
    Ok((Backend::Fused(Box::new(model)), device))
}

/// Asks the browser for a GPU, with subgroups where it has them and `options` do not forbid them.
///
/// # Errors
/// As [`Gpu::request`].
pub async fn request(options: GpuOptions) -> Result<Gpu> {
    let subgroups = if options.without_subgroups { None } else { Subgroups::offer() };
    let mut gpu = Gpu::request(options).await?;
    gpu.ahead = Some(ahead());
    gpu.subgroup = subgroups.and_then(|subgroups| subgroups.size());
    if let Some(adapter) = Adapter::offered().await {
        gpu.software |= adapter.software;
        if let Some(name) = adapter.name {
            gpu.description = name;
        }
    }
    Ok(gpu)
}

/// Whether this browser offers a GPU at all.
pub async fn has_gpu() -> bool {
    settle(request_adapter(&Object::new())).await.is_ok_and(|adapter| adapter.is_object())
}

/// What the browser tells of its GPU: wgpu passes on its description alone, which browsers leave empty.
struct Adapter {
    name: Option<String>,
    /// Whether it is a program on the processor.
    software: bool,
}

impl Adapter {
    /// The one that [`request`] gets.
    async fn offered() -> Option<Self> {
        let options = Object::new();
        set_field(&options, "powerPreference", &"high-performance".into());
        let info = field(&settle(request_adapter(&options)).await.ok().filter(JsValue::is_object)?, "info");
        let part = |name| field(&info, name).as_string().filter(|part| !part.is_empty());
        let parts: Vec<_> = ["vendor", "architecture", "device", "description"].into_iter().filter_map(part).collect();
        let name = (!parts.is_empty()).then(|| parts.join(" "));
        let software = field(&info, "isFallbackAdapter").is_truthy() || name.as_deref().is_some_and(is_software);
        Some(Self { name, software })
    }
}

/// Refuses a model that is too large for the processor.
///
/// # Errors
/// `out-of-memory` with its size.
pub fn check_cpu(gguf: &Gguf) -> Result<()> {
    if gguf.size_bytes() <= MOST_CPU_BYTES {
        return Ok(());
    }
    let megabytes = gguf.size_bytes() / 1_000_000;
    let what = format!("a model of {megabytes} MB does not fit the memory of a page; use the GPU or a smaller model");
    Err(Error::new(ErrorKind::OutOfMemory, what))
}

async fn on_cpu(
    gguf: &Gguf,
    source: &BlobSource,
    reason: Option<String>,
    on_tensor: OnTensor<'_>,
) -> Result<(Backend, DeviceInfo)> {
    check_cpu(gguf)?;
    let model = load_packed(gguf, source, on_tensor).await?;
    let device = DeviceInfo {
        kind: "cpu",
        description: "processor, one thread".to_owned(),
        reason,
        kernels: None,
        tried: Vec::new(),
        trial_ms: None,
    };
    Ok((Backend::Processor(Box::new(Processor::new(model))), device))
}
