//! What reports compute from counts, and how they say it.

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

/// How values of a dimension make up a number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Composition {
    /// The number is the sum of its parts.
    Sum,
    /// The number is what is above the line of all parts over what is below it.
    Rate,
}

/// One value of a dimension, before and after.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The value; `None` where there is none.
    pub name: Option<String>,
    /// Before.
    pub before: Amount,
    /// After.
    pub after: Amount,
}

/// What a part holds. Of a sum, `below` is not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Amount {
    /// The amount; of a rate, what is above the line.
    pub above: f64,
    /// Of a rate, what is below the line.
    pub below: f64,
}

/// How much of a change a part makes up.
#[derive(Clone, Debug, PartialEq)]
pub struct Contribution {
    /// The value of the dimension.
    pub name: Option<String>,
    /// How much of the change it makes up, in the unit of the number. Over all
    /// parts these add up to the change.
    pub contribution: f64,
    /// How much more than its size would explain.
    pub surprise: f64,
    /// Its own number before.
    pub before: Option<f64>,
    /// Its own number after.
    pub after: Option<f64>,
}

/// Splits the change of a number between its parts. Of a rate, a part contributes
/// what it adds to the whole: its share of the subjects times its own rate. So a
/// part that grew and one that got better both count, and nothing is left over.
pub fn contributions(composition: Composition, parts: &[Part]) -> Vec<Contribution> {
    let total = |of: fn(&Part) -> f64| parts.iter().map(of).sum::<f64>();
    let below_before = total(|part| part.before.below);
    let below_after = total(|part| part.after.below);
    let over = |above: f64, below: f64| if below == 0.0 { 0.0 } else { above / below };
    let adds = |amount: Amount, below: f64| match composition {
        Composition::Sum => amount.above,
        Composition::Rate => over(amount.above, below),
    };
    let own = |amount: Amount| match composition {
        Composition::Sum => Some(amount.above),
        Composition::Rate if amount.below == 0.0 => None,
        Composition::Rate => Some(amount.above / amount.below),
    };
    let added: Vec<_> = parts
        .iter()
        .map(|part| (adds(part.before, below_before), adds(part.after, below_after)))
        .collect();
    let whole: f64 = added.iter().map(|(before, _)| before).sum();
    let change: f64 = added.iter().map(|(before, after)| after - before).sum();
    parts
        .iter()
        .zip(added)
        .map(|(part, (before, after))| Contribution {
            name: part.name.clone(),
            contribution: after - before,
            surprise: after - before - change * over(before, whole),
            before: own(part.before),
            after: own(part.after),
        })
        .collect()
}

/// How much a dimension explains: the part of the change that sits elsewhere than
/// the sizes of its values would have it.
pub fn explains(contributions: &[Contribution]) -> f64 {
    contributions.iter().map(|part| part.surprise.abs()).sum::<f64>() / 2.0
}

/// A number for people: whole numbers with thousands apart, others with four
/// significant digits.
pub fn number(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e15 {
        let digits = format!("{:.0}", value.abs());
        let mut text = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        return if value < 0.0 { format!("-{text}") } else { text };
    }
    let digits = (3 - value.abs().log10().floor() as i32).clamp(0, 9) as usize;
    format!("{value:.digits$}")
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

    fn part(name: &str, before: (f64, f64), after: (f64, f64)) -> Part {
        let amount = |(above, below)| Amount { above, below };
        Part { name: Some(name.to_owned()), before: amount(before), after: amount(after) }
    }

    #[test]
    fn a_rate_changes_by_its_parts_and_by_their_mix() {
        // 30 of 100 before; 20 of 100 after: all of it in ios, whose rate halved.
        let parts =
            [part("ios", (20.0, 50.0), (10.0, 50.0)), part("web", (10.0, 50.0), (10.0, 50.0))];
        let found = contributions(Composition::Rate, &parts);
        assert!((found[0].contribution + 0.1).abs() < 1e-12);
        assert_eq!(found[1].contribution, 0.0);
        assert_eq!((found[0].before, found[0].after), (Some(0.4), Some(0.2)));
        assert!(explains(&found) > 0.03);
        // Everybody fell alike: the dimension explains nothing.
        let alike =
            [part("ios", (20.0, 50.0), (10.0, 50.0)), part("web", (10.0, 50.0), (5.0, 50.0))];
        assert!(explains(&contributions(Composition::Rate, &alike)) < 1e-12);
    }

    #[test]
    fn a_sentence_says_what_moved_and_how_it_stands() {
        let say = |before, after, status| {
            movement("Activation", "%", before, after, Some(Direction::Increase), status)
        };
        assert_eq!(
            say(Some(0.2), Some(0.24), Some(Status::OnTrack)),
            "Activation rose by 20 %, from 0.2000 to 0.2400 %, which is better. It is on track to \
             its target."
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
        /// Whatever the parts, what they contribute adds up to the change.
        #[test]
        fn contributions_add_up(
            amounts in prop::collection::vec(
                ((0_u32..100, 1_u32..200), (0_u32..100, 1_u32..200)), 1..20),
            rate: bool,
        ) {
            let float = |(above, below): (u32, u32)| (f64::from(above), f64::from(below));
            let parts: Vec<_> = amounts
                .iter()
                .map(|(before, after)| part("x", float(*before), float(*after)))
                .collect();
            let composition = if rate { Composition::Rate } else { Composition::Sum };
            let whole = |of: fn(&Part) -> Amount| {
                let above: f64 = parts.iter().map(|part| of(part).above).sum();
                let below: f64 = parts.iter().map(|part| of(part).below).sum();
                if rate { above / below } else { above }
            };
            let change = whole(|part| part.after) - whole(|part| part.before);
            let found = contributions(composition, &parts);
            let sum: f64 = found.iter().map(|part| part.contribution).sum();
            prop_assert!((sum - change).abs() < 1e-9, "{} {}", sum, change);
            // What one part has too much of, the others have too little of.
            let surprises: f64 = found.iter().map(|part| part.surprise).sum();
            let counted = found.iter().zip(&parts).any(|(_, part)| part.before.above > 0.0);
            prop_assert!(!counted || surprises.abs() < 1e-9);
        }

        #[test]
        fn every_day_belongs_to_one_week(days in 0_i64..40_000) {
            let day = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap()
                + chrono::TimeDelta::days(days);
            let week = Week::of(day).unwrap();
            prop_assert!(week.monday() <= day && day < week.monday() + Days::new(7));
        }
    }
}
