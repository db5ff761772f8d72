//! How strongly an adapter speaks.

use crate::{
    error::{Error, ErrorKind, Result},
    sample::Mix,
};

/// The strength at which an adapter writes unless another is asked for.
pub const DEFAULT_STRENGTH: f32 = 1.5;

/// How the strength of an adapter is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `base + s·(personal − base)` in the scores, of two texts read side by side: the voice is clearer, a token costs
    /// more.
    Contrast,
    /// The low-rank paths times `s`.
    Scale,
}

impl Mode {
    /// The name in interfaces.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Contrast => "contrast",
            Mode::Scale => "scale",
        }
    }

    /// The mode called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        [Mode::Contrast, Mode::Scale].into_iter().find(|mode| mode.name() == name)
    }

    /// Refuses a strength that the mode does not have.
    ///
    /// # Errors
    /// `invalid-option` naming the value and the range.
    pub fn check(self, strength: f32) -> Result<()> {
        let most = if self == Mode::Contrast { 3.0 } else { 2.0 };
        if (0.0..=most).contains(&strength) {
            return Ok(());
        }
        let message =
            format!("strength is {strength}, it must lie between 0 and {most} with the mode \"{}\"", self.name());
        Err(Error::new(ErrorKind::InvalidOption, message))
    }

    /// What to write from at `strength`; without the detour where that is the base or the adapter itself.
    pub(super) fn at(self, strength: f32) -> Mix {
        match (self, strength) {
            (_, 0.0) => Mix::Base,
            (_, 1.0) | (Mode::Scale, _) => Mix::Scaled(strength),
            (Mode::Contrast, _) => Mix::Contrast(strength),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strength_0_is_the_base_and_1_the_adapter_in_every_mode() {
        for mode in [Mode::Contrast, Mode::Scale] {
            assert_eq!((mode.at(0.0), mode.at(1.0)), (Mix::Base, Mix::Scaled(1.0)));
        }
        assert_eq!((Mode::Contrast.at(1.5), Mode::Scale.at(1.5)), (Mix::Contrast(1.5), Mix::Scaled(1.5)));
    }

    #[test]
    fn names_come_back() {
        assert!([Mode::Contrast, Mode::Scale].iter().all(|mode| Mode::from_name(mode.name()) == Some(*mode)));
        assert_eq!(Mode::from_name("loud"), None);
    }
}
