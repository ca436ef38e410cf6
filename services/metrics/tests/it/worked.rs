//! Tables of events with values that were computed by hand: one for every kind of
//! metric, one for every pack.

use std::collections::{BTreeMap, BTreeSet};

use northstar_domain::activity::Activity;
use northstar_domain::metric::Metric;
use northstar_metrics::{convert, packs};
use northstar_proto::ingestion::v1 as log;
use northstar_proto::metrics::v1 as pb;
use serde::Deserialize;
use uuid::Uuid;

use crate::suite::{Suite, ingest, question, timestamp, value};

/// A table of events and what is to come out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Worked {
    #[serde(default)]
    pack: String,
    #[serde(default)]
    documents: Vec<Document>,
    events: Vec<Row>,
    over: Option<Over>,
    expect: Vec<Expected>,
}

#[derive(Deserialize)]
struct Document {
    name: String,
    spec: Metric,
}

/// Name, subject, time and properties.
#[derive(Deserialize)]
#[serde(untagged)]
enum Row {
    Bare(String, String, String),
    With(String, String, String, BTreeMap<String, serde_json::Value>),
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Over {
    from: String,
    to: String,
    #[serde(default)]
    grain: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    metric: String,
    from: Option<String>,
    to: Option<String>,
    grain: Option<String>,
    #[serde(default)]
    by: String,
    #[serde(default, rename = "where")]
    filter: String,
    #[serde(default)]
    values: Vec<Option<f64>>,
    between: Option<[f64; 2]>,
}

#[derive(Deserialize)]
struct Head {
    kind: String,
    metadata: Named,
    spec: serde_norway::Value,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Row {
    fn into_proto(self) -> log::Event {
        let (name, user, at, properties) = match self {
            Self::Bare(name, user, at) => (name, user, at, BTreeMap::new()),
            Self::With(name, user, at, properties) => (name, user, at, properties),
        };
        log::Event {
            message_id: Uuid::now_v7().to_string(),
            name,
            user_id: user,
            occurred_time: Some(timestamp(&at)),
            properties: properties.into_iter().map(|(name, json)| (name, value(json))).collect(),
            ..Default::default()
        }
    }
}

/// Applies the documents of a pack and gives the names of its metrics.
async fn apply_pack(suite: &Suite, name: &str) -> BTreeSet<String> {
    let all = packs::all().unwrap();
    let pack = all.iter().find(|pack| pack.about().name == name).unwrap();
    let text = pack.render(&BTreeMap::new()).unwrap();
    let mut names = BTreeSet::new();
    for document in serde_norway::Deserializer::from_str(&text) {
        let Head { kind, metadata: Named { name }, spec } = Head::deserialize(document).unwrap();
        if kind == "Activity" {
            let spec: Activity = serde_norway::from_value(spec).unwrap();
            let activity = Some(convert::activity::to_proto(&name, 0, "", &spec));
            let request = pb::ApplyActivityRequest { activity, ..Default::default() };
            suite.analyst.metrics().apply_activity(request).await.unwrap();
        } else {
            assert_eq!(kind, "Metric");
            let spec: Metric = serde_norway::from_value(spec).unwrap();
            let metric = convert::metric::to_proto(&name, 0, "", &spec);
            suite.apply_metric(metric).await.unwrap_or_else(|status| panic!("{name}: {status:?}"));
            names.insert(name);
        }
    }
    names
}

async fn ask(suite: &Suite, over: Option<&Over>, expected: &Expected) -> Vec<Option<f64>> {
    let of = |own: &Option<String>, common: fn(&Over) -> &String| {
        own.clone().or_else(|| over.map(common).cloned()).unwrap_or_default()
    };
    let grain = match of(&expected.grain, |over| &over.grain).as_str() {
        "day" => pb::Grain::Day,
        "week" => pb::Grain::Week,
        "month" => pb::Grain::Month,
        _ => pb::Grain::Total,
    };
    let (from, to) = (of(&expected.from, |over| &over.from), of(&expected.to, |over| &over.to));
    let breakdowns = Some(expected.by.clone()).filter(|by| !by.is_empty());
    let request = pb::QueryMetricRequest {
        grain: grain.into(),
        breakdowns: breakdowns.into_iter().collect(),
        filter: expected.filter.clone(),
        ..question(&expected.metric, &from, &to)
    };
    let answer = suite
        .query(request)
        .await
        .unwrap_or_else(|status| panic!("{}: {status:?}", expected.metric));
    answer.rows.iter().map(|row| row.value).collect()
}

async fn check(text: &str) {
    let worked: Worked = serde_norway::from_str(text).unwrap();
    let suite = Suite::start().await;
    for Document { name, spec } in &worked.documents {
        let metric = convert::metric::to_proto(name, 0, "", spec);
        suite.apply_metric(metric).await.unwrap_or_else(|status| panic!("{name}: {status:?}"));
    }
    let mut unchecked: BTreeSet<String> =
        worked.documents.iter().map(|document| document.name.clone()).collect();
    if !worked.pack.is_empty() {
        unchecked.extend(apply_pack(&suite, &worked.pack).await);
    }
    ingest(&suite.producer, worked.events.into_iter().map(Row::into_proto).collect()).await;
    for expected in &worked.expect {
        let found = ask(&suite, worked.over.as_ref(), expected).await;
        let near = |found: &Option<f64>, value: &Option<f64>| match (found, value) {
            (Some(found), Some(value)) => (found - value).abs() < 1e-9 * (1.0 + value.abs()),
            (found, value) => found == value,
        };
        let holds = match expected.between {
            Some([low, high]) => {
                found.iter().all(|found| found.is_some_and(|found| (low..=high).contains(&found)))
            }
            None => {
                found.len() == expected.values.len()
                    && found.iter().zip(&expected.values).all(|(found, value)| near(found, value))
            }
        };
        assert!(holds, "{}: {found:?}, not {:?}", expected.metric, expected.values);
        unchecked.remove(&expected.metric);
    }
    assert!(unchecked.is_empty(), "no value was computed by hand for {unchecked:?}");
}

#[tokio::test]
async fn every_kind_of_metric_equals_the_hand_made_table() {
    check(include_str!("worked/kinds.yaml")).await;
}

#[tokio::test]
async fn the_product_pack_equals_the_hand_made_table() {
    check(include_str!("worked/product.yaml")).await;
}

#[tokio::test]
async fn the_saas_revenue_pack_equals_the_hand_made_table() {
    check(include_str!("worked/saas-revenue.yaml")).await;
}

#[tokio::test]
async fn the_pipeline_pack_equals_the_hand_made_table() {
    check(include_str!("worked/pipeline.yaml")).await;
}

#[tokio::test]
async fn the_support_pack_equals_the_hand_made_table() {
    check(include_str!("worked/support.yaml")).await;
}

#[tokio::test]
async fn the_service_level_pack_equals_the_hand_made_table() {
    check(include_str!("worked/service-level.yaml")).await;
}

#[tokio::test]
async fn the_clv_pack_equals_the_hand_made_table() {
    check(include_str!("worked/clv.yaml")).await;
}

#[test]
fn every_pack_has_a_hand_made_table() {
    let packs: BTreeSet<_> =
        packs::all().unwrap().iter().map(|pack| pack.about().name.clone()).collect();
    let worked = ["clv", "pipeline", "product", "saas-revenue", "service-level", "support"]
        .map(String::from);
    assert_eq!(packs, worked.into());
}
