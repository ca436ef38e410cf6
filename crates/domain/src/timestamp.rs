//! Instants as people write them in documents: RFC 3339, or a date alone, which
//! is its midnight in UTC.
//!
//! Use it on a field: `#[serde(with = "northstar_domain::timestamp")]` for a
//! `DateTime<Utc>`, `#[serde(default, with = "northstar_domain::timestamp::option",
//! skip_serializing_if = "Option::is_none")]` for an optional one.

use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, SubsecRound as _, Utc};
use serde::{Deserialize as _, Deserializer, Serializer};
use thiserror::Error;

/// A text is not an instant.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error(
    "{0:?} is not a time: write a date like 2026-03-31 (midnight UTC) or a time like \
     2026-03-31T09:30:00+02:00"
)]
pub struct InvalidTimestamp(pub String);

/// Reads a date or an RFC 3339 time, to whole microseconds.
///
/// # Errors
/// [`InvalidTimestamp`] when the text is neither.
pub fn parse(text: &str) -> Result<DateTime<Utc>, InvalidTimestamp> {
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Ok(date.and_time(NaiveTime::MIN).and_utc());
    }
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc().trunc_subsecs(6))
        .map_err(|_| InvalidTimestamp(text.to_owned()))
}

/// Writes an instant so that [`parse`] reads it back: a midnight in UTC as its
/// date, any other as RFC 3339 in UTC.
pub fn format(time: DateTime<Utc>) -> String {
    if time.time() == NaiveTime::MIN {
        time.format("%Y-%m-%d").to_string()
    } else {
        time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }
}

/// Serialises as text.
///
/// # Errors
/// Those of the serialiser.
pub fn serialize<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*time))
}

/// Deserialises from text.
///
/// # Errors
/// When the text is neither a date nor an RFC 3339 time.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(serde::de::Error::custom)
}

/// The same for an optional instant.
pub mod option {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize as _, Deserializer, Serializer};

    /// Serialises as text or null.
    ///
    /// # Errors
    /// Those of the serialiser.
    pub fn serialize<S: Serializer>(
        time: &Option<DateTime<Utc>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Deserialises from text or null.
    ///
    /// # Errors
    /// When the text is neither a date nor an RFC 3339 time.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<DateTime<Utc>>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| super::parse(&text).map_err(serde::de::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::{format, parse};

    #[test]
    fn a_date_is_its_midnight_in_utc() {
        let time = parse("2026-03-31").unwrap();
        assert_eq!(time.to_rfc3339(), "2026-03-31T00:00:00+00:00");
        assert_eq!(format(time), "2026-03-31");
    }

    #[test]
    fn a_time_keeps_its_instant_and_reads_back() {
        let time = parse("2026-03-31T09:30:00.25+02:00").unwrap();
        assert_eq!(format(time), "2026-03-31T07:30:00.250Z");
        assert_eq!(parse(&format(time)), Ok(time));
    }

    #[test]
    fn what_is_neither_date_nor_time_is_refused() {
        for bad in ["", "tomorrow", "2026-02-30", "2026-03-31 09:30", "31.03.2026"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
