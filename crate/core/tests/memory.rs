//! What writing and learning on the processor take, counted byte by byte: alone in their program, so that nothing else is
//! counted.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use imprint_core::{
    adapter::Adapter,
    config::ModelConfig,
    generate::{Backend, LanguageModel, WriteOptions},
    gguf::Gguf,
    learn::{Effort, Engine, Event, Lessons, Need, ProcessorLearner, Recipe, Room, Trainer},
    needs::Needs,
    processor::Processor,
    testing::model_path,
    tokenizer::{Tokenizer, Vocabulary},
    weights::load_packed,
};
use pollster::block_on;

/// The system's allocator with a count of what is out, and of the most that ever was.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn took(bytes: usize) {
    MOST.fetch_max(HELD.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Held by whoever counts.
static COUNTER: Mutex<()> = Mutex::new(());

/// The real model's file, whose source is counted with neither.
fn file() -> Vec<u8> {
    fs::read(model_path()).unwrap()
}

#[test]
fn writing_takes_no_more_memory_than_is_told() {
    let _alone = COUNTER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let file = file();
    let gguf = block_on(Gguf::read(&file)).unwrap();
    let config = ModelConfig::from_gguf(&gguf).unwrap();
    let capacity = 256;
    let need = Needs::of(&gguf, &config, capacity).cpu_bytes as usize;
    let before = HELD.load(Relaxed);
    let tokenizer = Tokenizer::new(Vocabulary::from_gguf(&gguf)).unwrap();
    let words = HELD.load(Relaxed) - before;
    println!("tokenizer: {words} bytes, {} a token", words / config.vocab);
    let model = block_on(load_packed(&gguf, &file, &mut |_, _| Ok(()))).unwrap();
    let model = LanguageModel::new(tokenizer, Backend::Processor(Box::new(Processor::new(model))), capacity);
    let mut session = model.begin(&"It was a fine day. ".repeat(40), WriteOptions::default()).unwrap();
    while block_on(model.next(&mut session)).unwrap().finish.is_none() {}
    let taken = HELD.load(Relaxed) - before;
    println!("{taken} bytes taken, {} at most, {need} told", MOST.load(Relaxed) - before);
    assert!(taken <= need, "writing takes {taken} bytes, {need} are told");
    assert!(10 * need <= 13 * taken, "writing takes {taken} bytes only, {need} are told");
}

#[test]
fn learning_takes_no_more_memory_than_is_told() {
    let _alone = COUNTER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let file = file();
    let gguf = block_on(Gguf::read(&file)).unwrap();
    let model = block_on(load_packed(&gguf, &file, &mut |_, _| Ok(()))).unwrap();
    let processor = Processor::new(model);
    let config = &processor.model.config;
    let derived = Recipe::derive(Effort::Normal, 10_000);
    for window in [64, 256] {
        // Measured, learned from, and measured again.
        let recipe = Recipe { window, passes: 1.0, interval: 1.0, ..derived.clone() };
        let need = Need::of(&recipe, config, Engine::Processor, Room::LEAST).total_bytes() as usize;
        let ids: Vec<u32> = (0..window as u32).map(|i| 1_000 + i * 7).collect();
        let lessons = Lessons { windows: vec![ids.clone()], holdout: vec![ids], characters: 4 * window };
        let before = HELD.load(Relaxed);
        MOST.store(before, Relaxed);
        {
            let adapter = Adapter::fresh(None, config, &recipe.shape(), 0).unwrap();
            let learner = ProcessorLearner::new(&processor, &adapter).unwrap();
            let mut trainer = Trainer::new(learner, lessons, recipe).unwrap();
            while !matches!(block_on(trainer.step()).unwrap(), Event::Ended(_)) {}
            let checkpoint = block_on(trainer.checkpoint("", "")).unwrap();
            assert!(checkpoint.to_bytes().unwrap().len() > 1000);
        }
        let taken = MOST.load(Relaxed) - before;
        println!("windows of {window}: {taken} bytes taken, {need} told");
        assert!(taken <= need, "windows of {window} take {taken} bytes, {need} are told");
        assert!(need <= 2 * taken, "windows of {window} take {taken} bytes only, {need} are told");
    }
}
