//! Kernels chosen by measurement: the fastest cut is taken, whatever it is, and computes what the plain path computes.

use std::cell::Cell;

use imprint_core::{
    fused::Variant,
    kernels::{
        gpu::{Gpu, GpuOptions},
        project::Cut,
    },
    model::Keep,
    quant::BlockType,
};
use pollster::block_on;

use crate::{
    kernels::{fused_equals_plain, load_fused, shuffled, small_model},
    material::*,
};

/// Times read while a cut is measured, and before each but the first.
const READINGS: usize = 2 * (4 + 3);

/// A clock by which the `n`th measured cut takes `ms(n)` for everything that is timed.
fn clock(ms: impl Fn(usize) -> f64) -> impl Fn() -> f64 {
    let (calls, now_ms) = (Cell::new(0), Cell::new(0.0));
    move || {
        let call: usize = calls.replace(calls.get() + 1);
        // The first tells when the whole begins; each later cut reads the clock once more, to see whether there is time.
        let (cut, within) = match call.checked_sub(1) {
            None => return 0.0,
            Some(call) if call < READINGS => (0, call),
            Some(call) => {
                ((call - READINGS) / (READINGS + 1) + 1, ((call - READINGS) % (READINGS + 1)).wrapping_sub(1))
            }
        };
        if within % 2 == 1 && within < READINGS {
            now_ms.set(now_ms.get() + ms(cut));
        }
        now_ms.get()
    }
}

fn candidates(gpu: &Gpu) -> [Vec<Variant>; 2] {
    let [tokens, prompts] = Variant::candidates(gpu);
    assert!(tokens.len() > 3 && prompts.len() > 1, "too few to choose from");
    [tokens, prompts]
}

#[test]
fn the_fastest_cut_is_taken_and_computes_what_the_plain_path_computes() {
    let file = small_model(BlockType::Q4_1, BlockType::Q8_0, 32, 5);
    let plain = load_plain(&file, Keep::Dense);
    let mut model = load_fused(&file, GpuOptions::default(), shuffled);
    let candidates = candidates(&model.gpu);
    let (n, last) = (candidates[0].len(), candidates[1].len() - 1);
    let expected = (candidates[0][2], candidates[1][last]);
    // The third cut of a token and the last of a prompt are fast, all others slower than what is there.
    let ms = move |cut: usize| match cut {
        0 => 10.0,
        3 => 5.0,
        cut if cut == n + last + 1 => 4.0,
        _ => 20.0,
    };
    let tried = block_on(model.tune(candidates.clone(), &clock(ms), f64::INFINITY)).unwrap();
    assert_eq!(tried.len(), 1 + n + candidates[1].len());
    assert!(tried.iter().enumerate().all(|(cut, tried)| tried.prompt_ms == ms(cut)), "{tried:?}");
    let chosen = model.variant().cut;
    assert_eq!(Cut { tile: expected.0.cut.tile, ..chosen }, expected.0.cut);
    assert_eq!(chosen.tile, expected.1.cut.tile);
    assert_eq!(tried.last().unwrap().kernels, model.variant().words());
    fused_equals_plain("tuned", &plain, &model, None);
}

#[test]
fn what_is_there_stays_where_nothing_is_clearly_faster() {
    let file = small_model(BlockType::Q4_0, BlockType::Q4_0, 32, 5);
    let mut model = load_fused(&file, GpuOptions::default(), shuffled);
    let (before, candidates) = (model.variant(), candidates(&model.gpu));
    let tried = block_on(model.tune(candidates.clone(), &clock(|cut| if cut == 0 { 10.0 } else { 9.8 }), 1e9)).unwrap();
    assert!(tried.len() > candidates[0].len());
    assert_eq!(model.variant(), before);
    let tried = block_on(model.tune(candidates, &clock(|cut| if cut == 0 { 10.0 } else { 1.0 }), 0.0)).unwrap();
    assert_eq!((tried.len(), model.variant()), (1, before), "no cut is begun when the time is over");
}

#[test]
fn what_was_found_is_kept_as_text_and_nothing_else_is_believed() {
    let gpu = gpu(GpuOptions::default());
    for found in candidates(&gpu).into_iter().flatten().chain([Variant::for_device(&gpu)]) {
        assert_eq!(Variant::found(&found.kept(), &gpu), Some(found));
    }
    let kept = Variant::for_device(&gpu).kept();
    let other_subgroup =
        Variant { cut: Cut { lanes: 8, rows: 2, subgroup: Some(4096), ..Variant::for_device(&gpu).cut } };
    for nonsense in ["", "{}", "[1]", &kept.replace("\"rows\":", "\"rows\":7"), &other_subgroup.kept()] {
        assert_eq!(Variant::found(nonsense, &gpu), None, "{nonsense}");
    }
}

#[test]
fn a_cut_that_the_driver_refuses_is_left_out() {
    let file = small_model(BlockType::Q4_1, BlockType::Q4_1, 32, 5);
    let plain = load_plain(&file, Keep::Dense);
    let mut model = load_fused(&file, GpuOptions::default(), shuffled);
    let [tokens, _] = candidates(&model.gpu);
    // Kernels of sixteen lanes alone have this.
    model.gpu.wrong = Some(Box::new(|_, wgsl| wgsl.replace("l % 16u", "no_such_name")));
    let sixteen = tokens.iter().filter(|variant| variant.cut.lanes == 16).count();
    let tried = block_on(model.tune([tokens.clone(), Vec::new()], &clock(|_| 1.0), 1e9)).unwrap();
    assert!(sixteen > 0 && tried.len() == 1 + tokens.len() - sixteen, "{tried:?}");
    model.gpu.wrong = None;
    fused_equals_plain("after a refusal", &plain, &model, None);
}
