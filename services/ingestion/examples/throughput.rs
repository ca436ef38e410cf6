//! How many events a second one process takes in, client and Postgres on the same
//! machine: `cargo run --release -p northstar-ingestion --example throughput`.
//!
//! Arguments: events, events per batch, requests in flight. The database is
//! `DATABASE_URL`, migrated, and keeps the events; the source is new each time.

#![expect(clippy::print_stdout, reason = "it reports to the terminal")]

use std::time::Instant;

use anyhow::Context as _;
use futures::StreamExt as _;
use northstar_ingestion::{Config, build};
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Host;
use pb::value::Kind;

const KEY: &str = "throughput-example-key";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default: usize| -> anyhow::Result<usize> {
        arguments.next().map_or(Ok(default), |text| Ok(text.parse()?))
    };
    let (events, batch, in_flight) = (argument(500_000)?, argument(2_000)?, argument(8)?);
    let database = std::env::var("DATABASE_URL").context("set DATABASE_URL")?;
    let config = northstar_server::Config::for_tests(&database, KEY, "unused".into());
    let host =
        Host::start(config, async |context| Ok(vec![build(Config::default(), context).await?]))
            .await?;
    let clients = host.clients(KEY)?.for_project(1);

    let run = chrono::Utc::now().timestamp_micros();
    let now = prost_types::Timestamp { seconds: chrono::Utc::now().timestamp(), nanos: 0 };
    let start = Instant::now();
    let answers = futures::stream::iter((0..events).step_by(batch)).map(|first| {
        let mut ingestion = clients.ingestion();
        async move {
            let request = pb::IngestEventsRequest {
                source: format!("throughput {run}"),
                events: (first..(first + batch).min(events)).map(|n| event(n, now)).collect(),
            };
            let results = ingestion.ingest_events(request).await?.into_inner().results;
            let accepted =
                |result: &&pb::EventResult| result.outcome() == pb::EventOutcome::Accepted;
            anyhow::Ok(results.iter().filter(accepted).count())
        }
    });
    let mut answers = answers.buffer_unordered(in_flight);
    let mut accepted = 0;
    while let Some(answer) = answers.next().await {
        accepted += answer?;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{accepted} accepted in {seconds:.2} s: {:.0} events/s", accepted as f64 / seconds);
    host.stop().await
}

/// An event of some 300 bytes, as a web shop sends them.
fn event(number: usize, now: prost_types::Timestamp) -> pb::Event {
    let text = |text: String| pb::Value { kind: Some(Kind::StringValue(text)) };
    pb::Event {
        message_id: format!("message-{number:012}"),
        name: "Order Completed".to_owned(),
        user_id: format!("user-{}", number % 20_000),
        anonymous_id: format!("device-{}", number % 30_000),
        occurred_time: Some(now),
        properties: [
            ("plan".to_owned(), text("professional".to_owned())),
            ("country".to_owned(), text(format!("country-{}", number % 40))),
            ("page".to_owned(), text(format!("/products/{}", number % 500))),
            ("seats".to_owned(), pb::Value { kind: Some(Kind::IntValue(12)) }),
            ("amount".to_owned(), pb::Value { kind: Some(Kind::DoubleValue(99.5)) }),
        ]
        .into(),
        ..pb::Event::default()
    }
}
