//! Which stretches of time are judged.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use northstar_domain::kpi::{Window, evaluation_window};
use northstar_domain::metric::Definition;
use northstar_domain::threshold::Grain;
use northstar_engine as engine;
use northstar_engine::calendar::Buckets;

use crate::plan::{self, instant};
use crate::{Error, Result};

/// Civil buckets, or windows that end when they are judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    /// Buckets of a grain, judged once nothing but late events can change them.
    Buckets {
        /// Their length.
        grain: Grain,
        /// How long after its end a bucket may still change.
        ripens: TimeDelta,
    },
    /// Windows of so many civil days, judged as the scorecard does: as they stood
    /// at their end.
    Windows {
        /// Their length.
        days: u32,
        /// From the end of one to the end of the next.
        every: TimeDelta,
    },
}

/// A stretch of time, and what is known of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Period {
    /// The stretch.
    pub(super) window: Window,
    /// Events from here on are not known.
    pub(super) as_of: DateTime<Utc>,
}

/// A stretch and the one of the same length before it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Pair {
    pub(super) period: Period,
    pub(super) before: Period,
}

/// How long after the end of a bucket its value may still change because of what
/// its subjects do later: as long as for any metric it is computed from. Of kinds
/// that are not known here it is not asked: what is not complete is not judged
/// anyway.
pub(super) fn ripens(metrics: &plan::Metrics) -> TimeDelta {
    let of = |definition: &Definition| match definition {
        Definition::Funnel { window, .. }
        | Definition::TimeToEvent { window, .. }
        | Definition::Conversion { window, .. } => window.unwrap_or_default(),
        Definition::Retention { day, .. } => TimeDelta::days(i64::from(*day) + 1),
        _ => TimeDelta::zero(),
    };
    let definitions = metrics.values().filter_map(|metric| metric.definition.as_ref());
    definitions.map(of).max().unwrap_or_default()
}

/// The last `count` stretches at an instant, oldest first.
pub(super) fn periods(
    shape: Shape,
    zone: Tz,
    settle: TimeDelta,
    count: u32,
    at: DateTime<Utc>,
) -> Result<Vec<Pair>> {
    match shape {
        Shape::Buckets { grain, ripens } => {
            let end = at - settle - ripens;
            let found = buckets(grain, zone, count as usize + 1, end)?;
            let period = |window| Period { window, as_of: at };
            let pairs = found
                .windows(2)
                .map(|pair| Pair { before: period(pair[0]), period: period(pair[1]) });
            Ok(pairs.collect())
        }
        Shape::Windows { days, every } => (0..count)
            .rev()
            .map(|back| {
                let ends = |end| {
                    let window = evaluation_window(end, days, zone)
                        .map_err(|error| Error::field("evaluation_time", error.to_string()))?;
                    Ok::<_, Error>(Period { window, as_of: end })
                };
                let back = i32::try_from(back).unwrap_or(i32::MAX);
                let period = ends(at - settle - every * back)?;
                Ok(Pair { before: ends(period.window.start)?, period })
            })
            .collect(),
    }
}

/// The last `count` whole buckets up to an instant, oldest first.
fn buckets(grain: Grain, zone: Tz, count: usize, end: DateTime<Utc>) -> Result<Vec<Window>> {
    let longest = match grain {
        Grain::Hour => TimeDelta::hours(2),
        Grain::Day => TimeDelta::days(2),
        Grain::Week => TimeDelta::days(8),
        Grain::Month => TimeDelta::days(32),
    };
    let grain = engine_grain(grain);
    let span = longest * i32::try_from(count + 2).unwrap_or(i32::MAX);
    let covered = Buckets::covering(instant(end - span), instant(end), zone, grain)?;
    let time = |micros: i64| DateTime::from_timestamp_micros(micros).unwrap_or_default();
    let whole: Vec<_> = (0..covered.len())
        .filter(|bucket| covered.end(*bucket) <= instant(end))
        .map(|bucket| Window { start: time(covered.start(bucket)), end: time(covered.end(bucket)) })
        .collect();
    Ok(whole[whole.len().saturating_sub(count)..].to_vec())
}

/// A grain for the engine.
pub(super) fn engine_grain(grain: Grain) -> engine::Grain {
    match grain {
        Grain::Hour => engine::Grain::Hour,
        Grain::Day => engine::Grain::Day,
        Grain::Week => engine::Grain::Week,
        Grain::Month => engine::Grain::Month,
    }
}

/// The shape that a definition and the rules ask for.
pub(super) fn shape(
    grain: Option<Grain>,
    window_days: u32,
    every: TimeDelta,
    metrics: &plan::Metrics,
) -> Shape {
    match grain {
        Some(grain) => Shape::Buckets { grain, ripens: ripens(metrics) },
        None => Shape::Windows { days: window_days, every },
    }
}

#[cfg(test)]
mod tests {
    use northstar_domain::timestamp::parse;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        parse(text).unwrap()
    }

    fn starts(shape: Shape, zone: Tz, settle: TimeDelta, count: u32, now: &str) -> Vec<String> {
        periods(shape, zone, settle, count, at(now))
            .unwrap()
            .iter()
            .map(|pair| {
                assert_eq!(pair.before.window.end, pair.period.window.start);
                northstar_domain::timestamp::format(pair.period.window.start)
            })
            .collect()
    }

    #[test]
    fn only_whole_buckets_that_have_settled_are_judged() {
        let days = Shape::Buckets { grain: Grain::Day, ripens: TimeDelta::zero() };
        let settle = TimeDelta::hours(2);
        let last = |now| starts(days, Tz::UTC, settle, 2, now);
        assert_eq!(last("2026-03-05T01:59:59Z"), ["2026-03-02", "2026-03-03"]);
        assert_eq!(last("2026-03-05T02:00:00Z"), ["2026-03-03", "2026-03-04"]);
        // Whoever entered has a week to convert.
        let funnel = Shape::Buckets { grain: Grain::Day, ripens: TimeDelta::days(7) };
        assert_eq!(starts(funnel, Tz::UTC, settle, 1, "2026-03-12T02:00:00Z"), ["2026-03-04"]);
    }

    #[test]
    fn buckets_are_civil() {
        let days = Shape::Buckets { grain: Grain::Day, ripens: TimeDelta::zero() };
        // The clocks go forward on 2026-03-29: that day has 23 hours.
        let zone = Tz::Europe__Berlin;
        let now = "2026-03-29T22:00:00Z";
        assert_eq!(starts(days, zone, TimeDelta::zero(), 1, now), ["2026-03-28T23:00:00Z"]);
        let months = Shape::Buckets { grain: Grain::Month, ripens: TimeDelta::zero() };
        let found = starts(months, Tz::UTC, TimeDelta::zero(), 3, "2026-05-31T00:00:00Z");
        assert_eq!(found, ["2026-02-01", "2026-03-01", "2026-04-01"]);
    }

    #[test]
    fn windows_end_when_they_are_judged() {
        let week = Shape::Windows { days: 7, every: TimeDelta::hours(6) };
        let found = starts(week, Tz::UTC, TimeDelta::zero(), 2, "2026-03-10T12:00:00Z");
        assert_eq!(found, ["2026-03-03T06:00:00Z", "2026-03-03T12:00:00Z"]);
    }
}
