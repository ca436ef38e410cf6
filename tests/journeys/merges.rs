//! Two subjects become one only when people agree, where a project wants it so.

use northstar_client::Clients;
use northstar_domain::Role;
use northstar_proto::approvals::v1 as approvals;
use northstar_proto::ingestion::v1 as ingestion;
use northstar_tests::Suite;
use tonic::{Code, Status};

fn user(value: &str) -> Option<ingestion::Identifier> {
    Some(ingestion::Identifier { kind: "user_id".to_owned(), value: value.to_owned() })
}

async fn merge(
    clients: &Clients,
    decision: &str,
) -> Result<ingestion::MergeSubjectsResponse, Status> {
    let request = ingestion::MergeSubjectsRequest {
        from: user("ada-2"),
        to: user("ada"),
        reason: "ticket 4711: the same person".to_owned(),
        decision_request: decision.to_owned(),
        ..Default::default()
    };
    Ok(clients.subjects().merge_subjects(request).await?.into_inner())
}

async fn ask(clients: &Clients) -> ingestion::RequestMergeResponse {
    let request = ingestion::RequestMergeRequest {
        from: user("ada-2"),
        to: user("ada"),
        reason: "ticket 4711: the same person".to_owned(),
        request_id: "0198c7e0-0000-7000-8000-000000000002".to_owned(),
    };
    clients.subjects().request_merge(request).await.expect("it can be asked").into_inner()
}

async fn approve(clients: &Clients, id: &str) {
    let request = approvals::GetDecisionRequestRequest { decision_request_id: id.to_owned() };
    let waiting = clients.approvals().get_decision_request(request).await.expect("it waits");
    let waiting = waiting.into_inner().decision_request.expect("a decision request");
    // Lists of decisions name nobody.
    let listed = format!("{} {}", waiting.subject, waiting.evidence[0].json);
    assert!(!listed.contains("ada"), "{listed}");
    assert!(waiting.diff_json.contains("ada-2"), "{}", waiting.diff_json);
    let verdict = approvals::RecordVerdictRequest {
        decision_request_id: id.to_owned(),
        kind: approvals::VerdictKind::Approve.into(),
        reason: "both sign in from one device".to_owned(),
        review_cycle: waiting.review_cycle,
        diff_digest: waiting.diff_digest,
        ..Default::default()
    };
    clients.approvals().record_verdict(verdict).await.expect("bob may decide");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_waits_for_people_where_the_policy_says_so() {
    let suite = Suite::start().await;
    let admin = suite.clients("root", Role::Admin).await;
    let ada = suite.clients("ada", Role::Operator).await;
    let bob = suite.clients("bob", Role::Approver).await;
    let policy = ingestion::IdentityPolicy {
        name: "default".to_owned(),
        owner: "growth".to_owned(),
        approve_merges: true,
        ..Default::default()
    };
    let request = ingestion::ApplyIdentityPolicyRequest {
        identity_policy: Some(policy),
        ..Default::default()
    };
    let applied = admin.subjects().apply_identity_policy(request).await.expect("a policy");
    assert!(applied.into_inner().identity_policy.expect("a policy").approve_merges);

    let refused = merge(&ada, "").await.expect_err("nobody was asked");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("RequestMerge"), "{}", refused.message());

    let asked = ask(&ada).await;
    assert_eq!(asked.preview.expect("a preview").changed_identifiers, 1);
    let id = asked.decision_request.as_str();
    let undecided = merge(&ada, id).await.expect_err("nobody decided");
    assert!(undecided.message().contains("not approved"), "{}", undecided.message());
    approve(&bob, id).await;
    let merged = merge(&ada, id).await.expect("the approved merge");
    assert_eq!(merged.subject, user("ada"));

    // Taken back, it needs to be agreed to again.
    let fact_id = merged.fact.expect("a fact").fact_id;
    let request = ingestion::UnmergeSubjectsRequest {
        fact_id,
        reason: "two people after all".to_owned(),
        ..Default::default()
    };
    ada.subjects().unmerge_subjects(request).await.expect("it can be taken back");
    let spent = merge(&ada, id).await.expect_err("it was used");
    assert!(spent.message().contains("used before"), "{}", spent.message());
    suite.stop().await;
}
