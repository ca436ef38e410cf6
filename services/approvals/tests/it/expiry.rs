//! What time decides, and what the log will be told.

use chrono::TimeDelta;
use northstar_approvals::worker::expire_batch;
use northstar_domain::{Clock as _, Role};
use northstar_proto::approvals::v1 as pb;
use serde_json::Value;

use crate::suite::{Suite, approve, ask, read, reason};

#[tokio::test]
async fn a_request_is_expired_for_every_reader_at_its_due_time() {
    let suite = Suite::start().await;
    let ada = suite.person("ada", Role::Operator).await;
    let asked = ask(&ada).await;
    suite.clock.advance(TimeDelta::hours(72) - TimeDelta::microseconds(1));
    assert_eq!(read(&ada, &asked.decision_request_id).await.state(), pb::DecisionState::Pending);
    suite.clock.advance(TimeDelta::microseconds(1));
    let expired = read(&ada, &asked.decision_request_id).await;
    assert_eq!(expired.state(), pb::DecisionState::Expired);
    assert_eq!(expired.decide_time, expired.due_time);
    let late = approve(&suite.approver("bo").await, &asked).await.unwrap_err();
    assert_eq!(reason(&late), "INVALID_TRANSITION");

    let mut list = pb::ListDecisionRequestsRequest::default();
    list.set_state(pb::DecisionState::Expired);
    let answer = ada.approvals().list_decision_requests(list.clone()).await.unwrap();
    assert_eq!(answer.into_inner().decision_requests.len(), 1);
    list.set_state(pb::DecisionState::Pending);
    let answer = ada.approvals().list_decision_requests(list).await.unwrap();
    assert!(answer.into_inner().decision_requests.is_empty());
}

#[tokio::test]
async fn the_worker_writes_an_expiry_down_once() {
    let suite = Suite::start().await;
    let asked = ask(&suite.person("ada", Role::Operator).await).await;
    // A time the service's own worker does not know of.
    let later = suite.clock.now() + TimeDelta::hours(73);
    assert_eq!(expire_batch(suite.superuser(), later).await.unwrap(), 1);
    assert_eq!(expire_batch(suite.superuser(), later).await.unwrap(), 0);
    let state: String = sqlx::query_scalar(
        "SELECT state FROM approvals.decision_requests WHERE decision_request_id = $1::uuid",
    )
    .bind(&asked.decision_request_id)
    .fetch_one(suite.superuser())
    .await
    .unwrap();
    assert_eq!(state, "expired");
    let actions: Vec<String> =
        sqlx::query_scalar("SELECT action FROM audit.entries ORDER BY sequence")
            .fetch_all(suite.superuser())
            .await
            .unwrap();
    assert_eq!(actions, ["decision.request", "decision.expire"]);
}

#[tokio::test]
async fn a_verdict_is_acknowledged_and_its_event_kept_while_ingestion_is_away() {
    // No ingestion runs in this suite.
    let suite = Suite::start().await;
    let asked = ask(&suite.person("ada", Role::Operator).await).await;
    approve(&suite.approver("bo").await, &asked).await.unwrap();
    let rows: Vec<(String, String, String, Value)> = sqlx::query_as(
        "SELECT name, message_id, user_id, properties FROM approvals.outbox ORDER BY outbox_id",
    )
    .fetch_all(suite.superuser())
    .await
    .unwrap();
    let id = &asked.decision_request_id;
    let [requested, verdict] = rows.as_slice() else { panic!("two events, not {rows:?}") };
    assert_eq!(requested.0, "northstar.decision.requested");
    assert_eq!(verdict.0, "northstar.decision.verdict");
    assert_eq!(verdict.1, format!("decision/{id}/verdict/1/bo"));
    assert_eq!(verdict.2, "principal:bo");
    assert_eq!(verdict.3["state"], "approved");
    assert_eq!(verdict.3["subject"], "experiments/checkout");
}
