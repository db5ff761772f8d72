//! Finds or makes a Rust compiler for `wasm32-unknown-unknown`.
//!
//! The ordinary way is rustup's target. Where rustup cannot download, Debian's `rustc-web` comes with the sources of
//! the standard library, which are compiled once and laid out as a sysroot of their own in the cache.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::Project;
use crate::process::{Run, apt_install, find, note, run, step};

/// The target of the browser's module.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// The standard library is compiled with what the module itself is compiled with (`.cargo/config.toml`).
const STD_FLAGS: &str = "-C target-feature=+simd128";
/// Raised when the layout of the cached sysroot changes.
const LAYOUT: &str = "layout 1";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_SOURCE: &str = "/usr/lib/rustlib/src/rust/library";
/// What rustup and `cargo run` set for their own compiler; another compiler must not see it.
const FOREIGN: [&str; 9] = [
    "CARGO",
    "CARGO_ENCODED_RUSTFLAGS",
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];
const BY_HAND: &str = "install by hand: `rustup target add wasm32-unknown-unknown`, or on Debian \
                       `apt-get install rustc-web cargo-web rust-web-src rust-web-llvm lld-22`";

/// A compiler that can build for the browser.
pub enum WasmToolchain {
    /// The cargo and rustc that this program was started with.
    Rustup,
    /// Debian's cargo with a wrapper of Debian's rustc, which lies in `dir` beside its sysroot.
    Debian { dir: PathBuf },
}

impl WasmToolchain {
    /// Starts a cargo command for the browser's target, in its own target directory.
    pub fn cargo(&self, project: &Project, subcommand: &str) -> Run {
        let cargo = match self {
            Self::Rustup => run("cargo").without(&["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"]),
            Self::Debian { dir } => run(DEBIAN_CARGO)
                .without(&FOREIGN)
                .env("RUSTC", dir.join("rustc"))
                // What clippy-driver reads in place of a `--sysroot`.
                .env("SYSROOT", dir.join("sysroot")),
        };
        let cargo = cargo.arg(subcommand).args(["--package", "imprint-wasm", "--target", TARGET]);
        let cargo = if project.options.offline { cargo.arg("--offline") } else { cargo };
        cargo.dir(&project.root).env("CARGO_TARGET_DIR", project.web_target())
    }

    /// Makes sure that `cargo clippy` works with this compiler.
    ///
    /// # Errors
    /// When it has no clippy and none can be installed.
    pub fn ensure_clippy(&self, project: &Project) -> Result<()> {
        match self {
            Self::Rustup if run("cargo").args(["clippy", "--version"]).dir(&project.root).succeeds() => Ok(()),
            Self::Rustup => bail!("this Rust has no clippy; install by hand: rustup component add clippy"),
            Self::Debian { .. } if Path::new("/usr/bin/clippy-driver").exists() => Ok(()),
            Self::Debian { .. } if project.options.offline => {
                bail!("clippy is missing: apt-get install rust-web-clippy")
            }
            Self::Debian { .. } => apt_install(&["rust-web-clippy"]),
        }
    }
}

/// Finds a compiler for the browser, or installs one.
///
/// # Errors
/// When there is none and both ways of getting one fail; the sentence says what to install by hand.
pub fn ensure(project: &Project) -> Result<WasmToolchain> {
    step("Rust for wasm32-unknown-unknown");
    if rustup_has_target(project) {
        note("ready: the Rust in use has the target");
        return Ok(WasmToolchain::Rustup);
    }
    if let Ok(dir) = debian_dir(project)
        && dir.join("rustc").is_file()
    {
        note(format_args!("ready: Debian's Rust with {}", dir.join("sysroot").display()));
        return Ok(WasmToolchain::Debian { dir });
    }
    if !project.options.offline && find("rustup").is_some() {
        // Without a network rustup may retry for very long, hence the limit.
        let add = run("rustup").args(["target", "add", TARGET]).dir(&project.root);
        if add.go_within(Duration::from_secs(120))? && rustup_has_target(project) {
            note("rustup installed the target");
            return Ok(WasmToolchain::Rustup);
        }
        note("rustup cannot download the target; using Debian's Rust and compiling its standard library");
    }
    install_debian(project).context(BY_HAND)?;
    let dir = build_std(project).context(BY_HAND)?;
    Ok(WasmToolchain::Debian { dir })
}

fn rustup_has_target(project: &Project) -> bool {
    let libdir = run("rustc").args(["--print", "target-libdir", "--target", TARGET]).dir(&project.root).read();
    let Ok(entries) = libdir.and_then(|dir| Ok(fs::read_dir(dir)?)) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

/// Where the sysroot for the Debian compiler that is installed now belongs: rlibs fit only the rustc that made them.
fn debian_dir(project: &Project) -> Result<PathBuf> {
    let version = run(DEBIAN_RUSTC).arg("-vV").without(&FOREIGN).read()?;
    let digest = Sha256::digest(format!("{version}\n{LAYOUT}\n{STD_FLAGS}"));
    let key: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(project.cache.join("toolchain").join(key))
}

fn install_debian(project: &Project) -> Result<()> {
    if !debian_is_recent() || !Path::new(DEBIAN_SOURCE).is_dir() || !Path::new(DEBIAN_CARGO).is_file() {
        if project.options.offline {
            bail!("offline, and Debian's Rust with sources is not installed");
        }
        apt_install(&["rustc-web", "cargo-web", "rust-web-src"])?;
        if !debian_is_recent() {
            bail!("{DEBIAN_RUSTC} is older than Rust {}", env!("CARGO_PKG_RUST_VERSION"));
        }
    }
    if find_linker(project).is_none() {
        if project.options.offline {
            bail!("offline, and no linker for wasm (rust-lld or lld) is installed");
        }
        let lld = format!("lld-{}", llvm_major()?);
        apt_install(&[&lld])?;
    }
    Ok(())
}

fn debian_field(name: &str) -> Result<String> {
    let version = run(DEBIAN_RUSTC).arg("-vV").without(&FOREIGN).read()?;
    let line = version.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    Ok(line.with_context(|| format!("`{DEBIAN_RUSTC} -vV` names no {name}"))?.to_owned())
}

fn llvm_major() -> Result<String> {
    let version = debian_field("LLVM version")?;
    Ok(version.split('.').next().unwrap_or_default().to_owned())
}

fn debian_is_recent() -> bool {
    debian_field("release").is_ok_and(|release| at_least(&release, env!("CARGO_PKG_RUST_VERSION")))
}

/// Compares versions by number: `1.100` is newer than `1.95`.
fn at_least(version: &str, wanted: &str) -> bool {
    let numbers = |text: &str| text.split(['.', '-']).map_while(|part| part.parse::<u32>().ok()).collect::<Vec<_>>();
    numbers(version) >= numbers(wanted)
}

/// Finds a linker for wasm: rustup's copy, Debian's link, or lld of the compiler's own LLVM version.
fn find_linker(project: &Project) -> Option<PathBuf> {
    let host = debian_field("host").ok()?;
    let sysroot = run("rustc").args(["--print", "sysroot"]).dir(&project.root).read().ok();
    let rustup = sysroot.map(|dir| Path::new(&dir).join("lib/rustlib").join(host).join("bin/rust-lld"));
    let lld = PathBuf::from(format!("/usr/bin/lld-{}", llvm_major().ok()?));
    rustup.into_iter().chain([PathBuf::from("/usr/bin/rust-lld"), lld]).find(|file| file.is_file())
}

/// Compiles the standard library for the browser and lays out a sysroot round it.
fn build_std(project: &Project) -> Result<PathBuf> {
    let dir = debian_dir(project)?;
    let seed = dir.join("seed");
    fs::create_dir_all(seed.join("src"))?;
    fs::write(seed.join("src/lib.rs"), "")?;
    fs::write(
        seed.join("Cargo.toml"),
        "[workspace]\n[package]\nname = \"seed\"\nedition = \"2024\"\n[profile.release]\npanic = \"abort\"\n",
    )?;
    note("compiling the standard library once, one to three minutes");
    run(DEBIAN_CARGO)
        .args(["build", "--release", "--target", TARGET, "-Z", "build-std=std,panic_abort"])
        .without(&FOREIGN)
        .env("RUSTC", DEBIAN_RUSTC)
        // The flag that compiles std is unstable; the compiler that ships with Debian otherwise refuses it.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", STD_FLAGS)
        .env("CARGO_TARGET_DIR", seed.join("target"))
        .dir(&seed)
        .go()?;
    lay_out(project, &dir, &seed.join("target").join(TARGET).join("release/deps"))?;
    fs::remove_dir_all(&seed)?;
    note(format_args!("made {}", dir.display()));
    Ok(dir)
}

fn lay_out(project: &Project, dir: &Path, deps: &Path) -> Result<()> {
    let host = debian_field("host")?;
    let rustlib = dir.join("sysroot/lib/rustlib");
    let libs = rustlib.join(TARGET).join("lib");
    fs::create_dir_all(&libs)?;
    fs::create_dir_all(rustlib.join(&host).join("bin"))?;
    let linker = find_linker(project).context("no linker for wasm (rust-lld or lld) is installed")?;
    link(&linker, &rustlib.join(&host).join("bin/rust-lld"))?;
    link(&Path::new("/usr/lib/rustlib").join(&host).join("lib"), &rustlib.join(&host).join("lib"))?;
    for entry in fs::read_dir(deps)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libseed-") {
            fs::copy(&path, libs.join(&name))?;
        }
    }
    // Written last: its presence says that the sysroot is whole.
    let wrapper = dir.join("rustc");
    let script = format!("#!/bin/sh\nexec {DEBIAN_RUSTC} --sysroot '{}' \"$@\"\n", dir.join("sysroot").display());
    fs::write(&wrapper, script)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn link(to: &Path, at: &Path) -> Result<()> {
    if at.symlink_metadata().is_ok() {
        fs::remove_file(at)?;
    }
    symlink(to, at).with_context(|| format!("cannot link {} to {}", at.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::at_least;

    #[test]
    fn versions_compare_by_number() {
        assert!(at_least("1.96.0", "1.95") && at_least("1.95.0", "1.95") && at_least("1.100.1", "1.95"));
        assert!(at_least("2.0.0-nightly", "1.95"));
        assert!(!at_least("1.63.0", "1.95") && !at_least("1.9.0", "1.95") && !at_least("", "1.95"));
    }
}
