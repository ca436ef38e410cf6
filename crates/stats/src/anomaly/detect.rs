//! Seasonal level by medians, spread by the median absolute deviation.

use serde::{Deserialize, Serialize};

/// The factor that makes the median absolute deviation of a normal sample its standard deviation (Hampel 1974).
const MAD_TO_SIGMA: f64 = 1.482_602_218_505_602;

/// Which way a point must stray.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Either.
    #[default]
    Both,
    /// Above what was expected.
    Up,
    /// Below what was expected.
    Down,
}

/// One point of a series in equal steps of time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The value; absent where there is none.
    pub value: Option<f64>,
    /// The season it belongs to, such as the weekday or the hour of the week; points of the same season are expected
    /// to be alike. Given rather than counted, because a day has 23 or 25 hours twice a year.
    pub season: u32,
}

/// What counts as an anomaly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Points before the one that is judged.
    pub history: usize,
    /// Fewest known points among them; with fewer nothing is judged.
    pub minimum_history: usize,
    /// Fewest known points of the same season among them.
    pub minimum_season: usize,
    /// Newest points that say where the level is now; at least one round of seasons, or each season would pull it.
    pub level: usize,
    /// Robust standard deviations beyond which a point is an anomaly: 3.5 by Iglewicz & Hoaglin (1993), "How to Detect
    /// and Handle Outliers".
    pub threshold: f64,
    /// Deviations smaller than this share of what was expected are no anomaly, however steady the past was.
    pub minimum_change: f64,
    /// Which way.
    pub direction: Direction,
}

/// What the past of a point leads to expect.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The expected value.
    pub expected: f64,
    /// Below this it would be an anomaly.
    pub low: f64,
    /// Above this it would be an anomaly.
    pub high: f64,
    /// Robust standard deviation of the past from what would have been expected of it.
    pub spread: f64,
    /// Deviation in robust standard deviations; absent for a past that did not vary.
    pub score: Option<f64>,
    /// Whether it is one.
    pub anomaly: bool,
}

/// Settings that make no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name} is {value}, but must be {range}")]
pub struct AnomalyError {
    /// Which setting or value.
    pub name: &'static str,
    /// What it is.
    pub value: f64,
    /// What it may be.
    pub range: &'static str,
}

impl Settings {
    fn check(&self) -> Result<(), AnomalyError> {
        let wrong = |name, value, range| Err(AnomalyError { name, value, range });
        if self.history == 0 {
            return wrong("history", 0.0, "at least 1");
        }
        if self.level == 0 || self.level > self.history {
            return wrong("level", self.level as f64, "at least 1 and at most the history");
        }
        if !(self.threshold > 0.0 && self.threshold.is_finite()) {
            return wrong("threshold", self.threshold, "greater than 0");
        }
        if !(self.minimum_change >= 0.0 && self.minimum_change.is_finite()) {
            return wrong("minimum_change", self.minimum_change, "at least 0");
        }
        Ok(())
    }
}

/// Judges every point by the points before it; `None` where too little is known, or the point has no value.
///
/// The decomposition is that of classical seasonal adjustment with every mean replaced by a median (the robust idea of
/// Cleveland, Cleveland, McRae & Terpenning 1990, "STL"), so that up to half of the past may be wrong without moving
/// it: level = median of the history; effect of a season = median deviation of its points from the level; level now =
/// median of the newest points less their seasons; spread = MAD of what is left, of which a constant half makes it
/// fall back to the mean absolute deviation (Iglewicz & Hoaglin 1993).
///
/// # Errors
/// [`AnomalyError`] for settings that make no sense or a value that is not finite.
pub fn detect(points: &[Point], settings: &Settings) -> Result<Vec<Option<Judged>>, AnomalyError> {
    settings.check()?;
    if let Some(value) = points.iter().filter_map(|point| point.value).find(|v| !v.is_finite()) {
        return Err(AnomalyError { name: "value", value, range: "finite" });
    }
    let mut room = Room::default();
    Ok((0..points.len()).map(|at| judge(points, at, settings, &mut room)).collect())
}

/// Room for medians.
#[derive(Default)]
struct Room {
    values: Vec<f64>,
    effects: Vec<(u32, f64)>,
}

fn judge(points: &[Point], at: usize, settings: &Settings, room: &mut Room) -> Option<Judged> {
    let value = points[at].value?;
    let history = &points[at.saturating_sub(settings.history)..at];
    let known = || history.iter().filter_map(|point| Some((point.season, point.value?)));
    let same = known().filter(|(season, _)| *season == points[at].season).count();
    if known().count() < settings.minimum_history.max(1) || same < settings.minimum_season {
        return None;
    }
    let Room { values, effects } = room;
    values.clear();
    values.extend(known().map(|(_, value)| value));
    let overall = median(values)?;

    // Median deviation of each season from the overall level.
    effects.clear();
    effects.extend(known().map(|(season, value)| (season, value - overall)));
    effects.sort_by(|left, right| left.0.cmp(&right.0).then(left.1.total_cmp(&right.1)));
    let of_seasons: Vec<(u32, f64)> = effects
        .chunk_by(|left, right| left.0 == right.0)
        .map(|season| (season[0].0, middle(season.len(), |at| season[at].1)))
        .collect();
    let effect = |season: u32| {
        of_seasons
            .binary_search_by_key(&season, |(season, _)| *season)
            .map_or(0.0, |at| of_seasons[at].1)
    };

    values.clear();
    let newest = &history[history.len().saturating_sub(settings.level)..];
    values.extend(newest.iter().filter_map(|point| Some(point.value? - effect(point.season))));
    let level = median(values).unwrap_or(overall);
    let expected = level + effect(points[at].season);

    values.clear();
    values.extend(known().map(|(season, value)| value - overall - effect(season)));
    let centre = median(values).unwrap_or(0.0);
    values.iter_mut().for_each(|value| *value = (*value - centre).abs());
    let spread = MAD_TO_SIGMA * median(values).unwrap_or(0.0);
    let spread = if spread > 0.0 {
        spread
    } else {
        // 1.2533 = sqrt(pi / 2) makes the mean absolute deviation of a normal sample its standard deviation.
        1.253_314_137_315_5 * values.iter().sum::<f64>() / values.len() as f64
    };
    let width =
        (settings.threshold * spread).max(settings.minimum_change * expected.abs()).max(0.0);
    let (low, high) = (expected - width, expected + width);
    let anomaly = match settings.direction {
        Direction::Both => value < low || value > high,
        Direction::Up => value > high,
        Direction::Down => value < low,
    };
    let score = (spread > 0.0).then(|| (value - expected) / spread);
    Some(Judged { expected, low, high, spread, score, anomaly })
}

/// The median; sorts the values.
fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    values.sort_by(f64::total_cmp);
    Some(middle(values.len(), |at| values[at]))
}

fn middle(len: usize, value: impl Fn(usize) -> f64) -> f64 {
    if len % 2 == 1 { value(len / 2) } else { 0.5 * (value(len / 2 - 1) + value(len / 2)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEKLY: Settings = Settings {
        history: 56,
        minimum_history: 28,
        minimum_season: 3,
        level: 7,
        threshold: 3.5,
        minimum_change: 0.0,
        direction: Direction::Both,
    };

    fn days(value: impl Fn(usize) -> f64, days: usize) -> Vec<Point> {
        (0..days).map(|day| Point { value: Some(value(day)), season: (day % 7) as u32 }).collect()
    }

    /// Weekends at half, a noise of at most 5 that does not repeat by weeks.
    fn week(day: usize) -> f64 {
        let base = if day % 7 > 4 { 50.0 } else { 100.0 };
        base + ((day * 4) % 11) as f64 - 5.0
    }

    #[test]
    fn a_weekend_is_no_anomaly_and_a_weekday_like_one_is() {
        let mut points = days(week, 90);
        points[86].value = Some(50.0);
        assert_eq!(points[86].season, 2);
        let judged = detect(&points, &WEEKLY).expect("sound");
        let raised: Vec<usize> =
            (0..90).filter(|at| judged[*at].is_some_and(|judged| judged.anomaly)).collect();
        assert_eq!(raised, [86]);
        assert!(judged[27].is_none() && judged[28].is_some());
    }

    #[test]
    fn a_point_is_judged_by_its_past_alone() {
        let points = days(week, 90);
        let mut other = points.clone();
        other[89].value = Some(1e6);
        let (one, two) = (detect(&points, &WEEKLY), detect(&other, &WEEKLY));
        assert_eq!(one.expect("sound")[..89], two.expect("sound")[..89]);
    }

    #[test]
    fn a_new_level_is_taken_on_within_half_a_round() {
        let shifted = |day| week(day) + if day < 70 { 0.0 } else { 200.0 };
        let judged = detect(&days(shifted, 100), &WEEKLY).expect("sound");
        assert!((70..73).all(|at| judged[at].is_some_and(|judged| judged.anomaly)));
        assert!((75..100).all(|at| judged[at].is_some_and(|judged| !judged.anomaly)));
    }

    #[test]
    fn a_past_that_did_not_vary_has_no_score() {
        let mut points = days(|_| 5.0, 60);
        points[59].value = Some(6.0);
        let judged = detect(&points, &WEEKLY).expect("sound")[59].expect("judged");
        assert_eq!((judged.score, judged.anomaly), (None, true));
        let tolerant = Settings { minimum_change: 0.25, ..WEEKLY };
        assert!(!detect(&points, &tolerant).expect("sound")[59].expect("judged").anomaly);
    }

    #[test]
    fn the_direction_that_was_not_asked_for_is_silent() {
        let mut points = days(week, 60);
        points[59].value = Some(0.0);
        let raised = |direction| {
            let settings = Settings { direction, ..WEEKLY };
            detect(&points, &settings).expect("sound")[59].expect("judged").anomaly
        };
        assert!(raised(Direction::Down) && raised(Direction::Both) && !raised(Direction::Up));
    }
}
