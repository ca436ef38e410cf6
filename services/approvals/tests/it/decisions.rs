//! Who may say what about what: the verdict matrix over the wire.

use northstar_domain::Role;
use northstar_proto::approvals::v1 as pb;

use crate::suite::{
    Suite, approve, ask, blamed_fields, decide, edit, read, reason, ship_policy, verdict,
};

#[tokio::test]
async fn without_a_policy_one_approver_decides_within_72_hours() {
    let suite = Suite::start().await;
    let ada = suite.person("ada", Role::Operator).await;
    let asked = ask(&ada).await;
    assert_eq!(asked.state(), pb::DecisionState::Pending);
    assert_eq!((asked.quorum, asked.role.as_str(), asked.author.as_str()), (1, "approver", "ada"));
    let hours = asked.due_time.unwrap().seconds - asked.create_time.unwrap().seconds;
    assert_eq!(hours, 72 * 3600);
    assert_eq!(asked.diff_json, r#"{"experiment":"checkout","variant":"treatment"}"#);

    let approved = approve(&suite.approver("bo").await, &asked).await.unwrap();
    assert_eq!(approved.state(), pb::DecisionState::Approved);
    assert_eq!(approved.verdicts[0].approver, "bo");
    assert_eq!(read(&ada, &asked.decision_request_id).await, approved);
}

#[tokio::test]
async fn the_author_never_decides_not_even_with_another_key() {
    let suite = Suite::start().await;
    let asked = ask(&suite.person("ada", Role::Operator).await).await;
    for role in [Role::Approver, Role::Admin] {
        let ada_again = suite.person("ada", role).await;
        for kind in [pb::VerdictKind::Approve, pb::VerdictKind::Reject] {
            let refused = decide(&ada_again, verdict(&asked, kind)).await.unwrap_err();
            assert_eq!(reason(&refused), "AUTHOR_MAY_NOT_DECIDE");
        }
        let refused = edit(&ada_again, &asked, "{}").await.unwrap_err();
        assert_eq!(reason(&refused), "AUTHOR_MAY_NOT_DECIDE");
    }
}

#[tokio::test]
async fn who_is_no_approver_does_not_decide() {
    let suite = Suite::start().await;
    let asked = ask(&suite.person("ada", Role::Operator).await).await;
    for role in [Role::Ingest, Role::Viewer, Role::Analyst, Role::Operator] {
        let refused = approve(&suite.person("bo", role).await, &asked).await.unwrap_err();
        assert_eq!(reason(&refused), "ROLE_REQUIRED", "{role}");
    }
}

#[tokio::test]
async fn a_quorum_of_two_needs_two_people_once_each() {
    let suite = Suite::start().await;
    let admin = suite.person("root", Role::Admin).await;
    admin.approvals().apply_policy(ship_policy("approver", 2, 3600)).await.unwrap();
    let asked = ask(&suite.person("ada", Role::Operator).await).await;
    let bo = suite.approver("bo").await;
    let once = approve(&bo, &asked).await.unwrap();
    assert_eq!(once.state(), pb::DecisionState::Pending);
    let again = approve(&suite.approver("bo").await, &once).await.unwrap_err();
    assert_eq!(reason(&again), "INVALID_TRANSITION", "another key of bo is bo");
    let twice = approve(&suite.approver("cy").await, &once).await.unwrap();
    assert_eq!(twice.state(), pb::DecisionState::Approved);
    let late = approve(&suite.approver("di").await, &twice).await.unwrap_err();
    assert_eq!(reason(&late), "INVALID_TRANSITION");
}

#[tokio::test]
async fn two_verdicts_at_once_are_taken_one_after_the_other() {
    let suite = Suite::start().await;
    let asked = ask(&suite.person("ada", Role::Operator).await).await;
    let (bo, cy) = (suite.approver("bo").await, suite.approver("cy").await);
    let reject = verdict(&asked, pb::VerdictKind::Reject);
    let (approved, rejected) = tokio::join!(approve(&bo, &asked), decide(&cy, reject));
    assert!(approved.is_ok() != rejected.is_ok(), "one of both decides");
    assert_eq!(read(&bo, &asked.decision_request_id).await.verdicts.len(), 1);
}

#[tokio::test]
async fn a_rejection_needs_a_reason_and_ends_the_request() {
    let suite = Suite::start().await;
    let asked = ask(&suite.person("ada", Role::Operator).await).await;
    let bo = suite.approver("bo").await;
    let mut reject = verdict(&asked, pb::VerdictKind::Reject);
    reject.reason = "  ".to_owned();
    let refused = decide(&bo, reject.clone()).await.unwrap_err();
    assert_eq!(
        (reason(&refused), blamed_fields(&refused)),
        ("INVALID_FIELD".to_owned(), vec!["reason".to_owned()])
    );
    reject.reason = "the effect is too small to carry its cost".to_owned();
    let rejected = decide(&bo, reject).await.unwrap();
    assert_eq!(rejected.state(), pb::DecisionState::Rejected);
    assert!(rejected.decide_time.is_some());
}

#[tokio::test]
async fn an_edit_starts_a_cycle_and_makes_earlier_verdicts_stale() {
    let suite = Suite::start().await;
    let admin = suite.person("root", Role::Admin).await;
    admin.approvals().apply_policy(ship_policy("approver", 2, 3600)).await.unwrap();
    let ada = suite.person("ada", Role::Operator).await;
    let asked = ask(&ada).await;
    let [bo, cy, di] =
        [suite.approver("bo").await, suite.approver("cy").await, suite.approver("di").await];
    approve(&bo, &asked).await.unwrap();
    let edited = edit(&cy, &asked, r#"{"variant":"cheap"}"#).await.unwrap();
    assert_eq!((edited.review_cycle, edited.state()), (2, pb::DecisionState::Pending));
    assert_ne!(edited.diff_digest, asked.diff_digest);
    assert!(edited.verdicts[0].stale && !edited.verdicts[1].stale, "{:?}", edited.verdicts);

    // Who still looks at the first cycle decides nothing.
    let stale = approve(&di, &asked).await.unwrap_err();
    assert_eq!(reason(&stale), "STALE_VERDICT");
    // Nor does one who names the new cycle with the old diff, or the other way round.
    let mixed = pb::DecisionRequest { review_cycle: 2, ..asked.clone() };
    assert_eq!(reason(&approve(&di, &mixed).await.unwrap_err()), "STALE_VERDICT");
    let mixed = pb::DecisionRequest { review_cycle: 1, ..edited.clone() };
    assert_eq!(reason(&approve(&di, &mixed).await.unwrap_err()), "STALE_VERDICT");

    // The editor is the author of the new diff; so nobody approves what they wrote.
    let own = approve(&cy, &edited).await.unwrap_err();
    assert_eq!(reason(&own), "AUTHOR_MAY_NOT_DECIDE");
    let once = approve(&di, &edited).await.unwrap();
    assert_eq!(once.state(), pb::DecisionState::Pending, "bo's stale approval does not count");
    let twice = approve(&bo, &edited).await.unwrap();
    assert_eq!(twice.state(), pb::DecisionState::Approved);
    assert_eq!(twice.diff_json, r#"{"variant":"cheap"}"#);
}

#[tokio::test]
async fn an_edit_must_be_json_and_change_something() {
    let suite = Suite::start().await;
    let asked = ask(&suite.person("ada", Role::Operator).await).await;
    let bo = suite.approver("bo").await;
    let same = "{ \"experiment\": \"checkout\", \"variant\": \"treatment\" }";
    for diff in ["", "{", same] {
        let refused = edit(&bo, &asked, diff).await.unwrap_err();
        assert_eq!(blamed_fields(&refused), ["edited_diff_json"], "{diff}");
    }
    let approval_with_edit = pb::RecordVerdictRequest {
        edited_diff_json: "{}".to_owned(),
        ..verdict(&asked, pb::VerdictKind::Approve)
    };
    let refused = decide(&bo, approval_with_edit).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["edited_diff_json"]);
}

#[tokio::test]
async fn a_policy_for_admins_refuses_approvers() {
    let suite = Suite::start().await;
    let admin = suite.person("root", Role::Admin).await;
    admin.approvals().apply_policy(ship_policy("admin", 1, 3600)).await.unwrap();
    let asked = ask(&suite.person("ada", Role::Operator).await).await;
    assert_eq!(asked.role, "admin");
    let refused = approve(&suite.approver("bo").await, &asked).await.unwrap_err();
    assert_eq!(reason(&refused), "ROLE_REQUIRED");
    assert!(approve(&admin, &asked).await.is_ok());
}

#[tokio::test]
async fn a_question_without_evidence_cannot_be_asked_and_all_its_faults_are_told() {
    let suite = Suite::start().await;
    let ada = suite.person("ada", Role::Operator).await;
    let empty = pb::CreateDecisionRequestRequest {
        decision_request: Some(pb::DecisionRequest {
            diff_json: "{".to_owned(),
            ..Default::default()
        }),
        request_id: String::new(),
    };
    let refused = ada.approvals().create_decision_request(empty).await.unwrap_err();
    assert_eq!(
        blamed_fields(&refused),
        ["action", "diff_json", "subject", "summary", "evidence"]
            .map(|field| format!("decision_request.{field}"))
    );
}

#[tokio::test]
async fn a_list_is_newest_first_by_state_and_subject() {
    let suite = Suite::start().await;
    let ada = suite.person("ada", Role::Operator).await;
    let first = ask(&ada).await;
    let second = ask(&ada).await;
    let third = ask(&ada).await;
    approve(&suite.approver("bo").await, &second).await.unwrap();

    let page = pb::ListDecisionRequestsRequest { page_size: 2, ..Default::default() };
    let answer = ada.approvals().list_decision_requests(page.clone()).await.unwrap().into_inner();
    let ids = |list: &[pb::DecisionRequest]| {
        list.iter().map(|request| request.decision_request_id.clone()).collect::<Vec<_>>()
    };
    let [first, second, third] = [first, second, third].map(|asked| asked.decision_request_id);
    assert_eq!(ids(&answer.decision_requests), [third.clone(), second.clone()]);
    let next = pb::ListDecisionRequestsRequest { page_token: answer.next_page_token, ..page };
    let answer = ada.approvals().list_decision_requests(next).await.unwrap().into_inner();
    assert_eq!(ids(&answer.decision_requests), std::slice::from_ref(&first));
    assert_eq!(answer.next_page_token, "");

    let mut pending = pb::ListDecisionRequestsRequest::default();
    pending.set_state(pb::DecisionState::Pending);
    let answer = ada.approvals().list_decision_requests(pending).await.unwrap().into_inner();
    assert_eq!(ids(&answer.decision_requests), [third, first]);
    let elsewhere = pb::ListDecisionRequestsRequest {
        subject: "experiments/other".to_owned(),
        ..Default::default()
    };
    let answer = ada.approvals().list_decision_requests(elsewhere).await.unwrap().into_inner();
    assert!(answer.decision_requests.is_empty());
}

#[tokio::test]
async fn a_service_gives_no_verdict() {
    let suite = Suite::start().await;
    let asked = ask(&suite.person("ada", Role::Operator).await).await;
    let machine = suite.machine();
    for kind in [pb::VerdictKind::Approve, pb::VerdictKind::Reject] {
        let refused = decide(&machine, verdict(&asked, kind)).await.unwrap_err();
        assert_eq!(reason(&refused), "PERSON_REQUIRED", "{kind:?}");
    }
    let refused = edit(&machine, &asked, "{}").await.unwrap_err();
    assert_eq!(reason(&refused), "PERSON_REQUIRED");
    // What a service may do is ask.
    let asked = ask(&machine).await;
    assert_eq!(asked.author, "northstar");
    assert_eq!(approve(&suite.approver("bo").await, &asked).await.unwrap().verdicts.len(), 1);
}
