//! The services an automation works with, people with keys, and a clock in hand.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use northstar_client::Clients;
use northstar_domain::{ApiKeyId, ApiKeySecret, Clock as _, ProjectId, Role};
use northstar_proto::approvals::v1 as approvals;
use northstar_proto::automations::v1 as pb;
use northstar_proto::ingestion::v1 as ingestion;
use northstar_proto::metrics::v1 as metrics;
use northstar_server::{Context, Host, Secret};
use northstar_store::PgPool;
use northstar_store::access::{ApiKey, insert_api_key};
use northstar_testkit::{MockClock, TestDatabase};
use tempfile::TempDir;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::receiver::SECRET;

const SUITE_KEY: &str = "suite-key-of-the-tests";

pub struct Suite {
    pub clock: Arc<MockClock>,
    /// May do everything but decide about what it asked for.
    pub operator: Clients,
    pub approver: Clients,
    host: Host,
    folder: TempDir,
    database: TestDatabase,
}

pub fn config() -> northstar_automations::Config {
    northstar_automations::Config {
        allow_loopback_webhooks: true,
        webhook_secrets: Some(Secret::from(format!("demo={SECRET}"))),
        ..northstar_automations::Config::default()
    }
}

impl Suite {
    /// Everything there is, with the KPI that automations of the tests serve.
    pub async fn start() -> Self {
        let suite = Self::start_with(config()).await;
        suite.define().await;
        suite
    }

    pub async fn start_with(config: northstar_automations::Config) -> Self {
        let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
        // Signatures are checked against the time of the machine.
        let clock = Arc::new(MockClock::new(Utc::now()));
        let folder = tempfile::tempdir().unwrap();
        let server =
            northstar_server::Config::for_tests(database.url(), SUITE_KEY, folder.path().into());
        let shared = Arc::clone(&clock);
        let host = Host::start(server, async move |context| {
            let context = Context { clock: shared, ..context };
            let other = context.clone();
            Ok(vec![
                northstar_approvals::build(northstar_approvals::Config::default(), other.clone())
                    .await?,
                northstar_ingestion::build(northstar_ingestion::Config::default(), other.clone())
                    .await?,
                northstar_metrics::build(northstar_metrics::Config::default(), other).await?,
                northstar_automations::build(config, context).await?,
            ])
        })
        .await
        .unwrap();
        let mut people = Vec::new();
        for (principal, role) in [("olga", Role::Admin), ("ada", Role::Approver)] {
            let secret = ApiKeySecret::generate(role, &mut rand::rng());
            let key = ApiKey {
                id: ApiKeyId::generate(),
                project: Some(ProjectId(1)),
                principal: principal.to_owned(),
                role,
                created_at: clock.now(),
                revoked_at: None,
            };
            let mut connection = database.pool().acquire().await.unwrap();
            insert_api_key(&mut connection, &key, &secret.sha256()).await.unwrap();
            people.push(host.clients(secret.reveal()).unwrap());
        }
        let approver = people.pop().unwrap();
        let operator = people.pop().unwrap();
        Self { clock, operator, approver, host, folder, database }
    }

    /// Another replica of automations over the same database.
    pub async fn second_replica(&self) -> Host {
        let mut server = northstar_server::Config::for_tests(
            self.database.url(),
            SUITE_KEY,
            self.folder.path().into(),
        );
        let url: url::Url = format!("http://{}", self.host.grpc).parse().unwrap();
        server.ingestion_url = Some(url.clone());
        server.metrics_url = Some(url.clone());
        server.approvals_url = Some(url);
        let clock: Arc<MockClock> = Arc::clone(&self.clock);
        Host::start(server, async move |context| {
            let context = Context { clock, ..context };
            Ok(vec![northstar_automations::build(config(), context).await?])
        })
        .await
        .unwrap()
    }

    /// The database as its superuser: what no service may do.
    pub fn superuser(&self) -> &PgPool {
        self.database.pool()
    }

    async fn define(&self) {
        let mut client = self.operator.metrics();
        let pillar = metrics::Pillar { name: "activation".to_owned(), ..Default::default() };
        let request = metrics::ApplyPillarRequest { pillar: Some(pillar), ..Default::default() };
        client.apply_pillar(request).await.unwrap();
        let selector = |event: &str| {
            Some(metrics::EventSelector { event: event.to_owned(), ..Default::default() })
        };
        let definitions = [
            (
                "activated",
                metrics::metric::Definition::Unique(metrics::UniqueMetric {
                    event: selector("Activated"),
                    ..Default::default()
                }),
            ),
            (
                "tickets",
                metrics::metric::Definition::Count(metrics::CountMetric {
                    event: selector("Ticket Opened"),
                }),
            ),
        ];
        for (name, definition) in definitions {
            let metric = metrics::Metric {
                name: name.to_owned(),
                definition: Some(definition),
                ..Default::default()
            };
            let request =
                metrics::ApplyMetricRequest { metric: Some(metric), ..Default::default() };
            client.apply_metric(request).await.unwrap();
        }
        let now = self.clock.now();
        let kpi = metrics::Kpi {
            name: "activated-users".to_owned(),
            metric: "activated".to_owned(),
            pillar: "activation".to_owned(),
            layer: metrics::Layer::Outcome.into(),
            owner: "growth".to_owned(),
            unit: "users".to_owned(),
            direction: metrics::Direction::Increase.into(),
            baseline: Some(metrics::Baseline {
                value: 1.0,
                start_time: Some(timestamp(now - TimeDelta::days(30))),
                end_time: Some(timestamp(now - TimeDelta::days(20))),
            }),
            target: Some(metrics::Target {
                value: 5.0,
                due_time: Some(timestamp(now + TimeDelta::days(90))),
            }),
            guardrails: vec![metrics::Guardrail {
                metric: "tickets".to_owned(),
                direction: metrics::Direction::Decrease.into(),
                margin: 0.1,
            }],
            review_time: Some(timestamp(now + TimeDelta::days(60))),
            window_days: 7,
            ..Default::default()
        };
        let request = metrics::ApplyKpiRequest { kpi: Some(kpi), ..Default::default() };
        client.apply_kpi(request).await.unwrap();
    }

    /// An automation that keeps every rule.
    pub fn automation(&self, name: &str, url: &str) -> pb::Automation {
        pb::Automation {
            name: name.to_owned(),
            description: "Sends a guide to people who stall.".to_owned(),
            kpi: "activated-users".to_owned(),
            pillar: "activation".to_owned(),
            owner: "growth".to_owned(),
            guardrails: vec![pb::Guardrail { metric: "tickets".to_owned(), margin: 0.1 }],
            holdout: 0.000_1,
            sunset_time: Some(timestamp(self.clock.now() + TimeDelta::days(90))),
            trigger: Some(pb::Trigger {
                event: "Setup Stalled".to_owned(),
                condition: "properties.plan != 'free'".to_owned(),
            }),
            actions: vec![webhook(url)],
            retry_policy: Some(pb::RetryPolicy { max_attempts: 3, ..Default::default() }),
            ..Default::default()
        }
    }

    pub async fn apply(&self, automation: pb::Automation) -> Result<pb::Automation, Status> {
        let request =
            pb::ApplyAutomationRequest { automation: Some(automation), ..Default::default() };
        let response = self.operator.automations().apply_automation(request).await?;
        Ok(response.into_inner().automation.unwrap())
    }

    pub async fn get(&self, name: &str) -> pb::Automation {
        let request = pb::GetAutomationRequest { name: name.to_owned() };
        let response = self.operator.automations().get_automation(request).await.unwrap();
        response.into_inner().automation.unwrap()
    }

    pub async fn ask(&self, name: &str) -> String {
        let request = pb::RequestActivationRequest { name: name.to_owned(), ..Default::default() };
        let response = self.operator.automations().request_activation(request).await.unwrap();
        response.into_inner().decision_request
    }

    pub async fn decide(&self, decision: &str, kind: approvals::VerdictKind) {
        let mut client = self.approver.approvals();
        let request =
            approvals::GetDecisionRequestRequest { decision_request_id: decision.to_owned() };
        let seen = client.get_decision_request(request).await.unwrap().into_inner();
        let seen = seen.decision_request.unwrap();
        let verdict = approvals::RecordVerdictRequest {
            decision_request_id: decision.to_owned(),
            kind: kind.into(),
            reason: "looked at the charter".to_owned(),
            review_cycle: seen.review_cycle,
            diff_digest: seen.diff_digest,
            ..Default::default()
        };
        client.record_verdict(verdict).await.unwrap();
    }

    pub async fn activate_from(
        &self,
        name: &str,
        decision: &str,
        start_position: i64,
    ) -> Result<pb::Automation, Status> {
        let request = pb::ActivateAutomationRequest {
            name: name.to_owned(),
            decision_request: decision.to_owned(),
            start_position,
            request_id: String::new(),
        };
        let response = self.operator.automations().activate_automation(request).await?;
        Ok(response.into_inner().automation.unwrap())
    }

    pub async fn pause(&self, name: &str) -> pb::Automation {
        let request = pb::PauseAutomationRequest {
            name: name.to_owned(),
            reason: "a test".to_owned(),
            request_id: String::new(),
        };
        let response = self.operator.automations().pause_automation(request).await.unwrap();
        response.into_inner().automation.unwrap()
    }

    /// Applies an automation and takes it through the gate. Returns the
    /// decision.
    pub async fn run(&self, automation: pb::Automation) -> String {
        let name = automation.name.clone();
        self.apply(automation).await.unwrap();
        let decision = self.ask(&name).await;
        self.decide(&decision, approvals::VerdictKind::Approve).await;
        self.activate_from(&name, &decision, -1).await.unwrap();
        decision
    }

    /// Puts events in the log.
    pub async fn ingest(&self, events: Vec<ingestion::Event>) -> i64 {
        let mut position = 0;
        for events in events.chunks(5_000) {
            let request = ingestion::IngestEventsRequest {
                source: "web".to_owned(),
                events: events.to_vec(),
            };
            let answer = self.operator.ingestion().ingest_events(request).await.unwrap();
            position = answer.into_inner().log_position;
        }
        position
    }

    /// Somebody stalls on a paid plan.
    pub fn stalled(&self, user: &str) -> ingestion::Event {
        self.event("Setup Stalled", user, &[("plan", "team")])
    }

    pub fn event(&self, name: &str, user: &str, properties: &[(&str, &str)]) -> ingestion::Event {
        let value = |text: &str| ingestion::Value {
            kind: Some(ingestion::value::Kind::StringValue(text.to_owned())),
        };
        ingestion::Event {
            message_id: format!("{name}/{user}/{}", uuid::Uuid::now_v7()),
            name: name.to_owned(),
            user_id: user.to_owned(),
            occurred_time: Some(timestamp(self.clock.now())),
            properties: properties
                .iter()
                .map(|(name, text)| ((*name).to_owned(), value(text)))
                .collect(),
            ..Default::default()
        }
    }

    pub async fn log_position(&self) -> i64 {
        let request = ingestion::ListSourcesRequest {};
        let answer = self.operator.ingestion().list_sources(request).await.unwrap();
        answer.into_inner().log_position
    }

    pub async fn runs(&self, name: &str) -> pb::ListRunsResponse {
        let request = pb::ListRunsRequest {
            automation: name.to_owned(),
            page_size: 1_000,
            ..Default::default()
        };
        self.operator.automations().list_runs(request).await.unwrap().into_inner()
    }

    /// Waits for a state of affairs.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&pb::ListRunsResponse) -> bool,
    ) -> pb::ListRunsResponse {
        for _ in 0..1_500 {
            let runs = self.runs(name).await;
            if holds(&runs) {
                return runs;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let runs = self.runs(name).await;
        panic!("waited in vain for {what}: {:?} {:?}", runs.counts_by_state, runs.runs.first());
    }

    /// Waits until everything in the log is handled and every run has ended.
    pub async fn settled(&self, name: &str) -> pb::ListRunsResponse {
        let position = self.log_position().await;
        self.until(name, "the end of every run", |runs| {
            runs.handled_position >= position
                && runs.counts_by_state["pending"] == 0
                && runs.counts_by_state["running"] == 0
        })
        .await
    }

    /// Events of a name in the log, by user id.
    pub async fn logged(&self, name: &str) -> HashMap<String, serde_json::Value> {
        let mut connection = self.superuser().acquire().await.unwrap();
        let project = northstar_domain::ProjectId(1);
        let read =
            northstar_store::ingestion::log::read_after(&mut connection, project, 0, 1_000_000);
        read.await
            .unwrap()
            .into_iter()
            .filter(|event| event.name == name)
            .map(|event| {
                let subject = if event.user_id.is_empty() {
                    format!("anonymous:{}", event.anonymous_id)
                } else {
                    event.user_id
                };
                (subject, serde_json::from_str(&event.properties).unwrap())
            })
            .collect()
    }
}

pub fn webhook(url: &str) -> pb::Action {
    pb::Action {
        kind: Some(pb::action::Kind::Webhook(pb::WebhookAction {
            url: url.to_owned(),
            secret_name: "demo".to_owned(),
            r#type: "user.nudge".to_owned(),
        })),
    }
}

pub fn timestamp(time: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos: time.timestamp_subsec_nanos().cast_signed(),
    }
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
