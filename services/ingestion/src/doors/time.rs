//! Times as people write them in JSON.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use prost_types::Timestamp;
use serde_json::Value as Json;

use crate::arrivals::Misfit;
use crate::convert::time_to_proto;

/// Numbers from here on are milliseconds, smaller ones seconds: in seconds it
/// would be the year 5138, in milliseconds it is 1973.
const MILLISECONDS_FROM: f64 = 1e11;

/// A time: RFC 3339, the same without a zone (UTC) or without a time of day, or
/// a number of seconds or milliseconds since 1970. `None` when there is none.
///
/// # Errors
/// When it is none of these.
pub(super) fn time(field: &'static str, value: Option<&Json>) -> Result<Option<Timestamp>, Misfit> {
    let misfit = || {
        Misfit::new(
            "invalid_time",
            field,
            "must be an ISO 8601 time, for example 2026-01-31T12:00:00Z",
        )
    };
    let time = match value {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::String(text)) if text.is_empty() => return Ok(None),
        Some(Json::String(text)) => parse(text),
        Some(Json::Number(number)) => number.as_f64().and_then(from_epoch),
        Some(_) => None,
    };
    time.map(|time| Some(time_to_proto(time))).ok_or_else(misfit)
}

fn parse(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    // As ISO 8601 allows it besides: no colon in the zone, no zone, no time.
    for format in ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z"] {
        if let Ok(time) = DateTime::parse_from_str(text, format) {
            return Some(time.to_utc());
        }
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Some(time.and_utc());
        }
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(date.and_time(NaiveTime::MIN).and_utc())
}

fn from_epoch(number: f64) -> Option<DateTime<Utc>> {
    let seconds = if number.abs() >= MILLISECONDS_FROM { number / 1e3 } else { number };
    if !(-1e12..1e12).contains(&seconds) {
        return None;
    }
    // Within the bounds checked above; a fraction below a microsecond is lost.
    DateTime::from_timestamp_micros((seconds * 1e6).round() as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let noon = Some(Timestamp { seconds: 1_769_860_800, nanos: 0 });
        for written in [
            json!("2026-01-31T12:00:00Z"),
            json!("2026-01-31T12:00:00.000Z"),
            json!("2026-01-31T14:00:00+02:00"),
            json!("2026-01-31T14:00:00+0200"),
            json!("2026-01-31 12:00:00+00:00"),
            json!("2026-01-31T12:00:00"),
            json!("2026-01-31 12:00:00"),
            json!("2026-01-31T12:00"),
            json!(1_769_860_800),
            json!(1_769_860_800_000_i64),
            json!(1_769_860_800.0),
        ] {
            assert_eq!(time("timestamp", Some(&written)), Ok(noon), "{written}");
        }
        let midnight = Some(Timestamp { seconds: 1_769_817_600, nanos: 0 });
        assert_eq!(time("timestamp", Some(&json!("2026-01-31"))), Ok(midnight));
        assert_eq!(time("timestamp", Some(&json!(null))), Ok(None));
        assert_eq!(time("timestamp", None), Ok(None));
    }

    #[test]
    fn what_is_no_time_says_which_field() {
        for bad in [json!("yesterday"), json!("2026-13-01"), json!(true), json!([]), json!(1e300)] {
            let misfit = time("sentAt", Some(&bad)).unwrap_err();
            assert_eq!((&*misfit.reason, &*misfit.field), ("invalid_time", "sentAt"), "{bad}");
        }
    }
}
