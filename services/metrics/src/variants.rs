//! QueryVariantStatistics: a metric as a number per subject after its first
//! exposure, summed up by variant.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use northstar_domain::metric::{
    Definition, DistinctOf, EventSelector, StickinessMeasure, TimeStatistic, property_path,
};
use northstar_domain::{InvalidExpression, Problems, ProjectId};
use northstar_engine::{
    FirstEvent, FunnelSpec, MetricSpec, Outcome, RetentionSpec, TimeToEventSpec, VariantQuery,
    VariantStats,
};
use northstar_proto::metrics::v1 as pb;

use crate::ask::ask;
use crate::cohorts;
use crate::convert::metric::selector_from_proto;
use crate::convert::read_duration;
use crate::plan::{self, Metrics, Scope, compile_filter};
use crate::provenance::{Answered, Sources, provenance};
use crate::query::{find, read_window};
use crate::service::Metrics as Service;
use crate::{Error, Result};

/// Longest time before exposure over which a covariate is measured, in days.
const MAX_COVARIATE_DAYS: i32 = 366;

/// A metric, per subject.
pub(crate) struct PerSubject {
    pub(crate) outcome: Outcome,
    /// Below the line of a ratio or a mean.
    pub(crate) denominator: Option<Outcome>,
    /// Whether the outcome is 0 or 1.
    pub(crate) proportion: bool,
}

/// Answers a question.
pub(crate) async fn query_variant_statistics(
    service: &Service,
    project: ProjectId,
    request: pb::QueryVariantStatisticsRequest,
) -> Result<pb::QueryVariantStatisticsResponse> {
    let mut problems = Problems::default();
    let window = read_window(&mut problems, request.start_time, request.end_time);
    let exposure = selector_from_proto(request.exposure);
    check_exposure(&mut problems, &exposure);
    let variant_property = property_path(&request.variant_property).to_owned();
    if variant_property.is_empty() {
        let problem = "is required: the property of the exposure that names the variant";
        problems.fields.push("variant_property", problem);
    }
    let outcome_window =
        read_duration(&mut problems.fields, "outcome_window", request.outcome_window);
    if outcome_window.is_some_and(|window| window <= TimeDelta::zero()) {
        let problem = "must be longer than nothing; leave it unset for unlimited";
        problems.fields.push("outcome_window", problem);
    }
    if !(0..=MAX_COVARIATE_DAYS).contains(&request.covariate_days) {
        let problem = format!("must lie between 0 and {MAX_COVARIATE_DAYS}");
        problems.fields.push("covariate_days", problem);
    }
    cohorts::check_number(&mut problems, &request.cohorts);
    let by_cohorts = cohorts::read_breakdowns(&mut problems, &request.breakdowns);
    let Some(window) = window.filter(|_| problems.is_empty()) else {
        return Err(Error::Refused(problems));
    };

    let (metrics, version) = find(&service.pool, project, &request.metric).await?;
    let per_subject = per_subject(&metrics, &request.metric)?;
    let query = VariantQuery {
        exposure: plan::exact_selector(&exposure)?,
        variant_property,
        from_micros: plan::instant(window.start),
        to_micros: plan::instant(window.end),
        window_micros: outcome_window.map(plan::micros),
        as_of_micros: None,
        require_full_window: false,
        outcome: per_subject.outcome,
        denominator: per_subject.denominator,
        pre_micros: plan::micros(TimeDelta::days(request.covariate_days.into())),
    };
    let scope = cohorts::Scope {
        filter: request.cohorts.clone(),
        breakdowns: by_cohorts.clone(),
        position: None,
        first: Some(FirstEvent {
            event: query.exposure.clone(),
            property: Some(query.variant_property.clone()),
            from_micros: query.from_micros,
            to_micros: query.to_micros,
        }),
    };
    let (view, used) = cohorts::view(service, project, &scope, window.end).await?;
    let asked = query.clone();
    let (sources, answers) = tokio::try_join!(
        Sources::read(&service.pool, project, view.head, service.clock.now()),
        ask(&view.snapshot, move |snapshot| {
            let parts = cohorts::parts(snapshot, &by_cohorts)?.into_iter();
            let answers = parts.map(|(sides, part)| Ok((sides, part.variant_stats(&asked)?)));
            answers.collect::<Result<Vec<_>>>()
        }),
    )?;
    let told: Vec<_> = answers
        .iter()
        .map(|(sides, answer)| (cohorts::dimensions(&request.breakdowns, sides), &answer.variants))
        .collect();
    let digest = match told.as_slice() {
        // As without any breakdown.
        [(_, variants)] => cohorts::digest(&metrics, version, &query, &used, view.head, variants)?,
        told => cohorts::digest(&metrics, version, &query, &used, view.head, &told)?,
    };
    let answered = Answered {
        metrics: &metrics,
        metric_version: version,
        window,
        time_zone: "UTC",
        filter: &exposure.filter,
        head: view.head,
        excluded_events: view.excluded_events,
        scanned_events: view.snapshot.events(),
        digest,
    };
    let rows = told.iter().flat_map(|(dimensions, variants)| {
        variants.iter().map(|variant| statistics(variant, dimensions.clone()))
    });
    let mut variants: Vec<pb::VariantStatistics> = rows.collect();
    variants.sort_by(|left, right| left.variant.cmp(&right.variant));
    let multiple: u64 = answers.iter().map(|(_, answer)| answer.multiple_exposures).sum();
    Ok(pb::QueryVariantStatisticsResponse {
        variants,
        multiple_exposure_subjects: multiple.cast_signed(),
        proportion: per_subject.proportion,
        provenance: Some(provenance(&sources, answered)),
    })
}

fn check_exposure(problems: &mut Problems, exposure: &EventSelector) {
    if exposure.name.is_empty() && exposure.filter.is_empty() {
        let problem = "is required: the event that exposes a subject";
        problems.fields.push("exposure.event", problem);
    }
    if !exposure.filter.trim().is_empty()
        && let Err(problem) = compile_filter(&exposure.filter)
    {
        problems.expressions.push(InvalidExpression {
            field: "exposure.filter".to_owned(),
            expression: exposure.filter.clone(),
            problem,
        });
    }
}

/// A metric as a number per subject: counts and sums are amounts, unique is
/// whether it happened at all, a mean is the sum over the number of values and a
/// ratio one amount over another, so that both are ratios of means. A funnel is
/// whether the subject completed it, among everybody who was exposed: who enters
/// it may depend on the variant. Retention is a share of those who are old
/// enough, and time-to-event a mean over those who got there, again ratios.
pub(crate) fn per_subject(metrics: &Metrics, name: &str) -> Result<PerSubject> {
    let scope = &Scope::new(metrics);
    let amount = |outcome| PerSubject { outcome, denominator: None, proportion: false };
    Ok(match plan::definition(metrics, name)? {
        Definition::Count { .. } | Definition::Sum { .. } => amount(part(scope, name)?),
        Definition::Unique { .. } => PerSubject { proportion: true, ..amount(part(scope, name)?) },
        Definition::Mean { event, property } => PerSubject {
            outcome: Outcome::Sum {
                event: plan::selector(event)?,
                property: property_path(property).to_owned(),
            },
            denominator: Some(values(event, property_path(property))?),
            proportion: false,
        },
        Definition::Ratio { numerator, denominator } => PerSubject {
            outcome: part(&scope.of(numerator)?, &numerator.metric)?,
            denominator: Some(part(&scope.of(denominator)?, &denominator.metric)?),
            proportion: false,
        },
        Definition::Funnel { .. } => {
            PerSubject { proportion: true, ..amount(journey(plan::spec(metrics, name)?)?) }
        }
        Definition::Retention { .. } => amount(journey(plan::spec(metrics, name)?)?),
        // Times are compared by their means, whichever figure the metric shows.
        Definition::TimeToEvent { .. } => amount(journey(plan::spec(metrics, name)?)?),
        Definition::Stickiness { event, activity, interval, measure, intervals, mode } => {
            PerSubject {
                proportion: *measure != StickinessMeasure::Ratio,
                ..amount(Outcome::Active {
                    event: scope.active_by_default(event, activity)?,
                    interval: plan::period(*interval),
                    measure: plan::stickiness_measure(*measure, *intervals, *mode),
                })
            }
        }
        Definition::PerSubject { statistic: TimeStatistic::Mean, .. } => amount(part(scope, name)?),
        Definition::Nps { event, property } => amount(Outcome::Score {
            event: plan::selector(event)?,
            property: property_path(property).to_owned(),
        }),
        Definition::Conversion { .. } => amount(Outcome::Converted(plan::conversion(scope, name)?)),
        Definition::Min { .. }
        | Definition::Max { .. }
        | Definition::Percentile { .. }
        | Definition::Lifecycle { .. }
        | Definition::Cumulative { .. }
        | Definition::Derived { .. }
        | Definition::PerSubject { .. } => return Err(unsupported(metrics, name)?),
    })
}

/// What a subject did in order, as the engine computes it for a query.
fn journey(spec: MetricSpec) -> Result<Outcome> {
    match spec {
        MetricSpec::Funnel(FunnelSpec { steps, window_micros, anchor, ties, .. }) => {
            Ok(Outcome::Completed { steps, window_micros, anchor, ties })
        }
        MetricSpec::Retention(RetentionSpec { start, returning, headline, mode, .. }) => {
            Ok(Outcome::Returned { start, returning, days: headline, mode })
        }
        MetricSpec::TimeToEvent(TimeToEventSpec { from, to, window_micros, ties, .. }) => {
            Ok(Outcome::Elapsed { from, to, window_micros, ties })
        }
        _ => Err(Error::field("metric", "is no funnel, retention or time to an event")),
    }
}

/// A metric that is one number per subject.
fn part(scope: &Scope<'_>, name: &str) -> Result<Outcome> {
    Ok(match plan::definition(scope.metrics, name)? {
        Definition::Count { event } => Outcome::Count { event: scope.selector(event)? },
        Definition::Unique { event, of: DistinctOf::Subject, activity } => {
            Outcome::Did { event: scope.active(event, activity)? }
        }
        Definition::Sum { event, property } => Outcome::Sum {
            event: scope.selector(event)?,
            property: property_path(property).to_owned(),
        },
        Definition::PerSubject { event, aggregate, property, statistic: TimeStatistic::Mean } => {
            Outcome::PerSubject {
                event: scope.selector(event)?,
                aggregate: plan::aggregate(*aggregate, property),
            }
        }
        _ => return Err(unsupported(scope.metrics, name)?),
    })
}

/// Why a metric cannot be compared between variants, and what to use instead.
fn unsupported(metrics: &Metrics, name: &str) -> Result<Error> {
    let definition = plan::definition(metrics, name)?;
    let why = match definition {
        Definition::Min { .. } | Definition::Max { .. } => {
            "belongs to one event and not to every subject: use per_subject with aggregate min or max"
        }
        Definition::Percentile { .. } => {
            "is a percentile over events, whose error does not follow from sums: use a mean or \
             per_subject"
        }
        Definition::PerSubject { .. } => {
            "is a median, percentile or sum over subjects, whose error does not follow from sums: \
             use statistic mean"
        }
        Definition::Lifecycle { .. } => {
            "is judged by calendar periods, and variants are judged from each subject's exposure: \
             use a retention or a unique"
        }
        Definition::Cumulative { .. } => {
            "looks back from a date, and variants are judged from each subject's exposure: use the \
             metric that it accumulates"
        }
        Definition::Derived { .. } => {
            "is an expression whose error does not follow from sums: use a ratio or its inputs"
        }
        _ => {
            "is no number per subject: use a count, a sum, a mean, a unique of subjects, a ratio of \
             those, a funnel, a retention, a time to an event, a stickiness, a conversion, a \
             per_subject or an nps"
        }
    };
    Ok(Error::field("metric", format!("{name} is a {} that {why}", definition.kind())))
}

/// How many of a subject's events carry a number in this property. Booleans
/// count as numbers, as they do in a mean.
fn values(event: &EventSelector, property: &str) -> Result<Outcome> {
    let member: String =
        property.split('.').map(|key| format!("[{}]", serde_json::Value::from(key))).collect();
    let operand = format!("properties{member}");
    let lowest = f64::MIN;
    let is_number = format!("({operand} >= {lowest:e} || {operand} == true || {operand} == false)");
    let filter = if event.filter.trim().is_empty() {
        is_number
    } else {
        format!("({}) && {is_number}", event.filter)
    };
    let counted = EventSelector { name: event.name.clone(), filter };
    Ok(Outcome::Count { event: plan::selector(&counted)? })
}

fn statistics(stats: &VariantStats, dimensions: BTreeMap<String, String>) -> pb::VariantStatistics {
    let moments = &stats.moments;
    pb::VariantStatistics {
        variant: stats.variant.clone(),
        subjects: moments.n.cast_signed(),
        sum_y: moments.y,
        sum_yy: moments.yy,
        sum_d: moments.d,
        sum_dd: moments.dd,
        sum_yd: moments.yd,
        sum_x: moments.x,
        sum_xx: moments.xx,
        sum_xy: moments.xy,
        dimensions,
    }
}
