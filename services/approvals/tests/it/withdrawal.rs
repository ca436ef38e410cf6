//! Questions that are taken back, and tasks that are taken on.

use chrono::TimeDelta;
use northstar_client::Clients;
use northstar_domain::Role;
use northstar_proto::approvals::v1 as pb;
use tonic::Status;

use crate::suite::{
    Suite, approve, ask, blamed_fields, decide, edit, read, reason, ship_question, verdict,
};

async fn withdraw(
    who: &Clients,
    request: pb::WithdrawDecisionRequestRequest,
) -> Result<pb::DecisionRequest, Status> {
    let response = who.approvals().withdraw_decision_request(request).await?;
    Ok(response.into_inner().decision_request.unwrap())
}

fn recovered(asked: &pb::DecisionRequest) -> pb::WithdrawDecisionRequestRequest {
    pb::WithdrawDecisionRequestRequest {
        decision_request_id: asked.decision_request_id.clone(),
        reason: "the number recovered".to_owned(),
        request_id: String::new(),
    }
}

async fn ask_for(author: &Clients, question: pb::DecisionRequest) -> pb::DecisionRequest {
    let request = pb::CreateDecisionRequestRequest {
        decision_request: Some(question),
        request_id: String::new(),
    };
    let response = author.approvals().create_decision_request(request).await.unwrap();
    response.into_inner().decision_request.unwrap()
}

fn task() -> pb::DecisionRequest {
    pb::DecisionRequest {
        action: "kpi.investigate".to_owned(),
        subject: "kpis/activation".to_owned(),
        summary: "investigate kpis/activation".to_owned(),
        kind: pb::DecisionKind::Task.into(),
        owner: "growth".to_owned(),
        ..ship_question()
    }
}

async fn list(reader: &Clients, request: pb::ListDecisionRequestsRequest) -> Vec<String> {
    let answer = reader.approvals().list_decision_requests(request).await.unwrap().into_inner();
    answer.decision_requests.into_iter().map(|found| found.decision_request_id).collect()
}

#[tokio::test]
async fn who_asked_takes_it_back_once_and_a_verdict_that_comes_late_counts_for_nothing() {
    let suite = Suite::start().await;
    let ada = suite.person("ada", Role::Operator).await;
    let bo = suite.approver("bo").await;
    let asked = ask(&ada).await;
    let once = pb::WithdrawDecisionRequestRequest {
        request_id: "0198c7e0-0000-7000-8000-000000000001".to_owned(),
        ..recovered(&asked)
    };
    let back = withdraw(&ada, once.clone()).await.unwrap();
    assert_eq!(back.state(), pb::DecisionState::Withdrawn);
    assert_eq!(back.withdraw_reason, "the number recovered");
    assert!(back.decide_time.is_some());
    // Told again it is answered again, and written once.
    assert_eq!(withdraw(&ada, once).await.unwrap(), back);
    let again = withdraw(&ada, recovered(&asked)).await.unwrap_err();
    assert_eq!(reason(&again), "INVALID_TRANSITION");
    let late = approve(&bo, &asked).await.unwrap_err();
    assert_eq!(reason(&late), "INVALID_TRANSITION");
    let late = edit(&bo, &asked, "{}").await.unwrap_err();
    assert_eq!(reason(&late), "INVALID_TRANSITION");
    // Nor does its time run out any more.
    suite.clock.advance(TimeDelta::hours(100));
    assert_eq!(read(&ada, &asked.decision_request_id).await, back);

    let withdrawn = pb::ListDecisionRequestsRequest {
        state: pb::DecisionState::Withdrawn.into(),
        ..pb::ListDecisionRequestsRequest::default()
    };
    let id = &back.decision_request_id;
    assert_eq!(list(&ada, withdrawn).await, std::slice::from_ref(id));
    let actions: Vec<(String, String)> =
        sqlx::query_as("SELECT action, actor FROM audit.entries ORDER BY sequence")
            .fetch_all(suite.superuser())
            .await
            .unwrap();
    let by_ada = |action: &str| (action.to_owned(), "ada".to_owned());
    assert_eq!(actions, [by_ada("decision.request"), by_ada("decision.withdraw")]);
    let told: Vec<String> =
        sqlx::query_scalar("SELECT name FROM approvals.outbox ORDER BY outbox_id")
            .fetch_all(suite.superuser())
            .await
            .unwrap();
    assert_eq!(told, ["northstar.decision.requested", "northstar.decision.withdrawn"]);
}

#[tokio::test]
async fn nobody_else_takes_it_back_and_what_is_decided_stays_decided() {
    let suite = Suite::start().await;
    let ada = suite.person("ada", Role::Operator).await;
    let bo = suite.approver("bo").await;
    let asked = ask(&ada).await;
    for other in [suite.person("cy", Role::Admin).await, suite.machine()] {
        let refused = withdraw(&other, recovered(&asked)).await.unwrap_err();
        assert_eq!(reason(&refused), "AUTHOR_REQUIRED");
    }
    let silent = pb::WithdrawDecisionRequestRequest { reason: " ".to_owned(), ..recovered(&asked) };
    assert_eq!(blamed_fields(&withdraw(&ada, silent).await.unwrap_err()), ["reason"]);
    let approved = approve(&bo, &asked).await.unwrap();
    let late = withdraw(&ada, recovered(&asked)).await.unwrap_err();
    assert_eq!(reason(&late), "INVALID_TRANSITION");
    assert_eq!(read(&ada, &asked.decision_request_id).await, approved);
    let unknown = pb::WithdrawDecisionRequestRequest {
        decision_request_id: "0198c7e0-0000-7000-8000-000000000001".to_owned(),
        ..recovered(&asked)
    };
    assert_eq!(reason(&withdraw(&ada, unknown).await.unwrap_err()), "NOT_FOUND");
}

#[tokio::test]
async fn another_project_withdraws_and_lists_nothing_of_it() {
    let suite = Suite::start().await;
    let asked = ask_for(&suite.machine(), task()).await;
    sqlx::query("INSERT INTO access.projects (name) VALUES ('other')")
        .execute(suite.superuser())
        .await
        .unwrap();
    let other = suite.machine().for_project(2);
    let refused = withdraw(&other, recovered(&asked)).await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_FOUND");
    let tasks = pb::ListDecisionRequestsRequest {
        kind: pb::DecisionKind::Task.into(),
        owner: "growth".to_owned(),
        ..pb::ListDecisionRequestsRequest::default()
    };
    assert_eq!(list(&other, tasks.clone()).await, Vec::<String>::new());
    assert_eq!(list(&suite.machine(), tasks).await, [asked.decision_request_id]);
}

#[tokio::test]
async fn a_verdict_and_a_withdrawal_at_once_are_taken_one_after_the_other() {
    let suite = Suite::start().await;
    let ada = suite.person("ada", Role::Operator).await;
    let bo = suite.approver("bo").await;
    let asked = ask(&ada).await;
    let (approved, back) = tokio::join!(approve(&bo, &asked), withdraw(&ada, recovered(&asked)));
    assert!(approved.is_ok() != back.is_ok(), "one of both ends it");
    let found = read(&ada, &asked.decision_request_id).await;
    let expected =
        if back.is_ok() { pb::DecisionState::Withdrawn } else { pb::DecisionState::Approved };
    assert_eq!(found.state(), expected);
}

#[tokio::test]
async fn a_task_is_taken_on_with_a_note_and_is_never_approved() {
    let suite = Suite::start().await;
    let ada = suite.person("ada", Role::Operator).await;
    let bo = suite.approver("bo").await;
    let asked = ask_for(&ada, task()).await;
    assert_eq!((asked.kind(), asked.owner.as_str()), (pb::DecisionKind::Task, "growth"));
    let refused = approve(&bo, &asked).await.unwrap_err();
    assert_eq!(
        (reason(&refused).as_str(), blamed_fields(&refused)),
        ("INVALID_FIELD", vec!["kind".to_owned()])
    );
    assert_eq!(blamed_fields(&edit(&bo, &asked, "{}").await.unwrap_err()), ["kind"]);
    let mut note = verdict(&asked, pb::VerdictKind::Acknowledge);
    note.reason = " ".to_owned();
    assert_eq!(blamed_fields(&decide(&bo, note.clone()).await.unwrap_err()), ["reason"]);
    note.reason = "a release broke the sign-up; mended in 4.2".to_owned();
    let own = decide(&suite.approver("ada").await, note.clone()).await.unwrap_err();
    assert_eq!(reason(&own), "AUTHOR_MAY_NOT_DECIDE");
    let taken = decide(&bo, note).await.unwrap();
    assert_eq!(taken.state(), pb::DecisionState::Acknowledged);
    assert_eq!(taken.verdicts[0].reason, "a release broke the sign-up; mended in 4.2");
    // What is a change is not taken on, but decided.
    let change = ask(&ada).await;
    let refused = decide(&bo, verdict(&change, pb::VerdictKind::Acknowledge)).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["kind"]);
    // Whatever a program does, the table knows no approved task.
    let forged = sqlx::query(
        "UPDATE approvals.decision_requests SET state = 'approved' WHERE kind = 'task'",
    )
    .execute(suite.superuser())
    .await
    .unwrap_err();
    assert!(forged.to_string().contains("decision_requests_task_check"), "{forged}");
}

#[tokio::test]
async fn a_list_knows_kinds_and_owners() {
    let suite = Suite::start().await;
    let ada = suite.person("ada", Role::Operator).await;
    let change = ask(&ada).await;
    let growth = ask_for(&ada, task()).await;
    let sales = ask_for(&ada, pb::DecisionRequest { owner: "sales".to_owned(), ..task() }).await;
    let of = async |kind: pb::DecisionKind, owner: &str| {
        let request = pb::ListDecisionRequestsRequest {
            kind: kind.into(),
            owner: owner.to_owned(),
            ..pb::ListDecisionRequestsRequest::default()
        };
        list(&ada, request).await
    };
    let [change, growth, sales] = [change, growth, sales].map(|asked| asked.decision_request_id);
    assert_eq!(of(pb::DecisionKind::Task, "").await, [sales.clone(), growth.clone()]);
    assert_eq!(of(pb::DecisionKind::Change, "").await, [change]);
    assert_eq!(of(pb::DecisionKind::Unspecified, "growth").await, [growth]);
    assert_eq!(of(pb::DecisionKind::Task, "nobody").await, Vec::<String>::new());
}

/// A changed definition that is approved acts at once, so that it is not easier to
/// approve than an activation unless an admin says so.
#[tokio::test]
async fn a_change_of_an_automation_is_ruled_by_the_policy_of_activations() {
    let suite = Suite::start().await;
    let ada = suite.person("ada", Role::Operator).await;
    let admin = suite.person("root", Role::Admin).await;
    let policy = |name: &str, action: &str, quorum: i32| pb::ApplyPolicyRequest {
        policy: Some(pb::Policy {
            name: name.to_owned(),
            action: action.to_owned(),
            role: "admin".to_owned(),
            quorum,
            sla: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
            owner: "growth".to_owned(),
            etag: String::new(),
        }),
        ..pb::ApplyPolicyRequest::default()
    };
    admin.approvals().apply_policy(policy("activate", "automation.activate", 2)).await.unwrap();
    let terms = async |action: &str| {
        let question = pb::DecisionRequest { action: action.to_owned(), ..ship_question() };
        let asked = ask_for(&ada, question).await;
        (asked.role, asked.quorum)
    };
    for action in ["automation.scale", "automation.adjust"] {
        assert_eq!(terms(action).await, ("admin".to_owned(), 2), "{action}");
    }
    assert_eq!(terms("automation.pause").await, ("approver".to_owned(), 1));
    admin.approvals().apply_policy(policy("scale", "automation.scale", 1)).await.unwrap();
    assert_eq!(terms("automation.scale").await, ("admin".to_owned(), 1));
}
