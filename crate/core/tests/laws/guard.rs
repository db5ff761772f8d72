//! What a text under guard promises: copies are marked, and what may not be written is not.

use std::sync::{Arc, OnceLock};

use imprint_core::{
    Error, ErrorKind,
    adapter::{Adapter, Shape},
    fused::Variant,
    generate::{Finish, Guard, LanguageModel, Mode, Run, WriteOptions},
    kernels::gpu::GpuOptions,
    learn::{Learner, ProcessorLearner, Update},
    preview::{Previews, unlikely},
    sample::Sampling,
    text::{Document, prepare},
    voice::{Name, Prints, RUN, Training},
};
use pollster::block_on;

use crate::{golden_run::UPDATE, material::*};

const SENTENCE: &str = "Old Marta counted the boats in the harbour twice before breakfast, and found that her \
    brother Quill had taken the smallest one.";
/// Where previews go on from.
const PROMPTS: &str =
    "Yesterday morning, as I heard, Old Marta counted the boats in the bay, and nothing came of it at all.";
const PROMPT: &str = "Old Marta counted";

fn prints() -> Arc<Prints> {
    Arc::new(Prints::new(&[SENTENCE], vec!["Marta".into(), "Quill".into()]))
}

/// An adapter that has learned one sentence by heart.
fn parrot() -> &'static Adapter {
    static LEARNED: OnceLock<Adapter> = OnceLock::new();
    LEARNED.get_or_init(|| {
        let model = load_processor(&file());
        let mut adapter = Adapter::fresh(None, &model.model.config, &Shape::default(), 0).unwrap();
        let sentence = processor(&file()).tokenizer.encode(SENTENCE).unwrap();
        let mut learner = ProcessorLearner::new(&model, &adapter).unwrap();
        for _ in 0..16 {
            block_on(learner.step(&[&sentence], &Update { rate: 4e-3, clip: Some(1.0), ..UPDATE })).unwrap();
        }
        let nll = mean(&block_on(learner.evaluate(&sentence)).unwrap());
        assert!(nll < 0.2, "the sentence is not known by heart: {nll} nats a token");
        adapter.set_parameters(&block_on(learner.state()).unwrap().parameters);
        adapter
    })
}

/// The model on the processor and on the GPU, with what has learned the sentence.
fn parrots() -> [LanguageModel; 2] {
    let file = file();
    let mut models = [processor(&file), fused(&file, GpuOptions::default(), Variant::for_device)];
    models.iter_mut().for_each(|model| block_on(model.attach(parrot(), None)).unwrap());
    models
}

/// What was written, and what of it is told to stand in copied runs, each from where it begins.
struct Text {
    text: String,
    runs: Vec<Run>,
    ids: Vec<u32>,
    finish: Finish,
}

fn write(model: &LanguageModel, prompt: &str, options: &WriteOptions, batch: usize) -> Text {
    let mut session = model.begin(prompt, options.clone()).unwrap();
    session.batch = batch;
    let (mut text, mut runs, mut ids) = (String::new(), Vec::new(), Vec::new());
    loop {
        let step = block_on(model.next(&mut session)).unwrap();
        let pieces: String = step.pieces().into_iter().map(|(piece, _)| piece).collect();
        assert_eq!(pieces, step.text, "pieces are the text");
        for run in &step.runs {
            let range = text.len() + run.range.start..text.len() + run.range.end;
            runs.push(Run { range, begins: run.begins });
        }
        text += &step.text;
        ids.extend(step.ids);
        assert_eq!(step.tokens, ids.len(), "a step counts what was written");
        if let Some(finish) = step.finish {
            return Text { text, runs, ids, finish };
        }
    }
}

fn options(guard: Guard, temperature: f32) -> WriteOptions {
    WriteOptions {
        sampling: Sampling { temperature, seed: 5, ..Default::default() },
        max_tokens: 28,
        strength: Some(1.0),
        guard: Some(guard),
        ..Default::default()
    }
}

#[test]
fn copies_are_marked_and_runs_that_are_too_long_are_not_written() {
    for model in &parrots() {
        let free = options(Guard::new(prints()), 0.0);
        let copied = write(model, PROMPT, &free, 4);
        let rest = SENTENCE.strip_prefix(PROMPT).unwrap();
        assert!(copied.text.starts_with(rest), "it knows no better: {}", copied.text);
        let bare = write(model, PROMPT, &WriteOptions { guard: None, ..free.clone() }, 4);
        assert_eq!((&copied.text, &copied.ids), (&bare.text, &bare.ids), "marks change nothing");
        assert!(bare.runs.is_empty());
        // Three words of the run are the prompt's, so the fifth is its eighth, with which it is known.
        let first = &copied.runs[0];
        assert_eq!(first.begins, 0, "the run begins before the text");
        assert!(copied.text[first.range.start..].starts_with("harbour"), "{:?}", &copied.text[first.range.start..]);
        let training = Arc::new(Training::new(&[SENTENCE]));
        let marked = copied.runs.iter().map(|run| run.range.end).max().unwrap();
        assert!(marked >= rest.len() - 1, "all of the sentence is marked, not only {marked} bytes");
        for most in [7, 9] {
            let guarded = options(Guard { most_copied_words: Some(most), ..Guard::new(prints()) }, 0.0);
            let text = write(model, PROMPT, &guarded, 4);
            let whole = format!("{PROMPT}{}", text.text);
            let found = training.copied(&whole, RUN);
            assert!(found.longest <= most, "{} words in a row of {whole}", found.longest);
            assert!(found.longest >= most - 1, "no more is forbidden than that: {whole}");
            assert_eq!(text.runs.is_empty(), most < RUN, "what is too short to be told is not marked");
            assert!(matches!(text.finish, Finish::Length | Finish::End));
            assert_eq!(model.tokenizer.decode(&text.ids), text.text);
        }
    }
}

#[test]
fn names_are_kept_out() {
    for model in &parrots() {
        for mode in [Mode::Scale, Mode::Contrast] {
            let prompt = "before breakfast, and found that her brother";
            let named = options(Guard::new(prints()), 0.0);
            let free = WriteOptions { strength: Some(1.2), mode: Some(mode), max_tokens: 12, ..named };
            let named = write(model, prompt, &free, 4);
            assert!(named.text.starts_with(" Quill had"), "{mode:?}: {}", named.text);
            let guard = Some(Guard { without_names: true, ..Guard::new(prints()) });
            let unnamed = write(model, prompt, &WriteOptions { guard, ..free }, 4);
            assert!(!unnamed.text.contains("Quill") && !unnamed.text.contains("Marta"), "{mode:?}: {}", unnamed.text);
            assert!(unnamed.text.split_whitespace().count() > 4, "the text goes on: {}", unnamed.text);
        }
    }
}

#[test]
fn the_same_seed_writes_the_same_text_under_guard_however_many_are_drawn_at_once() {
    let guard = Guard { most_copied_words: Some(7), without_names: true, prints: prints() };
    let options = options(guard, 0.7);
    let [plain, fused] = parrots();
    let first = write(&fused, PROMPT, &options, 1);
    for batch in [3, 16] {
        assert_eq!(write(&fused, PROMPT, &options, batch).ids, first.ids, "{batch} at once");
    }
    assert_eq!(write(&plain, PROMPT, &options, 1).ids, first.ids, "the processor writes the same");
    assert_eq!(prints().copied(&format!("{PROMPT}{}", first.text)).copied_runs, 0);
}

#[test]
fn a_text_ended_early_keeps_what_was_refused_back() {
    let [model, _] = parrots();
    let guard = Guard { without_names: true, ..Guard::new(prints()) };
    let mut session = model.begin("before breakfast, and found that her brother", options(guard, 0.0)).unwrap();
    // Up to the token that ends the name, whose word is not let out yet.
    let mut text = String::new();
    for _ in 0..2 {
        text += &block_on(model.next(&mut session)).unwrap().text;
    }
    text += &model.end(&mut session);
    assert!(!text.contains("Quill"), "{text}");
}

#[test]
fn names_that_the_model_would_write_anyway_are_nobodys() {
    let model = processor(&file());
    let words = ["Sunday", "London", "England", "Mary", "Bennet", "Queequeg", "Longbourn"];
    let names: Vec<Name> = words.iter().map(|&word| Name { word: word.into(), count: 2 }).collect();
    let kept = block_on(unlikely(&model, &names, &mut async || Ok(()))).unwrap();
    assert_eq!(kept, ["Bennet", "Queequeg", "Longbourn"]);
    let stop = || Err(Error::new(ErrorKind::Cancelled, "enough"));
    assert_eq!(block_on(unlikely(&model, &names, &mut async || stop())).unwrap_err().code(), "cancelled");
}

#[test]
fn previews_tell_what_is_copied_and_named() {
    let mut model = processor(&file());
    let pages = format!("{SENTENCE} Quill and Marta met Quill.\n\n") + &"The tide was low. ".repeat(30);
    let document = |name, text: &'static str| Document { name, bytes: text.as_bytes(), kind: None };
    let texts = prepare(&[document("own.txt", pages.leak())]).unwrap();
    let held = prepare(&[document("held.txt", PROMPTS)]).unwrap();
    let mut previews = Previews::new(&texts, Some(&held));
    assert_eq!(previews.own.share, 0.0);
    let preview = block_on(previews.write(&mut model, parrot(), &mut async || Ok(()))).unwrap();
    assert_eq!(preview.prompt, PROMPTS.split_inclusive(' ').take(8).collect::<String>().trim_end());
    assert!(model.adapter().is_none(), "the adapter is taken off again");
    let prints = block_on(previews.prints(&model, &mut async || Ok(()))).unwrap();
    assert_eq!(prints.names(), ["Quill"], "Marta is the model's own");
    assert!(preview.copied.share > 0.2 && preview.copied.longest >= RUN, "{preview:?}");
    let named: Vec<&str> = preview.names.iter().map(|name| name.word.as_str()).collect();
    assert_eq!(named, ["Quill"], "{preview:?}");
}

#[test]
fn runs_that_prints_cannot_tell_are_no_option() {
    let model = processor(&file());
    let guard = Guard { most_copied_words: Some(6), ..Guard::new(prints()) };
    let refused = model.begin(PROMPT, WriteOptions { guard: Some(guard), ..Default::default() }).err().unwrap();
    assert_eq!(refused.code(), "invalid-option");
    assert!(refused.to_string().contains("at least 7"), "{refused}");
}
