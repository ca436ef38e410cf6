//! Metrics on the wire.

use northstar_domain::Violations;
use northstar_domain::metric::{
    Definition, DistinctOf, EventSelector, FunnelAnchor, Metric, MetricInput, RetentionMode,
    TimeStatistic,
};
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::metric::Definition as PbDefinition;

use super::{Received, read_duration, to_duration};

mod composed;
mod options;

/// A metric for the wire.
pub fn to_proto(name: &str, version: i64, etag: &str, metric: &Metric) -> pb::Metric {
    pb::Metric {
        name: name.to_owned(),
        title: metric.title.clone(),
        description: metric.description.clone(),
        owner: metric.owner.clone(),
        version,
        etag: etag.to_owned(),
        definition: metric.definition.as_ref().map(definition_to_proto),
    }
}

fn definition_to_proto(definition: &Definition) -> PbDefinition {
    match definition {
        Definition::Count { event } => {
            PbDefinition::Count(pb::CountMetric { event: selector(event) })
        }
        Definition::Unique { event, of, activity } => PbDefinition::Unique(pb::UniqueMetric {
            event: selector(event),
            of: match of {
                DistinctOf::Subject => String::new(),
                DistinctOf::Account | DistinctOf::Property(_) => of.to_string(),
            },
            activity: activity.clone(),
        }),
        Definition::Sum { event, property } => {
            PbDefinition::Sum(pb::SumMetric { event: selector(event), property: property.clone() })
        }
        Definition::Mean { event, property } => PbDefinition::Mean(pb::MeanMetric {
            event: selector(event),
            property: property.clone(),
        }),
        Definition::Ratio { numerator, denominator } => PbDefinition::Ratio(pb::RatioMetric {
            numerator: numerator.metric.clone(),
            denominator: denominator.metric.clone(),
            numerator_filter: numerator.filter.clone(),
            denominator_filter: denominator.filter.clone(),
        }),
        Definition::Funnel { steps, window, anchor, allow_ties } => {
            PbDefinition::Funnel(pb::FunnelMetric {
                steps: steps.iter().map(selector_to_proto).collect(),
                window: window.map(to_duration),
                anchor: match anchor {
                    FunnelAnchor::FirstTouch => pb::FunnelAnchor::FirstTouch,
                    FunnelAnchor::BestAttempt => pb::FunnelAnchor::BestAttempt,
                }
                .into(),
                allow_ties: *allow_ties,
            })
        }
        Definition::Retention { start, returning, day, mode } => {
            PbDefinition::Retention(pb::RetentionMetric {
                start: selector(start),
                r#return: selector(returning),
                day: *day,
                mode: match mode {
                    RetentionMode::On => pb::RetentionMode::On,
                    RetentionMode::OnOrAfter => pb::RetentionMode::OnOrAfter,
                }
                .into(),
            })
        }
        Definition::TimeToEvent { from, to, window, statistic } => {
            PbDefinition::TimeToEvent(pb::TimeToEventMetric {
                from: selector(from),
                to: selector(to),
                window: window.map(to_duration),
                statistic: match statistic {
                    // What the wire means without saying so.
                    TimeStatistic::Median => pb::SubjectStatistic::Unspecified,
                    statistic => options::statistic_to_proto(*statistic),
                }
                .into(),
            })
        }
        _ => composed::to_proto(definition),
    }
}

fn selector(selector: &EventSelector) -> Option<pb::EventSelector> {
    Some(selector_to_proto(selector))
}

/// An event selector for the wire.
pub(crate) fn selector_to_proto(selector: &EventSelector) -> pb::EventSelector {
    pb::EventSelector { event: selector.name.clone(), filter: selector.filter.clone() }
}

/// An event selector from the wire; an absent one picks any event.
pub(crate) fn selector_from_proto(selector: Option<pb::EventSelector>) -> EventSelector {
    let pb::EventSelector { event, filter } = selector.unwrap_or_default();
    EventSelector { name: event, filter }
}

/// A metric from the wire. The version is the service's to give and is ignored.
pub fn from_proto(metric: pb::Metric) -> Received<Metric> {
    let pb::Metric { name, title, description, owner, definition, version: _, etag } = metric;
    let mut violations = Violations::new();
    let definition =
        definition.and_then(|definition| definition_from_proto(&mut violations, definition));
    let document = Metric { title, description, owner, definition };
    Received { name, etag, document, violations }
}

/// Reads a definition. `None` only where a violation says why.
fn definition_from_proto(found: &mut Violations, definition: PbDefinition) -> Option<Definition> {
    Some(match definition {
        PbDefinition::Count(pb::CountMetric { event }) => {
            Definition::Count { event: selector_from_proto(event) }
        }
        PbDefinition::Unique(pb::UniqueMetric { event, of, activity }) => Definition::Unique {
            activity,
            event: selector_from_proto(event),
            of: of.parse().unwrap_or_else(|error| {
                found.push("unique.of", format!("{error}"));
                DistinctOf::default()
            }),
        },
        PbDefinition::Sum(pb::SumMetric { event, property }) => {
            Definition::Sum { event: selector_from_proto(event), property }
        }
        PbDefinition::Mean(pb::MeanMetric { event, property }) => {
            Definition::Mean { event: selector_from_proto(event), property }
        }
        PbDefinition::Ratio(ratio) => Definition::Ratio {
            numerator: MetricInput { metric: ratio.numerator, filter: ratio.numerator_filter },
            denominator: MetricInput {
                metric: ratio.denominator,
                filter: ratio.denominator_filter,
            },
        },
        PbDefinition::Funnel(pb::FunnelMetric { steps, window, anchor, allow_ties }) => {
            Definition::Funnel {
                steps: steps.into_iter().map(|step| selector_from_proto(Some(step))).collect(),
                window: read_duration(found, "funnel.window", window),
                anchor: match pb::FunnelAnchor::try_from(anchor) {
                    Ok(pb::FunnelAnchor::FirstTouch) => FunnelAnchor::FirstTouch,
                    Ok(pb::FunnelAnchor::BestAttempt | pb::FunnelAnchor::Unspecified) => {
                        FunnelAnchor::BestAttempt
                    }
                    Err(_) => {
                        found.push("funnel.anchor", unknown(anchor));
                        FunnelAnchor::default()
                    }
                },
                allow_ties,
            }
        }
        PbDefinition::Retention(pb::RetentionMetric { start, r#return, day, mode }) => {
            Definition::Retention {
                start: selector_from_proto(start),
                returning: selector_from_proto(r#return),
                day,
                mode: match pb::RetentionMode::try_from(mode) {
                    Ok(pb::RetentionMode::OnOrAfter) => RetentionMode::OnOrAfter,
                    Ok(pb::RetentionMode::On | pb::RetentionMode::Unspecified) => RetentionMode::On,
                    Err(_) => {
                        found.push("retention.mode", unknown(mode));
                        RetentionMode::default()
                    }
                },
            }
        }
        PbDefinition::TimeToEvent(pb::TimeToEventMetric { from, to, window, statistic }) => {
            Definition::TimeToEvent {
                from: selector_from_proto(from),
                to: selector_from_proto(to),
                window: read_duration(found, "time_to_event.window", window),
                statistic: options::statistic_from_proto(
                    found,
                    "time_to_event.statistic",
                    statistic,
                    TimeStatistic::Median,
                ),
            }
        }
        other => return composed::from_proto(found, other),
    })
}

fn unknown(number: i32) -> String {
    format!("has no value with number {number}")
}
