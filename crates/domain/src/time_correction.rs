//! From the time a client's clock showed to the time every KPI uses.

use chrono::{DateTime, TimeDelta, Utc};

/// How the effective time differs from the client's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TimeCorrection {
    /// The client's time was used as it is.
    None,
    /// Shifted by the client's clock skew, in steps of five minutes.
    Skew,
    /// More than 24 hours ahead: set to the time of receipt.
    Clamped,
}

/// Smaller differences between sending and receipt are transit, not skew. A
/// correction that books transit as skew reorders a device's events.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);
const MOST_AHEAD: TimeDelta = TimeDelta::hours(24);

/// The effective time of an event and how it was derived.
///
/// The client's clock is wrong by `received - sent`. Beyond five minutes the
/// time it happened is shifted by that, rounded to five minutes, so that all
/// events a device sends within a while are shifted alike. Without `sent_at`, as
/// in a back-fill, nothing is known about the clock and nothing is shifted. What
/// then still lies more than 24 hours ahead happened, for all we know, now.
pub fn effective_time(
    occurred_at: DateTime<Utc>,
    sent_at: Option<DateTime<Utc>>,
    received_at: DateTime<Utc>,
) -> (DateTime<Utc>, TimeCorrection) {
    let shift = sent_at.map_or(TimeDelta::zero(), |sent_at| skew(received_at - sent_at));
    let shifted = occurred_at.checked_add_signed(shift).unwrap_or(occurred_at);
    if shifted - received_at > MOST_AHEAD {
        (received_at, TimeCorrection::Clamped)
    } else if shifted == occurred_at {
        (occurred_at, TimeCorrection::None)
    } else {
        (shifted, TimeCorrection::Skew)
    }
}

fn skew(difference: TimeDelta) -> TimeDelta {
    if difference.abs() <= TOLERANCE {
        return TimeDelta::zero();
    }
    let quantum = TOLERANCE.num_milliseconds();
    let milliseconds = difference.num_milliseconds();
    let steps = (milliseconds + milliseconds.signum() * quantum / 2) / quantum;
    TimeDelta::milliseconds(steps * quantum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: f64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).unwrap()
            + TimeDelta::microseconds((minutes * 6e7) as i64)
    }

    #[test]
    fn transit_is_not_skew() {
        for sent in [-5.0, -0.5, 0.0, 5.0] {
            let corrected = effective_time(at(-60.0), Some(at(sent)), at(0.0));
            assert_eq!(corrected, (at(-60.0), TimeCorrection::None), "{sent}");
        }
    }

    #[test]
    fn a_wrong_clock_is_corrected_in_steps_of_five_minutes() {
        for (sent, shift) in [(-6.0, 5.0), (-7.4, 5.0), (-7.6, 10.0), (59.0, -60.0), (-61.0, 60.0)]
        {
            let corrected = effective_time(at(-600.0), Some(at(sent)), at(0.0));
            assert_eq!(corrected, (at(-600.0 + shift), TimeCorrection::Skew), "{sent}");
        }
    }

    #[test]
    fn a_back_fill_keeps_its_times() {
        let long_ago = at(-6e6);
        assert_eq!(effective_time(long_ago, None, at(0.0)), (long_ago, TimeCorrection::None));
    }

    #[test]
    fn more_than_a_day_ahead_is_now() {
        let day = 24.0 * 60.0;
        assert_eq!(effective_time(at(day), None, at(0.0)).1, TimeCorrection::None);
        assert_eq!(
            effective_time(at(day + 1.0), None, at(0.0)),
            (at(0.0), TimeCorrection::Clamped)
        );
        // A clock two days fast explains an event two days ahead.
        let fast = effective_time(at(2.0 * day), Some(at(2.0 * day)), at(0.0));
        assert_eq!(fast, (at(0.0), TimeCorrection::Skew));
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let first = DateTime::<Utc>::MIN_UTC;
        let last = DateTime::<Utc>::MAX_UTC;
        assert_eq!(effective_time(last, Some(first), at(0.0)).1, TimeCorrection::Clamped);
        assert_eq!(effective_time(first, Some(last), at(0.0)).0, first);
    }
}
