//! Batches: what becomes of each event, and of the batch.

use northstar_proto::ingestion::v1 as pb;
use pb::EventOutcome::{Accepted, Duplicate, Quarantined, Rejected};
use pb::TimeCorrection;

use crate::suite::{
    Suite, blamed_fields, double, event, ingest, integer, minutes, outcomes, reason, text,
};

#[tokio::test]
async fn every_event_of_a_batch_has_its_own_outcome() {
    let suite = Suite::start().await;
    let batch = vec![
        event("a"),
        pb::Event { name: String::new(), ..event("b") },
        pb::Event { user_id: String::new(), ..event("c") },
        event("a"),
        pb::Event { name: "Other".to_owned(), ..event("a") },
        pb::Event { occurred_time: None, ..event("d") },
        pb::Event { properties: [("x".to_owned(), double(f64::NAN))].into(), ..event("e") },
        pb::Event { message_id: String::new(), ..event("f") },
        pb::Event { properties: [("x".to_owned(), text("\0"))].into(), ..event("g") },
        event("h"),
        pb::Event {
            consent: Some(pb::Consent {
                granted_purposes: vec!["ads".to_owned()],
                denied_purposes: vec!["ads".to_owned()],
            }),
            ..event("i")
        },
    ];
    let results = suite.ingest("web", batch).await;
    assert_eq!(
        outcomes(&results),
        [
            (Accepted, ""),
            (Rejected, "missing_name"),
            (Rejected, "missing_actor"),
            (Duplicate, ""),
            (Quarantined, "id_conflict"),
            (Rejected, "missing_occurred_time"),
            (Rejected, "invalid_number"),
            (Rejected, "missing_message_id"),
            (Rejected, "nul_character"),
            (Accepted, ""),
            (Rejected, "invalid_consent"),
        ]
    );
    assert_eq!(results[0].position, 1);
    assert_eq!(results[3].position, 1);
    assert_eq!(results[6].field, "properties.x");
    assert_eq!(results[9].position, 2);
    assert_eq!(suite.counts("web").await, [11, 2, 1, 1, 7]);
}

#[tokio::test]
async fn the_same_events_sent_again_are_duplicates_at_their_positions() {
    let suite = Suite::start().await;
    let batch: Vec<_> = (0..50).map(|number| event(number.to_string())).collect();
    let first = suite.ingest("web", batch.clone()).await;
    assert!(first.iter().all(|result| result.outcome() == Accepted));
    let mut again = batch;
    for event in &mut again {
        // A retry is sent later.
        event.sent_time = Some(minutes(1));
    }
    let second = suite.ingest("web", again).await;
    assert!(second.iter().all(|result| result.outcome() == Duplicate));
    let position = |results: &[pb::EventResult]| -> Vec<_> {
        results.iter().map(|result| result.position).collect()
    };
    assert_eq!(position(&first), position(&second));
    assert_eq!(suite.counts("web").await, [100, 50, 50, 0, 0]);
}

#[tokio::test]
async fn a_message_id_belongs_to_its_source() {
    let suite = Suite::start().await;
    let other = pb::Event { name: "Other".to_owned(), ..event("a") };
    assert_eq!(outcomes(&suite.ingest("web", vec![event("a")]).await), [(Accepted, "")]);
    assert_eq!(outcomes(&suite.ingest("app", vec![other.clone()]).await), [(Accepted, "")]);
    let conflict = suite.ingest("web", vec![other.clone()]).await;
    assert_eq!(outcomes(&conflict), [(Quarantined, "id_conflict")]);
    // What waits already is not put there a second time.
    let again = suite.ingest("web", vec![other.clone(), other]).await;
    let waits = (Duplicate, "already_quarantined");
    assert_eq!(outcomes(&again), [waits, waits]);
    assert_eq!(suite.counts("web").await, [4, 1, 2, 1, 0]);
}

#[tokio::test]
async fn an_integer_and_an_equal_double_are_different_bodies() {
    let suite = Suite::start().await;
    let with = |value| pb::Event { properties: [("n".to_owned(), value)].into(), ..event("a") };
    suite.ingest("web", vec![with(integer(2))]).await;
    let results = suite.ingest("web", vec![with(integer(2)), with(double(2.0))]).await;
    assert_eq!(outcomes(&results), [(Duplicate, ""), (Quarantined, "id_conflict")]);
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_refused_as_a_whole() {
    let suite = Suite::start().await;
    let batch = vec![event("a"); 10_001];
    let status = ingest(&suite.clients(), "web", batch).await.unwrap_err();
    assert_eq!(reason(&status), "BATCH_TOO_LARGE");

    let large = pb::Event {
        properties: [("x".to_owned(), text(&"x".repeat(50_000)))].into(),
        ..event("a")
    };
    let status = ingest(&suite.clients(), "web", vec![large; 90]).await.unwrap_err();
    assert_eq!(reason(&status), "BATCH_TOO_LARGE");
}

#[tokio::test]
async fn a_source_needs_a_name() {
    let suite = Suite::start().await;
    for source in ["", &"x".repeat(101)] {
        let status = ingest(&suite.clients(), source, vec![event("a")]).await.unwrap_err();
        assert_eq!(reason(&status), "INVALID_FIELD");
        assert_eq!(blamed_fields(&status), ["source"]);
    }
}

#[tokio::test]
async fn an_empty_batch_tells_where_the_log_ends() {
    let suite = Suite::start().await;
    suite.ingest("web", vec![event("a"), event("b")]).await;
    let response = ingest(&suite.clients(), "web", Vec::new()).await.unwrap();
    assert_eq!(response.log_position, 2);
    assert!(response.results.is_empty());
}

#[tokio::test]
async fn the_effective_time_corrects_skew_and_the_far_future() {
    let suite = Suite::start().await;
    let at = |id: &str, occurred, sent: Option<i64>| pb::Event {
        occurred_time: Some(minutes(occurred)),
        sent_time: sent.map(minutes),
        ..event(id)
    };
    suite
        .ingest(
            "web",
            vec![
                at("in transit", -10, Some(-4)),
                at("clock behind", -130, Some(-121)),
                at("clock ahead", 50, Some(61)),
                at("back-fill", -1_000_000, None),
                at("tomorrow", 24 * 60, None),
                at("next week", 7 * 24 * 60, None),
            ],
        )
        .await;
    let events = crate::subscribe::read_all(&suite.clients(), "reader", 6).await;
    let found: Vec<_> = events
        .iter()
        .map(|logged| {
            let event = logged.event.as_ref().unwrap();
            (event.message_id.as_str(), logged.effective_time.unwrap(), logged.correction())
        })
        .collect();
    assert_eq!(
        found,
        [
            ("in transit", minutes(-10), TimeCorrection::None),
            ("clock behind", minutes(-10), TimeCorrection::Skew),
            ("clock ahead", minutes(-10), TimeCorrection::Skew),
            ("back-fill", minutes(-1_000_000), TimeCorrection::None),
            ("tomorrow", minutes(24 * 60), TimeCorrection::None),
            ("next week", minutes(0), TimeCorrection::Clamped),
        ]
    );
    // What the client sent is kept.
    assert_eq!(events[1].event.as_ref().unwrap().occurred_time, Some(minutes(-130)));
    assert_eq!(events[1].received_time, Some(minutes(0)));
}

#[tokio::test]
async fn the_log_may_grow_over_the_end_of_a_partition() {
    let suite = Suite::start().await;
    // As after 20 million events less three.
    for statement in [
        "INSERT INTO ingestion.log_heads (project_id, position, identity_version)
         VALUES (1, 19999997, 0)",
        "INSERT INTO ingestion.key_runs (project_id, first_position, last_position, filter)
         VALUES (1, 1, 19999997, decode(repeat('00', 2097152), 'hex'))",
    ] {
        sqlx::query(statement).execute(suite.superuser()).await.unwrap();
    }
    let batch: Vec<_> = (0..10).map(|number| event(number.to_string())).collect();
    let results = suite.ingest("web", batch).await;
    assert_eq!(results[0].position, 19_999_998);
    assert_eq!(results[9].position, 20_000_007);
    let stored: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT tableoid::regclass::text, first_position, last_position
         FROM ingestion.event_blocks ORDER BY last_position",
    )
    .fetch_all(suite.superuser())
    .await
    .unwrap();
    let block = |partition: &str, first, last| (format!("ingestion.{partition}"), first, last);
    assert_eq!(
        stored,
        [
            block("event_blocks_000000", 19_999_998, 19_999_999),
            block("event_blocks_000001", 20_000_000, 20_000_007),
        ]
    );
    let events = crate::subscribe::read_from(&suite.clients(), "reader", 19_999_997, 10).await;
    let positions: Vec<i64> = events.iter().map(|event| event.position).collect();
    assert_eq!(positions, (19_999_998..=20_000_007).collect::<Vec<_>>());
}
