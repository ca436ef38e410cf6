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
