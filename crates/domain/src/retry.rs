//! How long to wait before the next attempt: exponential backoff with full
//! jitter (Brooker 2015, "Exponential Backoff And Jitter", AWS Architecture
//! Blog).

use chrono::TimeDelta;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::Violations;

/// Most attempts a policy may allow.
pub const MOST_ATTEMPTS: u32 = 20;

/// Longest wait a receiver may ask for, whatever it says.
const LONGEST_RETRY_AFTER: TimeDelta = TimeDelta::days(1);

/// How failed deliveries are retried.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Attempts before the dead letter, 1 to 20.
    pub max_attempts: u32,
    /// Upper bound of the first wait.
    #[serde(with = "crate::duration")]
    pub initial_interval: TimeDelta,
    /// Upper bound of every wait.
    #[serde(with = "crate::duration")]
    pub max_interval: TimeDelta,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 8,
            initial_interval: TimeDelta::seconds(5),
            max_interval: TimeDelta::hours(1),
        }
    }
}

impl RetryPolicy {
    /// Everything that is wrong with it.
    pub fn violations(&self) -> Violations {
        let mut violations = Violations::new();
        violations.require(
            (1..=MOST_ATTEMPTS).contains(&self.max_attempts),
            "max_attempts",
            "must lie between 1 and 20",
        );
        violations.require(
            self.initial_interval >= TimeDelta::milliseconds(1),
            "initial_interval",
            "must be at least one millisecond",
        );
        violations.require(
            self.max_interval >= self.initial_interval && self.max_interval <= TimeDelta::days(7),
            "max_interval",
            "must be at least the initial interval and at most 7 days",
        );
        violations
    }

    /// The wait after the given number of failed attempts, from 1: uniform
    /// between zero and `min(max_interval, initial_interval * 2^(failed - 1))`.
    pub fn backoff(&self, failed: u32, rng: &mut impl Rng) -> TimeDelta {
        let doublings = failed.saturating_sub(1).min(62);
        let initial = self.initial_interval.num_microseconds().unwrap_or(i64::MAX).max(1);
        let most = self.max_interval.num_microseconds().unwrap_or(i64::MAX).max(1);
        let bound = initial.saturating_mul(1_i64 << doublings).min(most);
        TimeDelta::microseconds(rng.random_range(0..=bound))
    }

    /// The wait when the receiver said how long to stay away: not a moment less
    /// than it asked for, up to a day, and jitter on top, so that not everybody
    /// comes back at once.
    pub fn wait(
        &self,
        failed: u32,
        retry_after: Option<TimeDelta>,
        rng: &mut impl Rng,
    ) -> TimeDelta {
        let asked = retry_after.unwrap_or_default().clamp(TimeDelta::zero(), LONGEST_RETRY_AFTER);
        asked + self.backoff(failed, rng)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::RetryPolicy;

    #[test]
    fn waits_double_up_to_the_longest_one_and_use_the_whole_range() {
        let policy = RetryPolicy {
            max_attempts: 8,
            initial_interval: TimeDelta::seconds(5),
            max_interval: TimeDelta::seconds(60),
        };
        let mut rng = StdRng::seed_from_u64(7);
        for (failed, bound) in [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (6, 60), (100, 60)] {
            let waits: Vec<_> = (0..2_000).map(|_| policy.backoff(failed, &mut rng)).collect();
            let longest = *waits.iter().max().unwrap();
            let shortest = *waits.iter().min().unwrap();
            assert!(longest <= TimeDelta::seconds(bound), "{failed}");
            assert!(longest > TimeDelta::seconds(bound) * 19 / 20, "{failed}");
            assert!(shortest < TimeDelta::seconds(bound) / 20, "{failed}");
        }
    }

    #[test]
    fn a_policy_that_cannot_be_kept_is_refused() {
        let policy = RetryPolicy {
            max_attempts: 21,
            initial_interval: TimeDelta::zero(),
            max_interval: TimeDelta::seconds(-1),
        };
        let fields: Vec<_> =
            policy.violations().as_slice().iter().map(|v| v.field.clone()).collect();
        assert_eq!(fields, ["max_attempts", "initial_interval", "max_interval"]);
        assert!(RetryPolicy::default().violations().is_empty());
    }

    proptest! {
        #[test]
        fn nobody_comes_back_earlier_than_asked(seed: u64, failed in 1..40_u32, asked in 0..90_000_i64) {
            let mut rng = StdRng::seed_from_u64(seed);
            let wait = RetryPolicy::default().wait(failed, Some(TimeDelta::seconds(asked)), &mut rng);
            prop_assert!(wait >= TimeDelta::seconds(asked.min(86_400)));
            prop_assert!(wait <= TimeDelta::seconds(asked.min(86_400) + 3_600));
        }
    }
}
