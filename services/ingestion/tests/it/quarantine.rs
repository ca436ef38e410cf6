//! What waits in quarantine, whole.

use northstar_proto::ingestion::v1 as pb;
use pb::EventOutcome::{Accepted, Duplicate, Quarantined, Rejected};

use crate::suite::{Suite, event, outcomes, reason};

async fn list(
    suite: &Suite,
    request: pb::ListQuarantinedEventsRequest,
) -> pb::ListQuarantinedEventsResponse {
    let response = suite.clients().ingestion().list_quarantined_events(request).await;
    response.unwrap().into_inner()
}

fn row(message_id: &str, raw: &str) -> pb::MalformedRecord {
    pb::MalformedRecord {
        message_id: message_id.to_owned(),
        raw: raw.as_bytes().to_vec(),
        reason: "invalid_timestamp".to_owned(),
        field: "time".to_owned(),
        message: "orders.csv:17".to_owned(),
    }
}

#[tokio::test]
async fn a_quarantined_event_is_kept_whole() {
    let suite = Suite::start().await;
    let other = pb::Event { sequence: 7, account_id: "acme".to_owned(), ..event("a") };
    suite.ingest("web", vec![event("a"), other.clone()]).await;
    let listed = list(&suite, pb::ListQuarantinedEventsRequest::default()).await;
    assert_eq!(listed.counts_by_reason, [("id_conflict".to_owned(), 1)].into());
    let [found] = listed.events.as_slice() else { panic!("{listed:?}") };
    assert_eq!(found.event, Some(other));
    assert_eq!(found.source, "web");
    assert_eq!(found.field, "message_id");
    assert_eq!(found.state(), pb::QuarantineState::Open);
}

#[tokio::test]
async fn records_that_are_no_events_are_kept_once_and_counted() {
    let suite = Suite::start().await;
    let mut ingestion = suite.clients().ingestion();
    let request = |records| pb::QuarantineRecordsRequest { source: "orders".to_owned(), records };
    let shouting = pb::MalformedRecord { reason: "Not OK".to_owned(), ..row("c", "x") };
    let records = vec![row("a", "1,yesterday"), row("b", "2,"), row("a", "1,yesterday"), shouting];
    let first = ingestion.quarantine_records(request(records.clone())).await.unwrap();
    let kept = (Quarantined, "invalid_timestamp");
    let known = (Duplicate, "already_quarantined");
    let refused = (Rejected, "invalid_reason");
    assert_eq!(outcomes(&first.into_inner().results), [kept, kept, known, refused]);
    let again = ingestion.quarantine_records(request(records)).await.unwrap();
    assert_eq!(outcomes(&again.into_inner().results), [known, known, known, refused]);
    assert_eq!(suite.counts("orders").await, [8, 0, 4, 2, 2]);

    let listed = list(&suite, pb::ListQuarantinedEventsRequest::default()).await;
    let raw: Vec<_> = listed.events.iter().map(|event| event.raw.as_slice()).collect();
    assert_eq!(raw, [b"1,yesterday".as_slice(), b"2,"]);
    assert_eq!(listed.events[0].message, "orders.csv:17");

    let too_many = ingestion.quarantine_records(request(vec![row("a", ""); 10_001])).await;
    assert_eq!(reason(&too_many.unwrap_err()), "BATCH_TOO_LARGE");
}

#[tokio::test]
async fn the_same_message_id_may_be_fixed_by_its_producer() {
    let suite = Suite::start().await;
    let records = vec![row("a", "1,yesterday")];
    let request = pb::QuarantineRecordsRequest { source: "orders".to_owned(), records };
    suite.clients().ingestion().quarantine_records(request).await.unwrap();
    assert_eq!(outcomes(&suite.ingest("orders", vec![event("a")]).await), [(Accepted, "")]);
}

#[tokio::test]
async fn quarantine_is_read_page_by_page_and_by_reason() {
    let suite = Suite::start().await;
    for source in ["web", "app"] {
        let conflicts = (0..5).map(|number| pb::Event { sequence: number, ..event("a") });
        suite.ingest(source, conflicts.collect()).await;
    }
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListQuarantinedEventsRequest {
            page_size: 3,
            page_token,
            reason: "id_conflict".to_owned(),
            source: String::new(),
        };
        let page = list(&suite, request).await;
        assert_eq!(page.counts_by_reason["id_conflict"], 8);
        found.extend(page.events.into_iter().map(|event| event.quarantine_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(found.len(), 8);
    assert!(found.is_sorted());
    let of_web =
        pb::ListQuarantinedEventsRequest { source: "web".to_owned(), ..Default::default() };
    assert_eq!(list(&suite, of_web).await.events.len(), 4);
    let of_none =
        pb::ListQuarantinedEventsRequest { reason: "other".to_owned(), ..Default::default() };
    assert_eq!(list(&suite, of_none).await, pb::ListQuarantinedEventsResponse::default());
}
