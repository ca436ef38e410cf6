//! Weeks, medians and sentences of reports.

use chrono::{Datelike as _, Days, NaiveDate, NaiveTime};
use chrono_tz::Tz;

use crate::kpi::{Direction, Status, Window, resolve};

/// A week from Monday to Sunday.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Week {
    monday: NaiveDate,
}

impl Week {
    /// The week that a day belongs to; `None` at the end of the calendar.
    pub fn of(day: NaiveDate) -> Option<Self> {
        let since_monday = u64::from(day.weekday().num_days_from_monday());
        day.checked_sub_days(Days::new(since_monday)).map(|monday| Self { monday })
    }

    /// Its first day.
    pub fn monday(self) -> NaiveDate {
        self.monday
    }

    /// The week before; `None` at the end of the calendar.
    pub fn before(self) -> Option<Self> {
        self.monday.checked_sub_days(Days::new(7)).map(|monday| Self { monday })
    }

    /// Its first instant and its end in a zone; `None` at the end of the calendar.
    pub fn window(self, zone: Tz) -> Option<Window> {
        let midnight = |day: NaiveDate| resolve(day.and_time(NaiveTime::MIN), zone);
        let next = self.monday.checked_add_days(Days::new(7))?;
        Some(Window { start: midnight(self.monday)?, end: midnight(next)? })
    }
}

/// The median of values that occur so often: the mean of the two middle ones of an
/// even number.
pub fn weighted_median(values: &[(f64, u64)]) -> Option<f64> {
    let mut sorted: Vec<_> = values.iter().copied().filter(|(_, often)| *often > 0).collect();
    sorted.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let total: u64 = sorted.iter().map(|(_, often)| often).sum();
    let at = |rank: u64| {
        let mut seen = 0;
        sorted.iter().find_map(|(value, often)| {
            seen += often;
            (seen > rank).then_some(*value)
        })
    };
    let lower = at(total.checked_sub(1)? / 2)?;
    Some(f64::midpoint(lower, at(total / 2)?))
}

/// A number in a sentence: about four significant digits, thousands apart.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1_000.0 {
        let digits = format!("{:.0}", size.round());
        let mut text = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        return if value < 0.0 { format!("-{text}") } else { text };
    }
    if value == value.trunc() {
        return format!("{value:.0}");
    }
    let digits = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What moved, in one sentence: `Activation rose by 20 %, from 0.2 to 0.24: better,
/// and on track.`
pub fn movement(
    title: &str,
    unit: &str,
    before: Option<f64>,
    after: Option<f64>,
    direction: Option<Direction>,
    status: Option<Status>,
) -> String {
    let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
    let standing = status.map(|status| format!(" It {}.", standing(status))).unwrap_or_default();
    match (before, after) {
        (_, None) => {
            format!("{title} has no value: there is nothing to compute it from.{standing}")
        }
        (None, Some(after)) => {
            format!(
                "{title} is {}{unit}; there is nothing to compare it with.{standing}",
                number(after)
            )
        }
        (Some(before), Some(after)) if before == after => {
            format!("{title} did not move: it is {}{unit}.{standing}", number(after))
        }
        (Some(before), Some(after)) => {
            let moved = if after > before { "rose" } else { "fell" };
            let by = if before == 0.0 {
                String::new()
            } else {
                format!(" by {} %", number(percent(before, after)))
            };
            let judged = match direction.map(|direction| direction.gain(after, before) > 0.0) {
                Some(true) => ", which is better",
                Some(false) => ", which is worse",
                None => "",
            };
            format!(
                "{title} {moved}{by}, from {} to {}{unit}{judged}.{standing}",
                number(before),
                number(after)
            )
        }
    }
}

/// The size of a relative change in percent, to one decimal.
fn percent(before: f64, after: f64) -> f64 {
    ((after - before).abs() / before.abs() * 1_000.0).round() / 10.0
}

/// How a KPI stands, after "it".
fn standing(status: Status) -> &'static str {
    match status {
        Status::NoData => "cannot be judged",
        Status::Achieved => "has reached its target",
        Status::OnTrack => "is on track to its target",
        Status::AtRisk => "is at risk of missing its target",
        Status::OffTrack => "is off track",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::timestamp::parse;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn a_week_is_civil() {
        // The clocks go forward on Sunday 2026-03-29 in Berlin: that week has 167 hours.
        let week = Week::of(day("2026-03-29")).unwrap();
        assert_eq!(week.monday(), day("2026-03-23"));
        assert_eq!(Week::of(day("2026-03-23")), Some(week));
        let window = week.window(Tz::Europe__Berlin).unwrap();
        assert_eq!(window.start, parse("2026-03-22T23:00:00Z").unwrap());
        assert_eq!(window.length(), chrono::TimeDelta::hours(167));
        assert_eq!(week.before().unwrap().monday(), day("2026-03-16"));
    }

    #[test]
    fn a_median_counts_how_often_a_value_occurs() {
        assert_eq!(weighted_median(&[]), None);
        assert_eq!(weighted_median(&[(3.0, 0)]), None);
        assert_eq!(weighted_median(&[(9.0, 1), (1.0, 3)]), Some(1.0));
        assert_eq!(weighted_median(&[(9.0, 2), (1.0, 2)]), Some(5.0));
        assert_eq!(weighted_median(&[(1.0, 1), (2.0, 1), (10.0, 1)]), Some(2.0));
    }

    #[test]
    fn a_sentence_says_what_moved_and_how_it_stands() {
        let say = |before, after, status| {
            movement("Activation", "%", before, after, Some(Direction::Increase), status)
        };
        assert_eq!(
            say(Some(0.2), Some(0.24), Some(Status::OnTrack)),
            "Activation rose by 20 %, from 0.2 to 0.24 %, which is better. It is on track to its \
             target."
        );
        assert_eq!(
            say(Some(4.0), Some(3.0), None),
            "Activation fell by 25 %, from 4 to 3 %, which is worse."
        );
        assert_eq!(say(Some(3.0), Some(3.0), None), "Activation did not move: it is 3 %.");
        assert!(say(None, Some(3.0), None).contains("nothing to compare it with"));
        assert!(say(Some(3.0), None, None).contains("has no value"));
    }

    proptest! {
        #[test]
        fn every_day_belongs_to_one_week(days in 0_i64..40_000) {
            let day = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap()
                + chrono::TimeDelta::days(days);
            let week = Week::of(day).unwrap();
            prop_assert!(week.monday() <= day && day < week.monday() + Days::new(7));
        }
    }
}
