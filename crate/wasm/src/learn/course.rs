//! From a person's documents to a course: what is learned from, what is held out, and with which recipe.

use imprint_core::{
    Result,
    generate::Backend,
    learn,
    learn::{Effort, Engine, Lessons, Need, Recipe, Room, Stream},
    text::{self, Document},
};
use js_sys::{Array, Uint8Array};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wasm_bindgen::prelude::*;

use crate::{
    engine::Open,
    web::{field, wasm_bytes},
};

/// What learning may take on the GPU, which tells nobody how much memory it has.
pub const GPU_BYTES: u64 = 1 << 30;
/// What all of wasm's memory may come to, of the 4 GiB that it can address.
const WASM_BYTES: u64 = 3 << 30;

/// How learning is called.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LearnOptions {
    /// What the adapter will be called.
    pub name: String,
    /// Whether the texts stay in this browser when the run has ended.
    pub keep_texts: bool,
    effort: Effort,
    recipe: Map<String, Value>,
}

/// What a run learns from, and how.
pub struct Course {
    /// The documents made ready.
    pub texts: text::Material,
    /// Tokens to learn from.
    pub tokens: usize,
    /// What is read when.
    pub lessons: Lessons,
    /// The numbers it learns with.
    pub recipe: Recipe,
    /// What a learner on the GPU spends memory on.
    pub room: Room,
    /// Bytes of the documents.
    pub size_bytes: usize,
    held_tokens: usize,
    need: Need,
}

/// Where the numbers of a run come from.
pub enum Plan<'a> {
    /// A new run's options.
    New(&'a LearnOptions),
    /// The recipe of a run that goes on.
    Known(Recipe),
}

impl Course {
    /// Reads documents as JavaScript holds them: a list of `{ name, bytes }`.
    ///
    /// # Errors
    /// As [`text::prepare`] and [`learn::Course::new`]; `invalid-option` for a recipe out of range, `out-of-memory` for one
    /// that does not fit however its windows are cut.
    pub fn new(open: &Open, documents: &JsValue, plan: Plan<'_>) -> Result<Self> {
        let read: Vec<(String, Vec<u8>)> = Array::from(documents)
            .iter()
            .map(|document| {
                let name = field(&document, "name").as_string().unwrap_or_default();
                (name, Uint8Array::new(&field(&document, "bytes")).to_vec())
            })
            .collect();
        let documents: Vec<Document> = read.iter().map(|(name, bytes)| Document { name, bytes, kind: None }).collect();
        let size_bytes = documents.iter().map(|document| document.bytes.len()).sum();
        let texts = text::prepare(&documents)?;
        let tokenizer = &open.model.tokenizer;
        let learned = Stream::new(tokenizer, texts.texts.iter().map(|text| text.training.as_slice()))?;
        let held = Stream::new(tokenizer, texts.texts.iter().map(|text| text.holdout.as_slice()))?;
        let (tokens, held_tokens) = (learned.tokens(), held.tokens());
        let material = learn::Course::new(learned, held, false)?;
        let (engine, free_bytes) = free(open);
        let recipe = match plan {
            Plan::New(options) => {
                // What JavaScript left undefined is null here.
                let set = options.recipe.clone().into_iter().filter(|(_, value)| !value.is_null()).collect();
                let recipe = Recipe::derive(options.effort, tokens).with(&set)?;
                recipe.fit(open.model.config(), engine, free_bytes)?
            }
            Plan::Known(recipe) => recipe,
        };
        let room = Room::of(&recipe, open.model.config(), engine, free_bytes);
        let need = Need::of(&recipe, open.model.config(), engine, room);
        let lessons = material.lessons(tokenizer, recipe.window);
        Ok(Self { texts, tokens, lessons, recipe, room, size_bytes, held_tokens, need })
    }

    /// What a run would do, to show before it begins.
    pub fn planned(self) -> Planned {
        Planned {
            counts: self.counts(),
            steps: self.recipe.steps(self.lessons.windows.len()),
            memory_bytes: self.need.total_bytes() as f64,
            recipe: self.recipe,
        }
    }

    /// What was found, to tell the person.
    pub fn counts(&self) -> Counts {
        let of = |counts: text::Counts, tokens| Count {
            documents: counts.documents,
            passages: counts.passages,
            words: counts.words,
            characters: counts.characters,
            tokens,
        };
        let dropped = self.texts.dropped().into_iter().map(|dropped| Dropped {
            sentence: dropped.reason.sentence(),
            reason: dropped.reason,
            pieces: dropped.pieces,
            characters: dropped.characters,
        });
        let problem = |text: &text::Text| {
            let problem = text.problem.clone()?;
            Some(Problem { name: text.name.clone(), problem })
        };
        Counts {
            learned: of(self.texts.training(), self.tokens),
            held_out: of(self.texts.holdout(), self.held_tokens),
            dropped: dropped.collect(),
            problems: self.texts.texts.iter().filter_map(problem).collect(),
        }
    }
}

/// Which way this model learns, and how many bytes that may take.
fn free(open: &Open) -> (Engine, u64) {
    match &open.model.backend {
        Backend::Processor(_) => (Engine::Processor, WASM_BYTES.saturating_sub(wasm_bytes())),
        Backend::Fused(_) => (Engine::Fused, GPU_BYTES),
    }
}

/// What a run would do, as JavaScript sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    counts: Counts,
    recipe: Recipe,
    steps: u32,
    memory_bytes: f64,
}

/// What was found in the documents, as JavaScript sees it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    learned: Count,
    held_out: Count,
    dropped: Vec<Dropped>,
    problems: Vec<Problem>,
}

#[derive(Debug, Clone, Serialize)]
struct Count {
    documents: usize,
    passages: usize,
    words: usize,
    characters: usize,
    tokens: usize,
}

#[derive(Debug, Clone, Serialize)]
struct Dropped {
    reason: text::Reason,
    sentence: &'static str,
    pieces: usize,
    characters: usize,
}

#[derive(Debug, Clone, Serialize)]
struct Problem {
    name: String,
    problem: String,
}
