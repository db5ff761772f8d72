//! When a run measures, what it keeps, how it ends, and that it goes on as if it had never been interrupted.
//!
//! The learner here is scripted: its hold-out follows a given curve, its numbers depend on all that it read.

use imprint_core::{
    Error, ErrorKind, Result,
    learn::{
        Checkpoint, Choice, Effort, Ending, Event, Learner, Lessons, Loss, Outcome, Recipe, State, Trainer, Update,
    },
};
use pollster::block_on;

/// Fingerprint of the model that nothing here has.
const BASE: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

struct Scripted {
    state: State,
    /// Hold-out loss after 0, 2, 4 … steps; the last goes on.
    curve: Vec<f32>,
    losses: Vec<Loss>,
    /// First ids of the windows read.
    read: Vec<u32>,
}

impl Scripted {
    fn new(curve: &[f32]) -> Self {
        let state = State { parameters: vec![0.0; 3], first: vec![0.0; 3], second: vec![0.0; 3], steps: 0 };
        Self { state, curve: curve.to_vec(), losses: Vec::new(), read: Vec::new() }
    }
}

impl Learner for Scripted {
    async fn step(&mut self, windows: &[&[u32]], update: &Update) -> Result<()> {
        let State { parameters, first, second, steps } = &mut self.state;
        for window in windows {
            self.read.push(window[0]);
            for i in 1..parameters.len() {
                let gradient = window[i] as f32 / 100.0 + 0.1 * parameters[i];
                first[i] = update.beta1 * first[i] + gradient;
                second[i] = update.beta2 * second[i] + gradient * gradient;
                parameters[i] -= update.rate * first[i] / (second[i].sqrt() + update.eps);
            }
        }
        *steps += 1;
        // The kept states are told apart by the step they come from.
        parameters[0] = *steps as f32;
        self.losses.push(Loss { nll: 4.0 + parameters[1] + first[2], grad_norm: 1.0 });
        Ok(())
    }

    async fn losses(&mut self, all: bool) -> Result<Vec<Loss>> {
        let late = usize::from(!all).min(self.losses.len());
        let told = self.losses.len() - late;
        Ok(self.losses.drain(..told).collect())
    }

    async fn evaluate(&mut self, window: &[u32]) -> Result<Vec<f32>> {
        let at = (self.state.steps as usize / 2).min(self.curve.len() - 1);
        Ok(vec![self.curve[at]; window.len() - 1])
    }

    async fn state(&mut self) -> Result<State> {
        Ok(self.state.clone())
    }

    fn set_state(&mut self, state: &State) {
        self.state = state.clone();
    }
}

/// Eight windows: a measurement every two steps.
fn lessons() -> Lessons {
    let windows = (0..8).map(|i| (i..i + 16).collect()).collect();
    let holdout = (100..103).map(|i| (i..i + 16).collect()).collect();
    Lessons { windows, holdout, characters: 180 }
}

/// Three passes.
fn recipe() -> Recipe {
    Recipe { passes: 3.0, window: 16, ..Recipe::derive(Effort::Normal, 2_000) }
}

fn trainer(curve: &[f32]) -> Trainer<Scripted> {
    Trainer::new(Scripted::new(curve), lessons(), recipe()).unwrap()
}

/// Steps to the end; `measured` may say what is copied.
fn end(trainer: &mut Trainer<Scripted>, mut measured: impl FnMut(u32) -> Option<f32>) -> Outcome {
    for _ in 0..1000 {
        match block_on(trainer.step()).unwrap() {
            Event::Ended(outcome) => return outcome,
            Event::Measured(measurement) => {
                if let Some(share) = measured(measurement.step) {
                    trainer.copied(share);
                }
            }
            Event::Stepped { .. } | Event::Read { .. } => {}
        }
    }
    panic!("a run of 24 steps has an end");
}

/// Steps at which a learned run ended, was best and was fullest.
fn steps(trainer: &Trainer<Scripted>, outcome: &Outcome) -> (Ending, u32, u32, u32) {
    let Outcome::Learned { ending, before, best, fullest } = outcome else { panic!("{outcome:?}") };
    assert_eq!(before.step, 0);
    // What is kept is the state of that very step.
    let kept = [Choice::Best, Choice::Fullest].map(|choice| trainer.kept(choice).unwrap()[0]);
    assert_eq!(kept, [best.step as f32, fullest.step as f32]);
    (*ending, trainer.journal().step, best.step, fullest.step)
}

#[test]
fn learning_ends_when_the_gain_is_lost_twice_running() {
    // Best gain 0.5: the line is at 3.575.
    let mut trainer = trainer(&[4.0, 3.8, 3.6, 3.5, 3.52, 3.58, 3.6, 3.0]);
    let outcome = end(&mut trainer, |_| None);
    assert_eq!(steps(&trainer, &outcome), (Ending::Faded, 12, 6, 8));
    let Outcome::Learned { before, best, .. } = outcome else { unreachable!() };
    // 45 predicted ids of 180 characters: four characters a token.
    let bits = |nll: f32| nll / 4.0 / std::f32::consts::LN_2;
    for measurement in [before, best] {
        assert!((measurement.bits_per_char - bits(measurement.nll)).abs() < 1e-5, "{measurement:?}");
    }
}

#[test]
fn one_measurement_under_the_line_ends_nothing() {
    let mut trainer = trainer(&[4.0, 3.8, 3.6, 3.5, 3.52, 3.58, 3.55, 3.58, 3.57]);
    let outcome = end(&mut trainer, |_| None);
    assert_eq!(steps(&trainer, &outcome), (Ending::Planned, 24, 6, 24));
}

#[test]
fn a_state_that_copies_is_not_kept_and_ends_the_run() {
    let mut trainer = trainer(&[4.0, 3.8, 3.6, 3.5]);
    let outcome = end(&mut trainer, |step| Some(if step == 6 { 0.03 } else { 0.01 }));
    assert_eq!(steps(&trainer, &outcome), (Ending::Copying, 6, 4, 4));
    assert_eq!(trainer.journal().measurements[3].copied, Some(0.03));
}

#[test]
fn worse_than_base_is_not_saved() {
    // It is given one pass to become better.
    let mut trainer = trainer(&[4.0, 4.01]);
    let outcome = end(&mut trainer, |_| None);
    let Outcome::Nothing { ending, why, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((ending, trainer.journal().step), (Ending::Faded, 8));
    assert!(why.contains("no better") && why.contains("nothing is saved"), "{why}");
    assert!([Choice::Best, Choice::Fullest].iter().all(|&choice| trainer.kept(choice).is_none()));
}

#[test]
fn a_slow_start_is_no_reason_to_end() {
    let mut trainer = trainer(&[4.0, 4.1, 4.05, 4.01, 3.9, 3.8]);
    let outcome = end(&mut trainer, |_| None);
    assert_eq!(steps(&trainer, &outcome), (Ending::Planned, 24, 10, 24));
}

#[test]
fn a_loss_that_is_no_number_names_the_rate() {
    let told = |mut trainer: Trainer<Scripted>| {
        let error = loop {
            match block_on(trainer.step()) {
                Ok(_) => assert!(trainer.journal().step < 6, "nothing noticed"),
                Err(error) => break error,
            }
        };
        assert!(error.kind() == ErrorKind::InvalidOption && error.to_string().contains("lower rate"), "{error}");
    };
    // In the hold-out, and in a step.
    told(trainer(&[4.0, f32::NAN]));
    let mut broken = trainer(&[4.0]);
    broken.learner().state.second = vec![f32::NAN; 3];
    told(broken);
}

#[test]
fn each_pass_reads_every_window_once_in_another_order() {
    let orders = |seed| {
        let recipe = Recipe { seed, ..recipe() };
        let mut trainer = Trainer::new(Scripted::new(&[4.0, 3.9]), lessons(), recipe).unwrap();
        end(&mut trainer, |_| None);
        let read = std::mem::take(&mut trainer.learner().read);
        read.chunks(8).map(<[u32]>::to_vec).collect::<Vec<_>>()
    };
    let (first, second) = (orders(1), orders(2));
    for pass in first.iter().chain(&second) {
        let mut sorted = pass.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..8).collect::<Vec<_>>());
    }
    assert!(first[0] != first[1] && first[1] != first[2] && first != second, "{first:?}");
    assert_eq!(first, orders(1));
}

#[test]
fn a_step_accumulates_windows_and_returns_after_each_window_measured() {
    let recipe = Recipe { accumulation: 4, passes: 1.0, interval: 1.0, ..recipe() };
    let mut trainer = Trainer::new(Scripted::new(&[4.0, 3.9]), lessons(), recipe).unwrap();
    let mut events = Vec::new();
    while !matches!(events.last(), Some(Event::Ended(_))) {
        events.push(block_on(trainer.step()).unwrap());
    }
    let kinds: String = events
        .iter()
        .map(|event| match event {
            Event::Stepped { tokens } => {
                assert_eq!(*tokens, 4 * 15);
                's'
            }
            Event::Read { .. } => 'r',
            Event::Measured(_) => 'm',
            Event::Ended(_) => 'e',
        })
        .collect();
    assert_eq!(kinds, "rrmssrrme");
}

/// All that two runs can differ in.
fn all(trainer: &mut Trainer<Scripted>, outcome: Outcome) -> impl PartialEq + std::fmt::Debug + use<> {
    let kept = [Choice::Best, Choice::Fullest].map(|choice| trainer.kept(choice).map(<[f32]>::to_vec));
    (outcome, trainer.journal().clone(), kept, trainer.learner().state.clone())
}

#[test]
fn resumed_equals_uninterrupted_wherever_it_was_interrupted() {
    let curve = [4.0, 3.8, 3.6, 3.5, 3.52, 3.53, 3.49, 3.51];
    let copied = |step| (step > 4).then_some(0.0005 * step as f32);
    let mut whole = trainer(&curve);
    let outcome = end(&mut whole, copied);
    let whole = all(&mut whole, outcome);
    let mut places = 0;
    for events in 0.. {
        let mut first = trainer(&curve);
        let mut ended = false;
        for _ in 0..events {
            match block_on(first.step()).unwrap() {
                Event::Measured(measurement) => copied(measurement.step).into_iter().for_each(|s| first.copied(s)),
                event => ended |= matches!(event, Event::Ended(_)),
            }
        }
        let bytes = block_on(first.checkpoint(BASE, "the note")).unwrap().to_bytes().unwrap();
        let checkpoint = Checkpoint::from_bytes(&bytes).unwrap();
        assert_eq!((checkpoint.about.note.as_str(), checkpoint.parameters().len()), ("the note", 3));
        let mut second = block_on(Trainer::resume(Scripted::new(&curve), lessons(), BASE, checkpoint)).unwrap();
        let outcome = end(&mut second, copied);
        assert_eq!(all(&mut second, outcome), whole, "interrupted after {events} events");
        places += 1;
        if ended {
            break;
        }
    }
    // None, 24 steps, three windows in each of 13 measurements, the end.
    assert_eq!(places, 1 + 24 + 13 * 3 + 1);
}

#[test]
fn a_damaged_checkpoint_and_a_foreign_one_are_refused() {
    let mut trainer = trainer(&[4.0, 3.8]);
    (0..12).for_each(|_| drop(block_on(trainer.step()).unwrap()));
    let checkpoint = block_on(trainer.checkpoint(BASE, "")).unwrap();
    let bytes = checkpoint.to_bytes().unwrap();
    let refused = |bytes: &[u8]| Checkpoint::from_bytes(bytes).unwrap_err().kind() == ErrorKind::AdapterCorrupt;
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(refused(&damaged), "byte {at}");
        assert!(refused(&bytes[..at]), "cut to {at} bytes");
    }
    let resume = |base: &str, lessons: Lessons| -> Error {
        let checkpoint = Checkpoint::from_bytes(&bytes).unwrap();
        block_on(Trainer::resume(Scripted::new(&[4.0]), lessons, base, checkpoint)).err().unwrap()
    };
    assert_eq!(resume("another", lessons()).kind(), ErrorKind::AdapterWrongBase);
    let mut other = lessons();
    other.holdout[1][3] += 1;
    let error = resume(BASE, other);
    assert!(error.kind() == ErrorKind::InvalidOption && error.to_string().contains("other texts"), "{error}");
}
