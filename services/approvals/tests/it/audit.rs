//! The chain of what was changed, and what happens to who tampers with it.

use northstar_client::Clients;
use northstar_domain::Role;
use northstar_proto::approvals::v1 as pb;
use northstar_store::PgPool;
use serde_json::Value;
use sqlx::Executor as _;
use uuid::Uuid;

use crate::suite::{Suite, approve, ask, blamed_fields, ship_policy};

async fn entries(reader: &Clients) -> Vec<pb::AuditEntry> {
    let all = pb::ListAuditEntriesRequest { page_size: 1000, page_token: String::new() };
    reader.approvals().list_audit_entries(all).await.unwrap().into_inner().entries
}

async fn verify(reader: &Clients) -> pb::VerifyAuditLogResponse {
    let answer = reader.approvals().verify_audit_log(pb::VerifyAuditLogRequest {}).await;
    answer.unwrap().into_inner()
}

async fn tamper(superuser: &PgPool, statement: &'static str) {
    superuser.execute(statement).await.unwrap();
}

#[tokio::test]
async fn every_change_is_recorded_with_who_and_what() {
    let suite = Suite::start().await;
    let admin = suite.person("root", Role::Admin).await;
    admin.approvals().apply_policy(ship_policy("approver", 2, 3600)).await.unwrap();
    admin.approvals().apply_policy(ship_policy("approver", 1, 3600)).await.unwrap();
    let asked = ask(&suite.person("ada", Role::Operator).await).await;
    approve(&suite.approver("bo").await, &asked).await.unwrap();

    let recorded = entries(&admin).await;
    let told: Vec<_> = recorded.iter().map(|e| (e.actor.as_str(), e.action.as_str())).collect();
    let expected = [
        ("root", "policy.apply"),
        ("root", "policy.apply"),
        ("ada", "decision.request"),
        ("bo", "decision.verdict"),
    ];
    assert_eq!(told, expected);
    let detail: Value = serde_json::from_str(&recorded[1].detail_json).unwrap();
    assert_eq!((&detail["before"]["quorum"], &detail["after"]["quorum"]), (&2.into(), &1.into()));
    assert_eq!(recorded[3].resource, format!("decisions/{}", asked.decision_request_id));
    assert_eq!(recorded[3].previous_hash, recorded[2].hash);

    let verified = verify(&admin).await;
    assert!(verified.valid);
    assert_eq!((verified.entries, &verified.head_hash), (4, &recorded[3].hash));
}

#[tokio::test]
async fn a_changed_a_removed_and_a_cut_off_entry_are_found() {
    for (statement, first_invalid) in [
        ("UPDATE audit.entries SET actor = 'eve' WHERE sequence = 2", 2),
        ("UPDATE audit.entries SET detail = '{}' WHERE sequence = 3", 3),
        ("DELETE FROM audit.entries WHERE sequence = 1", 1),
        ("DELETE FROM audit.entries WHERE sequence = 3", 3),
    ] {
        let suite = Suite::start().await;
        let ada = suite.person("ada", Role::Operator).await;
        for _ in 0..3 {
            ask(&ada).await;
        }
        assert!(verify(&ada).await.valid);
        tamper(suite.superuser(), statement).await;
        let verified = verify(&ada).await;
        assert!(!verified.valid, "{statement}");
        assert_eq!(verified.first_invalid_sequence, first_invalid, "{statement}");
    }
}

#[tokio::test]
async fn approvals_itself_may_not_change_an_entry_nor_a_verdict() {
    let suite = Suite::start().await;
    let asked = ask(&suite.person("ada", Role::Operator).await).await;
    approve(&suite.approver("bo").await, &asked).await.unwrap();
    for statement in [
        "UPDATE audit.entries SET actor = 'eve'",
        "DELETE FROM audit.entries",
        "UPDATE approvals.verdicts SET kind = 'reject'",
        "DELETE FROM approvals.verdicts",
    ] {
        let mut tx = suite.superuser().begin().await.unwrap();
        tx.execute("SET LOCAL ROLE northstar_approvals").await.unwrap();
        let refused = tx.execute(statement).await.unwrap_err();
        let code = refused.as_database_error().and_then(|error| error.code()).unwrap_or_default();
        assert_eq!(code, "42501", "{statement}: {refused}"); // insufficient_privilege
    }
}

#[tokio::test]
async fn an_entry_of_another_service_is_appended_once_in_the_name_of_the_caller() {
    let suite = Suite::start().await;
    let ada = suite.person("ada", Role::Operator).await;
    let request = pb::AppendAuditEntryRequest {
        action: "deploy.finish".to_owned(),
        resource: "services/web".to_owned(),
        detail_json: r#"{"after": "v2"}"#.to_owned(),
        request_id: Uuid::new_v4().to_string(),
    };
    let first = ada.approvals().append_audit_entry(request.clone()).await.unwrap().into_inner();
    let again = ada.approvals().append_audit_entry(request).await.unwrap().into_inner();
    assert_eq!(first, again);
    assert_eq!(first.entry.unwrap().actor, "ada");
    assert_eq!(entries(&ada).await.len(), 1);

    let empty = pb::AppendAuditEntryRequest::default();
    let refused = ada.approvals().append_audit_entry(empty).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["action", "resource", "detail_json"]);
}
