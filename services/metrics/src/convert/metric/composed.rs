//! The kinds of definitions beyond the plain ones, on the wire.

use northstar_domain::Violations;
use northstar_domain::metric::{
    ConstantProperty, Definition, DerivedInput, LifecycleState, MetricInput, SubjectAggregate,
    TimeStatistic,
};
use northstar_domain::span::Span;
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::metric::Definition as PbDefinition;

use super::{options, selector, selector_from_proto};
use crate::convert::{read_duration, to_duration};

/// A definition for the wire. The plain kinds are the parent's.
pub(super) fn to_proto(definition: &Definition) -> PbDefinition {
    match definition {
        Definition::Min { event, property } => {
            PbDefinition::Min(pb::MinMetric { event: selector(event), property: property.clone() })
        }
        Definition::Max { event, property } => {
            PbDefinition::Max(pb::MaxMetric { event: selector(event), property: property.clone() })
        }
        Definition::Percentile { event, property, percentile, approximate } => {
            PbDefinition::Percentile(pb::PercentileMetric {
                event: selector(event),
                property: property.clone(),
                percentile: *percentile,
                approximate: *approximate,
            })
        }
        Definition::Stickiness { event, activity, interval, measure, intervals, mode } => {
            PbDefinition::Stickiness(pb::StickinessMetric {
                event: selector(event),
                activity: activity.clone(),
                interval: options::interval_to_proto(*interval).into(),
                measure: options::measure_to_proto(*measure).into(),
                intervals: *intervals,
                mode: options::mode_to_proto(*mode).into(),
            })
        }
        Definition::Lifecycle { event, activity, state } => {
            PbDefinition::Lifecycle(pb::LifecycleMetric {
                event: selector(event),
                activity: activity.clone(),
                state: options::state_to_proto(*state).into(),
            })
        }
        Definition::Cumulative { metric, window, grain_to_date, at } => {
            PbDefinition::Cumulative(pb::CumulativeMetric {
                metric: metric.metric.clone(),
                filter: metric.filter.clone(),
                window: span_to_proto(*window),
                grain_to_date: options::grain_to_proto(*grain_to_date).into(),
                at: options::point_to_proto(*at).into(),
            })
        }
        Definition::Conversion { base, conversion, window, calculation, constant_properties } => {
            PbDefinition::Conversion(pb::ConversionMetric {
                base: selector(base),
                conversion: selector(conversion),
                window: window.map(to_duration),
                calculation: options::calculation_to_proto(*calculation).into(),
                constant_properties: constant_properties
                    .iter()
                    .cloned()
                    .map(|ConstantProperty { base_property, conversion_property }| {
                        pb::ConstantProperty { base_property, conversion_property }
                    })
                    .collect(),
            })
        }
        Definition::Derived { expression, inputs } => PbDefinition::Derived(pb::DerivedMetric {
            expression: expression.clone(),
            inputs: inputs.iter().map(input_to_proto).collect(),
        }),
        Definition::PerSubject { event, aggregate, property, statistic } => {
            PbDefinition::PerSubject(pb::PerSubjectMetric {
                event: selector(event),
                aggregate: options::aggregate_to_proto(*aggregate).into(),
                property: property.clone(),
                statistic: options::statistic_to_proto(*statistic).into(),
            })
        }
        Definition::Nps { event, property } => {
            PbDefinition::Nps(pb::NpsMetric { event: selector(event), property: property.clone() })
        }
        Definition::Count { .. }
        | Definition::Unique { .. }
        | Definition::Sum { .. }
        | Definition::Mean { .. }
        | Definition::Ratio { .. }
        | Definition::Funnel { .. }
        | Definition::Retention { .. }
        | Definition::TimeToEvent { .. } => super::definition_to_proto(definition),
    }
}

/// A definition from the wire. `None` only where a violation says why.
pub(super) fn from_proto(found: &mut Violations, definition: PbDefinition) -> Option<Definition> {
    Some(match definition {
        PbDefinition::Min(pb::MinMetric { event, property }) => {
            Definition::Min { event: selector_from_proto(event), property }
        }
        PbDefinition::Max(pb::MaxMetric { event, property }) => {
            Definition::Max { event: selector_from_proto(event), property }
        }
        PbDefinition::Percentile(pb::PercentileMetric {
            event,
            property,
            percentile,
            approximate,
        }) => Definition::Percentile {
            event: selector_from_proto(event),
            property,
            percentile,
            approximate,
        },
        PbDefinition::Stickiness(metric) => Definition::Stickiness {
            event: selector_from_proto(metric.event),
            activity: metric.activity,
            interval: options::interval_from_proto(found, "stickiness.interval", metric.interval),
            measure: options::measure_from_proto(found, "stickiness.measure", metric.measure),
            intervals: metric.intervals,
            mode: options::mode_from_proto(found, "stickiness.mode", metric.mode),
        },
        PbDefinition::Lifecycle(metric) => Definition::Lifecycle {
            event: selector_from_proto(metric.event),
            activity: metric.activity,
            // Where it is not set, a violation says so; the rest is looked at all the same.
            state: options::state_from_proto(found, "lifecycle.state", metric.state)
                .unwrap_or(LifecycleState::New),
        },
        PbDefinition::Cumulative(metric) => Definition::Cumulative {
            metric: MetricInput { metric: metric.metric, filter: metric.filter },
            window: read_span(found, "cumulative.window", &metric.window),
            grain_to_date: options::grain_from_proto(
                found,
                "cumulative.grain_to_date",
                metric.grain_to_date,
            ),
            at: options::point_from_proto(found, "cumulative.at", metric.at),
        },
        PbDefinition::Conversion(metric) => Definition::Conversion {
            base: selector_from_proto(metric.base),
            conversion: selector_from_proto(metric.conversion),
            window: read_duration(found, "conversion.window", metric.window),
            calculation: options::calculation_from_proto(
                found,
                "conversion.calculation",
                metric.calculation,
            ),
            constant_properties: metric
                .constant_properties
                .into_iter()
                .map(|pb::ConstantProperty { base_property, conversion_property }| {
                    ConstantProperty { base_property, conversion_property }
                })
                .collect(),
        },
        PbDefinition::Derived(pb::DerivedMetric { expression, inputs }) => Definition::Derived {
            expression,
            inputs: inputs
                .into_iter()
                .enumerate()
                .map(|(index, input)| input_from_proto(found, index, input))
                .collect(),
        },
        PbDefinition::PerSubject(metric) => Definition::PerSubject {
            event: selector_from_proto(metric.event),
            aggregate: options::aggregate_from_proto(
                found,
                "per_subject.aggregate",
                metric.aggregate,
            )
            .unwrap_or(if metric.property.is_empty() {
                SubjectAggregate::Count
            } else {
                SubjectAggregate::Sum
            }),
            property: metric.property,
            statistic: options::statistic_from_proto(
                found,
                "per_subject.statistic",
                metric.statistic,
                TimeStatistic::Mean,
            ),
        },
        PbDefinition::Nps(pb::NpsMetric { event, property }) => {
            Definition::Nps { event: selector_from_proto(event), property }
        }
        plain @ (PbDefinition::Count(_)
        | PbDefinition::Unique(_)
        | PbDefinition::Sum(_)
        | PbDefinition::Mean(_)
        | PbDefinition::Ratio(_)
        | PbDefinition::Funnel(_)
        | PbDefinition::Retention(_)
        | PbDefinition::TimeToEvent(_)) => return super::definition_from_proto(found, plain),
    })
}

fn input_to_proto(input: &DerivedInput) -> pb::DerivedInput {
    pb::DerivedInput {
        metric: input.metric.metric.clone(),
        alias: input.alias.clone(),
        filter: input.metric.filter.clone(),
        offset_window: span_to_proto(input.offset_window),
        offset_to_grain: options::grain_to_proto(input.offset_to_grain).into(),
    }
}

fn input_from_proto(found: &mut Violations, index: usize, input: pb::DerivedInput) -> DerivedInput {
    let path = |field: &str| format!("derived.inputs[{index}].{field}");
    DerivedInput {
        metric: MetricInput { metric: input.metric, filter: input.filter },
        alias: input.alias,
        offset_window: read_span(found, &path("offset_window"), &input.offset_window),
        offset_to_grain: options::grain_from_proto(
            found,
            &path("offset_to_grain"),
            input.offset_to_grain,
        ),
    }
}

fn span_to_proto(span: Option<Span>) -> String {
    span.map_or_else(String::new, |span| span.to_string())
}

/// Reads an optional span; notes one that is none.
fn read_span(found: &mut Violations, field: &str, text: &str) -> Option<Span> {
    if text.is_empty() { None } else { found.parse(field, text) }
}
