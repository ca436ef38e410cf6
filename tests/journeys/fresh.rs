//! A KPI answer includes every event acknowledged before the question was asked.

use northstar_client::Clients;
use northstar_domain::Role;
use northstar_proto::ingestion::v1 as ingestion;
use northstar_proto::metrics::v1 as metrics;
use northstar_tests::Suite;

const WRITERS: i64 = 4;
const ROUNDS: i64 = 15;
const EVENTS: i64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_question_covers_everything_acknowledged_before_it() {
    let suite = Suite::start().await;
    let clients = suite.clients("writer", Role::Admin).await;
    define(&clients).await;

    let writers = (0..WRITERS).map(|writer| {
        let clients = clients.clone();
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                write(&clients, writer, round).await;
                // Only this writer writes for its user, so it knows the least
                // that the answer must hold, and the most.
                let found = count(&clients, &format!("event.user_id == 'user-{writer}'")).await;
                assert_eq!(found, (round + 1) * EVENTS, "writer {writer}, round {round}");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("every answer was fresh");
    }
    assert_eq!(count(&clients, "").await, WRITERS * ROUNDS * EVENTS);
    suite.stop().await;
}

async fn define(clients: &Clients) {
    let count = metrics::CountMetric {
        event: Some(metrics::EventSelector { event: "Clicked".to_owned(), filter: String::new() }),
    };
    let metric = metrics::Metric {
        name: "clicks".to_owned(),
        definition: Some(metrics::metric::Definition::Count(count)),
        ..metrics::Metric::default()
    };
    let request = metrics::ApplyMetricRequest { metric: Some(metric), ..Default::default() };
    clients.metrics().apply_metric(request).await.expect("the metric is valid");
}

async fn write(clients: &Clients, writer: i64, round: i64) {
    let events = (0..EVENTS).map(|event| ingestion::Event {
        message_id: format!("{writer}-{round}-{event}"),
        name: "Clicked".to_owned(),
        user_id: format!("user-{writer}"),
        occurred_time: Some(prost_types::Timestamp { seconds: 1_767_571_200 + event, nanos: 0 }),
        ..ingestion::Event::default()
    });
    let request =
        ingestion::IngestEventsRequest { source: "web".to_owned(), events: events.collect() };
    let response = clients.ingestion().ingest_events(request).await.expect("ingestion answers");
    for result in response.into_inner().results {
        assert_eq!(result.outcome(), ingestion::EventOutcome::Accepted);
    }
}

async fn count(clients: &Clients, filter: &str) -> i64 {
    let request = metrics::QueryMetricRequest {
        metric: "clicks".to_owned(),
        start_time: Some(prost_types::Timestamp { seconds: 1_767_571_200, nanos: 0 }),
        end_time: Some(prost_types::Timestamp { seconds: 1_767_657_600, nanos: 0 }),
        filter: filter.to_owned(),
        ..Default::default()
    };
    let answer = clients.metrics().query_metric(request).await.expect("metrics answers");
    answer.into_inner().rows.first().and_then(|row| row.value).unwrap_or_default() as i64
}
