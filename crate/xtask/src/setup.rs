//! Installs or builds what the other commands need, and finds at once what is there already.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{apt_install, find, note, run, step};
use crate::wasm_toolchain::{self, WasmToolchain};
use crate::{Project, model};

/// The oldest Node that the web tools run on.
const NODE_MAJOR: u32 = 20;
const NODE_BY_HAND: &str =
    "install Node 20 or newer with npm by hand, from https://nodejs.org or your system's packages";

/// What a build needs.
pub struct Tools {
    /// The compiler for the browser's module.
    pub wasm: WasmToolchain,
    /// The program that writes the module's JavaScript side.
    pub wasm_bindgen: PathBuf,
}

/// What the tests need beside the tools of a build.
pub struct TestTools {
    /// The program of a Chromium browser.
    pub chromium: PathBuf,
}

/// Prepares everything: for builds, for running and for the tests.
///
/// # Errors
/// When something is missing and cannot be installed; the sentence says what to install by hand.
pub fn prepare(project: &Project) -> Result<()> {
    prepare_build(project)?;
    prepare_tests(project)?;
    model::ensure(project)?;
    model::ensure_second(project)?;
    Ok(())
}

/// Prepares what a build needs.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_build(project: &Project) -> Result<Tools> {
    let wasm = wasm_toolchain::ensure(project)?;
    let wasm_bindgen = ensure_wasm_bindgen(project)?;
    ensure_packages(project)?;
    Ok(Tools { wasm, wasm_bindgen })
}

/// Prepares what only the tests need.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_tests(project: &Project) -> Result<TestTools> {
    let chromium = ensure_chromium(project)?;
    ensure_vulkan(project)?;
    Ok(TestTools { chromium })
}

/// Reads the version of a package out of `Cargo.lock`.
fn locked_version(lock: &str, package: &str) -> Option<String> {
    let entry = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != entry);
    let version = lines.nth(1)?.strip_prefix("version = \"")?;
    Some(version.trim_end_matches('"').to_owned())
}

/// Finds or builds the command-line tool of exactly the version of the library that the module is compiled with.
fn ensure_wasm_bindgen(project: &Project) -> Result<PathBuf> {
    step("wasm-bindgen");
    let lock = fs::read_to_string(project.root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let version = locked_version(&lock, "wasm-bindgen").context("Cargo.lock names no wasm-bindgen")?;
    let fits = |tool: &Path| run(tool).arg("--version").read().is_ok_and(|said| said.ends_with(&format!(" {version}")));
    let root = project.cache.join("tools");
    let ours = root.join("bin/wasm-bindgen");
    if let Some(tool) = [Some(ours.clone()), find("wasm-bindgen")].into_iter().flatten().find(|tool| fits(tool)) {
        note(format_args!("ready: {} {version}", tool.display()));
        return Ok(tool);
    }
    if project.options.offline {
        bail!("offline, and wasm-bindgen {version} is missing: cargo install wasm-bindgen-cli --version ={version}");
    }
    note("building it once, two to six minutes");
    run("cargo")
        .args(["install", "wasm-bindgen-cli", "--force", "--version"])
        .arg(format!("={version}"))
        .arg("--root")
        .arg(&root)
        .arg("--target-dir")
        .arg(project.target.join("tools"))
        // Outside the checkout: its settings are for its own targets.
        .dir(&project.cache)
        .hint("install by hand what Cargo.lock names: cargo install wasm-bindgen-cli --version =X")
        .go()?;
    if !fits(&ours) {
        bail!("{} is not of version {version} although it was just built", ours.display());
    }
    Ok(ours)
}

/// Installs the npm packages of the build and the tests.
fn ensure_packages(project: &Project) -> Result<()> {
    step("npm packages");
    let version = run("node").arg("--version").hint(NODE_BY_HAND).read()?;
    let major = version.trim_start_matches('v').split('.').next().and_then(|text| text.parse::<u32>().ok());
    if major.is_none_or(|major| major < NODE_MAJOR) {
        bail!("Node {version} is too old; {NODE_BY_HAND}");
    }
    install_packages(project, &project.root)
}

/// Installs the npm packages of `dir` when its `package-lock.json` is another than the one they were installed from.
///
/// # Errors
/// When npm is missing or cannot install them.
pub fn install_packages(project: &Project, dir: &Path) -> Result<()> {
    let sum = model::sha256(&dir.join("package-lock.json"))?;
    let stamp = dir.join("node_modules/.imprint-lock-sha256");
    if fs::read_to_string(&stamp).is_ok_and(|kept| kept == sum) {
        note("ready: node_modules fits package-lock.json");
        return Ok(());
    }
    if project.options.offline {
        bail!("offline, and node_modules does not fit package-lock.json: run `npm ci` with a network");
    }
    // The browser comes from the system if it can: see `ensure_chromium`.
    let install = run("npm").args(["ci", "--no-audit", "--no-fund"]).env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1");
    install.dir(dir).hint(NODE_BY_HAND).go()?;
    fs::write(stamp, sum)?;
    Ok(())
}

/// Python packages, in an environment of their own.
pub struct Environment {
    /// What the environment is called in the cache.
    name: &'static str,
    /// The list of the packages, below the root of the checkout.
    requirements: &'static str,
    /// What is said before they are installed.
    costs: &'static str,
}

/// What the tests in Python run in, and llama.cpp.
pub const TESTS: Environment = Environment {
    name: "python-venv",
    requirements: "tests/python/requirements.txt",
    costs: "installing PyTorch, PEFT and llama.cpp once: 2.5 GB to fetch, 5.5 GB on disk, two to five minutes",
};

/// What makes the model that transformers.js reads: apart, since the tests' environment is over twenty times as large.
pub const ONNX: Environment = Environment {
    name: "onnx-venv",
    requirements: "tests/bench/peer/requirements.txt",
    costs: "installing ONNX and its runtime once: 55 MB to fetch, 220 MB on disk",
};

/// Makes an environment for programs in Python, and gives its interpreter.
///
/// # Errors
/// When the packages cannot be installed: no Python, no network, no room.
pub fn ensure_python(project: &Project, wanted: &Environment) -> Result<PathBuf> {
    step("Python packages");
    let requirements = project.root.join(wanted.requirements);
    let sum = model::sha256(&requirements)?;
    let environment = project.cache.join(wanted.name);
    let python = environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let stamp = environment.join(".imprint-requirements-sha256");
    if fs::read_to_string(&stamp).is_ok_and(|kept| kept == sum) && run(&python).arg("--version").succeeds() {
        note(format_args!("ready: {}", environment.display()));
        return Ok(python);
    }
    if project.options.offline {
        bail!("offline, and {} does not fit {}", environment.display(), requirements.display());
    }
    note(wanted.costs);
    if environment.exists() {
        fs::remove_dir_all(&environment)?;
    }
    const PIP: [&str; 8] =
        ["-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-compile", "--disable-pip-version-check", "-r"];
    let made = run("python3").args(["-m", "venv"]).arg(&environment).go();
    let made = made.and_then(|()| run(&python).args(PIP).arg(&requirements).go());
    if let Err(cause) = made {
        // Half of it is no use and fills the disk.
        let _ = fs::remove_dir_all(&environment);
        return Err(cause);
    }
    fs::write(stamp, sum)?;
    Ok(python)
}

/// Finds Chromium, or installs it: the system's package, else the copy that Playwright downloads.
fn ensure_chromium(project: &Project) -> Result<PathBuf> {
    step("Chromium");
    const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    const BY_HAND: &str = "install Chromium by hand, or name one in the environment: CHROMIUM=/path/to/chromium";
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    if let Some(path) = named.as_ref().filter(|path| !path.is_file()) {
        bail!("CHROMIUM names {}, which is no file", path.display());
    }
    if let Some(path) = named.or_else(|| NAMES.into_iter().find_map(find)).or_else(|| playwrights_own(project)) {
        note(format_args!("ready: {}", path.display()));
        return Ok(path);
    }
    if project.options.offline {
        bail!("offline, and there is no Chromium; {BY_HAND}");
    }
    match apt_install(&["chromium"]) {
        Ok(()) => {
            if let Some(path) = find("chromium") {
                return Ok(path);
            }
        }
        Err(cause) => note(format_args!("no system package ({cause:#}); asking Playwright for its own")),
    }
    run("npx").args(["playwright", "install", "chromium"]).dir(&project.root).hint(BY_HAND).go()?;
    playwrights_own(project).context(BY_HAND)
}

fn playwrights_own(project: &Project) -> Option<PathBuf> {
    let script = "process.stdout.write(require('@playwright/test').chromium.executablePath())";
    let path = run("node").args(["-e", script]).dir(&project.root).read().ok().map(PathBuf::from)?;
    path.is_file().then_some(path)
}

/// Makes sure that the native tests find a Vulkan driver: a real one, or Mesa's in software.
fn ensure_vulkan(project: &Project) -> Result<()> {
    if !cfg!(target_os = "linux") {
        // Metal and Direct3D come with the system.
        return Ok(());
    }
    step("A Vulkan driver");
    const DIRS: [&str; 3] = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];
    let named = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"].iter().any(|name| std::env::var_os(name).is_some());
    let listed = DIRS.iter().any(|dir| fs::read_dir(dir).is_ok_and(|mut files| files.next().is_some()));
    if named || listed {
        note("ready");
        return Ok(());
    }
    if project.options.offline {
        bail!("offline, and no Vulkan driver is installed: apt-get install mesa-vulkan-drivers");
    }
    apt_install(&["mesa-vulkan-drivers"])
}

#[cfg(test)]
mod tests {
    use super::locked_version;

    #[test]
    fn the_version_is_of_the_package_itself() {
        let lock = "[[package]]\nname = \"wasm-bindgen-futures\"\nversion = \"0.4.1\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\nsource = \"x\"\n";
        assert_eq!(locked_version(lock, "wasm-bindgen").as_deref(), Some("0.2.130"));
        assert_eq!(locked_version(lock, "wasm"), None);
    }
}
