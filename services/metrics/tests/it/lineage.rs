//! Activities, the tree of KPIs, and what is computed from what.

use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::metric::Definition;
use pb::cohort_rule::Rule;
use pb::get_lineage_request::Subject;
use tonic::{Code, Status};

use crate::cohorts;
use crate::suite::{
    Suite, blamed_fields, count, event, question, ratio, reason, selector, sum, timestamp, unique,
};
use crate::thresholds;

async fn apply_activity(suite: &Suite, activity: pb::Activity) -> Result<pb::Activity, Status> {
    let request = pb::ApplyActivityRequest { activity: Some(activity), ..Default::default() };
    Ok(suite.analyst.metrics().apply_activity(request).await?.into_inner().activity.unwrap())
}

fn activity(name: &str, events: &[(&str, &str)], default: bool) -> pb::Activity {
    let events = events.iter().map(|(event, filter)| pb::EventSelector {
        event: (*event).to_owned(),
        filter: (*filter).to_owned(),
    });
    pb::Activity { name: name.to_owned(), events: events.collect(), default, ..Default::default() }
}

fn of_activity(activity: &str) -> Definition {
    Definition::Unique(pb::UniqueMetric { activity: activity.to_owned(), ..Default::default() })
}

fn kpi(name: &str, layer: pb::Layer, metric: &str, drives: &[&str]) -> pb::Kpi {
    pb::Kpi {
        name: name.to_owned(),
        metric: metric.to_owned(),
        pillar: "growth".to_owned(),
        layer: layer.into(),
        owner: "growth team".to_owned(),
        unit: "users".to_owned(),
        direction: pb::Direction::Increase.into(),
        baseline: Some(pb::Baseline {
            value: 10.0,
            start_time: Some(timestamp("2026-01-01")),
            end_time: Some(timestamp("2026-02-01")),
        }),
        target: Some(pb::Target { value: 20.0, due_time: Some(timestamp("2026-06-30")) }),
        guardrails: vec![pb::Guardrail {
            metric: "tickets".to_owned(),
            direction: pb::Direction::Decrease.into(),
            margin: 0.1,
        }],
        review_time: Some(timestamp("2026-05-01")),
        window_days: 7,
        drives: drives.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

async fn apply_kpi(suite: &Suite, kpi: pb::Kpi) -> Result<pb::Kpi, Status> {
    let request = pb::ApplyKpiRequest { kpi: Some(kpi), ..Default::default() };
    Ok(suite.analyst.metrics().apply_kpi(request).await?.into_inner().kpi.unwrap())
}

async fn company() -> Suite {
    let suite = Suite::start().await;
    let active = activity("active", &[("Opened", ""), ("Edited", "properties.words > 10")], true);
    apply_activity(&suite, active).await.unwrap();
    suite.metric("actives", of_activity("active")).await;
    suite.metric("tickets", count("Ticket Opened")).await;
    suite.metric("revenue", sum("Paid", "amount")).await;
    suite.metric("revenue-per-active", ratio("revenue", "actives")).await;
    let pillar = pb::Pillar {
        name: "growth".to_owned(),
        levers: vec!["time to first touch".to_owned()],
        ..Default::default()
    };
    let request = pb::ApplyPillarRequest { pillar: Some(pillar), ..Default::default() };
    suite.analyst.metrics().apply_pillar(request).await.unwrap();
    apply_kpi(&suite, kpi("arpu", pb::Layer::Outcome, "revenue-per-active", &[])).await.unwrap();
    let lever = "time to first touch".to_owned();
    let driver = pb::Kpi { lever, ..kpi("reach", pb::Layer::Driver, "actives", &["arpu"]) };
    apply_kpi(&suite, driver).await.unwrap();
    suite
}

async fn lineage(
    suite: &Suite,
    subject: Option<Subject>,
    property: &str,
) -> Result<pb::GetLineageResponse, Status> {
    let request = pb::GetLineageRequest { subject, property: property.to_owned() };
    Ok(suite.analyst.metrics().get_lineage(request).await?.into_inner())
}

#[tokio::test]
async fn activity_is_defined_once_and_meant_by_every_metric() {
    let suite = company().await;
    suite
        .ingest(vec![
            event("Opened", "ada", "2026-03-01T09:00:00Z"),
            event("Edited", "bob", "2026-03-01T10:00:00Z").with(serde_json::json!({"words": 11})),
            event("Edited", "cleo", "2026-03-01T11:00:00Z").with(serde_json::json!({"words": 10})),
            event("Visited", "dan", "2026-03-02T11:00:00Z"),
        ])
        .await;
    let state = pb::LifecycleState::New.into();
    let lifecycle = pb::LifecycleMetric { state, ..Default::default() };
    suite.metric("new", Definition::Lifecycle(lifecycle)).await;
    for metric in ["actives", "new"] {
        assert_eq!(suite.total(metric, "2026-03-01", "2026-04-01").await, Some(2.0), "{metric}");
    }
    let ask = || question("actives", "2026-03-01", "2026-04-01");
    let before = suite.query(ask()).await.unwrap().provenance.unwrap();
    assert_eq!(before.activity_versions["active"], 1);

    // Another definition of active: a new version of it, other answers, another digest.
    let wider = activity("active", &[("Opened", ""), ("Edited", "")], true);
    assert_eq!(apply_activity(&suite, wider.clone()).await.unwrap().version, 2);
    assert_eq!(apply_activity(&suite, wider).await.unwrap().version, 2);
    let answer = suite.query(ask()).await.unwrap();
    assert_eq!(answer.rows[0].value, Some(3.0));
    let after = answer.provenance.unwrap();
    assert_eq!((after.metric_version, after.activity_versions["active"]), (1, 2));
    assert_ne!(after.digest, before.digest);

    let second = activity("engaged", &[("Edited", "")], true);
    let refused = apply_activity(&suite, second).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["activity.default"]);
    let request = pb::ListActivitiesRequest::default();
    let listed = suite.analyst.metrics().list_activities(request).await.unwrap().into_inner();
    assert_eq!(listed.activities.len(), 1);
    let request = pb::GetActivityRequest { name: "nobody".to_owned() };
    let missing = suite.analyst.metrics().get_activity(request).await.unwrap_err();
    assert_eq!(reason(&missing), "NOT_FOUND");
    let dangling = crate::suite::metric("dangling", of_activity("nobody"));
    let refused = suite.apply_metric(dangling).await.unwrap_err();
    assert_eq!(reason(&refused), "MISSING_REFERENCE");
}

#[tokio::test]
async fn the_tree_shows_drivers_below_what_they_drive() {
    let suite = company().await;
    let tree =
        suite.analyst.metrics().get_kpi_tree(pb::GetKpiTreeRequest::default()).await.unwrap();
    let [pillar] = tree.into_inner().pillars.try_into().unwrap();
    let names: Vec<_> = pillar
        .kpis
        .iter()
        .map(|node| (node.kpi.as_ref().unwrap().name.as_str(), node.driven_by.join(" ")))
        .collect();
    assert_eq!(names, [("arpu", "reach".to_owned()), ("reach", String::new())]);
    assert_eq!(pillar.kpis[1].kpi.as_ref().unwrap().lever, "time to first touch");

    let circle = kpi("arpu", pb::Layer::Outcome, "revenue-per-active", &["reach"]);
    let refused = apply_kpi(&suite, circle).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["kpi.drives[0]"]);
    let unknown =
        pb::Kpi { lever: "luck".to_owned(), ..kpi("x", pb::Layer::Driver, "actives", &[]) };
    let refused = apply_kpi(&suite, unknown).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["kpi.lever"]);
    let request = pb::GetKpiTreeRequest { pillar: "nowhere".to_owned() };
    let missing = suite.analyst.metrics().get_kpi_tree(request).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
}

#[tokio::test]
async fn lineage_goes_down_to_events_and_up_to_kpis() {
    let suite = company().await;
    let below = lineage(&suite, Some(Subject::Kpi("arpu".to_owned())), "").await.unwrap();
    assert_eq!(below.metrics, ["actives", "revenue", "revenue-per-active", "tickets"]);
    assert_eq!(below.activities, ["active"]);
    assert_eq!(below.events, ["Edited", "Opened", "Paid", "Ticket Opened"]);
    assert_eq!(below.properties, ["Edited/words", "Paid/amount"]);
    let link = |from: &str| {
        let link = below.links.iter().find(|link| link.from_name == from).unwrap();
        (link.name.as_str(), link.role.as_str())
    };
    assert_eq!(link("tickets"), ("arpu", "guardrail"));
    assert_eq!(link("revenue"), ("revenue-per-active", "numerator"));
    assert_eq!(link("Edited/words"), ("active", "filter"));

    let above = lineage(&suite, Some(Subject::Event("Edited".to_owned())), "").await.unwrap();
    assert_eq!(above.kpis, ["arpu", "reach"]);
    assert_eq!(above.metrics, ["actives", "revenue-per-active"]);
    let above = lineage(&suite, Some(Subject::Event("Paid".to_owned())), "amount").await.unwrap();
    assert_eq!((above.kpis, above.metrics.len()), (vec!["arpu".to_owned()], 2));
    let above = lineage(&suite, None, "words").await.unwrap();
    assert_eq!(above.kpis, ["arpu", "reach"]);
    let around = lineage(&suite, Some(Subject::Metric("revenue".to_owned())), "").await.unwrap();
    assert_eq!((around.events, around.kpis), (vec!["Paid".to_owned()], vec!["arpu".to_owned()]));
    // What reads any event reads this one, too.
    suite.metric("anything", count("")).await;
    let above = lineage(&suite, Some(Subject::Event("Edited".to_owned())), "").await.unwrap();
    assert!(above.metrics.contains(&"anything".to_owned()));

    for (subject, property, field) in
        [(None, "", "subject"), (Some(Subject::Kpi("arpu".to_owned())), "amount", "property")]
    {
        let refused = lineage(&suite, subject, property).await.unwrap_err();
        assert_eq!(blamed_fields(&refused), [field]);
    }
    let missing =
        lineage(&suite, Some(Subject::Metric("nobody".to_owned())), "").await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
}

#[tokio::test]
async fn lineage_shows_the_cohorts_and_thresholds_that_use_something() {
    let suite = company().await;
    let did = Rule::Did(pb::CohortDidRule {
        event: Some(pb::EventSelector {
            event: "Edited".to_owned(),
            filter: "properties.words > 100".to_owned(),
        }),
        at_least: Some(3),
        ..Default::default()
    });
    let property = Rule::Property(pb::CohortPropertyRule {
        name: "plan".to_owned(),
        condition: r#"properties.plan == "pro""#.to_owned(),
        ..Default::default()
    });
    let rules = [did, property].map(|rule| pb::CohortRule { rule: Some(rule) });
    let all = Rule::All(pb::CohortRules { rules: rules.to_vec() });
    cohorts::apply(&suite.analyst, cohorts::by_rule("writers", all)).await.unwrap();
    let kept = pb::SnapshotCohortRequest {
        cohort: "writers".to_owned(),
        name: "writers-in-march".to_owned(),
        ..Default::default()
    };
    suite.analyst.cohorts().snapshot_cohort(kept).await.unwrap();
    let on_kpi = pb::Threshold {
        kpi: "arpu".to_owned(),
        metric: String::new(),
        ..thresholds::threshold("arpu-drop")
    };
    let by_channel = pb::Threshold {
        metric: "tickets".to_owned(),
        breakdown: Some(pb::ThresholdBreakdown { by: "channel".to_owned(), value: None }),
        ..thresholds::threshold("silence")
    };
    for threshold in [on_kpi, by_channel] {
        thresholds::apply(&suite, threshold).await.unwrap();
    }
    let subject = |kind: fn(String) -> Subject, name: &str| Some(kind(name.to_owned()));

    let below = lineage(&suite, subject(Subject::Threshold, "arpu-drop"), "").await.unwrap();
    assert_eq!(below.kpis, ["arpu"]);
    assert!(below.events.contains(&"Paid".to_owned()), "{:?}", below.events);
    let around = lineage(&suite, subject(Subject::Cohort, "writers"), "").await.unwrap();
    assert_eq!(around.properties, ["*/plan", "Edited/words"]);
    assert_eq!(around.cohorts, ["writers", "writers-in-march"]);
    let around = lineage(&suite, subject(Subject::Kpi, "arpu"), "").await.unwrap();
    assert_eq!(around.thresholds, ["arpu-drop"]);
    // Up from the event: what counts it, what judges by it, and what watches these.
    let above = lineage(&suite, subject(Subject::Event, "Edited"), "").await.unwrap();
    assert_eq!(above.cohorts, ["writers", "writers-in-march"]);
    assert_eq!(above.thresholds, ["arpu-drop"]);
    let above = lineage(&suite, subject(Subject::Event, "Ticket Opened"), "channel").await.unwrap();
    assert_eq!(above.thresholds, ["silence"]);
    for unknown in [subject(Subject::Cohort, "nobody"), subject(Subject::Threshold, "nothing")] {
        let missing = lineage(&suite, unknown, "").await.unwrap_err();
        assert_eq!(missing.code(), Code::NotFound);
    }
}

#[tokio::test]
async fn a_metric_on_metrics_is_refused_in_a_circle_and_keeps_what_stands_on_it_sound() {
    let suite = Suite::start().await;
    suite.metric("a", count("A")).await;
    suite.metric("b", unique("B")).await;
    suite.metric("rate", ratio("a", "b")).await;
    let cumulative = pb::CumulativeMetric { metric: "a".to_owned(), ..Default::default() };
    suite.metric("total", Definition::Cumulative(cumulative)).await;
    let derived = |expression: &str, metric: &str| {
        let input = pb::DerivedInput {
            metric: metric.to_owned(),
            alias: "x".to_owned(),
            ..Default::default()
        };
        Definition::Derived(pb::DerivedMetric {
            expression: expression.to_owned(),
            inputs: vec![input],
        })
    };
    suite.metric("twice", derived("2 * x", "rate")).await;
    for (name, definition, field) in [
        ("rate", ratio("a", "twice"), "metric.ratio.denominator"),
        ("a", ratio("b", "b"), "metric.definition"),
        ("new", derived("y", "rate"), "metric.derived.expression"),
        (
            "new",
            Definition::Cumulative(pb::CumulativeMetric {
                metric: "rate".to_owned(),
                ..Default::default()
            }),
            "metric.cumulative.metric",
        ),
        (
            "new",
            Definition::Cumulative(pb::CumulativeMetric {
                metric: "a".to_owned(),
                window: "a while".to_owned(),
                ..Default::default()
            }),
            "metric.cumulative.window",
        ),
        ("new", Definition::Lifecycle(pb::LifecycleMetric::default()), "metric.lifecycle.state"),
        (
            "new",
            Definition::Percentile(pb::PercentileMetric {
                event: Some(selector("A")),
                property: "x".to_owned(),
                percentile: 100.0,
                approximate: false,
            }),
            "metric.percentile.percentile",
        ),
    ] {
        let metric = crate::suite::metric(name, definition);
        let refused = suite.apply_metric(metric).await.unwrap_err();
        assert_eq!(blamed_fields(&refused), [field], "{refused:?}");
    }
    let changed = suite.apply_metric(crate::suite::metric("twice", derived("3 * x", "rate"))).await;
    assert_eq!(changed.unwrap().version, 2);
}
