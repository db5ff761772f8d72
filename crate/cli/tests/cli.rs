//! The real program on the real model: what it prints, and how it fails.
//!
//! The reference numbers come from another implementation; `tests/fixtures/smollm2.json` says which.

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use imprint_core::{
    adapter::{Adapter, Shape},
    config::ModelConfig,
    gguf::{Gguf, testing::GgufWriter},
    peft,
    testing::model_path,
};
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

#[test]
fn bench_measures_both_devices() {
    for (device, dispatches) in [("cpu", 0..=0), ("gpu", 1..=220)] {
        let args = ["--device", device, "--prompt-tokens", "32", "--tokens", "8", "--runs", "1", "--json"];
        let report = json(on_model("bench", &args));
        for name in ["load_ms", "prefill_tokens_per_s", "decode_tokens_per_s"] {
            let value = report[name].as_f64().unwrap();
            assert!(value.is_finite() && value > 0.0, "{name} on {device}: {value}");
        }
        assert!(dispatches.contains(&report["dispatches_per_token"].as_u64().unwrap()), "{report}");
        let file_bytes = fs::metadata(model_path()).unwrap().len() as f64;
        let weights = report["weight_bytes"].as_f64().unwrap() / file_bytes;
        assert!((0.9..=1.15).contains(&weights), "weights on {device} take {weights} of the file");
        if cfg!(target_os = "linux") {
            let (peak, weights) = (report["peak_bytes"].as_u64().unwrap(), report["weight_bytes"].as_u64().unwrap());
            assert!(peak > weights, "{report}");
            // The file is never held beside the weights.
            assert!(device == "gpu" || peak < 2 * weights, "{report}");
            assert!(report["cpu_s_per_token"].as_f64().unwrap() > 0.0);
        }
        assert_eq!(report["tokens"], 8);
    }
}

#[test]
fn bench_tells_every_kernel_on_both_devices() {
    let tables = |device, more: &[&str]| {
        let args = ["--kernels", "--device", device, "--prompt-tokens", "16", "--runs", "1", "--json"];
        let report = json(on_model("bench", &[&args[..], more].concat()));
        report["tables"].as_array().unwrap().clone()
    };
    let has = |table: &Value, names: &[&str]| {
        for &name in names {
            let kernels = table["kernels"].as_array().unwrap();
            let kernel =
                kernels.iter().find(|kernel| kernel["name"] == name).unwrap_or_else(|| panic!("{name} in {table}"));
            for number in ["time_ms", "share", "bytes", "flops", "share_of_bound"] {
                assert!(kernel[number].as_f64().unwrap() > 0.0, "{number} of {name}: {table}");
            }
        }
    };
    let file_bytes = fs::metadata(model_path()).unwrap().len() as f64;
    for (device, names) in [("cpu", ["q k v", "attention", "head"]), ("gpu", ["qkv", "attention", "head"])] {
        let tables = tables(device, &[]);
        has(&tables[0], &names);
        // A token reads every weight but those of the embedding, which is also the head.
        let kernels = tables[0]["kernels"].as_array().unwrap();
        let bytes: u64 = kernels.iter().map(|kernel| kernel["bytes"].as_u64().unwrap()).sum();
        let share = bytes as f64 / file_bytes;
        assert!((0.95..=1.05).contains(&share), "a token reads {share} of the file on {device}");
        if device == "gpu" {
            assert_eq!((&tables[1]["what"], &tables[1]["tokens"]), (&"prompt".into(), &16.into()));
            has(&tables[1], &["qkv", "attention", "gate up"]);
        }
    }
    let steps = tables("gpu", &["--learn", "--windows", "9", "--accumulation", "2"]);
    assert_eq!((&steps[0]["what"], &steps[0]["tokens"]), (&"step".into(), &16.into()));
    has(&steps[0], &["product", "head", "head back", "product back"]);
}

#[test]
fn bench_measures_learning_on_both_devices() {
    for (device, lengths) in [("cpu", &[8, 16][..]), ("gpu", &[16])] {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-adapter-{device}"));
        let list = lengths.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let args = ["--learn", "--windows", &list, "--tokens", "3", "--prompt-tokens", "16", "--runs", "1", "--json"];
        let args = [&args[..], &["--device", device, "--adapter-out", out.to_str().unwrap()]].concat();
        let report = json(on_model("bench", &args));
        let windows = report["windows"].as_array().unwrap();
        assert_eq!(windows.iter().map(|window| window["tokens"].as_u64().unwrap()).collect::<Vec<_>>(), lengths);
        for window in windows {
            for name in ["step_s", "tokens_per_s", "prefill_s", "step_over_prefill"] {
                let value = window[name].as_f64().unwrap();
                assert!(value.is_finite() && value > 0.0, "{name} on {device}: {value}");
            }
            let learned = (window["tokens"].as_f64().unwrap() - 1.0) / window["step_s"].as_f64().unwrap();
            assert!((window["tokens_per_s"].as_f64().unwrap() / learned - 1.0).abs() < 1e-6, "{window}");
            assert_eq!(window["gpu_bytes"].is_null(), device == "cpu", "{window}");
            if cfg!(target_os = "linux") {
                assert!(window["cpu_s_per_step"].as_f64().unwrap() > 0.0 && window["peak_bytes"].as_u64().unwrap() > 0);
            }
        }
        for name in ["adapter_over_base", "contrast_over_one_row"] {
            assert!(report["writing"][name].as_f64().unwrap() > 0.0, "{report}");
        }
        let prompt =
            ["--device", device, "--adapter", out.to_str().unwrap(), "--prompt", "The sea", "--max-tokens", "2"];
        json(on_model("write", &[&prompt[..], &["--json"]].concat()));
    }
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
