//! Who is held out: decided by a hash, so that it is the same on every replica,
//! after every restart, and needs nothing to be remembered.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

/// The share of triggered subjects that is not acted on: above 0, below 1.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Holdout(f64);

/// A number is not a share of a holdout.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error(
    "must lie above 0 and below 1, not {0}: it is the share of subjects that is measured without \
     being acted on, for example 0.1"
)]
pub struct InvalidHoldout(pub f64);

impl Holdout {
    /// The share.
    pub fn share(self) -> f64 {
        self.0
    }

    /// The arm of a subject. `seed` keeps the draws of two automations apart:
    /// the holdout of one is not the holdout of the other.
    pub fn arm(self, seed: &str, subject: &str) -> Arm {
        if bucket(seed, subject) < self.0 { Arm::Holdout } else { Arm::Treated }
    }
}

impl TryFrom<f64> for Holdout {
    type Error = InvalidHoldout;

    fn try_from(share: f64) -> Result<Self, InvalidHoldout> {
        if share > 0.0 && share < 1.0 { Ok(Self(share)) } else { Err(InvalidHoldout(share)) }
    }
}

impl From<Holdout> for f64 {
    fn from(holdout: Holdout) -> Self {
        holdout.0
    }
}

/// What happens to a subject.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arm {
    /// It is acted on.
    Treated,
    /// Everything runs but the action.
    Holdout,
}

impl Arm {
    /// Its name in events: `treated` or `holdout`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Treated => "treated",
            Self::Holdout => "holdout",
        }
    }
}

/// Where a subject falls, uniform in [0, 1): the upper 53 bits of XXH3 over
/// `northstar.holdout`, the seed and the subject, each closed by a zero byte.
fn bucket(seed: &str, subject: &str) -> f64 {
    /// 2 to the power of 53: every whole number below it is exact in an `f64`.
    const STEPS: f64 = 9_007_199_254_740_992.0;
    let mut hasher = Xxh3::new();
    for part in ["northstar.holdout", seed, subject] {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    (hasher.digest() >> 11) as f64 / STEPS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Arm, Holdout, bucket};

    #[test]
    fn the_share_held_out_is_close_to_the_share_asked_for() {
        for share in [0.05, 0.1, 0.3, 0.5] {
            let holdout = Holdout::try_from(share).unwrap();
            let subjects = (0..10_000).map(|number| format!("user-{number}"));
            let held = subjects.filter(|s| holdout.arm("nudge", s) == Arm::Holdout).count();
            // Five standard errors.
            let tolerance = 5.0 * (share * (1.0 - share) / 10_000.0_f64).sqrt();
            assert!((held as f64 / 10_000.0 - share).abs() < tolerance, "{share}: {held}");
        }
    }

    #[test]
    fn the_draws_of_two_automations_are_independent() {
        let half = Holdout::try_from(0.5).unwrap();
        let both = (0..10_000)
            .map(|number| format!("user-{number}"))
            .filter(|s| half.arm("one", s) == Arm::Holdout && half.arm("two", s) == Arm::Holdout)
            .count();
        assert!((2_250..2_750).contains(&both), "{both}");
    }

    #[test]
    fn a_share_of_nothing_or_everything_is_refused() {
        for bad in [0.0, 1.0, -0.1, 1.5, f64::NAN, f64::INFINITY] {
            assert!(Holdout::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_subject_keeps_its_bucket_for_ever() {
        // Changing the hash would move people from one arm to the other.
        assert_eq!(bucket("onboarding-nudge", "u1"), BUCKET_OF_U1);
    }

    const BUCKET_OF_U1: f64 = 0.185_860_314_643_205_3;

    proptest! {
        #[test]
        fn a_larger_holdout_keeps_everybody_who_was_held_out(
            subject in ".{1,40}", small in 0.01..0.5_f64, more in 0.01..0.4_f64,
        ) {
            let (less, more) = (Holdout::try_from(small).unwrap(), Holdout::try_from(small + more).unwrap());
            if less.arm("nudge", &subject) == Arm::Holdout {
                prop_assert_eq!(more.arm("nudge", &subject), Arm::Holdout);
            }
        }
    }
}
