//! The definition of an experiment, as written in its document.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::assignment::{self, Outcome};
use crate::kpi::{Direction, Guardrail};
use crate::segment::Segment;
use crate::{ResourceName, Violations, duration, timestamp};

const LINE_LIMIT: usize = 200;
const TEXT_LIMIT: usize = 4_000;
/// Most variants and guardrails.
const LIST_LIMIT: usize = 20;
/// Significance level of a plan that names none.
const DEFAULT_ALPHA: f64 = 0.05;

/// What an experiment asks and how it will be answered; the `spec` of a
/// `kind: Experiment` document. Nothing starts without a complete one:
/// [`ExperimentSpec::violations`] tells everything that is missing at once.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentSpec {
    /// What is believed, and why. Required.
    #[serde(default)]
    pub hypothesis: String,
    /// Who answers for it. Required.
    #[serde(default)]
    pub owner: String,
    /// Name of the pillar it serves. Required.
    #[serde(default)]
    pub pillar: String,
    /// CEL condition over `attributes` for who takes part; `true` is everybody.
    /// Required.
    #[serde(default)]
    pub segment: String,
    /// At least two; the first is control.
    #[serde(default)]
    pub variants: Vec<Variant>,
    /// Name of the metric that decides. Required.
    #[serde(default)]
    pub primary_metric: String,
    /// Which way is better for the primary metric. Required.
    pub direction: Option<Direction>,
    /// What must be shown not to get worse. At least one.
    #[serde(default)]
    pub guardrails: Vec<Guardrail>,
    /// When the result may be read. Required.
    #[serde(default)]
    pub stopping_plan: StoppingPlan,
    /// Outcomes count up to this long after exposure; absent is unlimited.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub outcome_window: Option<TimeDelta>,
    /// Share of the segment that takes part, above 0 up to 1; absent is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
    /// Seed of the assignment hash; empty means the name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub seed: String,
}

/// One arm.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Its name, for example `control`.
    #[serde(default)]
    pub name: String,
    /// Its share of those who take part; weights are divided by their sum.
    pub weight: f64,
}

/// When the result may be read, fixed before the start. At least one horizon;
/// with both, both must be reached.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StoppingPlan {
    /// Exposed subjects over all variants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizon_subjects: Option<i64>,
    /// Not before this time.
    #[serde(default, with = "timestamp::option", skip_serializing_if = "Option::is_none")]
    pub horizon_time: Option<DateTime<Utc>>,
    /// Two-sided significance level, 0.0001 to 0.5; absent is 0.05.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
}

impl StoppingPlan {
    /// The significance level.
    pub fn alpha(&self) -> f64 {
        self.alpha.unwrap_or(DEFAULT_ALPHA)
    }

    /// Whether the result may be read.
    pub fn is_reached(&self, subjects: i64, now: DateTime<Utc>) -> bool {
        self.horizon_subjects.is_none_or(|horizon| subjects >= horizon)
            && self.horizon_time.is_none_or(|horizon| now >= horizon)
    }
}

impl ExperimentSpec {
    /// Everything that is wrong with it; field paths begin at the spec. Whether
    /// pillar and metrics exist is for metrics to say.
    pub fn violations(&self) -> Violations {
        let mut found = Violations::new();
        found.require_text("hypothesis", &self.hypothesis, TEXT_LIMIT);
        found.require_text("owner", &self.owner, LINE_LIMIT);
        require_name(&mut found, "pillar", &self.pillar);
        if self.segment.trim().is_empty() {
            found.push("segment", "is required; `true` is everybody");
        } else if let Err(error) = Segment::parse(&self.segment) {
            found.push("segment", error.to_string());
        }
        self.check_variants(&mut found);
        require_name(&mut found, "primary_metric", &self.primary_metric);
        require_direction(&mut found, "direction", self.direction);
        self.check_guardrails(&mut found);
        self.check_plan(&mut found);
        if self.outcome_window.is_some_and(|window| window <= TimeDelta::zero()) {
            found.push("outcome_window", "must be longer than zero");
        }
        if let Some(coverage) = self.coverage
            && !(coverage > 0.0 && coverage <= 1.0)
        {
            found.push("coverage", format!("must lie above 0 and not above 1, not {coverage}"));
        }
        found.require(self.seed.len() <= LINE_LIMIT, "seed", "must have at most 200 bytes");
        found
    }

    fn check_variants(&self, found: &mut Violations) {
        if self.variants.len() < 2 {
            found.push("variants", "at least two are required; the first is control");
        }
        found.require(self.variants.len() <= LIST_LIMIT, "variants", "must be at most 20");
        let mut names = BTreeSet::new();
        for (index, variant) in self.variants.iter().enumerate() {
            let field = |name| format!("variants[{index}].{name}");
            require_name(found, &field("name"), &variant.name);
            if !names.insert(&variant.name) {
                found
                    .push(field("name"), format!("{:?} is the name of two variants", variant.name));
            }
            if !(variant.weight > 0.0 && variant.weight <= 1e6) {
                found.push(
                    field("weight"),
                    format!("must lie above 0 and not above 1,000,000, not {}", variant.weight),
                );
            }
        }
    }

    fn check_guardrails(&self, found: &mut Violations) {
        if self.guardrails.is_empty() {
            found.push(
                "guardrails",
                "at least one is required: a metric that must be shown not to get worse",
            );
        }
        found.require(self.guardrails.len() <= LIST_LIMIT, "guardrails", "must be at most 20");
        for (index, guardrail) in self.guardrails.iter().enumerate() {
            let field = |name| format!("guardrails[{index}].{name}");
            require_name(found, &field("metric"), &guardrail.metric);
            require_direction(found, &field("direction"), guardrail.direction);
            // A margin of zero asks for a proof that nothing got worse by any
            // amount, which no sample gives.
            if !(guardrail.margin > 0.0 && guardrail.margin <= 1.0) {
                found.push(
                    field("margin"),
                    format!("must lie above 0 and not above 1, not {}", guardrail.margin),
                );
            }
        }
    }

    fn check_plan(&self, found: &mut Violations) {
        let plan = &self.stopping_plan;
        if plan.horizon_subjects.is_none() && plan.horizon_time.is_none() {
            found.push(
                "stopping_plan",
                "horizon_subjects or horizon_time is required: when the result may be read is \
                 fixed before there are data",
            );
        }
        if plan.horizon_subjects.is_some_and(|subjects| subjects < 2) {
            found.push("stopping_plan.horizon_subjects", "must be at least 2");
        }
        if let Some(alpha) = plan.alpha
            && !(0.0001..=0.5).contains(&alpha)
        {
            found.push(
                "stopping_plan.alpha",
                format!("must lie between 0.0001 and 0.5, not {alpha}"),
            );
        }
    }

    /// Name of the control variant; empty without variants.
    pub fn control(&self) -> &str {
        self.variants.first().map_or("", |variant| variant.name.as_str())
    }

    /// Whether a variant other than control has this name.
    pub fn has_treatment(&self, name: &str) -> bool {
        self.variants.iter().skip(1).any(|variant| variant.name == name)
    }

    /// The variant of a subject of the segment; `None` when it is not covered.
    /// `name` is the experiment's, its seed unless the spec has one.
    pub fn assign(&self, name: &ResourceName, subject: &str) -> Option<&Variant> {
        let seed = if self.seed.is_empty() { name.as_str() } else { &self.seed };
        let weights: Vec<f64> = self.variants.iter().map(|variant| variant.weight).collect();
        match assignment::assign(seed, subject, &weights, self.coverage.unwrap_or(1.0)) {
            Outcome::Variant(index) => self.variants.get(index),
            Outcome::NotCovered => None,
        }
    }
}

fn require_name(found: &mut Violations, field: &str, name: &str) {
    if name.is_empty() {
        found.push(field, "is required");
    } else {
        found.parse::<ResourceName>(field, name);
    }
}

fn require_direction(found: &mut Violations, field: &str, direction: Option<Direction>) {
    found.require(direction.is_some(), field, "is required: increase or decrease");
}

#[cfg(test)]
mod tests {
    use super::ExperimentSpec;

    const DOCUMENT: &str = "
hypothesis: fewer fields make more people finish
owner: growth
pillar: conversion
segment: attributes.country == 'DE'
variants:
- {name: control, weight: 1}
- {name: short-form, weight: 1}
primary_metric: checkout-rate
direction: increase
guardrails:
- {metric: refund-rate, direction: decrease, margin: 0.05}
stopping_plan: {horizon_time: 2026-03-31}
outcome_window: 7d
";

    fn fields(spec: &ExperimentSpec) -> Vec<String> {
        let violations = spec.violations();
        violations.as_slice().iter().map(|violation| violation.field.clone()).collect()
    }

    #[test]
    fn a_complete_document_is_sound_and_reads_back() {
        let spec: ExperimentSpec = serde_norway::from_str(DOCUMENT).unwrap();
        assert_eq!(fields(&spec), Vec::<String>::new());
        let json = serde_json::to_value(&spec).unwrap();
        assert_eq!(serde_json::from_value::<ExperimentSpec>(json).unwrap(), spec);
    }

    #[test]
    fn an_empty_document_tells_everything_that_is_missing() {
        let spec: ExperimentSpec = serde_norway::from_str("{}").unwrap();
        let expected = [
            "hypothesis",
            "owner",
            "pillar",
            "segment",
            "variants",
            "primary_metric",
            "direction",
            "guardrails",
            "stopping_plan",
        ];
        assert_eq!(fields(&spec), expected);
    }

    #[test]
    fn what_is_out_of_range_is_named_by_its_path() {
        let broken = DOCUMENT
            .replace("name: short-form, weight: 1", "name: control, weight: -1")
            .replace("margin: 0.05", "margin: 0")
            .replace("direction: decrease, ", "")
            .replace("horizon_time: 2026-03-31", "horizon_subjects: 0, alpha: 0.9")
            .replace("outcome_window: 7d", "outcome_window: 0s\ncoverage: 1.5")
            .replace("attributes.country", "country");
        let spec: ExperimentSpec = serde_norway::from_str(&broken).unwrap();
        let expected = [
            "segment",
            "variants[1].name",
            "variants[1].weight",
            "guardrails[0].direction",
            "guardrails[0].margin",
            "stopping_plan.horizon_subjects",
            "stopping_plan.alpha",
            "outcome_window",
            "coverage",
        ];
        assert_eq!(fields(&spec), expected);
    }
}
