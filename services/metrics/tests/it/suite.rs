//! A running service, people with keys, a log to write to, a clock in hand.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use northstar_client::Clients;
use northstar_domain::{ApiKeyId, ApiKeySecret, Clock as _, ProjectId, Role};
use northstar_metrics::Config;
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

const SUITE_KEY: &str = "suite-key-of-the-tests";

pub struct Suite {
    pub clock: Arc<MockClock>,
    pub analyst: Clients,
    pub folder: TempDir,
    config: Config,
    secret: String,
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
    pub fn with(self, properties: serde_json::Value) -> Self {
        Self { properties, ..self }
    }
}

impl Suite {
    pub async fn start() -> Self {
        Self::start_with(Config::default()).await
    }

    pub async fn start_with(config: Config) -> Self {
        let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
        let clock = Arc::new(MockClock::new(time("2026-03-31T12:00:00Z")));
        let secret = ApiKeySecret::generate(Role::Analyst, &mut rand::rng());
        let key = ApiKey {
            id: ApiKeyId::generate(),
            project: Some(ProjectId(1)),
            principal: "analyst".to_owned(),
            role: Role::Analyst,
            created_at: clock.now(),
            revoked_at: None,
        };
        let mut connection = database.pool().acquire().await.unwrap();
        insert_api_key(&mut connection, &key, &secret.sha256()).await.unwrap();
        drop(connection);
        let folder = tempfile::tempdir().unwrap();
        let host = start_host(&database, &clock, &folder, &config).await;
        let secret = secret.reveal().to_owned();
        let analyst = host.clients(&secret).unwrap();
        Self { clock, analyst, folder, config, secret, host: Some(host), database }
    }

    /// Stops the service and starts it again on the same folder and database.
    pub async fn restart(&mut self) {
        self.stop().await;
        let host = start_host(&self.database, &self.clock, &self.folder, &self.config).await;
        self.analyst = host.clients(&self.secret).unwrap();
        self.host = Some(host);
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

    /// Writes events to the log, in order, as ingestion does.
    pub async fn ingest(&self, events: Vec<Event>) {
        let mut transaction = self.superuser().begin().await.unwrap();
        sqlx::query("INSERT INTO ingestion.log_heads VALUES (1, 0, 0) ON CONFLICT DO NOTHING")
            .execute(&mut *transaction)
            .await
            .unwrap();
        sqlx::query(
            "INSERT INTO ingestion.sources (project_id, name) VALUES (1, 'web')
             ON CONFLICT DO NOTHING",
        )
        .execute(&mut *transaction)
        .await
        .unwrap();
        for event in events {
            let position: i64 = sqlx::query_scalar(
                "UPDATE ingestion.log_heads SET position = position + 1 RETURNING position",
            )
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
            sqlx::query(
                "INSERT INTO ingestion.events
                 SELECT $1, $2, NULL, $6, $2, 0, 1, source_id, 0, $1::text, $3,
                        nullif($4, ''), nullif($5, ''), NULL, $7
                 FROM ingestion.sources",
            )
            .bind(position)
            .bind(time(event.at))
            .bind(event.name)
            .bind(&event.user)
            .bind(event.anonymous)
            .bind(self.clock.now())
            .bind(sqlx::types::Json(&event.properties))
            .execute(&mut *transaction)
            .await
            .unwrap();
            if !event.anonymous.is_empty() && !event.user.is_empty() {
                sqlx::query(
                    "WITH head AS (
                         UPDATE ingestion.log_heads SET identity_version = identity_version + 1
                         RETURNING identity_version
                     )
                     INSERT INTO ingestion.identity_links
                     SELECT 1, $1, $2, $3, $4, identity_version FROM head",
                )
                .bind(event.anonymous)
                .bind(&event.user)
                .bind(time(event.at))
                .bind(position)
                .execute(&mut *transaction)
                .await
                .unwrap();
            }
        }
        sqlx::query(
            "INSERT INTO ingestion.source_counts (project_id, source_id, last_received_at)
             SELECT 1, source_id, $1 FROM ingestion.sources
             ON CONFLICT (project_id, source_id) DO UPDATE SET last_received_at = $1",
        )
        .bind(self.clock.now())
        .execute(&mut *transaction)
        .await
        .unwrap();
        transaction.commit().await.unwrap();
    }

    /// The one value of a metric over a range.
    pub async fn total(&self, name: &str, from: &str, to: &str) -> Option<f64> {
        let answer = self.query(question(name, from, to)).await.unwrap();
        assert_eq!(answer.rows.len(), 1);
        answer.rows[0].value
    }
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
        Ok(vec![northstar_metrics::build(config, context).await?])
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
    Definition::Unique(pb::UniqueMetric { event: Some(selector(event)), of: String::new() })
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
    Definition::Ratio(pb::RatioMetric { numerator, denominator })
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
