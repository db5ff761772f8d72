//! What a session promises whoever writes with it.

use std::sync::OnceLock;

use imprint_core::{
    fused::Variant,
    generate::{Backend, Finish, LanguageModel, Session, WriteOptions},
    kernels::gpu::GpuOptions,
    sample::Sampling,
    testing::SmallModel,
    tokenizer::{Tokenizer, Vocabulary},
};
use pollster::block_on;

use crate::material::*;

/// Everything a session wrote.
struct Text {
    text: String,
    ids: Vec<u32>,
    finish: Finish,
    pieces: usize,
}

fn write(model: &LanguageModel, prompt: &str, options: WriteOptions) -> Text {
    write_on(model, model.begin(prompt, options).unwrap())
}

fn write_on(model: &LanguageModel, mut session: Session) -> Text {
    let (mut text, mut ids, mut pieces) = (String::new(), Vec::new(), 0);
    loop {
        let step = block_on(model.next(&mut session)).unwrap();
        text += &step.text;
        ids.extend(step.ids);
        pieces += 1;
        assert_eq!(step.tokens, ids.len(), "a step counts what was written");
        if let Some(finish) = step.finish {
            assert_eq!(block_on(model.next(&mut session)).unwrap_err().code(), "internal", "a finished text is over");
            return Text { text, ids, finish, pieces };
        }
    }
}

fn options(max_tokens: usize, temperature: f32) -> WriteOptions {
    WriteOptions {
        max_tokens,
        sampling: Sampling { temperature, seed: 11, ..Default::default() },
        ..Default::default()
    }
}

/// One model for all tests here; `capacity` is all that some change.
fn model() -> LanguageModel {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    processor(FILE.get_or_init(file))
}

const PROMPT: &str = "The capital of France is";

#[test]
fn same_seed_same_text_another_seed_another() {
    let model = model();
    let first = write(&model, PROMPT, options(12, 1.2));
    assert_eq!(first.text, write(&model, PROMPT, options(12, 1.2)).text);
    let mut other = options(12, 1.2);
    other.sampling.seed = 12;
    assert_ne!(first.text, write(&model, PROMPT, other).text);
    assert_eq!((first.finish, first.ids.len()), (Finish::Length, 12));
}

#[test]
fn writing_ends_before_a_stop_string() {
    let model = model();
    let free = write(&model, PROMPT, options(24, 0.0));
    let stop = free.text.chars().skip(9).take(5).collect::<String>();
    let stopped = write(&model, PROMPT, WriteOptions { stop: vec![stop.clone()], ..options(24, 0.0) });
    assert_eq!(stopped.finish, Finish::Stop);
    assert_eq!(stopped.text, free.text[..free.text.find(&stop).unwrap()]);
}

#[test]
fn a_text_ended_early_is_all_there() {
    let model = model();
    // A stop string that begins like everything holds more back than the last character.
    let stop = write(&model, PROMPT, options(24, 0.0)).text + "never";
    for stop in [Vec::new(), vec![stop]] {
        let mut session = model.begin(PROMPT, WriteOptions { stop, ..options(24, 0.0) }).unwrap();
        let (mut text, mut ids) = (String::new(), Vec::new());
        for _ in 0..5 {
            let step = block_on(model.next(&mut session)).unwrap();
            text += &step.text;
            ids.extend(step.ids);
        }
        let held = model.end(&mut session);
        assert!(!held.is_empty(), "the last character waits for what may join it");
        assert_eq!(text + &held, model.tokenizer.decode(&ids));
        assert_eq!(model.end(&mut session), "", "a text ends once");
        assert_eq!(block_on(model.next(&mut session)).unwrap_err().code(), "internal");
    }
}

#[test]
fn a_text_begins_without_the_space_that_its_vocabulary_puts_there_and_goes_on_with_it() {
    let tokens = ["<s>".to_owned()].into_iter().chain((1..64).map(|n| format!("▁word{n}"))).collect::<Vec<_>>();
    let vocabulary = Vocabulary {
        model: "llama".into(),
        scores: vec![0.0; tokens.len()].into(),
        token_types: [3].into_iter().chain([1; 63]).collect::<Vec<_>>().into(),
        tokens: tokens.into(),
        bos: Some(0),
        add_bos: true,
        space_prefix: true,
        ..Vocabulary::default()
    };
    let small = load_processor(&SmallModel { vocab: 64, ..Default::default() }.file());
    let model = LanguageModel::new(Tokenizer::new(vocabulary).unwrap(), Backend::Processor(Box::new(small)), CAPACITY);
    for (prompt, begins) in [(vec![0], true), (vec![0, 5], false)] {
        for seed in 0..8 {
            let mut options = options(4, 2.0);
            options.sampling.seed = seed;
            let text = write_on(&model, model.begin_ids(prompt.clone(), options).unwrap());
            assert_eq!(text.text.starts_with(' '), !begins, "{:?}", text.text);
            let read = |ids: &[u32]| model.tokenizer.decode(ids).replace("<s>", "");
            assert_eq!(read(&prompt) + &text.text, read(&[prompt.as_slice(), &text.ids].concat()));
        }
    }
}

#[test]
fn a_full_context_is_said() {
    let mut model = model();
    model.capacity = 10;
    let text = write(&model, PROMPT, options(100, 0.0));
    // Five tokens of prompt, five read back, and one drawn that nothing follows.
    assert_eq!((text.finish, text.ids.len()), (Finish::Context, 6));
    let error = model.begin("one two three four five six seven eight nine ten eleven", options(5, 0.0)).err().unwrap();
    assert_eq!(error.code(), "context-full");
    assert!(error.to_string().contains("the context holds 10"), "{error}");
}

#[test]
fn a_long_prompt_is_read_in_pieces_that_can_be_counted() {
    let model = model();
    let prompt = "All work and no play makes a dull text. ".repeat(20);
    let mut session = model.begin(&prompt, options(1, 0.0)).unwrap();
    let mut read = Vec::new();
    loop {
        let step = block_on(model.next(&mut session)).unwrap();
        read.push(step.prefilled);
        if step.finish.is_some() {
            assert_eq!(step.prefilled, step.prompt_tokens);
            break;
        }
    }
    assert!(read.len() > 2 && read.is_sorted(), "{read:?}");
}

#[test]
fn a_chat_is_answered_and_ends() {
    let model = model();
    let chat = WriteOptions { chat: true, ..options(60, 0.0) };
    let answer = write(&model, "Reply with the single word yes.", chat);
    assert_eq!(answer.finish, Finish::End, "{}", answer.text);
    assert!(!answer.text.contains("<|"), "control tokens are not text: {}", answer.text);
    assert!(answer.pieces > 1);
}

#[test]
fn an_empty_prompt_starts_a_text() {
    assert_eq!(write(&model(), "", options(3, 0.5)).ids.len(), 3);
}

#[test]
fn options_out_of_range_are_refused() {
    let model = model();
    let refused = |options| model.begin(PROMPT, options).err().map(|e| e.code().to_owned());
    assert_eq!(refused(options(0, 0.8)).as_deref(), Some("invalid-option"));
    assert_eq!(refused(options(5, -1.0)).as_deref(), Some("invalid-option"));
    assert_eq!(
        refused(WriteOptions { stop: vec![String::new()], ..options(5, 0.8) }).as_deref(),
        Some("invalid-option")
    );
}

#[test]
fn long_texts_are_scored_in_windows() {
    let mut model = model();
    let ids = golden().prompts.into_iter().last().unwrap().ids;
    let whole = score(&model, &ids).unwrap();
    model.capacity = 100;
    let windows = score(&model, &ids).unwrap();
    assert_eq!(windows.len(), ids.len() - 1);
    assert_close("the first window", &windows[..100], &whole[..100], 1e-4);
    // Past it, half a context stands before each token: close to all of it, but not the same.
    assert!((mean(&windows) - mean(&whole)).abs() < 0.2, "{} against {}", mean(&windows), mean(&whole));
}

#[test]
fn the_gpu_writes_the_processors_text() {
    let fused = fused(&file(), Default::default(), Variant::for_device);
    let plain = model();
    let of = |model: &LanguageModel| write(model, PROMPT, options(12, 0.9)).ids;
    assert_eq!(of(&fused), of(&plain));
    let Backend::Fused(model) = &fused.backend else { panic!("a fused model was asked for") };
    let size = file().len() as f64;
    assert!(
        model.weight_bytes() as f64 <= 1.15 * size,
        "{} bytes of weights for a file of {size}",
        model.weight_bytes()
    );
    assert!(model.dispatches_per_token() <= 220, "{} dispatches a token", model.dispatches_per_token());
}

#[test]
fn a_text_is_the_same_however_many_tokens_are_drawn_ahead() {
    let model = fused(&file(), GpuOptions::default(), Variant::for_device);
    let first = write(&model, PROMPT, options(18, 1.2));
    for batches in [[2, 2, 2, 2], [8, 3, 1, 5], [4, 32, 2, 9]] {
        let mut session = model.begin(PROMPT, options(18, 1.2)).unwrap();
        let (mut ids, mut finish) = (Vec::new(), None);
        for batch in batches.iter().cycle() {
            session.batch = *batch;
            let step = block_on(model.next(&mut session)).unwrap();
            ids.extend(step.ids);
            finish = step.finish;
            if finish.is_some() {
                break;
            }
        }
        assert_eq!((&ids, finish), (&first.ids, Some(first.finish)), "{batches:?}");
    }
    // A text that is left or stopped with tokens on their way is followed by another, as if nothing had been.
    let mut left = model.begin(PROMPT, options(18, 0.3)).unwrap();
    left.batch = 4;
    (0..3).for_each(|_| drop(block_on(model.next(&mut left)).unwrap()));
    let stop = first.text.chars().skip(12).take(5).collect::<String>();
    let mut stopped = model.begin(PROMPT, WriteOptions { stop: vec![stop.clone()], ..options(18, 1.2) }).unwrap();
    stopped.batch = 4;
    let stopped = write_on(&model, stopped);
    assert_eq!(stopped.text, first.text[..first.text.find(&stop).unwrap()]);
    assert_eq!(write(&model, PROMPT, options(18, 1.2)).ids, first.ids);
    // One that goes on after another was begun is told so.
    let mut texts = [1, 2].map(|n| {
        let mut session = model.begin(PROMPT, options(18, 1.2)).unwrap();
        session.batch = 4;
        (0..n).for_each(|_| drop(block_on(model.next(&mut session)).unwrap()));
        session
    });
    assert_eq!(block_on(model.next(&mut texts[0])).unwrap_err().code(), "internal");
}
