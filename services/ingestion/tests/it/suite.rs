//! A running service, keys, a clock in hand, and events to send.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use northstar_client::Clients;
use northstar_domain::Clock;
use northstar_ingestion::Config;
use northstar_proto::ingestion::v1 as pb;
use northstar_server::{Context, Host};
use northstar_store::PgPool;
use northstar_testkit::{MockClock, TestDatabase};
use pb::value::Kind;
use prost_types::Timestamp;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::outage::Gate;

pub const SUITE_KEY: &str = "suite-key-of-the-tests";
pub const PROJECT: i32 = 1;

pub struct Suite {
    pub host: Host,
    pub clock: Arc<MockClock>,
    database: TestDatabase,
}

impl Suite {
    pub async fn start() -> Self {
        Self::start_with(Config::default()).await
    }

    pub async fn start_with(config: Config) -> Self {
        let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
        let clock = Arc::new(MockClock::new(noon()));
        let host = serve_with(database.url(), Arc::clone(&clock), config).await;
        Self { host, clock, database }
    }

    /// Stops the service and starts it anew on the same database.
    pub async fn restart_with(self, config: Config) -> Self {
        let Self { host, clock, database } = self;
        host.stop().await.unwrap();
        let host = serve_with(database.url(), Arc::clone(&clock), config).await;
        Self { host, clock, database }
    }

    /// A service that holds few message ids in memory.
    pub async fn start_sealing_often() -> Self {
        let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
        let clock = Arc::new(MockClock::new(noon()));
        let host = serve_with(database.url(), Arc::clone(&clock), sealing_often()).await;
        Self { host, clock, database }
    }

    /// Another process of that kind on the same database.
    pub async fn start_another_sealing_often(&self) -> Host {
        serve_with(self.database.url(), Arc::clone(&self.clock), sealing_often()).await
    }

    /// A service that reaches its database through a gate.
    pub async fn start_behind_a_gate() -> (Self, Gate) {
        let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
        let gate = Gate::before(database.url());
        let clock = Arc::new(MockClock::new(noon()));
        let host = serve(&gate.url, Arc::clone(&clock)).await;
        (Self { host, clock, database }, gate)
    }

    /// Another process on the same database.
    pub async fn start_another(&self) -> Host {
        serve(self.database.url(), Arc::clone(&self.clock)).await
    }

    /// Another process on the same database, configured.
    pub async fn start_another_with(&self, config: Config) -> Host {
        serve_with(self.database.url(), Arc::clone(&self.clock), config).await
    }

    /// The database as its superuser.
    pub fn superuser(&self) -> &PgPool {
        self.database.pool()
    }

    pub fn database_url(&self) -> &str {
        self.database.url()
    }

    pub fn clients(&self) -> Clients {
        clients(&self.host)
    }

    pub async fn ingest(&self, source: &str, events: Vec<pb::Event>) -> Vec<pb::EventResult> {
        ingest(&self.clients(), source, events).await.unwrap().results
    }

    /// The accounting of one source: received, accepted, duplicate,
    /// quarantined, rejected.
    pub async fn counts(&self, source: &str) -> [i64; 5] {
        let response = self.clients().ingestion().list_sources(pb::ListSourcesRequest {}).await;
        let sources = response.unwrap().into_inner().sources;
        let found = sources.into_iter().find(|found| found.name == source).unwrap();
        let counts =
            [found.received, found.accepted, found.duplicate, found.quarantined, found.rejected];
        assert_eq!(counts[0], counts[1..].iter().sum::<i64>(), "the accounting equation");
        counts
    }
}

pub fn clients(host: &Host) -> Clients {
    host.clients(SUITE_KEY).unwrap().for_project(PROJECT)
}

fn sealing_often() -> Config {
    Config { ingestion_fresh_keys: 100, ..Config::default() }
}

pub async fn serve(database_url: &str, clock: Arc<MockClock>) -> Host {
    serve_with(database_url, clock, Config::default()).await
}

/// Ingestion alone: nobody follows its erasures, unless the test says so.
async fn serve_with(database_url: &str, clock: Arc<MockClock>, mut ingestion: Config) -> Host {
    if ingestion.ingestion_erasure_followers == Config::default().ingestion_erasure_followers {
        ingestion.ingestion_erasure_followers.clear();
    }
    let config = northstar_server::Config::for_tests(database_url, SUITE_KEY, "unused".into());
    Host::start(config, async move |context| {
        let clock: Arc<dyn Clock> = clock;
        let context = Context { clock, ..context };
        Ok(vec![northstar_ingestion::build(ingestion, context).await?])
    })
    .await
    .unwrap()
}

pub async fn ingest(
    clients: &Clients,
    source: &str,
    events: Vec<pb::Event>,
) -> Result<pb::IngestEventsResponse, Status> {
    let request = pb::IngestEventsRequest { source: source.to_owned(), events };
    clients.ingestion().ingest_events(request).await.map(tonic::Response::into_inner)
}

pub fn noon() -> DateTime<Utc> {
    "2026-03-02T12:00:00Z".parse().unwrap()
}

/// A time so many minutes after noon.
pub fn minutes(minutes: i64) -> Timestamp {
    let time = noon() + TimeDelta::minutes(minutes);
    Timestamp { seconds: time.timestamp(), nanos: 0 }
}

/// A flawless event.
pub fn event(message_id: impl Into<String>) -> pb::Event {
    pb::Event {
        message_id: message_id.into(),
        name: "Signed Up".to_owned(),
        user_id: "u1".to_owned(),
        occurred_time: Some(minutes(-1)),
        properties: BTreeMap::from([("plan".to_owned(), text("pro"))]),
        ..pb::Event::default()
    }
}

pub fn text(text: &str) -> pb::Value {
    pb::Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

pub fn integer(integer: i64) -> pb::Value {
    pb::Value { kind: Some(Kind::IntValue(integer)) }
}

pub fn double(double: f64) -> pb::Value {
    pb::Value { kind: Some(Kind::DoubleValue(double)) }
}

/// Outcomes and reasons, as tests compare them.
pub fn outcomes(results: &[pb::EventResult]) -> Vec<(pb::EventOutcome, &str)> {
    results.iter().map(|result| (result.outcome(), result.reason.as_str())).collect()
}

/// The reason of a failed call, without its prefix.
pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    reason.trim_start_matches("ERROR_REASON_").to_owned()
}

/// The fields a refused request is blamed for.
pub fn blamed_fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| bad.field_violations.clone());
    violations.unwrap_or_default().into_iter().map(|violation| violation.field).collect()
}
