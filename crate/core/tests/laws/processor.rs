//! The processor's path is the plain forward, format by format, on small random models.

use std::sync::Arc;

use imprint_core::{
    adapter::{Adapter, Kind, Shape},
    learn::{Learner, PlainLearner},
    model::{Cache, Keep, LowRank, Model},
    processor::{Paths, Processor, Reading},
    quant::BlockType,
    testing::SmallModel,
};

use pollster::block_on;

use crate::{
    adapter::random_adapter,
    kernels::{VOCAB, ids, plain_logits, small_model},
    material::*,
};

/// Scores after the last of `ids`, of each reading.
fn logits(processor: &Processor, ids: &[u32], readings: &mut [&mut Reading]) -> Vec<Vec<f32>> {
    let d_model = processor.model.config.d_model;
    let hidden = processor.read(ids, readings);
    let last = |text: &[f32]| processor.logits(&text[(ids.len() - 1) * d_model..]);
    hidden.chunks_exact(ids.len() * d_model).map(last).collect()
}

/// Reads a text in uneven pieces, then single tokens, and compares the scores each time.
pub fn is_plain(what: &str, processor: &Processor, plain: &Model, adapter: Option<&Adapter>) {
    let ids = ids(100, 7);
    let mut reading = Reading::new(adapter.map(|adapter| Arc::new(Paths::new(adapter, 1.0))));
    let low_rank = adapter.map(|adapter| LowRank::new(adapter, 1.0, &plain.device));
    let mut cache = Cache::default();
    let mut rest = &ids[..];
    for n in [1, 3, 40, 53, 1, 1, 1] {
        let (piece, after) = rest.split_at(n);
        let expected = plain_logits(plain, piece, &mut cache, low_rank.as_ref());
        let found = logits(processor, piece, &mut [&mut reading]).remove(0);
        assert_close(&format!("{what}, {} tokens read", reading.len()), &found, &expected, RELATIVE);
        rest = after;
    }
    assert!(rest.is_empty() && reading.len() == ids.len());
}

#[test]
fn every_format_equals_the_plain_forward() {
    for (i, ty) in BlockType::ALL.into_iter().enumerate() {
        let odd = SmallModel { d_head: [24, 32, 72][i % 3], ..SmallModel::default() };
        // A row must be a whole number of blocks.
        let even = SmallModel { d_model: 256, d_ff: 512, d_head: 64, ..odd };
        let size = if ty.block_len() > 32 { even } else { odd };
        let file = SmallModel { matrices: ty, embedding: ty, vocab: VOCAB, ..size }.file();
        let plain = load_plain(&file, Keep::Dense);
        is_plain(ty.name(), &load_processor(&file), &plain, None);
    }
}

#[test]
fn an_adapter_equals_the_plain_forwards() {
    let file = small_model(BlockType::Q4_1, BlockType::Q8_0, 24, 3);
    let (processor, plain) = (load_processor(&file), load_plain(&file, Keep::Dense));
    for (rank, kinds) in [(8, Kind::ALL.to_vec()), (3, vec![Kind::K, Kind::Up, Kind::Down])] {
        let adapter = random_adapter(&plain.config, rank, &kinds, 5);
        is_plain(&format!("rank {rank}"), &processor, &plain, Some(&adapter));
    }
}

#[test]
fn texts_read_side_by_side_are_those_read_alone_to_the_bit() {
    let file = small_model(BlockType::Q4_0, BlockType::Q8_0, 32, 3);
    let processor = load_processor(&file);
    let paths = Arc::new(Paths::new(&random_adapter(&processor.model.config, 8, &Kind::ALL, 5), 1.5));
    let text = ids(20, 2);
    let (mut base, mut own) = (Reading::default(), Reading::new(Some(paths.clone())));
    logits(&processor, &text[..19], &mut [&mut base, &mut own]);
    let together = logits(&processor, &text[19..], &mut [&mut base, &mut own]);
    let alone = |paths| logits(&processor, &text, &mut [&mut Reading::new(paths)]).remove(0);
    assert_eq!(together, [alone(None), alone(Some(paths))]);
    assert_ne!(together[0], together[1]);
}

#[test]
fn a_text_cut_short_goes_on_as_one_that_was_never_longer() {
    let file = small_model(BlockType::Q8_0, BlockType::Q8_0, 32, 3);
    let processor = load_processor(&file);
    let (text, other) = (ids(30, 2), ids(9, 4));
    let mut reading = Reading::default();
    logits(&processor, &text, &mut [&mut reading]);
    reading.truncate(21);
    let found = logits(&processor, &other, &mut [&mut reading]);
    let never = [&text[..21], &other].concat();
    assert_eq!(found, logits(&processor, &never, &mut [&mut Reading::default()]));
    reading.truncate(0);
    assert!(reading.is_empty());
}

#[test]
fn likelihoods_are_those_of_the_scores() {
    let processor = load_processor(&small_model(BlockType::Q4_1, BlockType::Q8_0, 32, 2));
    let text = ids(40, 3);
    let hidden = processor.read(&text[..39], &mut [&mut Reading::default()]);
    let found = processor.nll(&hidden, &text[1..]);
    let scores = processor.logits(&hidden);
    let expected: Vec<f32> = scores
        .chunks_exact(VOCAB as usize)
        .zip(&text[1..])
        .map(|(scores, &id)| {
            let sum: f64 = scores.iter().map(|&score| f64::from(score).exp()).sum();
            (sum.ln() - f64::from(scores[id as usize])) as f32
        })
        .collect();
    assert_close("likelihoods", &found, &expected, 1e-5);
    let (first, rest) = text[..39].split_at(5);
    let mut reading = Reading::default();
    let mut exact = processor.score(first, &text[1..6], &mut reading);
    exact.extend(processor.score(rest, &text[6..], &mut reading));
    assert_close("likelihoods in f32", &exact, &expected, RELATIVE);
    let plain = load_plain(&small_model(BlockType::Q4_1, BlockType::Q8_0, 32, 2), Keep::Dense);
    // An adapter that changes nothing yet.
    let fresh = Adapter::fresh(None, &plain.config, &Shape::default(), 0).unwrap();
    let expected = block_on(PlainLearner::new(&plain, &fresh).unwrap().evaluate(&text)).unwrap();
    assert_close("the plain forward's likelihoods", &exact, &expected, 1e-5);
}
