//! How a KPI stands, and what to do next.

use chrono::{DateTime, Utc};

use super::{Charter, Direction, Thresholds};
use crate::timestamp;

/// Without thresholds, a KPI is off track when it is worse than its baseline by
/// more than this share of the way from baseline to target. Below that it may
/// be noise around a baseline that did not move.
const OFF_TRACK_SHARE: f64 = 0.05;

/// How a KPI stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Status {
    /// No value could be computed.
    NoData,
    /// At or beyond the target.
    Achieved,
    /// Not beyond a threshold; without thresholds, better than the baseline.
    OnTrack,
    /// Beyond the first threshold; without thresholds, not better than the
    /// baseline.
    AtRisk,
    /// Beyond the second threshold; without thresholds, worse than the baseline
    /// by more than 5 % of the way from baseline to target.
    OffTrack,
}

/// State of the sources behind a value.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Freshness {
    /// Events arrived within the last day.
    Fresh,
    /// A source is breached, or no event arrived for more than a day: inform, but
    /// do not decide.
    Stale,
    /// The log is empty.
    Empty,
}

/// How a guardrail stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GuardrailStanding<'a> {
    /// Name of the metric.
    pub metric: &'a str,
    /// Whether it got worse by more than its margin; `None` without data.
    pub breached: Option<bool>,
}

/// Judges a value against its charter.
///
/// The target decides first: at or beyond it, the KPI is achieved, whatever the
/// thresholds. Then the charter's thresholds, or the ones derived from baseline
/// and target.
pub fn status(value: Option<f64>, charter: &Charter) -> Status {
    let Some(value) = value.filter(|value| value.is_finite()) else { return Status::NoData };
    let gain = |reference: f64| charter.direction.gain(value, reference);
    if gain(charter.target) >= 0.0 {
        return Status::Achieved;
    }
    if let Some(Thresholds { at_risk, off_track }) = charter.thresholds {
        return if gain(off_track) < 0.0 {
            Status::OffTrack
        } else if gain(at_risk) < 0.0 {
            Status::AtRisk
        } else {
            Status::OnTrack
        };
    }
    let way = (charter.target - charter.baseline).abs();
    let gained = gain(charter.baseline);
    if gained > 0.0 {
        Status::OnTrack
    } else if gained < -OFF_TRACK_SHARE * way {
        Status::OffTrack
    } else {
        Status::AtRisk
    }
}

/// Whether a guardrail got worse by more than its margin, relative to its
/// baseline. From a baseline of zero any worsening is a breach, because no
/// share of nothing can be tolerated. `None` when either value is missing.
pub fn breached(
    value: Option<f64>,
    baseline: Option<f64>,
    direction: Direction,
    margin: f64,
) -> Option<bool> {
    let (value, baseline) = (value?, baseline?);
    let worsening = -direction.gain(value, baseline);
    Some(worsening > margin * baseline.abs())
}

/// Says in one sentence what to do next, and who.
///
/// Trust comes first (no number may decide when the sources are silent), then
/// guardrails (a KPI that rises at their cost has not risen), then status.
pub fn next_step(
    status: Status,
    guardrails: &[GuardrailStanding<'_>],
    freshness: Freshness,
    value: Option<f64>,
    owner: &str,
    charter: &Charter,
) -> String {
    let broken: Vec<_> = guardrails
        .iter()
        .filter(|guardrail| guardrail.breached == Some(true))
        .map(|guardrail| guardrail.metric)
        .collect();
    match (freshness, status) {
        (Freshness::Empty, _) => format!("{owner} connects a source: the log holds no event yet."),
        (Freshness::Stale, _) => format!(
            "{owner} checks the sources before deciding anything: they do not deliver what they \
             should, or nothing for more than a day."
        ),
        _ if !broken.is_empty() => format!(
            "{owner} pauses what moves this KPI and investigates: {} got worse by more than the \
             margin.",
            broken.join(", ")
        ),
        (_, Status::NoData) => format!(
            "{owner} checks that the metric's events arrive: its window holds nothing to compute \
             a value from."
        ),
        (_, Status::Achieved) => format!(
            "{owner} scales what worked and sets the next target at the review on {}.",
            date(charter.review)
        ),
        (_, Status::OnTrack) => format!(
            "{owner} keeps going: {} of the way to the target due on {}.",
            progress(value, charter),
            date(charter.due)
        ),
        (_, Status::AtRisk) => format!(
            "{owner} adjusts a lever or starts an experiment: not enough has moved towards the \
             target due on {}.",
            date(charter.due)
        ),
        (_, Status::OffTrack) => format!(
            "{owner} investigates now and pauses what is bound to this KPI: it is moving away \
             from the target due on {}.",
            date(charter.due)
        ),
    }
}

fn date(time: DateTime<Utc>) -> String {
    timestamp::format(time).chars().take(10).collect()
}

/// Share of the way from baseline to target, in whole percent. It may be
/// negative where thresholds call a value below the baseline on track.
fn progress(value: Option<f64>, charter: &Charter) -> String {
    let way = charter.target - charter.baseline;
    match value {
        Some(value) => format!("{:.0} %", (value - charter.baseline) / way * 100.0),
        None => "an unknown part".to_owned(),
    }
}
