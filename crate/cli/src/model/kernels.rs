//! Which kernels this machine's GPU is fastest with: measured once, and kept beside the models.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Instant};

use imprint_core::{
    Result,
    config::ModelConfig,
    fused::{FusedModel, Variant},
    gguf::Gguf,
    kernels::gpu::Gpu,
};
use imprint_models::cache_dir;
use pollster::block_on;

use crate::terminal::Terminal;

/// No other kernels are begun after this long: a person waits.
const MOST_MS: f64 = 3000.0;

/// The kernels to load a model with.
pub struct Kernels {
    /// What they are kept for.
    key: String,
    pub variant: Variant,
    /// Whether others are to be tried.
    measure: bool,
}

impl Kernels {
    /// Those that were found for this device and model, or the ones that GPUs have most often.
    pub fn find(gpu: &Gpu, config: &ModelConfig, gguf: &Gguf) -> Self {
        let key = Variant::measured_for(gpu, config, gguf);
        let kept = read().get(&key).and_then(|kept| Variant::found(kept, gpu));
        let measure = kept.is_none() && !gpu.software;
        Self { key, variant: kept.unwrap_or_else(|| Variant::for_device(gpu)), measure }
    }

    /// Measures, where nothing was kept yet, and keeps what was found.
    ///
    /// # Errors
    /// As [`FusedModel::tune`].
    pub fn choose(self, model: &mut FusedModel, terminal: &Terminal) -> Result<()> {
        if !self.measure {
            return Ok(());
        }
        let begun = Instant::now();
        let now_ms = || begun.elapsed().as_secs_f64() * 1e3;
        let candidates = Variant::candidates(&model.gpu);
        let tried = block_on(model.tune(candidates, &now_ms, MOST_MS))?;
        for one in &tried {
            terminal
                .note(&format!("{}: {:.3} ms a token, {:.2} ms a prompt", one.kernels, one.token_ms, one.prompt_ms));
        }
        let took_ms = now_ms();
        terminal.note(&format!("this GPU is fastest with {} (measured in {took_ms:.0} ms)", model.variant().words()));
        keep(self.key, model.variant().kept());
        Ok(())
    }
}

fn path() -> Option<PathBuf> {
    Some(cache_dir()?.with_file_name("kernels.json"))
}

fn read() -> BTreeMap<String, String> {
    let text = path().and_then(|path| fs::read_to_string(path).ok());
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// Where nothing can be kept, the next run measures again.
fn keep(key: String, variant: String) {
    let Some(path) = path() else { return };
    let mut all = read();
    all.insert(key, variant);
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let text = serde_json::to_string_pretty(&all).expect("texts by texts");
    let _ = fs::create_dir_all(path.with_file_name(""))
        .and_then(|()| fs::write(&part, text))
        .and_then(|()| fs::rename(&part, &path));
}
