//! Activations, gradients and moments in GPU memory.

use std::cell::RefCell;

use super::layout::{Layout, Place};
use crate::{
    error::{Error, ErrorKind, Result},
    fused::{FusedModel, ropes},
    kernels::{
        adamw::{SHARES, control},
        gpu::Gpu,
        state,
        transposed::SPLIT_TOKENS,
    },
    learn::Room,
};

/// Tokens whose scores are held at once.
pub const BLOCK: usize = SPLIT_TOKENS as usize;

/// Workgroups that share the vocabulary in the gradient of the head: without, a device would stand mostly idle.
pub const SPLITS: usize = 8;

/// Those of each of the `parts` that the head stands in.
pub fn splits(parts: usize) -> usize {
    SPLITS.div_ceil(parts)
}

/// What is kept of a block from the forward to the backward.
pub struct Kept {
    /// The residual stream before the block.
    pub input: wgpu::Buffer,
    /// What attention gives its output projection.
    pub attended: wgpu::Buffer,
    /// The residual stream between attention and feed-forward.
    pub middle: wgpu::Buffer,
    /// What attention and the feed-forward layer give, where norms follow them.
    pub given: Option<[wgpu::Buffer; 2]>,
}

/// What a block computes on the way and its backward needs again: kept where there is room for it, else made anew.
pub struct Values {
    /// Queries, keys and values as they come from their projection, where heads are handled apart.
    pub raw: wgpu::Buffer,
    pub q: wgpu::Buffer,
    pub kv: wgpu::Buffer,
    /// Gate and up; in the backward their gradients.
    pub gate_up: wgpu::Buffer,
    /// The bottlenecks of the side paths, by [`Place`].
    pub t: [wgpu::Buffer; 4],
}

/// Some tokens before the head: they have a state of their own.
pub struct Rows {
    pub first: usize,
    pub state: wgpu::Buffer,
}

/// The buffers of a learner.
pub struct Scratch {
    /// Most windows that are read side by side.
    pub at_once: usize,
    /// Most tokens that are, of all of them.
    pub tokens: usize,
    /// Most tokens that a window is read from.
    pub longest: usize,
    pub state: wgpu::Buffer,
    pub rows: Vec<Rows>,
    pub kept: Vec<Kept>,
    /// One for each block, or one that all take in turn.
    values: Vec<Values>,
    /// The residual stream after the last block.
    pub output: wgpu::Buffer,
    pub normed: wgpu::Buffer,
    /// What a matrix gives, but for gate and up; in the backward the gradient of it.
    pub y: wgpu::Buffer,
    pub gated: wgpu::Buffer,
    /// Gradient of the residual stream.
    pub grad: wgpu::Buffer,
    /// Gradient of what attention or the feed-forward layer gives, where a norm follows it.
    pub taken: wgpu::Buffer,
    /// Gradient of what goes into a matrix.
    pub dx: wgpu::Buffer,
    pub dt: wgpu::Buffer,
    pub score: wgpu::Buffer,
    pub slope: wgpu::Buffer,
    pub logits: wgpu::Buffer,
    pub shares: wgpu::Buffer,
    pub targets: wgpu::Buffer,
    pub nll: wgpu::Buffer,
    pub ropes: Vec<wgpu::Buffer>,
    pub control: wgpu::Buffer,
    /// Loss, gradient norm and clip factor of a step.
    pub tally: wgpu::Buffer,
    pub sums: wgpu::Buffer,
    pub parameters: wgpu::Buffer,
    pub gradients: wgpu::Buffer,
    pub first: wgpu::Buffer,
    pub second: wgpu::Buffer,
    /// All of these once more, to be freed.
    held: Vec<wgpu::Buffer>,
}

/// Tokens that so many windows have room for.
fn tokens_of(longest: usize, windows: usize) -> usize {
    (longest * windows).next_multiple_of(BLOCK)
}

/// How many windows of `max_window` ids one binding takes, at most `most`.
fn at_once(model: &FusedModel, layout: &Layout, max_window: usize, most: usize) -> Result<usize> {
    let c = &model.config;
    let longest = max_window.saturating_sub(1).max(1);
    let widest = (2 * c.d_ff).max(c.d_query() + 2 * c.d_kv()).max(c.d_model);
    let largest = |windows: usize| {
        let tokens = tokens_of(longest, windows);
        4 * (c.n_heads * longest * tokens).max(tokens * widest).max(layout.len) as u64
    };
    let limit = model.gpu.device.limits().max_storage_buffer_binding_size;
    if max_window < 2 || largest(1) > limit {
        let message = format!(
            "windows of {max_window} tokens are impossible here: one buffer would take {} bytes of at most {limit}; \
             take 2 to 256 tokens and a lower rank",
            largest(1)
        );
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    Ok((1..=most).rev().find(|&windows| largest(windows) <= limit).unwrap_or(1))
}

impl Scratch {
    /// For as many windows of `max_window` ids as `room` says, or as one binding takes; for fewer where the device has less
    /// memory than was hoped.
    ///
    /// # Errors
    /// `invalid-option` for windows of which not one fits, `out-of-memory`.
    pub async fn new(model: &FusedModel, layout: &Layout, max_window: usize, room: Room) -> Result<Self> {
        let gpu = &model.gpu;
        let mut rooms = vec![room, Room { at_once: 1, ..room }, Room::LEAST];
        rooms.dedup();
        for room in rooms {
            let (scratch, fits) = gpu.reserve(|| Self::within(model, layout, max_window, room)).await;
            let scratch = scratch?;
            if fits {
                return Ok(scratch);
            }
            scratch.release(gpu);
        }
        let message = format!(
            "the GPU has too little memory to learn from {max_window} tokens at a time; close other programs, \
             choose shorter windows, or learn on the processor"
        );
        Err(Error::new(ErrorKind::OutOfMemory, message))
    }

    /// Frees all of it now.
    pub fn release(&self, gpu: &Gpu) {
        self.held.iter().for_each(|buffer| gpu.release(buffer));
    }

    fn within(model: &FusedModel, layout: &Layout, max_window: usize, room: Room) -> Result<Self> {
        let (gpu, c) = (&model.gpu, &model.config);
        let at_once = at_once(model, layout, max_window, room.at_once)?;
        let longest = max_window - 1;
        let tokens = tokens_of(longest, at_once);
        let scores = c.n_heads * longest * tokens;
        let held = RefCell::new(Vec::new());
        let hold = |buffer: wgpu::Buffer| {
            held.borrow_mut().push(buffer.clone());
            buffer
        };
        let buffer = |label, words| hold(gpu.buffer(label, words));
        let stream = |label| buffer(label, tokens * c.d_model);
        let kept = (0..c.n_layers).map(|_| Kept {
            input: stream("block input"),
            attended: buffer("attended", tokens * c.d_query()),
            middle: stream("block middle"),
            given: c.post_norm.then(|| [stream("given by attention"), stream("given by the feed-forward layer")]),
        });
        let d_qkv = c.d_query() + 2 * c.d_kv();
        let values = (0..if room.keep { c.n_layers } else { 1 }).map(|l| Values {
            raw: buffer("raw", if c.heads_apart() { tokens * d_qkv } else { 1 }),
            q: buffer("q", tokens * c.d_query()),
            kv: buffer("kv", tokens * 2 * c.d_kv()),
            gate_up: buffer("gate up", tokens * 2 * c.d_ff),
            t: Place::ALL.map(|place| {
                let quads = if room.keep { layout.side(l, place).low.quads() } else { layout.most_quads(place) };
                buffer("t", (tokens * quads as usize * 4).max(1))
            }),
        });
        let rows = (0..tokens).step_by(BLOCK).map(|first| Rows { first, state: buffer("rows", 4) });
        // The ids, and the bounds of each one's window.
        let words = state::IDS as usize + 3 * tokens;
        let most_quads = Place::ALL.map(|place| layout.most_quads(place)).into_iter().max().unwrap_or(0);
        let mut scratch = Self {
            at_once,
            tokens,
            longest,
            state: buffer("state", words),
            rows: rows.collect(),
            kept: kept.collect(),
            values: values.collect(),
            output: stream("output"),
            normed: stream("normed"),
            y: buffer("y", tokens * c.d_model.max(d_qkv)),
            gated: buffer("gated", tokens * c.d_ff),
            grad: stream("grad"),
            taken: buffer("taken", if c.post_norm { tokens * c.d_model } else { 1 }),
            dx: buffer("dx", tokens * c.d_ff.max(c.d_model).max(c.d_query())),
            dt: buffer("dt", (tokens * most_quads as usize * 4).max(1)),
            score: buffer("score", scores),
            slope: buffer("slope", scores),
            logits: buffer("logits", BLOCK * c.vocab),
            shares: buffer("shares", model.head.len() * splits(model.head.len()) * BLOCK * c.d_model),
            targets: buffer("targets", tokens),
            nll: buffer("nll", tokens),
            ropes: ropes(gpu, c, tokens).into_iter().map(hold).collect(),
            control: buffer("control", control::WORDS as usize),
            tally: buffer("tally", 4),
            sums: buffer("sums", SHARES as usize),
            parameters: buffer("parameters", layout.len),
            gradients: buffer("gradients", layout.len),
            first: buffer("first moments", layout.len),
            second: buffer("second moments", layout.len),
            held: Vec::new(),
        };
        scratch.held = held.into_inner();
        Ok(scratch)
    }

    /// Where block `l` puts its values.
    pub fn values(&self, l: usize) -> &Values {
        &self.values[l.min(self.values.len() - 1)]
    }

    /// Whether the values of every block are still there in the backward.
    pub fn keeps_values(&self) -> bool {
        self.values.len() == self.kept.len()
    }
}
