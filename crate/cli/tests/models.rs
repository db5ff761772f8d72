//! Models by name: what is told of them, and what it takes to use one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use imprint_core::{
    config::ModelConfig,
    gguf::Gguf,
    needs::Needs,
    testing::{gemma_path, model_path},
};
use imprint_models::{Listed, Memory, list};
use pollster::block_on;
use serde_json::Value;

/// A cache with nothing in it.
fn cache(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(dir.join("imprint/models")).unwrap();
    dir
}

fn imprint(cache: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imprint"));
    command.env("XDG_CACHE_HOME", cache).args(args).arg("--json").stdin(Stdio::null()).output().unwrap()
}

fn object(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Puts the real model where a fetched one lies.
fn keep(cache: &Path, model: &Listed) {
    let path = cache.join("imprint/models").join(&model.file);
    #[cfg(unix)]
    std::os::unix::fs::symlink(model_path(), path).unwrap();
    #[cfg(not(unix))]
    fs::copy(model_path(), path).unwrap();
}

#[test]
fn what_the_list_tells_of_memory_is_what_the_headers_say() {
    for (model, path) in list().iter().zip([model_path(), gemma_path()]) {
        let file = fs::read(path).unwrap();
        let gguf = block_on(Gguf::read(&file)).unwrap();
        let config = ModelConfig::from_gguf(&gguf).unwrap();
        let Needs { gpu_bytes, gpu_piece_bytes, cpu_bytes } = Needs::of(&gguf, &config, config.context.min(2048));
        assert_eq!(model.size_bytes, file.len() as u64, "{}", model.id);
        assert_eq!(model.memory, Memory { gpu_bytes, gpu_piece_bytes, cpu_bytes }, "{}", model.id);
    }
}

#[test]
fn models_are_listed_with_what_a_person_must_know() {
    let cache = cache("listing");
    keep(&cache, &list()[0]);
    let told = object(&imprint(&cache, &["models"]));
    let rows = told["models"].as_array().unwrap();
    assert_eq!(rows.len(), list().len());
    for (row, model) in rows.iter().zip(list()) {
        assert_eq!(row["id"], model.id.as_str());
        assert_eq!(row["size_bytes"], model.size_bytes);
        assert_eq!(row["licence"]["name"], model.licence.name.as_str());
        assert_eq!(row["cpu_bytes"], model.memory.cpu_bytes);
        assert_eq!(row["accepted"], !model.licence.terms);
    }
    assert!(rows[0]["path"].as_str().unwrap().ends_with(&list()[0].file) && rows[1]["path"].is_null());
}

#[test]
fn a_kept_model_is_found_by_its_name() {
    let cache = cache("by-name");
    keep(&cache, &list()[0]);
    let told = object(&imprint(&cache, &["info", "smollm2", "--offline"]));
    assert_eq!(told["size_bytes"], list()[0].size_bytes, "{told}");
    let told = object(&imprint(&cache, &["info", "no-such-model"]));
    assert_eq!(told["error"]["code"], "model-unreachable");
    assert!(told["error"]["message"].as_str().unwrap().contains("smollm2-135m, gemma-3-270m"), "{told}");
}

#[test]
fn terms_stand_before_the_use_of_a_model_until_they_are_accepted() {
    let cache = cache("terms");
    let refused = imprint(&cache, &["info", "gemma-3-270m", "--offline"]);
    let told = object(&refused);
    assert_eq!((refused.status.code(), &told["error"]["code"]), (Some(2), &Value::from("invalid-option")));
    let sentence = told["error"]["message"].as_str().unwrap();
    assert!(
        sentence.contains("https://ai.google.dev/gemma/terms") && sentence.contains("--accept-terms"),
        "{sentence}"
    );
    let accepted = object(&imprint(&cache, &["info", "gemma-3-270m", "--offline", "--accept-terms"]));
    assert_eq!(accepted["error"]["code"], "model-unreachable", "the terms are no hindrance any more: {accepted}");
    let later = object(&imprint(&cache, &["info", "gemma-3-270m", "--offline"]));
    assert_eq!(later["error"]["code"], "model-unreachable", "{later}");
}
