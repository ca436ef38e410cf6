//! Time as an argument, so that rules and tests own it.

use chrono::{DateTime, SubsecRound as _, Utc};

/// Tells the time. Services take one, tests hand in their own.
pub trait Clock: Send + Sync {
    /// The current time, in whole microseconds, as Postgres keeps it.
    fn now(&self) -> DateTime<Utc>;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }
}
