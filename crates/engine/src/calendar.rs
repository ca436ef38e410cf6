//! Civil buckets in an IANA zone: one function for every question.
//!
//! A civil day begins at the first instant whose local clock has reached its midnight. That holds where clocks go
//! forward over midnight (the day begins after the gap), where they go back over it (the day begins at the first of
//! the two midnights), and where a whole day is skipped (there is no bucket for it).

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, Offset, TimeZone};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

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

/// Seconds that the local clock is ahead of UTC at an instant.
fn offset_at(second: i64, zone: Tz) -> i64 {
    let utc = naive(second);
    i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc())
}

fn naive(second: i64) -> NaiveDateTime {
    DateTime::from_timestamp(second, 0)
        .expect("the range was checked to be within years 1 to 9999")
        .naive_utc()
}

/// Local calendar date at an instant.
fn date_at(second: i64, zone: Tz) -> NaiveDate {
    naive(second + offset_at(second, zone)).date()
}

/// First instant at which the local clock has reached midnight of `date`.
fn day_start(date: NaiveDate, zone: Tz) -> i64 {
    first_at(date.and_hms_opt(0, 0, 0).expect("midnight is a time of day"), zone)
}

/// First instant at which the local clock has reached a time of a date.
fn first_at(time: NaiveDateTime, zone: Tz) -> i64 {
    if let Some(first) = zone.from_local_datetime(&time).earliest() {
        return first.timestamp();
    }
    // It falls in a gap: search the transition, which lies between that time at the later and at the earlier offset.
    let local = time.and_utc().timestamp();
    let (before, after) = (offset_at(local - 86_400, zone), offset_at(local + 86_400, zone));
    let (mut low, mut high) = (local - before.max(after), local - before.min(after));
    while low < high {
        let middle = low + (high - low) / 2;
        if middle + offset_at(middle, zone) >= local { high = middle } else { low = middle + 1 }
    }
    low
}

/// First day of the stretch of so many months, counted from January, that holds a date.
fn first_of(date: NaiveDate, months: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(date.year(), date.month0() / months * months + 1, 1)
        .expect("every month has a first day")
}

fn civil(first: i64, last: i64, zone: Tz, grain: Grain) -> (Vec<i64>, Vec<i32>) {
    let epoch = NaiveDate::default();
    let align = |date: NaiveDate| match grain {
        Grain::Week => date - Days::new(u64::from(date.weekday().num_days_from_monday())),
        Grain::Month => first_of(date, 1),
        Grain::Quarter => first_of(date, 3),
        Grain::Year => first_of(date, 12),
        Grain::Hour | Grain::Day | Grain::Total => date,
    };
    // A little more than the longest one, back to its first day.
    let next = |date: NaiveDate| match grain {
        Grain::Week => date + Days::new(7),
        Grain::Month => align(date + Days::new(31)),
        Grain::Quarter => align(date + Days::new(92)),
        Grain::Year => align(date + Days::new(366)),
        Grain::Hour | Grain::Day | Grain::Total => date + Days::new(1),
    };
    let number = |date: NaiveDate| match grain {
        Grain::Week => (date - epoch).num_days().div_euclid(7) as i32 + 1,
        Grain::Month => date.year() * 12 + date.month0() as i32 - 1970 * 12,
        Grain::Quarter => date.year() * 4 + date.month0() as i32 / 3 - 1970 * 4,
        Grain::Year => date.year() - 1970,
        Grain::Hour | Grain::Day | Grain::Total => (date - epoch).num_days() as i32,
    };
    let mut date = align(date_at(first, zone));
    // The local date may already have been reached once before clocks went back over midnight.
    while day_start(next(date), zone) <= first {
        date = next(date);
    }
    let (mut bounds, mut numbers) = (vec![day_start(date, zone)], vec![number(date)]);
    loop {
        date = next(date);
        let start = day_start(date, zone);
        if start == bounds[bounds.len() - 1] {
            // The day before was skipped altogether; its bucket would be empty.
            numbers.pop();
            numbers.push(number(date));
            continue;
        }
        bounds.push(start);
        if start > last {
            return (bounds, numbers);
        }
        numbers.push(number(date));
    }
}

fn hours(first: i64, last: i64, zone: Tz) -> (Vec<i64>, Vec<i32>) {
    // Begin at a transition-free guess before `first` and walk; at most a few steps are dropped again.
    let offset = offset_at(first, zone);
    let floor = (first + offset).div_euclid(HOUR_SECONDS) * HOUR_SECONDS - offset;
    let mut start = floor - HOUR_SECONDS;
    start = (start + offset_at(start, zone)).div_euclid(HOUR_SECONDS) * HOUR_SECONDS
        - offset_at(start, zone);
    let mut bounds = vec![start];
    while start <= last {
        start = next_hour(start, zone);
        if start <= first {
            bounds.clear();
        }
        bounds.push(start);
    }
    let numbers = (0..bounds.len() as i32 - 1).collect();
    (bounds, numbers)
}

/// The first instant after `start` at which another local hour begins, or clocks go back.
fn next_hour(start: i64, zone: Tz) -> i64 {
    let offset = offset_at(start, zone);
    let local_end = ((start + offset).div_euclid(HOUR_SECONDS) + 1) * HOUR_SECONDS;
    let end = local_end - offset;
    if offset_at(end, zone) == offset && offset_at(end - 1, zone) == offset {
        return end;
    }
    let (mut low, mut high) = (start + 1, end);
    while low < high {
        let middle = low + (high - low) / 2;
        if offset_at(middle, zone) == offset { low = middle + 1 } else { high = middle }
    }
    let moved = low + offset_at(low, zone);
    if moved >= local_end || moved < low + offset { low } else { local_end - offset_at(low, zone) }
}

/// First instant of the hour, day, week, month, quarter or year that holds an instant; of [`Grain::Total`] the instant
/// itself.
///
/// # Errors
/// As [`Buckets::covering`].
pub fn start_of(micros: i64, zone: Tz, grain: Grain) -> Result<i64> {
    Ok(Buckets::covering(micros, micros + 1, zone, grain)?.start(0))
}

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
    use chrono_tz::TZ_VARIANTS;
    use proptest::prelude::*;

    use super::*;

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
