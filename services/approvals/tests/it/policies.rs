//! Policies: one per action, changed with care.

use northstar_domain::Role;
use northstar_proto::approvals::v1 as pb;

use crate::suite::{Suite, ask, blamed_fields, reason, ship_policy};

#[tokio::test]
async fn a_policy_is_applied_read_and_listed() {
    let suite = Suite::start().await;
    let admin = suite.person("root", Role::Admin).await;
    let applied = admin.approvals().apply_policy(ship_policy("admin", 2, 3600)).await.unwrap();
    let applied = applied.into_inner().policy.unwrap();
    assert_eq!(applied.etag, "1");
    let get = pb::GetPolicyRequest { name: "ship".to_owned() };
    let read = admin.approvals().get_policy(get).await.unwrap().into_inner().policy.unwrap();
    assert_eq!(read, applied);
    let list = admin.approvals().list_policies(pb::ListPoliciesRequest::default()).await.unwrap();
    assert_eq!(list.into_inner().policies, [applied]);
    let missing = pb::GetPolicyRequest { name: "no-such".to_owned() };
    assert_eq!(reason(&admin.approvals().get_policy(missing).await.unwrap_err()), "NOT_FOUND");
}

#[tokio::test]
async fn applying_what_is_there_changes_nothing() {
    let suite = Suite::start().await;
    let admin = suite.person("root", Role::Admin).await;
    for _ in 0..2 {
        let applied = admin.approvals().apply_policy(ship_policy("admin", 2, 3600)).await.unwrap();
        assert_eq!(applied.into_inner().policy.unwrap().etag, "1");
    }
    let changed = admin.approvals().apply_policy(ship_policy("admin", 3, 3600)).await.unwrap();
    assert_eq!(changed.into_inner().policy.unwrap().etag, "2");
}

#[tokio::test]
async fn a_stale_etag_is_refused() {
    let suite = Suite::start().await;
    let admin = suite.person("root", Role::Admin).await;
    admin.approvals().apply_policy(ship_policy("admin", 2, 3600)).await.unwrap();
    admin.approvals().apply_policy(ship_policy("admin", 3, 3600)).await.unwrap();
    let mut stale = ship_policy("approver", 1, 3600);
    stale.policy.as_mut().unwrap().etag = "1".to_owned();
    assert_eq!(reason(&admin.approvals().apply_policy(stale).await.unwrap_err()), "ETAG_MISMATCH");
}

#[tokio::test]
async fn one_action_has_one_policy() {
    let suite = Suite::start().await;
    let admin = suite.person("root", Role::Admin).await;
    admin.approvals().apply_policy(ship_policy("admin", 2, 3600)).await.unwrap();
    let mut second = ship_policy("approver", 1, 3600);
    second.policy.as_mut().unwrap().name = "ship-fast".to_owned();
    let refused = admin.approvals().apply_policy(second).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["policy.action"]);
}

#[tokio::test]
async fn a_check_writes_nothing() {
    let suite = Suite::start().await;
    let admin = suite.person("root", Role::Admin).await;
    let check = pb::ApplyPolicyRequest { validate_only: true, ..ship_policy("admin", 2, 3600) };
    assert!(admin.approvals().apply_policy(check).await.is_ok());
    let list = admin.approvals().list_policies(pb::ListPoliciesRequest::default()).await.unwrap();
    assert!(list.into_inner().policies.is_empty());
    let bad = pb::ApplyPolicyRequest { validate_only: true, ..ship_policy("viewer", 0, 1) };
    let refused = admin.approvals().apply_policy(bad).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["policy.role", "policy.quorum", "policy.sla"]);
}

#[tokio::test]
async fn a_changed_policy_does_not_touch_requests_that_wait() {
    let suite = Suite::start().await;
    let admin = suite.person("root", Role::Admin).await;
    admin.approvals().apply_policy(ship_policy("approver", 2, 3600)).await.unwrap();
    let ada = suite.person("ada", Role::Operator).await;
    let before = ask(&ada).await;
    admin.approvals().apply_policy(ship_policy("approver", 1, 3600)).await.unwrap();
    assert_eq!(crate::suite::read(&ada, &before.decision_request_id).await.quorum, 2);
    assert_eq!(ask(&ada).await.quorum, 1);
}

#[tokio::test]
async fn a_service_does_not_say_who_decides() {
    let suite = Suite::start().await;
    let policy = ship_policy("approver", 1, 3600);
    let refused = suite.machine().approvals().apply_policy(policy).await.unwrap_err();
    assert_eq!(reason(&refused), "PERSON_REQUIRED");
}
