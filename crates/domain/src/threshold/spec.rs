//! The document of a threshold, and the rules read out of it.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::condition::{Condition, Versus};
use super::decision::Decision;
use super::quiet::{Quiet, QuietHours};
use crate::kpi::{MAX_WINDOW_DAYS, not_a_zone, read_zone, required};
use crate::{ResourceName, Violations, duration};

/// Most observations that may be asked to breach, and so that are made at once.
pub const MAX_OBSERVATIONS: u32 = 30;

/// Shortest and longest time between two evaluations.
const SHORTEST: TimeDelta = TimeDelta::minutes(1);
const LONGEST: TimeDelta = TimeDelta::days(31);
/// Longest settling time and cool-down.
const MAX_WAIT: TimeDelta = TimeDelta::days(366);

/// A threshold, as written in its document. [`Threshold::rules`] reads the rules
/// out of it, when they are complete.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Title for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Why it is there, and what whoever is asked should look at.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who answers for it. Required.
    #[serde(default)]
    pub owner: String,
    /// Name of the KPI it watches. This or `metric`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kpi: String,
    /// Name of the metric it watches. This or `kpi`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metric: String,
    /// Length of the civil buckets that are judged one by one. This or
    /// `window_days`; of a KPI, neither means its own window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grain: Option<Grain>,
    /// Length of the window that ends when it is judged, in civil days.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub window_days: i32,
    /// IANA zone of the buckets; empty means that of the KPI, and UTC of a metric.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub time_zone: String,
    /// Values of a dimension judged each by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breakdown: Option<Breakdown>,
    /// What it is judged by. Required.
    pub condition: Option<Condition>,
    /// How many breaches it takes; one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaches: Option<Breaches>,
    /// Fewest events or subjects that a value must rest on to be judged.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub minimum_sample: i64,
    /// How long after its end a bucket is left alone, because events come late.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub settle: Option<TimeDelta>,
    /// Time between two evaluations, a minute to 31 days. Required.
    #[serde(default, with = "duration::option")]
    pub every: Option<TimeDelta>,
    /// How long after a recovery nobody is asked again.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub cool_down: Option<TimeDelta>,
    /// When nobody is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<QuietHours>,
    /// What people are asked to decide. Required.
    pub decision: Option<Decision>,
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

/// Length of a civil bucket.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grain {
    /// Hours of the local clock.
    Hour,
    /// Calendar days.
    Day,
    /// Weeks from Monday.
    Week,
    /// Calendar months.
    Month,
}

/// Values of a dimension.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Breakdown {
    /// The dimension, as `QueryMetric` names it, for example `properties.plan`.
    pub by: String,
    /// The value that is judged; any value may breach when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// How many of the last observations must breach.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Breaches {
    /// How many, from 1.
    pub count: u32,
    /// Of how many; as many when absent, so that they are consecutive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u32>,
}

/// What a threshold watches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Subject {
    /// A KPI.
    Kpi(ResourceName),
    /// A metric.
    Metric(ResourceName),
}

/// The rules of a threshold that is complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// What it watches.
    pub subject: Subject,
    /// Length of the buckets; absent when windows are judged.
    pub grain: Option<Grain>,
    /// Length of the window; absent when buckets are judged, or when it is that
    /// of the KPI.
    pub window_days: Option<u32>,
    /// Zone, where the document names one.
    pub zone: Option<Tz>,
    /// Values of a dimension judged each by itself.
    pub breakdown: Option<Breakdown>,
    /// What it is judged by.
    pub condition: Condition,
    /// How many of the last `of` observations must breach.
    pub breaches: u32,
    /// How many observations are looked at, from 1 to [`MAX_OBSERVATIONS`].
    pub of: u32,
    /// Fewest events or subjects that a value must rest on.
    pub minimum_sample: u64,
    /// How long after its end a bucket is left alone.
    pub settle: TimeDelta,
    /// Time between two evaluations.
    pub every: TimeDelta,
    /// How long after a recovery nobody is asked again.
    pub cool_down: TimeDelta,
    /// When nobody is asked.
    pub quiet: Option<Quiet>,
    /// What people are asked to decide.
    pub decision: Decision,
}

impl Rules {
    /// The evaluation times are the multiples of `every` since 1970, so that every
    /// replica, and every replay, means the same ones: the last one up to an
    /// instant.
    pub fn slot(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let every = self.every.num_microseconds().unwrap_or(i64::MAX).max(1);
        now - TimeDelta::microseconds(now.timestamp_micros().rem_euclid(every))
    }

    /// The first evaluation time after an instant.
    pub fn next_slot(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.slot(now) + self.every
    }
}

impl Threshold {
    /// Every field that breaks a rule; empty when it is complete.
    pub fn violations(&self) -> Violations {
        self.rules().err().unwrap_or_default()
    }

    /// The rules of the threshold.
    ///
    /// # Errors
    /// Every field that is missing or breaks a rule, all at once.
    pub fn rules(&self) -> Result<Rules, Violations> {
        let mut found = Violations::new();
        found.line("title", &self.title);
        found.text("description", &self.description);
        found.require_line("owner", &self.owner);
        let subject = self.check_subject(&mut found);
        let window_days = self.check_period(&mut found);
        let zone = self.check_zone(&mut found);
        self.check_breakdown(&mut found);
        let condition = required(&mut found, "condition", self.condition);
        if let Some(condition) = &condition {
            condition.check(&mut found);
            let of_kpi = matches!(condition.versus(), Some(Versus::Baseline | Versus::Target));
            if of_kpi && self.kpi.is_empty() {
                found.push("condition.versus", "only a KPI has a baseline and a target");
            }
            if matches!(condition, Condition::Anomaly { .. }) && self.grain.is_none() {
                let problem = "is required by an anomaly: a bucket is judged by those before it";
                found.push("grain", problem);
            }
        }
        let (breaches, of) = self.check_breaches(&mut found);
        let minimum_sample = u64::try_from(self.minimum_sample);
        found.require(minimum_sample.is_ok(), "minimum_sample", "must not be negative");
        let every = required(&mut found, "every", self.every);
        found.require(
            every.is_none_or(|every| (SHORTEST..=LONGEST).contains(&every)),
            "every",
            "must lie between 1m and 31d",
        );
        for (field, wait) in [("settle", self.settle), ("cool_down", self.cool_down)] {
            let within = |wait: TimeDelta| (TimeDelta::zero()..=MAX_WAIT).contains(&wait);
            found.require(wait.is_none_or(within), field, "must lie between nothing and 366d");
        }
        let quiet = self.quiet.as_ref().and_then(|quiet| quiet.check(&mut found));
        let decision = required(&mut found, "decision", self.decision.clone());
        if let Some(decision) = &decision {
            decision.check(&mut found);
        }
        match (subject, condition, every, decision) {
            (Some(subject), Some(condition), Some(every), Some(decision)) if found.is_empty() => {
                Ok(Rules {
                    subject,
                    grain: self.grain,
                    window_days,
                    zone,
                    breakdown: self.breakdown.clone(),
                    condition,
                    breaches,
                    of,
                    minimum_sample: minimum_sample.unwrap_or_default(),
                    settle: self.settle.unwrap_or_default(),
                    every,
                    cool_down: self.cool_down.unwrap_or_default(),
                    quiet,
                    decision,
                })
            }
            _ => Err(found),
        }
    }

    fn check_subject(&self, found: &mut Violations) -> Option<Subject> {
        match (self.kpi.as_str(), self.metric.as_str()) {
            ("", "") => {
                found.push("kpi", "is required, unless metric is given");
                None
            }
            (kpi, "") => found.parse("kpi", kpi).map(Subject::Kpi),
            ("", metric) => found.parse("metric", metric).map(Subject::Metric),
            _ => {
                found.push("metric", "must be empty where kpi is given: a KPI has its metric");
                None
            }
        }
    }

    fn check_period(&self, found: &mut Violations) -> Option<u32> {
        let days = self.window_days;
        match self.grain {
            Some(_) => {
                found.require(days == 0, "window_days", "must be empty where grain is given")
            }
            None if days == 0 => found.require(
                !self.kpi.is_empty(),
                "grain",
                "is required for a metric, unless window_days is given",
            ),
            None => found.require(
                (1..=MAX_WINDOW_DAYS).contains(&days),
                "window_days",
                "must lie between 1 and 3660",
            ),
        }
        u32::try_from(days).ok().filter(|days| *days > 0)
    }

    fn check_zone(&self, found: &mut Violations) -> Option<Tz> {
        if self.time_zone.is_empty() {
            return None;
        }
        let zone = read_zone(&self.time_zone);
        if zone.is_none() {
            found.push("time_zone", not_a_zone(&self.time_zone));
        }
        zone
    }

    fn check_breakdown(&self, found: &mut Violations) {
        let Some(Breakdown { by, value }) = &self.breakdown else { return };
        found.require_line("breakdown.by", by);
        found.require(by != "properties.", "breakdown.by", "names no property");
        let problem = "must be a property, event.name, event.source or event.account_id";
        found.require(!by.starts_with("cohort."), "breakdown.by", problem);
        found.line("breakdown.value", value.as_deref().unwrap_or_default());
    }

    fn check_breaches(&self, found: &mut Violations) -> (u32, u32) {
        let Breaches { count, of } = self.breaches.unwrap_or(Breaches { count: 1, of: None });
        let of = of.unwrap_or(count);
        found.require(count >= 1, "breaches.count", "must be at least 1");
        found.require(
            (count..=MAX_OBSERVATIONS).contains(&of),
            "breaches.of",
            "must be at least count and at most 30",
        );
        (count, of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threshold::Action;
    use crate::timestamp::parse;

    const DOCUMENT: &str = "
        owner: growth
        kpi: activation
        grain: day
        breakdown: {by: properties.platform}
        condition: {type: below, value: 0.2, clear: 0.22}
        breaches: {count: 2, of: 3}
        minimum_sample: 100
        settle: 2h
        every: 1h
        cool_down: 7d
        quiet: {from: '22:00', to: '07:00', weekends: true, time_zone: Europe/Berlin}
        decision: {action: pause, automation: onboarding-nudge}
    ";

    fn fields(threshold: &Threshold) -> Vec<String> {
        threshold.violations().into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn a_document_reads_as_people_write_it_and_back() {
        let threshold: Threshold = serde_norway::from_str(DOCUMENT).unwrap();
        let rules = threshold.rules().unwrap();
        assert_eq!((rules.breaches, rules.of, rules.minimum_sample), (2, 3, 100));
        assert_eq!(rules.cool_down, TimeDelta::days(7));
        let written = serde_norway::to_string(&threshold).unwrap();
        assert_eq!(serde_norway::from_str::<Threshold>(&written).unwrap(), threshold);
        assert!(serde_norway::from_str::<Threshold>("{owner: a, bypass: true}").is_err());
    }

    #[test]
    fn everything_that_is_missing_is_told_at_once() {
        let missing = ["owner", "kpi", "condition", "every", "decision"];
        let mut found = fields(&Threshold::default());
        found.retain(|field| missing.contains(&field.as_str()));
        assert_eq!(found, missing);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let mut threshold: Threshold = serde_norway::from_str(DOCUMENT).unwrap();
        threshold.kpi.clear();
        threshold.metric = "signups".to_owned();
        threshold.window_days = 7;
        threshold.breaches = Some(Breaches { count: 4, of: Some(3) });
        threshold.condition = Some(Condition::Decrease {
            amount: 1.0,
            scale: super::super::Scale::Absolute,
            versus: Versus::Target,
            clear: None,
        });
        threshold.decision = Some(Decision {
            action: Action::Pause,
            automation: String::new(),
            holdout_by: None,
            change: None,
        });
        threshold.every = Some(TimeDelta::seconds(59));
        assert_eq!(
            fields(&threshold),
            ["window_days", "condition.versus", "breaches.of", "every", "decision.automation"]
        );
    }

    #[test]
    fn evaluation_times_are_the_same_for_everybody() {
        let threshold: Threshold = serde_norway::from_str(DOCUMENT).unwrap();
        let rules = threshold.rules().unwrap();
        let now = parse("2026-03-04T10:59:59.5Z").unwrap();
        assert_eq!(rules.slot(now), parse("2026-03-04T10:00:00Z").unwrap());
        assert_eq!(rules.next_slot(now), parse("2026-03-04T11:00:00Z").unwrap());
        assert_eq!(rules.slot(rules.slot(now)), rules.slot(now));
    }
}
