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
            Err(status) if status.code() == Code::Unimplemented => break,
            Err(status) => return Err(status.into()),
        };
        metrics.extend(page.metrics);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    Ok(uses(&metrics, event))
}

fn uses(metrics: &[pb::Metric], event: &str) -> Vec<EventUse> {
    let mut texts_of: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for metric in metrics {
        let (selectors, property) = parts(metric);
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
            texts.extend(property);
        }
    }
    // A ratio stands on other metrics, and those may be ratios too.
    loop {
        let mut grown = false;
        for metric in metrics {
            let Some(Definition::Ratio(ratio)) = &metric.definition else { continue };
            let below: BTreeSet<String> = [&ratio.numerator, &ratio.denominator]
                .into_iter()
                .filter_map(|part| texts_of.get(part.as_str()))
                .flatten()
                .cloned()
                .collect();
            let stands = [&ratio.numerator, &ratio.denominator]
                .into_iter()
                .any(|part| texts_of.contains_key(part.as_str()));
            if stands {
                let known = texts_of.get(metric.name.as_str()).map_or(0, BTreeSet::len);
                let is_new = !texts_of.contains_key(metric.name.as_str());
                let texts = texts_of.entry(&metric.name).or_default();
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

/// The selectors of a metric, and the property it reads.
fn parts(metric: &pb::Metric) -> (Vec<pb::EventSelector>, Option<String>) {
    let some = |selector: &Option<pb::EventSelector>| selector.clone().unwrap_or_default();
    match &metric.definition {
        Some(Definition::Count(count)) => (vec![some(&count.event)], None),
        Some(Definition::Unique(unique)) => (vec![some(&unique.event)], Some(unique.of.clone())),
        Some(Definition::Sum(sum)) => (vec![some(&sum.event)], Some(sum.property.clone())),
        Some(Definition::Mean(mean)) => (vec![some(&mean.event)], Some(mean.property.clone())),
        Some(Definition::Funnel(funnel)) => (funnel.steps.clone(), None),
        Some(Definition::Retention(retention)) => {
            (vec![some(&retention.start), some(&retention.r#return)], None)
        }
        Some(Definition::TimeToEvent(times)) => (vec![some(&times.from), some(&times.to)], None),
        Some(Definition::Ratio(_)) | None => (Vec::new(), None),
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
            })
        };
        let metrics = [
            metric("deep", ratio("share", "share")),
            metric("share", ratio("revenue", "visits")),
            metric("revenue", Definition::Sum(sum)),
            metric("visits", Definition::Count(pb::CountMetric { event: selector("Visit", "") })),
            metric("all", Definition::Count(pb::CountMetric { event: None })),
        ];
        let found = uses(&metrics, "Paid");
        let names: Vec<_> = found.iter().map(|found| found.metric.as_str()).collect();
        assert_eq!(names, ["all", "deep", "revenue", "share"]);
        assert_eq!(found[0].texts, [""; 0]);
        assert_eq!(found[1].texts, ["amount", "properties.plan == 'pro'"]);
    }
}
