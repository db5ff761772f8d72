//! Measures of what is written in someone's voice: does it copy ([`Copying`]), whom does it name ([`Names`]), how does it
//! move ([`rhythm`]).
//!
//! Words are those of Unicode's rules, compared without case; in scripts without spaces a character is about a word.

mod copying;
mod names;
mod prints;
mod rhythm;
#[cfg(test)]
mod tests;
mod training;

pub(crate) use copying::finished;
pub use copying::{Copied, Copying, RUN, Runs};
pub use names::{Name, Names};
pub use prints::Prints;
pub use rhythm::{Distribution, Rhythm, rhythm};
pub use training::Training;
