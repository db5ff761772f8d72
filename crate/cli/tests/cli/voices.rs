//! Voices: learned, refused, mixed, attached.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use imprint_core::{
    adapter::{Adapter, Shape},
    config::ModelConfig,
    gguf::Gguf,
    peft,
    testing::model_path,
};
use serde_json::Value;

use crate::{fails, file, ids, imprint, json, object, on_model, text_of};

/// Learns from the start of the project's own design, in six steps that see little each.
fn learn(name: &str, more: &[&str]) -> (Command, PathBuf) {
    let design = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../DESIGN.md")).unwrap();
    let text = file(&format!("{name}.txt"), design.chars().take(4000).collect::<String>());
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    for left in [out.clone(), out.with_file_name(format!("{name}.learning"))] {
        let _ = fs::remove_dir_all(left);
    }
    let mut command = imprint();
    command.args(["learn", "--device", "cpu", "--json", "--text", text_of(&text), "--out", text_of(&out), "--model"]);
    command.arg(model_path()).args(more);
    (command, out)
}

const SIX_STEPS: [&str; 8] =
    ["--window", "32", "--passes", "0.2", "--rank", "2", "--recipe", r#"{ "interval": 1000, "rate": 0.003 }"#];

/// The last line of a run, under its name.
fn last(output: &Output, name: &str) -> Value {
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    let line: Value = serde_json::from_str(lines.lines().last().unwrap_or_default()).unwrap();
    assert!(line[name].is_object(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    line[name].clone()
}

#[cfg(unix)]
#[test]
fn a_run_that_was_paused_leaves_the_same_adapter_as_one_that_was_not() {
    let (mut whole, whole_out) = learn("whole", &SIX_STEPS);
    let done = last(&whole.output().unwrap(), "done");
    let bits = |name: &str| done[name].as_f64().unwrap();
    assert!(bits("holdout_bits_per_char_after") < bits("holdout_bits_per_char_before"), "{done}");
    assert!(done["own_copied"]["share"].is_number() && done["copied"]["longest"].is_number(), "{done}");
    let config = fs::read_to_string(whole_out.join("adapter_config.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&config).unwrap()["r"], 2);

    let (mut paused, out) = learn("paused", &SIX_STEPS);
    let mut child = paused.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = String::new();
    while !lines.contains("\"step\":2,") {
        let mut part = [0; 256];
        let n = child.stdout.as_mut().unwrap().read(&mut part).unwrap();
        assert!(n > 0, "{lines}");
        lines.push_str(std::str::from_utf8(&part[..n]).unwrap());
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &last(&output, "error")["code"]), (Some(1), &"cancelled".into()));
    assert!(!out.exists());
    // Another run in its place is refused; it goes on instead.
    let text = out.with_file_name("paused.txt");
    let again = ["learn", "--device", "cpu", "--text", text_of(&text), "--out", text_of(&out), "--model"];
    let model = model_path();
    fails(&[&again[..], &[text_of(&model)]].concat(), "invalid-option", 2, "--resume");
    let output = imprint().args(again).arg(model_path()).args(["--resume", "--json"]).output().unwrap();
    assert_eq!(last(&output, "done")["holdout_bits_per_char_after"], done["holdout_bits_per_char_after"]);
    assert!(!out.with_file_name("paused.learning").exists() && !out.join("checkpoint").exists());
    for name in ["adapter_config.json", "adapter_model.safetensors", "imprint_prints.bin"] {
        let [a, b] = [&whole_out, &out].map(|folder| fs::read(folder.join(name)).unwrap());
        assert!(a == b, "{name} differs");
    }

    let guarded = ["write", "--device", "cpu", "--adapter", text_of(&out), "--prompt", "Why", "--max-tokens", "12"];
    let write = |more: &[&str]| {
        let output = imprint().args(guarded).args(more).args(["--json", "--model"]).arg(model_path()).output().unwrap();
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap())
    };
    let (code, report) = write(&["--max-copied-words", "7", "--without-names"]);
    assert_eq!((code, &report["copied"]["share"]), (Some(0), &0.0.into()), "{report}");
    let (code, report) = write(&["--max-copied-words", "6"]);
    assert_eq!((code, &report["error"]["code"]), (Some(2), &"invalid-option".into()), "{report}");
    // In llama.cpp's layout the prints and the notes travel inside, and back.
    let gguf = out.with_extension("gguf");
    let back = out.with_extension("back");
    let _ = (fs::remove_file(&gguf), fs::remove_dir_all(&back));
    for (from, to) in [(&out, &gguf), (&gguf, &back)] {
        let args = ["--adapter", text_of(from), "--out", text_of(to), "--json"];
        assert_eq!(json(on_model("convert", &args))["prints"], true);
    }
    for name in ["adapter_config.json", "adapter_model.safetensors", "imprint_prints.bin"] {
        let [a, b] = [&out, &back].map(|folder| fs::read(folder.join(name)).unwrap());
        assert!(a == b, "{name} differs after llama.cpp's layout");
    }
    fs::remove_file(out.join("imprint_prints.bin")).unwrap();
    let (code, report) = write(&[]);
    assert_eq!((code, &report["copied"]), (Some(0), &Value::Null), "an adapter without prints still writes: {report}");
    let (code, report) = write(&["--without-names"]);
    assert_eq!((code, &report["error"]["code"]), (Some(2), &"invalid-option".into()), "{report}");
    // Beside a voice whose text is known, one without prints is no reason to guard nothing.
    let beside = weighed(&gguf, "0.5");
    let (code, report) = write(&["--adapter", &beside, "--max-copied-words", "7", "--without-names"]);
    assert_eq!((code, &report["copied"]["share"]), (Some(0), &0.0.into()), "{report}");
}

#[test]
fn an_adapter_worse_than_none_is_not_saved() {
    let recipe = r#"{ "rate": 1.0, "passes": 0.01 }"#;
    let (mut command, out) = learn("worse", &["--window", "32", "--rank", "1", "--recipe", recipe]);
    let output = command.output().unwrap();
    let error = last(&output, "error");
    assert_eq!((output.status.code(), &error["code"]), (Some(1), &"nothing-learned".into()), "{error}");
    assert!(error["message"].as_str().unwrap().contains("no better"), "{error}");
    assert!(!out.exists() && !out.with_file_name("worse.learning").exists());
}

#[test]
fn what_cannot_be_learned_is_said() {
    let model = model_path();
    let short = file("short.txt", "A single sentence, and no more than that.");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("refused");
    let base = ["learn", "--text", text_of(&short), "--out", text_of(&out), "--device", "cpu", "--model"];
    let refused = |model: &str, more: &[&str], code: &str, status: i32, words: &str| {
        fails(&[&base[..], &[model], more].concat(), code, status, words);
    };
    refused("nowhere.gguf", &["--rank", "0"], "invalid-option", 2, "between 1 and 256");
    refused("nowhere.gguf", &["--recipe", "fast"], "invalid-option", 2, "--recipe");
    refused("nowhere.gguf", &["--recipe", "{ \"depth\": 1 }"], "invalid-option", 2, "depth");
    let taken = ["learn", "--text", text_of(&short), "--out", env!("CARGO_MANIFEST_DIR"), "--model", "nowhere.gguf"];
    fails(&taken, "invalid-option", 2, "there already");
    refused("nowhere.gguf", &["--resume"], "invalid-option", 2, "without --resume");
    refused("nowhere.gguf", &["--resume", "--rank", "4"], "invalid-option", 2, "cannot be used with");
    refused(text_of(&model), &[], "text-too-short", 1, "at least 512");
    assert!(!out.exists() && !out.with_file_name("refused.learning").exists());
}

/// A path with a weight, as `--adapter` takes it.
fn weighed(path: &Path, weight: &str) -> String {
    format!("{}={weight}", text_of(path))
}

/// A folder with an adapter that changes what the default model writes.
fn adapter_folder(name: &str, base: Option<&str>) -> PathBuf {
    let gguf = pollster::block_on(Gguf::read(&fs::read(model_path()).unwrap())).unwrap();
    let config = ModelConfig::from_gguf(&gguf).unwrap();
    let mut adapter = Adapter::fresh(base.map(str::to_owned), &config, &Shape::default(), 1).unwrap();
    let values: Vec<f32> = adapter
        .parameters()
        .iter()
        .enumerate()
        .map(|(i, &v)| if v == 0.0 { (i % 7) as f32 * 0.004 } else { v })
        .collect();
    adapter.set_parameters(&values);
    let files = peft::export(&adapter, &config, &Default::default()).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("adapter_config.json"), files.config_json).unwrap();
    fs::write(folder.join("adapter_model.safetensors"), files.safetensors).unwrap();
    folder
}

#[test]
fn an_adapter_speaks_as_strongly_as_it_is_asked_to() {
    let folder = adapter_folder("adapter", None);
    let write = |more: &[&str]| {
        let args =
            ["--prompt", "The house was", "--max-tokens", "5", "--temperature", "0", "--device", "cpu", "--json"];
        ids(&json(on_model("write", &[&args, more].concat()))["ids"])
    };
    let adapter = ["--adapter", text_of(&folder), "--strength"];
    let at = |strength: &str| write(&[&adapter[..], &[strength]].concat());
    let base = write(&[]);
    assert_eq!(at("0"), base);
    assert_ne!(at("1"), base);
    let contrast = write(&[&adapter[..], &["1", "--mode", "contrast"]].concat());
    assert_eq!(contrast, at("1"), "a contrast of 1 is the adapter itself");

    let ids = file("adapter-ids.json", "[504, 3575, 282, 4649]");
    let score = |more: &[&str]| {
        let args = ["--ids", text_of(&ids), "--device", "cpu", "--json"];
        json(on_model("score", &[&args, more].concat()))["mean_nll"].as_f64().unwrap()
    };
    let adapter = ["--adapter", text_of(&folder)];
    assert_ne!(score(&adapter), score(&[]));
    assert_eq!(score(&[&adapter[..], &["--strength", "0"]].concat()), score(&[]));
}

#[test]
fn several_adapters_speak_at_once_and_travel_as_one_in_every_layout() {
    let (one, two) = (adapter_folder("mix-one", None), adapter_folder("mix-two", None));
    // The same numbers in two folders, so a half and a quarter are three quarters of either.
    let ids = file("mix-ids.json", "[504, 3575, 282, 4649, 314]");
    let score = |more: &[&str]| {
        let args = ["--ids", text_of(&ids), "--device", "cpu", "--json"];
        json(on_model("score", &[&args[..], more].concat()))["mean_nll"].as_f64().unwrap()
    };
    let (half, quarter) = (weighed(&one, "0.5"), weighed(&two, "0.25"));
    let mix = ["--adapter", &half, "--adapter", &quarter];
    let close =
        |found: f64, expected: f64, what: &str| assert!((found - expected).abs() < 1e-4, "{what}: {found}, {expected}");
    let expected = score(&["--adapter", text_of(&one), "--strength", "0.75"]);
    close(score(&mix), expected, "one voice in two parts");
    close(score(&["--adapter", &weighed(&one, "0.75")]), expected, "a weight is a strength");
    let there = |name: &str| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = (fs::remove_dir_all(&path), fs::remove_file(&path));
        path
    };
    for (name, layout) in [("mix.gguf", "llama.cpp"), ("mix-folder", "PEFT")] {
        let out = there(name);
        let report = json(on_model("convert", &[&mix[..], &["--out", text_of(&out), "--json"]].concat()));
        assert_eq!(
            (&report["layout"], &report["rank"], &report["prints"]),
            (&layout.into(), &16.into(), &false.into())
        );
        close(score(&["--adapter", text_of(&out)]), expected, name);
        let again = on_model("convert", &[&mix[..], &["--out", text_of(&out), "--json"]].concat());
        assert_eq!((again.status.code(), &object(&again.stdout)["error"]["code"]), (Some(2), &"invalid-option".into()));
    }
    let loud = weighed(&one, "2.5");
    let args = ["write", "--model", "nowhere.gguf", "--prompt", "a", "--adapter", &loud];
    fails(&args, "invalid-option", 2, "between 0 and 2");
    fails(&["convert", "--model", text_of(&model_path()), "--out", "nowhere"], "invalid-option", 2, "--adapter");
}

#[test]
fn an_adapter_that_cannot_be_used_is_refused() {
    let refused = |args: &[&str]| {
        let args = [&["--prompt", "x", "--max-tokens", "1", "--device", "cpu", "--json"], args].concat();
        let output = on_model("write", &args);
        assert!(!output.status.success());
        object(&output.stdout)["error"]["code"].as_str().unwrap().to_owned()
    };
    let foreign = adapter_folder("foreign", Some(&"0".repeat(64)));
    assert_eq!(refused(&["--adapter", text_of(&foreign)]), "adapter-wrong-base");
    assert_eq!(refused(&["--adapter", "no/such/folder"]), "invalid-option");
    assert_eq!(refused(&["--strength", "1"]), "invalid-option");
    assert_eq!(refused(&["--adapter", text_of(&foreign), "--strength", "9"]), "invalid-option");
}
