//! Lengths of time by the calendar.

use chrono::{Datelike, NaiveDate};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::{
    Buckets, Grain, HOUR_SECONDS, MAX_SECONDS, MIN_SECONDS, SECOND, SLACK, start_of,
    zone::{day_start, first_at, naive, offset_at},
};
use crate::error::{Error, Result};

/// A length of time by the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// How many.
    pub count: i64,
    /// Of what.
    pub unit: SpanUnit,
}

/// Unit of a [`Span`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanUnit {
    /// Microseconds, on the clock.
    Microsecond,
    /// Hours of 3,600 seconds.
    Hour,
    /// Calendar days, of 23 hours or 25 where clocks change.
    Day,
    /// Seven calendar days.
    Week,
    /// Calendar months; a day that the month does not have is its last one.
    Month,
    /// Three calendar months.
    Quarter,
    /// Twelve calendar months.
    Year,
}

impl Span {
    /// The length of a range: whole months where it begins and ends with one, else whole days, else microseconds, so
    /// that neither a change of the clocks nor the length of a month moves the range before it.
    pub fn between(from_micros: i64, to_micros: i64, zone: Tz) -> Self {
        for (grain, unit) in [(Grain::Month, SpanUnit::Month), (Grain::Day, SpanUnit::Day)] {
            let begins = |micros| start_of(micros, zone, grain).is_ok_and(|start| start == micros);
            if begins(from_micros)
                && begins(to_micros)
                && let Ok(buckets) = Buckets::covering(from_micros, to_micros, zone, grain)
            {
                let last = buckets.len() - 1;
                return Self {
                    count: i64::from(buckets.number(last) - buckets.number(0)) + 1,
                    unit,
                };
            }
        }
        Self { count: to_micros.saturating_sub(from_micros), unit: SpanUnit::Microsecond }
    }

    /// The instant that lies so much earlier by the calendar of a zone. The start of a day goes to the start of a day.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] when it lies outside the years 2 to 9998.
    pub fn before(self, micros: i64, zone: Tz) -> Result<i64> {
        let beyond = || Error::InvalidQuery {
            field: "span",
            problem: format!(
                "{} {:?} before the range is outside the calendar",
                self.count, self.unit
            ),
        };
        let exact = |unit: i64| {
            self.count
                .checked_mul(unit)
                .and_then(|span| micros.checked_sub(span))
                .ok_or_else(beyond)
        };
        let (days, months) = match self.unit {
            SpanUnit::Microsecond => return exact(1),
            SpanUnit::Hour => return exact(HOUR_SECONDS * SECOND),
            SpanUnit::Day => (Some(self.count), None),
            SpanUnit::Week => (self.count.checked_mul(7), None),
            SpanUnit::Month => (None, Some(self.count)),
            SpanUnit::Quarter => (None, self.count.checked_mul(3)),
            SpanUnit::Year => (None, self.count.checked_mul(12)),
        };
        let second = micros.div_euclid(SECOND);
        if !(MIN_SECONDS + SLACK..=MAX_SECONDS - SLACK).contains(&second) {
            return Err(beyond());
        }
        let local = naive(second + offset_at(second, zone));
        let shift = |date: NaiveDate| match (days, months) {
            (Some(days), _) => date.checked_sub_signed(chrono::TimeDelta::try_days(days)?),
            (_, Some(months)) => {
                date.checked_sub_months(chrono::Months::new(months.try_into().ok()?))
            }
            _ => None,
        };
        let date = shift(local.date()).filter(|date| (2..=9998).contains(&date.year()));
        let date = date.ok_or_else(beyond)?;
        let shifted = if day_start(local.date(), zone) * SECOND == micros {
            day_start(date, zone)
        } else {
            first_at(date.and_time(local.time()), zone)
        };
        Ok(shifted * SECOND + micros.rem_euclid(SECOND))
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).expect("a time").timestamp_micros()
    }

    #[test]
    fn a_span_goes_back_by_the_calendar_and_not_by_the_clock() {
        let berlin = chrono_tz::Europe::Berlin;
        let span = |count, unit| Span { count, unit };
        for (span, from, to) in [
            // The day on which clocks went forward had 23 hours.
            (span(1, SpanUnit::Day), "2026-03-30T00:00:00+02:00", "2026-03-29T00:00:00+01:00"),
            (span(24, SpanUnit::Hour), "2026-03-30T00:00:00+02:00", "2026-03-28T23:00:00+01:00"),
            (span(1, SpanUnit::Week), "2026-04-01T12:30:00+02:00", "2026-03-25T12:30:00+01:00"),
            // A day that a month does not have is its last.
            (span(1, SpanUnit::Month), "2024-03-31T00:00:00+01:00", "2024-02-29T00:00:00+01:00"),
            (span(1, SpanUnit::Year), "2024-02-29T00:00:00+01:00", "2023-02-28T00:00:00+01:00"),
            (span(2, SpanUnit::Quarter), "2026-07-01T00:00:00+02:00", "2026-01-01T00:00:00+01:00"),
            // 02:30 did not exist: the first instant after the gap.
            (span(1, SpanUnit::Day), "2026-03-30T02:30:00+02:00", "2026-03-29T03:00:00+02:00"),
        ] {
            assert_eq!(span.before(at(from), berlin).expect("an instant"), at(to), "{from}");
        }
        // The day whose midnight was skipped begins an hour late, the one before it on time.
        let sao_paulo = chrono_tz::America::Sao_Paulo;
        assert_eq!(
            span(1, SpanUnit::Day)
                .before(at("2018-11-04T01:00:00-02:00"), sao_paulo)
                .expect("an instant"),
            at("2018-11-03T00:00:00-03:00")
        );
        assert!(span(9_000, SpanUnit::Year).before(at("2026-01-01T00:00:00Z"), berlin).is_err());
    }

    #[test]
    fn the_length_of_a_range_is_that_of_the_calendar() {
        let berlin = chrono_tz::Europe::Berlin;
        for (from, to, count, unit) in [
            ("2026-01-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00", 3, SpanUnit::Month),
            ("2026-03-23T00:00:00+01:00", "2026-03-30T00:00:00+02:00", 7, SpanUnit::Day),
            (
                "2026-03-23T00:00:00+01:00",
                "2026-03-23T00:00:01+01:00",
                1_000_000,
                SpanUnit::Microsecond,
            ),
        ] {
            assert_eq!(Span::between(at(from), at(to), berlin), Span { count, unit }, "{from}");
        }
    }
}
