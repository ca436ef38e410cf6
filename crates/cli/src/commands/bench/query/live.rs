//! Asking while new events arrive.

use std::time::{Duration, Instant};

use northstar_client::Clients;
use northstar_client::columns::ColumnsBuilder;
use northstar_proto::ingestion::v1 as pb;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::child::Service;
use super::super::events::Generator;
use super::super::postgres::Latencies;
use super::data::push_made;
use super::questions::{self, Question};

/// Batches of a second, and events of a batch.
const BATCHES: u64 = 10;
const BATCH: u64 = 100;
/// Numbers of the new events, which no other event has.
const FIRST: u64 = 1 << 41;

/// Asks every question so many times, in turns.
pub(super) async fn ask_all(clients: &Clients, rounds: usize) -> anyhow::Result<Latencies> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        for question in Question::ALL {
            times.push(questions::ask(clients, question).await?.0);
        }
    }
    Ok(Latencies::new(times))
}

/// Events that arrive at a steady rate; ends when it is told to, with how many
/// were sent and how long that took.
pub(super) struct Arrivals {
    stop: CancellationToken,
    sending: JoinHandle<anyhow::Result<(u64, Duration)>>,
}

impl Arrivals {
    pub(super) fn start(service: &Service, seed: u64) -> anyhow::Result<Self> {
        let clients = service.clients()?;
        let stop = CancellationToken::new();
        let sending = tokio::spawn(send(clients, Generator::new(seed), stop.clone()));
        Ok(Self { stop, sending })
    }

    /// Events a second that were answered as stored.
    pub(super) async fn stop(self) -> anyhow::Result<f64> {
        self.stop.cancel();
        let (events, took) = self.sending.await??;
        Ok(events as f64 / took.as_secs_f64())
    }
}

async fn send(
    clients: Clients,
    generator: Generator,
    stop: CancellationToken,
) -> anyhow::Result<(u64, Duration)> {
    let mut ingestion = clients.ingestion();
    let mut ticks = tokio::time::interval(Duration::from_millis(1_000 / BATCHES));
    let (start, mut sent) = (Instant::now(), 0);
    while !stop.is_cancelled() {
        ticks.tick().await;
        let mut columns = ColumnsBuilder::default();
        for number in FIRST + sent..FIRST + sent + BATCH {
            push_made(&generator.distinct(number), &mut columns);
        }
        let columns = Some(columns.finish());
        let request = pb::IngestColumnsRequest { source: "bench-live".to_owned(), columns };
        ingestion.ingest_columns(request).await?;
        sent += BATCH;
    }
    Ok((sent, start.elapsed()))
}
