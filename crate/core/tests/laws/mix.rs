//! Several adapters at once are the sum of what each adds, on every path.

use std::sync::Arc;

use imprint_core::{
    adapter::{Adapter, Kind, MOST_VOICES, Pair},
    config::ModelConfig,
    fused::Variant,
    generate::{Guard, LanguageModel, WriteOptions},
    kernels::{gpu::GpuOptions, side::MAX_RANK},
    model::{Cache, Keep, LowRank},
    processor::{Paths, Reading},
    quant::BlockType,
    sample::{Mix, Sampling, Seen},
    voice::Prints,
};
use pollster::block_on;

use crate::{
    adapter::random_adapter,
    kernels::{VOCAB, ids, load_fused, plain_logits, small_model, whole},
    material::*,
};

/// Three voices of unlike ranks and places.
fn voices(config: &ModelConfig) -> [Adapter; 3] {
    [
        random_adapter(config, 8, &Kind::ALL, 5),
        random_adapter(config, 3, &[Kind::Q, Kind::K, Kind::Up, Kind::Down], 6),
        random_adapter(config, 1, &[Kind::V, Kind::O, Kind::Gate, Kind::Up], 7),
    ]
}

const SHARES: [f32; 3] = [0.7, 0.45, 1.25];

/// What all add together, as one matrix `Σ weight · scale · B·A` for each projection, summed in f64, beside an A that
/// changes nothing.
fn summed(voices: &[Adapter], shares: &[f32], config: &ModelConfig) -> Adapter {
    let mut sum = Adapter::empty(None, config.n_layers);
    for (layer, kind) in (0..config.n_layers).flat_map(|layer| Kind::ALL.map(|kind| (layer, kind))) {
        let (d_in, d_out) = kind.dims(config);
        let mut matrix = vec![0.0f64; d_out * d_in];
        for (adapter, share) in voices.iter().zip(shares) {
            let Some(Pair { rank, scale, a, b }) = adapter.pair(layer, kind) else { continue };
            for (row, k, col) in
                (0..d_out).flat_map(|r| (0..*rank).flat_map(move |k| (0..d_in).map(move |c| (r, k, c))))
            {
                let product = f64::from(b[row * rank + k]) * f64::from(a[k * d_in + col]);
                matrix[row * d_in + col] += f64::from(*share) * f64::from(*scale) * product;
            }
        }
        let a = (0..d_in * d_in).map(|i| f32::from(u8::from(i / d_in == i % d_in))).collect();
        let b = matrix.into_iter().map(|x| x as f32).collect();
        sum.set(layer, kind, Some(Pair { rank: d_in, scale: 1.0, a, b }));
    }
    sum
}

fn mixed(voices: &[Adapter], shares: &[f32], config: &ModelConfig) -> Adapter {
    let all: Vec<(&Adapter, f32)> = voices.iter().zip(shares.iter().copied()).collect();
    Adapter::mix(&all, config, None).unwrap()
}

#[test]
fn a_mix_is_the_sum_of_its_voices_on_every_path() {
    let file = small_model(BlockType::Q4_1, BlockType::Q8_0, 24, 3);
    let (plain, processor) = (load_plain(&file, Keep::Dense), load_processor(&file));
    let mut fused = load_fused(&file, GpuOptions::default(), whole);
    let voices = voices(&plain.config);
    let mix = mixed(&voices, &SHARES, &plain.config);
    assert_eq!(mix.max_rank(), 12, "ranks of the voices add up");
    let text = ids(40, 7);
    let of = |adapter: &Adapter, factor| {
        let low_rank = LowRank::new(adapter, factor, &plain.device);
        plain_logits(&plain, &text, &mut Cache::default(), Some(&low_rank))
    };
    for factor in [1.0, 1.5] {
        let expected = of(&summed(&voices, &SHARES, &plain.config), factor);
        assert_close("the plain path", &of(&mix, factor), &expected, 1e-4);
        let mut reading = Reading::new(Some(Arc::new(Paths::new(&mix, factor))));
        let hidden = processor.read(&text, &mut [&mut reading]);
        let found = processor.logits(&hidden[39 * plain.config.d_model..]);
        assert_close("the processor", &found, &expected, RELATIVE);
        block_on(fused.attach(&mix)).unwrap();
        fused.start(&Sampling::default(), &Seen::new(VOCAB as usize), Mix::Scaled(factor));
        block_on(fused.read(0, &text[..39])).unwrap();
        block_on(fused.step(39, text[39])).unwrap();
        assert_close("the GPU", &block_on(fused.logits()).unwrap(), &expected, RELATIVE);
    }
    let alone = of(&voices[0], 1.0);
    assert!(alone.iter().zip(of(&mix, 1.0)).any(|(a, b)| (a - b).abs() > 0.1), "the other voices are heard");
}

#[test]
fn a_voice_alone_is_itself_and_one_that_weighs_nothing_is_silent() {
    let config = load_plain(&small_model(BlockType::Q4_1, BlockType::Q8_0, 24, 3), Keep::Packed).config;
    let [one, two, _] = voices(&config);
    let mix = |all: &[(&Adapter, f32)]| Adapter::mix(all, &config, None).unwrap();
    assert_eq!(mix(&[(&one, 1.0)]), one);
    assert_eq!(mix(&[(&two, 0.0), (&one, 1.0)]), one);
    let half = mix(&[(&one, 0.5)]);
    assert!(half.iter().zip(one.iter()).all(|((_, _, half), (_, _, pair))| half.scale == 0.5 * pair.scale));
    // One voice in two halves, beside nothing else.
    let halves = mix(&[(&one, 0.5), (&one, 0.5)]);
    assert_eq!(halves.max_rank(), 2 * one.max_rank());
}

#[test]
fn what_cannot_be_mixed_is_refused() {
    let config = load_plain(&small_model(BlockType::Q4_1, BlockType::Q8_0, 24, 3), Keep::Packed).config;
    let [mut one, mut two, _] = voices(&config);
    let code = |all: &[(&Adapter, f32)], base| Adapter::mix(all, &config, base).map_err(|e| e.code());
    for weight in [-0.1, 2.1, f32::NAN, f32::INFINITY] {
        assert_eq!(code(&[(&one, 1.0), (&two, weight)], None), Err("invalid-option"), "{weight}");
    }
    assert_eq!(code(&[], None), Err("invalid-option"));
    assert_eq!(code(&[(&one, 0.0), (&two, 0.0)], None), Err("invalid-option"));
    assert_eq!(code(&[(&one, 0.1); MOST_VOICES + 1], None), Err("invalid-option"));
    one.base = Some("a model".into());
    assert_eq!(code(&[(&two, 1.0), (&one, 1.0)], Some("another")), Err("adapter-wrong-base"));
    assert_eq!(code(&[(&two, 1.0), (&one, 1.0)], None).unwrap().base.as_deref(), Some("a model"));
    two.base = Some("another".into());
    assert_eq!(code(&[(&two, 1.0), (&one, 1.0)], None), Err("adapter-wrong-base"));
    let small = ModelConfig { d_ff: 128, ..config.clone() };
    let foreign = random_adapter(&small, 2, &Kind::ALL, 1);
    assert_eq!(code(&[(&one, 1.0), (&foreign, 1.0)], None), Err("adapter-wrong-base"));
}

#[test]
fn more_rank_than_the_gpu_takes_is_refused_there_and_changes_nothing() {
    let file = small_model(BlockType::Q4_0, BlockType::Q8_0, 32, 4);
    let mut fused = load_fused(&file, GpuOptions::default(), whole);
    let wide = random_adapter(&fused.config, 64, &[Kind::V], 1);
    let fits = mixed(&[wide.clone(), wide.clone()], &[0.5, 0.5], &fused.config);
    assert_eq!(fits.max_rank(), MAX_RANK as usize);
    block_on(fused.attach(&fits)).unwrap();
    let narrow = random_adapter(&fused.config, 1, &[Kind::V], 2);
    let over = mixed(&[wide.clone(), wide, narrow], &[0.5; 3], &fused.config);
    assert_eq!(block_on(fused.attach(&over)).unwrap_err().code(), "invalid-option");
}

const PROMPT: &str = "On mornings like this,";

fn write(model: &LanguageModel, options: WriteOptions) -> String {
    let mut session = model.begin(PROMPT, options).unwrap();
    let mut text = String::new();
    loop {
        let step = block_on(model.next(&mut session)).unwrap();
        text += &step.text;
        if step.finish.is_some() {
            return text;
        }
    }
}

#[test]
fn strength_stands_on_top_of_a_mix_and_the_gpu_writes_what_the_processor_does() {
    let file = file();
    let (mut plain, mut fused) = (processor(&file), fused(&file, GpuOptions::default(), Variant::for_device));
    let of = |seed| {
        let mut adapter = random_adapter(plain.config(), 8, &Kind::ALL, seed);
        let values: Vec<f32> = adapter.parameters().iter().map(|value| value * 0.7).collect();
        adapter.set_parameters(&values);
        adapter
    };
    let (one, two) = (of(8), of(9));
    let mix = Adapter::mix(&[(&one, 1.0), (&two, 0.8)], plain.config(), None).unwrap();
    let sampling = Sampling { temperature: 0.9, seed: 3, ..Default::default() };
    let options = |strength| WriteOptions {
        sampling,
        max_tokens: 10,
        strength: Some(strength),
        mode: Some(imprint_core::generate::Mode::Contrast),
        ..Default::default()
    };
    block_on(plain.attach(&mix, None)).unwrap();
    block_on(fused.attach(&mix, None)).unwrap();
    let texts = [0.0, 1.0, 3.0].map(|strength| write(&fused, options(strength)));
    assert!(texts[0] != texts[1] && texts[1] != texts[2], "{texts:?}");
    assert_eq!([0.0, 1.0, 3.0].map(|strength| write(&plain, options(strength))), texts);
    block_on(fused.attach(&one, None)).unwrap();
    assert_ne!(write(&fused, options(1.0)), texts[1], "the second voice is heard");
}

#[test]
fn prints_of_several_texts_tell_copies_and_names_of_each() {
    let first = "the tide was low and the boats lay on their sides in the mud";
    let second = "nobody had told the old man that the harbour was to be closed";
    let of = |text: &str, names: &[&str]| Prints::new(&[text], names.iter().map(|&name| name.into()).collect());
    let all = [of(first, &["Marta", "Quill"]), of(second, &["Quill", "Ishmael"])];
    let together = Arc::new(Prints::together(&all));
    assert_eq!(together.names(), ["Marta", "Quill", "Ishmael"]);
    for text in [first, second] {
        let words = text.split(' ').count();
        assert_eq!(together.copied(text).longest, words, "{text}");
    }
    assert!(["Marta", "Ishmael"].iter().all(|name| together.is_name(name)));
    let guard = Guard { most_copied_words: Some(7), ..Guard::new(Arc::clone(&together)) };
    assert_eq!(guard.prints.copied("the tide was low and nobody had told the old man").copied_runs, 0);
    assert_eq!(Prints::together([&all[0]]), all[0]);
}
