//! The trial at load: a driver that computes wrongly is found, whichever kernel it is, and another cut takes over.

use imprint_core::{
    ErrorKind,
    fused::{FusedModel, Variant},
    gguf::Gguf,
    kernels::{
        apart::Apart,
        gpu::GpuOptions,
        project::{Cut, Tile},
    },
    model::Keep,
    quant::BlockType,
    sample::{Mix, Sampling, Seen},
    testing::SmallModel,
};
use pollster::block_on;

use crate::{
    kernels::{fused_equals_plain, load_fused, shuffled, small_model, tree, walking, whole},
    material::*,
};

#[test]
fn a_device_that_computes_rightly_passes_the_trial_in_every_cut() {
    for (matrices, embedding) in [(BlockType::Q4_1, BlockType::Q8_0), (BlockType::Q4_0, BlockType::Q4_0)] {
        let file = small_model(matrices, embedding, 32, 3);
        for cut in [whole, walking, shuffled, tree] {
            let mut model = load_fused(&file, GpuOptions::default(), cut);
            let variant = model.variant();
            assert_eq!(block_on(model.prove(&Variant::OTHERS)).unwrap(), None);
            assert_eq!(model.variant(), variant);
        }
    }
}

fn draw(model: &FusedModel) -> Vec<u32> {
    model.start(&Sampling { seed: 5, ..Default::default() }, &Seen::new(model.config.vocab), Mix::Base);
    let first = block_on(model.read_and_draw(0, &[504, 3575, 282, 4649])).unwrap();
    [vec![first], block_on(model.draw(1, 5, 0)).unwrap()].concat()
}

#[test]
fn every_family_passes_the_trial_with_all_its_kernels() {
    for family in ["qwen2", "qwen3", "gemma3"] {
        let small = SmallModel {
            architecture: family,
            d_head: 40,
            matrices: BlockType::Q5_0,
            n_layers: 7,
            ..Default::default()
        };
        let file = small.file();
        let mut model = load_fused(&file, GpuOptions::default(), tree);
        assert_eq!(block_on(model.prove(&[])).unwrap(), None, "{family}");
        // Attention without a window stands in the sixth block alone: the trial must reach it. A norm behind takes factors away.
        if family == "gemma3" {
            let variant = model.variant();
            model.gpu.wrong = Some(Box::new(|of, wgsl| {
                let spoilt = of == "attention" && !wgsl.contains("select(0u,");
                if spoilt { wgsl.replace("a0_1 / ", "0.5 * a0_1 / ") } else { wgsl.to_owned() }
            }));
            block_on(model.recut(variant)).unwrap();
            assert_eq!(block_on(model.prove(&[])).unwrap_err().kind(), ErrorKind::DeviceWrong);
        }
    }
}

#[test]
fn the_trial_of_the_real_model_changes_nothing_it_writes() {
    let file = file();
    let gpu = gpu(GpuOptions::default());
    let gguf = block_on(Gguf::read(&file)).unwrap();
    let variant = Variant::for_device(&gpu);
    let mut model = block_on(FusedModel::load(gpu, &gguf, &file, 64, variant, &mut |_, _| Ok(()))).unwrap();
    let before = draw(&model);
    let started = std::time::Instant::now();
    assert_eq!(block_on(model.prove(&[])).unwrap(), None);
    println!("the trial took {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
    assert_eq!(draw(&model), before);
}

/// A kernel by its label, a piece of its text, what a wrong driver makes of it, and what the trial calls it.
const WRONG: [(&str, &str, &str, &str); 15] = [
    ("embed", "low(words[at]), EVEN, s", "low(words[at]), EVEN, 1.03 * s", "read a prompt"),
    ("norm", "* scale * weight[i]", "* scale * 1.03 * weight[i]", "read a prompt"),
    ("attention", "/ total[h]", "/ 1.1 / total[h]", "read a prompt"),
    ("attention", "v / n;", "v / 1.1 / n;", "read a token"),
    ("product", "dot(p0, u)", "0.9 * dot(p0, u)", "read a prompt"),
    ("product", "dot(q1, v)", "0.9 * dot(q1, v)", "read a prompt"),
    ("rope", "y0 * turn.x", "0.9 * y0 * turn.x", "read a prompt"),
    ("gate", "* y1", "* 0.9 * y1", "read a prompt"),
    ("join", "+= y0", "-= y0", "read a prompt"),
    ("qkv", "dot(l0, p0)", "0.9 * dot(l0, p0)", "read a token"),
    ("residual", "dot(h0, q0)", "0.9 * dot(h0, q0)", "read a token"),
    ("gate up", "dot(l1, p0)", "0.9 * dot(l1, p0)", "read a token"),
    ("scores", "dot(l1, p0)", "0.9 * dot(l1, p0)", "scores"),
    ("scan", "s > best", "s < best", "draw"),
    ("draw", "+ gumbel(d.stream, i)", "+ gumbel(d.stream, i + 1u)", "draw"),
];

/// The same of kernels that walk, and of those that exchange numbers by fours.
const WRONG_WALKING: [(&str, &str, &str, &str); 7] = [
    ("attention", "quadSwapX(s0)", "0.9 * quadSwapX(s0)", "read a prompt"),
    ("attention", "quadSwapY(s1)", "quadSwapX(s1)", "read a prompt"),
    ("product", "quadSwapDiagonal(f0)", "quadSwapY(f0)", "read a prompt"),
    ("qkv", "sums[0u + n] = a0_0", "sums[0u + n] = 0.9 * a0_0", "read a token"),
    ("residual", "dot(h0, q0)", "0.9 * dot(h0, q0)", "read a token"),
    ("gate up", "a1_0 += sums", "a1_0 += 0.9 * sums", "read a token"),
    ("scores", "dot(x0, x0)", "0.9 * dot(x0, x0)", "scores"),
];

#[test]
fn a_kernel_that_computes_wrongly_is_found_whichever_it_is() {
    // Short kernels: they are built many times.
    let cut = Cut { rows: 2, lanes: 1, group: 64, subgroup: None, walk: false, tile: Tile::Apart(Apart::Alone(2)) };
    each_is_found(cut, &WRONG);
    each_is_found(Cut { walk: true, subgroup: Some(4), tile: Tile::Apart(Apart::ByFours), ..cut }, &WRONG_WALKING);
}

fn each_is_found(cut: Cut, faults: &[(&'static str, &'static str, &'static str, &str)]) {
    let file = small_model(BlockType::Q4_1, BlockType::Q8_0, 32, 4);
    let mut model = load_fused(&file, GpuOptions::default(), |_| cut);
    let variant = model.variant();
    for &(label, text, wrong, found) in faults {
        let (hit, hits) = std::sync::mpsc::channel();
        model.gpu.wrong = Some(Box::new(move |of, wgsl| {
            if of == label && wgsl.contains(text) {
                hit.send(()).unwrap();
                return wgsl.replace(text, wrong);
            }
            wgsl.to_owned()
        }));
        block_on(model.recut(variant)).unwrap();
        assert!(hits.try_recv().is_ok(), "no kernel {label} has {text}");
        let error = block_on(model.prove(&[])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeviceWrong, "{label}: {error}");
        assert!(error.to_string().contains(found), "{label}, {text}: {error}");
    }
    model.gpu.wrong = None;
    block_on(model.recut(variant)).unwrap();
    assert_eq!(block_on(model.prove(&[])).unwrap(), None, "the same device without the fault");
}

#[test]
fn where_one_cut_computes_wrongly_the_next_takes_over_and_it_is_told() {
    let file = small_model(BlockType::Q4_1, BlockType::Q8_0, 32, 5);
    let mut model = load_fused(&file, GpuOptions::default(), shuffled);
    // Lanes that meet by shuffles: what a driver with broken subgroups would do.
    model.gpu.wrong = Some(Box::new(|_, wgsl| wgsl.replace("subgroupShuffleXor(a0_0, 1u)", "a0_0")));
    block_on(model.recut(model.variant())).unwrap();
    let told = block_on(model.prove(&Variant::OTHERS)).unwrap().expect("the first cut is wrong");
    assert!(told.contains("other kernels are used") && told.contains("read a token"), "{told}");
    assert_eq!(model.variant(), Variant::OTHERS[0]);
    let plain = load_plain(&file, Keep::Dense);
    fused_equals_plain("after the trial", &plain, &model, None);
}

#[test]
fn numbers_that_are_none_are_found() {
    let file = small_model(BlockType::Q4_1, BlockType::Q8_0, 32, 6);
    let mut model = load_fused(&file, GpuOptions::default(), whole);
    model.gpu.wrong = Some(Box::new(|_, wgsl| wgsl.replace("inverseSqrt(total0", "inverseSqrt(-total0")));
    block_on(model.recut(model.variant())).unwrap();
    assert_eq!(block_on(model.prove(&[])).unwrap_err().code(), "device-wrong");
}
