//! Durations as people write them in documents: `7d`, `12h`, `30m`, `45s`, `1d12h`.
//!
//! Use it on a field: `#[serde(with = "northstar_domain::duration")]` for a
//! [`TimeDelta`], `#[serde(default, with = "northstar_domain::duration::option",
//! skip_serializing_if = "Option::is_none")]` for an optional one.

use chrono::TimeDelta;
use serde::{Deserialize as _, Deserializer, Serializer};
use thiserror::Error;

/// Units by falling length, in microseconds. A day is 24 hours: a duration is a
/// length of time, not a walk through a calendar.
const UNITS: [(&str, i64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// A text is not a duration.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error(
    "{0:?} is not a duration: write whole numbers with units d, h, m, s, ms or us, \
     longest first, for example 7d, 12h or 1d12h"
)]
pub struct InvalidDuration(pub String);

/// Reads a duration: one or more whole numbers, each with a unit, units falling.
///
/// # Errors
/// [`InvalidDuration`] when the text has another form, or is longer than about
/// 290,000 years.
pub fn parse(text: &str) -> Result<TimeDelta, InvalidDuration> {
    parse_micros(text).map(TimeDelta::microseconds).ok_or_else(|| InvalidDuration(text.to_owned()))
}

fn parse_micros(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut longest_left = 0;
    let mut total = 0_i64;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after_number) = rest.split_at(digits);
        let letters = after_number.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, after_unit) = after_number.split_at(letters);
        let index = UNITS.iter().position(|(name, _)| *name == unit)?;
        if index < longest_left {
            return None;
        }
        longest_left = index + 1;
        let part = number.parse::<i64>().ok()?.checked_mul(UNITS[index].1)?;
        total = total.checked_add(part)?;
        rest = after_unit;
        if rest.is_empty() {
            return Some(total);
        }
    }
}

/// Writes a duration so that [`parse`] reads it back, in whole microseconds;
/// what is negative is written as `0s`.
pub fn format(duration: TimeDelta) -> String {
    let mut left = duration.num_microseconds().unwrap_or(i64::MAX).max(0);
    let mut text = String::new();
    for (unit, micros) in UNITS {
        if left >= micros {
            text.push_str(&(left / micros).to_string());
            text.push_str(unit);
            left %= micros;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Serialises as text.
///
/// # Errors
/// Those of the serialiser.
pub fn serialize<S: Serializer>(duration: &TimeDelta, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// Deserialises from text.
///
/// # Errors
/// When the text is not a duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TimeDelta, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(serde::de::Error::custom)
}

/// The same for an optional duration.
pub mod option {
    use chrono::TimeDelta;
    use serde::{Deserialize as _, Deserializer, Serializer};

    /// Serialises as text or null.
    ///
    /// # Errors
    /// Those of the serialiser.
    pub fn serialize<S: Serializer>(
        duration: &Option<TimeDelta>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Deserialises from text or null.
    ///
    /// # Errors
    /// When the text is not a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<TimeDelta>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| super::parse(&text).map_err(serde::de::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::{format, parse};

    #[test]
    fn a_duration_reads_as_people_write_it() {
        assert_eq!(parse("7d"), Ok(TimeDelta::days(7)));
        assert_eq!(parse("1d12h"), Ok(TimeDelta::hours(36)));
        assert_eq!(parse("90m"), Ok(TimeDelta::minutes(90)));
        assert_eq!(parse("250ms"), Ok(TimeDelta::milliseconds(250)));
        assert_eq!(parse("0s"), Ok(TimeDelta::zero()));
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for bad in
            ["", "7", "d", "7 d", "-1d", "1.5h", "12h1d", "1h1h", "7D", "7w", "99999999999999d"]
        {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_written_duration_reads_back(micros in 0..i64::MAX) {
            let duration = TimeDelta::microseconds(micros);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }
    }
}
