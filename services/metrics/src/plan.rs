//! From a definition to a question for the engine.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use northstar_domain::ResourceName;
use northstar_domain::metric::{
    Definition, DistinctOf, EventSelector, FunnelAnchor, Metric, RetentionMode, property_path,
};
use northstar_engine as engine;
use northstar_engine::{Dimension, Filter, MetricSpec};

use crate::{Error, Result};

/// The metrics that a question needs, by name: the one asked for and, for a
/// ratio, its parts.
pub(crate) type Metrics = BTreeMap<ResourceName, Metric>;

/// Compiles a filter, or says what is wrong with it. What `northstar validate`
/// hands to [`northstar_domain::catalog::Catalog::check`].
///
/// # Errors
/// The problem, for people.
pub fn compile_filter(text: &str) -> Result<(), String> {
    Filter::parse(text).map(|_| ()).map_err(|error| error.to_string())
}

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
    Ok(match definition(metrics, name)? {
        Definition::Count { event } => MetricSpec::Count { event: selector(event)? },
        Definition::Unique { event, of } => {
            MetricSpec::Unique { event: selector(event)?, of: distinct_of(of) }
        }
        Definition::Sum { event, property } => MetricSpec::Sum {
            event: selector(event)?,
            property: property_path(property).to_owned(),
        },
        Definition::Mean { event, property } => MetricSpec::Mean {
            event: selector(event)?,
            property: property_path(property).to_owned(),
        },
        Definition::Ratio { numerator, denominator } => MetricSpec::Ratio {
            numerator: Box::new(part(metrics, numerator)?),
            denominator: Box::new(part(metrics, denominator)?),
        },
        Definition::Funnel { steps, window, anchor, allow_ties } => {
            MetricSpec::Funnel(engine::FunnelSpec {
                steps: steps.iter().map(selector).collect::<Result<_>>()?,
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
                start: selector(start)?,
                returning: selector(returning)?,
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
        Definition::TimeToEvent { from, to, window } => {
            MetricSpec::TimeToEvent(engine::TimeToEventSpec {
                from: selector(from)?,
                to: selector(to)?,
                window_micros: window.map(micros),
                entry: engine::Entry::FirstInRange,
                ties: engine::Ties::ByOrder,
                statistic: engine::Statistic::P50,
            })
        }
    })
}

/// A part of a ratio, which is never a ratio itself, so this ends.
fn part(metrics: &Metrics, name: &str) -> Result<MetricSpec> {
    if definition(metrics, name)?.may_be_part_of_ratio() {
        spec(metrics, name)
    } else {
        Err(Error::field("metric", format!("{name} cannot be part of a ratio")))
    }
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
        .flat_map(Metric::selectors)
        .map(|(_, selector)| Some(selector.name.as_str()).filter(|name| !name.is_empty()))
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
