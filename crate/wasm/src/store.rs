//! What this browser keeps for a person: models in the origin's private file system, adapters and runs in IndexedDB.

pub mod adapters;
pub mod database;
pub mod models;
mod pack;
pub mod runs;
pub mod seal;
pub mod vault;

use imprint_core::{Error, ErrorKind, Result};
use js_sys::{Array, Promise};
use serde::Serialize;
use wasm_bindgen::prelude::*;
use web_sys::CacheStorage;

use crate::web::{self, field, settle};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = ["navigator", "storage"], js_name = estimate, catch)]
    fn estimate() -> Result<Promise, JsValue>;
    #[wasm_bindgen(js_namespace = ["navigator", "storage"], js_name = persisted, catch)]
    fn persisted() -> Result<Promise, JsValue>;
    // Absent where the page is not served over HTTPS or from localhost.
    #[wasm_bindgen(thread_local_v2, js_namespace = globalThis, js_name = caches)]
    pub(crate) static CACHES: Option<CacheStorage>;
}

/// The names of this origin's caches that are ours begin with this: see the service worker.
pub const CACHE_PREFIX: &str = "imprint-";

/// How much is kept, as JavaScript sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    models_bytes: f64,
    adapters_bytes: f64,
    runs_bytes: f64,
    /// What the browser counts for the whole origin, and what it allows; `None` where it does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_bytes: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota_bytes: Option<f64>,
    /// Whether the browser has promised not to throw it away by itself.
    persisted: bool,
    /// Whether adapters and runs are locked: their sizes are then unknown, and 0.
    locked: bool,
}

/// Adds up what is kept.
///
/// # Errors
/// As [`database::open`].
pub async fn usage() -> Result<Usage> {
    let (used_bytes, quota_bytes) = figures().await.unzip();
    let persisted = settle(persisted()).await.is_ok_and(|answer| answer.is_truthy());
    let locked = vault::is_locked().await?;
    let (adapters, runs) =
        if locked { (Vec::new(), Vec::new()) } else { (adapters::list().await?, runs::list().await?) };
    Ok(Usage {
        models_bytes: added(models::list().await.iter().map(|model| model.size_bytes)),
        adapters_bytes: added(adapters.iter().map(|adapter| adapter.size_bytes + adapter.text_bytes)),
        runs_bytes: added(runs.iter().map(|run| run.size_bytes)),
        used_bytes,
        quota_bytes,
        persisted,
        locked,
    })
}

/// A sum that is 0 where there is nothing, and not −0 as that of no numbers is.
fn added(sizes: impl Iterator<Item = f64>) -> f64 {
    sizes.fold(0.0, |sum, size| sum + size)
}

/// Removes everything of ours from IndexedDB, the Cache API and the private file system.
///
/// # Errors
/// `busy` while any tab learns; `internal` when the browser refuses.
pub async fn forget_everything() -> Result<()> {
    let _alone = runs::learn_alone().await?;
    database::remove().await?;
    seal::give_up();
    models::forget_all().await;
    let Some(caches) = CACHES.with(Clone::clone) else { return Ok(()) };
    let refused = |thrown| failed(thrown);
    let names: Array = settle(Ok(caches.keys())).await.map_err(refused)?.unchecked_into();
    for name in names.iter().filter_map(|name| name.as_string()).filter(|name| name.starts_with(CACHE_PREFIX)) {
        settle(Ok(caches.delete(&name))).await.map_err(refused)?;
    }
    Ok(())
}

/// Refuses a model of which `missing_bytes` do not fit, before they are fetched.
///
/// # Errors
/// `storage-full` with both figures.
pub async fn check_room(missing_bytes: u64) -> Result<()> {
    match figures().await {
        Some((used, quota)) if quota - used < missing_bytes as f64 => {
            let free = (quota - used).max(0.0) as u64;
            Err(full(&format!("the model needs {}, there are {}", megabytes(missing_bytes), megabytes(free))))
        }
        _ => Ok(()),
    }
}

/// Bytes that this origin uses and may use, where the browser tells.
async fn figures() -> Option<(f64, f64)> {
    let estimate = settle(estimate()).await.ok()?;
    let of = |name| field(&estimate, name).as_f64();
    Some((of("usage")?, of("quota")?))
}

/// The error of a write that did not fit, with what is used and allowed; nothing that was there is lost.
async fn refused_for_room() -> Error {
    match figures().await {
        Some((used, quota)) => full(&format!("{} of {} are in use", megabytes(used as u64), megabytes(quota as u64))),
        None => full("the browser refuses to write"),
    }
}

/// The error that the storage is full, with the figures that are known.
pub fn full(figures: &str) -> Error {
    let what = format!("this browser's storage is full: {figures}; free some space or forget a stored model");
    Error::new(ErrorKind::StorageFull, what)
}

/// Bytes as a person reads them.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn failed(thrown: JsValue) -> Error {
    if web::name_of(&thrown) == "QuotaExceededError" {
        return full("the browser refuses to write");
    }
    web::caught(ErrorKind::Internal, "this browser's storage failed", &thrown)
}

/// A new name for something kept, unlike all others.
fn new_id() -> Result<String> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes)
        .map_err(|e| Error::new(ErrorKind::Internal, format!("the browser gives no random numbers: {e}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
