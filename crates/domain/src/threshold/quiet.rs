//! Hours in which nobody is asked.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, Days, NaiveDateTime, NaiveTime, Utc, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Violations;
use crate::kpi::{not_a_zone, read_zone, resolve};

/// When nobody is asked, as written in its document. What would be asked
/// meanwhile is asked afterwards, unless it has recovered by then.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct QuietHours {
    /// Local time of day from which on, inclusive; with `to`, or neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<TimeOfDay>,
    /// Local time of day up to which, exclusive; before `from`, it is that of the
    /// next day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<TimeOfDay>,
    /// Whether Saturdays and Sundays are quiet all day.
    #[serde(default)]
    pub weekends: bool,
    /// IANA zone of the times and days; empty means UTC.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub time_zone: String,
}

/// A time of day, to the minute, as people write it: `22:00`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(NaiveTime);

/// A text is not a time of day.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{0:?} is not a time of day: write it like 22:00")]
pub struct InvalidTimeOfDay(pub String);

impl FromStr for TimeOfDay {
    type Err = InvalidTimeOfDay;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        NaiveTime::parse_from_str(text, "%H:%M")
            .ok()
            .filter(|_| text.len() == 5)
            .map(Self)
            .ok_or_else(|| InvalidTimeOfDay(text.to_owned()))
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = InvalidTimeOfDay;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        time.to_string()
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.format("%H:%M").fmt(f)
    }
}

/// Checked quiet hours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quiet {
    hours: Option<(NaiveTime, NaiveTime)>,
    weekends: bool,
    zone: Tz,
}

impl QuietHours {
    pub(super) fn check(&self, found: &mut Violations) -> Option<Quiet> {
        let hours = match (self.from, self.to) {
            (None, None) => None,
            (Some(from), Some(to)) if from != to => Some((from.0, to.0)),
            (Some(_), Some(_)) => {
                found.push("quiet.to", "must be another time than from");
                None
            }
            (None, Some(_)) => {
                found.push("quiet.from", "is required where to is given");
                None
            }
            (Some(_), None) => {
                found.push("quiet.to", "is required where from is given");
                None
            }
        };
        if self.from.is_none() && self.to.is_none() && !self.weekends {
            found.push("quiet", "names no hours: give from and to, or weekends");
        }
        let zone = read_zone(&self.time_zone);
        if zone.is_none() {
            found.push("quiet.time_zone", not_a_zone(&self.time_zone));
        }
        Some(Quiet { hours, weekends: self.weekends, zone: zone? })
    }
}

impl Quiet {
    /// When the quiet that holds at an instant ends; `None` when none does.
    pub fn until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut at = now;
        // A night and a weekend may follow each other a few times, not for ever.
        for _ in 0..8 {
            let local = at.with_timezone(&self.zone).naive_local();
            let Some(end) = self.end(local).and_then(|end| resolve(end, self.zone)) else { break };
            if end <= at {
                break;
            }
            at = end;
        }
        Some(at).filter(|at| *at > now)
    }

    fn end(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let midnight = |days| {
            let day = local.date().checked_add_days(Days::new(days))?;
            Some(day.and_time(NaiveTime::MIN))
        };
        match local.weekday() {
            Weekday::Sat if self.weekends => return midnight(2),
            Weekday::Sun if self.weekends => return midnight(1),
            _ => {}
        }
        let (from, to) = self.hours?;
        let time = local.time();
        let ends_on = |days| Some(midnight(days)?.date().and_time(to));
        if from < to {
            (time >= from && time < to).then(|| ends_on(0)).flatten()
        } else if time >= from {
            ends_on(1)
        } else if time < to {
            ends_on(0)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::timestamp::parse;

    fn quiet(from: &str, to: &str, weekends: bool, zone: &str) -> Quiet {
        let hours = QuietHours {
            from: from.parse().ok(),
            to: to.parse().ok(),
            weekends,
            time_zone: zone.to_owned(),
        };
        let mut found = Violations::new();
        let quiet = hours.check(&mut found).unwrap();
        assert!(found.is_empty(), "{found}");
        quiet
    }

    fn until(quiet: &Quiet, now: &str) -> Option<DateTime<Utc>> {
        quiet.until(parse(now).unwrap())
    }

    #[test]
    fn a_night_ends_in_the_morning_of_its_zone() {
        let berlin = quiet("22:00", "07:00", false, "Europe/Berlin");
        assert_eq!(until(&berlin, "2026-03-03T21:30:00Z"), parse("2026-03-04T06:00:00Z").ok());
        assert_eq!(until(&berlin, "2026-03-04T05:59:00Z"), parse("2026-03-04T06:00:00Z").ok());
        assert_eq!(until(&berlin, "2026-03-04T06:00:00Z"), None);
        assert_eq!(until(&berlin, "2026-03-04T20:59:00Z"), None);
    }

    #[test]
    fn a_night_before_a_weekend_ends_on_monday_morning() {
        // 2026-03-06 is a Friday; the night of Sunday goes on until Monday 07:00.
        let both = quiet("22:00", "07:00", true, "UTC");
        assert_eq!(until(&both, "2026-03-06T22:30:00Z"), parse("2026-03-09T07:00:00Z").ok());
        assert_eq!(until(&both, "2026-03-07T12:00:00Z"), parse("2026-03-09T07:00:00Z").ok());
        let weekends = quiet("", "", true, "UTC");
        assert_eq!(until(&weekends, "2026-03-08T12:00:00Z"), parse("2026-03-09").ok());
        assert_eq!(until(&weekends, "2026-03-09T00:00:00Z"), None);
    }

    #[test]
    fn hours_that_are_none_are_refused() {
        let problems = |hours: QuietHours| {
            let mut found = Violations::new();
            hours.check(&mut found);
            found.into_iter().map(|violation| violation.field).collect::<Vec<_>>()
        };
        assert_eq!(problems(QuietHours::default()), ["quiet"]);
        let from = "22:00".parse().ok();
        let half = QuietHours { from, time_zone: "Nowhere".to_owned(), ..QuietHours::default() };
        assert_eq!(problems(half), ["quiet.to", "quiet.time_zone"]);
        let same = QuietHours { from, to: from, ..QuietHours::default() };
        assert_eq!(problems(same), ["quiet.to"]);
        for bad in ["", "24:00", "7:00", "22", "22:00:00"] {
            assert!(bad.parse::<TimeOfDay>().is_err(), "{bad}");
        }
    }

    proptest! {
        /// In every zone: the end of a quiet is later than now, within four days,
        /// and not quiet itself.
        #[test]
        fn a_quiet_ends_and_is_over_then(
            zone in prop::sample::select(chrono_tz::TZ_VARIANTS.as_slice()),
            now in 0_i64..2_145_916_800,
            (from, to) in (0_u32..1_440, 0_u32..1_440).prop_filter("two times", |(a, b)| a != b),
            weekends: bool,
        ) {
            let time = |minutes: u32| {
                NaiveTime::from_hms_opt(minutes / 60, minutes % 60, 0).unwrap()
            };
            let quiet = Quiet { hours: Some((time(from), time(to))), weekends, zone };
            let now = DateTime::from_timestamp(now, 0).unwrap();
            if let Some(end) = quiet.until(now) {
                prop_assert!(end > now);
                prop_assert!(end - now < chrono::TimeDelta::days(5), "{} {} {}", zone, now, end);
                prop_assert_eq!(quiet.until(end), None, "{} {} {}", zone, now, end);
            }
        }
    }
}
