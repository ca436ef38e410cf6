//! Times.

use chrono::{DateTime, Datelike as _, SubsecRound as _, Utc};
use prost_types::Timestamp;

/// A time in whole microseconds; `None` when it lies outside of the years 1 to
/// 9999, to which `google.protobuf.Timestamp` is bound.
pub(crate) fn time_from_proto(time: &Timestamp) -> Option<DateTime<Utc>> {
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    let time = DateTime::from_timestamp(time.seconds, nanos)?;
    (1..=9999).contains(&time.year()).then(|| time.trunc_subsecs(6))
}

pub(crate) fn time_to_proto(time: DateTime<Utc>) -> Timestamp {
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(999_999_999);
    Timestamp { seconds: time.timestamp(), nanos }
}
