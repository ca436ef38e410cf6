//! A clock that tests set and move.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use northstar_domain::Clock;

/// A clock that stands still until it is moved. Share it in an [`Arc`](std::sync::Arc).
#[derive(Debug)]
pub struct MockClock {
    now: Mutex<DateTime<Utc>>,
}

impl MockClock {
    /// A clock that shows `now`, cut to whole microseconds.
    #[must_use]
    pub fn new(now: DateTime<Utc>) -> Self {
        Self { now: Mutex::new(now.trunc_subsecs(6)) }
    }

    /// Sets the clock to `now`, cut to whole microseconds; the past is allowed.
    pub fn set(&self, now: DateTime<Utc>) {
        self.change(|time| *time = now);
    }

    /// Moves the clock by `delta`, backwards if it is negative.
    pub fn advance(&self, delta: TimeDelta) {
        self.change(|time| *time += delta);
    }

    fn change(&self, change: impl FnOnce(&mut DateTime<Utc>)) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut now);
        *now = now.trunc_subsecs(6);
    }
}

impl Clock for MockClock {
    fn now(&self) -> DateTime<Utc> {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_only_when_told() {
        let start = DateTime::from_timestamp(1_700_000_000, 123_456_789).unwrap();
        let clock = MockClock::new(start);
        assert_eq!(clock.now().timestamp_subsec_nanos(), 123_456_000);
        clock.advance(TimeDelta::hours(2));
        assert_eq!(clock.now().timestamp(), 1_700_007_200);
        clock.advance(TimeDelta::hours(-2));
        assert_eq!(clock.now(), start.trunc_subsecs(6));
        clock.set(DateTime::UNIX_EPOCH);
        assert_eq!(clock.now(), DateTime::UNIX_EPOCH);
    }
}
