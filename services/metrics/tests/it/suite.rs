//! A running service, people with keys, a log to write to, a clock in hand.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use northstar_client::Clients;
use northstar_domain::{ApiKeyId, ApiKeySecret, Clock as _, ProjectId, Role};
use northstar_metrics::Config;
use northstar_proto::ingestion::v1 as log;
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::metric::Definition;
use northstar_server::{Context, Host};
use northstar_store::PgPool;
use northstar_store::access::{ApiKey, insert_api_key};
use northstar_testkit::{MockClock, TestDatabase};
use prost_types::Timestamp;
use tempfile::TempDir;
use tonic::Status;
use tonic_types::StatusExt as _;
use uuid::Uuid;

const SUITE_KEY: &str = "suite-key-of-the-tests";

pub struct Suite {
    pub clock: Arc<MockClock>,
    pub analyst: Clients,
    pub producer: Clients,
    pub folder: TempDir,
    config: Config,
    secrets: [String; 2],
    host: Option<Host>,
    database: TestDatabase,
}

/// An event in few words.
pub struct Event {
    pub name: &'static str,
    pub user: String,
    pub anonymous: &'static str,
    pub at: &'static str,
    pub properties: serde_json::Value,
}

/// An event of a user.
pub fn event(name: &'static str, user: &str, at: &'static str) -> Event {
    let properties = serde_json::json!({});
    Event { name, user: user.to_owned(), anonymous: "", at, properties }
}

impl Event {
    pub fn into_proto(self) -> log::Event {
        let serde_json::Value::Object(properties) = self.properties else {
            panic!("properties are an object");
        };
        log::Event {
            message_id: Uuid::now_v7().to_string(),
            name: self.name.to_owned(),
            user_id: self.user,
            anonymous_id: self.anonymous.to_owned(),
            occurred_time: Some(timestamp(self.at)),
            properties: properties.into_iter().map(|(k, v)| (k, value(v))).collect(),
            ..Default::default()
        }
    }

    pub fn with(self, properties: serde_json::Value) -> Self {
        Self { properties, ..self }
    }
}

pub fn value(json: serde_json::Value) -> log::Value {
    use log::value::Kind;
    let kind = match json {
        serde_json::Value::String(text) => Kind::StringValue(text),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(integer) => Kind::IntValue(integer),
            None => Kind::DoubleValue(number.as_f64().unwrap()),
        },
        serde_json::Value::Bool(truth) => Kind::BoolValue(truth),
        other => panic!("the tests do not need {other}"),
    };
    log::Value { kind: Some(kind) }
}

impl Suite {
    pub async fn start() -> Self {
        Self::start_with(Config::default()).await
    }

    pub async fn start_with(config: Config) -> Self {
        let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
        let clock = Arc::new(MockClock::new(time("2026-03-31T12:00:00Z")));
        let secrets = [
            person(&database, &clock, Role::Analyst).await,
            person(&database, &clock, Role::Ingest).await,
        ];
        let folder = tempfile::tempdir().unwrap();
        let host = start_host(&database, &clock, &folder, &config).await;
        let [analyst, producer] = [0, 1].map(|index: usize| host.clients(&secrets[index]).unwrap());
        Self { clock, analyst, producer, folder, config, secrets, host: Some(host), database }
    }

    /// Stops the service and starts it again on the same folder and database.
    pub async fn restart(&mut self) {
        self.stop().await;
        let host = start_host(&self.database, &self.clock, &self.folder, &self.config).await;
        self.analyst = host.clients(&self.secrets[0]).unwrap();
        self.producer = host.clients(&self.secrets[1]).unwrap();
        self.host = Some(host);
    }

    /// Starts the service again without what it had computed.
    pub async fn restart_anew(&mut self) {
        self.stop().await;
        self.folder = tempfile::tempdir().unwrap();
        self.restart().await;
    }

    /// The suite itself, in the tests' project: what only operators and admins may do.
    pub fn operator(&self) -> Clients {
        self.host.as_ref().unwrap().clients(SUITE_KEY).unwrap().for_project(1)
    }

    /// Somebody else with a key.
    pub async fn person(&self, principal: &str, role: Role) -> Clients {
        let secret = key(&self.database, &self.clock, principal, role, ProjectId(1)).await;
        self.host.as_ref().unwrap().clients(&secret).unwrap()
    }

    /// Another replica of the service, over the same database.
    pub async fn second_replica(&self, folder: &TempDir) -> Host {
        let mut server = northstar_server::Config::for_tests(
            self.database.url(),
            SUITE_KEY,
            folder.path().into(),
        );
        let first = self.host.as_ref().unwrap();
        let url: url::Url = format!("http://{}", first.grpc).parse().unwrap();
        server.ingestion_url = Some(url.clone());
        server.approvals_url = Some(url);
        let (clock, config) = (Arc::clone(&self.clock), self.config.clone());
        Host::start(server, async move |context| {
            let context = Context { clock, ..context };
            Ok(vec![northstar_metrics::build(config, context).await?])
        })
        .await
        .unwrap()
    }

    /// The suite itself in another project, which knows nothing of the tests' one.
    pub async fn other_project(&self) -> Clients {
        sqlx::query("INSERT INTO access.projects (name) VALUES ('other')")
            .execute(self.superuser())
            .await
            .unwrap();
        self.host.as_ref().unwrap().clients(SUITE_KEY).unwrap().for_project(2)
    }

    /// Where the service answers HTTP.
    pub fn http(&self) -> std::net::SocketAddr {
        self.host.as_ref().unwrap().http
    }

    /// Another project, with an analyst and a producer of its own.
    pub async fn stranger(&self) -> [Clients; 2] {
        sqlx::query("INSERT INTO access.projects (name) VALUES ('other')")
            .execute(self.superuser())
            .await
            .unwrap();
        let analyst = person_of(&self.database, &self.clock, Role::Analyst, ProjectId(2)).await;
        let producer = person_of(&self.database, &self.clock, Role::Ingest, ProjectId(2)).await;
        [analyst, producer].map(|secret| self.host.as_ref().unwrap().clients(&secret).unwrap())
    }

    pub async fn stop(&mut self) {
        if let Some(host) = self.host.take() {
            host.stop().await.unwrap();
        }
    }

    /// The database as its superuser: what no service may do.
    pub fn superuser(&self) -> &PgPool {
        self.database.pool()
    }

    pub async fn apply_metric(&self, metric: pb::Metric) -> Result<pb::Metric, Status> {
        let request = pb::ApplyMetricRequest { metric: Some(metric), ..Default::default() };
        let response = self.analyst.metrics().apply_metric(request).await?;
        Ok(response.into_inner().metric.unwrap())
    }

    /// Applies a metric that must be sound.
    pub async fn metric(&self, name: &str, definition: Definition) {
        self.apply_metric(metric(name, definition)).await.unwrap();
    }

    pub async fn query(
        &self,
        request: pb::QueryMetricRequest,
    ) -> Result<pb::QueryMetricResponse, Status> {
        Ok(self.analyst.metrics().query_metric(request).await?.into_inner())
    }

    /// Sends events, in order, and waits until every one is acknowledged.
    pub async fn ingest(&self, events: Vec<Event>) {
        let events = events.into_iter().map(Event::into_proto).collect();
        ingest(&self.producer, events).await;
    }

    /// The one value of a metric over a range.
    /// Erases a user and waits until nothing is left, here either.
    pub async fn erase(&self, user: &str) -> log::Erasure {
        let subjects = || self.operator().subjects();
        let request = log::EraseSubjectRequest {
            identifier: Some(log::Identifier {
                kind: "user_id".to_owned(),
                value: user.to_owned(),
            }),
            reason: "article 17".to_owned(),
            proof: "ticket 4714".to_owned(),
            request_id: String::new(),
        };
        let entered = subjects().erase_subject(request).await.unwrap().into_inner();
        let mut erasure = entered.erasure.unwrap();
        while erasure.state() != log::ErasureState::Done {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            let request = log::GetErasureRequest { erasure_id: erasure.erasure_id };
            let found = subjects().get_erasure(request).await.unwrap().into_inner();
            erasure = found.erasure.unwrap();
        }
        erasure
    }

    pub async fn total(&self, name: &str, from: &str, to: &str) -> Option<f64> {
        let answer = self.query(question(name, from, to)).await.unwrap();
        assert_eq!(answer.rows.len(), 1);
        answer.rows[0].value
    }
}

/// Somebody with a new key, whose secret is returned.
async fn person(database: &TestDatabase, clock: &MockClock, role: Role) -> String {
    person_of(database, clock, role, ProjectId(1)).await
}

async fn person_of(
    database: &TestDatabase,
    clock: &MockClock,
    role: Role,
    project: ProjectId,
) -> String {
    key(database, clock, role.as_str(), role, project).await
}

async fn key(
    database: &TestDatabase,
    clock: &MockClock,
    principal: &str,
    role: Role,
    project: ProjectId,
) -> String {
    let secret = ApiKeySecret::generate(role, &mut rand::rng());
    let key = ApiKey {
        id: ApiKeyId::generate(),
        project: Some(project),
        principal: principal.to_owned(),
        role,
        created_at: clock.now(),
        revoked_at: None,
    };
    let mut connection = database.pool().acquire().await.unwrap();
    insert_api_key(&mut connection, &key, &secret.sha256()).await.unwrap();
    secret.reveal().to_owned()
}

/// Sends events and returns how many are in the log once the answer is there.
pub async fn ingest(producer: &Clients, events: Vec<log::Event>) -> i64 {
    ingest_from(producer, "web", events).await
}

pub async fn ingest_from(producer: &Clients, source: &str, events: Vec<log::Event>) -> i64 {
    let request = log::IngestEventsRequest { source: source.to_owned(), events };
    let response = producer.ingestion().ingest_events(request).await.unwrap().into_inner();
    for result in &response.results {
        assert_eq!(result.outcome(), log::EventOutcome::Accepted, "{result:?}");
    }
    response.results.len() as i64
}

async fn start_host(
    database: &TestDatabase,
    clock: &Arc<MockClock>,
    folder: &TempDir,
    config: &Config,
) -> Host {
    let server =
        northstar_server::Config::for_tests(database.url(), SUITE_KEY, folder.path().into());
    let (clock, config) = (Arc::clone(clock), config.clone());
    Host::start(server, async move |context| {
        let context = Context { clock, ..context };
        let ingestion = northstar_ingestion::Config {
            ingestion_erasure_followers: "metrics".to_owned(),
            ..northstar_ingestion::Config::default()
        };
        let approvals = northstar_approvals::Config::default();
        Ok(vec![
            northstar_approvals::build(approvals, context.clone()).await?,
            northstar_ingestion::build(ingestion, context.clone()).await?,
            northstar_metrics::build(config, context).await?,
        ])
    })
    .await
    .unwrap()
}

pub fn metric(name: &str, definition: Definition) -> pb::Metric {
    pb::Metric { name: name.to_owned(), definition: Some(definition), ..Default::default() }
}

pub fn selector(event: &str) -> pb::EventSelector {
    pb::EventSelector { event: event.to_owned(), filter: String::new() }
}

pub fn count(event: &str) -> Definition {
    Definition::Count(pb::CountMetric { event: Some(selector(event)) })
}

pub fn unique(event: &str) -> Definition {
    Definition::Unique(pb::UniqueMetric { event: Some(selector(event)), ..Default::default() })
}

pub fn sum(event: &str, property: &str) -> Definition {
    let property = property.to_owned();
    Definition::Sum(pb::SumMetric { event: Some(selector(event)), property })
}

pub fn mean(event: &str, property: &str) -> Definition {
    let property = property.to_owned();
    Definition::Mean(pb::MeanMetric { event: Some(selector(event)), property })
}

pub fn ratio(numerator: &str, denominator: &str) -> Definition {
    let (numerator, denominator) = (numerator.to_owned(), denominator.to_owned());
    Definition::Ratio(pb::RatioMetric { numerator, denominator, ..Default::default() })
}

pub fn question(metric: &str, from: &str, to: &str) -> pb::QueryMetricRequest {
    pb::QueryMetricRequest {
        metric: metric.to_owned(),
        start_time: Some(timestamp(from)),
        end_time: Some(timestamp(to)),
        ..Default::default()
    }
}

pub fn time(text: &str) -> DateTime<Utc> {
    northstar_domain::timestamp::parse(text).unwrap()
}

pub fn timestamp(text: &str) -> Timestamp {
    northstar_metrics::convert::to_timestamp(time(text))
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
