//! The same request id, the same answer.

use northstar_domain::Role;
use northstar_proto::approvals::v1 as pb;
use uuid::Uuid;

use crate::suite::{
    Suite, ask, blamed_fields, decide, reason, ship_policy, ship_question, verdict,
};

#[tokio::test]
async fn a_repeated_question_is_asked_once() {
    let suite = Suite::start().await;
    let ada = suite.person("ada", Role::Operator).await;
    let request = pb::CreateDecisionRequestRequest {
        decision_request: Some(ship_question()),
        request_id: Uuid::new_v4().to_string(),
    };
    let first = ada.approvals().create_decision_request(request.clone()).await.unwrap();
    let again = ada.approvals().create_decision_request(request.clone()).await.unwrap();
    assert_eq!(first.into_inner(), again.into_inner());

    let mut other = request.clone();
    other.decision_request.as_mut().unwrap().summary = "something else".to_owned();
    let refused = ada.approvals().create_decision_request(other).await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    let bo = suite.person("bo", Role::Operator).await;
    let refused = bo.approvals().create_decision_request(request).await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED", "bo's question is not ada's");
}

#[tokio::test]
async fn a_repeated_verdict_counts_once_and_answers_the_same() {
    let suite = Suite::start().await;
    let admin = suite.person("root", Role::Admin).await;
    admin.approvals().apply_policy(ship_policy("approver", 2, 3600)).await.unwrap();
    let asked = ask(&suite.person("ada", Role::Operator).await).await;
    let bo = suite.approver("bo").await;
    let approval = pb::RecordVerdictRequest {
        request_id: Uuid::new_v4().to_string(),
        ..verdict(&asked, pb::VerdictKind::Approve)
    };
    let first = decide(&bo, approval.clone()).await.unwrap();
    let again = decide(&bo, approval.clone()).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(again.state(), pb::DecisionState::Pending);
    let rejection =
        pb::RecordVerdictRequest { kind: pb::VerdictKind::Reject.into(), ..approval.clone() };
    assert_eq!(reason(&decide(&bo, rejection).await.unwrap_err()), "REQUEST_ID_REUSED");
    // cy must not be counted as bo, nor bo's answer be given to cy.
    let cy = suite.approver("cy").await;
    assert_eq!(reason(&decide(&cy, approval).await.unwrap_err()), "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn a_request_id_is_a_uuid() {
    let suite = Suite::start().await;
    let admin = suite.person("root", Role::Admin).await;
    let request =
        pb::ApplyPolicyRequest { request_id: "1".to_owned(), ..ship_policy("admin", 1, 3600) };
    let refused = admin.approvals().apply_policy(request).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["request_id"]);
}
