//! Where the numbers of an adapter stand in GPU memory.
//!
//! All pairs lie in one buffer, and their gradients and moments in three more of the same layout. Ranks are filled up to
//! quads, and what is bound begins at a multiple of 256 bytes.

use crate::{
    adapter::{Adapter, Kind},
    config::ModelConfig,
    kernels::low_rank::{LowRank, Order, Part},
};

/// The matrices of a block, as [`crate::fused`] holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Qkv,
    O,
    GateUp,
    Down,
}

impl Place {
    pub const ALL: [Place; 4] = [Place::Qkv, Place::O, Place::GateUp, Place::Down];

    fn kinds(self) -> &'static [Kind] {
        match self {
            Place::Qkv => &[Kind::Q, Kind::K, Kind::V],
            Place::O => &[Kind::O],
            Place::GateUp => &[Kind::Gate, Kind::Up],
            Place::Down => &[Kind::Down],
        }
    }
}

/// Some of a buffer, in floats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    pub at: usize,
    pub len: usize,
}

/// The side paths of a matrix and where their A and B stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    pub low: LowRank,
    pub a: Span,
    pub b: Span,
}

/// A tensor here and in [`Adapter::parameters`].
#[derive(Debug, Clone, Copy)]
struct Tensor {
    host: usize,
    rows: usize,
    cols: usize,
    at: usize,
    /// Floats from one row to the next here.
    stride: usize,
}

/// The place of everything.
#[derive(Debug)]
pub struct Layout {
    sides: Vec<Side>,
    tensors: Vec<Tensor>,
    /// Floats here.
    pub len: usize,
    /// Numbers of the adapter.
    pub host_len: usize,
}

/// Floats that what is bound begins at a multiple of.
const ALIGN: usize = 64;

impl Layout {
    pub fn new(config: &ModelConfig, adapter: &Adapter) -> Self {
        let mut layout = Self { sides: Vec::new(), tensors: Vec::new(), len: 0, host_len: 0 };
        let mut host = vec![[0; Kind::ALL.len()]; config.n_layers];
        for (layer, kind, pair) in adapter.iter() {
            host[layer][kind as usize] = layout.host_len;
            layout.host_len += pair.a.len() + pair.b.len();
        }
        for (layer, host) in host.iter().enumerate() {
            for place in Place::ALL {
                layout.place(config, adapter, layer, place, host);
            }
        }
        layout.len = layout.len.next_multiple_of(ALIGN).max(ALIGN);
        layout
    }

    fn place(&mut self, config: &ModelConfig, adapter: &Adapter, layer: usize, place: Place, host: &[usize]) {
        let (mut parts, mut cols) = (Vec::new(), 0);
        let pairs: Vec<_> = place.kinds().iter().map(|&kind| (kind, adapter.pair(layer, kind))).collect();
        let a = self.len.next_multiple_of(ALIGN);
        let mut at = a;
        for &(kind, pair) in &pairs {
            let (d_in, d_out) = kind.dims(config);
            cols = d_in as u32;
            let (quads, scale) = pair.map_or((0, 0.0), |pair| (pair.rank.div_ceil(4), pair.scale));
            parts.push(Part { rows: d_out as u32, quads: quads as u32, scale });
            if let Some(pair) = pair {
                let host = host[kind as usize];
                self.tensors.push(Tensor { host, rows: pair.rank, cols: d_in, at, stride: d_in });
                at += quads * 4 * d_in;
            }
        }
        let a = Span { at: a, len: at - a };
        let b = at.next_multiple_of(ALIGN);
        at = b;
        for &(kind, pair) in &pairs {
            if let Some(pair) = pair {
                let (d_out, stride) = (kind.dims(config).1, pair.rank.next_multiple_of(4));
                let host = host[kind as usize] + pair.a.len();
                self.tensors.push(Tensor { host, rows: d_out, cols: pair.rank, at, stride });
                at += stride * d_out;
            }
        }
        self.len = at;
        let order = if place == Place::GateUp { Order::Alternating } else { Order::Stacked };
        let low = LowRank { cols, parts, order };
        self.sides.push(Side { low, a, b: Span { at: b, len: at - b } });
    }

    /// The side paths of a matrix.
    pub fn side(&self, layer: usize, place: Place) -> &Side {
        &self.sides[layer * Place::ALL.len() + place as usize]
    }

    /// Quads of the widest bottleneck of the matrices at `place`.
    pub fn most_quads(&self, place: Place) -> u32 {
        self.sides.iter().skip(place as usize).step_by(Place::ALL.len()).map(|side| side.low.quads()).max().unwrap_or(0)
    }

    /// From the order of [`Adapter::parameters`] to the one here.
    pub fn spread(&self, host: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; self.len];
        for t in &self.tensors {
            for (row, values) in host[t.host..t.host + t.rows * t.cols].chunks_exact(t.cols).enumerate() {
                out[t.at + row * t.stride..][..t.cols].copy_from_slice(values);
            }
        }
        out
    }

    /// Back into the order of [`Adapter::parameters`].
    pub fn collect(&self, here: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; self.host_len];
        for t in &self.tensors {
            for (row, values) in out[t.host..t.host + t.rows * t.cols].chunks_exact_mut(t.cols).enumerate() {
                values.copy_from_slice(&here[t.at + row * t.stride..][..t.cols]);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{adapter::Shape, config::ModelConfig, testing::plain_config};

    #[test]
    fn what_is_spread_comes_back_and_starts_where_it_may_be_bound() {
        let config = ModelConfig {
            architecture: "llama".into(),
            name: "small".into(),
            d_model: 96,
            d_ff: 160,
            n_layers: 2,
            n_heads: 4,
            n_kv_heads: 2,
            d_head: 24,
            vocab: 100,
            context: 64,
            ..plain_config()
        };
        let shape = Shape { rank: 5, alpha: 4.0, kinds: vec![Kind::K, Kind::V, Kind::Up, Kind::Down] };
        let adapter = Adapter::fresh(None, &config, &shape, 7).unwrap();
        let layout = Layout::new(&config, &adapter);
        let numbers: Vec<f32> = (0..adapter.n_parameters()).map(|i| i as f32 + 1.0).collect();
        let here = layout.spread(&numbers);
        assert_eq!(layout.collect(&here), numbers);
        let side = layout.side(1, Place::Qkv);
        assert_eq!(side.low.parts.iter().map(|p| p.quads).collect::<Vec<_>>(), [0, 2, 2]);
        assert!(layout.sides.iter().all(|s| s.a.at % ALIGN == 0 && s.b.at % ALIGN == 0));
        // A fifth number of a row stands in the second quad, zeros after it.
        assert_eq!(here[side.b.at + 4..side.b.at + 8][1..], [0.0; 3]);
        assert_eq!(layout.side(0, Place::O).low.quads(), 0);
    }
}
