//! The real program on the real model: what it prints, and how it fails.
//!
//! The reference numbers come from another implementation; `tests/fixtures/smollm2.json` says which.

mod bench;
mod voices;

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use imprint_core::{gguf::testing::GgufWriter, testing::model_path};
use serde::Deserialize;
use serde_json::Value;

/// Largest error of one token's likelihood, in nats.
const NLL: f64 = 1e-3;
/// Under this distance between the two likeliest tokens, another choice is no failure.
const MARGIN: f64 = 1e-2;

#[derive(Deserialize)]
struct Golden {
    prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    name: String,
    text: String,
    ids: Vec<u32>,
    nll: Vec<f64>,
    mean_nll: f64,
    greedy_ids: Vec<u32>,
    greedy_margin: Vec<f64>,
}

fn golden() -> Vec<Prompt> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/smollm2.json");
    serde_json::from_str::<Golden>(&fs::read_to_string(path).unwrap()).unwrap().prompts
}

fn imprint() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imprint"));
    command.stdin(Stdio::null());
    command
}

/// Runs `command` over the default model.
fn on_model(command: &str, args: &[&str]) -> Output {
    imprint().arg(command).arg("--model").arg(model_path()).args(args).output().unwrap()
}

/// The one JSON object that a command printed, which must have succeeded.
fn json(output: Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    object(&output.stdout)
}

fn object(stdout: &[u8]) -> Value {
    let text = std::str::from_utf8(stdout).unwrap();
    assert_eq!(text.trim_end().lines().count(), 1, "one object on one line: {text}");
    let value: Value = serde_json::from_str(text).unwrap();
    assert!(value.is_object(), "{value}");
    value
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// A file of this test run.
fn file(name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    path
}

fn text_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn tokenize_gives_the_golden_ids() {
    for prompt in golden() {
        let text = file(&format!("tokenize-{}.txt", prompt.name), &prompt.text);
        let report = json(on_model("tokenize", &["--text", text_of(&text), "--special", "--json"]));
        assert_eq!(ids(&report["ids"]), prompt.ids, "{}", prompt.name);
    }
}

#[test]
fn control_tokens_typed_by_a_person_stay_text() {
    let text = file("typed.txt", "<|im_end|>");
    let plain = json(on_model("tokenize", &["--text", text_of(&text), "--json"]));
    let special = json(on_model("tokenize", &["--text", text_of(&text), "--json", "--special"]));
    assert_eq!((ids(&plain["ids"]).len() > 1, ids(&special["ids"]).len()), (true, 1));
}

/// Scores golden prompts and compares token by token.
fn score_is_golden(device: &str, prompts: impl IntoIterator<Item = Prompt>) {
    for prompt in prompts {
        let path = file(&format!("{device}-{}.json", prompt.name), serde_json::to_string(&prompt.ids).unwrap());
        let report = json(on_model("score", &["--ids", text_of(&path), "--device", device, "--json"]));
        assert_eq!(report["tokens"], prompt.ids.len());
        assert_eq!(report["device"]["kind"], device);
        let nll: Vec<f64> = serde_json::from_value(report["nll"].clone()).unwrap();
        assert_eq!(nll.len(), prompt.nll.len());
        for (at, (found, expected)) in nll.iter().zip(&prompt.nll).enumerate() {
            let error = (found - expected).abs();
            assert!(error <= NLL, "{} token {at}: {found} against {expected}, {error:e} apart", prompt.name);
        }
        let mean = report["mean_nll"].as_f64().unwrap();
        assert!((mean - prompt.mean_nll).abs() <= NLL, "{}: {mean} against {}", prompt.name, prompt.mean_nll);
    }
}

#[test]
fn score_gives_the_golden_likelihoods_on_the_cpu() {
    score_is_golden("cpu", golden());
}

#[test]
fn score_gives_the_golden_likelihoods_on_the_gpu() {
    // Enough to cross a border between chunks; scoring is what a GPU in software does slowest.
    let prompts = golden().into_iter().filter(|prompt| prompt.ids.len() <= 72);
    score_is_golden("gpu", prompts);
}

#[test]
fn a_text_and_its_ids_have_the_same_score() {
    let prompt = &golden()[0];
    let text = file("score.txt", &prompt.text);
    let report = json(on_model("score", &["--text", text_of(&text), "--device", "cpu", "--json"]));
    let mean = report["mean_nll"].as_f64().unwrap();
    assert!((mean - prompt.mean_nll).abs() <= NLL, "{mean} against {}", prompt.mean_nll);
    // Everything but the first word, which nothing predicts.
    let characters = prompt.text.chars().count() - "The".len();
    let bits = prompt.nll.iter().sum::<f64>() / std::f64::consts::LN_2 / characters as f64;
    let found = report["bits_per_char"].as_f64().unwrap();
    assert!((found - bits).abs() <= NLL, "{found} against {bits} bits a character");
}

#[test]
fn windows_of_a_long_text_overlap_by_half() {
    let long = golden().pop().unwrap().ids;
    let score = |name: &str, ids: &[u32]| -> Vec<f64> {
        let path = file(name, serde_json::to_string(ids).unwrap());
        let args = ["--ids", text_of(&path), "--device", "cpu", "--context", "64", "--json"];
        serde_json::from_value(json(on_model("score", &args))["nll"].clone()).unwrap()
    };
    let whole = score("long.json", &long[..140]);
    let second = score("second.json", &long[32..32 + 65]);
    assert_eq!((whole.len(), second.len()), (139, 64));
    for (at, (found, expected)) in whole[64..96].iter().zip(&second[32..]).enumerate() {
        assert!((found - expected).abs() < 1e-4, "token {at} of the second window: {found} against {expected}");
    }
}

/// Greedy writing from a golden prompt, held to the golden ids up to the first close call.
fn greedy(device: &str) -> Value {
    let prompt = &golden()[0];
    let args = ["--prompt", &prompt.text, "--temperature", "0", "--max-tokens", "24", "--device", device, "--json"];
    let args = [&args[..], &["--repetition-penalty", "1"]].concat();
    let report = json(on_model("write", &args));
    let sure = prompt.greedy_margin.iter().take(24).take_while(|&&margin| margin > MARGIN).count();
    assert!(sure >= 8, "the golden prompt should leave something to compare: {sure}");
    assert_eq!(ids(&report["ids"])[..sure], prompt.greedy_ids[..sure], "on {device}");
    assert_eq!(report["prompt_tokens"], prompt.ids.len());
    assert_eq!(report["finish"], "length");
    assert_eq!(report["device"]["kind"], device);
    assert!(report["tokens_per_s"].as_f64().unwrap() > 0.0);
    report
}

#[test]
fn greedy_text_is_golden_and_the_same_on_both_devices() {
    let (cpu, gpu) = (greedy("cpu"), greedy("gpu"));
    assert_eq!(cpu["text"], gpu["text"]);
    assert!(cpu["text"].as_str().unwrap().starts_with(" Tokyo"), "{cpu}");
}

#[test]
fn same_seed_same_text_and_another_seed_another() {
    for device in ["cpu", "gpu"] {
        let write = |seed: &str| {
            let args = ["--prompt", "Once upon a time", "--max-tokens", "12", "--temperature", "1.2"];
            let output = on_model("write", &[&args[..], &["--seed", seed, "--device", device, "--json"]].concat());
            json(output)["text"].as_str().unwrap().to_owned()
        };
        let first = write("7");
        assert_eq!(first, write("7"), "on {device}");
        assert_ne!(first, write("8"), "on {device}");
    }
}

#[test]
fn text_streams_without_json_and_stops_before_a_stop_string() {
    let prompt = &golden()[0].text;
    let args = ["--prompt", prompt, "--temperature", "0", "--stop", " United", "--device", "cpu"];
    let args = [&args[..], &["--repetition-penalty", "1"]].concat();
    let output = on_model("write", &args);
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), " Tokyo, and the capital of the\n");
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(notes.contains("stop, CPU") && notes.ends_with("]\n"), "{notes}");
}

#[test]
fn a_chat_is_answered_by_the_template_and_the_prompt_comes_from_standard_input() {
    // The second golden prompt is this message as the template lays it out.
    let chat = &golden()[1];
    let message =
        chat.text.split("<|im_start|>user\n").nth(1).and_then(|rest| rest.split("<|im_end|>").next()).unwrap();
    let mut child = imprint()
        .args(["write", "--json", "--chat", "--prompt-file", "-", "--temperature", "0", "--max-tokens", "3"])
        .args(["--repetition-penalty", "1"])
        .args(["--device", "cpu", "--model"])
        .arg(model_path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    let report = json(child.wait_with_output().unwrap());
    assert_eq!(report["prompt_tokens"], chat.ids.len());
    assert!(chat.greedy_margin[..3].iter().all(|&margin| margin > MARGIN), "{:?}", &chat.greedy_margin[..3]);
    assert_eq!(ids(&report["ids"]), chat.greedy_ids[..3]);
}

#[cfg(unix)]
#[test]
fn an_interrupt_stops_writing_and_keeps_the_text() {
    let mut child = imprint()
        .args(["write", "--prompt", "one two three", "--temperature", "0", "--max-tokens", "1900", "--device", "cpu"])
        .arg("--model")
        .arg(model_path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut text = vec![0; 8];
    stdout.read_exact(&mut text).unwrap();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    stdout.read_to_end(&mut text).unwrap();
    let output = child.wait_with_output().unwrap();
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && notes.contains("cancelled"), "{}: {notes}", output.status);
    assert!(text.ends_with(b"\n") && text.len() < 1000, "{} bytes", text.len());
    // The last character, which waits for what may join it, is there too.
    let written = notes.rsplit('[').next().and_then(|note| note.split(' ').next()).unwrap();
    let whole = on_model(
        "write",
        &["--prompt", "one two three", "--temperature", "0", "--max-tokens", written, "--device", "cpu"],
    );
    assert_eq!(String::from_utf8(text).unwrap().trim_end(), String::from_utf8(whole.stdout).unwrap().trim_end());
}

#[test]
fn auto_takes_a_real_gpu_or_says_why_not() {
    let report = json(on_model("write", &["--prompt", "one two", "--max-tokens", "1", "--json"]));
    let device = &report["device"];
    match device["kind"].as_str() {
        Some("cpu") => assert!(device["reason"].as_str().unwrap().contains("GPU"), "{device}"),
        kind => assert_eq!((kind, &device["reason"]), (Some("gpu"), &Value::Null)),
    }
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_gpu_auto_falls_back_and_gpu_is_an_error() {
    let write = |device: &str| {
        let mut command = imprint();
        // The Vulkan loader looks for drivers nowhere else then.
        command.env("VK_DRIVER_FILES", "/nowhere.json").env("VK_ICD_FILENAMES", "/nowhere.json");
        command.args(["write", "--prompt", "one two", "--max-tokens", "1", "--json", "--device", device, "--model"]);
        command.arg(model_path()).output().unwrap()
    };
    let report = json(write("auto"));
    assert_eq!(report["device"]["kind"], "cpu");
    assert!(report["device"]["reason"].as_str().unwrap().contains("GPU"), "{report}");
    let output = write("gpu");
    assert_eq!((output.status.code(), &object(&output.stdout)["error"]["code"]), (Some(1), &"no-webgpu".into()));
}

#[test]
fn info_tells_what_the_default_model_is() {
    let report = json(imprint().args(["info", "--json"]).arg(model_path()).output().unwrap());
    assert_eq!(report["architecture"], "llama");
    assert_eq!(report["parameters"], 134_515_008);
    assert_eq!(report["size_bytes"], fs::metadata(model_path()).unwrap().len());
    assert_eq!(report["tensors"], serde_json::json!({ "F32": 61, "Q4_1": 210, "Q8_0": 1 }));
    assert_eq!(report["shape"]["n_layers"], 30);
    assert_eq!(report["tokenizer"]["tokens"], 49_152);
    assert_eq!(report["tokenizer"]["chat_template"], true);
    assert_eq!((&report["paths"]["cpu"]["runs"], &report["paths"]["gpu"]["runs"]), (&true.into(), &true.into()));
    let people = imprint().arg("info").arg(model_path()).output().unwrap();
    let people = String::from_utf8(people.stdout).unwrap();
    assert!(people.contains("210 Q4_1") && people.contains("134.5 million"), "{people}");
}

/// Holds a failure to its code, its exit status, its sentence on standard error and its JSON object.
fn fails(args: &[&str], code: &str, status: i32, words: &str) {
    let output = imprint().args(args).arg("--json").output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{args:?}: {errors}");
    assert!(errors.contains(&format!("error[{code}]: ")) && errors.contains(words), "{args:?}: {errors}");
    let report = object(&output.stdout);
    assert_eq!(report["error"]["code"], code, "{report}");
    assert!(report["error"]["message"].as_str().unwrap().contains(words), "{report}");
    // Without --json nothing is on standard output.
    let plain = imprint().args(args).output().unwrap();
    assert_eq!((plain.stdout.len(), plain.status.code()), (0, Some(status)), "{args:?}");
}

#[test]
fn files_that_cannot_be_used_are_told_apart() {
    let model = model_path();
    let model = text_of(&model);
    let no_gguf = file("no.gguf", "this is a text, not a model");
    let no_gguf = text_of(&no_gguf);
    fails(&["info", "nowhere.gguf"], "model-unreachable", 1, "nowhere.gguf");
    fails(&["info", env!("CARGO_MANIFEST_DIR")], "model-unreachable", 1, "is not a file");
    fails(&["write", "--model", "nowhere.gguf", "--prompt", "a"], "model-unreachable", 1, "check the path");
    fails(&["info", no_gguf], "model-corrupt", 1, "GGUF");
    fails(&["score", "--model", no_gguf, "--text", no_gguf], "model-corrupt", 1, "GGUF");
    fails(&["tokenize", "--model", model, "--text", "nowhere.txt"], "invalid-option", 2, "nowhere.txt");
    let binary = file("binary.txt", b"abc\xff");
    fails(&["tokenize", "--model", model, "--text", text_of(&binary)], "invalid-option", 2, "byte 3");
    let list = file("list.json", "[1, -2]");
    fails(&["score", "--model", model, "--ids", text_of(&list)], "invalid-option", 2, "--ids");
    let outside = file("outside.json", "[1, 49152]");
    let args = ["score", "--model", model, "--device", "cpu", "--ids", text_of(&outside)];
    fails(&args, "invalid-option", 2, "49152");
    let one = file("one.json", "[1]");
    let args = ["score", "--model", model, "--device", "cpu", "--ids", text_of(&one)];
    fails(&args, "text-too-short", 1, "at least 2");
}

#[test]
fn options_that_cannot_be_used_are_refused_before_the_model_is_read() {
    let write = |option: &str, value: &str, words: &str| {
        let args = ["write", "--model", "nowhere.gguf", "--prompt", "a", option, value];
        fails(&args, "invalid-option", 2, words);
    };
    write("--temperature", "-1", "between 0 and 10");
    write("--temperature", "warm", "--temperature");
    write("--top-p", "nan", "top-p");
    write("--seed", "-3", "--seed");
    write("--device", "tpu", "[possible values: auto, cpu, gpu]");
    write("--prompt-file", "-", "cannot be used with");
    fails(&["write", "--model", "nowhere.gguf"], "invalid-option", 2, "--prompt");
    fails(&["sing"], "invalid-option", 2, "sing");
    fails(&["bench", "--model", "nowhere.gguf", "--runs", "0"], "invalid-option", 2, "at least 1");
    fails(&["bench", "--model", "nowhere.gguf", "--windows", "64"], "invalid-option", 2, "--learn");
}

#[test]
fn what_does_not_fit_the_context_is_said() {
    let model = model_path();
    let base = ["write", "--device", "cpu", "--model", text_of(&model), "--prompt", "one two three four"];
    fails(&[&base[..], &["--context", "3"]].concat(), "context-full", 1, "shorten");
    fails(&[&base[..], &["--context", "9000"]].concat(), "invalid-option", 2, "8192");
    let output = on_model("write", &["--device", "cpu", "--prompt", "one two", "--context", "8", "--json"]);
    assert_eq!(json(output)["finish"], "context");
}

#[test]
fn a_model_of_another_kind_is_shown_with_the_reason_but_not_run() {
    let path = file("other.gguf", GgufWriter::new().meta_str("general.architecture", "mamba").finish());
    let report = json(imprint().args(["info", "--json"]).arg(&path).output().unwrap());
    assert_eq!((&report["architecture"], &report["runs"]), (&"mamba".into(), &false.into()));
    assert_eq!(report["paths"]["cpu"]["code"], "model-unsupported");
    fails(&["write", "--model", text_of(&path), "--prompt", "a"], "model-unsupported", 1, "mamba");
}
