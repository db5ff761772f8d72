//! Measures of what is written in someone's voice: does it copy ([`Copying`]), whom does it name ([`Names`]), how does it
//! move ([`rhythm`]).
//!
//! Words are those of Unicode's rules, compared without case; in scripts without spaces a character is about a word.

mod copying;
mod names;
mod rhythm;
#[cfg(test)]
mod tests;

pub use copying::{Copied, Copying, RUN, Training};
pub use names::{Name, Names};
pub use rhythm::{Distribution, Rhythm, rhythm};
