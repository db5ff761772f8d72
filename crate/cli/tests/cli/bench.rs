//! What is measured is told in full, on both devices.

use std::{fs, path::Path};

use imprint_core::testing::model_path;
use serde_json::Value;

use crate::{json, on_model};

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
