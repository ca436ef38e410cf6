//! Who is acted on: once per subject, never the holdout, not after the end.

use std::collections::HashSet;

use chrono::TimeDelta;
use northstar_domain::Clock as _;
use northstar_proto::automations::v1 as pb;

use crate::receiver::Receiver;
use crate::suite::{Suite, timestamp};

#[tokio::test]
async fn a_subject_is_acted_on_once_however_often_its_event_is_delivered() {
    let suite = Suite::start().await;
    let replica = suite.second_replica().await;
    let receiver = Receiver::start().await;
    let decision = suite.run(suite.automation("nudge", &receiver.url())).await;
    let people: Vec<_> = (0..200).map(|number| format!("user-{number}")).collect();
    for _ in 0..3 {
        suite.ingest(people.iter().map(|user| suite.stalled(user)).collect()).await;
    }
    let free = suite.event("Setup Stalled", "miser", &[("plan", "free")]);
    let other = suite.event("Signed Up", "stranger", &[("plan", "team")]);
    suite.ingest(vec![free, other]).await;
    suite.settled("nudge").await;

    // The whole log once more, as after a crash that lost the cursor.
    suite.pause("nudge").await;
    suite.activate_from("nudge", &decision, 0).await.unwrap();
    let runs = suite.settled("nudge").await;
    replica.stop().await.unwrap();

    let subjects: HashSet<_> = runs.runs.iter().map(|run| run.subject.clone()).collect();
    assert_eq!(subjects, people.into_iter().collect());
    assert_eq!(runs.runs.len(), 200);
    let held = runs.counts_by_state["would_have_acted"];
    assert_eq!(runs.counts_by_state["succeeded"], 200 - held);
    let received = receiver.received();
    let ids: HashSet<_> = received.iter().map(|message| message.id.clone()).collect();
    assert_eq!(received.len(), ids.len(), "no message arrived twice");
    assert_eq!(ids.len() as i64, 200 - held);
}

#[tokio::test]
async fn the_holdout_is_recorded_and_never_acted_on() {
    let suite = Suite::start().await;
    let receiver = Receiver::start().await;
    let mut automation = suite.automation("nudge", &receiver.url());
    automation.holdout = 0.5;
    suite.run(automation).await;
    suite.ingest((0..400).map(|n| suite.stalled(&format!("user-{n}"))).collect()).await;
    let runs = suite.settled("nudge").await;

    let held: HashSet<_> = runs
        .runs
        .iter()
        .filter(|run| run.state() == pb::RunState::WouldHaveActed)
        .map(|run| run.subject.clone())
        .collect();
    assert!((140..260).contains(&held.len()), "{}", held.len());
    let acted: HashSet<_> = receiver.received().iter().map(|message| message.subject()).collect();
    assert!(held.is_disjoint(&acted));
    assert_eq!(held.len() + acted.len(), 400);

    // Both arms tell of themselves, whatever became of the action.
    let mut told = suite.logged("northstar.automation.run").await;
    for _ in 0..200 {
        if told.len() == 400 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        told = suite.logged("northstar.automation.run").await;
    }
    assert_eq!(told.len(), 400);
    for (subject, properties) in &told {
        let arm = if held.contains(subject) { "holdout" } else { "treated" };
        assert_eq!(properties["arm"], arm, "{subject}");
        assert_eq!(properties["automation"], "nudge");
    }
}

#[tokio::test]
async fn a_device_without_a_person_is_a_subject_too() {
    let suite = Suite::start().await;
    let receiver = Receiver::start().await;
    suite.run(suite.automation("nudge", &receiver.url())).await;
    let mut event = suite.stalled("");
    event.anonymous_id = "device-1".to_owned();
    suite.ingest(vec![event]).await;
    suite.settled("nudge").await;
    assert_eq!(receiver.received()[0].subject(), "device-1");
    for _ in 0..500 {
        if suite.logged("northstar.automation.run").await.contains_key("anonymous:device-1") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the run of the device is not in the log");
}

#[tokio::test]
async fn only_events_after_the_activation_count_and_none_after_the_pause() {
    let suite = Suite::start().await;
    let receiver = Receiver::start().await;
    suite.ingest(vec![suite.stalled("early")]).await;
    suite.run(suite.automation("nudge", &receiver.url())).await;
    suite.ingest(vec![suite.stalled("timely")]).await;
    suite.settled("nudge").await;
    suite.pause("nudge").await;
    suite.ingest(vec![suite.stalled("late")]).await;
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    let subjects: Vec<_> =
        suite.runs("nudge").await.runs.into_iter().map(|run| run.subject).collect();
    assert_eq!(subjects, ["timely"]);
}

#[tokio::test]
async fn sunset_pauses_and_nothing_is_triggered_after_it() {
    let suite = Suite::start().await;
    let receiver = Receiver::start().await;
    let mut automation = suite.automation("nudge", &receiver.url());
    automation.sunset_time = Some(timestamp(suite.clock.now() + TimeDelta::hours(1)));
    suite.run(automation).await;
    suite.ingest(vec![suite.stalled("before")]).await;
    suite.settled("nudge").await;

    suite.clock.advance(TimeDelta::hours(1));
    suite.ingest(vec![suite.stalled("after")]).await;
    for _ in 0..500 {
        if suite.get("nudge").await.state() == pb::AutomationState::Paused {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(suite.get("nudge").await.state(), pb::AutomationState::Paused);
    let subjects: Vec<_> =
        suite.runs("nudge").await.runs.into_iter().map(|run| run.subject).collect();
    assert_eq!(subjects, ["before"]);
    let (actor, detail): (String, String) =
        sqlx::query_as("SELECT actor, detail FROM audit.entries WHERE action = 'automation.pause'")
            .fetch_one(suite.superuser())
            .await
            .unwrap();
    assert_eq!(actor, "northstar-automations");
    assert!(detail.contains("\"reason\":\"sunset\""), "{detail}");
}

#[tokio::test]
async fn an_emitted_event_is_about_the_subject_and_in_the_log_once() {
    let suite = Suite::start().await;
    let receiver = Receiver::start().await;
    let mut automation = suite.automation("nudge", &receiver.url());
    automation.actions.insert(
        0,
        pb::Action {
            kind: Some(pb::action::Kind::EmitEvent(pb::EmitEventAction {
                event: "Nudged".to_owned(),
                properties: [("channel".to_owned(), "mail".to_owned())].into(),
            })),
        },
    );
    suite.run(automation).await;
    suite.ingest(vec![suite.stalled("u1")]).await;
    let runs = suite.settled("nudge").await;
    assert_eq!(runs.counts_by_state["succeeded"], 1, "{:?}", runs.runs);
    let logged = suite.logged("Nudged").await;
    assert_eq!(logged["u1"]["channel"], "mail");
    assert_eq!(receiver.received()[0].id, format!("{}-1", runs.runs[0].run_id));
}
