//! The fused path is the plain path, variant by variant, on small random models of every format that has kernels.

use imprint_core::{
    fused::{FusedModel, Variant},
    gguf::Gguf,
    kernels::{
        apart::Apart,
        gpu::{Gpu, GpuOptions},
        project::{Cut, Tile},
        sampling,
        shared::Size,
        state,
    },
    model::{Cache, Keep, LowRank, Model},
    quant::BlockType,
    sample::{Mix, Sampling, Seen},
    testing::SmallModel,
};
use pollster::block_on;

use crate::material::*;

pub const VOCAB: u64 = 5000;

pub fn small_model(matrices: BlockType, embedding: BlockType, d_head: u64, seed: u64) -> Vec<u8> {
    SmallModel { matrices, embedding, d_head, vocab: VOCAB, seed, ..Default::default() }.file()
}

pub fn load_fused(file: &Vec<u8>, options: GpuOptions, cut: impl Fn(&Gpu) -> Cut) -> FusedModel {
    let gguf = block_on(Gguf::read(file)).unwrap();
    let gpu = gpu(options);
    let variant = Variant { cut: cut(&gpu) };
    block_on(FusedModel::load(gpu, &gguf, file, CAPACITY, variant, &mut |_, _| Ok(()))).unwrap()
}

pub fn ids(n: usize, seed: u64) -> Vec<u32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..n).map(|_| random.u32(0..VOCAB as u32)).collect()
}

/// Scores after the last of `ids`.
pub fn plain_logits(model: &Model, ids: &[u32], cache: &mut Cache, adapter: Option<&LowRank>) -> Vec<f32> {
    let hidden = model.forward(ids, 1, Some(cache), adapter);
    model.logits(hidden.narrow(1, ids.len() - 1, 1)).into_data().try_into_vec().unwrap()
}

/// Reads a prompt in uneven pieces, then single tokens, and compares the scores each time.
pub fn fused_equals_plain(what: &str, plain: &Model, fused: &FusedModel, adapter: Option<&LowRank>) {
    let ids = ids(150, 7);
    let mut cache = Cache::default();
    let mut at = 0;
    let mix = if adapter.is_some() { Mix::Scaled(1.0) } else { Mix::Base };
    fused.start(&Sampling::default(), &Seen::new(VOCAB as usize), mix);
    for n in [1, 3, 40, 64, 33] {
        let expected = plain_logits(plain, &ids[at..at + n], &mut cache, adapter);
        block_on(fused.read(at, &ids[at..at + n])).unwrap();
        let found = block_on(fused.logits()).unwrap();
        assert_close(&format!("{what}, {n} tokens read at {at}"), &found, &expected, RELATIVE);
        at += n;
    }
    for &id in &ids[at..] {
        let expected = plain_logits(plain, &[id], &mut cache, adapter);
        block_on(fused.step(at, id)).unwrap();
        let found = block_on(fused.logits()).unwrap();
        assert_close(&format!("{what}, one token at {at}"), &found, &expected, RELATIVE);
        at += 1;
    }
}

/// Whole rows for an invocation; prompts by fours.
pub fn whole(gpu: &Gpu) -> Cut {
    Cut { rows: 8, lanes: 1, group: 64, subgroup: gpu.subgroup, walk: false, tile: Tile::Apart(Apart::ByFours) }
}

/// Whole rows for an invocation, of a prompt too.
pub fn alone(_: &Gpu) -> Cut {
    Cut { rows: 8, lanes: 1, group: 64, subgroup: None, walk: false, tile: Tile::Apart(Apart::Alone(16)) }
}

/// Rows that go by activations which invocations hold.
pub fn walking(gpu: &Gpu) -> Cut {
    Cut { walk: true, ..whole(gpu) }
}

/// Lanes added up by shuffles.
pub fn shuffled(gpu: &Gpu) -> Cut {
    Cut { rows: 2, lanes: 4, group: 128, subgroup: gpu.subgroup, walk: false, tile: Tile::Shared(Size::Small) }
}

/// Lanes added up in workgroup memory.
pub fn tree(_: &Gpu) -> Cut {
    Cut { rows: 2, lanes: 8, group: 32, subgroup: None, walk: false, tile: Tile::Shared(Size::Large) }
}

/// A small model in each cut, the last one within WebGPU's default limits.
pub fn in_every_cut(file: &Vec<u8>) -> [(&'static str, FusedModel); 5] {
    let bare = GpuOptions { without_subgroups: true, default_limits: true, ..GpuOptions::default() };
    [
        ("whole rows, prompts by fours", load_fused(file, GpuOptions::default(), whole)),
        ("whole rows, nothing exchanged", load_fused(file, bare, alone)),
        ("walking", load_fused(file, GpuOptions { default_limits: true, ..GpuOptions::default() }, walking)),
        ("shuffled lanes", load_fused(file, GpuOptions::default(), shuffled)),
        ("lanes by workgroup", load_fused(file, bare, tree)),
    ]
}

#[test]
fn every_format_and_cut_equals_the_plain_path() {
    use BlockType::*;
    let formats = [(Q4_1, Q8_0, 24), (Q4_0, Q4_0, 72), (Q8_0, Q4_1, 32), (Q5_0, Q5_1, 32), (Q5_1, Q5_0, 24)];
    // A row must be a whole number of blocks.
    let large = [(Q4K, Q6K, 64), (Q6K, Q5K, 64), (Q5K, Q4K, 64)];
    let even = SmallModel { d_model: 256, d_ff: 512, ..Default::default() };
    let small = formats.map(|formats| (formats, SmallModel::default()));
    for ((matrices, embedding, d_head), size) in small.into_iter().chain(large.map(|formats| (formats, even))) {
        let file = SmallModel { matrices, embedding, d_head, vocab: VOCAB, ..size }.file();
        let plain = load_plain(&file, Keep::Dense);
        for (cut, fused) in in_every_cut(&file) {
            let name = format!("{} with {} in cut {cut}", matrices.name(), embedding.name());
            fused_equals_plain(&name, &plain, &fused, None);
        }
    }
}

#[test]
fn likelihoods_on_the_gpu_equal_the_plain_paths() {
    let file = small_model(BlockType::Q4_1, BlockType::Q8_0, 32, 2);
    let plain = load_plain(&file, Keep::Dense);
    let fused = load_fused(&file, GpuOptions::default(), |gpu| Variant::for_device(gpu).cut);
    let ids = ids(101, 3);
    let found = block_on(fused.score(0, &ids[..100], &ids[1..])).unwrap();
    let hidden = plain.forward(&ids[..100], 1, None, None);
    let log_p = burn::tensor::activation::log_softmax(plain.logits(hidden), 2);
    let log_p: Vec<f32> = log_p.into_data().try_into_vec().unwrap();
    let expected: Vec<f32> =
        ids[1..].iter().enumerate().map(|(i, &id)| -log_p[i * VOCAB as usize + id as usize]).collect();
    assert_close("likelihoods", &found, &expected, RELATIVE);
}

#[test]
fn packed_equals_dense() {
    let file = small_model(BlockType::Q4_0, BlockType::Q8_0, 32, 4);
    let (dense, packed) = (load_plain(&file, Keep::Dense), load_plain(&file, Keep::Packed));
    for n in [1, 5, 30] {
        let ids = ids(n, 5);
        let of = |model: &Model| plain_logits(model, &ids, &mut Cache::default(), None);
        assert_close(&format!("{n} tokens"), &of(&packed), &of(&dense), 1e-5);
    }
}

#[test]
fn cached_equals_uncached() {
    let model = load_plain(&small_model(BlockType::Q4_1, BlockType::Q8_0, 32, 6), Keep::Dense);
    let ids = ids(60, 8);
    let whole = plain_logits(&model, &ids, &mut Cache::default(), None);
    let mut cache = Cache::default();
    plain_logits(&model, &ids[..37], &mut cache, None);
    assert_close("cached", &plain_logits(&model, &ids[37..], &mut cache, None), &whole, 1e-5);
}

fn kernels(gpu: &Gpu, vocab: u32, apart: bool) -> [wgpu::ComputePipeline; 3] {
    let n = sampling::workgroup(apart);
    let [scan, weigh, draw] = [sampling::scan(vocab, n), sampling::weigh(vocab, n), sampling::draw(vocab, n)];
    let texts = [("scan", scan), ("weigh", weigh), ("draw", draw)];
    texts.map(|(label, text)| block_on(gpu.kernel(label, &text)).unwrap())
}

/// Runs the sampling kernels alone over given scores.
fn gpu_draw(
    gpu: &Gpu,
    [scan, weigh, draw]: &[wgpu::ComputePipeline; 3],
    logits: &[f32],
    sampling: &Sampling,
    seen: &Seen,
    step: u32,
) -> u32 {
    let vocab = logits.len() as u32;
    let scores = gpu.upload("logits", logits);
    let parameters = gpu.upload("parameters", &sampling::parameters(sampling, Mix::Base));
    let seen = gpu.upload("seen", seen.words());
    let partial = gpu.buffer("partial", sampling::partial_words(vocab));
    let totals = gpu.buffer("totals", sampling::TOTALS);
    let mut words = vec![0u32; state::WORDS as usize];
    words[state::DRAWN as usize] = step;
    words[state::COUNT as usize] = 1;
    let state = gpu.upload("state", &words);
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        let shares = sampling::scan_groups(vocab);
        let mut run = |kernel: &wgpu::ComputePipeline, buffers: &[&wgpu::Buffer], groups: u32| {
            pass.set_pipeline(kernel);
            pass.set_bind_group(0, &gpu.bind(kernel, buffers), &[]);
            pass.dispatch_workgroups(groups, 1, 1);
        };
        run(scan, &[&parameters, &seen, &scores, &partial], shares);
        run(weigh, &[&parameters, &scores, &partial, &totals], shares);
        run(draw, &[&parameters, &seen, &scores, &partial, &totals, &state], 1);
    }
    gpu.queue.submit([encoder.finish()]);
    let words: Vec<u32> = block_on(gpu.read_all(&state)).unwrap();
    assert_eq!(words[state::DRAWN as usize], step + 1, "the step is counted");
    let totals: Vec<u32> = block_on(gpu.read_all(&totals)).unwrap();
    assert!(totals.iter().all(|&total| total == 0), "the next draw begins anew");
    words[(state::DRAWN_IDS + step % state::MAX_DRAWN) as usize]
}

#[test]
fn the_gpu_draws_what_the_processor_draws() {
    // So many that the scan has more shares than the draw wants of the likeliest.
    const N: usize = 60_000;
    let gpu = gpu(GpuOptions::default());
    // Large workgroups and small ones.
    let kernels = [false, true].map(|apart| kernels(&gpu, N as u32, apart));
    let mut random = fastrand::Rng::with_seed(9);
    let base = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, ..Default::default() };
    let settings = [
        Sampling { temperature: 0.0, ..base },
        base,
        Sampling { temperature: 3.0, top_k: 7, ..base },
        Sampling { temperature: 2.0, top_p: 0.6, ..base },
        // Few tokens hold this much, and with a count of them too.
        Sampling { temperature: 0.3, top_p: 0.7, ..base },
        Sampling { temperature: 0.3, top_k: 30, top_p: 0.9, ..base },
        // More than there are shares.
        Sampling { temperature: 2.0, top_k: 300, top_p: 0.9, ..base },
        Sampling { temperature: 2.0, min_p: 0.05, ..base },
        Sampling { temperature: 1.5, repetition_penalty: 1.7, seed: 77, ..base },
        Sampling { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.02, repetition_penalty: 1.1, seed: 5 },
    ];
    let (mut differing, mut draws) = (0, 0);
    for (i, sampling) in settings.iter().enumerate() {
        for step in 0..25 {
            // Bell-shaped scores, so that a few stand out as in a real model.
            let logits: Vec<f32> = (0..N).map(|_| (0..6).map(|_| random.f32()).sum::<f32>() * 5.0 - 15.0).collect();
            let mut seen = Seen::new(N);
            (0..500).for_each(|_| seen.insert(random.u32(0..N as u32)));
            let expected = sampling.draw(&mut logits.clone(), &seen, step).unwrap();
            for kernels in &kernels {
                let found = gpu_draw(&gpu, kernels, &logits, sampling, &seen, step);
                draws += 1;
                if found != expected {
                    differing += 1;
                    eprintln!("setting {i}, step {step}: {found} on the GPU, {expected} on the processor");
                }
            }
        }
    }
    // Logarithms differ in the last digits, so two candidates closer than that, or a token on a filter's line, may fall
    // either way: one draw in a hundred is already far more than that explains.
    assert!(differing * 100 <= draws, "{differing} of {draws} draws differ");
}

#[test]
fn scores_that_are_no_numbers_are_reported() {
    const N: usize = 3000;
    let gpu = gpu(GpuOptions::default());
    for apart in [false, true] {
        let kernels = kernels(&gpu, N as u32, apart);
        let id = gpu_draw(&gpu, &kernels, &[f32::NAN; N], &Sampling::default(), &Seen::new(N), 0);
        assert!(id as usize >= N, "id {id} stands for an error and must lie outside the vocabulary");
    }
}

#[test]
fn a_kernel_the_driver_refuses_is_an_error() {
    let gpu = gpu(GpuOptions::default());
    let error = block_on(gpu.kernel("broken", "@compute @workgroup_size(1) fn main() { nonsense }")).unwrap_err();
    assert_eq!(error.code(), "internal");
    assert!(error.to_string().contains("broken"), "{error}");
    assert!(gpu.check().is_ok(), "the device stays usable");
}
