//! Which kernels this browser's GPU is fastest with: measured once, and kept in a cache of the browser.

use imprint_core::{
    Result,
    fused::{FusedModel, Tried, Variant},
    kernels::gpu::Gpu,
};
use wasm_bindgen::JsCast;
use web_sys::{Cache, Response};

use crate::{
    store::{CACHE_PREFIX, CACHES},
    web::{field, now_ms, settle},
};

/// No other kernels are begun after this long: a person waits.
const MOST_MS: f64 = 1500.0;

/// The kernels to load a model with.
pub struct Kernels {
    /// What they are kept for.
    key: String,
    pub variant: Variant,
    /// Whether others are to be tried.
    measure: bool,
}

impl Kernels {
    /// Those that were found for `measured_for`, or the ones that GPUs like this one have most often; these are measured
    /// against others unless `measure` or the GPU forbids it.
    pub async fn find(gpu: &Gpu, measured_for: &str, measure: Option<bool>) -> Self {
        let browser = field(&field(&js_sys::global(), "navigator"), "userAgent").as_string().unwrap_or_default();
        let key = format!("/{}", js_sys::encode_uri_component(&format!("{measured_for}; {browser}")));
        let kept = if measure.is_none() { read(&key).await } else { None };
        let kept = kept.and_then(|kept| Variant::found(&kept, gpu));
        let measure = measure.unwrap_or(kept.is_none() && !gpu.software);
        Self { key, variant: kept.unwrap_or_else(|| Variant::for_device(gpu)), measure }
    }

    /// Measures, where that is to be done, and keeps what was found; tells what was tried.
    ///
    /// # Errors
    /// As [`FusedModel::tune`].
    pub async fn choose(self, model: &mut FusedModel) -> Result<Vec<Tried>> {
        if !self.measure {
            return Ok(Vec::new());
        }
        let candidates = Variant::candidates(&model.gpu);
        let tried = model.tune(candidates, &now_ms, MOST_MS).await?;
        // Where nothing can be kept, the next load measures again.
        let _ = write(&self.key, &model.variant().kept()).await;
        Ok(tried)
    }
}

async fn cache() -> Option<Cache> {
    let caches = CACHES.with(Clone::clone)?;
    settle(Ok(caches.open(&format!("{CACHE_PREFIX}kernels")))).await.ok()?.dyn_into().ok()
}

async fn read(key: &str) -> Option<String> {
    let response: Response = settle(Ok(cache().await?.match_with_str(key))).await.ok()?.dyn_into().ok()?;
    settle(response.text()).await.ok()?.as_string()
}

async fn write(key: &str, text: &str) -> Option<()> {
    let response = Response::new_with_opt_str(Some(text)).ok()?;
    settle(Ok(cache().await?.put_with_str(key, &response))).await.ok().map(drop)
}
