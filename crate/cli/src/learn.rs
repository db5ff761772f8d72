//! `imprint learn`: an adapter out of somebody's texts.

mod folder;

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use imprint_core::{
    Error, ErrorKind, Result,
    adapter::Adapter,
    config::ModelConfig,
    generate::{Backend, LanguageModel},
    learn::{
        self, Checkpoint, Course, Ending, Engine, Event, FusedLearner, Journal, Learner, Lessons, Measurement, Outcome,
        ProcessorLearner, Recipe, Room, Trainer,
    },
    peft,
    preview::{Preview, Previews, Share},
    text::{self, Document},
};
use pollster::block_on;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    model::{self, DeviceInfo, ModelArgs, Opened},
    terminal::{Terminal, interrupted},
};
use folder::Folder;

/// Time between two checkpoints.
const KEEP: Duration = Duration::from_secs(15);
/// Previews are written no more often, so that they take a small part of the time.
const SHOW: Duration = Duration::from_secs(20);

/// What to learn from, and how.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Texts of one voice: plain text, Markdown or HTML.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    text: Vec<PathBuf>,
    /// Text to measure on, in place of the last tenth of each text.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    holdout: Vec<PathBuf>,
    /// A new folder for the adapter, in PEFT's layout.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on with the run that was paused with the same texts and --out.
    #[arg(long, conflicts_with_all = ["effort", "recipe", "rank", "alpha", "rate", "passes", "window", "seed", "memory"])]
    resume: bool,
    /// Which state to keep: the one that predicts the hold-out best, or the latest that nearly does.
    #[arg(long, value_enum, default_value_t = Keep::Fullest)]
    keep: Keep,
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Most memory in MB that learning may take beside the model [default: what the system has, where it tells].
    #[arg(long, value_name = "MB")]
    memory: Option<u64>,
}

#[derive(clap::Args)]
struct RecipeArgs {
    /// The dial: how far to go towards the voice.
    #[arg(long, value_enum, default_value_t = Effort::Normal)]
    effort: Effort,
    /// Width of the adapter.
    #[arg(long, value_name = "N")]
    rank: Option<usize>,
    /// Weight of the adapter, times its rank [default: twice the rank].
    #[arg(long, value_name = "A")]
    alpha: Option<f32>,
    /// Learning rate.
    #[arg(long, value_name = "R")]
    rate: Option<f32>,
    /// How often the text is read.
    #[arg(long, value_name = "N")]
    passes: Option<f32>,
    /// Tokens a step reads at once.
    #[arg(long, value_name = "TOKENS")]
    window: Option<usize>,
    /// Same seed, same texts, same device: same adapter.
    #[arg(long, value_name = "N")]
    seed: Option<u32>,
    /// Any numbers of the recipe, as a JSON object.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    recipe: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Effort {
    /// About one pass.
    Light,
    /// About two.
    Normal,
    /// About three: more voice at some cost in prediction.
    Deep,
}

#[derive(Clone, Copy, ValueEnum)]
enum Keep {
    Best,
    Fullest,
}

impl RecipeArgs {
    /// The numbers that the command line sets.
    fn set(&self) -> Result<Map<String, Value>> {
        let mut set: Map<String, Value> = serde_json::from_str(&self.recipe).map_err(|e| {
            let message = format!("--recipe holds no JSON object ({e}); give one such as '{{\"clip\": 0.5}}'");
            Error::new(ErrorKind::InvalidOption, message)
        })?;
        let options = [
            ("rank", self.rank.map(Value::from)),
            ("alpha", self.alpha.map(Value::from)),
            ("rate", self.rate.map(Value::from)),
            ("passes", self.passes.map(Value::from)),
            ("window", self.window.map(Value::from)),
            ("seed", self.seed.map(Value::from)),
        ];
        set.extend(options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Ok(set)
    }

    /// The recipe for a text of `tokens`.
    fn recipe(&self, tokens: usize) -> Result<Recipe> {
        let effort = match self.effort {
            Effort::Light => learn::Effort::Light,
            Effort::Normal => learn::Effort::Normal,
            Effort::Deep => learn::Effort::Deep,
        };
        Recipe::derive(effort, tokens).with(&self.set()?)
    }
}

/// A line of progress, under its name.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Begun {
        recipe: &'a Recipe,
        steps: u32,
        learned_tokens: usize,
        heldout_tokens: usize,
        dropped: &'a [text::Dropped],
        device: &'a DeviceInfo,
    },
    Step {
        step: u32,
        steps: u32,
        loss: Option<f32>,
        tokens_per_s: f64,
        left_s: f64,
    },
    Measured(Measurement),
    Preview(&'a Preview),
    Done(&'a Done),
}

/// What came of it.
#[derive(Serialize)]
struct Done {
    steps: u32,
    ending: Ending,
    holdout_bits_per_char_before: f32,
    holdout_bits_per_char_after: f32,
    /// The step whose state is kept.
    kept_step: u32,
    best_step: u32,
    best_bits_per_char: f32,
    /// What the last preview copies of the text, and beside it the author's own held-out text.
    copied: Share,
    own_copied: Share,
    /// Tokens learned a second, measurements and checkpoints left out; since it was resumed.
    tokens_per_s: f64,
    adapter: String,
    device: DeviceInfo,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = (self.holdout_bits_per_char_before, self.holdout_bits_per_char_after);
        let better = (before - after) / before * 100.0;
        let why = match self.ending {
            Ending::Planned => "as planned",
            Ending::Faded => "since the held-out text was predicted worse again",
            Ending::Copying => "since it began to copy",
        };
        writeln!(f, "{} predicts the held-out text {better:.1} % better than the model alone", self.adapter)?;
        writeln!(f, "bits per character   {before:.4} before, {after:.4} after")?;
        let percent = |copied: Share| format!("{:.1} % of eight words in a row", copied.share * 100.0);
        let (copied, own) = (percent(self.copied), percent(self.own_copied));
        writeln!(f, "copied               {copied}; the author's held-out text: {own}")?;
        write!(f, "steps                {}, ended {why}; kept from step {}", self.steps, self.kept_step)
    }
}

/// What a run needs beside its learner.
struct Run<'a> {
    args: &'a Args,
    terminal: &'a Terminal,
    folder: Folder,
    base: String,
    config: ModelConfig,
    device: DeviceInfo,
    lessons: Lessons,
    recipe: Recipe,
    /// What a learner on the GPU spends memory on.
    room: Room,
    adapter: Adapter,
    previews: Previews,
    /// What the latest preview copies, and when it was written.
    copied: Share,
    shown: Option<Instant>,
    pace: Pace,
}

/// Where a learner got to.
enum Taught {
    /// A preview is due: the model must be free of the learner for it.
    Due(Box<Checkpoint>),
    Over(Box<Over>),
}

/// What a run leaves.
struct Over {
    outcome: Outcome,
    journal: Journal,
    /// The numbers of the state to keep.
    kept: Option<Vec<f32>>,
}

/// Learns.
///
/// # Errors
/// `invalid-option`, `text-too-short`, `text-unreadable`, `out-of-memory`, what opening the model gives, `nothing-learned`
/// when the hold-out is predicted no better, `cancelled` after an interrupt, when the run is kept to go on later.
pub fn run(args: &Args, terminal: &Terminal) -> Result<()> {
    // Wrong options are told before anything is read; the length of the text changes no range.
    args.recipe.recipe(learn::LEAST_TOKENS)?;
    let folder = Folder::new(&args.out)?;
    let checkpoint = if args.resume { Some(folder.resume()?) } else { None };
    let texts = read(&args.text)?;
    let holdout = if args.holdout.is_empty() { None } else { Some(read(&args.holdout)?) };
    let base = model::fingerprint(args.model.path(terminal)?, terminal)?;
    let Opened { mut model, device, .. } = model::open(&args.model, terminal)?;
    let course = Course::of(&model.tokenizer, &texts, holdout.as_ref())?;
    let engine = if matches!(model.backend, Backend::Processor(_)) { Engine::Processor } else { Engine::Fused };
    let config = model.config().clone();
    let free = free_bytes(args, engine);
    let recipe = match &checkpoint {
        Some(checkpoint) => checkpoint.about.recipe.clone(),
        None => args.recipe.recipe(course.learned.tokens())?.fit(&config, engine, free)?,
    };
    let room = Room::of(&recipe, &config, engine, free);
    let lessons = course.lessons(&model.tokenizer, recipe.window);
    let adapter = Adapter::fresh(Some(base.clone()), &config, &recipe.shape(), recipe.seed.into())?;
    if checkpoint.is_none() {
        folder.begin()?;
    }
    if terminal.json {
        terminal.line(&Line::Begun {
            recipe: &recipe,
            steps: recipe.steps(lessons.windows.len()),
            learned_tokens: course.learned.tokens(),
            heldout_tokens: course.held.tokens(),
            dropped: &texts.dropped(),
            device: &device,
        })?;
    }
    let previews = Previews::new(&texts, holdout.as_ref());
    let (copied, shown, pace) = (Share::default(), None, Pace::new());
    let run = Run {
        args,
        terminal,
        folder,
        base,
        config,
        device,
        lessons,
        recipe,
        room,
        adapter,
        previews,
        copied,
        shown,
        pace,
    };
    run.learn(&mut model, checkpoint)
}

fn read(paths: &[PathBuf]) -> Result<text::Material> {
    let read = |path: &PathBuf| {
        fs::read(path).map(|bytes| (path.display().to_string(), bytes)).map_err(|e| {
            Error::new(ErrorKind::InvalidOption, format!("{} cannot be read: {e}", path.display())).with_source(e)
        })
    };
    let files = paths.iter().map(read).collect::<Result<Vec<_>>>()?;
    let documents: Vec<Document> = files.iter().map(|(name, bytes)| Document { name, bytes, kind: None }).collect();
    text::prepare(&documents)
}

/// The memory that learning may take, in bytes: all there is where nobody tells, as of a GPU.
fn free_bytes(args: &Args, engine: Engine) -> u64 {
    let told = args.memory.map(|mb| mb * 1_000_000);
    told.or_else(|| (engine == Engine::Processor).then(model::free_bytes).flatten()).unwrap_or(u64::MAX)
}

impl Run<'_> {
    /// Learns, with a preview now and then.
    fn learn(mut self, model: &mut LanguageModel, mut checkpoint: Option<Checkpoint>) -> Result<()> {
        loop {
            let from = (checkpoint.take(), self.shown.map(|_| self.copied.share));
            let taught = match &model.backend {
                Backend::Processor(processor) => self.teach(ProcessorLearner::new(processor, &self.adapter)?, from)?,
                Backend::Fused(fused) => {
                    let learner = block_on(FusedLearner::new(fused, &self.adapter, self.recipe.window, self.room))?;
                    self.teach(learner, from)?
                }
            };
            match taught {
                Taught::Due(due) => {
                    self.adapter.set_parameters(due.parameters());
                    self.preview(model)?;
                    checkpoint = Some(*due);
                }
                Taught::Over(over) => {
                    if let Some(kept) = &over.kept {
                        self.adapter.set_parameters(kept);
                        self.preview(model)?;
                    }
                    return self.finish(model, *over);
                }
            }
        }
    }

    /// Learns from a checkpoint on, and what share of a preview of that state is copied, until it is over or a preview due.
    fn teach<L: Learner>(&mut self, learner: L, from: (Option<Checkpoint>, Option<f32>)) -> Result<Taught> {
        let lessons = self.lessons.clone();
        let mut trainer = match from.0 {
            Some(checkpoint) => block_on(Trainer::resume(learner, lessons, &self.base, checkpoint))?,
            None => Trainer::new(learner, lessons, self.recipe.clone())?,
        };
        from.1.into_iter().for_each(|share| trainer.copied(share));
        let mut progress = self.terminal.progress("learning");
        let mut kept = Instant::now();
        loop {
            if interrupted() {
                return Err(self.pause(&mut trainer));
            }
            let start = Instant::now();
            match block_on(trainer.step())? {
                Event::Ended(outcome) => {
                    let kept = trainer.kept(self.choice()).map(<[f32]>::to_vec);
                    return Ok(Taught::Over(Box::new(Over { outcome, kept, journal: trainer.journal().clone() })));
                }
                Event::Stepped { tokens } => {
                    self.pace.add(tokens, start.elapsed());
                    self.stepped(&trainer)?;
                    progress.show(trainer.journal().step.into(), trainer.steps().into());
                }
                Event::Measured(measurement) => {
                    self.measured(measurement)?;
                    if measurement.step > 0 && self.shown.is_none_or(|shown| shown.elapsed() > SHOW) {
                        let checkpoint = block_on(trainer.checkpoint(&self.base, ""))?;
                        self.folder.keep(&checkpoint)?;
                        return Ok(Taught::Due(Box::new(checkpoint)));
                    }
                }
                Event::Read { .. } => {}
            }
            if kept.elapsed() > KEEP {
                self.folder.keep(&block_on(trainer.checkpoint(&self.base, ""))?)?;
                kept = Instant::now();
            }
        }
    }

    /// Writes a preview with the adapter as it stands.
    fn preview(&mut self, model: &mut LanguageModel) -> Result<()> {
        let mut on_step = async || {
            let paused = || Error::new(ErrorKind::Cancelled, "learning is paused; go on with --resume");
            if interrupted() { Err(paused()) } else { Ok(()) }
        };
        let preview = block_on(self.previews.write(model, &self.adapter, &mut on_step))?;
        self.copied = preview.copied;
        self.shown = Some(Instant::now());
        if self.terminal.json { self.terminal.line(&Line::Preview(&preview)) } else { Ok(()) }
    }

    fn choice(&self) -> learn::Choice {
        match self.args.keep {
            Keep::Best => learn::Choice::Best,
            Keep::Fullest => learn::Choice::Fullest,
        }
    }

    /// Keeps the run to go on later.
    fn pause<L: Learner>(&self, trainer: &mut Trainer<L>) -> Error {
        let kept = block_on(trainer.checkpoint(&self.base, "")).and_then(|checkpoint| self.folder.keep(&checkpoint));
        let (step, steps) = (trainer.journal().step, trainer.steps());
        match kept {
            Ok(()) => {
                let message = format!("learning is paused at step {step} of {steps}; go on with --resume");
                Error::new(ErrorKind::Cancelled, message)
            }
            Err(e) => e,
        }
    }

    fn stepped<L: Learner>(&self, trainer: &Trainer<L>) -> Result<()> {
        if !self.terminal.json {
            return Ok(());
        }
        let (step, steps) = (trainer.journal().step, trainer.steps());
        let loss = trainer.journal().losses.last().copied();
        let left_s = self.pace.seconds_per_step() * f64::from(steps - step);
        self.terminal.line(&Line::Step { step, steps, loss, tokens_per_s: self.pace.tokens_per_s(), left_s })
    }

    fn measured(&self, measurement: Measurement) -> Result<()> {
        if self.terminal.json {
            return self.terminal.line(&Line::Measured(measurement));
        }
        let Measurement { step, bits_per_char, .. } = measurement;
        self.terminal.note(&format!("\rstep {step}: {bits_per_char:.4} bits a character on the held-out text"));
        Ok(())
    }

    fn finish(mut self, model: &LanguageModel, over: Over) -> Result<()> {
        let Over { outcome, journal, .. } = over;
        let (ending, before, best, fullest) = match outcome {
            Outcome::Nothing { why, .. } => {
                self.folder.discard();
                return Err(Error::new(ErrorKind::NothingLearned, why));
            }
            Outcome::Learned { ending, before, best, fullest } => (ending, before, best, fullest),
        };
        let after = if self.choice() == learn::Choice::Best { best } else { fullest };
        // They were made for the last preview.
        let prints = block_on(self.previews.prints(model, &mut async || Ok(())))?;
        let notes = BTreeMap::from([
            ("recipe".to_owned(), json!(self.recipe).to_string()),
            ("measurements".to_owned(), json!(journal.measurements).to_string()),
        ]);
        self.folder.finish(&peft::export(&self.adapter, &self.config, &notes)?, &prints)?;
        let done = Done {
            steps: journal.step,
            ending,
            holdout_bits_per_char_before: before.bits_per_char,
            holdout_bits_per_char_after: after.bits_per_char,
            kept_step: after.step,
            best_step: best.step,
            best_bits_per_char: best.bits_per_char,
            copied: self.copied,
            own_copied: self.previews.own,
            tokens_per_s: self.pace.tokens_per_s(),
            adapter: self.args.out.display().to_string(),
            device: self.device,
        };
        if self.terminal.json { self.terminal.line(&Line::Done(&done)) } else { self.terminal.report(&done) }
    }
}

/// How fast it goes.
struct Pace {
    tokens: usize,
    steps: usize,
    time: Duration,
}

impl Pace {
    fn new() -> Self {
        Self { tokens: 0, steps: 0, time: Duration::ZERO }
    }

    fn add(&mut self, tokens: usize, time: Duration) {
        self.tokens += tokens;
        self.steps += 1;
        self.time += time;
    }

    fn tokens_per_s(&self) -> f64 {
        self.tokens as f64 / self.time.as_secs_f64().max(1e-9)
    }

    fn seconds_per_step(&self) -> f64 {
        self.time.as_secs_f64() / self.steps.max(1) as f64
    }
}
