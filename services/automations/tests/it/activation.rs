//! The gate before an automation acts, and the rest of its life.

use northstar_proto::approvals::v1::{self as approvals, VerdictKind};
use northstar_proto::automations::v1 as pb;

use crate::suite::{Suite, reason};

const URL: &str = "https://hooks.example.com/nudge";

async fn refused(suite: &Suite, decision: &str, why: &str) {
    let refused = suite.activate_from("nudge", decision, -1).await.unwrap_err();
    assert_eq!(reason(&refused), "APPROVAL_REQUIRED", "{why}: {refused}");
    assert_ne!(suite.get("nudge").await.state(), pb::AutomationState::Active, "{why}");
}

#[tokio::test]
async fn nothing_but_an_approval_of_this_very_definition_activates() {
    let suite = Suite::start().await;
    suite.apply(suite.automation("nudge", URL)).await.unwrap();
    suite.apply(suite.automation("other", URL)).await.unwrap();

    refused(&suite, "", "no decision").await;
    refused(&suite, &uuid::Uuid::now_v7().to_string(), "an unknown decision").await;

    let decision = suite.ask("nudge").await;
    refused(&suite, &decision, "nobody decided").await;

    let rejected = suite.ask("nudge").await;
    suite.decide(&rejected, VerdictKind::Reject).await;
    refused(&suite, &rejected, "rejected").await;

    let other = suite.ask("other").await;
    suite.decide(&other, VerdictKind::Approve).await;
    refused(&suite, &other, "another automation").await;

    let foreign = foreign_decision(&suite, &decision).await;
    suite.decide(&foreign, VerdictKind::Approve).await;
    refused(&suite, &foreign, "another action").await;

    suite.decide(&decision, VerdictKind::Approve).await;
    let mut edited = suite.automation("nudge", URL);
    edited.holdout = 0.5;
    suite.apply(edited).await.unwrap();
    refused(&suite, &decision, "edited after the approval").await;

    suite.apply(suite.automation("nudge", URL)).await.unwrap();
    let active = suite.activate_from("nudge", &decision, -1).await.unwrap();
    assert_eq!(active.state(), pb::AutomationState::Active);
    assert!(active.activate_time.is_some());
}

/// A decision about another action with the same subject and diff.
async fn foreign_decision(suite: &Suite, like: &str) -> String {
    let request = approvals::GetDecisionRequestRequest { decision_request_id: like.to_owned() };
    let seen = suite.operator.approvals().get_decision_request(request).await.unwrap();
    let seen = seen.into_inner().decision_request.unwrap();
    assert_eq!(seen.action, "automation.activate");
    assert_eq!(seen.subject, "automations/nudge");
    let titles: Vec<_> = seen.evidence.iter().map(|fact| fact.title.as_str()).collect();
    assert_eq!(titles, ["charter", "scorecard of activated-users"]);
    let foreign = approvals::DecisionRequest { action: "experiment.ship".to_owned(), ..seen };
    let request = approvals::CreateDecisionRequestRequest {
        decision_request: Some(foreign),
        request_id: String::new(),
    };
    let made = suite.operator.approvals().create_decision_request(request).await.unwrap();
    made.into_inner().decision_request.unwrap().decision_request_id
}

#[tokio::test]
async fn the_database_itself_lets_nothing_act_that_nobody_approved() {
    let suite = Suite::start().await;
    suite.apply(suite.automation("nudge", URL)).await.unwrap();
    let mut connection = suite.superuser().acquire().await.unwrap();
    sqlx::query("SET ROLE northstar_automations").execute(&mut *connection).await.unwrap();
    for bypass in [
        "UPDATE automations.automations SET state = 'active'",
        "UPDATE automations.automations SET state = 'active', activation = 1",
    ] {
        assert!(sqlx::query(bypass).execute(&mut *connection).await.is_err(), "{bypass}");
    }

    drop(connection);
    let decision = suite.ask("nudge").await;
    suite.decide(&decision, VerdictKind::Approve).await;
    suite.activate_from("nudge", &decision, -1).await.unwrap();
    let mut connection = suite.superuser().acquire().await.unwrap();
    sqlx::query("SET ROLE northstar_automations").execute(&mut *connection).await.unwrap();
    for bypass in [
        "UPDATE automations.automations SET definition_digest = '\\x00'",
        "UPDATE automations.activations SET definition = '{}'",
        "DELETE FROM automations.activations",
    ] {
        assert!(sqlx::query(bypass).execute(&mut *connection).await.is_err(), "{bypass}");
    }
    sqlx::query("RESET ROLE").execute(&mut *connection).await.unwrap();
}

#[tokio::test]
async fn what_acts_is_not_edited_and_comes_back_from_a_pause_with_its_approval() {
    let suite = Suite::start().await;
    let decision = suite.run(suite.automation("nudge", URL)).await;
    let mut edited = suite.automation("nudge", URL);
    edited.holdout = 0.5;
    let error = suite.apply(edited.clone()).await.unwrap_err();
    assert_eq!(reason(&error), "INVALID_TRANSITION");
    // Applying the same again is not an edit.
    let mut same = suite.get("nudge").await;
    same.etag.clear();
    suite.apply(same.clone()).await.unwrap();

    assert_eq!(suite.pause("nudge").await.state(), pb::AutomationState::Paused);
    let again = suite.activate_from("nudge", &decision, -1).await.unwrap();
    assert_eq!(again.state(), pb::AutomationState::Active);

    suite.pause("nudge").await;
    suite.apply(edited).await.unwrap();
    refused(&suite, &decision, "edited while paused").await;
    suite.apply(same).await.unwrap();
    suite.activate_from("nudge", &decision, -1).await.unwrap();
}

#[tokio::test]
async fn retired_is_for_good_and_stopping_needs_a_reason() {
    let suite = Suite::start().await;
    let decision = suite.run(suite.automation("nudge", URL)).await;
    let mut client = suite.operator.automations();
    let pause = pb::PauseAutomationRequest { name: "nudge".to_owned(), ..Default::default() };
    assert_eq!(reason(&client.pause_automation(pause).await.unwrap_err()), "INVALID_FIELD");

    let retire = pb::RetireAutomationRequest {
        name: "nudge".to_owned(),
        reason: "the guide is gone".to_owned(),
        request_id: String::new(),
    };
    let active = client.retire_automation(retire.clone()).await.unwrap_err();
    assert_eq!(reason(&active), "INVALID_TRANSITION");
    suite.pause("nudge").await;
    client.retire_automation(retire).await.unwrap();
    let error = suite.activate_from("nudge", &decision, -1).await.unwrap_err();
    assert_eq!(reason(&error), "INVALID_TRANSITION");
}

#[tokio::test]
async fn the_same_request_gets_the_same_answer() {
    let suite = Suite::start().await;
    suite.apply(suite.automation("nudge", URL)).await.unwrap();
    let mut client = suite.operator.automations();
    let ask = pb::RequestActivationRequest {
        name: "nudge".to_owned(),
        request_id: uuid::Uuid::now_v7().to_string(),
    };
    let first = client.request_activation(ask.clone()).await.unwrap().into_inner();
    let second = client.request_activation(ask).await.unwrap().into_inner();
    assert_eq!(first, second);

    suite.decide(&first.decision_request, VerdictKind::Approve).await;
    let activate = pb::ActivateAutomationRequest {
        name: "nudge".to_owned(),
        decision_request: first.decision_request,
        start_position: -1,
        request_id: uuid::Uuid::now_v7().to_string(),
    };
    let active = client.activate_automation(activate.clone()).await.unwrap().into_inner();
    let again = client.activate_automation(activate.clone()).await.unwrap().into_inner();
    assert_eq!(active, again);
    let other = pb::ActivateAutomationRequest { start_position: 0, ..activate };
    let reused = client.activate_automation(other).await.unwrap_err();
    assert_eq!(reason(&reused), "REQUEST_ID_REUSED");
}
