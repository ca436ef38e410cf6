//! No question of one project sees what another has, whatever it is called and
//! however it is asked.

use std::collections::BTreeSet;

use northstar_client::Clients;
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::cohort_rule::Rule;
use northstar_proto::metrics::v1::metric::Definition;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use serde_json::json;
use tonic::Code;

use crate::cohorts::{apply, by_list, by_rule, members, of, upload};
use crate::suite::{
    Suite, blamed_fields, count, event, ingest, metric, question, reason, selector, sum, timestamp,
};

const FROM: &str = "2026-03-01T00:00:00Z";
const TO: &str = "2026-04-01T00:00:00Z";

/// The same names in a project, with other events: so many users paid so much each.
async fn plant([analyst, producer]: &[Clients; 2], users: i64, amount: i64) {
    let events = (0..users).map(|number| {
        let properties = json!({"amount": amount, "variant": "treatment", "secret": amount});
        let user = format!("user-{number}");
        event("paid", &user, "2026-03-02T10:00:00Z").with(properties).into_proto()
    });
    ingest(producer, events.collect()).await;
    for (name, definition) in [("payments", count("paid")), ("revenue", sum("paid", "amount"))] {
        let request = pb::ApplyMetricRequest {
            metric: Some(pb::Metric { owner: users.to_string(), ..metric(name, definition) }),
            ..Default::default()
        };
        analyst.metrics().apply_metric(request).await.unwrap();
    }
    let activity = pb::Activity {
        name: "active".to_owned(),
        owner: users.to_string(),
        events: vec![selector("paid")],
        ..Default::default()
    };
    let request = pb::ApplyActivityRequest { activity: Some(activity), ..Default::default() };
    analyst.metrics().apply_activity(request).await.unwrap();
    let own = pb::ApplyMetricRequest {
        metric: Some(metric(&format!("of-{users}"), count("paid"))),
        ..Default::default()
    };
    analyst.metrics().apply_metric(own).await.unwrap();
    let pillar =
        pb::Pillar { name: "sales".to_owned(), owner: users.to_string(), ..Default::default() };
    let request = pb::ApplyPillarRequest { pillar: Some(pillar), ..Default::default() };
    analyst.metrics().apply_pillar(request).await.unwrap();
    let kpi = pb::Kpi {
        name: "payments".to_owned(),
        metric: "payments".to_owned(),
        pillar: "sales".to_owned(),
        layer: pb::Layer::Outcome.into(),
        owner: users.to_string(),
        unit: "payments".to_owned(),
        direction: pb::Direction::Increase.into(),
        baseline: Some(pb::Baseline {
            value: 1.0,
            start_time: Some(timestamp("2026-01-01T00:00:00Z")),
            end_time: Some(timestamp("2026-02-01T00:00:00Z")),
        }),
        target: Some(pb::Target { value: 5.0, due_time: Some(timestamp("2026-12-31T00:00:00Z")) }),
        guardrails: vec![pb::Guardrail {
            metric: "revenue".to_owned(),
            direction: pb::Direction::Increase.into(),
            margin: 0.1,
        }],
        review_time: Some(timestamp("2026-06-01T00:00:00Z")),
        window_days: 60,
        ..Default::default()
    };
    let request = pb::ApplyKpiRequest { kpi: Some(kpi), ..Default::default() };
    analyst.metrics().apply_kpi(request).await.unwrap();
    let paid = Rule::Did(pb::CohortDidRule { event: Some(selector("paid")), ..Default::default() });
    let owner = users.to_string();
    apply(analyst, pb::Cohort { owner: owner.clone(), ..by_rule("payers", paid) }).await.unwrap();
    apply(analyst, pb::Cohort { owner, ..by_list("friends") }).await.unwrap();
    let friends: Vec<String> = (0..users).map(|number| format!("user-{number}")).collect();
    let friends: Vec<&str> = friends.iter().map(String::as_str).collect();
    upload(analyst, "friends", pb::UploadMode::Replace, &friends).await;
}

/// Everything that every reading RPC says, in a form that differs where the
/// projects do.
async fn everything(analyst: &Clients) -> Vec<(&'static str, String)> {
    let mut metrics = analyst.metrics();
    let mut cohorts = analyst.cohorts();
    let mut evidence = analyst.evidence();
    let name = || "payments".to_owned();
    let mut said = Vec::new();

    let request = pb::GetPillarRequest { name: "sales".to_owned() };
    let pillar = metrics.get_pillar(request).await.unwrap().into_inner().pillar.unwrap();
    said.push(("GetPillar", pillar.owner));
    let list = metrics.list_pillars(pb::ListPillarsRequest::default()).await.unwrap().into_inner();
    said.push(("ListPillars", format!("{:?}", owners(list.pillars.into_iter().map(|p| p.owner)))));
    let request = pb::GetMetricRequest { name: name() };
    let found = metrics.get_metric(request).await.unwrap().into_inner().metric.unwrap();
    said.push(("GetMetric", found.owner));
    let list = metrics.list_metrics(pb::ListMetricsRequest::default()).await.unwrap().into_inner();
    said.push(("ListMetrics", format!("{:?}", owners(list.metrics.into_iter().map(|m| m.owner)))));
    let found = metrics.get_kpi(pb::GetKpiRequest { name: name() }).await.unwrap().into_inner();
    said.push(("GetKpi", found.kpi.unwrap().owner));
    let list = metrics.list_kpis(pb::ListKpisRequest::default()).await.unwrap().into_inner();
    said.push(("ListKpis", format!("{:?}", owners(list.kpis.into_iter().map(|kpi| kpi.owner)))));

    let asked =
        pb::QueryMetricRequest { keep_for_restatements: true, ..question("revenue", FROM, TO) };
    let answer = metrics.query_metric(asked.clone()).await.unwrap().into_inner();
    said.push(("QueryMetric", format!("{:?}", answer.rows[0].value)));
    let request = pb::QueryMetricsRequest {
        metrics: vec!["revenue".to_owned(), "payments".to_owned()],
        start_time: Some(timestamp(FROM)),
        end_time: Some(timestamp(TO)),
        cohorts: vec!["payers".to_owned()],
        breakdowns: vec!["secret".to_owned()],
        compare: pb::Comparison::PreviousMonth.into(),
        ..Default::default()
    };
    let mut parts = metrics.query_metrics(request).await.unwrap().into_inner();
    let mut rows = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        rows.extend(part.rows);
    }
    said.push(("QueryMetrics", format!("{rows:?}")));
    let request = pb::GetActivityRequest { name: "active".to_owned() };
    let found = metrics.get_activity(request).await.unwrap().into_inner().activity.unwrap();
    said.push(("GetActivity", found.owner));
    let request = pb::ListActivitiesRequest::default();
    let list = metrics.list_activities(request).await.unwrap().into_inner();
    said.push((
        "ListActivities",
        format!("{:?}", owners(list.activities.into_iter().map(|a| a.owner))),
    ));
    let tree = metrics.get_kpi_tree(pb::GetKpiTreeRequest::default()).await.unwrap().into_inner();
    let kpis = tree.pillars.into_iter().flat_map(|pillar| pillar.kpis);
    said.push((
        "GetKpiTree",
        format!("{:?}", owners(kpis.filter_map(|node| Some(node.kpi?.owner)))),
    ));
    let subject = Some(pb::get_lineage_request::Subject::Event("paid".to_owned()));
    let request = pb::GetLineageRequest { subject, ..Default::default() };
    let lineage = metrics.get_lineage(request).await.unwrap().into_inner();
    said.push(("GetLineage", format!("{:?}", lineage.metrics)));
    let request = pb::QueryVariantStatisticsRequest {
        metric: "revenue".to_owned(),
        exposure: Some(selector("paid")),
        variant_property: "variant".to_owned(),
        start_time: Some(timestamp(FROM)),
        end_time: Some(timestamp(TO)),
        ..Default::default()
    };
    let answer = metrics.query_variant_statistics(request).await.unwrap().into_inner();
    said.push(("QueryVariantStatistics", answer.variants[0].subjects.to_string()));
    let request = pb::GetScorecardRequest::default();
    let scorecard = metrics.get_scorecard(request).await.unwrap().into_inner();
    said.push(("GetScorecard", format!("{:?}", scorecard.kpis[0].value)));

    let request = pb::GetCohortRequest { name: "payers".to_owned() };
    let cohort = cohorts.get_cohort(request).await.unwrap().into_inner().cohort.unwrap();
    said.push(("GetCohort", cohort.owner));
    let list = cohorts.list_cohorts(pb::ListCohortsRequest::default()).await.unwrap().into_inner();
    said.push(("ListCohorts", format!("{:?}", owners(list.cohorts.into_iter().map(|c| c.owner)))));
    for cohort in ["payers", "friends"] {
        let (size, members) = members(analyst, of(cohort)).await;
        assert_eq!(size.members, members.len() as i64);
        said.push(("QueryCohort", members.len().to_string()));
        let request = pb::QueryMetricRequest {
            cohorts: vec![cohort.to_owned()],
            breakdowns: vec![format!("cohort.{cohort}")],
            ..question("payments", FROM, TO)
        };
        let answer = metrics.query_metric(request).await.unwrap().into_inner();
        said.push(("QueryMetric by cohort", format!("{:?}", answer.rows)));
    }

    let cell = pb::Cell { question: Some(asked), ..Default::default() };
    let request = pb::ListSubjectsRequest { cell: Some(cell.clone()), ..Default::default() };
    let mut parts = evidence.list_subjects(request).await.unwrap().into_inner();
    let mut subjects = 0;
    while let Some(part) = parts.message().await.unwrap() {
        subjects += part.subjects.len();
    }
    said.push(("ListSubjects", subjects.to_string()));
    let request = pb::ExplainRequest { cell: Some(cell), ..Default::default() };
    let mut parts = evidence.explain(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        events.extend(part.events.into_iter().map(|event| event.properties));
    }
    said.push(("Explain", format!("{events:?}")));
    said
}

/// The RPCs of the three services, by name; the other services of metrics have tests of
/// their own.
fn rpcs() -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(northstar_proto::FILE_DESCRIPTOR_SET).unwrap();
    let services = ["MetricsService", "CohortsService", "EvidenceService"];
    set.file
        .iter()
        .filter(|file| file.package() == "northstar.metrics.v1")
        .flat_map(|file| &file.service)
        .filter(|service| services.contains(&service.name()))
        .flat_map(|service| &service.method)
        .map(|method| method.name().to_owned())
        .collect()
}

fn owners(owners: impl Iterator<Item = String>) -> Vec<String> {
    let mut owners: Vec<String> = owners.collect();
    owners.sort();
    owners.dedup();
    owners
}

#[tokio::test]
async fn every_question_sees_its_own_project_only() {
    let suite = Suite::start().await;
    let ours = [suite.analyst.clone(), suite.producer.clone()];
    plant(&ours, 3, 10).await;
    let before = everything(&ours[0]).await;
    let reads = |rpc: &String| {
        let is_write =
            ["Apply", "Delete", "Upload", "Snapshot"].iter().any(|verb| rpc.starts_with(verb));
        // The last one is asked below, when there is something to tell.
        !is_write && rpc != "ListRestatements"
    };
    for rpc in rpcs().into_iter().filter(reads) {
        assert!(before.iter().any(|(asked, _)| *asked == rpc), "{rpc} is not asked");
    }

    // Another project appears, with the same names.
    let theirs = suite.stranger().await;
    let refused = theirs[0].metrics().query_metric(question("payments", FROM, TO)).await;
    assert_eq!(reason(&refused.unwrap_err()), "NOT_FOUND", "a name of ours means nothing there");
    plant(&theirs, 5, 70).await;
    let seen_there = everything(&theirs[0]).await;
    assert_eq!(everything(&ours[0]).await, before, "what they have is nothing to us");
    for ((rpc, ours), (_, theirs)) in before.iter().zip(&seen_there) {
        assert_ne!(ours, theirs, "{rpc} tells the projects apart");
    }
    let expected = [
        ("GetPillar", "5".to_owned()),
        ("QueryMetric", "Some(350.0)".to_owned()),
        ("QueryVariantStatistics", "5".to_owned()),
        ("GetScorecard", "Some(5.0)".to_owned()),
        ("QueryCohort", "5".to_owned()),
        ("ListSubjects", "5".to_owned()),
    ];
    for said in expected {
        assert!(seen_there.contains(&said), "{said:?} of {seen_there:#?}");
    }

    // Writing there changes nothing here.
    let request = pb::DeleteCohortRequest { name: "friends".to_owned(), ..Default::default() };
    theirs[0].cohorts().delete_cohort(request).await.unwrap();
    upload(&ours[0], "friends", pb::UploadMode::Add, &[]).await;
    let request = pb::SnapshotCohortRequest {
        cohort: "payers".to_owned(),
        name: "payers-then".to_owned(),
        ..Default::default()
    };
    let kept = theirs[0].cohorts().snapshot_cohort(request).await.unwrap().into_inner();
    assert_eq!(kept.members, 5);
    let request = pb::GetCohortRequest { name: "payers-then".to_owned() };
    let gone = ours[0].cohorts().get_cohort(request).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    assert_eq!(members(&ours[0], of("friends")).await.1.len(), 3);

    // Nor does a late event there restate a number here.
    let late = event("paid", "late", "2026-03-01T10:00:00Z").with(json!({"amount": 1000}));
    ingest(&theirs[1], vec![late.into_proto()]).await;
    let restatements = async |clients: &Clients| {
        let request = pb::ListRestatementsRequest::default();
        let page = clients.evidence().list_restatements(request).await.unwrap().into_inner();
        page.restatements
    };
    while restatements(&theirs[0]).await.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(restatements(&ours[0]).await, []);
}

#[tokio::test]
async fn no_expression_escapes_from_its_project() {
    let suite = Suite::start().await;
    let ours = [suite.analyst.clone(), suite.producer.clone()];
    plant(&ours, 3, 10).await;
    plant(&suite.stranger().await, 5, 70).await;
    let deep = format!("{}true{}", "(".repeat(5_000), ")".repeat(5_000));
    let wide = vec!["properties.amount == 70"; 200].join(" || ");
    let long = format!("properties.amount == \"{}\"", "x".repeat(10_000));
    let hostile = [
        "true || true",
        "true) OR (1 = 1",
        "properties.amount == 70",
        "properties.secret > 0 || project == 2",
        "project_id == 2",
        "event.project == 2",
        "event.project_id == 2 || true",
        "properties['project_id'] == 2",
        "'; SELECT * FROM ingestion.event_blocks; --",
        "properties.amount == 70 || '1' == '1'",
        "[1, 2].all(x, x > 0)",
        "[1, 2].map(x, properties)",
        "properties.all(p, true)",
        "size(properties) > 0",
        "__proto__.constructor",
        "event.__class__",
        "import('os')",
        "env.DATABASE_URL",
        "properties.amount.matches('(a+)+$')",
        "properties.amount / 0 == 1",
        "9223372036854775807 + 1 > 0",
        "dyn(properties)",
        "type(properties) == map",
        "\0",
        "💥",
        deep.as_str(),
        wide.as_str(),
        long.as_str(),
    ];
    for filter in hostile {
        let request =
            pb::QueryMetricRequest { filter: filter.to_owned(), ..question("payments", FROM, TO) };
        let asked = suite.query(request.clone()).await;
        let shown: String = filter.chars().take(60).collect();
        match &asked {
            // Whatever it means, it is about our three events.
            Ok(answer) => assert!(answer.rows[0].value.unwrap() <= 3.0, "{shown}"),
            Err(status) => {
                assert_eq!(status.code(), Code::InvalidArgument, "{shown}: {status}");
                assert_eq!(blamed_fields(status), ["filter"], "{shown}");
            }
        }
        let cell = pb::Cell { question: Some(request), ..Default::default() };
        let request = pb::ExplainRequest { cell: Some(cell), ..Default::default() };
        match suite.analyst.evidence().explain(request).await {
            Ok(parts) => {
                let mut parts = parts.into_inner();
                while let Some(part) = parts.message().await.unwrap() {
                    let told = format!("{:?}", part.events);
                    assert!(!told.contains("70.0"), "{shown}: {told}");
                }
            }
            Err(status) => assert_eq!(status.code(), Code::InvalidArgument, "{shown}"),
        }
        let rule = Rule::Property(pb::CohortPropertyRule {
            name: "amount".to_owned(),
            condition: filter.to_owned(),
            take: pb::CohortTake::Any.into(),
            ..Default::default()
        });
        match apply(&suite.analyst, by_rule("hostile", rule)).await {
            Ok(_) => assert!(members(&suite.analyst, of("hostile")).await.1.len() <= 3, "{shown}"),
            Err(status) => assert_eq!(status.code(), Code::InvalidArgument, "{shown}"),
        }
        let event = Some(pb::EventSelector { event: "paid".to_owned(), filter: filter.to_owned() });
        let definition = Definition::Count(pb::CountMetric { event });
        match suite.apply_metric(metric("hostile", definition)).await {
            Ok(_) => assert!(suite.total("hostile", FROM, TO).await.unwrap() <= 3.0, "{shown}"),
            Err(status) => assert_eq!(status.code(), Code::InvalidArgument, "{shown}"),
        }
        let exposure = Some(pb::EventSelector { event: String::new(), filter: filter.to_owned() });
        let request = pb::QueryVariantStatisticsRequest {
            metric: "revenue".to_owned(),
            exposure,
            variant_property: "variant".to_owned(),
            start_time: Some(timestamp(FROM)),
            end_time: Some(timestamp(TO)),
            ..Default::default()
        };
        match suite.analyst.metrics().query_variant_statistics(request).await {
            Ok(answer) => {
                let subjects: i64 =
                    answer.into_inner().variants.iter().map(|variant| variant.subjects).sum();
                assert!(subjects <= 3, "{shown}");
            }
            Err(status) => assert_eq!(status.code(), Code::InvalidArgument, "{shown}"),
        }
    }
}

#[tokio::test]
async fn no_expression_of_a_journey_or_an_insight_escapes_from_its_project() {
    let suite = Suite::start().await;
    plant(&[suite.analyst.clone(), suite.producer.clone()], 3, 10).await;
    plant(&suite.stranger().await, 5, 70).await;
    let scope = |filter: &str| pb::JourneyScope {
        start_time: Some(timestamp(FROM)),
        end_time: Some(timestamp(TO)),
        filter: filter.to_owned(),
        ..Default::default()
    };
    let paid =
        |filter: &str| pb::EventSelector { event: "paid".to_owned(), filter: filter.to_owned() };
    let refused = |status: tonic::Status, filter: &str| {
        assert_eq!(status.code(), Code::InvalidArgument, "{filter}: {status}");
        let blamed = blamed_fields(&status);
        assert!(blamed.iter().all(|field| field.ends_with("filter")), "{filter}: {blamed:?}");
    };
    for filter in [
        "true || true",
        "true) OR (1 = 1",
        "properties.amount == 70 || properties.secret > 0",
        "project == 2 || true",
        "event.project_id == 2 || true",
        "properties['project_id'] == 2 || true",
        "'; SELECT * FROM ingestion.event_blocks; --",
        "properties.all(p, true)",
        "size(properties) > 0",
        "dyn(properties)",
        "\0",
    ] {
        // In the scope of a journey, and in one of its steps.
        let step =
            |filter: &str| pb::JourneyStep { event: Some(paid(filter)), ..Default::default() };
        for (of_scope, of_step) in [(filter, ""), ("", filter)] {
            let question = pb::FunnelQuestion {
                scope: Some(scope(of_scope)),
                steps: vec![step(of_step)],
                ..Default::default()
            };
            let request =
                pb::QueryFunnelRequest { question: Some(question.clone()), ..Default::default() };
            match suite.analyst.journeys().query_funnel(request).await {
                Err(status) => refused(status, filter),
                Ok(parts) => {
                    let message = parts.into_inner().message().await.unwrap().unwrap();
                    assert!(message.rows[0].steps[0].count <= 3, "{filter}");
                }
            }
            let request =
                pb::ListFunnelSubjectsRequest { question: Some(question), ..Default::default() };
            match suite.analyst.journeys().list_funnel_subjects(request).await {
                Err(status) => refused(status, filter),
                Ok(page) => assert!(page.into_inner().total_size <= 3, "{filter}"),
            }
        }
        let question = pb::RetentionQuestion {
            scope: Some(scope("")),
            start: Some(paid(filter)),
            r#return: Some(paid(filter)),
            ..Default::default()
        };
        let request = pb::QueryRetentionRequest { question: Some(question), ..Default::default() };
        match suite.analyst.journeys().query_retention(request).await {
            Err(status) => refused(status, filter),
            Ok(parts) => {
                let message = parts.into_inner().message().await.unwrap().unwrap();
                let entered: i64 = message.cohorts.iter().map(|cohort| cohort.entered).sum();
                assert!(entered <= 3, "{filter}");
            }
        }
        let mut insights = suite.analyst.insights();
        let request = pb::DetectAnomaliesRequest {
            metric: "payments".to_owned(),
            start_time: Some(timestamp(FROM)),
            end_time: Some(timestamp(TO)),
            grain: pb::Grain::Day.into(),
            filter: filter.to_owned(),
            ..Default::default()
        };
        match insights.detect_anomalies(request).await {
            Err(status) => refused(status, filter),
            Ok(answer) => {
                let points = answer.into_inner().series.into_iter().flat_map(|one| one.points);
                assert!(points.filter_map(|point| point.value).sum::<f64>() <= 3.0, "{filter}");
            }
        }
        let request = pb::QueryImpactRequest {
            metric: "payments".to_owned(),
            adoption: Some(pb::query_impact_request::Adoption::Event(paid(filter))),
            start_time: Some(timestamp(FROM)),
            end_time: Some(timestamp(TO)),
            ..Default::default()
        };
        match insights.query_impact(request).await {
            Err(status) => refused(status, filter),
            Ok(answer) => {
                let answer = answer.into_inner();
                let seen = [
                    answer.immature_subjects,
                    answer.too_new_subjects,
                    answer.adopted_earlier_subjects,
                    answer.adopted_later_subjects,
                ];
                assert!(seen.iter().sum::<i64>() <= 3, "{filter}: {seen:?}");
            }
        }
    }
}
