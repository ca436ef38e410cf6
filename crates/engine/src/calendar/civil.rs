//! Where civil hours, days, weeks, months, quarters and years begin.

use chrono::{Datelike, Days, NaiveDate};
use chrono_tz::Tz;

use super::{
    Grain, HOUR_SECONDS,
    zone::{date_at, day_start, offset_at},
};

/// First day of the stretch of so many months, counted from January, that holds a date.
fn first_of(date: NaiveDate, months: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(date.year(), date.month0() / months * months + 1, 1)
        .expect("every month has a first day")
}

pub(super) fn civil(first: i64, last: i64, zone: Tz, grain: Grain) -> (Vec<i64>, Vec<i32>) {
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

pub(super) fn hours(first: i64, last: i64, zone: Tz) -> (Vec<i64>, Vec<i32>) {
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
