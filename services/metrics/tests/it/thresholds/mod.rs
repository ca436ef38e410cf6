//! Thresholds: evaluated once, logged whole, asked about once, taken back once.

mod recovery;
mod replay;

use std::time::Duration;

use chrono::TimeDelta;
use northstar_client::Clients;
use northstar_proto::approvals::v1 as approvals;
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::threshold::Condition;
use tonic::{Code, Status};

use crate::suite::{Suite, blamed_fields, count, event, reason, time, timestamp};

/// Fewer than three visits a day ask somebody to find out why.
pub fn threshold(name: &str) -> pb::Threshold {
    pb::Threshold {
        name: name.to_owned(),
        owner: "growth".to_owned(),
        metric: "visits".to_owned(),
        grain: pb::Grain::Day.into(),
        condition: Some(Condition::Below(pb::LevelCondition { value: 3.0, clear: Some(4.0) })),
        every: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
        decision: Some(pb::ThresholdDecision {
            action: pb::ThresholdAction::Investigate.into(),
            ..pb::ThresholdDecision::default()
        }),
        ..pb::Threshold::default()
    }
}

pub async fn apply(suite: &Suite, threshold: pb::Threshold) -> Result<pb::Threshold, Status> {
    let request = pb::ApplyThresholdRequest { threshold: Some(threshold), ..Default::default() };
    let response = suite.analyst.thresholds().apply_threshold(request).await?;
    Ok(response.into_inner().threshold.unwrap())
}

/// So many visits on a day.
async fn visits(suite: &Suite, day: &'static str, how_many: usize) {
    let visits = (0..how_many).map(|user| event("Visited", &format!("user {user}"), day));
    suite.ingest(visits.collect()).await;
}

async fn status(suite: &Suite, name: &str) -> pb::ThresholdStatus {
    let request = pb::GetThresholdRequest { name: name.to_owned() };
    let response = suite.analyst.thresholds().get_threshold(request).await.unwrap();
    response.into_inner().status.unwrap()
}

/// The log, oldest first.
async fn logged(clients: &Clients, name: &str) -> Vec<pb::ThresholdEvaluation> {
    let request = pb::ListEvaluationsRequest {
        threshold: name.to_owned(),
        page_size: 1_000,
        ..Default::default()
    };
    let response = clients.thresholds().list_evaluations(request).await.unwrap();
    let mut evaluations = response.into_inner().evaluations;
    evaluations.reverse();
    evaluations
}

/// Waits until so many evaluations are logged, and returns the last.
async fn evaluated(suite: &Suite, name: &str, how_many: usize) -> pb::ThresholdEvaluation {
    for _ in 0..1_500 {
        let found = logged(&suite.analyst, name).await;
        assert!(found.len() <= how_many, "evaluated too often: {found:#?}");
        if found.len() == how_many {
            return found.last().unwrap().clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain for {how_many} evaluations of {name}");
}

/// Waits until a threshold names a decision request other than `but`.
async fn asked(suite: &Suite, name: &str, but: &str) -> approvals::DecisionRequest {
    for _ in 0..1_500 {
        let id = status(suite, name).await.decision_request;
        if !id.is_empty() && id != but {
            let request = approvals::GetDecisionRequestRequest { decision_request_id: id };
            let found = suite.operator().approvals().get_decision_request(request).await.unwrap();
            return found.into_inner().decision_request.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain for the question of {name}: {:?}", status(suite, name).await);
}

async fn questions(suite: &Suite) -> usize {
    let request = approvals::ListDecisionRequestsRequest::default();
    let found = suite.operator().approvals().list_decision_requests(request).await.unwrap();
    found.into_inner().decision_requests.len()
}

async fn evaluate(suite: &Suite, name: &str, at: &str) -> Result<pb::ThresholdEvaluation, Status> {
    let request = pb::EvaluateThresholdRequest {
        name: name.to_owned(),
        evaluation_time: Some(timestamp(at)),
        ..Default::default()
    };
    let response = suite.analyst.thresholds().evaluate_threshold(request).await?;
    Ok(response.into_inner().evaluation.unwrap())
}

async fn replay(
    suite: &Suite,
    name: &str,
    input: pb::ReplayInput,
) -> Vec<pb::ReplayEvaluationsResponse> {
    let request = pb::ReplayEvaluationsRequest {
        threshold: name.to_owned(),
        input: input.into(),
        ..Default::default()
    };
    let mut stream =
        suite.analyst.thresholds().replay_evaluations(request).await.unwrap().into_inner();
    let mut found = Vec::new();
    while let Some(answer) = stream.message().await.unwrap() {
        found.push(answer);
    }
    found
}

async fn start() -> Suite {
    let suite = Suite::start().await;
    suite.metric("visits", count("Visited")).await;
    suite
}

#[tokio::test]
async fn a_breach_is_asked_about_once_an_episode_with_its_evidence() {
    let suite = start().await;
    visits(&suite, "2026-03-29T10:00:00Z", 5).await;
    visits(&suite, "2026-03-30T10:00:00Z", 2).await;
    apply(&suite, threshold("few-visits")).await.unwrap();

    let first = evaluated(&suite, "few-visits", 1).await;
    assert_eq!(first.effect(), pb::ThresholdEffect::Raise);
    assert_eq!(first.evaluation_time, Some(timestamp("2026-03-31T12:00:00Z")));
    let newest = first.observations.last().unwrap();
    assert_eq!((newest.value, newest.sample, newest.complete), (Some(2.0), 2, true));
    assert_eq!(newest.start_time, Some(timestamp("2026-03-30")));

    let question = asked(&suite, "few-visits", "").await;
    assert_eq!(
        (question.action.as_str(), question.subject.as_str()),
        ("metric.investigate", "metrics/visits")
    );
    assert_eq!(question.author, "northstar");
    assert_eq!(
        (question.owner.as_str(), question.kind()),
        ("growth", approvals::DecisionKind::Task)
    );
    assert_eq!(
        question.summary,
        "investigate metrics/visits: visits 2 from 2026-03-30 to 2026-03-31 is below 3 \
         (threshold few-visits, episode 1)"
    );
    let evidence: Vec<_> = question.evidence.iter().map(|fact| fact.title.as_str()).collect();
    assert_eq!(evidence, ["value", "series", "threshold", "definition", "provenance"]);
    let series: serde_json::Value = serde_json::from_str(&question.evidence[1].json).unwrap();
    let values: Vec<_> = series.as_array().unwrap().iter().map(|day| &day["value"]).collect();
    assert_eq!(values[values.len() - 2..], [&serde_json::json!(5.0), &serde_json::json!(2.0)]);

    // The same episode: seen again, not asked again.
    suite.clock.advance(TimeDelta::hours(1));
    let second = evaluated(&suite, "few-visits", 2).await;
    assert_eq!(second.effect(), pb::ThresholdEffect::None);
    assert_eq!(second.state_after.unwrap().phase(), pb::ThresholdPhase::Open);

    // Better, but not recovered: three is no breach, four is the end of it. What is
    // told of a day is there before the day is judged.
    suite.clock.set(time("2026-03-31T23:30:00Z"));
    evaluated(&suite, "few-visits", 3).await;
    visits(&suite, "2026-03-31T20:00:00Z", 3).await;
    suite.clock.set(time("2026-04-01T00:30:00Z"));
    let between = evaluated(&suite, "few-visits", 4).await;
    assert_eq!(between.reading(), pb::ThresholdReading::Between);
    assert_eq!(between.effect(), pb::ThresholdEffect::None);
    visits(&suite, "2026-03-31T21:00:00Z", 1).await;
    suite.clock.advance(TimeDelta::hours(1));
    let cleared = evaluated(&suite, "few-visits", 5).await;
    assert_eq!(cleared.effect(), pb::ThresholdEffect::Clear);
    assert_eq!(questions(&suite).await, 1);

    // Another breach is another episode.
    suite.clock.set(time("2026-04-01T23:30:00Z"));
    evaluated(&suite, "few-visits", 6).await;
    visits(&suite, "2026-04-01T20:00:00Z", 1).await;
    suite.clock.set(time("2026-04-02T00:30:00Z"));
    let another = evaluated(&suite, "few-visits", 7).await;
    assert_eq!(another.effect(), pb::ThresholdEffect::Raise);
    let again = asked(&suite, "few-visits", &question.decision_request_id).await;
    assert!(again.summary.ends_with("episode 2)"), "{}", again.summary);
    assert_eq!(questions(&suite).await, 2);
}

#[tokio::test]
async fn a_stale_number_informs_and_does_not_decide() {
    let suite = start().await;
    visits(&suite, "2026-03-30T10:00:00Z", 2).await;
    // Nothing for more than a day: whether nobody came or nobody told is not known.
    suite.clock.advance(TimeDelta::days(2));
    apply(&suite, threshold("few-visits")).await.unwrap();
    let first = evaluated(&suite, "few-visits", 1).await;
    assert_eq!(first.reading(), pb::ThresholdReading::Breached);
    assert_eq!(first.effect(), pb::ThresholdEffect::Inform);
    assert_eq!(first.gates().collect::<Vec<_>>(), [pb::ThresholdGate::Stale]);
    assert_eq!(first.provenance.unwrap().freshness(), pb::Freshness::Stale);
    assert_eq!(first.state_after.unwrap().phase(), pb::ThresholdPhase::Watching);

    // Events arrive again, and it holds: now it is asked.
    visits(&suite, "2026-04-01T10:00:00Z", 1).await;
    suite.clock.advance(TimeDelta::hours(1));
    let second = evaluated(&suite, "few-visits", 2).await;
    assert_eq!(second.effect(), pb::ThresholdEffect::Raise);
    asked(&suite, "few-visits", "").await;
    assert_eq!(questions(&suite).await, 1);
}

#[tokio::test]
async fn two_replicas_evaluate_once_and_a_restart_asks_nothing_twice() {
    let mut suite = start().await;
    let folder = tempfile::tempdir().unwrap();
    let other = suite.second_replica(&folder).await;
    visits(&suite, "2026-03-30T10:00:00Z", 2).await;
    apply(&suite, threshold("few-visits")).await.unwrap();
    for round in 1..=5 {
        evaluated(&suite, "few-visits", round).await;
        suite.clock.advance(TimeDelta::hours(1));
    }
    evaluated(&suite, "few-visits", 6).await;
    let question = asked(&suite, "few-visits", "").await;
    suite.restart().await;
    suite.clock.advance(TimeDelta::hours(1));
    evaluated(&suite, "few-visits", 7).await;
    let times: std::collections::BTreeSet<_> = logged(&suite.analyst, "few-visits")
        .await
        .into_iter()
        .map(|evaluation| evaluation.evaluation_time.unwrap().seconds)
        .collect();
    assert_eq!(times.len(), 7, "each time is evaluated once");
    let now = status(&suite, "few-visits").await;
    assert_eq!(now.decision_request, question.decision_request_id);
    assert_eq!(questions(&suite).await, 1);
    other.stop().await.unwrap();
}

#[tokio::test]
async fn quiet_hours_defer_and_do_not_lose() {
    let suite = start().await;
    visits(&suite, "2026-03-30T10:00:00Z", 2).await;
    let quiet = pb::QuietHours {
        // In summer two hours ahead: from 11:00 to 13:30 in UTC.
        from: "13:00".to_owned(),
        to: "15:30".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        ..pb::QuietHours::default()
    };
    let deferred = pb::Threshold { quiet: Some(quiet), ..threshold("few-visits") };
    apply(&suite, deferred).await.unwrap();
    let first = evaluated(&suite, "few-visits", 1).await;
    assert_eq!(first.effect(), pb::ThresholdEffect::Defer);
    let until = Some(timestamp("2026-03-31T13:30:00Z"));
    assert_eq!(first.state_after.unwrap().deferred_until_time, until);
    suite.clock.set(time("2026-03-31T13:00:00Z"));
    let second = evaluated(&suite, "few-visits", 2).await;
    assert_eq!(second.effect(), pb::ThresholdEffect::None);
    // The end of the quiet is not on the schedule, and is evaluated all the same.
    suite.clock.set(time("2026-03-31T13:30:00Z"));
    let third = evaluated(&suite, "few-visits", 3).await;
    assert_eq!((third.effect(), third.evaluation_time), (pb::ThresholdEffect::Raise, until));
    asked(&suite, "few-visits", "").await;
}

#[tokio::test]
async fn a_dry_run_sees_the_past_and_writes_nothing() {
    let suite = start().await;
    visits(&suite, "2026-03-28T10:00:00Z", 2).await;
    visits(&suite, "2026-03-29T10:00:00Z", 5).await;
    visits(&suite, "2026-03-30T10:00:00Z", 9).await;
    apply(&suite, threshold("few-visits")).await.unwrap();
    evaluated(&suite, "few-visits", 1).await;
    let at = async |at: &str| {
        let found = evaluate(&suite, "few-visits", at).await.unwrap();
        (found.observations.last().unwrap().value, found.effect(), found.sequence)
    };
    assert_eq!(at("2026-03-29T00:00:00Z").await, (Some(2.0), pb::ThresholdEffect::Raise, 0));
    assert_eq!(at("2026-03-30T23:59:59Z").await, (Some(5.0), pb::ThresholdEffect::None, 0));
    let future = evaluate(&suite, "few-visits", "2026-04-01").await.unwrap_err();
    assert_eq!(blamed_fields(&future), ["evaluation_time"]);
    assert_eq!(logged(&suite.analyst, "few-visits").await.len(), 1);
    assert_eq!(questions(&suite).await, 0);

    // One that is not stored is checked as if it were to be.
    let given = |threshold: pb::Threshold| pb::EvaluateThresholdRequest {
        threshold: Some(threshold),
        evaluation_time: Some(timestamp("2026-03-29")),
        ..Default::default()
    };
    let mut client = suite.analyst.thresholds();
    let found = client.evaluate_threshold(given(threshold("draft"))).await.unwrap().into_inner();
    assert_eq!(found.evaluation.unwrap().effect(), pb::ThresholdEffect::Raise);
    let unknown = pb::Threshold { metric: "nobody".to_owned(), ..threshold("draft") };
    let refused = client.evaluate_threshold(given(unknown)).await.unwrap_err();
    assert_eq!(reason(&refused), "MISSING_REFERENCE");
}

#[tokio::test]
async fn of_any_value_the_worst_is_judged_also_one_that_went_missing() {
    let suite = start().await;
    let on = |day: &'static str, plan: &str, how_many: usize| {
        let plan = serde_json::json!({ "plan": plan });
        (0..how_many)
            .map(|user| event("Visited", &format!("user {user}"), day).with(plan.clone()))
            .collect::<Vec<_>>()
    };
    suite.ingest(on("2026-03-29T10:00:00Z", "pro", 10)).await;
    suite.ingest(on("2026-03-29T10:00:00Z", "team", 10)).await;
    suite.ingest(on("2026-03-30T10:00:00Z", "pro", 9)).await;
    let breakdown = |value: Option<&str>| {
        Some(pb::ThresholdBreakdown {
            by: "properties.plan".to_owned(),
            value: value.map(str::to_owned),
        })
    };
    let half = |value: Option<&str>, name: &str| pb::Threshold {
        breakdown: breakdown(value),
        condition: Some(Condition::Decrease(pb::ChangeCondition {
            amount: 0.5,
            scale: pb::ChangeScale::Relative.into(),
            ..pb::ChangeCondition::default()
        })),
        minimum_sample: 5,
        ..threshold(name)
    };
    apply(&suite, half(None, "any-plan")).await.unwrap();
    let any = evaluated(&suite, "any-plan", 1).await;
    let newest = any.observations.last().unwrap();
    assert_eq!(any.effect(), pb::ThresholdEffect::Raise);
    assert_eq!(newest.segment.as_deref(), Some("team"));
    assert_eq!((newest.value, newest.reference, newest.sample), (Some(0.0), Some(10.0), 10));
    let question = asked(&suite, "any-plan", "").await;
    assert!(question.summary.contains("of properties.plan team"), "{}", question.summary);

    apply(&suite, half(Some("pro"), "pro-plan")).await.unwrap();
    let pro = evaluated(&suite, "pro-plan", 1).await;
    assert_eq!(pro.effect(), pb::ThresholdEffect::None);
    assert_eq!(pro.observations.last().unwrap().value, Some(9.0));
}

#[tokio::test]
async fn a_bucket_is_held_against_what_its_past_leads_to_expect() {
    let suite = start().await;
    // Eight weeks: six or seven visits on weekdays, two on weekends; and on the last Friday as few as on a Saturday.
    let first = time("2026-02-01");
    let mut events = Vec::new();
    for day in 0..56 {
        let morning = first + TimeDelta::days(day) + TimeDelta::hours(10);
        let how_many = match day % 7 {
            0 | 6 => 2,
            5 if day > 49 => 2,
            _ => 6 + day % 2,
        };
        let morning: &'static str = morning.to_rfc3339().leak();
        events.extend((0..how_many).map(|user| event("Visited", &format!("user {user}"), morning)));
    }
    suite.ingest(events).await;
    let unlike = |name: &str, direction: pb::AnomalyDirection| pb::Threshold {
        condition: Some(Condition::Anomaly(pb::AnomalyCondition {
            direction: direction.into(),
            ..pb::AnomalyCondition::default()
        })),
        ..threshold(name)
    };
    apply(&suite, unlike("fewer", pb::AnomalyDirection::Down)).await.unwrap();
    apply(&suite, unlike("more", pb::AnomalyDirection::Up)).await.unwrap();

    let friday = evaluate(&suite, "fewer", "2026-03-28").await.unwrap();
    let newest = friday.observations.last().unwrap();
    assert_eq!(friday.reading(), pb::ThresholdReading::Breached);
    assert_eq!(newest.value, Some(2.0));
    let expected = newest.reference.unwrap();
    assert!((6.0..=7.0).contains(&expected), "{newest:?}");
    assert!(newest.spread.unwrap() < (expected - 2.0) / 3.5, "{newest:?}");
    // Few, but as few as on every Saturday; and nothing is too much.
    let saturday = evaluate(&suite, "fewer", "2026-03-29").await.unwrap();
    assert_eq!(saturday.observations.last().unwrap().value, Some(2.0));
    assert_eq!(saturday.reading(), pb::ThresholdReading::Clear);
    let friday = evaluate(&suite, "more", "2026-03-28").await.unwrap();
    assert_eq!(friday.reading(), pb::ThresholdReading::Clear);
    // Of too little a past nothing follows.
    let early = evaluate(&suite, "fewer", "2026-02-12").await.unwrap();
    assert_eq!(early.reading(), pb::ThresholdReading::Unknown);
    assert_eq!(early.observations.last().unwrap().reference, None);

    let windowed = pb::Threshold {
        grain: pb::Grain::Unspecified.into(),
        window_days: 7,
        ..unlike("windowed", pb::AnomalyDirection::Down)
    };
    let refused = apply(&suite, windowed).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["threshold.grain"]);
}

#[tokio::test]
async fn a_paused_one_rests_and_a_deleted_one_leaves_its_log() {
    let suite = start().await;
    visits(&suite, "2026-03-30T10:00:00Z", 2).await;
    apply(&suite, threshold("few-visits")).await.unwrap();
    evaluated(&suite, "few-visits", 1).await;
    let question = asked(&suite, "few-visits", "").await;
    let name = || "few-visits".to_owned();
    let mut operator = suite.operator().thresholds();
    let pause = |reason: &str| pb::PauseThresholdRequest {
        name: name(),
        reason: reason.to_owned(),
        request_id: String::new(),
    };
    let refused = operator.pause_threshold(pause(" ")).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["reason"]);
    let paused = operator.pause_threshold(pause("an import runs")).await.unwrap().into_inner();
    let paused = paused.status.unwrap();
    assert!(paused.paused && paused.next_evaluation_time.is_none());
    suite.clock.advance(TimeDelta::hours(5));
    // What would be evaluated while it rests is not, before or after.
    apply(&suite, threshold("other")).await.unwrap();
    evaluated(&suite, "other", 1).await;
    assert_eq!(logged(&suite.analyst, "few-visits").await.len(), 1);
    let resume = pb::ResumeThresholdRequest { name: name(), request_id: String::new() };
    let resumed = operator.resume_threshold(resume).await.unwrap().into_inner().status.unwrap();
    assert!(!resumed.paused);
    evaluated(&suite, "few-visits", 2).await;

    let request = pb::DeleteThresholdRequest { name: name(), request_id: String::new() };
    suite.analyst.thresholds().delete_threshold(request.clone()).await.unwrap();
    let gone = suite.analyst.thresholds().delete_threshold(request).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    assert_eq!(logged(&suite.analyst, "few-visits").await.len(), 2);
    // A new one of the same name goes on counting, and asks a question of its own.
    apply(&suite, threshold("few-visits")).await.unwrap();
    let third = evaluated(&suite, "few-visits", 3).await;
    assert_eq!(third.state_after.unwrap().episode, 2);
    let again = asked(&suite, "few-visits", &question.decision_request_id).await;
    assert!(again.summary.ends_with("episode 2)"), "{}", again.summary);
}

#[tokio::test]
async fn a_threshold_is_checked_whole_and_other_rules_begin_anew() {
    let suite = start().await;
    let wrong = pb::Threshold {
        owner: String::new(),
        grain: pb::Grain::Unspecified.into(),
        decision: Some(pb::ThresholdDecision {
            action: pb::ThresholdAction::Pause.into(),
            ..pb::ThresholdDecision::default()
        }),
        ..threshold("few-visits")
    };
    let refused = apply(&suite, wrong).await.unwrap_err();
    assert_eq!(
        blamed_fields(&refused),
        ["threshold.owner", "threshold.grain", "threshold.decision.automation"]
    );
    let missing = pb::Threshold {
        metric: String::new(),
        kpi: "nothing".to_owned(),
        ..threshold("few-visits")
    };
    let refused = apply(&suite, missing).await.unwrap_err();
    assert_eq!(reason(&refused), "MISSING_REFERENCE");

    visits(&suite, "2026-03-30T10:00:00Z", 2).await;
    let first = apply(&suite, threshold("few-visits")).await.unwrap();
    evaluated(&suite, "few-visits", 1).await;
    // The same document changes nothing; another title does not begin anew.
    assert_eq!(apply(&suite, threshold("few-visits")).await.unwrap(), first);
    let titled = pb::Threshold { title: "Few visits".to_owned(), ..threshold("few-visits") };
    let titled = apply(&suite, titled).await.unwrap();
    assert_eq!(titled.version, 2);
    let kept = status(&suite, "few-visits").await.state.unwrap();
    assert_eq!((kept.phase(), kept.episode), (pb::ThresholdPhase::Open, 1));
    let stale = pb::Threshold { etag: first.etag, ..threshold("few-visits") };
    assert_eq!(reason(&apply(&suite, stale).await.unwrap_err()), "ETAG_MISMATCH");
    let lower = pb::Threshold {
        condition: Some(Condition::Below(pb::LevelCondition { value: 1.0, clear: None })),
        ..threshold("few-visits")
    };
    apply(&suite, lower).await.unwrap();
    let second = evaluated(&suite, "few-visits", 2).await;
    assert_eq!(second.effect(), pb::ThresholdEffect::None);
    let anew = second.state_after.unwrap();
    assert_eq!((anew.phase(), anew.episode), (pb::ThresholdPhase::Watching, 1));
    // The replay knows where it began anew.
    let replayed = replay(&suite, "few-visits", pb::ReplayInput::Logged).await;
    assert!(replayed.iter().all(|answer| answer.same), "{replayed:#?}");
}

#[tokio::test]
async fn another_project_sees_and_does_nothing() {
    let suite = start().await;
    visits(&suite, "2026-03-30T10:00:00Z", 2).await;
    apply(&suite, threshold("few-visits")).await.unwrap();
    evaluated(&suite, "few-visits", 1).await;
    let other = suite.other_project().await;
    let mut thresholds = other.thresholds();
    let name = || "few-visits".to_owned();
    let (reason, request_id) = ("theirs".to_owned(), String::new());
    let refusals = [
        thresholds.get_threshold(pb::GetThresholdRequest { name: name() }).await.err(),
        thresholds
            .pause_threshold(pb::PauseThresholdRequest {
                name: name(),
                reason,
                request_id: request_id.clone(),
            })
            .await
            .err(),
        thresholds
            .resume_threshold(pb::ResumeThresholdRequest {
                name: name(),
                request_id: request_id.clone(),
            })
            .await
            .err(),
        thresholds
            .delete_threshold(pb::DeleteThresholdRequest { name: name(), request_id })
            .await
            .err(),
        thresholds
            .evaluate_threshold(pb::EvaluateThresholdRequest { name: name(), ..Default::default() })
            .await
            .err(),
    ];
    for refusal in refusals {
        assert_eq!(refusal.map(|status| status.code()), Some(Code::NotFound));
    }
    // It has no metric of that name to watch either.
    let request =
        pb::ApplyThresholdRequest { threshold: Some(threshold("mine")), ..Default::default() };
    let missing = thresholds.apply_threshold(request).await.unwrap_err();
    assert_eq!(crate::suite::reason(&missing), "MISSING_REFERENCE");
    let listed = thresholds.list_thresholds(pb::ListThresholdsRequest::default()).await.unwrap();
    assert_eq!(listed.into_inner().statuses, []);
    assert_eq!(logged(&other, "few-visits").await, []);
    let request = pb::ReplayEvaluationsRequest {
        threshold: name(),
        ..pb::ReplayEvaluationsRequest::default()
    };
    let mut stream = thresholds.replay_evaluations(request).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap(), None);
    assert!(!status(&suite, "few-visits").await.paused);
}
