//! Whoever stands still, and whoever never stops, is no trouble to the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use northstar_proto::ingestion::v1 as pb;
use pb::EventOutcome;
use tokio_stream::wrappers::ReceiverStream;
use tonic_types::StatusExt as _;

use crate::load::event;
use crate::stage::{PATIENCE, Stage, ingest};

/// What a process may take at most, unoptimised: the queue, what is being decoded, and the program itself.
const MOST_MEBIBYTES: u64 = 300;

/// A batch of about a megabyte.
fn large_batch(number: i64) -> Vec<pb::Event> {
    let filler = pb::Value { kind: Some(pb::value::Kind::StringValue("x".repeat(10_000))) };
    (0..100)
        .map(|at| {
            let mut event = event(format!("{number}/{at}"), at);
            event.properties.insert("filler".to_owned(), filler.clone());
            event
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_stands_still_what_waits_is_bounded_and_the_rest_is_refused() {
    const REQUESTS: usize = 40;
    let stage = Stage::start_with(&[("NORTHSTAR_INGESTION_QUEUE_MEBIBYTES", "8")]).await;
    ingest(&stage.clients(), "web", vec![event("first".to_owned(), 0)]).await.expect("an answer");
    stage.signal_postgres("STOP");
    let refused = Arc::new(AtomicUsize::new(0));
    let requests: Vec<_> = (0..REQUESTS)
        .map(|number| {
            let (clients, refused) = (stage.clients(), Arc::clone(&refused));
            tokio::spawn(async move {
                let result = ingest(&clients, "web", large_batch(number as i64)).await;
                refused.fetch_add(usize::from(result.is_err()), Ordering::SeqCst);
                (number, result)
            })
        })
        .collect();
    // Eight megabytes wait, and the transaction that is being written; the others are told at once.
    let waited = tokio::time::timeout(PATIENCE, async {
        while refused.load(Ordering::SeqCst) < REQUESTS / 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let bounded = waited.await;
    stage.signal_postgres("CONT");
    assert!(bounded.is_ok(), "{} requests were refused", refused.load(Ordering::SeqCst));

    let mut again = Vec::new();
    for request in requests {
        match request.await.expect("a request ends") {
            (number, Err(status)) => {
                let details = status.get_error_details();
                let reason =
                    details.error_info().map(|info| info.reason.as_str()).unwrap_or_default();
                let honest = ["ERROR_REASON_OVERLOADED", "ERROR_REASON_DEPENDENCY_UNAVAILABLE"];
                assert!(honest.contains(&reason), "{status:?}");
                assert!(details.retry_info().is_some(), "{status:?}");
                again.push(number);
            }
            (_, Ok(response)) => {
                let accepted =
                    |result: &pb::EventResult| result.outcome() == EventOutcome::Accepted;
                assert!(response.results.iter().all(accepted));
            }
        }
    }
    // Nothing waits any more, so what was refused is taken now.
    for number in again {
        let response = ingest(&stage.clients(), "web", large_batch(number as i64)).await;
        let results = response.expect("an answer").results;
        assert!(results.iter().all(|result| result.position > 0), "request {number}");
    }
    if let Some(peak) = stage.peak_mebibytes() {
        assert!(peak < MOST_MEBIBYTES, "{peak} MiB");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_that_never_stop_and_never_listen_do_not_hold_up_others() {
    let stage = Stage::start().await;
    let floods: Vec<_> = (0..3)
        .map(|number| {
            let clients = stage.clients();
            tokio::spawn(async move {
                let (requests, outgoing) = tokio::sync::mpsc::channel(4);
                let answers =
                    clients.ingestion().stream_events(ReceiverStream::new(outgoing)).await;
                // Kept, so that the stream stays open, and never read.
                let _answers = answers.expect("a stream");
                for sequence in 1.. {
                    let events = (0..50)
                        .map(|at| event(format!("{sequence}/{at}"), sequence * 50 + at))
                        .collect();
                    let source = format!("flood {number}");
                    let request =
                        pb::StreamEventsRequest { sequence, source, events, ..Default::default() };
                    if requests.send(request).await.is_err() {
                        break;
                    }
                }
            })
        })
        .collect();
    let mut consumer = {
        let filter = "event.source == 'web'".to_owned();
        let group = pb::SubscribeRequest { group: "web".to_owned(), filter, ..Default::default() };
        stage.clients().ingestion().subscribe(group).await.expect("a subscription").into_inner()
    };
    for number in 0..30 {
        let sent = event(number.to_string(), number);
        let response =
            ingest(&stage.clients(), "web", vec![sent.clone()]).await.expect("an answer");
        assert_eq!(response.results[0].outcome(), EventOutcome::Accepted);
        let seen = tokio::time::timeout(PATIENCE, async {
            loop {
                let response =
                    consumer.message().await.expect("a message").expect("an endless stream");
                if let Some(logged) = response.events.into_iter().next() {
                    return logged.event;
                }
            }
        });
        assert_eq!(seen.await.expect("an event"), Some(sent));
    }
    assert!(floods.iter().all(|flood| !flood.is_finished()), "a producer was cut off");
    floods.iter().for_each(tokio::task::JoinHandle::abort);
    if let Some(peak) = stage.peak_mebibytes() {
        assert!(peak < MOST_MEBIBYTES, "{peak} MiB");
    }
    stage.stop().await;
}
