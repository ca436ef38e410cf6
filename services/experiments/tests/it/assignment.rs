//! Who gets what, and what the log learns of it.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use northstar_domain::Clock as _;
use northstar_proto::experiments::v1 as pb;
use northstar_proto::metrics::v1 as metrics;
use northstar_proto::metrics::v1::{CountMetric, EventSelector};

use crate::suite::{
    Suite, apply, assign, blamed_fields, checkout, reason, start, timestamp, users,
};

fn by_variant(assignments: &[pb::Assignment]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for assignment in assignments {
        *counts.entry(assignment.variant.as_str()).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn the_same_subject_gets_the_same_variant_and_is_exposed_once() {
    let (suite, ada, first) = Suite::running().await;
    assert_eq!(suite.own_events(&ada).await.accepted, 200 + 1, "and the start of the experiment");
    suite.clock.advance(TimeDelta::hours(5));
    let again = assign(&ada, "checkout", &users(0..250)).await.unwrap();
    assert_eq!(again[..200], first);
    let log = suite.own_events(&ada).await;
    assert_eq!((log.accepted, log.duplicate, log.quarantined), (251, 0, 0));
    let counts = by_variant(&again);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), ["control", "short"]);
    assert!(counts["control"].abs_diff(125) < 30, "{counts:?}");
}

#[tokio::test]
async fn an_exposure_whose_acknowledgement_was_lost_is_a_duplicate_and_no_conflict() {
    let (suite, ada, first) = Suite::running().await;
    // As if the process had died between the log's answer and its own note of it.
    sqlx::query("UPDATE experiments.exposures SET recorded = false")
        .execute(suite.superuser())
        .await
        .unwrap();
    suite.clock.advance(TimeDelta::days(1));
    let mut subjects = users(0..200);
    subjects[0].occurred_time = Some(timestamp(suite.clock.now() - TimeDelta::hours(1)));
    let again = assign(&ada, "checkout", &subjects).await.unwrap();
    assert_eq!(again, first);
    let log = suite.own_events(&ada).await;
    assert_eq!((log.accepted, log.duplicate, log.quarantined), (201, 200, 0));
}

#[tokio::test]
async fn a_subject_named_twice_and_at_once_from_two_sides_is_exposed_once() {
    let (suite, ada) = Suite::with_metrics().await;
    apply(&ada, checkout()).await.unwrap();
    start(&ada, "checkout").await.unwrap();
    let twice: Vec<_> = users(0..50).into_iter().chain(users(0..50).into_iter().rev()).collect();
    let (one, other) =
        tokio::join!(assign(&ada, "checkout", &twice), assign(&ada, "checkout", &twice));
    assert_eq!(one.unwrap(), other.unwrap());
    let log = suite.own_events(&ada).await;
    assert_eq!((log.accepted - 1, log.quarantined), (50, 0));
}

#[tokio::test]
async fn who_is_outside_the_segment_or_not_covered_is_not_exposed() {
    let (suite, ada) = Suite::with_metrics().await;
    let segment = "attributes.country == 'DE'".to_owned();
    apply(&ada, pb::Experiment { segment, coverage: 0.5, ..checkout() }).await.unwrap();
    start(&ada, "checkout").await.unwrap();
    let mut subjects = users(0..300);
    for (index, subject) in subjects.iter_mut().enumerate() {
        let country = if index < 200 { "DE" } else { "FR" };
        subject.attributes.insert("country".to_owned(), country.to_owned());
    }
    subjects[299].attributes.clear();
    let assignments = assign(&ada, "checkout", &subjects).await.unwrap();
    let reasons = |reason: &str| assignments.iter().filter(|a| a.reason == reason).count();
    assert_eq!(reasons("not_in_segment"), 100);
    assert!(reasons("split").abs_diff(100) < 30, "{}", reasons("split"));
    assert_eq!(reasons("split") + reasons("not_covered"), 200);
    assert!(assignments.iter().all(|a| a.variant.is_empty() == (a.reason != "split")));
    let exposed = suite.own_events(&ada).await.accepted - 1;
    assert_eq!(usize::try_from(exposed).unwrap(), reasons("split"));
}

#[tokio::test]
async fn the_log_holds_the_variant_and_the_version_of_the_hash() {
    let (suite, ada, assignments) = Suite::running().await;
    let count = metrics::Metric {
        name: "exposures".to_owned(),
        title: "exposures".to_owned(),
        description: "exposures".to_owned(),
        owner: "growth".to_owned(),
        definition: Some(metrics::metric::Definition::Count(CountMetric {
            event: Some(EventSelector {
                event: "northstar.experiment.exposure".to_owned(),
                filter: "properties.experiment == 'checkout' && properties.hash_version == 2"
                    .to_owned(),
            }),
        })),
        ..metrics::Metric::default()
    };
    let apply = metrics::ApplyMetricRequest { metric: Some(count), ..Default::default() };
    ada.metrics().apply_metric(apply).await.unwrap();
    let query = metrics::QueryMetricRequest {
        metric: "exposures".to_owned(),
        start_time: Some(timestamp(suite.clock.now() - TimeDelta::days(1))),
        end_time: Some(timestamp(suite.clock.now() + TimeDelta::days(1))),
        breakdowns: vec!["variant".to_owned()],
        ..metrics::QueryMetricRequest::default()
    };
    let rows = ada.metrics().query_metric(query).await.unwrap().into_inner().rows;
    let counted: BTreeMap<_, _> =
        rows.iter().map(|row| (row.dimensions["variant"].as_str(), row.value.unwrap())).collect();
    let expected = by_variant(&assignments);
    #[expect(clippy::cast_precision_loss, reason = "two hundred at most")]
    let expected: BTreeMap<_, _> =
        expected.into_iter().map(|(variant, count)| (variant, count as f64)).collect();
    assert_eq!(counted, expected);
}

#[tokio::test]
async fn without_the_log_nobody_is_assigned() {
    let (suite, ada) = Suite::with_metrics().await;
    apply(&ada, checkout()).await.unwrap();
    start(&ada, "checkout").await.unwrap();
    let alone = suite.start_alone().await;
    let key = suite.key("ada", northstar_domain::Role::Operator).await;
    let lonely = alone.clients(&key).unwrap();
    let refused = assign(&lonely, "checkout", &users(0..3)).await.unwrap_err();
    assert_eq!(reason(&refused), "DEPENDENCY_UNAVAILABLE");
    // What was promised is kept as soon as the log is there.
    assert_eq!(assign(&ada, "checkout", &users(0..3)).await.unwrap().len(), 3);
    assert_eq!(suite.own_events(&ada).await.accepted - 1, 3);
}

#[tokio::test]
async fn a_subject_needs_an_id_and_a_batch_has_a_limit() {
    let (_suite, ada) = Suite::with_metrics().await;
    let mut subjects = users(0..2);
    subjects[1].user_id = " ".to_owned();
    let refused = assign(&ada, "checkout", &subjects).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["subjects[1].user_id"]);
    let refused = assign(&ada, "checkout", &users(0..10_001)).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["subjects"]);
    let refused = assign(&ada, "checkout", &users(0..1)).await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_FOUND");
}

#[tokio::test]
async fn ten_thousand_subjects_are_one_call() {
    let (suite, ada) = Suite::with_metrics().await;
    apply(&ada, checkout()).await.unwrap();
    start(&ada, "checkout").await.unwrap();
    let assignments = assign(&ada, "checkout", &users(0..10_000)).await.unwrap();
    assert_eq!(assignments.len(), 10_000);
    assert_eq!(suite.own_events(&ada).await.accepted - 1, 10_000);
}
