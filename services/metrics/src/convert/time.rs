//! Instants and durations, in whole microseconds on our side.

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use northstar_domain::Violations;
use prost_types::{Duration, Timestamp};

/// An instant from the wire, cut to microseconds; `None` outside the calendar.
pub fn from_timestamp(time: &Timestamp) -> Option<DateTime<Utc>> {
    let nanos = u32::try_from(time.nanos).ok()?;
    DateTime::from_timestamp(time.seconds, nanos).map(|time| time.trunc_subsecs(6))
}

/// An instant for the wire.
pub fn to_timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: time.timestamp(),
        nanos: time.timestamp_subsec_nanos().min(999_999_999).cast_signed(),
    }
}

/// Reads an optional instant; notes one that is none.
pub(crate) fn read_timestamp(
    found: &mut Violations,
    field: &str,
    time: Option<Timestamp>,
) -> Option<DateTime<Utc>> {
    let time = time?;
    let read = from_timestamp(&time);
    if read.is_none() {
        found.push(field, "is not a time: seconds or nanos are out of range");
    }
    read
}

/// Reads an optional duration; notes one that is none.
pub(crate) fn read_duration(
    found: &mut Violations,
    field: &str,
    duration: Option<Duration>,
) -> Option<TimeDelta> {
    let duration = duration?;
    let read = TimeDelta::try_seconds(duration.seconds).and_then(|seconds| {
        let micros = i64::from(duration.nanos).checked_div(1_000)?;
        seconds.checked_add(&TimeDelta::microseconds(micros))
    });
    if read.is_none() {
        found.push(field, "is not a duration: seconds are out of range");
    }
    read
}

/// A duration for the wire.
pub(crate) fn to_duration(duration: TimeDelta) -> Duration {
    Duration { seconds: duration.num_seconds(), nanos: duration.subsec_nanos() }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use prost_types::Timestamp;

    use super::{from_timestamp, to_timestamp};

    #[test]
    fn an_instant_survives_the_wire() {
        for micros in [0, -1, 1_700_000_000_123_456] {
            let time = DateTime::from_timestamp_micros(micros).unwrap();
            assert_eq!(from_timestamp(&to_timestamp(time)), Some(time));
        }
    }

    #[test]
    fn what_is_no_instant_is_none() {
        assert_eq!(from_timestamp(&Timestamp { seconds: i64::MAX, nanos: 0 }), None);
        assert_eq!(from_timestamp(&Timestamp { seconds: 0, nanos: -1 }), None);
    }
}
