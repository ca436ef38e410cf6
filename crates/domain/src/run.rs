//! The life of a run: one execution of an automation for one subject.
//!
//! ```text
//!               lease            every action done
//!   PENDING ──────────► RUNNING ──────────────────► SUCCEEDED
//!    ▲   ▲ │              │ │
//!    │   │ │ failed       │ │ out of attempts, or told never again
//!    │   └─┼──────────────┘ ▼
//!    │     │           DEAD_LETTER
//!    └─────┼───────────────┘ redrive
//!          └ (holdout: made as WOULD_HAVE_ACTED, and stays)
//! ```

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use rand::Rng;
use thiserror::Error;

use crate::holdout::Arm;
use crate::retry::RetryPolicy;

/// Where a run is in its life.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RunState {
    /// Waits for a worker or for its next attempt.
    Pending,
    /// A worker holds its lease.
    Running,
    /// Every action is done.
    Succeeded,
    /// In the holdout.
    WouldHaveActed,
    /// Out of attempts; waits for a redrive.
    DeadLetter,
}

/// A text is not a state of a run.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{0:?} is not a state of a run")]
pub struct UnknownRunState(pub String);

impl RunState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Running, Self::Succeeded, Self::WouldHaveActed, Self::DeadLetter];

    /// Its name, as tables and answers have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::WouldHaveActed => "would_have_acted",
            Self::DeadLetter => "dead_letter",
        }
    }

    /// The state a run is made in. What decides is the arm, drawn before
    /// anything else: a run of the holdout never waits for a worker.
    pub fn of_new(arm: Arm) -> Self {
        match arm {
            Arm::Treated => Self::Pending,
            Arm::Holdout => Self::WouldHaveActed,
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RunState {
    type Err = UnknownRunState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownRunState(text.to_owned()))
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Every action is done.
    Done,
    /// It failed and may succeed another time.
    Failed {
        /// What went wrong.
        error: String,
        /// How long the receiver asked to be left alone.
        retry_after: Option<TimeDelta>,
    },
    /// It failed and must not be tried again.
    Gone {
        /// What went wrong.
        error: String,
    },
}

/// What becomes of a run after an attempt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Settlement {
    /// Done for good.
    Succeeded,
    /// Waits for its next attempt.
    Retry {
        /// When.
        at: DateTime<Utc>,
        /// Why.
        error: String,
    },
    /// Waits for a redrive.
    DeadLetter {
        /// Why.
        error: String,
    },
}

impl Settlement {
    /// What an outcome means after so many attempts, the one just ended
    /// included.
    pub fn of(
        outcome: Outcome,
        attempts: u32,
        policy: &RetryPolicy,
        now: DateTime<Utc>,
        rng: &mut impl Rng,
    ) -> Self {
        match outcome {
            Outcome::Done => Self::Succeeded,
            Outcome::Gone { error } => Self::DeadLetter { error },
            Outcome::Failed { error, .. } if attempts >= policy.max_attempts => {
                Self::DeadLetter { error }
            }
            Outcome::Failed { error, retry_after } => {
                Self::Retry { at: now + policy.wait(attempts, retry_after, rng), error }
            }
        }
    }

    /// The state it leads to.
    pub fn state(&self) -> RunState {
        match self {
            Self::Succeeded => RunState::Succeeded,
            Self::Retry { .. } => RunState::Pending,
            Self::DeadLetter { .. } => RunState::DeadLetter,
        }
    }

    /// The error that led to it; empty when there was none.
    pub fn error(&self) -> &str {
        match self {
            Self::Succeeded => "",
            Self::Retry { error, .. } | Self::DeadLetter { error } => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::{Outcome, RunState, Settlement};
    use crate::retry::RetryPolicy;

    fn settle(outcome: Outcome, attempts: u32) -> Settlement {
        let policy = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
        let now = DateTime::UNIX_EPOCH;
        Settlement::of(outcome, attempts, &policy, now, &mut StdRng::seed_from_u64(1))
    }

    fn failed(retry_after: Option<TimeDelta>) -> Outcome {
        Outcome::Failed { error: "503".to_owned(), retry_after }
    }

    #[test]
    fn a_failed_run_is_retried_until_its_attempts_are_used_up() {
        assert_eq!(settle(failed(None), 1).state(), RunState::Pending);
        assert_eq!(settle(failed(None), 2).state(), RunState::Pending);
        assert_eq!(settle(failed(None), 3).state(), RunState::DeadLetter);
        assert_eq!(settle(Outcome::Done, 3), Settlement::Succeeded);
    }

    #[test]
    fn a_receiver_that_is_gone_is_never_asked_again() {
        let gone = Outcome::Gone { error: "410 Gone".to_owned() };
        assert_eq!(settle(gone, 1), Settlement::DeadLetter { error: "410 Gone".to_owned() });
    }

    #[test]
    fn a_receiver_gets_the_rest_it_asked_for() {
        let Settlement::Retry { at, .. } = settle(failed(Some(TimeDelta::seconds(90))), 1) else {
            panic!("the run is not retried");
        };
        assert!(at >= DateTime::UNIX_EPOCH + TimeDelta::seconds(90));
    }

    #[test]
    fn a_state_reads_back_from_its_name() {
        for state in RunState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("lost".parse::<RunState>().is_err());
    }
}
