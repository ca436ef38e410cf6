//! Definitions of metrics as people say them.

use northstar_domain::ResourceName;
use northstar_domain::metric::{
    Definition, DistinctOf, EventSelector, FunnelAnchor, RetentionMode,
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
        Definition::Unique { event, of } => {
            let of = match of {
                DistinctOf::Subject => "subjects".to_owned(),
                DistinctOf::Account => "accounts".to_owned(),
                DistinctOf::Property(path) => format!("values of {path}"),
            };
            format!("The number of different {of} with {} events", kind(event))
        }
        Definition::Sum { event, property } => {
            format!("The sum of {property} over {} events", kind(event))
        }
        Definition::Mean { event, property } => {
            format!("The mean of {property} over the {} events that have it", kind(event))
        }
        Definition::Ratio { numerator, denominator } => {
            format!("{numerator} divided by {denominator}, bucket by bucket")
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
        Definition::TimeToEvent { from, to, window } => format!(
            "The median time from a subject's first {} event to its next {} event{}",
            kind(from),
            kind(to),
            within(*window),
        ),
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
}
