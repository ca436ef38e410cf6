//! The log of evaluations, evaluated again.

use super::*;

#[tokio::test]
async fn a_replay_is_the_same_and_a_late_event_shows() {
    let suite = start().await;
    visits(&suite, "2026-03-29T10:00:00Z", 5).await;
    visits(&suite, "2026-03-30T10:00:00Z", 2).await;
    let two_of_three = pb::Threshold {
        breaches: Some(pb::Breaches { count: 1, of: 3 }),
        ..threshold("few-visits")
    };
    apply(&suite, two_of_three).await.unwrap();
    evaluated(&suite, "few-visits", 1).await;
    suite.clock.advance(TimeDelta::hours(1));
    evaluated(&suite, "few-visits", 2).await;
    for input in [pb::ReplayInput::Logged, pb::ReplayInput::Recomputed] {
        let replayed = replay(&suite, "few-visits", input).await;
        assert_eq!(replayed.len(), 2);
        assert!(replayed.iter().all(|answer| answer.same), "{input:?} {replayed:#?}");
        assert_eq!(replayed[0].logged.as_ref().unwrap().sequence, 1);
    }
    // Two visits of the day before yesterday arrive late: it was no breach.
    visits(&suite, "2026-03-30T11:00:00Z", 2).await;
    let logged = replay(&suite, "few-visits", pb::ReplayInput::Logged).await;
    assert!(logged.iter().all(|answer| answer.same));
    let recomputed = replay(&suite, "few-visits", pb::ReplayInput::Recomputed).await;
    let first = &recomputed[0];
    assert!(!first.same);
    assert_eq!(first.replayed.as_ref().unwrap().effect(), pb::ThresholdEffect::None);
    let told = first.differences.join("; ");
    assert!(told.contains("value of 2026-03-30 was"), "{told}");
    assert!(told.contains("effect was Raise"), "{told}");
}

/// Everything that an episode can meet, so that the log holds each effect and gate
/// that comes with time.
async fn eventful() -> Suite {
    let suite = start().await;
    visits(&suite, "2026-03-29T10:00:00Z", 5).await;
    visits(&suite, "2026-03-30T10:00:00Z", 2).await;
    let quiet = pb::QuietHours {
        from: "11:00".to_owned(),
        to: "13:30".to_owned(),
        ..pb::QuietHours::default()
    };
    let eventful = pb::Threshold {
        quiet: Some(quiet),
        cool_down: Some(prost_types::Duration { seconds: 25 * 3_600, nanos: 0 }),
        minimum_sample: 1,
        ..threshold("few-visits")
    };
    apply(&suite, eventful.clone()).await.unwrap();
    evaluated(&suite, "few-visits", 1).await;
    suite.clock.set(time("2026-03-31T13:30:00Z"));
    evaluated(&suite, "few-visits", 2).await;
    visits(&suite, "2026-03-31T10:00:00Z", 4).await;
    suite.clock.set(time("2026-04-01T00:30:00Z"));
    evaluated(&suite, "few-visits", 3).await;
    // What comes the next day breaches while it cools down.
    suite.clock.set(time("2026-04-01T22:30:00Z"));
    evaluated(&suite, "few-visits", 4).await;
    visits(&suite, "2026-04-01T10:00:00Z", 1).await;
    suite.clock.set(time("2026-04-02T00:30:00Z"));
    evaluated(&suite, "few-visits", 5).await;
    // Other rules begin anew.
    let longer = pb::Threshold {
        cool_down: None,
        breaches: Some(pb::Breaches { count: 1, of: 2 }),
        ..eventful
    };
    apply(&suite, longer).await.unwrap();
    evaluated(&suite, "few-visits", 6).await;
    suite
}

#[tokio::test]
async fn the_whole_log_comes_out_the_same() {
    let suite = eventful().await;
    let log = logged(&suite.analyst, "few-visits").await;
    let effects: Vec<_> = log.iter().map(pb::ThresholdEvaluation::effect).collect();
    assert_eq!(
        effects,
        [
            pb::ThresholdEffect::Defer,
            pb::ThresholdEffect::Raise,
            pb::ThresholdEffect::Clear,
            pb::ThresholdEffect::None,
            pb::ThresholdEffect::None,
            pb::ThresholdEffect::Raise,
        ]
    );
    assert_eq!(log[0].gates().collect::<Vec<_>>(), [pb::ThresholdGate::Quiet]);
    assert_eq!(log[4].gates().collect::<Vec<_>>(), [pb::ThresholdGate::CoolDown]);
    for input in [pb::ReplayInput::Logged, pb::ReplayInput::Recomputed] {
        let replayed = replay(&suite, "few-visits", input).await;
        assert_eq!(replayed.len(), 6, "{input:?}");
        for answer in &replayed {
            assert!(answer.same, "{input:?}: {:?}", answer.differences);
            let (was, is) = (answer.logged.as_ref().unwrap(), answer.replayed.as_ref().unwrap());
            assert_eq!((was.effect, &was.state_after), (is.effect, &is.state_after));
        }
    }
}

#[tokio::test]
async fn a_log_that_somebody_changed_does_not_come_out_the_same() {
    let suite = eventful().await;
    // What no service may do.
    sqlx::query(
        "UPDATE metrics.threshold_evaluations
         SET effect = '{\"type\": \"none\"}', gates = '{}' WHERE sequence = 2",
    )
    .execute(suite.superuser())
    .await
    .unwrap();
    let replayed = replay(&suite, "few-visits", pb::ReplayInput::Logged).await;
    let different: Vec<_> = replayed
        .iter()
        .filter(|answer| !answer.same)
        .map(|answer| (answer.logged.as_ref().unwrap().sequence, answer.differences.join("; ")))
        .collect();
    let [(2, told)] = different.as_slice() else { panic!("{different:#?}") };
    assert!(told.contains("effect was None and is Raise"), "{told}");
}
