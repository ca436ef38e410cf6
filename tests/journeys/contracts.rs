//! A contract that changes under a metric, and a quarantine that moves a KPI.

use chrono::Utc;
use northstar_client::Clients;
use northstar_domain::Role;
use northstar_proto::approvals::v1 as approvals;
use northstar_proto::ingestion::v1 as ingestion;
use northstar_proto::metrics::v1 as metrics;
use northstar_tests::Suite;
use prost_types::Timestamp;
use tonic::{Code, Status};

fn days(days: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: Utc::now().timestamp() + days * 86_400, nanos: 0 })
}

async fn define_metric(clients: &Clients, name: &str, event: &str, filter: &str) {
    let event = metrics::EventSelector { event: event.to_owned(), filter: filter.to_owned() };
    let count = metrics::CountMetric { event: Some(event) };
    let metric = metrics::Metric {
        name: name.to_owned(),
        definition: Some(metrics::metric::Definition::Count(count)),
        ..Default::default()
    };
    let request = metrics::ApplyMetricRequest { metric: Some(metric), ..Default::default() };
    clients.metrics().apply_metric(request).await.expect("the metric is valid");
}

async fn define_kpi(clients: &Clients, name: &str, metric: &str) {
    let pillar = metrics::Pillar { name: "growth".to_owned(), ..Default::default() };
    let request = metrics::ApplyPillarRequest { pillar: Some(pillar), ..Default::default() };
    clients.metrics().apply_pillar(request).await.expect("the pillar is valid");
    let kpi = metrics::Kpi {
        name: name.to_owned(),
        metric: metric.to_owned(),
        pillar: "growth".to_owned(),
        layer: metrics::Layer::Outcome.into(),
        owner: "growth".to_owned(),
        unit: "signups".to_owned(),
        direction: metrics::Direction::Increase.into(),
        baseline: Some(metrics::Baseline {
            value: 1.0,
            start_time: days(-60),
            end_time: days(-30),
        }),
        target: Some(metrics::Target { value: 10.0, due_time: days(90) }),
        guardrails: vec![metrics::Guardrail {
            metric: "tickets".to_owned(),
            direction: metrics::Direction::Decrease.into(),
            margin: 0.1,
        }],
        review_time: days(30),
        window_days: 7,
        ..Default::default()
    };
    let request = metrics::ApplyKpiRequest { kpi: Some(kpi), ..Default::default() };
    clients.metrics().apply_kpi(request).await.expect("the KPI is valid");
}

fn contract(version: &str, plan: &str) -> ingestion::Contract {
    ingestion::Contract {
        name: "Signed Up".to_owned(),
        schema_version: version.to_owned(),
        json_schema: format!(
            r#"{{"type": "object", "required": ["plan"], "properties": {{"plan": {plan}}}}}"#
        ),
        mode: ingestion::ContractMode::Quarantine.into(),
        owner: "growth".to_owned(),
        ..Default::default()
    }
}

async fn apply(clients: &Clients, contract: ingestion::Contract) -> Result<(), Status> {
    let request =
        ingestion::ApplyContractRequest { contract: Some(contract), ..Default::default() };
    clients.ingestion().apply_contract(request).await.map(drop)
}

async fn apply_by(
    clients: &Clients,
    contract: ingestion::Contract,
    decision_request: &str,
) -> Result<(), Status> {
    let request = ingestion::ApplyApprovedContractRequest {
        contract: Some(contract),
        decision_request: decision_request.to_owned(),
        ..Default::default()
    };
    clients.contracts().apply_approved_contract(request).await.map(drop)
}

async fn send(clients: &Clients, message_id: &str, plan: &str) -> ingestion::EventOutcome {
    let value = ingestion::value::Kind::StringValue(plan.to_owned());
    let event = ingestion::Event {
        message_id: message_id.to_owned(),
        name: "Signed Up".to_owned(),
        user_id: format!("user of {message_id}"),
        occurred_time: Some(Timestamp { seconds: Utc::now().timestamp() - 3_600, nanos: 0 }),
        properties: [("plan".to_owned(), ingestion::Value { kind: Some(value) })].into(),
        ..Default::default()
    };
    let request = ingestion::IngestEventsRequest { source: "web".to_owned(), events: vec![event] };
    let answer = clients.ingestion().ingest_events(request).await.expect("ingestion answers");
    answer.into_inner().results[0].outcome()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_breaks_a_metric_waits_for_people() {
    let suite = Suite::start().await;
    let admin = suite.clients("root", Role::Admin).await;
    let ada = suite.clients("ada", Role::Operator).await;
    let bob = suite.clients("bob", Role::Approver).await;
    let policy = approvals::Policy {
        name: "contracts".to_owned(),
        action: "contract.change".to_owned(),
        role: "approver".to_owned(),
        quorum: 1,
        sla: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
        owner: "growth".to_owned(),
        ..Default::default()
    };
    let request = approvals::ApplyPolicyRequest { policy: Some(policy), ..Default::default() };
    admin.approvals().apply_policy(request).await.expect("the policy is valid");
    define_metric(&ada, "pro-signups", "Signed Up", "properties.plan == 'pro'").await;
    define_metric(&ada, "signups", "Signed Up", "").await;
    define_metric(&ada, "tickets", "Ticket Opened", "").await;

    apply(&ada, contract("1-0-0", r#"{"type": "string"}"#)).await.expect("a first contract");
    // Narrower: only who reads the property is concerned.
    let narrower = contract("1-1-0", r#"{"enum": ["pro", "free"], "type": "string"}"#);
    let refused = apply(&ada, narrower.clone()).await.expect_err("it breaks a metric");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("breaks pro-signups;"), "{}", refused.message());
    // Another type: nothing of what was valid is.
    let check = ingestion::CheckContractRequest {
        contract: Some(contract("2-0-0", r#"{"type": "integer"}"#)),
    };
    let found = ada.contracts().check_contract(check).await.expect("a read").into_inner();
    assert_eq!(found.broken_metrics, ["pro-signups", "signups"]);
    assert!(found.needs_decision);

    let request = ingestion::RequestContractChangeRequest {
        contract: Some(narrower.clone()),
        request_id: "0198c7e0-0000-7000-8000-000000000001".to_owned(),
    };
    let asked = ada.contracts().request_contract_change(request.clone()).await;
    let asked = asked.expect("it can be asked").into_inner();
    let again = ada.contracts().request_contract_change(request).await.expect("asked again");
    assert_eq!(again.into_inner(), asked);
    let id = asked.decision_request.as_str();
    let undecided = apply_by(&ada, narrower.clone(), id).await.expect_err("nobody decided");
    assert!(undecided.message().contains("not approved"), "{}", undecided.message());

    let request = approvals::GetDecisionRequestRequest { decision_request_id: id.to_owned() };
    let waiting = bob.approvals().get_decision_request(request).await.expect("it waits");
    let waiting = waiting.into_inner().decision_request.expect("a decision request");
    assert_eq!(waiting.subject, "contracts/Signed Up");
    let verdict = approvals::RecordVerdictRequest {
        decision_request_id: id.to_owned(),
        kind: approvals::VerdictKind::Approve.into(),
        reason: "the metric follows tomorrow".to_owned(),
        review_cycle: waiting.review_cycle,
        diff_digest: waiting.diff_digest,
        ..Default::default()
    };
    bob.approvals().record_verdict(verdict).await.expect("bob may decide");
    // The decision is about this change and no other.
    let other = contract("1-1-0", r#"{"enum": ["pro"], "type": "string"}"#);
    let changed = apply_by(&ada, other, id).await.expect_err("another change");
    assert!(changed.message().contains("not the one that was approved"));
    apply_by(&ada, narrower.clone(), id).await.expect("the approved change");
    assert_eq!(send(&ada, "a", "team").await, ingestion::EventOutcome::Quarantined);

    let request = ingestion::ListContractVersionsRequest {
        name: "Signed Up".to_owned(),
        ..Default::default()
    };
    let versions = ada.contracts().list_contract_versions(request).await.expect("a read");
    let newest = &versions.into_inner().versions[0];
    assert_eq!((newest.decision_request.as_str(), newest.applied_by.as_str()), (id, "ada"));
    // What broke nothing needs nobody.
    let wider = contract("1-1-1", r#"{"enum": ["pro", "free", "team"], "type": "string"}"#);
    apply(&ada, wider).await.expect("an addition");
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_tells_which_kpis_moved() {
    let suite = Suite::start().await;
    let ada = suite.clients("ada", Role::Operator).await;
    define_metric(&ada, "signups", "Signed Up", "").await;
    define_metric(&ada, "tickets", "Ticket Opened", "").await;
    define_kpi(&ada, "signups", "signups").await;
    define_kpi(&ada, "calm", "tickets").await;
    apply(&ada, contract("1-0-0", r#"{"enum": ["pro", "free"]}"#)).await.expect("a contract");
    assert_eq!(send(&ada, "a", "pro").await, ingestion::EventOutcome::Accepted);
    assert_eq!(send(&ada, "b", "Pro").await, ingestion::EventOutcome::Quarantined);
    assert_eq!(send(&ada, "c", "Pro").await, ingestion::EventOutcome::Quarantined);

    let filter = Some(ingestion::QuarantineFilter { all: true, ..Default::default() });
    let change = ingestion::patch_quarantined_events_request::Change::MergePatchJson(
        r#"{"properties": {"plan": "pro"}}"#.to_owned(),
    );
    let request = ingestion::PatchQuarantinedEventsRequest {
        filter: filter.clone(),
        change: Some(change),
        ..Default::default()
    };
    let mut patched = ada.quarantine().patch_quarantined_events(request).await.expect("patched");
    while let Some(update) = patched.get_mut().message().await.expect("progress") {
        let progress = update.progress.expect("progress");
        assert_eq!(progress.changed, 2);
    }
    let request = ingestion::ReplayQuarantinedEventsRequest { filter, ..Default::default() };
    let mut replayed = ada.quarantine().replay_quarantined_events(request).await.expect("replays");
    let mut last = None;
    while let Some(update) = replayed.get_mut().message().await.expect("progress") {
        last = Some(update);
    }
    let last = last.expect("an end");
    assert_eq!(last.kpis_unknown, "");
    let moved =
        ingestion::KpiMove { kpi: "signups".to_owned(), before: Some(1.0), after: Some(3.0) };
    assert_eq!(last.kpi_moves, [moved]);
    suite.stop().await;
}
