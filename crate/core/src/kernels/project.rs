//! Projections over quantised weights: a matrix–vector product for one token, a tiled product for many.
//!
//! Weights are unpacked in registers and multiplied with f32 activations, so the numbers are those of the plain path but
//! for the order of the sums. One generator writes both products; what stands before (norm) and after (rope and cache,
//! gate, residual) the product is part of the kernel, so that it costs no dispatch of its own.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::{
    SUBGROUPS,
    apart::Apart,
    shared::{self, Size},
    side::Side,
    state,
    unpack::{bytes, decoders, lengths},
};
use crate::{config::Activation, quant::BlockType};

/// What a projection does with its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Norm, then query, key and value rows in one matrix.
    Qkv {
        /// Width of all query heads.
        d_query: u32,
        /// Width of all key heads.
        d_kv: u32,
        /// Width of one head.
        d_head: u32,
        /// Queries and keys are rotated here, keys and values go to the cache; else the rows stay as they are, for
        /// [`heads`](super::heads).
        turned: bool,
    },
    /// Adds the product to the residual stream.
    Residual,
    /// The product alone, which a norm brings into the residual stream.
    Given,
    /// Norm, then rows that alternate gate and up: the gate, bent, times up.
    GateUp(Activation),
    /// Norm of the last token read, then the scores of the vocabulary.
    Head(Slice),
    /// The scores of the vocabulary for tokens normed before, `first` of them skipped by the dispatch.
    Scores(Slice),
}

/// Which of the rows of a larger matrix a matrix has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// The first.
    pub first: u32,
    /// How many the larger one has.
    pub all: u32,
}

impl Slice {
    /// A matrix that is no part of a larger one.
    pub fn whole(rows: u32) -> Self {
        Self { first: 0, all: rows }
    }
}

impl Role {
    /// Whether the one-token kernel norms its input.
    pub fn normed(self) -> bool {
        matches!(self, Role::Qkv { .. } | Role::GateUp(_) | Role::Head(_))
    }

    /// Whether queries and keys are rotated, and keys and values go to the cache.
    pub fn turned(self) -> bool {
        matches!(self, Role::Qkv { turned: true, .. })
    }

    /// Whether the rows stay what the product makes them.
    pub fn plain(self) -> bool {
        matches!(self, Role::Given | Role::Qkv { turned: false, .. } | Role::Scores(_))
    }

    /// Projections in the matrix that may have a low-rank path beside them.
    pub fn parts(self) -> u32 {
        match self {
            Role::Qkv { .. } => 3,
            Role::GateUp(_) => 2,
            Role::Residual | Role::Given => 1,
            Role::Head(_) | Role::Scores(_) => 0,
        }
    }
}

/// How a product is cut among invocations: chosen by device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Neighbouring rows one invocation computes; even.
    pub rows: u32,
    /// Invocations that share the blocks of those rows (a power of two): 1 needs no reduction, more read memory in one sweep.
    pub lanes: u32,
    /// Invocations a workgroup of the one-token kernel: more make the norm and the side path's bottleneck less often, fewer
    /// keep more of a device busy.
    pub group: u32,
    /// Smallest subgroup of the device, to reduce with shuffles where it holds all lanes.
    pub subgroup: Option<u32>,
    /// Whether the one-token kernels walk along rows with activations they hold; `rows`, `lanes` and `group` then only say
    /// how attention is cut.
    #[serde(default)]
    pub walk: bool,
    /// How the tiled products are cut.
    pub tile: Tile,
}

/// How the products of many tokens are cut among invocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tile {
    /// Invocations share no memory.
    Apart(Apart),
    /// A workgroup brings weights and activations into its memory, for all its invocations.
    Shared(Size),
}

/// A quantised projection kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Project {
    /// Format of the weights.
    pub ty: BlockType,
    /// Rows of the matrix.
    pub rows: u32,
    /// Weights a row: a multiple of 32.
    pub cols: u32,
    /// What happens to the rows.
    pub role: Role,
    /// Epsilon of the norm, where the role has one.
    pub eps: f32,
    /// Tokens the one-token kernel computes over one reading of the weights: 1, or 2 that stand at the same position of
    /// two texts, each with half of the cache, the second alone with the side path.
    pub streams: u32,
}

impl Project {
    /// Bytes of its weights, and multiplications and additions a token.
    pub fn work(&self) -> [u64; 2] {
        let (rows, cols) = (u64::from(self.rows), u64::from(self.cols));
        [rows * self.ty.row_bytes(self.cols as usize) as u64, 2 * rows * cols]
    }

    pub(super) fn side(&self) -> Option<Side> {
        (self.role.parts() > 0).then_some(Side { role: self.role, rows: self.rows, cols: self.cols })
    }

    /// The kernel for many tokens in tiles that a workgroup shares; its input is normed already.
    ///
    /// Bindings: state, words, scales, x, out, then [side](super::side) unless it makes scores, then rope and cache for
    /// [`Role::Qkv`]. Behind the activations stands the side path's bottleneck.
    pub fn tile(&self, size: Size) -> String {
        let (rows, tokens) = (shared::EACH_ROWS, size.each_tokens());
        let mut w = self.header(None);
        w.push_str(&size.entry());
        shared::product(&mut w, size, self.ty, self.rows, self.cols / 32);
        if let Some(side) = self.side() {
            side.widen_tile(&mut w, rows, tokens, |r, t| format!("a{r}_{t}"));
        }
        for t in 0..tokens {
            writeln!(w, "  if (token0 + {t}u < count) {{\n    let token = token0 + {t}u;").ok();
            (0..rows).for_each(|r| w.push_str(&format!("    let y{r} = a{r}_{t};\n")));
            self.store(&mut w, rows, " + token", "", false);
            w.push_str("  }\n");
        }
        w.push_str("}\n");
        w
    }

    /// `vec4<u32>` words a block.
    pub(super) fn parts(&self) -> u32 {
        if bytes(self.ty) { 2 } else { 1 }
    }

    /// Declarations: of the one-token kernel in a cut, or of the tiled one.
    pub(super) fn header(&self, one_token: Option<Cut>) -> String {
        let mut w = String::new();
        let vector = one_token.is_some();
        let shuffles = one_token.is_some_and(|cut| cut.shuffles());
        let normed = vector && self.role.normed();
        // Such invocations have for themselves what the others share in workgroup memory: sums of blocks and of squares.
        let held = shuffles || one_token.is_some_and(|cut| cut.walk);
        if shuffles {
            w.push_str(SUBGROUPS);
        }
        let mut binding = 0;
        let mut bind = |w: &mut String, name: &str, ty: &str, write: bool| {
            let access = if write { "read_write" } else { "read" };
            writeln!(w, "@group(0) @binding({binding}) var<storage, {access}> {name}: array<{ty}>;").ok();
            binding += 1;
        };
        bind(&mut w, "state", "u32", false);
        let [n_words, n_scales] = lengths(self.ty, self.rows, self.cols);
        // Nested arrays: browsers check the index of a block then, not of each of its parts.
        let parts = self.parts();
        let block = format!("array<vec4<u32>, {parts}>, {}", n_words / 4 / parts);
        bind(&mut w, "words", &if vector { block } else { format!("u32, {n_words}") }, false);
        bind(&mut w, "scales", &format!("u32, {n_scales}"), false);
        bind(&mut w, "x", if vector { "vec4<f32>" } else { "array<vec4<f32>, 2>" }, false);
        bind(&mut w, "out", "f32", true);
        if self.side().is_some() {
            bind(&mut w, "side", "vec4<f32>", false);
        } else if normed {
            bind(&mut w, "norm", "vec4<f32>", false);
        }
        if self.role.turned() {
            bind(&mut w, "rope", "vec2<f32>", false);
            bind(&mut w, "cache", "f32", true);
        }
        if normed {
            // Where lanes shuffle one of them holds the sum of all.
            let sums = one_token.map_or(0, |cut| if shuffles { cut.group / cut.lanes } else { cut.group });
            let (partial, octet) = (sums * self.streams, 8 * self.streams);
            writeln!(w, "var<workgroup> partial: array<f32, {partial}>;").ok();
            if !held {
                writeln!(w, "var<workgroup> octet: array<f32, {octet}>;").ok();
            }
        }
        if let Some(cut) = one_token {
            if !held {
                writeln!(w, "var<workgroup> block_sum: array<f32, {}>;", self.cols / 32 * self.streams).ok();
            }
            if let Some(side) = self.side() {
                side.declare(&mut w, cut);
            }
            if cut.lanes > 1 && !shuffles {
                writeln!(w, "var<workgroup> lanes: array<f32, {}>;", cut.group).ok();
            }
        }
        w.push_str(&decoders(self.ty));
        w
    }

    /// Hands the sums `y0…` of rows `row…` of `token` to where the role puts them. `after` is what its position is past
    /// the state's, `cache` where its text's half of the cache begins. What it is joined with was read already
    /// where it was asked for `ahead`: rope as `turn<row>`, and the residual stream is in the sums.
    pub(super) fn store(&self, w: &mut String, rows: u32, after: &str, cache: &str, ahead: bool) {
        let all = self.rows;
        match self.role {
            Role::Residual | Role::Given | Role::Qkv { turned: false, .. } => {
                let op = if self.role == Role::Residual && !ahead { "+=" } else { "=" };
                for r in 0..rows {
                    writeln!(w, "    if (row + {r}u < {all}u) {{ out[token * {all}u + row + {r}u] {op} y{r}; }}").ok();
                }
            }
            Role::Head(slice) | Role::Scores(slice) => {
                let Slice { first, all: stride } = slice;
                for r in 0..rows {
                    let place = first + r;
                    writeln!(w, "    if (row + {r}u < {all}u) {{ out[token * {stride}u + row + {place}u] = y{r}; }}")
                        .ok();
                }
            }
            Role::GateUp(activation) => {
                let half = all / 2;
                for r in (0..rows).step_by(2) {
                    let gated = format!("{} * y{}", bend(activation, &format!("y{r}")), r + 1);
                    writeln!(
                        w,
                        "    if (row + {r}u < {all}u) {{ out[token * {half}u + row / 2u + {}u] = {gated}; }}",
                        r / 2
                    )
                    .ok();
                }
            }
            Role::Qkv { d_query, d_kv, d_head, turned: true } => {
                let (half, keys) = (d_head / 2, d_query + d_kv);
                if !ahead {
                    writeln!(w, "    let position = state[{}]{after};", state::POSITION).ok();
                }
                for r in (0..rows).step_by(2) {
                    let up = r + 1;
                    let turn = match ahead {
                        true => format!("turn{r}"),
                        false => format!("rope[position * {half}u + (i % {d_head}u) / 2u]"),
                    };
                    writeln!(
                        w,
                        "    if (row + {r}u < {all}u) {{
      let i = row + {r}u;
      let turn = {turn};
      let a = y{r} * turn.x - y{up} * turn.y;
      let b = y{r} * turn.y + y{up} * turn.x;
      if (i < {d_query}u) {{
        out[token * {d_query}u + i] = a; out[token * {d_query}u + i + 1u] = b;
      }} else {{
        let at = position * {width}u + i - {d_query}u{cache};
        cache[at] = select(y{r}, a, i < {keys}u); cache[at + 1u] = select(y{up}, b, i < {keys}u);
      }}
    }}",
                        width = 2 * d_kv
                    )
                    .ok();
                }
            }
        }
    }
}

impl Cut {
    /// Whether each invocation is to do much and share little: on processors posing as a GPU.
    pub fn apart(&self) -> bool {
        self.lanes == 1
    }

    /// Whether invocations that do much and share little exchange numbers by fours.
    pub fn by_fours(&self) -> bool {
        self.apart() && self.tile == Tile::Apart(Apart::ByFours)
    }

    /// Whether a subgroup holds all lanes of a row, which then add up by shuffles.
    pub fn shuffles(&self) -> bool {
        self.lanes > 1 && self.subgroup.is_some_and(|size| size >= self.lanes)
    }
}

/// What an activation makes of `x`, as text.
pub(super) fn bend(activation: Activation, x: &str) -> String {
    match activation {
        Activation::Silu => format!("{x} / (1.0 + exp(-{x}))"),
        Activation::Gelu => {
            let (slope, cube) = (Activation::GELU_SLOPE, Activation::GELU_CUBE);
            format!("{x} / (1.0 + exp(-{slope:e} * {x} * (1.0 + {cube:e} * {x} * {x})))")
        }
    }
}
