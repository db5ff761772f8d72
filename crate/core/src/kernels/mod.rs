//! The fused GPU path's kernels, in WGSL, on the wgpu device.
//!
//! One file a kernel: its text, made for the model's own sizes, and the test that holds it to the plain version.

pub mod adamw;
pub mod apart;
pub mod attention;
pub mod attention_back;
mod attention_back_shared;
mod attention_vector;
pub(crate) mod clock;
pub mod cross_entropy;
pub mod embed;
pub mod finish;
pub mod gpu;
pub mod heads;
pub mod low_rank;
mod low_rank_shared;
pub mod norm;
pub mod product;
pub mod project;
pub mod sampling;
pub mod score;
pub mod shared;
pub mod side;
pub mod transposed;
pub(crate) mod unpack;
mod vector;
mod walk;

use std::fmt::Write;

/// Most invocations a workgroup that WebGPU promises.
const LARGEST_WORKGROUP: u32 = 256;
/// Invocations a workgroup of the kernels for learning.
const WORKGROUP: u32 = 64;
/// What a kernel whose invocations exchange numbers begins with: browsers demand the directive, naga does not know it yet
/// (gfx-rs/wgpu#5555).
const SUBGROUPS: &str = if cfg!(target_arch = "wasm32") { "enable subgroups;\n" } else { "" };

/// The head of a kernel: its storage buffers `(name, element, written)` in the order in which they are bound.
fn declare(buffers: &[(&str, &str, bool)]) -> String {
    let mut w = String::new();
    for (binding, (name, element, written)) in buffers.iter().enumerate() {
        let access = if *written { "read_write" } else { "read" };
        writeln!(w, "@group(0) @binding({binding}) var<storage, {access}> {name}: array<{element}>;").ok();
    }
    w
}

/// The first lines of `main`: `l` is the invocation, `group` the workgroup, `count` the tokens.
fn entry() -> String {
    format!(
        "@compute @workgroup_size({WORKGROUP})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>) {{
  let count = state[{}];
",
        state::COUNT
    )
}

/// Where the kernels find what they share, as `u32` words of the state buffer.
///
/// The state lives on the GPU, so that a token chosen there is read there: the next step needs nothing from the host.
pub mod state {
    /// Position of the first token now being read: how many stand in the cache.
    pub const POSITION: u32 = 0;
    /// Tokens now being read: one when decoding.
    pub const COUNT: u32 = 1;
    /// Tokens drawn since the host last set it; also the step of the random numbers.
    pub const DRAWN: u32 = 2;
    /// Bits of the factor of the low-rank side paths, an f32.
    pub const FACTOR: u32 = 3;
    /// Ids now being read, `COUNT` of them.
    pub const IDS: u32 = 4;
    /// Most ids read at once.
    pub const MAX_COUNT: u32 = 512;
    /// Ids drawn, `DRAWN % MAX_DRAWN` being the place of the next.
    pub const DRAWN_IDS: u32 = IDS + MAX_COUNT;
    /// Most ids drawn between two readbacks.
    pub const MAX_DRAWN: u32 = 32;
    /// Words in all.
    pub const WORDS: u32 = DRAWN_IDS + MAX_DRAWN;
}
