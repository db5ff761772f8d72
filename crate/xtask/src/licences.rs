//! Writes the licences of other people's programs that the site and the package carry.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::Project;
use crate::process::run;
use crate::wasm_toolchain::TARGET;

/// The file, in the site and in the package.
pub const FILE: &str = "THIRD-PARTY.txt";
/// Where `web/build.mjs` tells which npm packages it put into its bundles.
pub const BUNDLED: &str = "node_modules/.cache/imprint/bundled.json";

/// A program that is carried.
struct Carried {
    /// Name and version.
    name: String,
    /// What its manifest says of its licence.
    licence: String,
    /// Where its licence files lie.
    folder: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// `null` for our own.
    source: Option<String>,
    manifest_path: PathBuf,
}

/// All licences, each text once, of the crates in the wasm module and of the npm packages `bundled`.
///
/// # Errors
/// When cargo cannot tell its packages, or a package's files are missing.
pub fn text(project: &Project, bundled: &[String]) -> Result<String> {
    let mut carried = crates(project)?;
    for name in bundled {
        carried.push(npm_package(&project.root.join("node_modules").join(name))?);
    }
    carried.sort_by_key(|one| one.name.to_lowercase());
    let mut texts: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
    let mut list = String::new();
    for one in &carried {
        writeln!(list, "- {}: {}", one.name, one.licence)?;
        for text in licence_texts(one)? {
            // The same licence is laid out in many ways.
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            texts.entry(words).or_insert_with(|| (text, Vec::new())).1.push(one.name.clone());
        }
    }
    let mut out = format!(
        "Imprint carries parts of the programs named here, besides the standard library of Rust (MIT OR Apache-2.0, the \
         Rust Project contributors). Where a licence may be chosen, MIT is.\n\n{list}"
    );
    for (text, names) in texts.values() {
        let rule = "-".repeat(80);
        write!(out, "\n{rule}\n{}\n{rule}\n\n{}\n", names.join(", "), text.trim())?;
    }
    Ok(out)
}

/// Puts the licences into the site and into the package.
///
/// # Errors
/// As [`text`], and when they cannot be written.
pub fn write(project: &Project, folders: &[&Path]) -> Result<()> {
    let path = project.root.join(BUNDLED);
    let bundled = fs::read_to_string(&path).with_context(|| format!("{} was not written", path.display()))?;
    let text = text(project, &serde_json::from_str::<Vec<String>>(&bundled)?)?;
    for folder in folders {
        fs::write(folder.join(FILE), &text)?;
    }
    Ok(())
}

/// The crates that are linked into the wasm module: what only builds or writes code is not in it.
fn crates(project: &Project) -> Result<Vec<Carried>> {
    let offline = project.options.offline.then_some("--offline");
    let cargo = |args: &[&str]| run("cargo").args(args).args(offline).dir(&project.root).read();
    let edges = ["--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"];
    let tree = cargo(&[&["tree", "--package", "imprint-wasm", "--target", TARGET][..], &edges].concat())?;
    // Without the filter cargo fetches the crates of systems that nobody builds for here.
    let described = cargo(&["metadata", "--format-version", "1", "--filter-platform", TARGET])?;
    let metadata: Metadata = serde_json::from_str(&described)?;
    let packages: HashMap<_, _> =
        metadata.packages.iter().map(|one| ((one.name.as_str(), one.version.as_str()), one)).collect();
    let mut names: Vec<_> = tree.lines().filter_map(|line| line.split_once(" v")).collect();
    names.sort_unstable();
    names.dedup();
    let mut carried = Vec::new();
    for (name, rest) in names {
        let version = rest.split_whitespace().next().unwrap_or(rest);
        let package = packages.get(&(name, version)).with_context(|| format!("cargo knows no {name} {version}"))?;
        if package.source.is_none() {
            continue;
        }
        let folder = package.manifest_path.parent().context("a manifest without a folder")?.to_owned();
        let licence = package.license.clone().unwrap_or_else(|| "see its licence file".to_owned());
        carried.push(Carried { name: format!("{name} {version}"), licence, folder });
    }
    carried.dedup_by(|a, b| a.name == b.name);
    Ok(carried)
}

fn npm_package(folder: &Path) -> Result<Carried> {
    let manifest = folder.join("package.json");
    let manifest = fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let manifest: Value = serde_json::from_str(&manifest)?;
    let field = |name: &str| manifest[name].as_str().unwrap_or("unknown");
    let name = format!("{} {}", field("name"), field("version"));
    let carried = Carried { name, licence: field("license").to_owned(), folder: folder.to_owned() };
    if licence_texts(&carried)?.is_empty() {
        bail!("{} carries no licence file", carried.name);
    }
    Ok(carried)
}

/// The licence files of a program; of several that may be chosen from, the MIT licence, and notices in any case.
fn licence_texts(one: &Carried) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(&one.folder).with_context(|| format!("cannot read {}", one.folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        let known = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
        if known.iter().any(|known| name.starts_with(known)) && entry.path().is_file() {
            files.push((name, entry.path()));
        }
    }
    files.sort();
    let choice = one.licence.contains(" OR ") || one.licence.contains('/');
    let mit = choice && files.iter().any(|(name, _)| name.contains("MIT"));
    let wanted = |name: &str| !mit || name.contains("MIT") || name.starts_with("NOTICE");
    let files = files.into_iter().filter(|(name, _)| wanted(name));
    files.map(|(_, path)| Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::Cli;

    #[test]
    fn what_is_carried_is_named_with_its_licence_and_what_only_builds_is_not() {
        let project = Project::find(Cli::parse_from(["xtask", "build"]).options).unwrap();
        let text = text(&project, &["uplot".to_owned(), "fflate".to_owned()]).unwrap();
        let named = |start: &str| text.lines().any(|line| line.starts_with(start));
        for name in ["- uplot 1.", "- fflate 0.", "- minijinja 3.", "- tokenizers 0.", "- wasm-bindgen 0.2"] {
            assert!(named(name), "{name} is not named in\n{}", &text[..4000]);
        }
        for name in ["- imprint-core", "- burn", "- playwright", "- clap ", "- wasm-bindgen-macro "] {
            assert!(!named(name), "{name} is named");
        }
        assert!(text.contains("Leon Sorokin") && text.contains("Permission is hereby granted, free of charge"));
        let mit = "of this software and associated documentation files";
        assert!(text.len() < 600_000 && text.matches(mit).count() > 5, "{} bytes", text.len());
    }
}
