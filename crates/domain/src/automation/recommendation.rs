//! What to do with an automation, given its measured lift.

use std::fmt;

/// Subjects each arm must have before anything but waiting is recommended.
/// Intervals that rest on the normal distribution are not to be trusted below.
pub const LEAST_SUBJECTS: u64 = 100;

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Recommendation {
    /// It works: do it for more people.
    Scale,
    /// It shows no effect either way: change it.
    Adjust,
    /// It does harm: stop it.
    Pause,
    /// There is too little to tell.
    Wait,
}

impl Recommendation {
    /// From the size of the smaller arm and the 95% interval of the difference
    /// treated minus holdout, turned so that more is better. `None` when the
    /// interval does not exist.
    pub fn of(smaller_arm: u64, interval: Option<(f64, f64)>) -> Self {
        match interval {
            None => Self::Wait,
            Some(_) if smaller_arm < LEAST_SUBJECTS => Self::Wait,
            Some((low, _)) if low > 0.0 => Self::Scale,
            Some((_, high)) if high < 0.0 => Self::Pause,
            Some(_) => Self::Adjust,
        }
    }

    /// Its name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scale => "scale",
            Self::Adjust => "adjust",
            Self::Pause => "pause",
            Self::Wait => "wait",
        }
    }
}

impl fmt::Display for Recommendation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Recommendation::{self, Adjust, Pause, Scale, Wait};

    #[test]
    fn the_interval_decides_once_there_are_enough_subjects() {
        assert_eq!(Recommendation::of(100, Some((0.01, 0.05))), Scale);
        assert_eq!(Recommendation::of(100, Some((-0.05, -0.01))), Pause);
        assert_eq!(Recommendation::of(100, Some((-0.01, 0.05))), Adjust);
        assert_eq!(Recommendation::of(100, Some((0.0, 0.05))), Adjust);
        assert_eq!(Recommendation::of(99, Some((0.01, 0.05))), Wait);
        assert_eq!(Recommendation::of(5_000, None), Wait);
    }
}
