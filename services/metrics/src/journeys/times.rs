//! Times and instants of an answer for the wire.

use chrono::DateTime;
use northstar_engine::journeys::TimeSummary;
use northstar_proto::metrics::v1 as pb;
use prost_types::Timestamp;

use crate::convert::to_timestamp;

pub(super) fn times(times: &TimeSummary) -> pb::JourneyTimes {
    pb::JourneyTimes {
        count: times.n.cast_signed(),
        mean_seconds: times.mean,
        min_seconds: times.min,
        p25_seconds: times.p25,
        p50_seconds: times.p50,
        p75_seconds: times.p75,
        p90_seconds: times.p90,
        p95_seconds: times.p95,
        max_seconds: times.max,
    }
}

pub(super) fn instant(micros: i64) -> Option<Timestamp> {
    DateTime::from_timestamp_micros(micros).map(to_timestamp)
}
