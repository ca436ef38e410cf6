//! An answer covers every event acknowledged before the question was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use northstar_metrics::Config;
use northstar_proto::metrics::v1 as pb;

use crate::suite::{Suite, count, event, ingest, question};

const WRITERS: usize = 4;
const BATCHES: usize = 25;

fn visits(writer: usize, batch: usize) -> Vec<northstar_proto::ingestion::v1::Event> {
    let events = 1 + (writer * 31 + batch * 17) % 40;
    (0..events)
        .map(|n| event("Visited", &format!("user-{writer}-{n}"), "2026-03-02T09:00:00Z"))
        .map(crate::suite::Event::into_proto)
        .collect()
}

/// Four writers send batches. Right after each acknowledgement its writer asks
/// how many events there are: all that anybody had acknowledged by then must be
/// counted. Meanwhile the tail becomes segments as fast as it can.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_covers_every_event_acknowledged_before_the_question() {
    let eager = Config {
        metrics_compact_events: 50.try_into().unwrap(),
        metrics_follow_seconds: 1,
        ..Config::default()
    };
    let suite = Arc::new(Suite::start_with(eager).await);
    suite.metric("visits", count("Visited")).await;
    let acknowledged = Arc::new(AtomicI64::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (suite, acknowledged) = (Arc::clone(&suite), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                for batch in 0..BATCHES {
                    let sent = ingest(&suite.producer, visits(writer, batch)).await;
                    let before = acknowledged.fetch_add(sent, Ordering::SeqCst) + sent;
                    let answer =
                        suite.query(question("visits", "2026-03-01", "2026-04-01")).await.unwrap();
                    let counted = answer.rows[0].value.unwrap();
                    assert!(counted >= before as f64, "{counted} of at least {before} events");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let sent = acknowledged.load(Ordering::SeqCst);
    let answer = suite.query(question("visits", "2026-03-01", "2026-04-01")).await.unwrap();
    assert_eq!(answer.rows[0].value, Some(sent as f64));
    assert_eq!(answer.provenance.unwrap().log_position, sent);
}

/// A duplicate is acknowledged too, and is counted once.
#[tokio::test]
async fn an_event_sent_twice_is_counted_once() {
    let suite = Suite::start().await;
    suite.metric("visits", count("Visited")).await;
    let events = visits(0, 0);
    let sent = ingest(&suite.producer, events.clone()).await;
    let request =
        northstar_proto::ingestion::v1::IngestEventsRequest { source: "web".to_owned(), events };
    suite.producer.ingestion().ingest_events(request).await.unwrap();
    let request: pb::QueryMetricRequest = question("visits", "2026-03-01", "2026-04-01");
    let answer = suite.query(request).await.unwrap();
    assert_eq!(answer.rows[0].value, Some(sent as f64));
}
