//! Clients that send as fast as they are answered.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use northstar_client::Clients;
use northstar_client::columns::ColumnsBuilder;
use northstar_client::result_runs::expand;
use northstar_proto::ingestion::v1 as pb;
use northstar_proto::metrics::v1 as metrics;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use super::child::Service;
use super::events::Generator;
use super::postgres::Latencies;
use crate::output;

/// Unanswered requests of a stream.
const WINDOW: usize = 4;
/// Name of the metric that is asked until an event is visible.
const METRIC: &str = "bench-events";

/// A way into Northstar.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Door {
    /// IngestEvents.
    Map,
    /// IngestColumns.
    Columns,
    /// StreamEvents with events.
    Stream,
    /// StreamEvents with columns.
    StreamColumns,
    /// The Segment tracking API over HTTP, `/v1/batch`.
    Segment,
}

impl Door {
    pub(super) const ALL: [Self; 5] =
        [Self::Map, Self::Columns, Self::Stream, Self::StreamColumns, Self::Segment];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Columns => "columns",
            Self::Stream => "stream",
            Self::StreamColumns => "stream-columns",
            Self::Segment => "segment",
        }
    }

    /// Most events of a request. Segment takes 500 KB.
    pub(super) fn most_events(self) -> u64 {
        match self {
            Self::Map | Self::Columns | Self::Stream | Self::StreamColumns => 10_000,
            Self::Segment => 1_000,
        }
    }
}

impl std::fmt::Display for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is sent.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) door: Door,
    pub(super) clients: usize,
    /// Events of a request.
    pub(super) batch: u64,
    /// Number of the first event.
    pub(super) first: u64,
    pub(super) events: u64,
    pub(super) source: String,
}

/// How it went.
#[derive(Debug)]
pub(super) struct Done {
    events: u64,
    pub(super) took: Duration,
    /// Of requests, from sent to answered.
    pub(super) latencies: Latencies,
}

impl Done {
    pub(super) fn per_second(&self) -> f64 {
        self.events as f64 / self.took.as_secs_f64()
    }
}

/// A request that is made before the clock runs.
#[derive(Clone, Debug)]
enum Payload {
    Map(Vec<pb::Event>),
    Columns(Box<pb::EventColumns>),
    Segment(String),
}

/// Requests that wait, shared by the clients.
type Waiting = Arc<Mutex<VecDeque<(usize, Payload)>>>;

/// Sends a load. Every event must be answered as stored.
pub(super) async fn run(
    service: &Service,
    generator: &Generator,
    load: &Load,
) -> anyhow::Result<Done> {
    send(service, load, prepare(generator, load)).await
}

/// Sends columns that were made before, by one stream.
pub(super) async fn send_columns(
    service: &Service,
    source: &str,
    batches: Vec<(usize, pb::EventColumns)>,
) -> anyhow::Result<Done> {
    let events = batches.iter().map(|(count, _)| *count as u64).sum();
    let load = Load {
        door: Door::StreamColumns,
        clients: 1,
        batch: 0,
        first: 0,
        events,
        source: source.to_owned(),
    };
    let payloads = batches
        .into_iter()
        .map(|(count, columns)| (count, Payload::Columns(Box::new(columns))))
        .collect();
    send(service, &load, payloads).await
}

async fn send(
    service: &Service,
    load: &Load,
    payloads: VecDeque<(usize, Payload)>,
) -> anyhow::Result<Done> {
    let waiting: Waiting = Arc::new(Mutex::new(payloads));
    let mut senders = JoinSet::new();
    let mut clients = Vec::new();
    for _ in 0..load.clients {
        let client = service.clients()?;
        // Connected and known to the service before the clock runs.
        client.ingestion().list_sources(pb::ListSourcesRequest {}).await?;
        clients.push(client);
    }
    let start = Instant::now();
    for client in clients {
        let (waiting, source) = (Arc::clone(&waiting), load.source.clone());
        let (http, key) = service.http();
        match load.door {
            Door::Segment => senders.spawn(segment(http.to_owned(), key.to_owned(), waiting)),
            Door::Map | Door::Columns => senders.spawn(unary(client, source, waiting)),
            Door::Stream | Door::StreamColumns => senders.spawn(stream(client, source, waiting)),
        };
    }
    let mut latencies = Vec::new();
    while let Some(sender) = senders.join_next().await {
        latencies.extend(sender.context("a client panicked")??);
    }
    Ok(Done { events: load.events, took: start.elapsed(), latencies: Latencies::new(latencies) })
}

fn prepare(generator: &Generator, load: &Load) -> VecDeque<(usize, Payload)> {
    let end = load.first + load.events;
    let starts = (load.first..end).step_by(usize::try_from(load.batch).unwrap_or(1));
    starts
        .map(|start| {
            let numbers = start..(start + load.batch).min(end);
            let count = (numbers.end - numbers.start) as usize;
            let samples = numbers.map(|number| generator.sent(load.first, number));
            let payload = match load.door {
                Door::Map | Door::Stream => {
                    Payload::Map(samples.map(|sample| sample.to_event()).collect())
                }
                Door::Columns | Door::StreamColumns => {
                    let mut columns = ColumnsBuilder::default();
                    for sample in samples {
                        columns.push(sample.row(), sample.properties());
                    }
                    Payload::Columns(Box::new(columns.finish()))
                }
                Door::Segment => {
                    let batch: Vec<_> = samples.map(|sample| sample.to_segment()).collect();
                    Payload::Segment(serde_json::json!({ "batch": batch }).to_string())
                }
            };
            (count, payload)
        })
        .collect()
}

fn next(waiting: &Waiting) -> Option<(usize, Payload)> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

async fn unary(
    clients: Clients,
    source: String,
    waiting: Waiting,
) -> anyhow::Result<Vec<Duration>> {
    let mut ingestion = clients.ingestion();
    let mut latencies = Vec::new();
    while let Some((count, payload)) = next(&waiting) {
        let start = Instant::now();
        let source = source.clone();
        match payload {
            Payload::Map(events) => {
                let request = pb::IngestEventsRequest { source, events };
                let answer = ingestion.ingest_events(request).await?.into_inner();
                latencies.push(start.elapsed());
                check(count, answer.results)?;
            }
            Payload::Columns(columns) => {
                let request = pb::IngestColumnsRequest { source, columns: Some(*columns) };
                let answer = ingestion.ingest_columns(request).await?.into_inner();
                latencies.push(start.elapsed());
                check(count, expand(answer.result_runs))?;
            }
            Payload::Segment(_) => bail!("a batch for another door"),
        }
    }
    Ok(latencies)
}

async fn segment(http: String, key: String, waiting: Waiting) -> anyhow::Result<Vec<Duration>> {
    // Fails when the process has a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
    let mut latencies = Vec::new();
    while let Some((_, payload)) = next(&waiting) {
        let Payload::Segment(body) = payload else { bail!("a batch for another door") };
        let request = client
            .post(format!("{http}/v1/batch"))
            .basic_auth(&key, Some(""))
            .header("content-type", "application/json")
            .body(body);
        let start = Instant::now();
        let answer = request.send().await?.error_for_status()?;
        let answer: serde_json::Value = answer.json().await?;
        latencies.push(start.elapsed());
        // What was accepted is not listed.
        let others = answer["results"].as_array().map(Vec::as_slice).unwrap_or_default();
        for other in others {
            ensure!(other["outcome"] == "duplicate", "an event was answered {other}");
        }
    }
    Ok(latencies)
}

async fn stream(
    clients: Clients,
    source: String,
    waiting: Waiting,
) -> anyhow::Result<Vec<Duration>> {
    let (requests, outgoing) = tokio::sync::mpsc::channel(WINDOW);
    let opened = clients.ingestion().stream_events(ReceiverStream::new(outgoing)).await?;
    let mut answers = opened.into_inner();
    let mut open = HashMap::new();
    let mut sequence = 0;
    let mut latencies = Vec::new();
    loop {
        while open.len() < WINDOW
            && let Some((count, payload)) = next(&waiting)
        {
            sequence += 1;
            let mut request =
                pb::StreamEventsRequest { sequence, source: source.clone(), ..Default::default() };
            match payload {
                Payload::Map(events) => request.events = events,
                Payload::Columns(columns) => request.columns = Some(*columns),
                Payload::Segment(_) => bail!("a batch for another door"),
            }
            open.insert(sequence, (count, Instant::now()));
            requests.send(request).await.context("the stream ended")?;
        }
        if open.is_empty() {
            return Ok(latencies);
        }
        let answer = answers.message().await?.context("the stream ended")?;
        let (count, sent) = open.remove(&answer.sequence).context("an answer nobody asked for")?;
        latencies.push(sent.elapsed());
        check(count, answer.results.into_iter().chain(expand(answer.result_runs)))?;
    }
}

/// Every event must be in the log: a bench that loses some measures nothing.
fn check(count: usize, results: impl IntoIterator<Item = pb::EventResult>) -> anyhow::Result<()> {
    let mut found = 0;
    for result in results {
        match result.outcome() {
            pb::EventOutcome::Accepted | pb::EventOutcome::Duplicate => found += 1,
            other => bail!("an event was answered {other:?}: {} {}", result.reason, result.message),
        }
    }
    ensure!(found == count, "{found} results for {count} events");
    Ok(())
}

/// Runs a client on a thread of its own that does nothing else, as a small producer
/// does: what is timed there is what it waits for, and not the hand-overs between the
/// threads of a bench.
pub(super) async fn alone<T, F>(client: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<T>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>>,
{
    let ended = tokio::task::spawn_blocking(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(client())
    });
    ended.await.context("the client panicked")?
}

/// One request after the other, of one event each.
pub(super) async fn lone(
    service: &Service,
    generator: &Generator,
    first: u64,
    times: usize,
) -> anyhow::Result<Latencies> {
    let (connect, generator) = (service.connector(), generator.clone());
    alone(async move || {
        let mut ingestion = connect()?.ingestion();
        let mut latencies = Vec::with_capacity(times);
        // The first tenth connects and warms up.
        for number in 0..(times + times / 10) as u64 {
            let request = pb::IngestEventsRequest {
                source: "bench-lone".to_owned(),
                events: vec![generator.distinct(first + number).to_event()],
            };
            let start = Instant::now();
            let answer = ingestion.ingest_events(request).await?.into_inner();
            if number >= (times / 10) as u64 {
                latencies.push(start.elapsed());
            }
            check(1, answer.results)?;
        }
        Ok(Latencies::new(latencies))
    })
    .await
}

/// The same on a stream that is open, which saves each request the beginning and the
/// end of a call.
pub(super) async fn lone_in_stream(
    service: &Service,
    generator: &Generator,
    first: u64,
    times: usize,
) -> anyhow::Result<Latencies> {
    let (connect, generator) = (service.connector(), generator.clone());
    alone(async move || {
        let (requests, outgoing) = tokio::sync::mpsc::channel(1);
        let outgoing = ReceiverStream::new(outgoing);
        let clients = connect()?;
        let opened = clients.ingestion().stream_events(outgoing).await?;
        let mut answers = opened.into_inner();
        let mut latencies = Vec::with_capacity(times);
        for (number, sequence) in (0..(times + times / 10) as u64).zip(1..) {
            let request = pb::StreamEventsRequest {
                sequence,
                source: "bench-lone-stream".to_owned(),
                events: vec![generator.distinct(first + number).to_event()],
                ..Default::default()
            };
            let start = Instant::now();
            requests.send(request).await.context("the stream ended")?;
            let answer = answers.message().await?.context("the stream ended")?;
            if number >= (times / 10) as u64 {
                latencies.push(start.elapsed());
            }
            check(1, answer.results)?;
        }
        Ok(Latencies::new(latencies))
    })
    .await
}

/// How long it takes from the acknowledgement of an event to an answer that
/// counts it: first when the engine has read nothing yet, then (the median of
/// twenty) when only that event is new.
pub(super) async fn visible(service: &Service) -> anyhow::Result<(Duration, Duration)> {
    let clients = service.clients()?;
    let metric = metrics::Metric {
        name: METRIC.to_owned(),
        title: "Events of the bench".to_owned(),
        owner: "bench".to_owned(),
        definition: Some(metrics::metric::Definition::Count(metrics::CountMetric {
            event: Some(metrics::EventSelector { event: METRIC.to_owned(), ..Default::default() }),
        })),
        ..Default::default()
    };
    let request = metrics::ApplyMetricRequest { metric: Some(metric), ..Default::default() };
    clients.metrics().apply_metric(request).await?;
    let first = time_to_visible(&clients, 1).await?;
    output::note(format!("the first question read the log in {:.1} s", first.as_secs_f64()));
    let mut times = Vec::new();
    for number in 2..=21 {
        times.push(time_to_visible(&clients, number).await?);
    }
    times.sort_unstable();
    Ok((first, times[times.len() / 2]))
}

/// Sends the event of a number, from 1, and asks until that many are counted.
async fn time_to_visible(clients: &Clients, number: i64) -> anyhow::Result<Duration> {
    let occurred = prost_types::Timestamp { seconds: 1_772_409_600, nanos: 0 };
    let request = pb::IngestEventsRequest {
        source: "bench-visible".to_owned(),
        events: vec![pb::Event {
            message_id: format!("visible-{number}"),
            name: METRIC.to_owned(),
            user_id: "bench".to_owned(),
            occurred_time: Some(occurred),
            ..pb::Event::default()
        }],
    };
    let answer = clients.ingestion().ingest_events(request).await?.into_inner();
    check(1, answer.results)?;
    let start = Instant::now();
    let deadline = start + Duration::from_secs(600);
    while Instant::now() < deadline {
        let mut request = tonic::Request::new(metrics::QueryMetricRequest {
            metric: METRIC.to_owned(),
            start_time: Some(occurred),
            end_time: Some(prost_types::Timestamp { seconds: occurred.seconds + 86_400, nanos: 0 }),
            grain: metrics::Grain::Total.into(),
            ..Default::default()
        });
        request.set_timeout(Duration::from_secs(300));
        let answer = clients.metrics().query_metric(request).await?.into_inner();
        let value = answer.rows.first().and_then(|row| row.value).unwrap_or_default();
        if value >= number as f64 {
            return Ok(start.elapsed());
        }
    }
    bail!("the event was not visible within ten minutes")
}
