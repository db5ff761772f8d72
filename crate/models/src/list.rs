//! The list of models.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// A model that Imprint knows by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listed {
    /// What it is called on a command line and in markup.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The name its file is kept and served under.
    pub file: String,
    /// The SHA-256 of the file in lower-case hex.
    pub sha256: String,
    /// The size of the file.
    pub size_bytes: u64,
    /// Under what it may be used.
    pub licence: Licence,
    /// What it takes while it writes.
    pub memory: Memory,
    /// Where the file itself lies, for whoever may fetch it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Packages on PyPI, `name==version`, whose wheels hold the file, or its parts in order.
    pub packages: Vec<String>,
}

/// Under what a model may be used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Licence {
    /// Its name.
    pub name: String,
    /// Where it can be read.
    pub url: String,
    /// Whether it asks more of a person than to keep its text: then it is to be accepted before use.
    pub terms: bool,
}

/// Memory that a model takes while it writes, at the context that it is opened with unless asked otherwise.
///
/// A test holds these numbers to what `imprint_core::needs` makes of the file's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Memory {
    /// All of it on a GPU.
    pub gpu_bytes: u64,
    /// Its largest piece there, which a GPU must take at once.
    pub gpu_piece_bytes: u64,
    /// All of it on the processor.
    pub cpu_bytes: u64,
}

/// All of them; the first is the default.
///
/// # Panics
/// If the list in the checkout is damaged: a test reads it.
pub fn list() -> &'static [Listed] {
    static LIST: OnceLock<Vec<Listed>> = OnceLock::new();
    LIST.get_or_init(|| {
        serde_json::from_str(include_str!("../../../web/src/models.json")).expect("models.json is a list")
    })
}

/// The model of that id, or the one whose id alone begins so; case does not matter.
pub fn named(name: &str) -> Option<&'static Listed> {
    let name = name.to_ascii_lowercase();
    if let Some(found) = list().iter().find(|model| model.id == name) {
        return Some(found);
    }
    let mut found = list().iter().filter(|model| !name.is_empty() && model.id.starts_with(&name));
    found.next().filter(|_| found.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_by_its_id_or_a_beginning_that_is_its_alone() {
        let id = |name| named(name).map(|model| model.id.as_str());
        assert_eq!(id("smollm2-135m"), Some("smollm2-135m"));
        assert_eq!(id("Gemma"), Some("gemma-3-270m"));
        assert_eq!((id(""), id("gpt"), id("smollm2-135m.gguf")), (None, None, None));
    }

    #[test]
    fn every_entry_says_what_a_person_must_know() {
        let mut ids: Vec<_> = list().iter().map(|model| model.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), list().len());
        for model in list() {
            let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            assert!(model.sha256.len() == 64 && model.sha256.bytes().all(hex), "{}", model.sha256);
            assert!(model.file.ends_with(".gguf") && !model.file.contains('/'), "{}", model.file);
            assert!(model.licence.url.starts_with("https://") && !model.licence.name.is_empty());
            let Memory { gpu_bytes, gpu_piece_bytes, cpu_bytes } = model.memory;
            assert!(gpu_bytes.min(cpu_bytes) > model.size_bytes, "{}: memory below the file's size", model.id);
            assert!(gpu_piece_bytes > 0 && gpu_piece_bytes < gpu_bytes);
            let versions = model.packages.iter().all(|package| package.split("==").count() == 2);
            assert!(versions && (!model.packages.is_empty() || model.url.is_some()), "{} can be had nowhere", model.id);
        }
    }
}
