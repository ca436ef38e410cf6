//! Periods of the calendar, found by walking along it.

use chrono::{DateTime, Days, Months, NaiveTime, TimeZone};
use chrono_tz::Tz;
use northstar_engine::{Grain, Query, Span, SpanUnit};

use super::bucket;
use crate::world::MINUTE;

/// Every clock in the world changes on one of these, as far as the tests go.
const QUARTER_HOUR: i64 = 15 * MINUTE;

/// A stretch of time with the name of its bucket.
#[derive(Debug, Clone)]
pub struct Stretch {
    pub name: String,
    pub start: i64,
    pub end: i64,
}

/// The period that holds an instant.
pub fn around(time: i64, zone: Tz, grain: Grain) -> Stretch {
    let name = bucket(time, zone, grain);
    let inside = |time: i64| bucket(time, zone, grain) == name;
    let (mut start, mut end) = (time.div_euclid(QUARTER_HOUR) * QUARTER_HOUR, time);
    for step in [24 * 4 * QUARTER_HOUR, 24 * QUARTER_HOUR, QUARTER_HOUR] {
        while inside(start - step) {
            start -= step;
        }
        while inside(end + step) {
            end += step;
        }
    }
    let end = end.div_euclid(QUARTER_HOUR) * QUARTER_HOUR + QUARTER_HOUR;
    Stretch { name, start, end }
}

/// The periods that a question is answered by.
pub fn of(query: &Query) -> Vec<Stretch> {
    if query.grain == Grain::Total {
        let (start, end) = (query.from_micros, query.to_micros);
        return vec![Stretch { name: String::new(), start, end }];
    }
    let mut periods = vec![around(query.from_micros, query.zone, query.grain)];
    while periods[periods.len() - 1].end < query.to_micros {
        periods.push(around(periods[periods.len() - 1].end, query.zone, query.grain));
    }
    periods
}

/// So far back by the calendar.
pub fn back(time: i64, span: Span, zone: Tz) -> i64 {
    let utc = DateTime::from_timestamp_micros(time).expect("a time").naive_utc();
    let local = zone.from_utc_datetime(&utc).naive_local();
    let count = span.count.unsigned_abs();
    let moved = match span.unit {
        SpanUnit::Microsecond => return time - span.count,
        SpanUnit::Hour => return time - span.count * 60 * MINUTE,
        SpanUnit::Day => local - Days::new(count),
        SpanUnit::Week => local - Days::new(7 * count),
        SpanUnit::Month => local - Months::new(count as u32),
        SpanUnit::Quarter => local - Months::new(3 * count as u32),
        SpanUnit::Year => local - Months::new(12 * count as u32),
    };
    // The clocks of the tests go forward from two to three.
    let three = NaiveTime::from_hms_opt(3, 0, 0).expect("a time of day");
    let found = zone
        .from_local_datetime(&moved)
        .earliest()
        .or_else(|| zone.from_local_datetime(&moved.date().and_time(three)).earliest());
    found.expect("a local time").timestamp_micros()
}
