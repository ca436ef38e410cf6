//! Times on the command line.

use anyhow::Context as _;
use chrono::{DateTime, NaiveDate, TimeZone as _, Utc};
use chrono_tz::Tz;

/// Reads a date, which is its midnight in the zone, or an RFC 3339 time.
pub fn parse(text: &str, zone: Tz) -> anyhow::Result<DateTime<Utc>> {
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        // Some zones skip midnight when summer time begins.
        return (0..=3)
            .find_map(|hour| zone.from_local_datetime(&date.and_hms_opt(hour, 0, 0)?).earliest())
            .map(|time| time.to_utc())
            .with_context(|| format!("{text} does not exist in {zone}"));
    }
    DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).map_err(|_| {
        anyhow::anyhow!("{text:?} is not a time: write 2026-03-31 or 2026-03-31T09:30:00Z")
    })
}

/// A time on the wire.
pub fn timestamp(time: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos: time.timestamp_subsec_nanos().min(999_999_999) as i32,
    }
}

/// A time from the wire, as RFC 3339 in UTC.
pub fn text(time: Option<&prost_types::Timestamp>) -> Option<String> {
    let time = time?;
    DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).ok()?)
        .map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
}

/// A time from the wire, in the civil time of a zone: the date alone at
/// midnight.
pub fn local_text(time: &prost_types::Timestamp, zone: Tz) -> String {
    let Some(time) = DateTime::from_timestamp(time.seconds, 0) else { return String::new() };
    let local = time.with_timezone(&zone);
    if local.time() == chrono::NaiveTime::MIN {
        local.format("%Y-%m-%d").to_string()
    } else {
        local.format("%Y-%m-%d %H:%M").to_string()
    }
}
