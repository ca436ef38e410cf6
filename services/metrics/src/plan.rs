//! From a definition to a question for the engine.

mod scope;

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use northstar_domain::catalog::Compilers;
use northstar_domain::metric::{
    Calculation, CalendarGrain, CumulativePoint, Definition, DerivedInput, DistinctOf,
    EventSelector, FunnelAnchor, Interval, LifecycleState, MetricInput, RetentionMode,
    StickinessMeasure, StickinessMode, SubjectAggregate, TimeStatistic, property_path,
};
use northstar_domain::span::{CalendarUnit, Span};
use northstar_engine as engine;
use northstar_engine::{Dimension, Filter, Formula, MetricSpec};

use crate::{Error, Result};

pub(crate) use scope::{Metrics, Scope};

/// Compiles a filter, or says what is wrong with it.
///
/// # Errors
/// The problem, for people.
pub fn compile_filter(text: &str) -> Result<(), String> {
    Filter::parse(text).map(|_| ()).map_err(|error| error.to_string())
}

/// Compiles the expression of a derived metric over its aliases, or says what is
/// wrong with it.
///
/// # Errors
/// The problem, for people.
pub fn compile_formula(text: &str, aliases: &[&str]) -> Result<(), String> {
    Formula::parse(text, aliases).map(|_| ()).map_err(|error| error.problem)
}

/// What reads the expressions of definitions, for
/// [`Catalog::check`](northstar_domain::catalog::Catalog::check).
pub const COMPILERS: Compilers<'_> =
    Compilers { filter: &compile_filter, formula: &compile_formula };

/// Reads an optional filter; blank is none.
pub(crate) fn filter(text: &str) -> Result<Option<Filter>, engine::FilterError> {
    if text.trim().is_empty() { Ok(None) } else { Filter::parse(text).map(Some) }
}

/// An event selector of a metric for the engine. One without name picks what
/// subjects did, not what the suite wrote about them: a subject that was exposed
/// or nudged has not come back.
pub(crate) fn selector(selector: &EventSelector) -> Result<engine::EventSelector> {
    if !selector.name.is_empty() {
        return exact_selector(selector);
    }
    let of_subjects = match selector.filter.trim() {
        "" => r#"event.source != "northstar""#.to_owned(),
        filter => format!(r#"event.source != "northstar" && ({filter})"#),
    };
    exact_selector(&EventSelector { filter: of_subjects, ..EventSelector::default() })
}

/// An event selector for the engine, to the letter.
pub(crate) fn exact_selector(selector: &EventSelector) -> Result<engine::EventSelector> {
    let names = Some(selector.name.clone()).filter(|name| !name.is_empty());
    Ok(engine::EventSelector {
        names: names.into_iter().collect(),
        filter: filter(&selector.filter).map_err(stored_filter)?,
    })
}

/// A filter that was checked when it was stored can only fail where the engine
/// has become stricter since.
fn stored_filter(error: engine::FilterError) -> Error {
    Error::Engine(engine::Error::Filter(error))
}

/// A stored metric is complete; one that is not was written by another program.
pub(crate) fn definition<'a>(metrics: &'a Metrics, name: &str) -> Result<&'a Definition> {
    metrics
        .get(name)
        .and_then(|metric| metric.definition.as_ref())
        .ok_or_else(|| Error::NotFound { kind: "Metric", name: name.to_owned() })
}

/// What the engine computes for a metric.
pub(crate) fn spec(metrics: &Metrics, name: &str) -> Result<MetricSpec> {
    spec_of(&Scope::new(metrics), name)
}

/// What the engine computes for a metric over the events of a scope.
fn spec_of(scope: &Scope<'_>, name: &str) -> Result<MetricSpec> {
    Ok(match definition(scope.metrics, name)? {
        Definition::Count { event } => MetricSpec::Count { event: scope.selector(event)? },
        Definition::Unique { event, of, activity } => {
            MetricSpec::Unique { event: scope.active(event, activity)?, of: distinct_of(of) }
        }
        Definition::Sum { event, property } => {
            MetricSpec::Sum { event: scope.selector(event)?, property: path(property) }
        }
        Definition::Mean { event, property } => {
            MetricSpec::Mean { event: scope.selector(event)?, property: path(property) }
        }
        Definition::Min { event, property } => {
            MetricSpec::Min { event: scope.selector(event)?, property: path(property) }
        }
        Definition::Max { event, property } => {
            MetricSpec::Max { event: scope.selector(event)?, property: path(property) }
        }
        Definition::Percentile { event, property, percentile, approximate } => {
            MetricSpec::Percentile {
                event: scope.selector(event)?,
                property: path(property),
                quantile: percentile / 100.0,
                approximate: *approximate,
            }
        }
        Definition::Nps { event, property } => {
            MetricSpec::Nps { event: scope.selector(event)?, property: path(property) }
        }
        Definition::Ratio { numerator, denominator } => MetricSpec::Ratio {
            numerator: Box::new(part(scope, numerator)?),
            denominator: Box::new(part(scope, denominator)?),
        },
        Definition::Funnel { steps, window, anchor, allow_ties } => {
            MetricSpec::Funnel(engine::FunnelSpec {
                steps: steps.iter().map(|step| scope.selector(step)).collect::<Result<_>>()?,
                window_micros: window.map(micros),
                anchor: match anchor {
                    FunnelAnchor::FirstTouch => engine::Anchor::FirstTouch,
                    FunnelAnchor::BestAttempt => engine::Anchor::BestAttempt,
                },
                entry: match anchor {
                    FunnelAnchor::FirstTouch => engine::Entry::FirstInRange,
                    FunnelAnchor::BestAttempt => engine::Entry::PerBucket,
                },
                ties: if *allow_ties { engine::Ties::AnyOrder } else { engine::Ties::ByOrder },
            })
        }
        Definition::Retention { start, returning, day, mode } => {
            let offset = u32::try_from(*day)
                .map_err(|_| Error::field("retention.day", "must not be negative"))?;
            MetricSpec::Retention(engine::RetentionSpec {
                start: scope.selector(start)?,
                returning: scope.selector(returning)?,
                period: engine::Period::Day,
                offsets: vec![offset],
                headline: offset,
                mode: match mode {
                    RetentionMode::On => engine::Return::On,
                    RetentionMode::OnOrAfter => engine::Return::OnOrAfter,
                },
                // A subject counts from the day on which it could come back.
                maturity: engine::Maturity::PeriodStarted,
                entry: engine::Entry::FirstInRange,
            })
        }
        Definition::TimeToEvent { from, to, window, statistic: figure } => {
            MetricSpec::TimeToEvent(engine::TimeToEventSpec {
                from: scope.selector(from)?,
                to: scope.selector(to)?,
                window_micros: window.map(micros),
                entry: engine::Entry::FirstInRange,
                ties: engine::Ties::ByOrder,
                statistic: statistic(*figure),
            })
        }
        Definition::Stickiness { event, activity, interval, measure, intervals, mode } => {
            MetricSpec::Stickiness(engine::StickinessSpec {
                event: scope.active_by_default(event, activity)?,
                interval: period(*interval),
                measure: stickiness_measure(*measure, *intervals, *mode),
            })
        }
        Definition::Lifecycle { event, activity, state } => {
            MetricSpec::Lifecycle(engine::LifecycleSpec {
                event: scope.active_by_default(event, activity)?,
                state: match state {
                    LifecycleState::New => engine::Lifecycle::New,
                    LifecycleState::Returning => engine::Lifecycle::Returning,
                    LifecycleState::Resurrecting => engine::Lifecycle::Resurrecting,
                    LifecycleState::Dormant => engine::Lifecycle::Dormant,
                },
            })
        }
        Definition::PerSubject { event, aggregate, property, statistic: figure } => {
            MetricSpec::PerSubject(engine::PerSubjectSpec {
                event: scope.selector(event)?,
                aggregate: self::aggregate(*aggregate, property),
                statistic: statistic(*figure),
            })
        }
        Definition::Conversion { .. } => MetricSpec::Conversion(conversion(scope, name)?),
        Definition::Cumulative { metric, window, grain_to_date, at } => {
            MetricSpec::Cumulative(engine::CumulativeSpec {
                metric: Box::new(part(scope, metric)?),
                window: match (window, grain_to_date) {
                    (Some(window), _) => engine::CumulativeWindow::Trailing(span(*window)),
                    (None, Some(to_date)) => engine::CumulativeWindow::ToDate(grain(*to_date)),
                    (None, None) => engine::CumulativeWindow::AllTime,
                },
                end: match at {
                    CumulativePoint::End => engine::CumulativeEnd::BucketEnd,
                    CumulativePoint::Start => engine::CumulativeEnd::BucketStart,
                },
            })
        }
        Definition::Derived { expression, inputs } => {
            let aliases: Vec<&str> = inputs.iter().map(DerivedInput::alias).collect();
            MetricSpec::Derived {
                formula: Formula::parse(expression, &aliases)
                    .map_err(|error| Error::field("metric", error.to_string()))?,
                inputs: inputs
                    .iter()
                    .map(|input| {
                        let offset = match (input.offset_window, input.offset_to_grain) {
                            (Some(back), _) => Some(engine::Offset::Window(span(back))),
                            (None, Some(to)) => Some(engine::Offset::ToGrain(grain(to))),
                            (None, None) => None,
                        };
                        Ok(engine::DerivedInput { metric: part(scope, &input.metric)?, offset })
                    })
                    .collect::<Result<_>>()?,
            }
        }
    })
}

/// A metric that another is computed from. Stored metrics stand in no circle; the
/// depth is checked all the same, so that this ends.
fn part<'a>(scope: &Scope<'a>, input: &'a MetricInput) -> Result<MetricSpec> {
    spec_of(&scope.of(input)?, &input.metric)
}

/// The conversion that a metric of this kind counts.
pub(crate) fn conversion(scope: &Scope<'_>, name: &str) -> Result<engine::ConversionSpec> {
    let Definition::Conversion { base, conversion, window, calculation, constant_properties } =
        definition(scope.metrics, name)?
    else {
        return Err(Error::field("metric", format!("{name} is no conversion")));
    };
    Ok(engine::ConversionSpec {
        base: scope.selector(base)?,
        conversion: scope.selector(conversion)?,
        window_micros: window.map(micros),
        constants: constant_properties
            .iter()
            .map(|pair| (path(&pair.base_property), path(&pair.conversion_property)))
            .collect(),
        measure: match calculation {
            Calculation::ConversionRate => engine::ConversionMeasure::Rate,
            Calculation::Conversions => engine::ConversionMeasure::Conversions,
        },
    })
}

/// The dotted path of a property.
pub(crate) fn path(property: &str) -> String {
    property_path(property).to_owned()
}

pub(crate) fn aggregate(aggregate: SubjectAggregate, property: &str) -> engine::Aggregate {
    match aggregate {
        SubjectAggregate::Count => engine::Aggregate::Count,
        SubjectAggregate::Sum => engine::Aggregate::Sum(path(property)),
        SubjectAggregate::Min => engine::Aggregate::Min(path(property)),
        SubjectAggregate::Max => engine::Aggregate::Max(path(property)),
        SubjectAggregate::First => engine::Aggregate::First(path(property)),
        SubjectAggregate::Last => engine::Aggregate::Last(path(property)),
    }
}

fn statistic(statistic: TimeStatistic) -> engine::Statistic {
    match statistic {
        TimeStatistic::Median => engine::Statistic::P50,
        TimeStatistic::Mean => engine::Statistic::Mean,
        TimeStatistic::P90 => engine::Statistic::P90,
        TimeStatistic::P95 => engine::Statistic::P95,
        TimeStatistic::Sum => engine::Statistic::Sum,
    }
}

pub(crate) fn period(interval: Interval) -> engine::Period {
    match interval {
        Interval::Day => engine::Period::Day,
        Interval::Week => engine::Period::Week,
        Interval::Month => engine::Period::Month,
    }
}

pub(crate) fn stickiness_measure(
    measure: StickinessMeasure,
    intervals: i32,
    mode: StickinessMode,
) -> engine::StickinessMeasure {
    let wanted = intervals.unsigned_abs();
    match (measure, mode) {
        (StickinessMeasure::Ratio, _) => engine::StickinessMeasure::Ratio,
        (StickinessMeasure::Share, StickinessMode::AtLeast) => {
            engine::StickinessMeasure::ShareAtLeast(wanted)
        }
        (StickinessMeasure::Share, StickinessMode::Exactly) => {
            engine::StickinessMeasure::ShareExactly(wanted)
        }
        (StickinessMeasure::Count, StickinessMode::AtLeast) => {
            engine::StickinessMeasure::CountAtLeast(wanted)
        }
        (StickinessMeasure::Count, StickinessMode::Exactly) => {
            engine::StickinessMeasure::CountExactly(wanted)
        }
    }
}

fn grain(grain: CalendarGrain) -> engine::Grain {
    match grain {
        CalendarGrain::Day => engine::Grain::Day,
        CalendarGrain::Week => engine::Grain::Week,
        CalendarGrain::Month => engine::Grain::Month,
        CalendarGrain::Quarter => engine::Grain::Quarter,
        CalendarGrain::Year => engine::Grain::Year,
    }
}

/// A length of calendar time for the engine.
pub(crate) fn span(span: Span) -> engine::Span {
    let unit = match span.unit {
        CalendarUnit::Hour => engine::SpanUnit::Hour,
        CalendarUnit::Day => engine::SpanUnit::Day,
        CalendarUnit::Week => engine::SpanUnit::Week,
        CalendarUnit::Month => engine::SpanUnit::Month,
        CalendarUnit::Quarter => engine::SpanUnit::Quarter,
        CalendarUnit::Year => engine::SpanUnit::Year,
    };
    engine::Span { count: span.count.into(), unit }
}

fn distinct_of(of: &DistinctOf) -> engine::DistinctOf {
    match of {
        DistinctOf::Subject => engine::DistinctOf::Subject,
        DistinctOf::Account => engine::DistinctOf::Account,
        DistinctOf::Property(path) => engine::DistinctOf::Property(path.clone()),
    }
}

/// What the name of a cohort's dimension begins with.
pub(crate) const COHORT: &str = "cohort.";

/// A dimension as requests name it: `event.name`, `event.source`,
/// `event.account_id`, `cohort.x`, `properties.x` or just `x`.
pub(crate) fn dimension(text: &str) -> Dimension {
    match text {
        "event" | "event.name" => Dimension::Event,
        "event.source" => Dimension::Source,
        "event.account_id" => Dimension::AccountId,
        _ => match text.strip_prefix(COHORT) {
            Some(cohort) => Dimension::Cohort(cohort.to_owned()),
            None => Dimension::Property(property_path(text).to_owned()),
        },
    }
}

/// Names of the events that the metrics read; `None` when one reads any event.
pub(crate) fn events_read(metrics: &Metrics) -> Option<BTreeSet<&str>> {
    metrics
        .values()
        .flat_map(|metric| metrics.selectors_of(metric))
        .map(|selector| Some(selector.name.as_str()).filter(|name| !name.is_empty()))
        .collect()
}

/// Microseconds of a duration, within what an i64 holds.
pub(crate) fn micros(duration: TimeDelta) -> i64 {
    duration.num_microseconds().unwrap_or(i64::MAX)
}

/// Microseconds of an instant since 1970-01-01 UTC.
pub(crate) fn instant(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}
