//! The analysis: statistics asked of metrics, checks, comparisons, the ship
//! rule.

mod inference;

use chrono::{DateTime, TimeDelta, Utc};
use northstar_domain::experiment::{
    Analysis, Comparison, Experiment, GuardrailResult, Recommendation, SampleRatio,
    TransitionError, VariantSummary,
};
use northstar_domain::kpi::Direction;
use northstar_proto::experiments::v1 as pb;
use northstar_proto::metrics::v1::{
    EventSelector, QueryVariantStatisticsRequest, QueryVariantStatisticsResponse,
};
use northstar_server::Caller;
use northstar_stats::{Confidence, adjust, sample_ratio};

use crate::Experiments;
use crate::convert::{analysis_to_proto, duration_to_proto, time_to_proto};
use crate::error::{Error, Result};
use crate::registry;
use inference::Sample;

pub(crate) async fn analyze(
    service: &Experiments,
    caller: &Caller,
    request: pb::AnalyzeExperimentRequest,
) -> Result<pb::AnalyzeExperimentResponse> {
    let stored = registry::load(service, caller, &request.name).await?;
    let analysis = run(service, &stored.experiment).await?;
    Ok(pb::AnalyzeExperimentResponse { analysis: Some(analysis_to_proto(analysis)) })
}

/// Analyses an experiment as of now. Before the horizon metrics is asked for the
/// sizes alone; nothing that would be withheld is computed.
pub(crate) async fn run(service: &Experiments, experiment: &Experiment) -> Result<Analysis> {
    let spec = &experiment.spec;
    let now = service.clock.now();
    let primary = statistics(service, experiment, &spec.primary_metric, now).await?;
    let arms = inference::arms(spec, &primary)?;
    let subjects = arms.iter().map(Sample::subjects).sum::<u64>();
    let subjects = i64::try_from(subjects).unwrap_or(i64::MAX);
    let horizon_reached = spec.stopping_plan.is_reached(subjects, now);
    let confidence = Confidence::from_alpha(spec.stopping_plan.alpha())?;

    let mut analysis = Analysis {
        experiment: experiment.name.to_string(),
        horizon_reached,
        variants: summaries(experiment, &arms, horizon_reached),
        comparisons: Vec::new(),
        guardrails: Vec::new(),
        sample_ratio: check_sample_ratio(experiment, &arms)?,
        multiple_exposure_subjects: primary.multiple_exposure_subjects,
        recommendation: Recommendation::Wait,
        recommended_variant: None,
        explanation: String::new(),
        log_position: log_position(&primary),
    };
    if horizon_reached {
        analysis.comparisons = compare_primary(experiment, &arms, confidence)?;
        for guardrail in &spec.guardrails {
            let answer = statistics(service, experiment, &guardrail.metric, now).await?;
            // The answer holds for the position that every part covers.
            analysis.log_position = analysis.log_position.min(log_position(&answer));
            let arms = inference::arms(spec, &answer)?;
            let direction = guardrail.direction.unwrap_or(Direction::Increase);
            for (variant, effect) in inference::against_control(spec, &arms, confidence) {
                analysis.guardrails.push(GuardrailResult::judge(
                    variant,
                    &guardrail.metric,
                    direction,
                    effect.relative,
                    guardrail.margin,
                ));
            }
        }
    }
    Ok(analysis.judged(spec.direction.unwrap_or(Direction::Increase)))
}

/// Asks metrics for the sums of a metric by variant, over the exposures from the
/// start to the stop, both inclusive.
async fn statistics(
    service: &Experiments,
    experiment: &Experiment,
    metric: &str,
    now: DateTime<Utc>,
) -> Result<QueryVariantStatisticsResponse> {
    let Some(started_at) = experiment.started_at else {
        let error = TransitionError { state: experiment.state, step: "be analysed" };
        return Err(error.into());
    };
    let end = experiment.stopped_at.unwrap_or(now) + TimeDelta::microseconds(1);
    let request = QueryVariantStatisticsRequest {
        metric: metric.to_owned(),
        exposure: Some(EventSelector {
            event: "northstar.experiment.exposure".to_owned(),
            filter: format!("properties.experiment == '{}'", experiment.name),
        }),
        variant_property: "variant".to_owned(),
        start_time: Some(time_to_proto(started_at)),
        end_time: Some(time_to_proto(end)),
        outcome_window: experiment.spec.outcome_window.map(duration_to_proto),
        covariate_days: 0,
        ..QueryVariantStatisticsRequest::default()
    };
    let response = service.clients.metrics().query_variant_statistics(request).await;
    Ok(response.map_err(Error::dependency("metrics"))?.into_inner())
}

fn log_position(answer: &QueryVariantStatisticsResponse) -> i64 {
    answer.provenance.as_ref().map_or(0, |provenance| provenance.log_position)
}

fn summaries(
    experiment: &Experiment,
    arms: &[Sample],
    horizon_reached: bool,
) -> Vec<VariantSummary> {
    experiment
        .spec
        .variants
        .iter()
        .zip(arms)
        .map(|(variant, arm)| VariantSummary {
            variant: variant.name.clone(),
            subjects: i64::try_from(arm.subjects()).unwrap_or(i64::MAX),
            mean: arm.mean().filter(|_| horizon_reached),
        })
        .collect()
}

/// The sizes of the arms against the weights. Coverage is the same share of
/// every arm, so it does not show.
fn check_sample_ratio(experiment: &Experiment, arms: &[Sample]) -> Result<SampleRatio> {
    let counts: Vec<u64> = arms.iter().map(Sample::subjects).collect();
    let weights: Vec<f64> = experiment.spec.variants.iter().map(|arm| arm.weight).collect();
    let sum: f64 = weights.iter().sum();
    let shares: Vec<f64> = weights.into_iter().map(|weight| weight / sum).collect();
    let found = sample_ratio::check(&counts, &shares)?;
    Ok(SampleRatio { chi_square: found.chi2, p_value: found.p_value, mismatch: found.is_alarm() })
}

/// Compares the primary metric of every variant with control. The family of
/// Holm's correction is the variants; one that has no p-value is in none.
fn compare_primary(
    experiment: &Experiment,
    arms: &[Sample],
    confidence: Confidence,
) -> Result<Vec<Comparison>> {
    let spec = &experiment.spec;
    let effects = inference::against_control(spec, arms, confidence);
    let p_values: Vec<f64> = effects
        .iter()
        .filter_map(|(_, effect)| effect.absolute.and_then(|absolute| absolute.p_value))
        .collect();
    let mut adjusted = adjust::holm(&p_values)?.into_iter();
    let comparisons = effects.into_iter().map(|(variant, effect)| {
        let tested = effect.absolute.is_some_and(|absolute| absolute.p_value.is_some());
        let p_value = if tested { adjusted.next() } else { None };
        Comparison {
            variant: variant.to_owned(),
            metric: spec.primary_metric.clone(),
            absolute: effect.absolute,
            relative: effect.relative,
            significant: p_value.is_some_and(|p_value| p_value < confidence.alpha()),
        }
    });
    Ok(comparisons.collect())
}
