//! What the log learns of decisions and steps, through the outboxes.

use northstar_domain::Role;
use northstar_proto::approvals::v1 as approvals;

use crate::suite::{Suite, request_ship};

#[tokio::test]
async fn decisions_and_steps_are_told_to_the_log_once() {
    let (suite, ada) = Suite::stopped().await;
    let asked = request_ship(&ada, "checkout", "short").await.unwrap();
    let bo = suite.person("bo", Role::Approver).await;
    let get = approvals::GetDecisionRequestRequest { decision_request_id: asked.decision_request };
    let seen = bo.approvals().get_decision_request(get).await.unwrap().into_inner();
    let seen = seen.decision_request.unwrap();
    let verdict = approvals::RecordVerdictRequest {
        decision_request_id: seen.decision_request_id,
        kind: approvals::VerdictKind::Approve.into(),
        review_cycle: seen.review_cycle,
        diff_digest: seen.diff_digest,
        ..approvals::RecordVerdictRequest::default()
    };
    bo.approvals().record_verdict(verdict).await.unwrap();
    let log = suite.own_events(&ada).await;
    // 200 exposures, started, stopped, requested, verdict.
    assert_eq!((log.accepted, log.duplicate, log.quarantined, log.rejected), (204, 0, 0, 0));
}

#[tokio::test]
async fn an_event_that_is_sent_twice_is_in_the_log_once() {
    let (suite, ada, _) = Suite::running().await;
    suite.own_events(&ada).await;
    // As if the process had died between the log's answer and the removal.
    sqlx::query(
        "INSERT INTO experiments.outbox
             (project_id, message_id, name, user_id, occurred_at, properties)
         VALUES (1, 'experiment/checkout/started', 'northstar.experiment.started',
                 'principal:ada', '2026-03-02T12:00:00Z',
                 '{\"experiment\": \"checkout\", \"state\": \"running\", \"variant\": null}')",
    )
    .execute(suite.superuser())
    .await
    .unwrap();
    let log = suite.own_events(&ada).await;
    assert_eq!((log.accepted, log.duplicate, log.quarantined), (201, 1, 0));
}
