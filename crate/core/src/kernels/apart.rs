//! Tiled products whose invocations share no memory: how many rows each computes, and what four neighbours exchange.

use serde::{Deserialize, Serialize};

use super::{SUBGROUPS, state};

/// How the invocations of a product of many tokens load what they need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Apart {
    /// Each loads everything itself, for as many rows; even. More rows share a loaded activation, and need registers.
    Alone(u32),
    /// Four neighbours load the numbers of a token each and exchange them by quad swaps; for devices whose subgroups hold four.
    ByFours,
}

impl Apart {
    /// Rows an invocation of a prompt's product computes.
    pub fn rows(self) -> u32 {
        match self {
            Self::Alone(rows) => rows,
            Self::ByFours => 8,
        }
    }

    /// Whether invocations exchange what they load. None may return before its neighbours then.
    pub(super) fn by_fours(self) -> bool {
        self == Self::ByFours
    }

    /// What the text of the kernel begins with.
    pub(super) fn directive(self) -> &'static str {
        if self.by_fours() { SUBGROUPS } else { "" }
    }

    /// The first lines of `main` of workgroups of `size`: `l` is the invocation, `group` the workgroup, `count` the tokens; `own` is
    /// the invocation's place among four, since the first token it computes is the one it loads.
    pub(super) fn entry(self, size: u32) -> String {
        let (built_in, own) =
            if self.by_fours() { (", @builtin(subgroup_invocation_id) sub: u32", "sub % 4u") } else { ("", "0u") };
        format!(
            "@compute @workgroup_size({size})
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3<u32>{built_in}) {{
  let count = state[{}];
  let own = {own};
",
            state::COUNT
        )
    }

    /// Whose loaded numbers serve token `t`, and what brings them: of each four tokens the invocation loads one, and the
    /// `i`-th of them is that of the neighbour whose place is its own exclusive-or `i`.
    pub(super) fn brought(self, t: u32) -> (u32, &'static str) {
        match self {
            Self::Alone(_) => (t, ""),
            Self::ByFours => (t - t % 4, ["", "quadSwapX", "quadSwapY", "quadSwapDiagonal"][t as usize % 4]),
        }
    }
}
