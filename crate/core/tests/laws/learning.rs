//! Learning an adapter: what it may and may not change, and the golden run that both learners follow.

use imprint_core::{
    adapter::{Adapter, Shape},
    model::{LowRank, Model},
    testing::SmallModel,
    weights::Keep,
};

use crate::material::*;

fn ids(n: usize, seed: u64, vocab: u64) -> Vec<u32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..n).map(|_| random.u32(0..vocab as u32)).collect()
}

fn logits(model: &Model, ids: &[u32], adapter: Option<&LowRank>) -> Vec<f32> {
    model.logits(model.forward(ids, 1, None, adapter)).into_data().try_into_vec().unwrap()
}

#[test]
fn fresh_adapter_leaves_logits_unchanged() {
    let small = SmallModel::default();
    for keep in [Keep::Packed, Keep::Dense] {
        let model = load_plain(&small.file(), keep);
        let mut adapter = Adapter::fresh(None, &model.config, &Shape::default(), 0).unwrap();
        for n in [3, 40] {
            let ids = ids(n, 1, small.vocab);
            let base = logits(&model, &ids, None);
            let fresh = LowRank::new(&adapter, 1.0, &model.device);
            assert_eq!(logits(&model, &ids, Some(&fresh)), base, "{n} tokens, {keep:?}");
        }
        // The same paths are no longer silent once B holds anything.
        let ids = ids(40, 1, small.vocab);
        adapter.set_parameters(&vec![0.01; adapter.n_parameters()]);
        let louder = |factor| logits(&model, &ids, Some(&LowRank::new(&adapter, factor, &model.device)));
        let base = logits(&model, &ids, None);
        assert_ne!(louder(1.0), base);
        assert_eq!(louder(0.0), base, "a factor of 0 silences it");
    }
}
