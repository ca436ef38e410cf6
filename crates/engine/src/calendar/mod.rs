//! Civil buckets in an IANA zone: one function for every question.
//!
//! A civil day begins at the first instant whose local clock has reached its midnight. That holds where clocks go
//! forward over midnight (the day begins after the gap), where they go back over it (the day begins at the first of
//! the two midnights), and where a whole day is skipped (there is no bucket for it).

mod civil;
mod span;
mod zone;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

pub use span::{Span, SpanUnit};

use civil::{civil, hours};

use crate::error::{Error, Result};

/// Most buckets that one question may ask for.
pub const MAX_BUCKETS: usize = 200_000;

const SECOND: i64 = 1_000_000;
const HOUR_SECONDS: i64 = 3_600;

/// Instants that civil arithmetic is defined for: years 1 to 9999.
const MIN_SECONDS: i64 = -62_135_596_800;
const MAX_SECONDS: i64 = 253_402_300_799;
/// A year of slack on both sides keeps every step of the arithmetic in range.
const SLACK: i64 = 366 * 86_400;

/// Width of a bucket, civil in the zone of the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grain {
    /// Hours of the local clock; a repeated hour is a bucket of its own.
    Hour,
    /// Calendar days; a day may have 23 or 25 hours.
    Day,
    /// Weeks from Monday.
    Week,
    /// Calendar months.
    Month,
    /// Calendar quarters.
    Quarter,
    /// Calendar years.
    Year,
    /// One bucket for the whole range.
    #[default]
    Total,
}

/// Consecutive buckets that cover a range of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Buckets {
    grain: Grain,
    /// First instant of each bucket, and after the last one the end of it.
    bounds: Vec<i64>,
    /// Calendar number of each bucket, see [`Buckets::number`].
    numbers: Vec<i32>,
    per_micro: f64,
}

impl Buckets {
    /// The civil buckets that cover `[from, to)`; the first may begin before `from` and the last end after `to`.
    /// [`Grain::Total`] is the range itself.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] when the range is empty, outside the years 1 to 9999 or holds more than
    /// [`MAX_BUCKETS`].
    pub fn covering(from_micros: i64, to_micros: i64, zone: Tz, grain: Grain) -> Result<Self> {
        let invalid =
            |problem: String| Error::InvalidQuery { field: "from_micros..to_micros", problem };
        if from_micros >= to_micros {
            return Err(invalid(format!(
                "the range [{from_micros}, {to_micros}) is empty; `from` must be before `to`"
            )));
        }
        let (first, last) = (from_micros.div_euclid(SECOND), (to_micros - 1).div_euclid(SECOND));
        if grain == Grain::Total {
            return Ok(Self::new(grain, vec![from_micros, to_micros], vec![0]));
        }
        if first < MIN_SECONDS + SLACK || last > MAX_SECONDS - SLACK {
            return Err(invalid("civil buckets exist for the years 2 to 9998 only".to_owned()));
        }
        let step = match grain {
            Grain::Hour => HOUR_SECONDS,
            Grain::Day | Grain::Total => 86_400,
            Grain::Week => 7 * 86_400,
            Grain::Month => 28 * 86_400,
            Grain::Quarter => 90 * 86_400,
            Grain::Year => 365 * 86_400,
        };
        if (last - first) / step > MAX_BUCKETS as i64 {
            return Err(invalid(format!(
                "more than {MAX_BUCKETS} buckets; choose a coarser grain or a shorter range"
            )));
        }
        let (bounds, numbers) = match grain {
            Grain::Hour => hours(first, last, zone),
            _ => civil(first, last, zone, grain),
        };
        Ok(Self::new(grain, bounds.into_iter().map(|second| second * SECOND).collect(), numbers))
    }

    /// Buckets between bounds that rise, numbered from 0; at least two bounds.
    pub(crate) fn between(bounds: Vec<i64>) -> Self {
        let numbers = (0..bounds.len() as i32 - 1).collect();
        Self::new(Grain::Total, bounds, numbers)
    }

    fn new(grain: Grain, bounds: Vec<i64>, numbers: Vec<i32>) -> Self {
        let buckets = numbers.len();
        let span = bounds[buckets].saturating_sub(bounds[0]).max(1);
        Self { grain, per_micro: buckets as f64 / span as f64, bounds, numbers }
    }

    /// How many buckets there are; at least one.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Never: a range has at least one bucket.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Width of the buckets.
    pub fn grain(&self) -> Grain {
        self.grain
    }

    /// First instant of a bucket; `start(len())` is the end of the last.
    pub fn start(&self, bucket: usize) -> i64 {
        self.bounds[bucket]
    }

    /// First instant after a bucket.
    pub fn end(&self, bucket: usize) -> i64 {
        self.bounds[bucket + 1]
    }

    /// Calendar number of a bucket: days since 1970-01-01 for days, Mondays since 1969-12-29 for weeks, months since
    /// 1970-01 for months, and so for quarters and years; running numbers otherwise. Differences are calendar distances, also over a skipped day.
    pub fn number(&self, bucket: usize) -> i32 {
        self.numbers[bucket]
    }

    /// The first bucket whose number is this or a later one; `None` when all are earlier.
    pub fn first_at_or_after(&self, number: i64) -> Option<usize> {
        let at = self.numbers.partition_point(|known| i64::from(*known) < number);
        (at < self.numbers.len()).then_some(at)
    }

    /// The bucket that holds an instant; `micros` must lie within the buckets.
    #[inline]
    pub fn locate(&self, micros: i64) -> usize {
        let last = self.numbers.len() - 1;
        // Buckets are nearly equally long, so the guess is off by one or two at most.
        let mut bucket =
            ((micros.wrapping_sub(self.bounds[0]) as f64 * self.per_micro) as usize).min(last);
        while micros < self.bounds[bucket] && bucket > 0 {
            bucket -= 1;
        }
        while bucket < last && micros >= self.bounds[bucket + 1] {
            bucket += 1;
        }
        bucket
    }
}
/// First instant of the hour, day, week, month, quarter or year that holds an instant; of [`Grain::Total`] the instant
/// itself.
///
/// # Errors
/// As [`Buckets::covering`].
pub fn start_of(micros: i64, zone: Tz, grain: Grain) -> Result<i64> {
    Ok(Buckets::covering(micros, micros + 1, zone, grain)?.start(0))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Datelike, NaiveDate, TimeZone};
    use chrono_tz::TZ_VARIANTS;
    use proptest::prelude::*;

    use super::{zone::date_at, *};

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).expect("a time").timestamp_micros()
    }

    fn starts(from: &str, to: &str, zone: Tz, grain: Grain) -> Vec<String> {
        let buckets = Buckets::covering(at(from), at(to), zone, grain).expect("buckets");
        (0..=buckets.len())
            .map(|bucket| {
                let local =
                    zone.timestamp_micros(buckets.start(bucket)).single().expect("an instant");
                local.format("%Y-%m-%dT%H:%M:%S%:z").to_string()
            })
            .collect()
    }

    #[test]
    fn a_day_in_berlin_has_23_hours_in_spring_and_25_in_autumn() {
        let zone = chrono_tz::Europe::Berlin;
        for (from, to, hours) in [
            ("2026-03-29T00:00:00+01:00", "2026-03-29T20:00:00Z", 23),
            ("2026-10-25T00:00:00+02:00", "2026-10-25T20:00:00Z", 25),
        ] {
            let day = Buckets::covering(at(from), at(to), zone, Grain::Day).expect("buckets");
            assert_eq!(
                (day.len(), (day.end(0) - day.start(0)) / SECOND / HOUR_SECONDS),
                (1, hours)
            );
            let hourly =
                Buckets::covering(day.start(0), day.end(0), zone, Grain::Hour).expect("buckets");
            assert_eq!(hourly.len() as i64, hours);
        }
    }

    #[test]
    fn a_day_whose_midnight_is_skipped_begins_at_its_first_instant() {
        assert_eq!(
            starts(
                "2018-11-03T12:00:00Z",
                "2018-11-04T12:00:00Z",
                chrono_tz::America::Sao_Paulo,
                Grain::Day
            ),
            ["2018-11-03T00:00:00-03:00", "2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"]
        );
    }

    #[test]
    fn a_day_that_a_zone_skipped_has_no_bucket_but_keeps_its_number() {
        let zone = chrono_tz::Pacific::Apia;
        let buckets = Buckets::covering(
            at("2011-12-29T12:00:00-10:00"),
            at("2011-12-31T12:00:00+14:00"),
            zone,
            Grain::Day,
        )
        .expect("buckets");
        assert_eq!(buckets.len(), 2);
        assert_eq!(buckets.number(1) - buckets.number(0), 2);
    }

    #[test]
    fn a_day_whose_midnight_comes_twice_begins_at_the_first() {
        // Newfoundland went back at 00:01 local time: midnight happened twice.
        assert_eq!(
            starts(
                "2006-10-28T12:00:00Z",
                "2006-10-29T12:00:00Z",
                chrono_tz::America::St_Johns,
                Grain::Day
            ),
            ["2006-10-28T00:00:00-02:30", "2006-10-29T00:00:00-02:30", "2006-10-30T00:00:00-03:30"]
        );
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        assert_eq!(
            starts("2026-03-01T12:00:00Z", "2026-03-02T00:00:00Z", Tz::UTC, Grain::Week),
            ["2026-02-23T00:00:00+00:00", "2026-03-02T00:00:00+00:00"]
        );
        assert_eq!(
            starts("2026-01-31T12:00:00Z", "2026-03-01T00:00:00Z", Tz::UTC, Grain::Month),
            ["2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00", "2026-03-01T00:00:00+00:00"]
        );
    }

    #[test]
    fn an_empty_or_absurd_range_is_refused() {
        assert!(Buckets::covering(5, 5, Tz::UTC, Grain::Day).is_err());
        assert!(Buckets::covering(i64::MIN, i64::MAX, Tz::UTC, Grain::Day).is_err());
        assert!(Buckets::covering(0, 200 * 366 * 86_400 * SECOND, Tz::UTC, Grain::Hour).is_err());
        assert!(Buckets::covering(i64::MIN, i64::MAX, Tz::UTC, Grain::Total).is_ok());
    }

    fn check_zone(zone: Tz, from: i64, days: i64) {
        let to = from + days * 86_400 * SECOND;
        for grain in
            [Grain::Hour, Grain::Day, Grain::Week, Grain::Month, Grain::Quarter, Grain::Year]
        {
            let buckets = Buckets::covering(from, to, zone, grain).expect("buckets");
            assert!(
                buckets.start(0) <= from && buckets.end(buckets.len() - 1) >= to,
                "{zone} {grain:?} covers"
            );
            for bucket in 0..buckets.len() {
                let (start, end) = (buckets.start(bucket), buckets.end(bucket));
                assert!(start < end, "{zone} {grain:?} is monotone");
                for inside in [start, start + (end - start) / 2, end - 1] {
                    assert_eq!(buckets.locate(inside), bucket, "{zone} {grain:?} locates {inside}");
                }
                if bucket > 0 {
                    assert!(
                        buckets.number(bucket) > buckets.number(bucket - 1),
                        "{zone} {grain:?} numbers rise"
                    );
                }
                let date = date_at(start.div_euclid(SECOND), zone);
                let day_before = date_at(start.div_euclid(SECOND) - 1, zone);
                match grain {
                    Grain::Day => {
                        assert_eq!(
                            i64::from(buckets.number(bucket)),
                            (date - NaiveDate::default()).num_days(),
                            "{zone}"
                        );
                        assert!(day_before < date, "{zone}: a day begins where its date does");
                    }
                    Grain::Month => assert!(day_before.month() != date.month(), "{zone} {start}"),
                    Grain::Week => {
                        assert!(day_before.iso_week() != date.iso_week(), "{zone} {start}")
                    }
                    Grain::Quarter => {
                        assert!(
                            date.month0().is_multiple_of(3) && day_before.month() != date.month()
                        )
                    }
                    Grain::Year => assert!(day_before.year() != date.year(), "{zone} {start}"),
                    Grain::Hour | Grain::Total => {}
                }
            }
        }
    }

    #[test]
    fn buckets_of_every_zone_are_monotone_cover_and_map_back_to_their_day() {
        // The weeks in which most zones change their clocks.
        for zone in TZ_VARIANTS {
            check_zone(zone, at("2024-03-05T12:34:56Z"), 60);
            check_zone(zone, at("2025-09-20T01:02:03Z"), 50);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn buckets_hold_over_history(zone in 0..TZ_VARIANTS.len(), from in -2_200_000_000i64..2_100_000_000, days in 1i64..12) {
            check_zone(TZ_VARIANTS[zone], from * SECOND, days);
        }
    }
}
