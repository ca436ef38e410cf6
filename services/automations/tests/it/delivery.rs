//! Delivery: signed, repeated until it arrives, given up in the end.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use northstar_domain::Clock as _;
use northstar_proto::automations::v1 as pb;
use standardwebhooks::Webhook;
use tokio::sync::Semaphore;

use crate::receiver::{Answer, Receiver, SECRET};
use crate::suite::Suite;

/// One run of one automation, whose receiver gives these answers first.
async fn one_run(answers: Vec<Answer>) -> (Suite, Receiver) {
    let suite = Suite::start().await;
    let receiver = Receiver::start().await;
    receiver.will_answer(answers);
    suite.run(suite.automation("nudge", &receiver.url())).await;
    suite.ingest(vec![suite.stalled("u1")]).await;
    (suite, receiver)
}

/// Waits until the run waits for another attempt after so many.
async fn failed(suite: &Suite, attempts: i32) -> pb::Run {
    let runs = suite
        .until("nudge", "a failed attempt", |runs| {
            runs.runs
                .first()
                .is_some_and(|run| run.attempts == attempts && run.state() == pb::RunState::Pending)
        })
        .await;
    runs.runs[0].clone()
}

fn next_attempt(run: &pb::Run) -> DateTime<Utc> {
    let time = run.next_attempt_time.unwrap();
    DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).unwrap()).unwrap()
}

#[tokio::test]
async fn a_message_is_signed_and_says_what_set_it_off() {
    let (suite, receiver) = one_run(Vec::new()).await;
    let runs = suite.settled("nudge").await;
    let message = &receiver.received()[0];
    let webhook = Webhook::new(SECRET).unwrap();
    webhook.verify(message.body.as_bytes(), &message.headers).unwrap();
    assert!(webhook.verify(b"{}", &message.headers).is_err());
    let run = &runs.runs[0];
    assert_eq!(message.id, run.run_id);
    let body = message.json();
    assert_eq!(body["type"], "user.nudge");
    let data = &body["data"];
    assert_eq!(data["subject"], "u1");
    assert_eq!(data["automation"], "nudge");
    assert_eq!(data["run_id"], run.run_id);
    assert_eq!(data["trigger"]["event"], "Setup Stalled");
    assert_eq!(data["trigger"]["position"], run.trigger_position);
    assert_eq!(data["trigger"]["properties"]["plan"], "team");
}

#[tokio::test]
async fn a_failed_delivery_is_repeated_under_the_same_id_until_it_arrives() {
    let redirect = Answer::Redirect("http://127.0.0.1:9/elsewhere".to_owned());
    let (suite, receiver) = one_run(vec![Answer::Status(500), redirect]).await;
    let first = failed(&suite, 1).await;
    assert!(first.last_error.contains("500"), "{}", first.last_error);
    // Full jitter: somewhere between now and five seconds.
    assert!(next_attempt(&first) <= suite.clock.now() + TimeDelta::seconds(5));

    suite.clock.advance(TimeDelta::seconds(5));
    let second = failed(&suite, 2).await;
    assert!(second.last_error.contains("307"), "{}", second.last_error);

    suite.clock.advance(TimeDelta::seconds(10));
    let runs = suite.settled("nudge").await;
    assert_eq!(runs.runs[0].state(), pb::RunState::Succeeded);
    assert_eq!(runs.runs[0].attempts, 3);
    let received = receiver.received();
    assert_eq!(received.len(), 3, "the redirect was not followed");
    for message in &received {
        assert!(message.signed);
        assert_eq!(message.id, received[0].id);
        assert_eq!(message.body, received[0].body);
    }
}

#[tokio::test]
async fn a_busy_receiver_is_left_alone_as_long_as_it_asked() {
    let (suite, receiver) = one_run(vec![Answer::StatusAfter(429, "120")]).await;
    let run = failed(&suite, 1).await;
    assert!(next_attempt(&run) >= suite.clock.now() + TimeDelta::seconds(120));
    suite.clock.advance(TimeDelta::seconds(119));
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert_eq!(receiver.received().len(), 1);
    suite.clock.advance(TimeDelta::seconds(6));
    let runs = suite.settled("nudge").await;
    assert_eq!(runs.runs[0].state(), pb::RunState::Succeeded);
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_not_asked_again_until_somebody_redrives() {
    let (suite, receiver) = one_run(vec![Answer::Status(410)]).await;
    let runs = suite.settled("nudge").await;
    assert_eq!(runs.runs[0].state(), pb::RunState::DeadLetter);
    assert_eq!(runs.runs[0].attempts, 1);

    let redrive = pb::RedriveRunsRequest { automation: "nudge".to_owned(), run_ids: Vec::new() };
    let mut client = suite.operator.automations();
    let answer = client.redrive_runs(redrive.clone()).await.unwrap().into_inner();
    assert_eq!(answer.redriven, 1);
    let runs = suite.settled("nudge").await;
    assert_eq!(runs.runs[0].state(), pb::RunState::Succeeded);
    let received = receiver.received();
    assert_eq!(received[0].id, received[1].id);
    assert_eq!(client.redrive_runs(redrive).await.unwrap().into_inner().redriven, 0);
}

#[tokio::test]
async fn attempts_end_in_a_dead_letter() {
    let (suite, receiver) = one_run(vec![Answer::Status(503); 3]).await;
    failed(&suite, 1).await;
    suite.clock.advance(TimeDelta::seconds(5));
    failed(&suite, 2).await;
    suite.clock.advance(TimeDelta::seconds(10));
    let runs = suite.settled("nudge").await;
    let run = &runs.runs[0];
    assert_eq!((run.state(), run.attempts), (pb::RunState::DeadLetter, 3));
    assert!(run.last_error.contains("503"), "{}", run.last_error);
    assert_eq!(receiver.received().len(), 3);
}

#[tokio::test]
async fn a_lost_worker_is_replaced_and_its_word_counts_no_more() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Answer::Held(Arc::clone(&gate), 410);
    let (suite, receiver) = one_run(vec![held]).await;
    receiver.wait_for(1).await;
    // The worker hangs until its lease is over; then the run is delivered again.
    suite.clock.advance(TimeDelta::seconds(61));
    let received = receiver.wait_for(2).await;
    assert_eq!(received[0].id, received[1].id);
    let runs = suite.settled("nudge").await;
    assert_eq!((runs.runs[0].state(), runs.runs[0].attempts), (pb::RunState::Succeeded, 2));

    // The first worker comes back with another result.
    gate.add_permits(1);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let runs = suite.runs("nudge").await;
    assert_eq!(runs.runs[0].state(), pb::RunState::Succeeded);
    assert_eq!(runs.runs[0].last_error, "");
}

#[tokio::test]
async fn runs_keep_to_the_definition_that_was_approved() {
    let (suite, receiver) = one_run(vec![Answer::Status(500)]).await;
    failed(&suite, 1).await;
    suite.pause("nudge").await;
    let elsewhere = Receiver::start().await;
    suite.apply(suite.automation("nudge", &elsewhere.url())).await.unwrap();
    suite.clock.advance(TimeDelta::seconds(5));
    receiver.wait_for(2).await;
    assert!(elsewhere.received().is_empty());
}

#[tokio::test]
async fn runs_are_listed_newest_first_page_by_page_and_by_state() {
    let suite = Suite::start().await;
    let receiver = Receiver::start().await;
    suite.run(suite.automation("nudge", &receiver.url())).await;
    for user in ["u1", "u2", "u3"] {
        suite.ingest(vec![suite.stalled(user)]).await;
        suite.settled("nudge").await;
    }
    let mut client = suite.operator.automations();
    let mut request = pb::ListRunsRequest {
        automation: "nudge".to_owned(),
        state: pb::RunState::Succeeded.into(),
        page_size: 2,
        page_token: String::new(),
    };
    let first = client.list_runs(request.clone()).await.unwrap().into_inner();
    request.page_token = first.next_page_token.clone();
    let second = client.list_runs(request.clone()).await.unwrap().into_inner();
    let runs = first.runs.iter().chain(&second.runs);
    let subjects: Vec<_> = runs.map(|run| run.subject.as_str()).collect();
    assert_eq!(subjects, ["u3", "u2", "u1"]);
    assert_eq!(second.next_page_token, "");
    assert_eq!(second.counts_by_state["succeeded"], 3);
    request.state = pb::RunState::DeadLetter.into();
    request.page_token.clear();
    assert!(client.list_runs(request).await.unwrap().into_inner().runs.is_empty());
}

#[tokio::test]
async fn nobody_is_acted_on_without_the_consent_that_acting_needs() {
    use northstar_proto::ingestion::v1 as ingestion;

    let suite = Suite::start().await;
    let policy = ingestion::ConsentPolicy {
        name: "default".to_owned(),
        owner: "privacy".to_owned(),
        purposes: vec![ingestion::Purpose {
            name: "marketing".to_owned(),
            required_for: vec![ingestion::DataUse::Act.into()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let request =
        ingestion::ApplyConsentPolicyRequest { consent_policy: Some(policy), ..Default::default() };
    suite.operator.subjects().apply_consent_policy(request).await.unwrap();
    let receiver = Receiver::start().await;
    suite.run(suite.automation("nudge", &receiver.url())).await;
    suite.ingest(vec![suite.stalled("u1")]).await;
    let runs = suite
        .until("nudge", "a dead letter", |runs| {
            runs.runs.first().is_some_and(|run| run.state() == pb::RunState::DeadLetter)
        })
        .await;
    assert!(runs.runs[0].last_error.contains("consent"), "{}", runs.runs[0].last_error);
    assert_eq!(receiver.received().len(), 0);

    let request = ingestion::RecordConsentRequest {
        identifier: Some(ingestion::Identifier {
            kind: "user_id".to_owned(),
            value: "u1".to_owned(),
        }),
        granted_purposes: vec!["marketing".to_owned()],
        reason: "settings page".to_owned(),
        ..Default::default()
    };
    suite.operator.subjects().record_consent(request).await.unwrap();
    let redrive = pb::RedriveRunsRequest { automation: "nudge".to_owned(), ..Default::default() };
    suite.operator.automations().redrive_runs(redrive).await.unwrap();
    suite
        .until("nudge", "a delivery", |runs| {
            runs.runs.first().is_some_and(|run| run.state() == pb::RunState::Succeeded)
        })
        .await;
    assert_eq!(receiver.received().len(), 1);
}
