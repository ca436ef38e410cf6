//! A running suite, people with keys, a clock in hand, and an experiment whose
//! outcome is planted.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use northstar_client::Clients;
use northstar_domain::{ApiKeyId, ApiKeySecret, Clock as _, ProjectId, Role};
use northstar_proto::experiments::v1 as pb;
use northstar_proto::ingestion::v1::{
    Event, EventOutcome, IngestEventsRequest, ListSourcesRequest, Source,
};
use northstar_proto::metrics::v1 as metrics;
use northstar_server::{Config, Context, Host, Service};
use northstar_store::PgPool;
use northstar_store::access::{ApiKey, insert_api_key};
use northstar_testkit::{MockClock, TestDatabase};
use tonic::Status;
use tonic_types::StatusExt as _;

const SUITE_KEY: &str = "suite-key-of-the-tests";

pub struct Suite {
    pub host: Host,
    pub clock: Arc<MockClock>,
    pub data: tempfile::TempDir,
    database: TestDatabase,
}

impl Suite {
    pub async fn start() -> Self {
        let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
        let clock = Arc::new(MockClock::new(at("2026-03-02T12:00:00Z")));
        let data = tempfile::tempdir().unwrap();
        let config = Config::for_tests(database.url(), SUITE_KEY, data.path().to_owned());
        let host = host(config, &clock, async |context| {
            let ingestion = northstar_ingestion::Config::default();
            let metrics = northstar_metrics::Config::default();
            let approvals = northstar_approvals::Config::default();
            let experiments = northstar_experiments::Config::default();
            Ok(vec![
                northstar_ingestion::build(ingestion, context.clone()).await?,
                northstar_metrics::build(metrics, context.clone()).await?,
                northstar_approvals::build(approvals, context.clone()).await?,
                northstar_experiments::build(experiments, context).await?,
            ])
        });
        Self { host: host.await, clock, data, database }
    }

    /// Experiments alone on the same database: nobody it could ask is there.
    pub async fn start_alone(&self) -> Host {
        let data = self.data.path().to_owned();
        let mut config = Config::for_tests(self.database.url(), SUITE_KEY, data);
        let nowhere = "http://127.0.0.1:9".parse().unwrap();
        config.approvals_url = Some(nowhere);
        host(config, &self.clock, async |context| {
            let config = northstar_experiments::Config::default();
            Ok(vec![northstar_experiments::build(config, context).await?])
        })
        .await
    }

    /// The database as its superuser: what no service may do.
    pub fn superuser(&self) -> &PgPool {
        self.database.pool()
    }

    /// The secret of a new key.
    pub async fn key(&self, principal: &str, role: Role) -> String {
        let secret = ApiKeySecret::generate(role, &mut rand::rng());
        let key = ApiKey {
            id: ApiKeyId::generate(),
            project: Some(ProjectId(1)),
            principal: principal.to_owned(),
            role,
            created_at: self.clock.now(),
            revoked_at: None,
        };
        let mut connection = self.superuser().acquire().await.unwrap();
        insert_api_key(&mut connection, &key, &secret.sha256()).await.unwrap();
        secret.reveal().to_owned()
    }

    pub async fn person(&self, principal: &str, role: Role) -> Clients {
        self.host.clients(&self.key(principal, role).await).unwrap()
    }

    /// What the log counts of the suite's own events, when the outboxes have
    /// emptied themselves in the background.
    pub async fn own_events(&self, reader: &Clients) -> Source {
        let waiting = "SELECT (SELECT count(*) FROM approvals.outbox)
                            + (SELECT count(*) FROM experiments.outbox)";
        loop {
            let waiting: i64 =
                sqlx::query_scalar(waiting).fetch_one(self.superuser()).await.unwrap();
            if waiting == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let response = reader.ingestion().list_sources(ListSourcesRequest {}).await.unwrap();
        let sources = response.into_inner().sources;
        sources.into_iter().find(|source| source.name == "northstar").unwrap_or_default()
    }

    /// An operator, and a project with what [`checkout`] names.
    pub async fn with_metrics() -> (Self, Clients) {
        let suite = Self::start().await;
        let ada = suite.person("ada", Role::Operator).await;
        let pillar = metrics::Pillar {
            name: "conversion".to_owned(),
            title: "Conversion".to_owned(),
            description: "visitors who buy".to_owned(),
            owner: "growth".to_owned(),
            ..metrics::Pillar::default()
        };
        let apply = metrics::ApplyPillarRequest { pillar: Some(pillar), ..Default::default() };
        ada.metrics().apply_pillar(apply).await.unwrap();
        for (name, event) in [("checkout-rate", "Checked Out"), ("refund-rate", "Refunded")] {
            let unique = metrics::UniqueMetric {
                event: Some(metrics::EventSelector {
                    event: event.to_owned(),
                    filter: String::new(),
                }),
                ..Default::default()
            };
            let metric = metrics::Metric {
                name: name.to_owned(),
                title: name.to_owned(),
                description: "share of subjects".to_owned(),
                owner: "growth".to_owned(),
                definition: Some(metrics::metric::Definition::Unique(unique)),
                ..metrics::Metric::default()
            };
            let apply = metrics::ApplyMetricRequest { metric: Some(metric), ..Default::default() };
            ada.metrics().apply_metric(apply).await.unwrap();
        }
        (suite, ada)
    }

    /// A running experiment with 200 subjects, none of whom did anything yet.
    pub async fn running() -> (Self, Clients, Vec<pb::Assignment>) {
        let (suite, ada) = Self::with_metrics().await;
        apply(&ada, checkout()).await.unwrap();
        start(&ada, "checkout").await.unwrap();
        let assignments = assign(&ada, "checkout", &users(0..200)).await.unwrap();
        (suite, ada, assignments)
    }

    /// The same, stopped after its horizon, with a treatment that doubles the
    /// checkout rate from 25 % to 50 % and leaves refunds at 50 %.
    pub async fn stopped() -> (Self, Clients) {
        let (suite, ada, assignments) = Self::running().await;
        plant(&suite, &ada, &assignments, 4, 2).await;
        suite.clock.set(at("2026-03-20T00:00:00Z"));
        stop(&ada, "checkout").await.unwrap();
        (suite, ada)
    }
}

async fn host(
    config: Config,
    clock: &Arc<MockClock>,
    build: impl AsyncFnOnce(Context) -> anyhow::Result<Vec<Service>>,
) -> Host {
    let clock: Arc<MockClock> = Arc::clone(clock);
    Host::start(config, async move |context| build(Context { clock, ..context }).await)
        .await
        .unwrap()
}

pub fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub fn timestamp(time: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos: time.timestamp_subsec_nanos().cast_signed(),
    }
}

/// The experiment most tests are about: everybody, two equal variants, one
/// guardrail, a horizon in March.
pub fn checkout() -> pb::Experiment {
    let variant = |name: &str| pb::Variant { name: name.to_owned(), weight: 1.0 };
    pb::Experiment {
        name: "checkout".to_owned(),
        hypothesis: "fewer fields make more people finish".to_owned(),
        owner: "growth".to_owned(),
        pillar: "conversion".to_owned(),
        segment: "true".to_owned(),
        variants: vec![variant("control"), variant("short")],
        primary_metric: "checkout-rate".to_owned(),
        direction: pb::Direction::Increase.into(),
        guardrails: vec![pb::Guardrail {
            metric: "refund-rate".to_owned(),
            direction: pb::Direction::Decrease.into(),
            margin: 0.5,
        }],
        stopping_plan: Some(pb::StoppingPlan {
            horizon_subjects: 200,
            horizon_time: Some(timestamp(at("2026-03-16T00:00:00Z"))),
            alpha: 0.0,
        }),
        ..pb::Experiment::default()
    }
}

pub fn users(range: std::ops::Range<usize>) -> Vec<pb::Subject> {
    range
        .map(|user| pb::Subject { user_id: format!("u{user:04}"), ..pb::Subject::default() })
        .collect()
}

/// Lets every `every`-th subject of each variant check out an hour later, and
/// every second one ask for a refund.
pub async fn plant(
    suite: &Suite,
    clients: &Clients,
    assignments: &[pb::Assignment],
    control_every: usize,
    short_every: usize,
) {
    let later = timestamp(suite.clock.now() + TimeDelta::hours(1));
    let mut events = Vec::new();
    for (variant, every) in [("control", control_every), ("short", short_every)] {
        let of_variant = assignments.iter().filter(|assigned| assigned.variant == variant);
        for (index, assigned) in of_variant.enumerate() {
            for (name, share) in [("Checked Out", every), ("Refunded", 2)] {
                if index % share == 0 {
                    events.push(Event {
                        message_id: format!("{name}/{}", assigned.user_id),
                        name: name.to_owned(),
                        user_id: assigned.user_id.clone(),
                        occurred_time: Some(later),
                        ..Event::default()
                    });
                }
            }
        }
    }
    let count = events.len();
    let request = IngestEventsRequest { source: "shop".to_owned(), events };
    let results = clients.ingestion().ingest_events(request).await.unwrap().into_inner().results;
    let accepted = results.iter().filter(|r| r.outcome() == EventOutcome::Accepted).count();
    assert_eq!(accepted, count, "{:?}", results.first());
}

pub async fn apply(
    clients: &Clients,
    experiment: pb::Experiment,
) -> Result<pb::Experiment, Status> {
    let request = pb::ApplyExperimentRequest {
        experiment: Some(experiment),
        ..pb::ApplyExperimentRequest::default()
    };
    let response = clients.experiments().apply_experiment(request).await?;
    Ok(response.into_inner().experiment.unwrap())
}

pub async fn start(clients: &Clients, name: &str) -> Result<pb::Experiment, Status> {
    let request = pb::StartExperimentRequest { name: name.to_owned(), ..Default::default() };
    let response = clients.experiments().start_experiment(request).await?;
    Ok(response.into_inner().experiment.unwrap())
}

pub async fn stop(clients: &Clients, name: &str) -> Result<pb::Experiment, Status> {
    let request = pb::StopExperimentRequest { name: name.to_owned(), ..Default::default() };
    let response = clients.experiments().stop_experiment(request).await?;
    Ok(response.into_inner().experiment.unwrap())
}

pub async fn assign(
    clients: &Clients,
    experiment: &str,
    subjects: &[pb::Subject],
) -> Result<Vec<pb::Assignment>, Status> {
    let request = pb::AssignVariantsRequest {
        experiment: experiment.to_owned(),
        subjects: subjects.to_vec(),
    };
    let response = clients.experiments().assign_variants(request).await?;
    Ok(response.into_inner().assignments)
}

pub async fn analyze(clients: &Clients, name: &str) -> Result<pb::Analysis, Status> {
    let request = pb::AnalyzeExperimentRequest { name: name.to_owned() };
    let response = clients.experiments().analyze_experiment(request).await?;
    Ok(response.into_inner().analysis.unwrap())
}

pub async fn request_ship(
    clients: &Clients,
    name: &str,
    variant: &str,
) -> Result<pb::RequestShipDecisionResponse, Status> {
    let request = pb::RequestShipDecisionRequest {
        name: name.to_owned(),
        variant: variant.to_owned(),
        request_id: String::new(),
    };
    Ok(clients.experiments().request_ship_decision(request).await?.into_inner())
}

/// The reason of a failed call, without its prefix.
pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone());
    match reason {
        Some(reason) => reason.trim_start_matches("ERROR_REASON_").to_owned(),
        None => format!("{status:?}"),
    }
}

/// The fields a refused request is blamed for.
pub fn blamed_fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| bad.field_violations.clone());
    violations.unwrap_or_default().into_iter().map(|violation| violation.field).collect()
}
