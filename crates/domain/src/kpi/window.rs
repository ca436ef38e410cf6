//! The stretch of time a KPI is computed over.

use chrono::{DateTime, Days, LocalResult, NaiveDateTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use thiserror::Error;

/// A half-open stretch of time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// First instant, inclusive.
    pub start: DateTime<Utc>,
    /// End, exclusive.
    pub end: DateTime<Utc>,
}

impl Window {
    /// Its length.
    pub fn length(self) -> TimeDelta {
        self.end - self.start
    }
}

/// A window would begin before the calendar does.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
#[error("a window of {days} days cannot end at {end}")]
pub struct WindowOutOfRange {
    /// Length asked for.
    pub days: u32,
    /// End asked for.
    pub end: DateTime<Utc>,
}

/// The window of so many civil days that ends at `end`: it begins at the same
/// local time of day, `days` calendar days before. Over a change of the clocks
/// it is an hour longer or shorter than `days` times 24 hours, so that whole
/// civil days are compared with whole civil days.
///
/// # Errors
/// [`WindowOutOfRange`] when it would begin before the calendar does.
pub fn evaluation_window(
    end: DateTime<Utc>,
    days: u32,
    zone: Tz,
) -> Result<Window, WindowOutOfRange> {
    let start = end
        .with_timezone(&zone)
        .naive_local()
        .checked_sub_days(Days::new(u64::from(days)))
        .and_then(|local| resolve(local, zone))
        .ok_or(WindowOutOfRange { days, end })?;
    Ok(Window { start, end })
}

/// The instant of a local time: the first of two when the clocks go back; moved
/// by the length of the gap when they go forward over it.
pub(crate) fn resolve(local: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => Some(time.to_utc()),
        // Reading the time with the offset from before the gap moves it so.
        LocalResult::None => {
            let day_before = local.checked_sub_days(Days::new(1))?;
            Some(zone.from_local_datetime(&day_before).earliest()?.to_utc() + TimeDelta::days(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use chrono_tz::Tz;
    use proptest::prelude::*;

    use super::{Window, evaluation_window};
    use crate::timestamp::parse;

    fn window(end: &str, days: u32, zone: Tz) -> Window {
        evaluation_window(parse(end).unwrap(), days, zone).unwrap()
    }

    #[test]
    fn a_window_counts_civil_days() {
        // Berlin went from +01:00 to +02:00 on 2026-03-29.
        let spring = window("2026-03-29T22:00:00Z", 1, Tz::Europe__Berlin);
        assert_eq!(spring.length(), TimeDelta::hours(23));
        let utc = window("2026-03-29T22:00:00Z", 1, Tz::UTC);
        assert_eq!(utc.length(), TimeDelta::hours(24));
    }

    #[test]
    fn a_start_in_a_gap_moves_behind_it() {
        // 02:30 does not exist in Berlin on 2026-03-29: it reads as 03:30.
        let gap = window("2026-03-30T00:30:00Z", 1, Tz::Europe__Berlin);
        assert_eq!(gap.start, parse("2026-03-29T01:30:00Z").unwrap());
    }

    #[test]
    fn a_window_before_the_calendar_is_refused() {
        let end = chrono::DateTime::<chrono::Utc>::MIN_UTC;
        assert!(evaluation_window(end, 1, Tz::UTC).is_err());
    }

    proptest! {
        /// Over every zone and 1970 to 2037, a window of n days is n days long,
        /// give or take what the clocks may shift: a day at most, for the zones
        /// that moved over the date line.
        #[test]
        fn a_window_is_as_long_as_its_days(
            zone in prop::sample::select(chrono_tz::TZ_VARIANTS.as_slice()),
            end in 86_400_i64 * 400..2_145_916_800,
            days in 1_u32..400,
        ) {
            let end = chrono::DateTime::from_timestamp(end, 0).unwrap();
            let length = evaluation_window(end, days, zone).unwrap().length();
            let shift = (length - TimeDelta::days(i64::from(days))).abs();
            prop_assert!(shift <= TimeDelta::days(1), "{} {} {}", zone, end, length);
        }
    }
}
