//! The parts of a decoded token on the processor, each alone, for whoever has a clock.

use super::{
    Processor, Products, Reading,
    attention::{attend, gated, norm},
};
use crate::adapter::Kind;

/// A part of a token's work over all blocks.
pub struct Part<'a> {
    /// What it is called.
    pub name: &'static str,
    /// How often a token does it.
    pub count: usize,
    /// Bytes of weights and of the cache that it reads.
    pub bytes: u64,
    /// Multiplications and additions.
    pub flops: u64,
    /// Does it once for a token.
    pub run: Box<dyn Fn() + 'a>,
}

impl Processor {
    /// All that a token after `len` others does.
    pub fn parts(&self, len: usize) -> Vec<Part<'_>> {
        let c = &self.model.config;
        let mut parts = vec![
            self.product("q k v", [Kind::Q, Kind::K, Kind::V]),
            self.product("o", [Kind::O]),
            self.product("gate up", [Kind::Gate, Kind::Up]),
            self.product("down", [Kind::Down]),
        ];
        let (q, keys) = (vec![0.01; c.d_query()], vec![0.01; (len + 1) * c.d_kv()]);
        let n_layers = c.n_layers as u64;
        parts.push(Part {
            name: "attention",
            count: c.n_layers,
            bytes: n_layers * keys.len() as u64 * 8,
            flops: n_layers * 4 * (len as u64 + 1) * c.d_query() as u64,
            run: Box::new(move || (0..c.n_layers).for_each(|_| drop(attend(c, None, &q, &keys, &keys)))),
        });
        let (x, wide) = (vec![0.01; c.d_model], vec![0.01; c.d_ff]);
        parts.push(Part {
            name: "norms and gates",
            count: c.n_layers,
            bytes: 0,
            flops: n_layers * (8 * c.d_model + 5 * c.d_ff) as u64,
            run: Box::new(move || {
                for layer in &self.model.layers {
                    drop(norm(&x, &layer.attention_norm, c.norm_eps));
                    drop(norm(&x, &layer.ffn_norm, c.norm_eps));
                    drop(gated(c.activation, &wide, &wide));
                }
            }),
        });
        let (hidden, head) = (vec![0.01; c.d_model], &self.model.head);
        parts.push(Part {
            name: "head",
            count: 1,
            bytes: head.bytes.len() as u64,
            flops: 2 * (head.rows * head.cols) as u64,
            run: Box::new(move || drop(self.logits(&hidden))),
        });
        parts
    }

    /// The products of `kinds` in every block.
    fn product<const N: usize>(&self, name: &'static str, kinds: [Kind; N]) -> Part<'_> {
        let all = || self.model.layers.iter().flat_map(|layer| kinds.map(|kind| &layer.weights[kind as usize]));
        let x = vec![0.01; kinds[0].dims(&self.model.config).0];
        Part {
            name,
            count: self.model.layers.len(),
            bytes: all().map(|blocks| blocks.bytes.len() as u64).sum(),
            flops: all().map(|blocks| 2 * (blocks.rows * blocks.cols) as u64).sum(),
            run: Box::new(move || {
                let mut reading = Reading::default();
                for layer in 0..self.model.layers.len() {
                    drop(self.project(layer, kinds, &x, &[&mut reading], Products::Whole));
                }
            }),
        }
    }
}

/// Reads `words` once, in order: what memory gives one thread at best.
pub fn read_once(words: &[u64]) -> u64 {
    const SUMS: usize = 16;
    let mut sums = [0u64; SUMS];
    for words in words.as_chunks::<SUMS>().0 {
        sums = std::array::from_fn(|i| sums[i] ^ words[i]);
    }
    sums.iter().fold(0, |all, sum| all ^ sum)
}
