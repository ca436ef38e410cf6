//! QueryImpact: what an adoption did to those who adopted.

mod analysis;

use std::cmp::Reverse;

use chrono::TimeDelta;
use northstar_domain::metric::EventSelector;
use northstar_domain::{InvalidExpression, Problems, ProjectId, ResourceName};
use northstar_engine::{
    AdoptionAnswer, AdoptionQuery, DayZero, Dimension, FirstEvent, Snapshot, VariantAnswer,
    VariantQuery,
};
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::query_impact_request::Adoption;
use northstar_stats::Confidence;
use prost_types::Duration;

use super::words;
use crate::ask::ask;
use crate::cohorts::{self, Scope};
use crate::convert::metric::selector_from_proto;
use crate::convert::read_duration;
use crate::plan::{self, compile_filter};
use crate::provenance::{Answered, Sources, provenance};
use crate::query::{find, read_window};
use crate::service::Metrics as Service;
use crate::variants::{PerSubject, per_subject};
use crate::{Error, Result};

/// Most covariates of either kind.
const MAX_COVARIATES: usize = 12;
/// Longest period.
const MAX_PERIOD: TimeDelta = TimeDelta::days(366);
/// Most bins or classes.
const MAX_CLASSES: i32 = 50;

/// What decides who is treated, and where chance had a part in it.
struct Treatment {
    /// How a sentence names it.
    name: String,
    adoption: EventSelector,
    randomised: Option<Arms>,
}

/// Two arms that chance made.
struct Arms {
    exposure: EventSelector,
    property: &'static str,
    treated: String,
    held_out: String,
}

/// How the analysis goes.
struct Options {
    method: pb::MatchingMethod,
    classes: u32,
    confidence: Confidence,
    /// Whether subjects match within weeks of their day zero.
    by_week: bool,
    /// Names of the covariates: counts, then properties.
    counts: Vec<String>,
    properties: Vec<String>,
    /// Number among the values that the engine was asked for.
    segment: Option<usize>,
    cluster: Option<usize>,
    /// Number of periods before day zero.
    periods_before: usize,
    /// Length of the time after over that of the time before.
    scale: f64,
    /// Whether the outcome is one amount over another.
    is_ratio: bool,
}

/// A question that makes sense.
struct Question {
    query: AdoptionQuery,
    window: northstar_domain::kpi::Window,
    treatment: Treatment,
    options: Options,
    scope: Scope,
}

/// Answers a question.
pub(super) async fn query_impact(
    service: &Service,
    project: ProjectId,
    request: pb::QueryImpactRequest,
) -> Result<pb::QueryImpactResponse> {
    let metric = request.metric.clone();
    let (metrics, version) = find(&service.pool, project, &metric).await?;
    let outcome = per_subject(&metrics, &metric)?;
    let proportion = outcome.proportion;
    let Question { query, window, treatment, options, scope } = read(request, outcome)?;
    if (proportion || options.is_ratio) && query.periods_before != query.periods_after {
        let problem = "must equal periods_before: whether something happened, or a ratio, cannot be \
                       scaled to another length of time";
        return Err(Error::field("periods_after", problem));
    }

    // Cohorts are judged before anybody adopted who counts.
    let (view, used) = cohorts::view(service, project, &scope, window.start).await?;
    let sources = Sources::read(&service.pool, project, view.head, service.clock.now()).await?;
    let known = view.snapshot.effective_range().map(|(_, latest)| latest.saturating_add(1));
    let query = AdoptionQuery { as_of_micros: known, ..query };
    let randomised =
        treatment.randomised.as_ref().map(|arms| variants(arms, &query)).transpose()?;
    let asked = query.clone();
    let segment = options.segment.and_then(|number| query.properties.get(number)).cloned();
    let answered = ask(&view.snapshot, move |snapshot| {
        let answer = snapshot.adoption(&asked)?;
        let arms = randomised.map(|query| arms(snapshot, &query, segment.as_ref())).transpose()?;
        let response = analysis::analyse(&answer, &options);
        Ok::<_, Error>((answer, arms, response, options))
    });
    let (answer, arms, mut response, options) = answered.await?;
    response.randomised = treatment
        .randomised
        .as_ref()
        .zip(arms.as_ref())
        .and_then(|(names, arms)| analysis::randomised(names, arms, &options));
    conclude(&mut response, &treatment, &metric, &query, &options);
    let answered = Answered {
        metrics: &metrics,
        metric_version: version,
        window,
        time_zone: "UTC",
        filter: &treatment.adoption.filter,
        head: view.head,
        excluded_events: view.excluded_events,
        scanned_events: answer.events_scanned,
        digest: cohorts::digest(&metrics, version, &query, &used, view.head, &sums(&answer))?,
    };
    response.provenance = Some(provenance(&sources, answered));
    Ok(response)
}

/// What stands for the answer in its digest: its columns as sums, for the order
/// of subjects may change.
fn sums(answer: &AdoptionAnswer) -> (u64, Vec<f64>) {
    let adopters = answer.adopted.iter().filter(|adopted| **adopted).count() as u64;
    let below = &answer.below;
    let of_below = [&below.before, &below.after].into_iter().chain(&below.periods);
    let of_below = of_below.filter(|column| !column.is_empty());
    let columns = answer.periods.iter().chain(&answer.counts).chain(of_below);
    let sums = columns.chain([&answer.before, &answer.after]).map(|column| column.iter().sum());
    (adopters, sums.collect())
}

/// Reads a request, or says everything that is wrong with it.
fn read(request: pb::QueryImpactRequest, measured: PerSubject) -> Result<Question> {
    let mut problems = Problems::default();
    let window = read_window(&mut problems, request.start_time, request.end_time);
    let treatment = read_treatment(&mut problems, request.adoption);
    let period = read_period(&mut problems, "period", request.period).unwrap_or(TimeDelta::days(7));
    let periods_before =
        read_number(&mut problems, "periods_before", request.periods_before, 4, 366);
    let before = i32::try_from(periods_before).unwrap_or(4);
    let periods_after =
        read_number(&mut problems, "periods_after", request.periods_after, before, 366);
    let classes = read_number(&mut problems, "classes", request.classes, 5, MAX_CLASSES);
    let method = pb::MatchingMethod::try_from(request.method).unwrap_or_else(|_| {
        problems.fields.push("method", "is not a known method");
        pb::MatchingMethod::Unspecified
    });
    let day_zero = pb::DayZeroRule::try_from(request.day_zero).unwrap_or_else(|_| {
        problems.fields.push("day_zero", "is not a known rule");
        pb::DayZeroRule::Unspecified
    });
    let whole = plan::micros(period).saturating_mul(i64::from(periods_before));
    let history = match request.minimum_history {
        None => whole,
        Some(_) => {
            let field = "minimum_history";
            let read = read_duration(&mut problems.fields, field, request.minimum_history);
            if read.is_some_and(|history| history < TimeDelta::zero()) {
                problems.fields.push(field, "must not be negative");
            }
            read.map_or(0, plan::micros)
        }
    };
    let confidence = match request.confidence {
        0.0 => Some(Confidence::P95),
        level => Confidence::new(level).ok(),
    };
    if confidence.is_none() {
        problems.fields.push("confidence", "must lie between 0 and 1, for example 0.95");
    }
    let counts: Vec<EventSelector> = request
        .count_covariates
        .into_iter()
        .map(|event| selector_from_proto(Some(event)))
        .collect();
    for (index, event) in counts.iter().enumerate() {
        check_selector(&mut problems, &format!("count_covariates[{index}]"), event, true);
    }
    for (field, covariates) in [
        ("count_covariates", counts.len()),
        ("property_covariates", request.property_covariates.len()),
    ] {
        if covariates > MAX_COVARIATES {
            problems.fields.push(field, format!("at most {MAX_COVARIATES} are allowed"));
        }
    }
    for (index, property) in request.property_covariates.iter().enumerate() {
        if property.trim().is_empty() || property == "properties." {
            problems.fields.push(format!("property_covariates[{index}]"), "names no property");
        }
    }
    cohorts::check_number(&mut problems, &request.cohorts);
    let segment_by = Some(("segment_by".to_owned(), &request.segment_by));
    let covariates = request.property_covariates.iter().enumerate();
    let covariates =
        covariates.map(|(index, name)| (format!("property_covariates[{index}]"), name));
    for (field, name) in segment_by.into_iter().chain(covariates) {
        if name == plan::COHORT {
            problems.fields.push(field, "names no cohort");
        }
    }
    if request.cluster_by.starts_with(plan::COHORT) {
        let problem =
            "must not be a cohort, which is two large groups: use an account or a property";
        problems.fields.push("cluster_by", problem);
    }
    let (Some(window), Some(treatment), Some(confidence), true) =
        (window, treatment, confidence, problems.is_empty())
    else {
        return Err(Error::Refused(problems));
    };

    let mut dimensions: Vec<Dimension> =
        request.property_covariates.iter().map(|name| plan::dimension(name)).collect();
    let mut further = |name: &str| {
        (!name.is_empty()).then(|| {
            dimensions.push(plan::dimension(name));
            dimensions.len() - 1
        })
    };
    let (segment, cluster) = (further(&request.segment_by), further(&request.cluster_by));
    let PerSubject { outcome, denominator, .. } = measured;
    let is_ratio = denominator.is_some() || outcome.has_denominator();
    let scope = Scope::of(&request.cohorts, &dimensions);
    let query = AdoptionQuery {
        adoption: plan::exact_selector(&treatment.adoption)?,
        from_micros: plan::instant(window.start),
        to_micros: plan::instant(window.end),
        period_micros: plan::micros(period),
        periods_before,
        periods_after,
        outcome,
        denominator,
        counts: counts.iter().map(plan::selector).collect::<Result<_>>()?,
        properties: dimensions,
        day_zero: match day_zero {
            pb::DayZeroRule::FirstAdopter => DayZero::First,
            pb::DayZeroRule::Unspecified | pb::DayZeroRule::Matched => DayZero::Drawn,
        },
        minimum_history_micros: history,
        as_of_micros: None,
    };
    let options = Options {
        method,
        classes,
        confidence,
        by_week: query.day_zero == DayZero::Drawn,
        counts: counts.iter().map(describe).collect(),
        properties: request.property_covariates,
        segment,
        cluster,
        periods_before: periods_before as usize,
        scale: f64::from(periods_after) / f64::from(periods_before),
        is_ratio,
    };
    Ok(Question { query, window, treatment, options, scope })
}

/// How a covariate that counts events is called.
fn describe(event: &EventSelector) -> String {
    match (event.name.as_str(), event.filter.trim()) {
        ("", "") => "events".to_owned(),
        ("", filter) => format!("events where {filter}"),
        (name, "") => name.to_owned(),
        (name, filter) => format!("{name} where {filter}"),
    }
}

fn read_treatment(problems: &mut Problems, adoption: Option<Adoption>) -> Option<Treatment> {
    match adoption {
        None => {
            let problem =
                "is required: the event, automation or experiment whose effect is asked for";
            problems.fields.push("adoption", problem);
            None
        }
        Some(Adoption::Event(event)) => {
            let adoption = selector_from_proto(Some(event));
            check_selector(problems, "event", &adoption, false);
            Some(Treatment { name: describe(&adoption), adoption, randomised: None })
        }
        Some(Adoption::Automation(name)) => {
            check_name(problems, "automation", &name);
            let run =
                |filter| EventSelector { name: "northstar.automation.run".to_owned(), filter };
            let of_automation = format!("properties.automation == \"{name}\"");
            Some(Treatment {
                adoption: run(format!("{of_automation} && properties.arm == \"treated\"")),
                randomised: Some(Arms {
                    exposure: run(of_automation),
                    property: "arm",
                    treated: "treated".to_owned(),
                    held_out: "holdout".to_owned(),
                }),
                name,
            })
        }
        Some(Adoption::Experiment(arm)) => {
            for (field, name) in [
                ("experiment.experiment", &arm.experiment),
                ("experiment.variant", &arm.variant),
                ("experiment.control", &arm.control),
            ] {
                check_name(problems, field, name);
            }
            let exposure =
                |filter| EventSelector { name: "northstar.experiment.exposure".to_owned(), filter };
            let of_experiment = format!("properties.experiment == \"{}\"", arm.experiment);
            let exposed = format!("{of_experiment} && properties.variant == \"{}\"", arm.variant);
            Some(Treatment {
                name: format!("{} of {}", arm.variant, arm.experiment),
                adoption: exposure(exposed),
                randomised: Some(Arms {
                    exposure: exposure(of_experiment),
                    property: "variant",
                    treated: arm.variant,
                    held_out: arm.control,
                }),
            })
        }
    }
}

fn check_name(problems: &mut Problems, field: &str, name: &str) {
    if let Err(error) = name.parse::<ResourceName>() {
        problems.fields.push(field, error.to_string());
    }
}

/// Notes what is wrong with a selector.
pub(super) fn check_selector(
    problems: &mut Problems,
    field: &str,
    selector: &EventSelector,
    may_be_any: bool,
) {
    if !may_be_any && selector.name.is_empty() && selector.filter.trim().is_empty() {
        problems.fields.push(format!("{field}.event"), "is required");
    }
    if !selector.filter.trim().is_empty()
        && let Err(problem) = compile_filter(&selector.filter)
    {
        problems.expressions.push(InvalidExpression {
            field: format!("{field}.filter"),
            expression: selector.filter.clone(),
            problem,
        });
    }
}

/// Reads an optional length of time.
pub(super) fn read_period(
    problems: &mut Problems,
    field: &str,
    duration: Option<Duration>,
) -> Option<TimeDelta> {
    let read = read_duration(&mut problems.fields, field, duration)?;
    if read <= TimeDelta::zero() || read > MAX_PERIOD {
        problems.fields.push(field, "must be longer than nothing and at most 366 days");
        return None;
    }
    Some(read)
}

/// Reads a number of which 0 means `default`.
pub(super) fn read_number(
    problems: &mut Problems,
    field: &str,
    number: i32,
    default: i32,
    most: i32,
) -> u32 {
    let number = if number == 0 { default } else { number };
    if !(1..=most).contains(&number) {
        problems.fields.push(field, format!("must lie between 1 and {most}"));
    }
    u32::try_from(number).unwrap_or(1).max(1)
}

/// The question about the two arms, over the same time after.
fn variants(arms: &Arms, query: &AdoptionQuery) -> Result<VariantQuery> {
    let after = query.period_micros.saturating_mul(i64::from(query.periods_after));
    Ok(VariantQuery {
        exposure: plan::exact_selector(&arms.exposure)?,
        variant_property: arms.property.to_owned(),
        from_micros: query.from_micros,
        to_micros: query.to_micros,
        window_micros: Some(after),
        as_of_micros: query.as_of_micros,
        require_full_window: query.as_of_micros.is_some(),
        outcome: query.outcome.clone(),
        denominator: query.denominator.clone(),
        pre_micros: 0,
    })
}

/// What both arms did, and likewise in every segment.
struct ArmsAnswer {
    whole: VariantAnswer,
    segments: Vec<(Option<String>, VariantAnswer)>,
}

fn arms(
    snapshot: &Snapshot,
    query: &VariantQuery,
    segment: Option<&Dimension>,
) -> Result<ArmsAnswer> {
    let whole = snapshot.variant_stats(query)?;
    let Some(dimension) = segment else { return Ok(ArmsAnswer { whole, segments: Vec::new() }) };
    let first = FirstEvent {
        event: query.exposure.clone(),
        property: Some(query.variant_property.clone()),
        from_micros: query.from_micros,
        to_micros: query.to_micros,
    };
    let mut found = snapshot.segments(dimension, &first)?;
    found.sort_by_key(|(value, subjects)| (Reverse(subjects.len()), value.clone()));
    found.truncate(analysis::MAX_SEGMENTS);
    let segments = found
        .into_iter()
        .map(|(value, subjects)| Ok((value, snapshot.only(&subjects).variant_stats(query)?)));
    Ok(ArmsAnswer { whole, segments: segments.collect::<Result<_>>()? })
}

/// Says in a sentence what was found, and what kind of evidence it is.
fn conclude(
    response: &mut pb::QueryImpactResponse,
    treatment: &Treatment,
    metric: &str,
    query: &AdoptionQuery,
    options: &Options,
) {
    let days = query.period_micros as f64 * f64::from(query.periods_after) / 86_400e6;
    let over = format!("over {} days", words::number(days));
    let level = options.confidence.level();
    // A ratio belongs to a group and not to a subject.
    let per = |whom: &str| if options.is_ratio { String::new() } else { format!(" per {whom}") };
    let of_randomised = response.randomised.as_ref().and_then(|found| {
        let effect = found.effect.as_ref()?;
        Some(format!(
            "{} changed {metric} by {}{} {over}, against {} held out by chance.",
            treatment.name,
            words::with_interval(effect, level),
            per("subject"),
            words::count(found.held_out_subjects as usize, "subject", "subjects"),
        ))
    });
    let of_matched = response.matched.as_ref().and_then(|found| {
        let effect = found.effect.as_ref()?;
        let matches = found.matches.as_ref()?;
        Some(format!(
            "{} went with a change of {metric} by {}{} {over}, against {} like them.",
            treatment.name,
            words::with_interval(effect, level),
            per("adopter"),
            words::count(matches.matched_others as usize, "other subject", "other subjects"),
        ))
    });
    let of_adopters = response.before_after.as_ref().map(|effect| {
        format!(
            "After {}, {metric} changed by {}{} {over}; with nobody to compare with, this is not \
             an effect.",
            treatment.name,
            words::with_interval(effect, level),
            per("adopter"),
        )
    });
    let (kind, evidence, summary) = match (of_randomised, of_matched, of_adopters) {
        (Some(text), ..) => (
            pb::EvidenceKind::Randomised,
            Some(northstar_stats::impact::Evidence::Randomised),
            text,
        ),
        (None, Some(text), _) => {
            (pb::EvidenceKind::Matched, Some(northstar_stats::impact::Evidence::Matched), text)
        }
        (None, None, Some(text)) => (
            pb::EvidenceKind::BeforeAfter,
            Some(northstar_stats::impact::Evidence::BeforeAfter),
            text,
        ),
        (None, None, None) => {
            let text =
                format!("Nothing can be said of {}: {}.", treatment.name, response.not_matched);
            (pb::EvidenceKind::Unspecified, None, text)
        }
    };
    response.evidence = kind.into();
    response.summary = summary;
    let findings = response.matched.as_ref().map(analysis::findings).unwrap_or_default();
    response.statement = evidence.map(|kind| kind.statement(findings)).unwrap_or_default();
}
