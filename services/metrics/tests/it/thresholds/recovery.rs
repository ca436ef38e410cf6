//! A number that recovers needs no answer any more.

use northstar_domain::Role;

use super::*;

async fn read(suite: &Suite, id: &str) -> approvals::DecisionRequest {
    let request = approvals::GetDecisionRequestRequest { decision_request_id: id.to_owned() };
    let found = suite.operator().approvals().get_decision_request(request).await.unwrap();
    found.into_inner().decision_request.unwrap()
}

async fn acknowledge(
    bo: &Clients,
    seen: &approvals::DecisionRequest,
) -> Result<approvals::DecisionRequest, Status> {
    let verdict = approvals::RecordVerdictRequest {
        decision_request_id: seen.decision_request_id.clone(),
        kind: approvals::VerdictKind::Acknowledge.into(),
        reason: "the shop was closed".to_owned(),
        review_cycle: seen.review_cycle,
        diff_digest: seen.diff_digest.clone(),
        ..approvals::RecordVerdictRequest::default()
    };
    let response = bo.approvals().record_verdict(verdict).await?;
    Ok(response.into_inner().decision_request.unwrap())
}

/// Waits until it is known what became of taking the question back.
async fn withdrawal(suite: &Suite) -> String {
    for _ in 0..1_500 {
        let found = status(suite, "few-visits").await.withdrawal;
        if !found.is_empty() {
            return found;
        }
        // Leases and pauses of workers are of the clock in hand.
        suite.clock.advance(TimeDelta::milliseconds(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain: {:?}", status(suite, "few-visits").await);
}

/// A breach that was asked about, on the day before the last.
async fn breached() -> (Suite, approvals::DecisionRequest) {
    let suite = start().await;
    visits(&suite, "2026-03-30T10:00:00Z", 2).await;
    apply(&suite, threshold("few-visits")).await.unwrap();
    evaluated(&suite, "few-visits", 1).await;
    let question = asked(&suite, "few-visits", "").await;
    (suite, question)
}

#[tokio::test]
async fn a_question_is_taken_back_when_its_value_recovers_and_not_before() {
    let (suite, question) = breached().await;
    let id = question.decision_request_id.as_str();
    let bo = suite.person("bo", Role::Approver).await;

    // Better is not recovered: between the levels the question stands.
    visits(&suite, "2026-03-31T10:00:00Z", 3).await;
    suite.clock.set(time("2026-04-01T00:30:00Z"));
    let between = evaluated(&suite, "few-visits", 2).await;
    assert_eq!(between.reading(), pb::ThresholdReading::Between);
    assert_eq!(read(&suite, id).await.state(), approvals::DecisionState::Pending);
    assert_eq!(status(&suite, "few-visits").await.withdrawal, "");

    visits(&suite, "2026-03-31T11:00:00Z", 1).await;
    suite.clock.set(time("2026-04-01T01:30:00Z"));
    let cleared = evaluated(&suite, "few-visits", 3).await;
    assert_eq!(cleared.effect(), pb::ThresholdEffect::Clear);
    assert_eq!(withdrawal(&suite).await, "withdrawn");
    let back = read(&suite, id).await;
    assert_eq!(back.state(), approvals::DecisionState::Withdrawn);
    assert_eq!(
        back.withdraw_reason,
        "recovered before anybody decided: visits 4 from 2026-03-31 to 2026-04-01 is not below 3 \
         any more (threshold few-visits, episode 1)"
    );
    // Who looked at it before decides nothing any more.
    let late = acknowledge(&bo, &question).await.unwrap_err();
    assert_eq!(reason(&late), "INVALID_TRANSITION");
    let entries: Vec<(String, String)> = sqlx::query_as(
        "SELECT action, actor FROM audit.entries WHERE resource = $1 ORDER BY sequence",
    )
    .bind(format!("decisions/{id}"))
    .fetch_all(suite.superuser())
    .await
    .unwrap();
    let by_the_suite = |action: &str| (action.to_owned(), "northstar".to_owned());
    assert_eq!(entries, [by_the_suite("decision.request"), by_the_suite("decision.withdraw")]);
}

#[tokio::test]
async fn what_somebody_took_on_stays_so_when_the_value_recovers() {
    let (suite, question) = breached().await;
    let bo = suite.person("bo", Role::Approver).await;
    let taken = acknowledge(&bo, &question).await.unwrap();
    assert_eq!(taken.state(), approvals::DecisionState::Acknowledged);
    visits(&suite, "2026-03-31T10:00:00Z", 4).await;
    suite.clock.set(time("2026-04-01T00:30:00Z"));
    let cleared = evaluated(&suite, "few-visits", 2).await;
    assert_eq!(cleared.effect(), pb::ThresholdEffect::Clear);
    assert_eq!(withdrawal(&suite).await, "acknowledged");
    assert_eq!(read(&suite, &question.decision_request_id).await, taken);
}

#[tokio::test]
async fn what_recovers_in_the_quiet_was_never_asked() {
    let suite = start().await;
    visits(&suite, "2026-03-30T10:00:00Z", 2).await;
    let all_day = pb::QuietHours {
        from: "00:00".to_owned(),
        to: "23:59".to_owned(),
        ..pb::QuietHours::default()
    };
    let deferred = pb::Threshold { quiet: Some(all_day), ..threshold("few-visits") };
    apply(&suite, deferred).await.unwrap();
    let first = evaluated(&suite, "few-visits", 1).await;
    assert_eq!(first.effect(), pb::ThresholdEffect::Defer);
    visits(&suite, "2026-03-30T11:00:00Z", 2).await;
    suite.clock.advance(TimeDelta::hours(1));
    let second = evaluated(&suite, "few-visits", 2).await;
    assert_eq!(second.effect(), pb::ThresholdEffect::Clear);
    assert_eq!(questions(&suite).await, 0);
}
