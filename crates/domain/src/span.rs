//! Lengths of calendar time as people write them in documents: `28 days`, `1 month`, `4 quarters`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most of any unit.
const MOST: u32 = 10_000;

/// A length of calendar time: a month is a month, whatever its days.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span {
    /// How many, 1 to 10,000.
    pub count: u32,
    /// Of what.
    pub unit: CalendarUnit,
}

/// Unit of a [`Span`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CalendarUnit {
    /// 3,600 seconds.
    Hour,
    /// A calendar day of the zone, of 23 hours or 25 where clocks change.
    Day,
    /// Seven calendar days.
    Week,
    /// A calendar month.
    Month,
    /// Three calendar months.
    Quarter,
    /// Twelve calendar months.
    Year,
}

impl CalendarUnit {
    const ALL: [(&str, Self); 6] = [
        ("hour", Self::Hour),
        ("day", Self::Day),
        ("week", Self::Week),
        ("month", Self::Month),
        ("quarter", Self::Quarter),
        ("year", Self::Year),
    ];

    /// Its name, one of it.
    pub fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, unit)| *unit == self).map_or("", |(name, _)| name)
    }
}

/// A text is not a span.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error(
    "{0:?} is not a span: write a whole number from 1 to 10000 and hours, days, weeks, months, \
     quarters or years, for example \"28 days\" or \"1 month\""
)]
pub struct InvalidSpan(pub String);

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let invalid = || InvalidSpan(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (count, unit) = text.split_at(digits);
        let count = count.parse().ok().filter(|count| (1..=MOST).contains(count));
        let unit = unit.trim_start();
        let unit = unit.strip_suffix('s').unwrap_or(unit);
        let unit = CalendarUnit::ALL.into_iter().find(|(name, _)| *name == unit);
        match (count, unit) {
            (Some(count), Some((_, unit))) => Ok(Self { count, unit }),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.count == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.count, self.unit.as_str())
    }
}

impl TryFrom<String> for Span {
    type Error = InvalidSpan;

    fn try_from(text: String) -> Result<Self, InvalidSpan> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_write_them() {
        for (text, written) in [
            ("28 days", "28 days"),
            ("1month", "1 month"),
            ("1 years", "1 year"),
            ("4 quarter", "4 quarters"),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), written);
        }
        for text in [
            "",
            "days",
            "0 days",
            "-1 day",
            "1.5 days",
            "10001 days",
            "2 decades",
            "7d",
            "1 month 2 days",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
