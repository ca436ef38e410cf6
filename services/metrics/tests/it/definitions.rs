//! The life of definitions.

use northstar_proto::metrics::v1 as pb;
use northstar_store::audit;
use tonic::Code;
use uuid::Uuid;

use crate::suite::{Suite, blamed_fields, count, metric, ratio, reason, timestamp};

fn kpi() -> pb::Kpi {
    pb::Kpi {
        name: "activation".to_owned(),
        title: "Activation".to_owned(),
        metric: "signups".to_owned(),
        pillar: "growth".to_owned(),
        layer: pb::Layer::Outcome.into(),
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
        ..Default::default()
    }
}

async fn apply_kpi(suite: &Suite, kpi: pb::Kpi) -> Result<pb::Kpi, tonic::Status> {
    let request = pb::ApplyKpiRequest { kpi: Some(kpi), ..Default::default() };
    Ok(suite.analyst.metrics().apply_kpi(request).await?.into_inner().kpi.unwrap())
}

async fn apply_pillar(suite: &Suite, name: &str) -> pb::Pillar {
    let pillar = pb::Pillar {
        name: name.to_owned(),
        owner: "growth team".to_owned(),
        levers: vec!["time to first touch".to_owned()],
        ..Default::default()
    };
    let request = pb::ApplyPillarRequest { pillar: Some(pillar), ..Default::default() };
    suite.analyst.metrics().apply_pillar(request).await.unwrap().into_inner().pillar.unwrap()
}

async fn audit_entries(suite: &Suite) -> i64 {
    let mut connection = suite.superuser().acquire().await.unwrap();
    let project = northstar_domain::ProjectId(1);
    let verified = audit::verify(&mut connection, project).await.unwrap();
    assert_eq!(verified.first_invalid, None);
    verified.entries
}

#[tokio::test]
async fn a_definition_is_applied_read_back_and_listed() {
    let suite = Suite::start().await;
    let pillar = apply_pillar(&suite, "growth").await;
    suite.metric("signups", count("Signed Up")).await;
    suite.metric("tickets", count("Ticket Opened")).await;
    let applied = apply_kpi(&suite, kpi()).await.unwrap();
    assert_eq!(pb::Kpi { etag: String::new(), ..applied.clone() }, kpi());

    let mut metrics = suite.analyst.metrics();
    let request = pb::GetPillarRequest { name: "growth".to_owned() };
    let read = metrics.get_pillar(request).await.unwrap().into_inner().pillar.unwrap();
    assert_eq!(read, pillar);
    let request = pb::GetKpiRequest { name: "activation".to_owned() };
    let read = metrics.get_kpi(request).await.unwrap().into_inner().kpi.unwrap();
    assert_eq!(read, applied);

    let request = pb::ListMetricsRequest { page_size: 1, page_token: String::new() };
    let first = metrics.list_metrics(request).await.unwrap().into_inner();
    assert_eq!(first.metrics[0].name, "signups");
    let request = pb::ListMetricsRequest { page_size: 1, page_token: first.next_page_token };
    let last = metrics.list_metrics(request).await.unwrap().into_inner();
    assert_eq!(last.metrics[0].name, "tickets");
    assert_eq!(last.next_page_token, "");

    let request = pb::GetMetricRequest { name: "nobody".to_owned() };
    let missing = metrics.get_metric(request).await.unwrap_err();
    assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "NOT_FOUND"));
}

#[tokio::test]
async fn only_a_change_of_the_definition_makes_a_new_version() {
    let suite = Suite::start().await;
    let first = suite.apply_metric(metric("signups", count("Signed Up"))).await.unwrap();
    assert_eq!(first.version, 1);
    let same = suite.apply_metric(metric("signups", count("Signed Up"))).await.unwrap();
    assert_eq!(same, first);
    assert_eq!(audit_entries(&suite).await, 1);

    let title = "Sign-ups".to_owned();
    let titled = pb::Metric { title, ..metric("signups", count("Signed Up")) };
    let titled = suite.apply_metric(titled).await.unwrap();
    assert_eq!(titled.version, 1);
    assert_ne!(titled.etag, first.etag);

    let changed = suite.apply_metric(metric("signups", count("Registered"))).await.unwrap();
    assert_eq!(changed.version, 2);
    assert_eq!(audit_entries(&suite).await, 3);
    let mut connection = suite.superuser().acquire().await.unwrap();
    let project = northstar_domain::ProjectId(1);
    for (version, event) in [(1, "Signed Up"), (2, "Registered")] {
        let kept = northstar_store::metrics::definition::find_metric_version(
            &mut connection,
            project,
            "signups",
            version,
        );
        let kept = kept.await.unwrap().unwrap();
        assert_eq!(kept.selectors()[0].1.name, event);
    }
}

#[tokio::test]
async fn a_stale_etag_is_refused_and_says_the_present_one() {
    let suite = Suite::start().await;
    let first = suite.apply_metric(metric("signups", count("Signed Up"))).await.unwrap();
    let etag = first.etag.clone();
    let changed = pb::Metric { etag: etag.clone(), ..metric("signups", count("Registered")) };
    suite.apply_metric(changed.clone()).await.unwrap();
    let stale = suite.apply_metric(changed).await.unwrap_err();
    assert_eq!((stale.code(), reason(&stale).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    let unknown = pb::Metric { etag, ..metric("another", count("Registered")) };
    let unknown = suite.apply_metric(unknown).await.unwrap_err();
    assert_eq!(reason(&unknown), "ETAG_MISMATCH");
}

#[tokio::test]
async fn a_request_id_answers_once_and_refuses_another_body() {
    let suite = Suite::start().await;
    let mut metrics = suite.analyst.metrics();
    let request = |event: &str, request_id: &str| pb::ApplyMetricRequest {
        metric: Some(metric("signups", count(event))),
        request_id: request_id.to_owned(),
        validate_only: false,
    };
    let id = Uuid::now_v7().to_string();
    let first = metrics.apply_metric(request("Signed Up", &id)).await.unwrap().into_inner();
    suite.metric("signups", count("Registered")).await;
    let again = metrics.apply_metric(request("Signed Up", &id)).await.unwrap().into_inner();
    assert_eq!(again, first);
    let reused = metrics.apply_metric(request("Other", &id)).await.unwrap_err();
    assert_eq!(reason(&reused), "REQUEST_ID_REUSED");
    let malformed = metrics.apply_metric(request("Other", "seven")).await.unwrap_err();
    assert_eq!(blamed_fields(&malformed), ["request_id"]);
}

#[tokio::test]
async fn validate_only_writes_nothing() {
    let suite = Suite::start().await;
    let request = pb::ApplyMetricRequest {
        metric: Some(metric("signups", count("Signed Up"))),
        validate_only: true,
        request_id: Uuid::now_v7().to_string(),
    };
    let mut metrics = suite.analyst.metrics();
    let answer = metrics.apply_metric(request).await.unwrap().into_inner().metric.unwrap();
    assert_eq!(answer.version, 1);
    let request = pb::GetMetricRequest { name: "signups".to_owned() };
    assert_eq!(metrics.get_metric(request).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(audit_entries(&suite).await, 0);
}

#[tokio::test]
async fn a_kpi_without_charter_is_refused_with_everything_that_is_missing() {
    let suite = Suite::start().await;
    let refused = apply_kpi(&suite, pb::Kpi::default()).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::InvalidArgument, "INVALID_FIELD")
    );
    assert_eq!(
        blamed_fields(&refused),
        [
            "kpi.name",
            "kpi.metric",
            "kpi.pillar",
            "kpi.owner",
            "kpi.unit",
            "kpi.layer",
            "kpi.direction",
            "kpi.baseline",
            "kpi.target",
            "kpi.guardrails",
            "kpi.review_time",
            "kpi.window_days",
        ]
    );
    let dangling = apply_kpi(&suite, kpi()).await.unwrap_err();
    assert_eq!(
        (dangling.code(), reason(&dangling).as_str()),
        (Code::FailedPrecondition, "MISSING_REFERENCE")
    );
    assert_eq!(blamed_fields(&dangling), ["kpi.metric", "kpi.guardrails[0].metric", "kpi.pillar"]);
}

#[tokio::test]
async fn a_metric_reports_fields_expressions_and_references_at_once() {
    let suite = Suite::start().await;
    let broken = |name: &str, filter: &str| {
        let event = pb::EventSelector { event: "Paid".to_owned(), filter: filter.to_owned() };
        let sum = pb::SumMetric { event: Some(event), property: String::new() };
        metric(name, pb::metric::Definition::Sum(sum))
    };
    let refused = suite.apply_metric(broken("Not A Name", "properties.plan = 'pro'")).await;
    let refused = refused.unwrap_err();
    assert_eq!(
        blamed_fields(&refused),
        ["metric.name", "metric.sum.property", "metric.sum.event.filter"]
    );
    assert_eq!(reason(&refused), "INVALID_FIELD");

    let event = pb::EventSelector { event: String::new(), filter: "properties.".to_owned() };
    let definition = pb::metric::Definition::Count(pb::CountMetric { event: Some(event) });
    let invalid = suite.apply_metric(metric("paid", definition)).await.unwrap_err();
    assert_eq!(reason(&invalid), "INVALID_EXPRESSION");

    suite.metric("signups", count("Signed Up")).await;
    let dangling = suite.apply_metric(metric("rate", ratio("paid", "signups"))).await;
    let dangling = dangling.unwrap_err();
    assert_eq!(reason(&dangling), "MISSING_REFERENCE");
    assert_eq!(blamed_fields(&dangling), ["metric.ratio.numerator"]);
}

#[tokio::test]
async fn a_ratio_stands_on_a_ratio_but_never_on_itself() {
    let suite = Suite::start().await;
    suite.metric("signups", count("Signed Up")).await;
    suite.metric("paid", count("Paid")).await;
    suite.metric("rate", ratio("paid", "signups")).await;
    suite.metric("double", ratio("rate", "paid")).await;
    let itself = suite.apply_metric(metric("rate", ratio("paid", "rate"))).await.unwrap_err();
    assert_eq!(blamed_fields(&itself), ["metric.ratio.denominator"]);
    let circle = suite.apply_metric(metric("paid", ratio("signups", "double"))).await;
    assert_eq!(blamed_fields(&circle.unwrap_err()), ["metric.ratio.denominator"]);
}

#[tokio::test]
async fn a_page_that_can_not_be_is_refused() {
    let suite = Suite::start().await;
    let mut metrics = suite.analyst.metrics();
    let request = pb::ListKpisRequest { page_size: 1_001, page_token: String::new() };
    let large = metrics.list_kpis(request).await.unwrap_err();
    assert_eq!(blamed_fields(&large), ["page_size"]);
    let request = pb::ListKpisRequest { page_size: 0, page_token: "Not a token".to_owned() };
    let strange = metrics.list_kpis(request).await.unwrap_err();
    assert_eq!(blamed_fields(&strange), ["page_token"]);
}
