//! The registry and the life of an experiment.

use northstar_domain::Role;
use northstar_proto::experiments::v1 as pb;
use northstar_proto::metrics::v1 as metrics;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::suite::{
    Suite, analyze, apply, assign, at, blamed_fields, checkout, reason, start, stop, timestamp,
    users,
};

#[tokio::test]
async fn an_experiment_is_applied_read_and_listed() {
    let (_suite, ada) = Suite::with_metrics().await;
    let applied = apply(&ada, checkout()).await.unwrap();
    assert_eq!(applied.state(), pb::ExperimentState::Draft);
    assert_eq!((applied.etag.as_str(), applied.hash_version), ("1", 2));
    let expected = pb::Experiment {
        state: applied.state,
        etag: applied.etag.clone(),
        hash_version: 2,
        ..checkout()
    };
    assert_eq!(applied, expected, "what was sent comes back");
    let get = pb::GetExperimentRequest { name: "checkout".to_owned() };
    let read = ada.experiments().get_experiment(get).await.unwrap().into_inner();
    assert_eq!(read.experiment, Some(applied.clone()));
    let list = pb::ListExperimentsRequest::default();
    let list = ada.experiments().list_experiments(list).await.unwrap().into_inner();
    assert_eq!(list.experiments, [applied]);
}

#[tokio::test]
async fn all_that_is_missing_is_told_at_once() {
    let (_suite, ada) = Suite::with_metrics().await;
    let refused = apply(&ada, pb::Experiment::default()).await.unwrap_err();
    let expected = [
        "name",
        "hypothesis",
        "owner",
        "pillar",
        "segment",
        "variants",
        "primary_metric",
        "direction",
        "guardrails",
        "stopping_plan",
    ];
    assert_eq!(blamed_fields(&refused), expected.map(|field| format!("experiment.{field}")));
}

#[tokio::test]
async fn pillar_and_metrics_must_exist() {
    let (_suite, ada) = Suite::with_metrics().await;
    let mut experiment = checkout();
    experiment.pillar = "no-pillar".to_owned();
    experiment.guardrails[0].metric = "no-metric".to_owned();
    let refused = apply(&ada, experiment).await.unwrap_err();
    assert_eq!(reason(&refused), "MISSING_REFERENCE");
    assert!(refused.message().contains("no-pillar"), "{}", refused.message());
    assert!(refused.message().contains("no-metric"), "{}", refused.message());
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["name"], "no-pillar");
}

#[tokio::test]
async fn a_metric_that_is_no_number_per_subject_is_refused_before_the_start() {
    let (_suite, ada) = Suite::with_metrics().await;
    let selector =
        |event: &str| metrics::EventSelector { event: event.to_owned(), filter: String::new() };
    let retention = metrics::RetentionMetric {
        start: Some(selector("Signed Up")),
        r#return: Some(selector("Opened")),
        day: 7,
        mode: metrics::RetentionMode::On.into(),
    };
    let metric = metrics::Metric {
        name: "week-one".to_owned(),
        title: "week one".to_owned(),
        description: "who is back after a week".to_owned(),
        owner: "growth".to_owned(),
        definition: Some(metrics::metric::Definition::Retention(retention)),
        ..metrics::Metric::default()
    };
    let request = metrics::ApplyMetricRequest { metric: Some(metric), ..Default::default() };
    ada.metrics().apply_metric(request).await.unwrap();
    let mut experiment = checkout();
    experiment.guardrails[0].metric = "week-one".to_owned();
    let refused = apply(&ada, experiment).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["experiment.guardrails[0].metric"]);
}

#[tokio::test]
async fn a_check_writes_nothing_and_a_repeat_changes_nothing() {
    let (_suite, ada) = Suite::with_metrics().await;
    let check = pb::ApplyExperimentRequest {
        experiment: Some(checkout()),
        validate_only: true,
        request_id: String::new(),
    };
    ada.experiments().apply_experiment(check).await.unwrap();
    let get = pb::GetExperimentRequest { name: "checkout".to_owned() };
    assert_eq!(reason(&ada.experiments().get_experiment(get).await.unwrap_err()), "NOT_FOUND");

    let request = pb::ApplyExperimentRequest {
        experiment: Some(checkout()),
        validate_only: false,
        request_id: Uuid::new_v4().to_string(),
    };
    let first = ada.experiments().apply_experiment(request.clone()).await.unwrap().into_inner();
    let again = ada.experiments().apply_experiment(request.clone()).await.unwrap().into_inner();
    assert_eq!(first, again);
    let mut other = request;
    other.experiment.as_mut().unwrap().owner = "somebody".to_owned();
    let refused = ada.experiments().apply_experiment(other).await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    assert_eq!(apply(&ada, checkout()).await.unwrap().etag, "1", "nothing changed");
}

#[tokio::test]
async fn a_definition_is_frozen_by_the_start() {
    let (_suite, ada) = Suite::with_metrics().await;
    apply(&ada, checkout()).await.unwrap();
    let mut edited = checkout();
    edited.owner = "somebody".to_owned();
    let stale = pb::Experiment { etag: "7".to_owned(), ..edited.clone() };
    assert_eq!(reason(&apply(&ada, stale).await.unwrap_err()), "ETAG_MISMATCH");
    assert_eq!(apply(&ada, edited.clone()).await.unwrap().etag, "2");
    start(&ada, "checkout").await.unwrap();
    // Applying the same once more is no change, so that a folder can be applied again.
    assert!(apply(&ada, edited).await.is_ok());
    assert_eq!(reason(&apply(&ada, checkout()).await.unwrap_err()), "INVALID_TRANSITION");
}

#[tokio::test]
async fn every_step_is_taken_in_order() {
    let (_suite, ada) = Suite::with_metrics().await;
    assert_eq!(reason(&start(&ada, "checkout").await.unwrap_err()), "NOT_FOUND");
    apply(&ada, checkout()).await.unwrap();
    assert_eq!(reason(&stop(&ada, "checkout").await.unwrap_err()), "INVALID_TRANSITION");
    assert_eq!(reason(&analyze(&ada, "checkout").await.unwrap_err()), "INVALID_TRANSITION");
    let early = assign(&ada, "checkout", &users(0..1)).await.unwrap_err();
    assert_eq!(reason(&early), "INVALID_TRANSITION");

    let running = start(&ada, "checkout").await.unwrap();
    assert_eq!(running.state(), pb::ExperimentState::Running);
    assert_eq!(running.start_time, Some(timestamp(at("2026-03-02T12:00:00Z"))));
    assert_eq!(reason(&start(&ada, "checkout").await.unwrap_err()), "INVALID_TRANSITION");
    let stopped = stop(&ada, "checkout").await.unwrap();
    assert_eq!(stopped.state(), pb::ExperimentState::Stopped);
    let late = assign(&ada, "checkout", &users(0..1)).await.unwrap_err();
    assert_eq!(reason(&late), "INVALID_TRANSITION");
}

#[tokio::test]
async fn exposures_may_count_from_the_past_and_not_from_the_future() {
    let (_suite, ada) = Suite::with_metrics().await;
    apply(&ada, checkout()).await.unwrap();
    let from = |time: &str| pb::StartExperimentRequest {
        name: "checkout".to_owned(),
        request_id: String::new(),
        start_time: Some(timestamp(at(time))),
    };
    let future = from("2026-03-02T12:00:01Z");
    let refused = ada.experiments().start_experiment(future).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["start_time"]);
    let past = from("2026-01-01T00:00:00Z");
    let started = ada.experiments().start_experiment(past.clone()).await.unwrap().into_inner();
    assert_eq!(started.experiment.unwrap().start_time, past.start_time);
}

#[tokio::test]
async fn a_viewer_looks_and_an_analyst_drafts_but_neither_starts() {
    let (suite, ada) = Suite::with_metrics().await;
    let analyst = suite.person("bo", Role::Analyst).await;
    let viewer = suite.person("cy", Role::Viewer).await;
    assert_eq!(reason(&apply(&viewer, checkout()).await.unwrap_err()), "ROLE_REQUIRED");
    apply(&analyst, checkout()).await.unwrap();
    assert_eq!(reason(&start(&analyst, "checkout").await.unwrap_err()), "ROLE_REQUIRED");
    start(&ada, "checkout").await.unwrap();
    assert!(analyze(&viewer, "checkout").await.is_ok());
}
