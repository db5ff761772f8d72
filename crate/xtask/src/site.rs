//! Builds the wasm module, the site and the package; serves the site; packs the package.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::process::{find, note, run, step};
use crate::serve::{Server, Site, brotli_bytes};
use crate::setup::{Tools, prepare_build};
use crate::wasm_toolchain::TARGET;
use crate::{Project, licences, model};

/// No feature is switched on here: wasm-opt reads in the module which ones rustc used, and browsers refuse others.
const WASM_OPT: [&str; 3] = ["-O3", "--strip-debug", "--strip-producers"];

/// Builds the site into `dist/` and the package into `pkg/dist/`; returns the site's directory.
///
/// # Errors
/// When a step of the build fails.
pub fn build(project: &Project, tools: &Tools) -> Result<PathBuf> {
    let module = build_modules(project, tools)?;
    let site = project.root.join("dist");
    build_web(project, &module, &site)?;
    if project.options.model_in_site {
        let model = model::ensure(project)?;
        put_model(&model, &site.join("models"))?;
    }
    list_models(&site.join("models"))?;
    Ok(site)
}

/// A model that a site serves under `models/`, as the page reads it in `models/models.json`.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Served {
    file: String,
    size_bytes: u64,
    sha256: String,
}

impl Served {
    fn of(path: &Path) -> Result<Self> {
        Ok(Self { file: file_name(path)?, size_bytes: fs::metadata(path)?.len(), sha256: model::sha256(path)? })
    }
}

/// Says in `models/models.json` which models lie beside it, so that the page offers no other.
fn list_models(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let mut files: Vec<_> = fs::read_dir(dir)?.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "gguf"));
    files.sort();
    Ok(fs::write(dir.join("models.json"), listing(&files)?)?)
}

fn listing(models: &[PathBuf]) -> Result<String> {
    let served = models.iter().map(|path| Served::of(path)).collect::<Result<Vec<_>>>()?;
    Ok(serde_json::to_string(&served)?)
}

/// The wasm modules: what each is called, and how cargo is asked for it.
const MODULES: [(&str, &[&str]); 2] = [("imprint_wasm", &[]), ("imprint_writer", &["--no-default-features"])];

/// Compiles both modules; returns the directory of the result.
fn build_modules(project: &Project, tools: &Tools) -> Result<PathBuf> {
    step("The wasm modules: the whole one, and the one that only writes");
    let profile = if project.options.dev { "wasm-dev" } else { "wasm" };
    let dir = project.web_target().join("module").join(profile);
    for (name, features) in MODULES {
        tools.wasm.cargo(project, "build").args(["--profile", profile]).args(features.iter().copied()).go()?;
        let compiled = project.web_target().join(TARGET).join(profile).join("imprint_wasm.wasm");
        finish_module(project, tools, name, &compiled, &dir)?;
    }
    Ok(dir)
}

/// Passes a compiled module through wasm-bindgen and wasm-opt into `dir`, and says how large it is.
fn finish_module(project: &Project, tools: &Tools, name: &str, compiled: &Path, dir: &Path) -> Result<()> {
    let stamp = dir.join(format!("{name}.stamp"));
    let key = format!("{} {} {}", model::sha256(compiled)?, tools.wasm_bindgen.display(), WASM_OPT.join(" "));
    let kept = fs::read_to_string(&stamp).unwrap_or_default();
    if let Some(sizes) = kept.strip_prefix(&format!("{key}\n")) {
        note(sizes);
        return Ok(());
    }
    run(&tools.wasm_bindgen).args(["--target", "web", "--out-name", name, "--out-dir"]).arg(dir).arg(compiled).go()?;
    let module = dir.join(format!("{name}_bg.wasm"));
    if !project.options.dev {
        let wasm_opt = project.root.join("node_modules/.bin/wasm-opt");
        run(wasm_opt).args(WASM_OPT).arg(&module).arg("-o").arg(&module).go()?;
    }
    let bytes = fs::read(&module)?;
    // Quality 11 takes long on a module that nobody publishes.
    let quality = if project.options.dev { 5 } else { 11 };
    let packed = brotli_bytes(&bytes, quality)?.len();
    let sizes = format!("{name}_bg.wasm: {} bytes raw, {packed} bytes brotli ({quality})", bytes.len());
    note(&sizes);
    Ok(fs::write(stamp, format!("{key}\n{sizes}"))?)
}

/// Bundles the TypeScript, unless neither it nor the module changed since the last time.
fn build_web(project: &Project, module: &Path, site: &Path) -> Result<()> {
    step("The site and the package");
    let package = project.root.join("pkg/dist");
    // Beside the outputs' checkout, not in the target directory, which several checkouts may share.
    let stamps = project.root.join("node_modules/.cache/imprint");
    let stamp = stamps.join("web-stamp");
    let key = web_key(project, module)?;
    let built = site.join(licences::FILE).is_file() && package.join(licences::FILE).is_file();
    if built && fs::read_to_string(&stamp).is_ok_and(|kept| kept == key) {
        note("ready: nothing changed");
        return Ok(());
    }
    let command = run("node").arg("web/build.mjs").arg("--wasm").arg(module).args(["--site", "dist"]);
    let command = command.args(["--package", "pkg/dist"]).args(project.options.dev.then_some("--dev"));
    let command = project.options.model_host.iter().fold(command, |command, host| command.args(["--model-host", host]));
    command.dir(&project.root).go()?;
    licences::write(project, &[site, &package])?;
    fs::create_dir_all(stamps)?;
    Ok(fs::write(stamp, key)?)
}

/// Names the state of everything that the web build reads.
fn web_key(project: &Project, module: &Path) -> Result<String> {
    let mut files = Vec::new();
    for dir in [&project.root.join("web"), &project.root.join("docs"), module] {
        list(dir, &mut files)?;
    }
    // The documentation tells when an error occurs as the core says it.
    let more = ["index.html", "package-lock.json", "tsconfig.json", "Cargo.lock", "crate/core/src/error.rs"];
    files.extend(more.map(|name| project.root.join(name)));
    files.sort();
    let mut digest = Sha256::new();
    for file in files {
        digest.update(format!("{}\n{}\n", file.display(), model::sha256(&file)?));
    }
    digest.update(if project.options.dev { "dev" } else { "release" });
    digest.update(project.options.model_host.join(" "));
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        // Parts of the documentation are made by the build itself.
        if ["node_modules", "reference", "troubleshooting.md"].iter().any(|made| path.ends_with(made)) {
            continue;
        }
        if path.is_dir() { list(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

/// Puts the model into the site: as another name of the same bytes where the file system can, else as a copy.
fn put_model(model: &Path, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let target = dir.join(file_name(model)?);
    if target.exists() {
        fs::remove_file(&target)?;
    }
    if fs::hard_link(model, &target).is_err() {
        fs::copy(model, &target)?;
    }
    note(format_args!("the model is in {}", target.display()));
    Ok(())
}

fn file_name(path: &Path) -> Result<String> {
    let name = path.file_name().with_context(|| format!("{} names no file", path.display()))?;
    Ok(name.to_string_lossy().into_owned())
}

/// Serves a built site together with models, which stay where they are; the page offers the first.
///
/// # Errors
/// When the page does not name the default model where another is to take its place, or the port is taken.
pub fn serve(site: &Path, models: &[PathBuf], port: u16) -> Result<Server> {
    let model = models.first().context("a site is served with at least one model")?;
    let mut served = Site::new(site).text("/models/models.json", listing(models)?);
    for model in models {
        served = served.file(&format!("/models/{}", file_name(model)?), model);
    }
    let name = escape(&file_name(model)?);
    if name != model::default().file {
        let page = fs::read_to_string(site.join("index.html")).context("the site has no index.html")?;
        let page = with_model(&page, &name, &model::sha256(model)?, fs::metadata(model)?.len())?;
        served = served.text("/", page.clone()).text("/index.html", page);
    }
    Server::start(served, port)
}

/// Names another model in the page: its file, its sha256 and its size.
fn with_model(page: &str, name: &str, sha256: &str, size_bytes: u64) -> Result<String> {
    let model = model::default();
    let old = [model.file.clone(), model.sha256.clone(), format!("size-bytes=\"{}\"", model.size_bytes)];
    if let Some(missing) = old.iter().find(|old| !page.contains(old.as_str())) {
        bail!("index.html does not say {missing}, so --model cannot put another model in its place");
    }
    let size = format!("size-bytes=\"{size_bytes}\"");
    Ok(page.replace(&old[0], name).replace(&old[1], sha256).replace(&old[2], &size))
}

/// Sets up, builds, serves and opens the page, until interrupted.
///
/// # Errors
/// When a step before serving fails.
pub fn run_site(project: &Project) -> Result<()> {
    let tools = prepare_build(project)?;
    let model = model::ensure(project)?;
    let site = build(project, &tools)?;
    // Beside the one that was asked for, those that were fetched before.
    let others = model::kept(project).into_iter().filter(|path| *path != model);
    let models: Vec<_> = std::iter::once(model.clone()).chain(others).collect();
    let server = serve(&site, &models, project.options.port)?;
    step("Serving");
    let address = server.url();
    note(format_args!("{address}   (Ctrl+C stops)"));
    std::io::stdout().flush()?;
    if !project.options.no_open && std::env::var_os("CI").is_none() {
        open(&address);
    }
    server.wait();
    Ok(())
}

/// Writes a file name so that it can stand in an address.
fn escape(name: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes().map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Opens the address in the person's browser, where there is a desktop; the printed address serves everyone else.
fn open(address: &str) {
    let desktop =
        cfg!(target_os = "macos") || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|n| std::env::var_os(n).is_some());
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    if desktop && find(opener).is_some() && !run(opener).arg(address).succeeds() {
        note("no browser opened; open the address by hand");
    }
}

/// Builds and packs the npm package.
///
/// # Errors
/// When the build or npm fails, or the package lacks its module.
pub fn package(project: &Project) -> Result<()> {
    build(project, &prepare_build(project)?)?;
    step("The npm package");
    let out = project.target.join("package");
    fs::create_dir_all(&out)?;
    let command = run("npm").args(["pack", "--json", "--pack-destination"]).arg(&out);
    let report: serde_json::Value = serde_json::from_str(&command.dir(&project.root.join("pkg")).read()?)?;
    // npm answers with a list of packages, newer ones with an object by name.
    let packed = report.get(0).or_else(|| report.as_object()?.values().next()).context("npm reports no package")?;
    let files = packed["files"].as_array().context("npm reports no files")?;
    let has = |ending: &str| files.iter().any(|file| file["path"].as_str().is_some_and(|path| path.ends_with(ending)));
    for needed in ["imprint_wasm_bg.wasm", "index.js", "index.d.ts", "README.md", licences::FILE] {
        if !has(needed) {
            bail!("the package lacks {needed}; look at `files` in pkg/package.json");
        }
    }
    if has(".gguf") {
        bail!("the package holds a model, which must never be published; look at `files` in pkg/package.json");
    }
    let name = packed["filename"].as_str().context("npm reports no file name")?;
    note(format_args!("{} ({} files, {} bytes)", out.join(name).display(), files.len(), packed["size"]));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_becomes_an_address() {
        assert_eq!(escape("a b&c\"-1.5_Q4.gguf"), "a%20b%26c%22-1.5_Q4.gguf");
    }

    #[test]
    fn a_site_says_which_models_lie_in_it() {
        let dir = std::env::temp_dir().join(format!("imprint-listing-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("b.gguf"), b"GGUF").unwrap();
        fs::write(dir.join("notes.txt"), b"none").unwrap();
        list_models(&dir).unwrap();
        let told: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("models.json")).unwrap()).unwrap();
        let sha256 = model::sha256(&dir.join("b.gguf")).unwrap();
        assert_eq!(told, serde_json::json!([{ "file": "b.gguf", "sizeBytes": 4, "sha256": sha256 }]));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn another_model_takes_the_place_of_the_default_everywhere() {
        let page = include_str!("../../../index.html");
        let other = with_model(page, "other.gguf", "abc", 7).unwrap();
        let model = model::default();
        assert!(!other.contains(&model.file) && !other.contains(&model.sha256), "{other}");
        assert!(other.contains("models/other.gguf") && other.contains("size-bytes=\"7\""), "{other}");
        assert!(with_model("<p>no model</p>", "other.gguf", "abc", 7).is_err());
    }
}
