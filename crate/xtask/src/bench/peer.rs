//! transformers.js beside our own engine: its packages, its model, and where the browser half finds them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process::{note, run, step};
use crate::serve::Site;
use crate::setup::{ONNX, ensure_python, install_packages};
use crate::{Project, model};

/// The columns of the peer on its two devices.
pub const GPU: &str = "transformers.js, WebGPU";
pub const CPU: &str = "transformers.js, wasm";

/// Where the peer's packages are listed, below the root of the checkout.
const DIR: &str = "tests/bench/peer";
/// The scores that the model is held to: of the default model alone.
const GOLDEN: &str = "tests/fixtures/smollm2.json";
/// What is served of each package.
const SCRIPT: (&str, &str) = ("@huggingface/transformers", "transformers.min.js");
const RUNTIME: (&str, [&str; 2]) =
    ("onnxruntime-web", ["ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"]);
/// What the peer fetches from its hub, as `make_onnx.py` writes it.
const MODEL_FILES: [&str; 5] =
    ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "onnx/model_q4.onnx"];
/// Where a hub has the files of a model.
const HUB: &str = "/hub/imprint/model/resolve/main";

/// The peer, ready to be served.
pub struct Peer {
    /// The version of transformers.js.
    pub version: String,
    /// The version of the runtime that it brings.
    pub runtime: String,
    /// How well the made model reads.
    pub scores: Scores,
    packages: PathBuf,
    model: PathBuf,
}

/// What `make_onnx.py` tells of the model that it made, and of the golden run: means over the same texts.
#[derive(Clone, Copy, Deserialize)]
pub struct Scores {
    pub nll: f64,
    pub golden_nll: f64,
    /// The share of the golden run's greedy tokens that this model chooses too.
    pub agreement: f64,
}

impl Peer {
    /// Installs the peer and makes its model, unless both are there.
    ///
    /// # Errors
    /// When `model` is not the default one, packages cannot be installed, or the made model strays from the golden scores.
    pub fn prepare(project: &Project, model: &Path) -> Result<Self> {
        let model_sha256 = model::sha256(model)?;
        if model_sha256 != model::default().sha256 {
            bail!("transformers.js is measured with {} only, whose scores are known", model::default().file);
        }
        step("transformers.js");
        let dir = project.root.join(DIR);
        install_packages(project, &dir)?;
        let packages = dir.join("node_modules");
        let (made, scores) = make_model(project, model, &model_sha256)?;
        let version = |package: &str| version(&packages, package);
        Ok(Self { version: version(SCRIPT.0)?, runtime: version(RUNTIME.0)?, scores, model: made, packages })
    }

    /// Serves the packages and, as a hub does, the model.
    pub fn serve(&self, site: Site) -> Site {
        let files = RUNTIME.1.map(|name| (RUNTIME.0, name)).into_iter().chain([SCRIPT]);
        let site = files.fold(site, |site, (package, name)| {
            site.file(&format!("/transformers/{name}"), &self.packages.join(package).join("dist").join(name))
        });
        MODEL_FILES.iter().fold(site, |site, name| site.file(&format!("{HUB}/{name}"), &self.model.join(name)))
    }

    /// What the browser half must be told.
    pub fn arguments(&self, limit_s: u32) -> [(&'static str, String); 4] {
        let [_, wasm] = RUNTIME.1;
        let wasm = self.packages.join(RUNTIME.0).join("dist").join(wasm);
        [
            ("--against", "transformers.js".to_owned()),
            ("--golden", GOLDEN.to_owned()),
            ("--limit", limit_s.to_string()),
            ("--runtime", wasm.to_string_lossy().into_owned()),
        ]
    }
}

/// Makes the model out of the file `model`, or finds what was made of it by the same program.
fn make_model(project: &Project, model: &Path, model_sha256: &str) -> Result<(PathBuf, Scores)> {
    let python = ensure_python(project, &ONNX)?;
    let made = project.cache.join("transformers-js");
    let script = project.root.join(DIR).join("make_onnx.py");
    let golden = project.root.join(GOLDEN);
    let requirements = project.root.join(DIR).join("requirements.txt");
    let sums =
        [&script, &golden, &requirements].map(|file| model::sha256(file)).into_iter().collect::<Result<Vec<_>>>()?;
    let key = format!("{model_sha256} {}", sums.join(" "));
    // Written last, so what it names is whole.
    let stamp = made.join("stamp");
    let kept = fs::read_to_string(&stamp).unwrap_or_default();
    if let Some(told) = kept.strip_prefix(&format!("{key}\n")) {
        note(format_args!("ready: {}", made.display()));
        return Ok((made, scores(told)?));
    }
    note("making its model and reading the golden texts with it, about a minute");
    let said = run(python).arg(script).arg(model).arg(golden).arg(&made).read()?;
    // The runtime may have words of its own before.
    let told = said.lines().last().unwrap_or_default();
    let scores = scores(told)?;
    fs::write(stamp, format!("{key}\n{told}"))?;
    Ok((made, scores))
}

fn scores(told: &str) -> Result<Scores> {
    serde_json::from_str(told).with_context(|| format!("make_onnx.py says {told:?} and no scores"))
}

/// The version of an installed package.
pub fn version(packages: &Path, name: &str) -> Result<String> {
    let path = packages.join(name).join("package.json");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let package: serde_json::Value = serde_json::from_str(&text)?;
    Ok(package["version"].as_str().with_context(|| format!("{name} tells no version"))?.to_owned())
}
