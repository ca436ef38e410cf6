//! Definitions of metrics as people say them.

use northstar_domain::ResourceName;
use northstar_domain::metric::{
    Calculation, CumulativePoint, Definition, DistinctOf, EventSelector, FunnelAnchor, Interval,
    LifecycleState, MetricInput, RetentionMode, StickinessMeasure, StickinessMode,
    SubjectAggregate, TimeStatistic,
};
use northstar_domain::{duration, metric};
use northstar_proto::metrics::v1 as pb;

use crate::plan::Metrics;

/// What every metric counts, the one asked for first.
pub(super) fn definitions(metrics: &Metrics, name: &str) -> Vec<pb::DefinitionInWords> {
    let (asked, parts): (Vec<_>, Vec<_>) =
        metrics.iter().partition(|(metric, _)| metric.as_str() == name);
    let sentence = |(name, metric): (&ResourceName, &metric::Metric)| pb::DefinitionInWords {
        metric: name.to_string(),
        words: metric.definition.as_ref().map(words).unwrap_or_default(),
    };
    asked.into_iter().chain(parts).map(sentence).collect()
}

fn words(definition: &Definition) -> String {
    match definition {
        Definition::Count { event } => format!("The number of {} events", kind(event)),
        Definition::Unique { event, of, activity } => {
            let of = match of {
                DistinctOf::Subject => "subjects".to_owned(),
                DistinctOf::Account => "accounts".to_owned(),
                DistinctOf::Property(path) => format!("values of {path}"),
            };
            format!("The number of different {of} with {}", active(event, activity))
        }
        Definition::Sum { event, property } => {
            format!("The sum of {property} over {} events", kind(event))
        }
        Definition::Mean { event, property } => {
            format!("The mean of {property} over the {} events that have it", kind(event))
        }
        Definition::Ratio { numerator, denominator } => {
            let (above, below) = (part(numerator), part(denominator));
            format!("{above} divided by {below}, bucket by bucket")
        }
        Definition::Funnel { steps, window, anchor, allow_ties } => {
            let steps: Vec<String> = steps.iter().map(kind).collect();
            let anchor = match anchor {
                FunnelAnchor::FirstTouch => "from the first start in the range",
                FunnelAnchor::BestAttempt => "from the start that gets furthest",
            };
            let ties = if *allow_ties { ", steps at one instant in any order" } else { "" };
            format!(
                "The share of subjects that go through {} in this order{}, {anchor}{ties}",
                steps.join(", then "),
                within(*window),
            )
        }
        Definition::Retention { start, returning, day, mode } => {
            let when = match mode {
                RetentionMode::On => "on",
                RetentionMode::OnOrAfter => "on or after",
            };
            format!(
                "The share of subjects with {} events that have {} events {when} day {day} after \
                 their first, of those for whom that day has begun",
                kind(start),
                kind(returning),
            )
        }
        Definition::TimeToEvent { from, to, window, statistic } => format!(
            "The {} time from a subject's first {} event to its next {} event{}",
            figure(*statistic),
            kind(from),
            kind(to),
            within(*window),
        ),
        Definition::Min { event, property } => {
            format!("The smallest {property} of the {} events", kind(event))
        }
        Definition::Max { event, property } => {
            format!("The largest {property} of the {} events", kind(event))
        }
        Definition::Percentile { event, property, percentile, approximate } => {
            let about = if *approximate { ", by a t-digest" } else { "" };
            format!(
                "The {percentile}th percentile of {property} over the {} events{about}",
                kind(event)
            )
        }
        Definition::Nps { event, property } => format!(
            "The percentage of {} events with a {property} of 9 or 10 less the percentage with one \
             of 0 to 6",
            kind(event),
        ),
        Definition::Stickiness { event, activity, interval, measure, intervals, mode } => {
            let interval = match interval {
                Interval::Day => "day",
                Interval::Week => "week",
                Interval::Month => "month",
            };
            let often = match mode {
                StickinessMode::AtLeast => "at least",
                StickinessMode::Exactly => "exactly",
            };
            let active = active(event, activity);
            match measure {
                StickinessMeasure::Ratio => format!(
                    "The mean number of subjects per {interval} over the number of subjects in the \
                     bucket, with {active}"
                ),
                StickinessMeasure::Share => format!(
                    "The share of the subjects with {active} that have some in {often} {intervals} \
                     {interval}s"
                ),
                StickinessMeasure::Count => format!(
                    "The number of subjects with {active} in {often} {intervals} {interval}s"
                ),
            }
        }
        Definition::Lifecycle { event, activity, state } => {
            let active = active(event, activity);
            match state {
                LifecycleState::New => {
                    format!("The number of subjects with {active} for the first time ever")
                }
                LifecycleState::Returning => {
                    format!("The number of subjects with {active} in the bucket and the one before")
                }
                LifecycleState::Resurrecting => format!(
                    "The number of subjects with {active} in the bucket and earlier, but not in the \
                     one before"
                ),
                LifecycleState::Dormant => {
                    format!(
                        "The number of subjects with {active} in the bucket before, but not in this one"
                    )
                }
            }
        }
        Definition::Cumulative { metric, window, grain_to_date, at } => {
            let end = match at {
                CumulativePoint::End => "up to the end of each bucket",
                CumulativePoint::Start => "up to the start of each bucket",
            };
            let start = match (window, grain_to_date) {
                (Some(window), _) => format!(" over {window}"),
                (None, Some(grain)) => format!(" from the start of the {}", grain.as_str()),
                (None, None) => String::new(),
            };
            format!("{}{start} {end}", part(metric))
        }
        Definition::Conversion { base, conversion, window, calculation, constant_properties } => {
            let alike = if constant_properties.is_empty() { "" } else { " with the same values" };
            match calculation {
                Calculation::ConversionRate => format!(
                    "The share of {} events that lead to a {} event of the same subject{alike}{}",
                    kind(base),
                    kind(conversion),
                    within(*window),
                ),
                Calculation::Conversions => format!(
                    "The number of {} events that a {} event of the same subject{alike} led to{}",
                    kind(conversion),
                    kind(base),
                    within(*window),
                ),
            }
        }
        Definition::Derived { expression, inputs } => {
            let inputs: Vec<String> = inputs
                .iter()
                .map(|input| {
                    let when = match (input.offset_window, input.offset_to_grain) {
                        (Some(back), _) => format!(" {back} before"),
                        (None, Some(grain)) => format!(" at the start of the {}", grain.as_str()),
                        (None, None) => String::new(),
                    };
                    format!("{} is {}{when}", input.alias(), part(&input.metric))
                })
                .collect();
            format!("{expression}, where {}", inputs.join(", "))
        }
        Definition::PerSubject { event, aggregate, property, statistic } => {
            let number = match aggregate {
                SubjectAggregate::Count => "number".to_owned(),
                SubjectAggregate::Sum => format!("sum of {property}"),
                SubjectAggregate::Min => format!("smallest {property}"),
                SubjectAggregate::Max => format!("largest {property}"),
                SubjectAggregate::First => format!("first {property}"),
                SubjectAggregate::Last => format!("last {property}"),
            };
            let (figure, kind) = (figure(*statistic), kind(event));
            format!("The {figure} over subjects of the {number} of their {kind} events")
        }
    }
}

fn figure(statistic: TimeStatistic) -> &'static str {
    match statistic {
        TimeStatistic::Median => "median",
        TimeStatistic::Mean => "mean",
        TimeStatistic::P90 => "90th percentile",
        TimeStatistic::P95 => "95th percentile",
        TimeStatistic::Sum => "sum",
    }
}

/// A metric that another is computed from.
fn part(input: &MetricInput) -> String {
    match input.filter.trim() {
        "" => input.metric.clone(),
        filter => format!("{} where {filter}", input.metric),
    }
}

/// What makes a subject active.
fn active(event: &EventSelector, activity: &str) -> String {
    if activity.is_empty() {
        format!("{} events", kind(event))
    } else {
        format!("the activity {activity}")
    }
}

fn kind(selector: &EventSelector) -> String {
    let name = match selector.name.as_str() {
        "" => "any (but the suite's own)".to_owned(),
        name => format!("{name:?}"),
    };
    match selector.filter.trim() {
        "" => name,
        filter => format!("{name} where {filter}"),
    }
}

fn within(window: Option<chrono::TimeDelta>) -> String {
    window.map_or_else(String::new, |window| format!(" within {}", duration::format(window)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_one_sentence() {
        let signed_up = EventSelector::named("Signed Up");
        let paid =
            EventSelector { name: "Paid".to_owned(), filter: "properties.amount > 0".to_owned() };
        let funnel = Definition::Funnel {
            steps: vec![signed_up, paid],
            window: Some(chrono::TimeDelta::days(7)),
            anchor: FunnelAnchor::FirstTouch,
            allow_ties: false,
        };
        assert_eq!(
            words(&funnel),
            "The share of subjects that go through \"Signed Up\", then \"Paid\" where \
             properties.amount > 0 in this order within 7d, from the first start in the range"
        );
    }

    #[test]
    fn metrics_on_metrics_say_what_stands_where() {
        let read = |text: &str| words(&serde_norway::from_str(text).unwrap());
        for (text, expected) in [
            (
                "{type: derived, expression: (now - before) / before, inputs: [{metric: revenue, \
                 alias: now}, {metric: {metric: revenue, filter: properties.x > 0}, alias: before, \
                 offset_window: 1 week}]}",
                "(now - before) / before, where now is revenue, before is revenue where \
                 properties.x > 0 1 week before",
            ),
            (
                "{type: cumulative, metric: actives, window: 30 days}",
                "actives over 30 days up to the end of each bucket",
            ),
            (
                "{type: unique, activity: active}",
                "The number of different subjects with the activity active",
            ),
            (
                "{type: per_subject, event: Paid, aggregate: sum, property: amount, statistic: p90}",
                "The 90th percentile over subjects of the sum of amount of their \"Paid\" events",
            ),
        ] {
            assert_eq!(read(text), expected);
        }
    }
}
