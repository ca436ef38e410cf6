//! Long streams with many requests in flight.

use northstar_proto::ingestion::v1 as pb;
use pb::EventOutcome::{Accepted, Duplicate};
use tokio_stream::StreamExt as _;

use crate::suite::{Suite, event, reason};

fn request(sequence: i64, events: usize) -> pb::StreamEventsRequest {
    pb::StreamEventsRequest {
        sequence,
        source: "web".to_owned(),
        events: (0..events).map(|number| event(format!("{sequence}/{number}"))).collect(),
        ..pb::StreamEventsRequest::default()
    }
}

#[tokio::test]
async fn every_request_of_a_stream_is_answered_in_order_and_once() {
    let suite = Suite::start().await;
    let mut ingestion = suite.clients().ingestion();
    for outcome in [Accepted, Duplicate] {
        let requests = tokio_stream::iter((0..100).map(|sequence| request(sequence, 20)));
        let mut answers = ingestion.stream_events(requests).await.unwrap().into_inner();
        let mut sequences = Vec::new();
        while let Some(answer) = answers.next().await {
            let answer = answer.unwrap();
            assert_eq!(answer.results.len(), 20);
            assert!(answer.results.iter().all(|result| result.outcome() == outcome));
            assert!(answer.results.iter().all(|result| result.position <= answer.log_position));
            sequences.push(answer.sequence);
        }
        assert_eq!(sequences, (0..100).collect::<Vec<_>>());
    }
    assert_eq!(suite.counts("web").await, [4000, 2000, 2000, 0, 0]);
}

#[tokio::test]
async fn a_stream_ends_at_a_request_that_can_never_be_taken() {
    let suite = Suite::start().await;
    let requests = tokio_stream::iter([request(1, 1), request(2, 10_001), request(3, 1)]);
    let response = suite.clients().ingestion().stream_events(requests).await.unwrap();
    let mut answers = response.into_inner();
    assert_eq!(answers.next().await.unwrap().unwrap().sequence, 1);
    let status = answers.next().await.unwrap().unwrap_err();
    assert_eq!(reason(&status), "BATCH_TOO_LARGE");
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn a_stopping_process_answers_what_it_took_and_ends_the_stream() {
    let suite = Suite::start().await;
    let mut ingestion = suite.clients().ingestion();
    let (requests, outgoing) = tokio::sync::mpsc::channel(4);
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let mut answers = ingestion.stream_events(outgoing).await.unwrap().into_inner();
    requests.send(request(1, 5)).await.unwrap();
    assert_eq!(answers.next().await.unwrap().unwrap().sequence, 1);
    let stopping = tokio::spawn(suite.host.stop());
    let status = answers.next().await.unwrap().unwrap_err();
    assert_eq!(reason(&status), "DRAINING");
    stopping.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_read_either() {
    const REQUESTS: i64 = 200;
    let suite = Suite::start().await;
    // Each answer is larger than what a connection lets pass unread.
    let nameless = |number: i64| {
        let mut request = request(number, 1_000);
        for event in &mut request.events {
            event.name.clear();
        }
        request
    };
    let (requests, outgoing) = tokio::sync::mpsc::channel(1);
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let opened = suite.clients().ingestion().stream_events(outgoing).await;
    let mut answers = opened.unwrap().into_inner();
    let sending = tokio::spawn(async move {
        for number in 1..=REQUESTS {
            requests.send(nameless(number)).await.unwrap();
        }
    });
    // Others are served meanwhile.
    for number in 0..50 {
        let results = suite.ingest("other", vec![event(number.to_string())]).await;
        assert_eq!(results[0].outcome(), Accepted);
    }
    let [received, ..] = suite.counts("web").await;
    assert!(received < 100_000, "{received} events were taken from a client that does not read");

    for sequence in 1..=REQUESTS {
        let answer = answers.next().await.unwrap().unwrap();
        assert_eq!((answer.sequence, answer.results.len()), (sequence, 1_000));
    }
    sending.await.unwrap();
    assert_eq!(suite.counts("web").await, [200_000, 0, 0, 0, 200_000]);
}
