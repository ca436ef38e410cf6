//! From instants to the clock of a zone, and back.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Offset, TimeZone};
use chrono_tz::Tz;

/// Seconds that the local clock is ahead of UTC at an instant.
pub(super) fn offset_at(second: i64, zone: Tz) -> i64 {
    let utc = naive(second);
    i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc())
}

pub(super) fn naive(second: i64) -> NaiveDateTime {
    DateTime::from_timestamp(second, 0)
        .expect("the range was checked to be within years 1 to 9999")
        .naive_utc()
}

/// Local calendar date at an instant.
pub(super) fn date_at(second: i64, zone: Tz) -> NaiveDate {
    naive(second + offset_at(second, zone)).date()
}

/// First instant at which the local clock has reached midnight of `date`.
pub(super) fn day_start(date: NaiveDate, zone: Tz) -> i64 {
    first_at(date.and_hms_opt(0, 0, 0).expect("midnight is a time of day"), zone)
}

/// First instant at which the local clock has reached a time of a date.
pub(super) fn first_at(time: NaiveDateTime, zone: Tz) -> i64 {
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
