//! Gemma 3, the second family: golden numbers, and texts longer than its window.

use std::fs;

use imprint_core::{processor::Reading, testing::gemma_path};

use crate::material::*;

#[test]
fn the_processor_follows_golden_numbers() {
    let processor = load_processor(&fs::read(gemma_path()).unwrap());
    for prompt in golden_of("gemma3.json").prompts {
        let (name, ids) = (&prompt.name, &prompt.ids);
        let nll = mean(&processor.score(&ids[..ids.len() - 1], &ids[1..], &mut Reading::default()));
        assert!((nll - prompt.mean_nll).abs() < NLL, "{name}: mean NLL {nll}, golden {}", prompt.mean_nll);
        let hidden = processor.read(ids, &mut [&mut Reading::default()]);
        let logits = processor.logits(&hidden[(ids.len() - 1) * processor.model.config.d_model..]);
        for (&id, &expected) in prompt.top20_ids.iter().zip(&prompt.top20_logits) {
            let found = logits[id as usize];
            assert!((found - expected).abs() < LOGIT, "{name}: logit of {id} is {found}, golden {expected}");
        }
    }
}
