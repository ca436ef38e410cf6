//! Which metrics look at an event, as the metrics service tells.

use std::collections::{BTreeMap, BTreeSet};

use northstar_client::Clients;
use northstar_domain::contract::EventUse;
use northstar_proto::metrics::v1 as pb;
use pb::metric::Definition;
use tonic::Code;

use crate::error::Error;

/// Every metric that looks at events of a name, directly or through the metrics
/// of a ratio. Without a metrics service at its address there are none; one that
/// does not answer is an error, so that a change waits for it.
pub(crate) async fn uses_of(clients: &Clients, event: &str) -> Result<Vec<EventUse>, Error> {
    let mut metrics = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListMetricsRequest { page_size: 1000, page_token };
        let page = match clients.metrics().list_metrics(request).await {
            Ok(page) => page.into_inner(),
            Err(status) if status.code() == Code::Unimplemented => return Ok(Vec::new()),
            Err(status) => return Err(status.into()),
        };
        metrics.extend(page.metrics);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let mut activities = Vec::new();
    loop {
        let request = pb::ListActivitiesRequest { page_size: 1000, page_token };
        let page = clients.metrics().list_activities(request).await?.into_inner();
        activities.extend(page.activities);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(uses(&metrics, &activities, event));
        }
    }
}

fn uses(metrics: &[pb::Metric], activities: &[pb::Activity], event: &str) -> Vec<EventUse> {
    let mut texts_of: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for metric in metrics {
        let (selectors, properties) = reads(metric, activities);
        let looks =
            selectors.iter().any(|selector| selector.event.is_empty() || selector.event == event);
        if looks {
            let texts = texts_of.entry(&metric.name).or_default();
            texts.extend(
                selectors
                    .into_iter()
                    .filter(|selector| selector.event.is_empty() || selector.event == event)
                    .map(|selector| selector.filter),
            );
            texts.extend(properties);
        }
    }
    // A metric may stand on others, and those on others again.
    loop {
        let mut grown = false;
        for metric in metrics {
            for (part, filter) in stands_on(metric) {
                let Some(mut below) = texts_of.get(part).cloned() else { continue };
                below.insert(filter.to_owned());
                let is_new = !texts_of.contains_key(metric.name.as_str());
                let texts = texts_of.entry(&metric.name).or_default();
                let known = texts.len();
                texts.extend(below);
                grown |= is_new || texts.len() > known;
            }
        }
        if !grown {
            break;
        }
    }
    texts_of
        .into_iter()
        .map(|(metric, texts)| EventUse {
            metric: metric.to_owned(),
            texts: texts.into_iter().filter(|text| !text.is_empty()).collect(),
        })
        .collect()
}

/// The metrics that one is computed from, each with the filter it is narrowed by.
fn stands_on(metric: &pb::Metric) -> Vec<(&str, &str)> {
    match &metric.definition {
        Some(Definition::Ratio(ratio)) => vec![
            (ratio.numerator.as_str(), ratio.numerator_filter.as_str()),
            (ratio.denominator.as_str(), ratio.denominator_filter.as_str()),
        ],
        Some(Definition::Cumulative(part)) => vec![(part.metric.as_str(), part.filter.as_str())],
        Some(Definition::Derived(derived)) => {
            let inputs = derived.inputs.iter();
            inputs.map(|input| (input.metric.as_str(), input.filter.as_str())).collect()
        }
        _ => Vec::new(),
    }
}

/// The selectors of a metric, and the properties it reads.
fn reads(
    metric: &pb::Metric,
    activities: &[pb::Activity],
) -> (Vec<pb::EventSelector>, Vec<String>) {
    let some = |selector: &Option<pb::EventSelector>| selector.clone().unwrap_or_default();
    // What makes a subject active: an activity by name or by default, or events.
    let active = |event: &Option<pb::EventSelector>, activity: &str, or_default: bool| {
        let any = some(event) == pb::EventSelector::default();
        let named = activities.iter().find(|known| {
            if activity.is_empty() {
                any && or_default && known.default
            } else {
                known.name == activity
            }
        });
        named.map_or_else(|| vec![some(event)], |activity| activity.events.clone())
    };
    let one = |event, property: &String| (vec![some(event)], vec![property.clone()]);
    match &metric.definition {
        Some(Definition::Count(count)) => (vec![some(&count.event)], Vec::new()),
        Some(Definition::Unique(unique)) => {
            (active(&unique.event, &unique.activity, false), vec![unique.of.clone()])
        }
        Some(Definition::Sum(metric)) => one(&metric.event, &metric.property),
        Some(Definition::Mean(metric)) => one(&metric.event, &metric.property),
        Some(Definition::Min(metric)) => one(&metric.event, &metric.property),
        Some(Definition::Max(metric)) => one(&metric.event, &metric.property),
        Some(Definition::Percentile(metric)) => one(&metric.event, &metric.property),
        Some(Definition::PerSubject(metric)) => one(&metric.event, &metric.property),
        Some(Definition::Nps(metric)) => one(&metric.event, &metric.property),
        Some(Definition::Stickiness(metric)) => {
            (active(&metric.event, &metric.activity, true), Vec::new())
        }
        Some(Definition::Lifecycle(metric)) => {
            (active(&metric.event, &metric.activity, true), Vec::new())
        }
        Some(Definition::Funnel(funnel)) => (funnel.steps.clone(), Vec::new()),
        Some(Definition::Retention(retention)) => {
            (vec![some(&retention.start), some(&retention.r#return)], Vec::new())
        }
        Some(Definition::TimeToEvent(times)) => {
            (vec![some(&times.from), some(&times.to)], Vec::new())
        }
        Some(Definition::Conversion(metric)) => {
            let pairs = metric.constant_properties.iter();
            let held = pairs
                .flat_map(|pair| [pair.base_property.clone(), pair.conversion_property.clone()]);
            (vec![some(&metric.base), some(&metric.conversion)], held.collect())
        }
        Some(Definition::Ratio(_) | Definition::Cumulative(_) | Definition::Derived(_)) | None => {
            (Vec::new(), Vec::new())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, definition: Definition) -> pb::Metric {
        pb::Metric { name: name.to_owned(), definition: Some(definition), ..Default::default() }
    }

    fn selector(event: &str, filter: &str) -> Option<pb::EventSelector> {
        Some(pb::EventSelector { event: event.to_owned(), filter: filter.to_owned() })
    }

    #[test]
    fn a_ratio_uses_what_its_parts_use() {
        let sum = pb::SumMetric {
            event: selector("Paid", "properties.plan == 'pro'"),
            property: "amount".to_owned(),
        };
        let ratio = |numerator: &str, denominator: &str| {
            Definition::Ratio(pb::RatioMetric {
                numerator: numerator.to_owned(),
                denominator: denominator.to_owned(),
                ..Default::default()
            })
        };
        let metrics = [
            metric("deep", ratio("share", "share")),
            metric("share", ratio("revenue", "visits")),
            metric("revenue", Definition::Sum(sum)),
            metric("visits", Definition::Count(pb::CountMetric { event: selector("Visit", "") })),
            metric("all", Definition::Count(pb::CountMetric { event: None })),
        ];
        let found = uses(&metrics, &[], "Paid");
        let names: Vec<_> = found.iter().map(|found| found.metric.as_str()).collect();
        assert_eq!(names, ["all", "deep", "revenue", "share"]);
        assert_eq!(found[0].texts, [""; 0]);
        assert_eq!(found[1].texts, ["amount", "properties.plan == 'pro'"]);
    }

    #[test]
    fn a_metric_of_an_activity_uses_its_events() {
        let active = pb::Activity {
            name: "active".to_owned(),
            events: vec![selector("Paid", "properties.amount > 0").unwrap_or_default()],
            default: true,
            ..Default::default()
        };
        let unique = pb::UniqueMetric { activity: "active".to_owned(), ..Default::default() };
        let derived = pb::DerivedMetric {
            inputs: vec![pb::DerivedInput {
                metric: "dau".to_owned(),
                filter: "properties.plan == 'pro'".to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let metrics = [
            metric("dau", Definition::Unique(unique)),
            metric("growth", Definition::Derived(derived)),
            metric("stickiness", Definition::Stickiness(pb::StickinessMetric::default())),
        ];
        let found = uses(&metrics, std::slice::from_ref(&active), "Paid");
        let names: Vec<_> = found.iter().map(|found| found.metric.as_str()).collect();
        assert_eq!(names, ["dau", "growth", "stickiness"]);
        assert_eq!(found[1].texts, ["properties.amount > 0", "properties.plan == 'pro'"]);
        assert!(uses(&metrics, &[active], "Visit").is_empty());
    }
}
