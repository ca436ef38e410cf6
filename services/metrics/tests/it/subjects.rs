//! Numbers follow the identity map and the consent of subjects, at once and as
//! if they had been computed anew.

use northstar_proto::ingestion::v1 as log;

use crate::suite::{Suite, count, event, question, selector, unique};
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::metric::Definition;

const FROM: &str = "2026-03-01T00:00:00Z";
const TO: &str = "2026-04-01T00:00:00Z";

fn user(value: &str) -> Option<log::Identifier> {
    Some(log::Identifier { kind: "user_id".to_owned(), value: value.to_owned() })
}

fn device(value: &str) -> Option<log::Identifier> {
    Some(log::Identifier { kind: "anonymous_id".to_owned(), value: value.to_owned() })
}

async fn merge(suite: &Suite, from: &str, to: &str) -> i64 {
    let request = log::MergeSubjectsRequest {
        from: user(from),
        to: user(to),
        reason: "the same person".to_owned(),
        ..Default::default()
    };
    let merged = suite.operator().subjects().merge_subjects(request).await.unwrap().into_inner();
    merged.fact.unwrap().fact_id
}

/// Visits and purchases of three users, one of them by device only at first.
async fn start() -> Suite {
    let suite = Suite::start().await;
    suite
        .ingest(vec![
            event("visit", "ada", "2026-03-01T10:00:00Z"),
            event("visit", "ada-2", "2026-03-02T10:00:00Z"),
            event("purchase", "ada-2", "2026-03-03T10:00:00Z"),
            event("visit", "grace", "2026-03-04T10:00:00Z"),
            crate::suite::Event {
                anonymous: "phone",
                user: String::new(),
                ..event("visit", "", "2026-03-05T10:00:00Z")
            },
            crate::suite::Event {
                anonymous: "phone",
                ..event("signup", "grace", "2026-03-06T10:00:00Z")
            },
        ])
        .await;
    suite.metric("visitors", unique("visit")).await;
    suite.metric("visits", count("visit")).await;
    let steps = vec![selector("visit"), selector("purchase")];
    let funnel = pb::FunnelMetric { steps, anchor: 1, ..Default::default() };
    suite.metric("conversion", Definition::Funnel(funnel)).await;
    suite
}

/// Visitors, visits and conversion, now and from a data set made anew.
async fn numbers(suite: &mut Suite) -> [Option<f64>; 3] {
    let mut found = [None; 3];
    for (number, metric) in found.iter_mut().zip(["visitors", "visits", "conversion"]) {
        *number = suite.total(metric, FROM, TO).await;
    }
    suite.restart_anew().await;
    for (number, metric) in found.iter().zip(["visitors", "visits", "conversion"]) {
        assert_eq!(suite.total(metric, FROM, TO).await, *number, "{metric} computed anew");
    }
    found
}

#[tokio::test]
async fn a_merge_an_unmerge_and_an_unlink_change_exactly_the_numbers_they_should() {
    let mut suite = start().await;
    assert_eq!(numbers(&mut suite).await, [Some(3.0), Some(4.0), Some(1.0 / 3.0)]);
    let fact_id = merge(&suite, "ada-2", "ada").await;
    assert_eq!(numbers(&mut suite).await, [Some(2.0), Some(4.0), Some(0.5)]);
    let request = log::UnmergeSubjectsRequest {
        fact_id,
        reason: "two people".to_owned(),
        ..Default::default()
    };
    suite.operator().subjects().unmerge_subjects(request).await.unwrap();
    assert_eq!(numbers(&mut suite).await, [Some(3.0), Some(4.0), Some(1.0 / 3.0)]);
    let request = log::UnlinkIdentifiersRequest {
        from: device("phone"),
        to: user("grace"),
        reason: "a shared device".to_owned(),
        ..Default::default()
    };
    suite.operator().subjects().unlink_identifiers(request).await.unwrap();
    assert_eq!(numbers(&mut suite).await, [Some(4.0), Some(4.0), Some(0.25)]);
}

async fn record(suite: &Suite, identifier: Option<log::Identifier>, granted: bool) {
    let purpose = vec!["analytics".to_owned()];
    let (granted_purposes, denied_purposes) =
        if granted { (purpose, Vec::new()) } else { (Vec::new(), purpose) };
    let request = log::RecordConsentRequest {
        identifier,
        granted_purposes,
        denied_purposes,
        reason: "settings page".to_owned(),
        ..Default::default()
    };
    suite.operator().subjects().record_consent(request).await.unwrap();
}

#[tokio::test]
async fn a_withdrawal_takes_a_subject_out_of_the_next_answer_which_says_so() {
    let mut suite = start().await;
    let excluded = async |suite: &Suite| {
        let answer = suite.query(question("visits", FROM, TO)).await.unwrap();
        let provenance = answer.provenance.unwrap();
        (provenance.excluded_no_consent_events, provenance.digest)
    };
    let before = excluded(&suite).await;
    assert_eq!(before.0, 0);
    // The device speaks for its subject.
    record(&suite, device("phone"), false).await;
    assert_eq!(numbers(&mut suite).await, [Some(2.0), Some(2.0), Some(0.5)]);
    let after = excluded(&suite).await;
    assert_eq!(after.0, 3);
    assert_ne!(after.1, before.1);
    suite.clock.advance(chrono::TimeDelta::seconds(1));
    record(&suite, user("grace"), true).await;
    assert_eq!(numbers(&mut suite).await, [Some(3.0), Some(4.0), Some(1.0 / 3.0)]);
}

#[tokio::test]
async fn where_counting_needs_consent_silence_is_no_consent() {
    let mut suite = start().await;
    record(&suite, user("ada-2"), true).await;
    let policy = log::ConsentPolicy {
        name: "default".to_owned(),
        owner: "privacy".to_owned(),
        purposes: vec![log::Purpose {
            name: "analytics".to_owned(),
            required_for: vec![log::DataUse::Analyse.into()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let request =
        log::ApplyConsentPolicyRequest { consent_policy: Some(policy), ..Default::default() };
    suite.operator().subjects().apply_consent_policy(request).await.unwrap();
    assert_eq!(numbers(&mut suite).await, [Some(1.0), Some(1.0), Some(1.0)]);
}

/// Every file below the folder of segments that holds these bytes.
fn holding(folder: &std::path::Path, text: &str) -> Vec<std::path::PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                    found.push(path);
                }
            }
        }
    }
    found
}

#[tokio::test]
async fn an_erasure_changes_no_count_and_leaves_no_copy_in_a_segment() {
    let mut suite = Suite::start_with(northstar_metrics::Config {
        metrics_compact_events: std::num::NonZeroUsize::MIN,
        metrics_follow_seconds: 1,
        ..northstar_metrics::Config::default()
    })
    .await;
    suite
        .ingest(vec![
            event("visit", "ada-lovelace", "2026-03-01T10:00:00Z"),
            event("visit", "grace", "2026-03-02T10:00:00Z"),
        ])
        .await;
    suite.metric("visitors", unique("visit")).await;
    assert_eq!(suite.total("visitors", FROM, TO).await, Some(2.0));
    while holding(suite.folder.path(), "ada-lovelace").is_empty() {
        tokio::task::yield_now().await;
    }
    suite.erase("ada-lovelace").await;
    assert_eq!(suite.total("visitors", FROM, TO).await, Some(2.0));
    assert_eq!(holding(suite.folder.path(), "ada-lovelace"), Vec::<std::path::PathBuf>::new());
    suite.restart_anew().await;
    assert_eq!(suite.total("visitors", FROM, TO).await, Some(2.0));
}
