//! Consumer groups that follow the log.

use std::time::Duration;

use northstar_client::Clients;
use northstar_proto::ingestion::v1 as pb;
use tonic::{Status, Streaming};

use crate::suite::{Suite, blamed_fields, clients, event, ingest, integer, reason, text};

async fn subscribe(
    clients: &Clients,
    request: pb::SubscribeRequest,
) -> Result<Streaming<pb::SubscribeResponse>, Status> {
    clients.ingestion().subscribe(request).await.map(tonic::Response::into_inner)
}

fn group(name: &str) -> pb::SubscribeRequest {
    pb::SubscribeRequest { group: name.to_owned(), ..pb::SubscribeRequest::default() }
}

async fn commit(clients: &Clients, group: &str, position: i64) -> Result<i64, Status> {
    let request = pb::CommitCursorRequest { group: group.to_owned(), position };
    Ok(clients.ingestion().commit_cursor(request).await?.into_inner().position)
}

/// Reads so many events from the beginning.
pub async fn read_all(clients: &Clients, name: &str, events: usize) -> Vec<pb::LoggedEvent> {
    read(&mut subscribe(clients, group(name)).await.unwrap(), events).await
}

/// Reads so many events after a position.
pub async fn read_from(
    clients: &Clients,
    name: &str,
    after: i64,
    events: usize,
) -> Vec<pb::LoggedEvent> {
    let request = pb::SubscribeRequest { start_position: after, ..group(name) };
    read(&mut subscribe(clients, request).await.unwrap(), events).await
}

async fn read(
    stream: &mut Streaming<pb::SubscribeResponse>,
    events: usize,
) -> Vec<pb::LoggedEvent> {
    let mut found = Vec::new();
    while found.len() < events {
        let response = stream.message().await.unwrap().unwrap();
        found.extend(response.events);
    }
    found
}

fn ids(events: &[pb::LoggedEvent]) -> Vec<&str> {
    events.iter().map(|logged| logged.event.as_ref().unwrap().message_id.as_str()).collect()
}

#[tokio::test]
async fn an_event_arrives_as_it_was_sent() {
    let suite = Suite::start().await;
    let nested = pb::StructValue { fields: [("deep".to_owned(), integer(i64::MIN))].into() };
    let sent = pb::Event {
        anonymous_id: "phone".to_owned(),
        account_id: "acme".to_owned(),
        sent_time: Some(crate::suite::minutes(0)),
        sequence: 42,
        region: "eu".to_owned(),
        consent: Some(pb::Consent {
            granted_purposes: vec!["analytics".to_owned(), "support".to_owned()],
            denied_purposes: vec!["ads".to_owned()],
        }),
        properties: [
            ("nothing".to_owned(), pb::Value { kind: None }),
            ("nested".to_owned(), pb::Value { kind: Some(pb::value::Kind::StructValue(nested)) }),
            ("share".to_owned(), crate::suite::double(0.1)),
        ]
        .into(),
        ..event("a")
    };
    suite.ingest("web", vec![sent.clone()]).await;
    let events = read_all(&suite.clients(), "reader", 1).await;
    assert_eq!(events[0].event, Some(sent));
    assert_eq!(events[0].source, "web");
    assert_eq!(events[0].position, 1);
}

#[tokio::test]
async fn a_consumer_that_comes_back_continues_after_its_cursor() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    suite.ingest("web", (0..10).map(|number| event(number.to_string())).collect()).await;
    let request = pb::SubscribeRequest { max_batch_events: 3, ..group("g") };
    let mut stream = subscribe(&clients, request.clone()).await.unwrap();
    let response = stream.message().await.unwrap().unwrap();
    assert_eq!(ids(&response.events), ["0", "1", "2"]);
    assert_eq!(commit(&clients, "g", response.position).await.unwrap(), 3);
    // Handled, but not committed: it comes again.
    stream.message().await.unwrap().unwrap();
    drop(stream);
    let mut stream = subscribe(&clients, request).await.unwrap();
    assert_eq!(ids(&read(&mut stream, 7).await), ["3", "4", "5", "6", "7", "8", "9"]);
    // Another group has its own cursor.
    assert_eq!(read_all(&clients, "h", 10).await.len(), 10);
}

#[tokio::test]
async fn a_cursor_moves_forward_only_and_not_beyond_the_log() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    suite.ingest("web", (0..5).map(|number| event(number.to_string())).collect()).await;
    assert_eq!(commit(&clients, "g", 4).await.unwrap(), 4);
    assert_eq!(commit(&clients, "g", 2).await.unwrap(), 4);
    let status = commit(&clients, "g", 6).await.unwrap_err();
    assert_eq!(blamed_fields(&status), ["position"]);
}

#[tokio::test]
async fn a_group_that_starts_now_remembers_when_that_was() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    suite.ingest("web", vec![event("before")]).await;
    let request = pb::SubscribeRequest { start_position: -1, ..group("g") };
    drop(subscribe(&clients, request.clone()).await.unwrap());
    suite.ingest("web", vec![event("after")]).await;
    let mut stream = subscribe(&clients, request).await.unwrap();
    assert_eq!(ids(&read(&mut stream, 1).await), ["after"]);
}

#[tokio::test]
async fn only_what_the_filter_wants_is_sent_and_progress_is_told() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let with_seats = |id: &str, seats| pb::Event {
        properties: [("seats".to_owned(), integer(seats))].into(),
        ..event(id)
    };
    let batch = vec![with_seats("a", 3), event("b"), with_seats("c", 30), with_seats("d", 40)];
    suite.ingest("web", batch).await;
    suite.ingest("app", vec![with_seats("e", 50)]).await;
    let filter = "properties.seats > 10 && event.source == 'web'".to_owned();
    let mut stream =
        subscribe(&clients, pb::SubscribeRequest { filter, ..group("g") }).await.unwrap();
    let response = stream.message().await.unwrap().unwrap();
    assert_eq!(ids(&response.events), ["c", "d"]);
    assert_eq!(response.position, 5);

    let none = pb::SubscribeRequest { filter: "event.name == 'x'".to_owned(), ..group("h") };
    let mut stream = subscribe(&clients, none).await.unwrap();
    let response = stream.message().await.unwrap().unwrap();
    assert!(response.events.is_empty());
    assert_eq!(response.position, 5);
}

#[tokio::test]
async fn a_subscription_follows_the_log_of_every_process() {
    let suite = Suite::start().await;
    let other = suite.start_another().await;
    let mut stream = subscribe(&suite.clients(), group("g")).await.unwrap();
    for (number, host) in [&suite.host, &other, &suite.host].into_iter().enumerate() {
        let id = number.to_string();
        ingest(&clients(host), "web", vec![event(&id)]).await.unwrap();
        assert_eq!(ids(&read(&mut stream, 1).await), [id]);
    }
    other.stop().await.unwrap();
}

#[tokio::test]
async fn a_slow_consumer_holds_nobody_up() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let large = |id: String| pb::Event {
        properties: [("x".to_owned(), text(&"x".repeat(40_000)))].into(),
        ..event(id)
    };
    // 8 MB: far more than the buffers between the service and a consumer hold.
    for batch in 0..4 {
        let events = (0..50).map(|number| large(format!("{batch}/{number}"))).collect();
        suite.ingest("web", events).await;
    }
    let mut slow: Vec<Streaming<pb::SubscribeResponse>> = Vec::new();
    for number in 0..12 {
        // Each over a connection of its own, as from a process of its own.
        let group = group(&format!("slow {number}"));
        let mut stream = subscribe(&suite.clients(), group).await.unwrap();
        assert!(!stream.message().await.unwrap().unwrap().events.is_empty());
        slow.push(stream);
    }
    // There are more slow consumers than connections to the database.
    let results = suite.ingest("web", vec![event("quick")]).await;
    assert_eq!(results[0].position, 201);
    let quick = read_all(&clients, "quick", 201).await;
    assert_eq!(ids(&quick[200..]), ["quick"]);
}

#[tokio::test]
async fn a_subscription_that_makes_no_sense_is_refused() {
    let suite = Suite::start().await;
    let clients = suite.clients();
    let refused =
        async |request: pb::SubscribeRequest| subscribe(&clients, request).await.err().unwrap();
    assert_eq!(blamed_fields(&refused(group("")).await), ["group"]);
    let status = refused(pb::SubscribeRequest { start_position: -2, ..group("g") }).await;
    assert_eq!(blamed_fields(&status), ["start_position"]);
    let status = refused(pb::SubscribeRequest { max_batch_events: 10_001, ..group("g") }).await;
    assert_eq!(blamed_fields(&status), ["max_batch_events"]);
    let filter = "properties.plan = 'pro'".to_owned();
    let status = refused(pb::SubscribeRequest { filter, ..group("g") }).await;
    assert_eq!(reason(&status), "INVALID_EXPRESSION");
}

#[tokio::test]
async fn a_stopping_process_sends_its_consumers_elsewhere() {
    let suite = Suite::start().await;
    let mut stream = subscribe(&suite.clients(), group("g")).await.unwrap();
    let stopping = tokio::spawn(suite.host.stop());
    let status = tokio::time::timeout(Duration::from_secs(30), stream.message()).await.unwrap();
    assert_eq!(reason(&status.unwrap_err()), "DRAINING");
    stopping.await.unwrap().unwrap();
}
