//! From messages to the domain and back: the one place both vocabularies meet.
//! Free functions, because neither side is a type of this crate.

use chrono::{DateTime, TimeDelta, Utc};
use northstar_domain::assignment::HASH_VERSION;
use northstar_domain::experiment::{
    Analysis, Comparison, Estimate, Experiment, ExperimentSpec, GuardrailResult, Recommendation,
    State, StoppingPlan, Variant, VariantSummary,
};
use northstar_domain::kpi::{Direction, Guardrail};
use northstar_domain::{ResourceName, Violations};
use northstar_proto::experiments::v1 as pb;
use northstar_store::experiments::StoredExperiment;

/// Reads a definition; what is output only is ignored.
///
/// # Errors
/// Every field that is missing or breaks a rule, with paths that begin with
/// `experiment.`.
pub fn experiment_from_proto(
    experiment: pb::Experiment,
) -> Result<(ResourceName, ExperimentSpec), Violations> {
    let mut violations = Violations::new();
    let name = violations.parse("name", &experiment.name);
    let plan = experiment.stopping_plan.unwrap_or_default();
    let horizon_time = plan.horizon_time.and_then(|time| {
        let read = time_from_proto(&time);
        violations.require(read.is_some(), "stopping_plan.horizon_time", "is not a time");
        read
    });
    let outcome_window = experiment.outcome_window.and_then(|window| {
        let read = duration_from_proto(&window);
        violations.require(read.is_some(), "outcome_window", "is not a duration");
        read
    });
    let direction = direction_from_proto(experiment.direction);
    let spec = ExperimentSpec {
        hypothesis: experiment.hypothesis,
        owner: experiment.owner,
        pillar: experiment.pillar,
        segment: experiment.segment,
        variants: experiment
            .variants
            .into_iter()
            .map(|variant| Variant { name: variant.name, weight: variant.weight })
            .collect(),
        primary_metric: experiment.primary_metric,
        direction,
        guardrails: experiment
            .guardrails
            .into_iter()
            .map(|guardrail| Guardrail {
                direction: direction_from_proto(guardrail.direction),
                metric: guardrail.metric,
                margin: guardrail.margin,
            })
            .collect(),
        stopping_plan: StoppingPlan {
            horizon_subjects: Some(plan.horizon_subjects).filter(|subjects| *subjects != 0),
            horizon_time,
            alpha: Some(plan.alpha).filter(|alpha| *alpha != 0.0),
        },
        outcome_window,
        coverage: Some(experiment.coverage).filter(|coverage| *coverage != 0.0),
        seed: experiment.seed,
    };
    violations.extend(spec.violations());
    match name {
        Some(name) if violations.is_empty() => Ok((name, spec)),
        _ => Err(violations.below("experiment")),
    }
}

/// Writes an experiment.
pub fn experiment_to_proto(experiment: &Experiment, etag: String) -> pb::Experiment {
    let spec = &experiment.spec;
    let plan = &spec.stopping_plan;
    pb::Experiment {
        name: experiment.name.to_string(),
        hypothesis: spec.hypothesis.clone(),
        owner: spec.owner.clone(),
        pillar: spec.pillar.clone(),
        segment: spec.segment.clone(),
        variants: spec
            .variants
            .iter()
            .map(|variant| pb::Variant { name: variant.name.clone(), weight: variant.weight })
            .collect(),
        primary_metric: spec.primary_metric.clone(),
        direction: direction_to_proto(spec.direction).into(),
        guardrails: spec
            .guardrails
            .iter()
            .map(|guardrail| pb::Guardrail {
                metric: guardrail.metric.clone(),
                direction: direction_to_proto(guardrail.direction).into(),
                margin: guardrail.margin,
            })
            .collect(),
        stopping_plan: Some(pb::StoppingPlan {
            horizon_subjects: plan.horizon_subjects.unwrap_or(0),
            horizon_time: plan.horizon_time.map(time_to_proto),
            alpha: plan.alpha.unwrap_or(0.0),
        }),
        outcome_window: spec.outcome_window.map(duration_to_proto),
        coverage: spec.coverage.unwrap_or(0.0),
        seed: spec.seed.clone(),
        hash_version: HASH_VERSION,
        state: state_to_proto(experiment.state).into(),
        start_time: experiment.started_at.map(time_to_proto),
        stop_time: experiment.stopped_at.map(time_to_proto),
        shipped_variant: experiment.shipped_variant.clone().unwrap_or_default(),
        etag,
    }
}

pub(crate) fn stored_experiment(stored: &StoredExperiment) -> pb::Experiment {
    experiment_to_proto(&stored.experiment, stored.version.to_string())
}

fn state_to_proto(state: State) -> pb::ExperimentState {
    match state {
        State::Draft => pb::ExperimentState::Draft,
        State::Running => pb::ExperimentState::Running,
        State::Stopped => pb::ExperimentState::Stopped,
        State::Shipped => pb::ExperimentState::Shipped,
        State::RolledBack => pb::ExperimentState::RolledBack,
    }
}

/// A direction that is not set, or not one we know, is missing.
fn direction_from_proto(direction: i32) -> Option<Direction> {
    match pb::Direction::try_from(direction) {
        Ok(pb::Direction::Increase) => Some(Direction::Increase),
        Ok(pb::Direction::Decrease) => Some(Direction::Decrease),
        Ok(pb::Direction::Unspecified) | Err(_) => None,
    }
}

fn direction_to_proto(direction: Option<Direction>) -> pb::Direction {
    match direction {
        Some(Direction::Increase) => pb::Direction::Increase,
        Some(Direction::Decrease) => pb::Direction::Decrease,
        None => pb::Direction::Unspecified,
    }
}

/// Writes an analysis.
pub fn analysis_to_proto(analysis: Analysis) -> pb::Analysis {
    pb::Analysis {
        experiment: analysis.experiment,
        horizon_reached: analysis.horizon_reached,
        variants: analysis
            .variants
            .into_iter()
            .map(|VariantSummary { variant, subjects, mean }| pb::VariantSummary {
                variant,
                subjects,
                mean,
            })
            .collect(),
        comparisons: analysis.comparisons.into_iter().map(comparison_to_proto).collect(),
        guardrails: analysis.guardrails.into_iter().map(guardrail_to_proto).collect(),
        sample_ratio: Some(pb::SampleRatio {
            chi_square: analysis.sample_ratio.chi_square,
            p_value: analysis.sample_ratio.p_value,
            mismatch: analysis.sample_ratio.mismatch,
        }),
        multiple_exposure_subjects: analysis.multiple_exposure_subjects,
        recommendation: match analysis.recommendation {
            Recommendation::Wait => pb::Recommendation::Wait,
            Recommendation::Ship => pb::Recommendation::Ship,
            Recommendation::RollBack => pb::Recommendation::RollBack,
            Recommendation::Review => pb::Recommendation::Review,
            Recommendation::Unhealthy => pb::Recommendation::Unhealthy,
        }
        .into(),
        recommended_variant: analysis.recommended_variant.unwrap_or_default(),
        explanation: analysis.explanation,
        log_position: analysis.log_position,
    }
}

fn comparison_to_proto(comparison: Comparison) -> pb::Comparison {
    pb::Comparison {
        variant: comparison.variant,
        metric: comparison.metric,
        absolute: comparison.absolute.map(estimate_to_proto),
        relative: comparison.relative.map(estimate_to_proto),
        significant: comparison.significant,
    }
}

fn guardrail_to_proto(guardrail: GuardrailResult) -> pb::GuardrailResult {
    pb::GuardrailResult {
        variant: guardrail.variant,
        metric: guardrail.metric,
        relative: guardrail.relative.map(estimate_to_proto),
        margin: guardrail.margin,
        non_inferior: guardrail.non_inferior,
    }
}

fn estimate_to_proto(estimate: Estimate) -> pb::Estimate {
    let Estimate { estimate, ci_low, ci_high, p_value } = estimate;
    pb::Estimate { estimate, ci_low, ci_high, p_value }
}

/// Reads a time, to whole microseconds; `None` when it is none.
pub(crate) fn time_from_proto(time: &prost_types::Timestamp) -> Option<DateTime<Utc>> {
    let nanos = u32::try_from(time.nanos).ok()?;
    DateTime::from_timestamp(time.seconds, nanos / 1000 * 1000)
}

pub(crate) fn time_to_proto(time: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos: time.timestamp_subsec_nanos().cast_signed(),
    }
}

fn duration_from_proto(duration: &prost_types::Duration) -> Option<TimeDelta> {
    TimeDelta::try_seconds(duration.seconds)?
        .checked_add(&TimeDelta::nanoseconds(i64::from(duration.nanos)))
}

pub(crate) fn duration_to_proto(duration: TimeDelta) -> prost_types::Duration {
    prost_types::Duration { seconds: duration.num_seconds(), nanos: duration.subsec_nanos() }
}
