//! Whoever asks may leave, or run out of time: whatever was asked, the scan stops.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::BoxFuture;
use northstar_client::Clients;
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::cohort::Definition;
use northstar_proto::metrics::v1::cohort_rule::Rule;
use northstar_proto::metrics::v1::query_impact_request::Adoption;
use northstar_proto::metrics::v1::threshold::Condition;
use prost::Message as _;
use tonic::{Code, Request, Status};

use super::held;
use crate::suite::{Suite, count, event, question, reason, selector, timestamp, unique};

const FROM: &str = "2026-03-01";
const TO: &str = "2026-03-15";

/// A call to the end of its answer.
type Call = fn(Clients, Option<Duration>) -> BoxFuture<'static, Result<(), Status>>;

fn limited<T>(message: T, limit: Option<Duration>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(limit) = limit {
        request.set_timeout(limit);
    }
    request
}

/// A call whose answer is one message.
macro_rules! one {
    ($name:literal, $client:ident.$method:ident($message:expr)) => {{
        let call: Call = |clients, limit| {
            Box::pin(async move {
                let request = limited($message, limit);
                clients.$client().$method(request).await.map(|_| ())
            })
        };
        ($name, call)
    }};
}

/// A call whose answer comes in parts.
macro_rules! parts {
    ($name:literal, $client:ident.$method:ident($message:expr)) => {{
        let call: Call = |clients, limit| {
            Box::pin(async move {
                let request = limited($message, limit);
                let mut parts = clients.$client().$method(request).await?.into_inner();
                while parts.message().await?.is_some() {}
                Ok(())
            })
        };
        ($name, call)
    }};
}

fn cell() -> Option<pb::Cell> {
    Some(pb::Cell { question: Some(question("visitors", FROM, TO)), ..Default::default() })
}

fn scope() -> Option<pb::JourneyScope> {
    Some(pb::JourneyScope {
        start_time: Some(timestamp(FROM)),
        end_time: Some(timestamp(TO)),
        ..Default::default()
    })
}

fn funnel() -> Option<pb::FunnelQuestion> {
    let step = |name| pb::JourneyStep { event: Some(selector(name)), ..Default::default() };
    let steps = vec![step("visit"), step("paid")];
    Some(pb::FunnelQuestion { scope: scope(), steps, ..Default::default() })
}

fn retention() -> Option<pb::RetentionQuestion> {
    Some(pb::RetentionQuestion {
        scope: scope(),
        start: Some(selector("visit")),
        r#return: Some(selector("visit")),
        ..Default::default()
    })
}

fn lifecycle() -> Option<pb::LifecycleQuestion> {
    let event = Some(selector("visit"));
    let period = pb::Grain::Day.into();
    Some(pb::LifecycleQuestion { scope: scope(), event, period })
}

fn paths() -> Option<pb::PathsQuestion> {
    let anchor = Some(selector("visit"));
    Some(pb::PathsQuestion { scope: scope(), anchor, ..Default::default() })
}

/// Every RPC that scans the log, and again those whose cohorts are found by a scan of their own.
fn calls() -> Vec<(&'static str, Call)> {
    vec![
        one!("QueryMetric", metrics.query_metric(question("visitors", FROM, TO))),
        one!(
            "QueryMetric",
            metrics.query_metric(pb::QueryMetricRequest {
                cohorts: vec!["regulars".to_owned()],
                ..question("visitors", FROM, TO)
            })
        ),
        parts!(
            "QueryMetrics",
            metrics.query_metrics(pb::QueryMetricsRequest {
                metrics: vec!["visitors".to_owned()],
                start_time: Some(timestamp(FROM)),
                end_time: Some(timestamp(TO)),
                ..Default::default()
            })
        ),
        one!(
            "QueryVariantStatistics",
            metrics.query_variant_statistics(pb::QueryVariantStatisticsRequest {
                metric: "visits".to_owned(),
                exposure: Some(selector("visit")),
                variant_property: "plan".to_owned(),
                start_time: Some(timestamp(FROM)),
                end_time: Some(timestamp(TO)),
                ..Default::default()
            })
        ),
        one!("GetScorecard", metrics.get_scorecard(pb::GetScorecardRequest::default())),
        one!(
            "GetWeeklyScorecard",
            reports.get_weekly_scorecard(pb::GetWeeklyScorecardRequest::default())
        ),
        one!(
            "GetExecutiveReport",
            reports.get_executive_report(pb::GetExecutiveReportRequest::default())
        ),
        parts!(
            "QueryCohort",
            cohorts.query_cohort(pb::QueryCohortRequest {
                cohort: "regulars".to_owned(),
                members: true,
                ..Default::default()
            })
        ),
        one!(
            "SnapshotCohort",
            cohorts.snapshot_cohort(pb::SnapshotCohortRequest {
                cohort: "regulars".to_owned(),
                name: format!("regulars-{}", uuid::Uuid::new_v4().simple()),
                ..Default::default()
            })
        ),
        parts!(
            "ListSubjects",
            evidence.list_subjects(pb::ListSubjectsRequest { cell: cell(), ..Default::default() })
        ),
        parts!(
            "Explain",
            evidence.explain(pb::ExplainRequest { cell: cell(), ..Default::default() })
        ),
        parts!(
            "QueryFunnel",
            journeys
                .query_funnel(pb::QueryFunnelRequest { question: funnel(), ..Default::default() })
        ),
        one!(
            "ListFunnelSubjects",
            journeys.list_funnel_subjects(pb::ListFunnelSubjectsRequest {
                question: funnel(),
                step: 1,
                ..Default::default()
            })
        ),
        parts!(
            "QueryRetention",
            journeys.query_retention(pb::QueryRetentionRequest {
                question: retention(),
                ..Default::default()
            })
        ),
        one!(
            "ListRetentionSubjects",
            journeys.list_retention_subjects(pb::ListRetentionSubjectsRequest {
                question: retention(),
                ..Default::default()
            })
        ),
        parts!(
            "QueryLifecycle",
            journeys.query_lifecycle(pb::QueryLifecycleRequest {
                question: lifecycle(),
                ..Default::default()
            })
        ),
        one!(
            "ListLifecycleSubjects",
            journeys.list_lifecycle_subjects(pb::ListLifecycleSubjectsRequest {
                question: lifecycle(),
                bucket_time: Some(timestamp(FROM)),
                state: pb::LifecycleState::New.into(),
                ..Default::default()
            })
        ),
        parts!(
            "QueryPaths",
            journeys.query_paths(pb::QueryPathsRequest { question: paths(), ..Default::default() })
        ),
        one!(
            "ListPathSubjects",
            journeys.list_path_subjects(pb::ListPathSubjectsRequest {
                question: paths(),
                step: Some(pb::PathStep { event: "visit".to_owned(), ..Default::default() }),
                ..Default::default()
            })
        ),
        one!(
            "QueryImpact",
            insights.query_impact(pb::QueryImpactRequest {
                metric: "visits".to_owned(),
                adoption: Some(Adoption::Event(selector("paid"))),
                start_time: Some(timestamp(FROM)),
                end_time: Some(timestamp(TO)),
                ..Default::default()
            })
        ),
        one!(
            "DetectAnomalies",
            insights.detect_anomalies(pb::DetectAnomaliesRequest {
                metric: "visits".to_owned(),
                start_time: Some(timestamp(FROM)),
                end_time: Some(timestamp(TO)),
                grain: pb::Grain::Day.into(),
                ..Default::default()
            })
        ),
        one!(
            "AttributeChange",
            insights.attribute_change(pb::AttributeChangeRequest {
                metric: "visits".to_owned(),
                start_time: Some(timestamp("2026-03-08")),
                end_time: Some(timestamp(TO)),
                dimensions: vec!["plan".to_owned()],
                ..Default::default()
            })
        ),
        one!(
            "QueryCustomerValue",
            insights.query_customer_value(pb::QueryCustomerValueRequest {
                purchase: Some(selector("paid")),
                start_time: Some(timestamp(FROM)),
                end_time: Some(timestamp(TO)),
                ..Default::default()
            })
        ),
        one!(
            "EvaluateThreshold",
            thresholds.evaluate_threshold(pb::EvaluateThresholdRequest {
                name: "quiet".to_owned(),
                ..Default::default()
            })
        ),
        parts!(
            "ReplayEvaluations",
            thresholds.replay_evaluations(pb::ReplayEvaluationsRequest {
                threshold: "quiet".to_owned(),
                input: pb::ReplayInput::Recomputed.into(),
                ..Default::default()
            })
        ),
    ]
}

/// Visitors on two plans, some of whom pay; a KPI, a cohort and a threshold that was evaluated once.
async fn start() -> Suite {
    let suite = Suite::start().await;
    let mut events = Vec::new();
    for number in 0..40 {
        let user = format!("user-{number:02}");
        let plan = if number % 2 == 0 { "pro" } else { "free" };
        for at in ["2026-03-02T10:00:00Z", "2026-03-09T10:00:00Z"] {
            events.push(event("visit", &user, at).with(serde_json::json!({ "plan": plan })));
        }
        if number % 4 == 0 {
            events.push(event("paid", &user, "2026-03-10T10:00:00Z"));
        }
    }
    suite.ingest(events).await;
    suite.metric("visits", count("visit")).await;
    suite.metric("visitors", unique("visit")).await;
    let mut metrics = suite.analyst.metrics();
    let pillar = pb::Pillar { name: "growth".to_owned(), ..Default::default() };
    let request = pb::ApplyPillarRequest { pillar: Some(pillar), ..Default::default() };
    metrics.apply_pillar(request).await.unwrap();
    let kpi = pb::Kpi {
        name: "visitors".to_owned(),
        metric: "visitors".to_owned(),
        pillar: "growth".to_owned(),
        layer: pb::Layer::Outcome.into(),
        owner: "growth".to_owned(),
        unit: "users".to_owned(),
        direction: pb::Direction::Increase.into(),
        baseline: Some(pb::Baseline {
            value: 1.0,
            start_time: Some(timestamp(FROM)),
            end_time: Some(timestamp(TO)),
        }),
        target: Some(pb::Target { value: 50.0, due_time: Some(timestamp("2026-06-30")) }),
        guardrails: vec![pb::Guardrail {
            metric: "visits".to_owned(),
            direction: pb::Direction::Increase.into(),
            margin: 0.1,
        }],
        review_time: Some(timestamp("2026-05-01")),
        window_days: 30,
        ..Default::default()
    };
    let request = pb::ApplyKpiRequest { kpi: Some(kpi), ..Default::default() };
    metrics.apply_kpi(request).await.unwrap();
    let twice = Rule::Did(pb::CohortDidRule {
        event: Some(selector("visit")),
        at_least: Some(2),
        ..Default::default()
    });
    let definition = Some(Definition::Rule(pb::CohortRule { rule: Some(twice) }));
    let cohort = pb::Cohort { name: "regulars".to_owned(), definition, ..Default::default() };
    let request = pb::ApplyCohortRequest { cohort: Some(cohort), ..Default::default() };
    suite.analyst.cohorts().apply_cohort(request).await.unwrap();
    let threshold = pb::Threshold {
        name: "quiet".to_owned(),
        owner: "growth".to_owned(),
        metric: "visits".to_owned(),
        grain: pb::Grain::Day.into(),
        condition: Some(Condition::Above(pb::LevelCondition { value: 1e6, clear: None })),
        every: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
        decision: Some(pb::ThresholdDecision {
            action: pb::ThresholdAction::Investigate.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = pb::ApplyThresholdRequest { threshold: Some(threshold), ..Default::default() };
    let mut thresholds = suite.analyst.thresholds();
    thresholds.apply_threshold(request).await.unwrap();
    // Its own evaluation is over before any question is held.
    loop {
        let request =
            pb::ListEvaluationsRequest { threshold: "quiet".to_owned(), ..Default::default() };
        let logged = thresholds.list_evaluations(request).await.unwrap().into_inner();
        if !logged.evaluations.is_empty() {
            return suite;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn every_question_is_among_them() {
    let asked: BTreeSet<&str> = calls().into_iter().map(|(name, _)| name).collect();
    let set = prost_types::FileDescriptorSet::decode(northstar_proto::FILE_DESCRIPTOR_SET).unwrap();
    let services = set
        .file
        .iter()
        .filter(|file| file.package() == "northstar.metrics.v1")
        .flat_map(|file| &file.service);
    for method in services.flat_map(|service| &service.method) {
        let name = method.name();
        let scans = name.starts_with("Query")
            || name.ends_with("Subjects")
            || name.ends_with("Scorecard")
            || name.ends_with("Report");
        assert!(!scans || asked.contains(name), "{name} is not asked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_stops_the_scan() {
    let _turn = held::turn().await;
    let suite = start().await;
    for (name, call) in calls() {
        let seen = held::watch();
        if let Err(status) = call(suite.analyst.clone(), None).await {
            assert_eq!(reason(&status), "INSUFFICIENT_DATA", "{name}: {status}");
        }
        assert!(seen.worked.await.unwrap() > 0, "{name} scans");

        let seen = held::hold();
        let calling = tokio::spawn(call(suite.analyst.clone(), None));
        tokio::time::timeout(Duration::from_secs(60), seen.begun)
            .await
            .unwrap_or_else(|_| panic!("{name} asks nothing that can be taken back"))
            .unwrap();
        calling.abort();
        assert_eq!(seen.worked.await.unwrap(), 0, "{name} works on for nobody");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_stops_the_scan() {
    let _turn = held::turn().await;
    let suite = start().await;
    for (name, call) in calls() {
        // As long as it takes to come to the scan, on a machine however slow.
        let mut limit = Duration::from_millis(100);
        let worked = loop {
            let mut seen = held::hold();
            let answer = call(suite.analyst.clone(), Some(limit)).await;
            if let Err(status) = answer
                && seen.begun.try_recv().is_ok()
            {
                let code = status.code();
                let timely = matches!(code, Code::DeadlineExceeded | Code::Cancelled);
                assert!(timely, "{name}: {status}");
                break seen.worked.await.unwrap();
            }
            held::release();
            limit *= 2;
        };
        assert_eq!(worked, 0, "{name} works on for nobody");
    }
}
