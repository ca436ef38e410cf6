//! KPIs: a metric plus its charter. A KPI without owner, baseline, target and
//! review date is only a diagnostic metric, and is refused.

mod status;
mod window;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{Violations, timestamp};

pub use status::{Freshness, GuardrailStanding, Status, breached, next_step, status};
pub(crate) use window::resolve;
pub use window::{Window, WindowOutOfRange, evaluation_window};

/// Longest window of a KPI, in days.
pub const MAX_WINDOW_DAYS: i32 = 3_660;
/// Most guardrails of a KPI.
pub const MAX_GUARDRAILS: usize = 20;
/// Most KPIs that one drives.
pub const MAX_DRIVEN: usize = 20;

/// A KPI, as written in its document. [`Kpi::charter`] reads the rules out of
/// it, when they are complete.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Kpi {
    /// Title for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Name of the metric it reads. Required.
    #[serde(default)]
    pub metric: String,
    /// Name of the pillar it serves. Required.
    #[serde(default)]
    pub pillar: String,
    /// Its place in the stack. Required.
    pub layer: Option<Layer>,
    /// Who answers for it. Required.
    #[serde(default)]
    pub owner: String,
    /// Unit, for example `%`, `users`, `USD`, `hours`. Required.
    #[serde(default)]
    pub unit: String,
    /// Which way is better. Required.
    pub direction: Option<Direction>,
    /// Where it started. Required.
    pub baseline: Option<Baseline>,
    /// Where it must go. Required.
    pub target: Option<Target>,
    /// What must not get worse meanwhile. At least one.
    #[serde(default)]
    pub guardrails: Vec<Guardrail>,
    /// When the charter is looked at again. Required.
    #[serde(default, with = "timestamp::option")]
    pub review_time: Option<DateTime<Utc>>,
    /// Length of the window that ends at the evaluation time, in civil days, 1
    /// to 3,660. Required.
    #[serde(default)]
    pub window_days: i32,
    /// IANA zone of its civil days; empty means UTC.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub time_zone: String,
    /// Where status turns; derived from baseline and target when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
    /// The lever of the pillar that it measures.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub lever: String,
    /// Names of the KPIs that it drives, at most 20; in no circle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drives: Vec<String>,
}

/// A KPI's place in the stack, from what counts to what runs.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// What the business wants.
    Outcome,
    /// What moves the outcome.
    Driver,
    /// Whether people use what moves the driver.
    Adoption,
    /// How well an automation itself runs.
    Efficiency,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// More is better.
    Increase,
    /// Less is better.
    Decrease,
}

impl Direction {
    /// How much better `value` is than `reference`; negative when worse.
    pub fn gain(self, value: f64, reference: f64) -> f64 {
        match self {
            Self::Increase => value - reference,
            Self::Decrease => reference - value,
        }
    }
}

/// The value before the work began.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The value.
    pub value: f64,
    /// Start of the window it was measured over, inclusive. Required.
    #[serde(default, with = "timestamp::option")]
    pub start_time: Option<DateTime<Utc>>,
    /// End of the window, exclusive. Required.
    #[serde(default, with = "timestamp::option")]
    pub end_time: Option<DateTime<Utc>>,
}

/// The value to reach.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The value.
    pub value: f64,
    /// By when. Required.
    #[serde(default, with = "timestamp::option")]
    pub due_time: Option<DateTime<Utc>>,
}

/// A metric that must not get worse.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Guardrail {
    /// Name of the metric. Required.
    #[serde(default)]
    pub metric: String,
    /// Which way is better for it. Required.
    pub direction: Option<Direction>,
    /// Largest tolerated relative worsening, 0 to 1, for example 0.02.
    #[serde(default)]
    pub margin: f64,
}

/// Where status turns.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// Beyond this, on the worse side, the KPI is at risk.
    pub at_risk: f64,
    /// Beyond this, on the worse side, the KPI is off track.
    pub off_track: f64,
}

/// The rules of a KPI whose charter is complete.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Charter {
    /// Its place in the stack.
    pub layer: Layer,
    /// Which way is better.
    pub direction: Direction,
    /// Value before the work began.
    pub baseline: f64,
    /// The window it was measured over.
    pub baseline_window: Window,
    /// Value to reach.
    pub target: f64,
    /// By when.
    pub due: DateTime<Utc>,
    /// When the charter is looked at again.
    pub review: DateTime<Utc>,
    /// Length of the evaluation window, in civil days.
    pub window_days: u32,
    /// Zone of the civil days.
    pub zone: Tz,
    /// Where status turns, when not derived.
    pub thresholds: Option<Thresholds>,
}

impl Kpi {
    /// Every field that breaks a rule; empty when the charter is complete.
    pub fn violations(&self) -> Violations {
        self.charter().err().unwrap_or_default()
    }

    /// The rules of the KPI.
    ///
    /// # Errors
    /// Every field that is missing or breaks a rule, all at once.
    pub fn charter(&self) -> Result<Charter, Violations> {
        let mut found = Violations::new();
        found.line("title", &self.title);
        for (field, line) in [
            ("metric", &self.metric),
            ("pillar", &self.pillar),
            ("owner", &self.owner),
            ("unit", &self.unit),
        ] {
            found.require_line(field, line);
        }
        found.line("lever", &self.lever);
        self.check_drives(&mut found);
        let layer = required(&mut found, "layer", self.layer);
        let direction = required(&mut found, "direction", self.direction);
        let baseline = self.check_baseline(&mut found);
        let target = self.check_target(&mut found);
        self.check_guardrails(&mut found);
        let review = required(&mut found, "review_time", self.review_time);
        let window_days = self.check_window_days(&mut found);
        let zone = read_zone(&self.time_zone);
        if zone.is_none() {
            found.push("time_zone", not_a_zone(&self.time_zone));
        }
        if let (Some(direction), Some((baseline, _)), Some((target, _))) =
            (direction, baseline, target)
        {
            self.check_course(&mut found, direction, baseline, target);
        }
        if let (
            Some(layer),
            Some(direction),
            Some((baseline, baseline_window)),
            Some((target, due)),
            Some(review),
            Some(window_days),
            Some(zone),
            true,
        ) = (layer, direction, baseline, target, review, window_days, zone, found.is_empty())
        {
            Ok(Charter {
                layer,
                direction,
                baseline,
                baseline_window,
                target,
                due,
                review,
                window_days,
                zone,
                thresholds: self.thresholds,
            })
        } else {
            Err(found)
        }
    }

    fn check_baseline(&self, found: &mut Violations) -> Option<(f64, Window)> {
        let baseline = required(found, "baseline", self.baseline)?;
        check_finite(found, "baseline.value", baseline.value);
        let start = required(found, "baseline.start_time", baseline.start_time);
        let end = required(found, "baseline.end_time", baseline.end_time);
        let window = Window { start: start?, end: end? };
        if window.start >= window.end {
            found.push("baseline.end_time", "must be later than start_time");
        }
        Some((baseline.value, window))
    }

    fn check_target(&self, found: &mut Violations) -> Option<(f64, DateTime<Utc>)> {
        let target = required(found, "target", self.target)?;
        check_finite(found, "target.value", target.value);
        let due = required(found, "target.due_time", target.due_time)?;
        let baseline_end = self.baseline.and_then(|baseline| baseline.end_time);
        if baseline_end.is_some_and(|end| due <= end) {
            found.push("target.due_time", "must be later than the end of the baseline's window");
        }
        Some((target.value, due))
    }

    fn check_guardrails(&self, found: &mut Violations) {
        if self.guardrails.is_empty() {
            found.push(
                "guardrails",
                "at least one is required: a metric that must not get worse meanwhile",
            );
        }
        if self.guardrails.len() > MAX_GUARDRAILS {
            found.push("guardrails", format!("at most {MAX_GUARDRAILS}"));
        }
        for (index, guardrail) in self.guardrails.iter().enumerate() {
            let path = format!("guardrails[{index}]");
            found.require_line(&format!("{path}.metric"), &guardrail.metric);
            required(found, &format!("{path}.direction"), guardrail.direction);
            if !(0.0..=1.0).contains(&guardrail.margin) {
                let problem = format!("must lie between 0 and 1, not {}", guardrail.margin);
                found.push(format!("{path}.margin"), problem);
            }
        }
    }

    fn check_drives(&self, found: &mut Violations) {
        if self.drives.len() > MAX_DRIVEN {
            found.push("drives", format!("at most {MAX_DRIVEN}"));
        }
        for (index, driven) in self.drives.iter().enumerate() {
            let field = format!("drives[{index}]");
            if self.drives[..index].contains(driven) {
                found.push(field, format!("{driven:?} is driven twice"));
            } else {
                found.require_line(&field, driven);
            }
        }
    }

    fn check_window_days(&self, found: &mut Violations) -> Option<u32> {
        if !(1..=MAX_WINDOW_DAYS).contains(&self.window_days) {
            let problem = format!("must lie between 1 and {MAX_WINDOW_DAYS}");
            found.push("window_days", problem);
        }
        u32::try_from(self.window_days).ok()
    }

    /// The target must lie on the better side of the baseline, and the
    /// thresholds in order before it.
    fn check_course(
        &self,
        found: &mut Violations,
        direction: Direction,
        baseline: f64,
        target: f64,
    ) {
        let worse_or_same = |value: f64, reference: f64| direction.gain(value, reference) <= 0.0;
        if worse_or_same(target, baseline) {
            found.push(
                "target.value",
                format!("must be better than the baseline {baseline} in the KPI's direction"),
            );
        }
        let Some(Thresholds { at_risk, off_track }) = self.thresholds else { return };
        check_finite(found, "thresholds.at_risk", at_risk);
        check_finite(found, "thresholds.off_track", off_track);
        if !worse_or_same(at_risk, target) {
            found.push(
                "thresholds.at_risk",
                "must not lie beyond the target: what is achieved is not at risk",
            );
        }
        if !worse_or_same(off_track, at_risk) {
            found.push(
                "thresholds.off_track",
                "must not be better than at_risk: off track is worse than at risk",
            );
        }
    }
}

/// Reads an IANA zone; empty is UTC.
pub fn read_zone(text: &str) -> Option<Tz> {
    if text.is_empty() { Some(Tz::UTC) } else { text.parse().ok() }
}

/// Says that a text is not a zone.
pub fn not_a_zone(text: &str) -> String {
    format!("{text:?} is not an IANA time zone: use a name like \"Europe/Berlin\" or \"UTC\"")
}

pub(crate) fn required<T>(found: &mut Violations, field: &str, value: Option<T>) -> Option<T> {
    if value.is_none() {
        found.push(field, "is required");
    }
    value
}

fn check_finite(found: &mut Violations, field: &str, value: f64) {
    if !value.is_finite() {
        found.push(field, "must be a finite number");
    }
}

#[cfg(test)]
mod tests;
