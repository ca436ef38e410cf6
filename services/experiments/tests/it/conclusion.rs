//! The gate before shipping, from every side.

use northstar_client::Clients;
use northstar_domain::Role;
use northstar_proto::approvals::v1 as approvals;
use northstar_proto::experiments::v1 as pb;
use serde_json::Value;
use uuid::Uuid;

use crate::suite::{
    Suite, apply, assign, blamed_fields, checkout, plant, reason, request_ship, start, stop, users,
};

fn conclusion(state: pb::ExperimentState, decision: &str) -> pb::ConcludeExperimentRequest {
    pb::ConcludeExperimentRequest {
        name: "checkout".to_owned(),
        conclusion: state.into(),
        decision_request: decision.to_owned(),
        learning: "fewer fields doubled the checkout rate; try fewer still".to_owned(),
        request_id: String::new(),
    }
}

async fn ship(clients: &Clients, decision: &str) -> Result<pb::Experiment, tonic::Status> {
    let request = conclusion(pb::ExperimentState::Shipped, decision);
    let response = clients.experiments().conclude_experiment(request).await?;
    Ok(response.into_inner().experiment.unwrap())
}

async fn read(clients: &Clients, decision: &str) -> approvals::DecisionRequest {
    let get = approvals::GetDecisionRequestRequest { decision_request_id: decision.to_owned() };
    let answer = clients.approvals().get_decision_request(get).await.unwrap();
    answer.into_inner().decision_request.unwrap()
}

async fn give(approver: &Clients, decision: &str, kind: approvals::VerdictKind, diff: &str) {
    let seen = read(approver, decision).await;
    let verdict = approvals::RecordVerdictRequest {
        decision_request_id: decision.to_owned(),
        kind: kind.into(),
        reason: "looked at the analysis".to_owned(),
        review_cycle: seen.review_cycle,
        diff_digest: seen.diff_digest,
        edited_diff_json: diff.to_owned(),
        request_id: String::new(),
    };
    approver.approvals().record_verdict(verdict).await.unwrap();
}

async fn approve(approver: &Clients, decision: &str) {
    give(approver, decision, approvals::VerdictKind::Approve, "").await;
}

async fn state(clients: &Clients) -> pb::ExperimentState {
    let get = pb::GetExperimentRequest { name: "checkout".to_owned() };
    let answer = clients.experiments().get_experiment(get).await.unwrap().into_inner();
    answer.experiment.unwrap().state()
}

#[tokio::test]
async fn an_approved_decision_ships_and_the_learning_is_kept() {
    let (suite, ada) = Suite::stopped().await;
    let asked = request_ship(&ada, "checkout", "short").await.unwrap();
    let decision = read(&ada, &asked.decision_request).await;
    assert_eq!((decision.action.as_str(), decision.author.as_str()), ("experiment.ship", "ada"));
    assert_eq!(decision.subject, "experiments/checkout");
    assert_eq!(decision.diff_json, r#"{"experiment":"checkout","variant":"short"}"#);
    let evidence: Value = serde_json::from_str(&decision.evidence[0].json).unwrap();
    let analysis = asked.analysis.unwrap();
    assert_eq!(evidence["recommendation"], "ship");
    let estimate = analysis.comparisons[0].absolute.unwrap().estimate;
    assert_eq!(evidence["comparisons"][0]["absolute"]["estimate"], estimate);

    let refused = ship(&ada, &asked.decision_request).await.unwrap_err();
    assert_eq!(reason(&refused), "APPROVAL_REQUIRED", "nobody has approved yet");
    approve(&suite.person("bo", Role::Approver).await, &asked.decision_request).await;
    let shipped = ship(&ada, &asked.decision_request).await.unwrap();
    assert_eq!(shipped.state(), pb::ExperimentState::Shipped);
    assert_eq!(shipped.shipped_variant, "short");
    let (learning, author): (String, String) =
        sqlx::query_as("SELECT learning, author FROM experiments.learnings")
            .fetch_one(suite.superuser())
            .await
            .unwrap();
    assert!(learning.starts_with("fewer fields doubled") && author == "ada");
    let again = ship(&ada, &asked.decision_request).await.unwrap_err();
    assert_eq!(reason(&again), "INVALID_TRANSITION");
}

#[tokio::test]
async fn what_the_approvers_made_of_it_is_what_ships() {
    let (suite, ada) = Suite::with_metrics().await;
    let mut three = checkout();
    three.variants.push(pb::Variant { name: "shorter".to_owned(), weight: 1.0 });
    apply(&ada, three).await.unwrap();
    start(&ada, "checkout").await.unwrap();
    let assignments = assign(&ada, "checkout", &users(0..300)).await.unwrap();
    plant(&suite, &ada, &assignments, 4, 2).await;
    suite.clock.set(crate::suite::at("2026-03-20T00:00:00Z"));
    stop(&ada, "checkout").await.unwrap();
    let asked = request_ship(&ada, "checkout", "short").await.unwrap();
    let (bo, cy) =
        (suite.person("bo", Role::Approver).await, suite.person("cy", Role::Approver).await);
    let other = r#"{"experiment":"checkout","variant":"shorter"}"#;
    give(&bo, &asked.decision_request, approvals::VerdictKind::Edit, other).await;
    approve(&cy, &asked.decision_request).await;
    let shipped = ship(&ada, &asked.decision_request).await.unwrap();
    assert_eq!(shipped.shipped_variant, "shorter");
}

#[tokio::test]
async fn an_edit_to_something_that_is_no_variant_ships_nothing() {
    let (suite, ada) = Suite::stopped().await;
    let asked = request_ship(&ada, "checkout", "short").await.unwrap();
    let (bo, cy) =
        (suite.person("bo", Role::Approver).await, suite.person("cy", Role::Approver).await);
    let other = r#"{"experiment":"checkout","variant":"control"}"#;
    give(&bo, &asked.decision_request, approvals::VerdictKind::Edit, other).await;
    approve(&cy, &asked.decision_request).await;
    let refused = ship(&ada, &asked.decision_request).await.unwrap_err();
    assert_eq!(reason(&refused), "APPROVAL_REQUIRED");
    assert_eq!(state(&ada).await, pb::ExperimentState::Stopped);
}

#[tokio::test]
async fn a_rejected_an_unknown_and_no_decision_ship_nothing() {
    let (suite, ada) = Suite::stopped().await;
    let asked = request_ship(&ada, "checkout", "short").await.unwrap();
    let bo = suite.person("bo", Role::Approver).await;
    give(&bo, &asked.decision_request, approvals::VerdictKind::Reject, "").await;
    let unknown = Uuid::new_v4().to_string();
    for decision in [asked.decision_request.as_str(), unknown.as_str(), "nonsense", ""] {
        let refused = ship(&ada, decision).await.unwrap_err();
        assert_eq!(reason(&refused), "APPROVAL_REQUIRED", "{decision}");
    }
    assert_eq!(state(&ada).await, pb::ExperimentState::Stopped);
}

#[tokio::test]
async fn the_decision_of_another_experiment_and_one_asked_for_behind_its_back_ship_nothing() {
    let (suite, ada) = Suite::stopped().await;
    let bo = suite.person("bo", Role::Approver).await;

    // The same question, put to the approvers without the analysis.
    let question = approvals::DecisionRequest {
        action: "experiment.ship".to_owned(),
        subject: "experiments/checkout".to_owned(),
        summary: "ship it, trust me".to_owned(),
        diff_json: r#"{"experiment":"checkout","variant":"short"}"#.to_owned(),
        evidence: vec![approvals::Evidence {
            title: "feeling".to_owned(),
            json: "\"good\"".to_owned(),
            source: "me".to_owned(),
        }],
        ..approvals::DecisionRequest::default()
    };
    let request = approvals::CreateDecisionRequestRequest {
        decision_request: Some(question),
        request_id: String::new(),
    };
    let answer = ada.approvals().create_decision_request(request).await.unwrap();
    let behind = answer.into_inner().decision_request.unwrap().decision_request_id;
    approve(&bo, &behind).await;
    assert_eq!(reason(&ship(&ada, &behind).await.unwrap_err()), "APPROVAL_REQUIRED");

    // A decision that was asked for properly, for another experiment.
    suite.clock.set(crate::suite::at("2026-03-02T12:00:00Z"));
    apply(&ada, pb::Experiment { name: "other".to_owned(), ..checkout() }).await.unwrap();
    start(&ada, "other").await.unwrap();
    let assignments = assign(&ada, "other", &users(1000..1200)).await.unwrap();
    plant(&suite, &ada, &assignments, 4, 2).await;
    suite.clock.set(crate::suite::at("2026-03-20T00:00:00Z"));
    let others = request_ship(&ada, "other", "short").await.unwrap().decision_request;
    approve(&bo, &others).await;
    assert_eq!(reason(&ship(&ada, &others).await.unwrap_err()), "APPROVAL_REQUIRED");
    assert_eq!(state(&ada).await, pb::ExperimentState::Stopped);
}

#[tokio::test]
async fn when_approvals_cannot_be_asked_nothing_ships() {
    let (suite, ada) = Suite::stopped().await;
    let asked = request_ship(&ada, "checkout", "short").await.unwrap();
    approve(&suite.person("bo", Role::Approver).await, &asked.decision_request).await;
    let alone = suite.start_alone().await;
    let key = suite.key("ada", Role::Operator).await;
    let refused = ship(&alone.clients(&key).unwrap(), &asked.decision_request).await.unwrap_err();
    assert_eq!(reason(&refused), "DEPENDENCY_UNAVAILABLE");
    assert_eq!(state(&ada).await, pb::ExperimentState::Stopped);
}

#[tokio::test]
async fn the_database_refuses_a_shipped_experiment_without_a_decision() {
    let (suite, _ada) = Suite::stopped().await;
    let shipped = "UPDATE experiments.experiments
                   SET state = 'shipped', shipped_variant = 'short', concluded_at = now()";
    let refused = sqlx::query(shipped).execute(suite.superuser()).await.unwrap_err();
    let constraint = refused.as_database_error().and_then(|error| error.constraint());
    assert_eq!(constraint, Some("experiments_shipped_check"));
}

#[tokio::test]
async fn rolling_back_needs_no_approval_but_a_learning() {
    let (_suite, ada) = Suite::stopped().await;
    let mut request = conclusion(pb::ExperimentState::RolledBack, "");
    request.learning = " ".to_owned();
    let refused = ada.experiments().conclude_experiment(request.clone()).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["learning"]);
    request.learning = "the short form confuses people who return".to_owned();
    request.request_id = Uuid::new_v4().to_string();
    let first = ada.experiments().conclude_experiment(request.clone()).await.unwrap().into_inner();
    let again = ada.experiments().conclude_experiment(request).await.unwrap().into_inner();
    assert_eq!(first, again);
    assert_eq!(state(&ada).await, pb::ExperimentState::RolledBack);
    let refused = request_ship(&ada, "checkout", "short").await.unwrap_err();
    assert_eq!(reason(&refused), "INVALID_TRANSITION");
}

#[tokio::test]
async fn a_repeated_question_is_put_to_the_approvers_once() {
    let (_suite, ada) = Suite::stopped().await;
    let request = pb::RequestShipDecisionRequest {
        name: "checkout".to_owned(),
        variant: "short".to_owned(),
        request_id: Uuid::new_v4().to_string(),
    };
    let first = ada.experiments().request_ship_decision(request.clone()).await.unwrap();
    let again = ada.experiments().request_ship_decision(request.clone()).await.unwrap();
    assert_eq!(first.into_inner(), again.into_inner());
    let other = pb::RequestShipDecisionRequest { variant: "control".to_owned(), ..request };
    let refused = ada.experiments().request_ship_decision(other).await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    let list = approvals::ListDecisionRequestsRequest::default();
    let list = ada.approvals().list_decision_requests(list).await.unwrap().into_inner();
    assert_eq!(list.decision_requests.len(), 1);
}

#[tokio::test]
async fn only_a_treatment_can_be_asked_for() {
    let (_suite, ada) = Suite::stopped().await;
    for variant in ["control", "nobody", ""] {
        let refused = request_ship(&ada, "checkout", variant).await.unwrap_err();
        assert_eq!(blamed_fields(&refused), ["variant"], "{variant}");
    }
}
