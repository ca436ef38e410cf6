//! Batches as columns: the same events as ever, whichever call they come by.

use northstar_client::columns::ColumnsBuilder;
use northstar_client::result_runs::expand;
use northstar_proto::ingestion::v1 as pb;
use pb::EventOutcome::{Accepted, Duplicate, Quarantined, Rejected};
use tokio_stream::StreamExt as _;
use tonic::Status;

use crate::suite::{Suite, blamed_fields, double, event, integer, outcomes, reason};

fn columns(events: &[pb::Event]) -> Option<pb::EventColumns> {
    let mut columns = ColumnsBuilder::default();
    for event in events {
        columns.push_event(event);
    }
    Some(columns.finish())
}

async fn ingest(
    suite: &Suite,
    columns: Option<pb::EventColumns>,
) -> Result<Vec<pb::ResultRun>, Status> {
    let request = pb::IngestColumnsRequest { source: "web".to_owned(), columns };
    let answer = suite.clients().ingestion().ingest_columns(request).await?;
    Ok(answer.into_inner().result_runs)
}

/// Events with every kind of value.
fn events() -> Vec<pb::Event> {
    let list = pb::ListValue { values: vec![integer(1), double(2.0), pb::Value::default()] };
    let mut events: Vec<pb::Event> = (0..50).map(|number| event(format!("m{number}"))).collect();
    for (number, event) in events.iter_mut().enumerate() {
        event.anonymous_id = format!("d{}", number % 7);
        event.sequence = number as i64;
        event.properties.insert("seats".to_owned(), integer(number as i64 % 3));
        if number % 2 == 0 {
            event.properties.insert("price".to_owned(), double(9.5));
            let kind = Some(pb::value::Kind::ListValue(list.clone()));
            event.properties.insert("list".to_owned(), pb::Value { kind });
        }
    }
    events
}

#[tokio::test]
async fn an_event_is_the_same_whichever_call_it_comes_by() {
    let suite = Suite::start().await;
    let runs = ingest(&suite, columns(&events())).await.unwrap();
    assert_eq!(runs.len(), 1, "fifty accepted events are one run");
    let accepted: Vec<_> = expand(runs).collect();
    assert!(accepted.iter().all(|result| result.outcome() == Accepted));
    assert_eq!(
        accepted.iter().map(|result| result.position).collect::<Vec<_>>(),
        (1..=50).collect::<Vec<_>>()
    );

    let again = suite.ingest("web", events()).await;
    assert!(again.iter().all(|result| result.outcome() == Duplicate), "{again:?}");
    let runs = ingest(&suite, columns(&events())).await.unwrap();
    assert_eq!(runs.len(), 1);
    assert!(expand(runs).all(|result| result.outcome() == Duplicate));
    assert_eq!(suite.counts("web").await, [150, 50, 100, 0, 0]);

    let request = pb::SubscribeRequest { group: "g".to_owned(), ..Default::default() };
    let mut log = suite.clients().ingestion().subscribe(request).await.unwrap().into_inner();
    let read: Vec<_> =
        log.next().await.unwrap().unwrap().events.into_iter().filter_map(|e| e.event).collect();
    assert_eq!(read, events());
}

#[tokio::test]
async fn every_event_of_columns_has_its_own_outcome() {
    let suite = Suite::start().await;
    let first = event("taken");
    suite.ingest("web", vec![first.clone()]).await;
    let nameless = pb::Event { name: String::new(), ..event("b") };
    let timeless = pb::Event { occurred_time: None, ..event("c") };
    let conflict = pb::Event { user_id: "another".to_owned(), ..first };
    let batch = [event("a"), nameless, timeless, conflict.clone(), event("d")];
    let results: Vec<_> = expand(ingest(&suite, columns(&batch)).await.unwrap()).collect();
    assert_eq!(
        outcomes(&results),
        [
            (Accepted, ""),
            (Rejected, "missing_name"),
            (Rejected, "missing_occurred_time"),
            (Quarantined, "id_conflict"),
            (Accepted, ""),
        ]
    );
    let request = pb::ListQuarantinedEventsRequest::default();
    let waiting = suite.clients().ingestion().list_quarantined_events(request).await.unwrap();
    assert_eq!(waiting.into_inner().events[0].event, Some(conflict));
}

#[tokio::test]
async fn columns_that_do_not_fit_store_nothing() {
    let suite = Suite::start().await;
    let mut short = columns(&events());
    if let Some(names) = short.as_mut().and_then(|columns| columns.names.as_mut()) {
        names.codes.pop();
    }
    let status = ingest(&suite, short).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_FIELD");
    assert_eq!(blamed_fields(&status), ["columns.names.codes"]);

    let long = pb::Event { user_id: "u".repeat(190), ..event("long") };
    let bomb: Vec<_> = (0..10_000)
        .map(|number| pb::Event {
            message_id: number.to_string(),
            account_id: "a".repeat(199),
            properties: [("k".repeat(99), integer(1)), ("l".repeat(99), integer(1))].into(),
            ..long.clone()
        })
        .collect();
    let status = ingest(&suite, columns(&bomb)).await.unwrap_err();
    assert_eq!(reason(&status), "BATCH_TOO_LARGE");
    assert_eq!(ingest(&suite, columns(&[])).await.unwrap(), []);
    assert_eq!(ingest(&suite, None).await.unwrap(), []);
    assert_eq!(suite.counts("web").await, [0; 5]);
}

#[tokio::test]
async fn a_stream_carries_columns_beside_events() {
    let suite = Suite::start().await;
    let request = |sequence, events: Vec<pb::Event>, columns| pb::StreamEventsRequest {
        sequence,
        source: "web".to_owned(),
        events,
        columns,
    };
    // One after the other: what is in flight together may be written in any order.
    let (requests, sent) = tokio::sync::mpsc::channel(1);
    requests.send(request(1, Vec::new(), columns(&events()))).await.unwrap();
    let sent = tokio_stream::wrappers::ReceiverStream::new(sent);
    let opened = suite.clients().ingestion().stream_events(sent).await;
    let mut answers = opened.unwrap().into_inner();
    let first = answers.next().await.unwrap().unwrap();
    assert_eq!((first.results.len(), first.result_runs.len()), (0, 1));
    assert_eq!(first.result_runs[0].event_count, 50);
    requests.send(request(2, events(), None)).await.unwrap();
    let second = answers.next().await.unwrap().unwrap();
    assert!(second.results.iter().all(|result| result.outcome() == Duplicate));
    requests.send(request(3, vec![event("x")], columns(&events()))).await.unwrap();
    let status = answers.next().await.unwrap().unwrap_err();
    assert_eq!(blamed_fields(&status), ["columns"]);
}
