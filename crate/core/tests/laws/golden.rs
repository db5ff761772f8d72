//! The golden numbers of an independent implementation hold both paths.

use burn::tensor::{Tensor, TensorData};
use imprint_core::{
    fused::Variant,
    generate::{Backend, LanguageModel, WriteOptions},
    model::{Keep, log_likelihoods},
    processor::Reading,
    sample::Sampling,
};
use pollster::block_on;

use crate::material::*;

/// Scores after the whole prompt.
fn last_logits(model: &LanguageModel, ids: &[u32]) -> Vec<f32> {
    match &model.backend {
        Backend::Processor(processor) => {
            let hidden = processor.read(ids, &mut [&mut Reading::default()]);
            processor.logits(&hidden[(ids.len() - 1) * processor.model.config.d_model..])
        }
        Backend::Fused(fused) => {
            block_on(fused.read(0, ids)).unwrap();
            block_on(fused.logits()).unwrap()
        }
    }
}

fn greedy(model: &LanguageModel, prompt: &[u32], n: usize) -> Vec<u32> {
    let sampling = Sampling { temperature: 0.0, ..Default::default() };
    let options = WriteOptions { sampling, max_tokens: n, ..Default::default() };
    let mut session = model.begin_ids(prompt.to_vec(), options).unwrap();
    session.batch = 3;
    let mut ids = Vec::new();
    loop {
        let step = block_on(model.next(&mut session)).unwrap();
        ids.extend(step.ids);
        if step.finish.is_some() {
            return ids;
        }
    }
}

/// Holds a model to these golden numbers.
pub fn follows_golden(model: &LanguageModel, golden: Golden) {
    for prompt in golden.prompts {
        prompt.holds_nll(mean(&score(model, &prompt.ids).unwrap()));
        prompt.holds_logits(&last_logits(model, &prompt.ids));

        let name = &prompt.name;
        let ids = greedy(model, &prompt.ids, prompt.greedy_ids.len());
        for (i, (&expected, &margin)) in prompt.greedy_ids.iter().zip(&prompt.greedy_margin).enumerate() {
            match ids.get(i) {
                Some(&id) if id == expected => {}
                // The golden run went on past the end token; ours stops there.
                None if model.tokenizer.eos_ids().contains(&expected) => break,
                found => {
                    assert!(
                        margin < MARGIN,
                        "{name}: greedy token {i} is {found:?}, golden {expected}, margin {margin}"
                    );
                    break;
                }
            }
        }
    }
}

#[test]
fn the_forward_follows_golden_numbers() {
    let model = load_plain(&file(), Keep::Dense);
    for prompt in golden().prompts {
        let ids = &prompt.ids;
        let logits = model.logits(model.forward(ids, 1, None, None));
        let targets: Vec<i32> = ids[1..].iter().map(|&id| id as i32).collect();
        let n = targets.len();
        let targets = Tensor::from_data(TensorData::new(targets, [1, n, 1]), &model.device);
        let nll = log_likelihoods(logits.clone().narrow(1, 0, n)).gather(2, targets).neg().mean().into_scalar::<f32>();
        prompt.holds_nll(nll);
        let last: Vec<f32> = logits.narrow(1, n, 1).into_data().try_into_vec().unwrap();
        prompt.holds_logits(&last);
    }
}

#[test]
fn the_processors_path_follows_golden_numbers() {
    follows_golden(&processor(&file()), golden());
}

#[test]
fn fused_path_follows_golden_numbers() {
    follows_golden(&fused(&file(), Default::default(), Variant::for_device), golden());
}

#[test]
fn tokenizer_gives_the_golden_ids() {
    let model = processor(&file());
    for prompt in golden().prompts {
        assert_eq!(model.tokenizer.encode_with_specials(&prompt.text).unwrap(), prompt.ids, "{}", prompt.name);
    }
}
