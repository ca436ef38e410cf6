//! One object that reaches every service.

use std::sync::Arc;

use northstar_proto::approvals::v1::access_service_client::AccessServiceClient;
use northstar_proto::approvals::v1::approvals_service_client::ApprovalsServiceClient;
use northstar_proto::automations::v1::automations_service_client::AutomationsServiceClient;
use northstar_proto::experiments::v1::experiments_service_client::ExperimentsServiceClient;
use northstar_proto::ingestion::v1::contracts_service_client::ContractsServiceClient;
use northstar_proto::ingestion::v1::ingestion_service_client::IngestionServiceClient;
use northstar_proto::ingestion::v1::quarantine_service_client::QuarantineServiceClient;
use northstar_proto::ingestion::v1::retention_service_client::RetentionServiceClient;
use northstar_proto::ingestion::v1::sources_service_client::SourcesServiceClient;
use northstar_proto::ingestion::v1::subjects_service_client::SubjectsServiceClient;
use northstar_proto::ingestion::v1::subscriptions_service_client::SubscriptionsServiceClient;
use northstar_proto::ingestion::v1::webhook_sources_service_client::WebhookSourcesServiceClient;
use northstar_proto::metrics::v1::cohorts_service_client::CohortsServiceClient;
use northstar_proto::metrics::v1::evidence_service_client::EvidenceServiceClient;
use northstar_proto::metrics::v1::insights_service_client::InsightsServiceClient;
use northstar_proto::metrics::v1::journeys_service_client::JourneysServiceClient;
use northstar_proto::metrics::v1::metrics_service_client::MetricsServiceClient;
use northstar_proto::metrics::v1::reports_service_client::ReportsServiceClient;
use northstar_proto::metrics::v1::thresholds_service_client::ThresholdsServiceClient;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use url::Url;

use crate::channel::Channels;
use crate::{Credentials, Endpoints, Error, InvalidEndpoint, Outgoing};

/// Largest response a client accepts: 16 MiB.
pub const MAX_RESPONSE_BYTES: usize = 16 * 1024 * 1024;

/// A shared, self-healing connection to a service.
pub type Connection = InterceptedService<Channel, Outgoing>;

/// Clients of every service. Cheap to clone; see the [crate's example](crate).
#[derive(Clone)]
pub struct Clients {
    channels: Arc<PerService>,
    outgoing: Outgoing,
}

struct PerService {
    ingestion: Channel,
    metrics: Channel,
    experiments: Channel,
    approvals: Channel,
    automations: Channel,
}

impl Clients {
    /// Clients of services at the given addresses. Nothing is connected yet:
    /// each address is when it is first called. Must be called within a Tokio
    /// runtime.
    ///
    /// # Errors
    /// [`Error::Endpoint`] when an address is not `http://` or `https://` with a
    /// host.
    pub fn new(endpoints: &Endpoints, credentials: Credentials) -> Result<Self, Error> {
        let mut channels = Channels::default();
        let channels = PerService {
            ingestion: channels.get(&endpoints.ingestion)?,
            metrics: channels.get(&endpoints.metrics)?,
            experiments: channels.get(&endpoints.experiments)?,
            approvals: channels.get(&endpoints.approvals)?,
            automations: channels.get(&endpoints.automations)?,
        };
        Ok(Self { channels: Arc::new(channels), outgoing: Outgoing::new(credentials) })
    }

    /// Clients of a suite that serves everything at one address, with an API
    /// key. Connects when first called; must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`Error`] when the address or the key cannot be used.
    pub fn connect(url: &str, api_key: &str) -> Result<Self, Error> {
        let parsed: Url = url.parse().map_err(|_| InvalidEndpoint::new(url))?;
        Self::new(&Endpoints::all_at(&parsed), Credentials::api_key(api_key)?)
    }

    /// The same connections, on behalf of a project and with our own key, which
    /// must be a suite key. For work outside a request, as background loops do.
    #[must_use]
    pub fn for_project(&self, project: i32) -> Self {
        Self { channels: Arc::clone(&self.channels), outgoing: self.outgoing.for_project(project) }
    }
}

macro_rules! clients {
    ($($(#[$doc:meta])* $method:ident: $client:ident over $channel:ident,)*) => {
        impl Clients {$(
            $(#[$doc])*
            pub fn $method(&self) -> $client<Connection> {
                let channel = self.channels.$channel.clone();
                $client::with_interceptor(channel, self.outgoing.clone())
                    .max_decoding_message_size(MAX_RESPONSE_BYTES)
            }
        )*}
    };
}

clients! {
    /// Takes events in, hands them on.
    ingestion: IngestionServiceClient over ingestion,
    /// Webhook sources.
    webhook_sources: WebhookSourcesServiceClient over ingestion,
    /// Changes of contracts.
    contracts: ContractsServiceClient over ingestion,
    /// What becomes of quarantined events.
    quarantine: QuarantineServiceClient over ingestion,
    /// Who is who, what they agreed to, and their erasure.
    subjects: SubjectsServiceClient over ingestion,
    /// How long events stay in the database, and where they went.
    retention: RetentionServiceClient over ingestion,
    /// What sources owe, and whether they deliver.
    sources: SourcesServiceClient over ingestion,
    /// Consumer groups with members, and the log by position.
    subscriptions: SubscriptionsServiceClient over ingestion,
    /// Pillars, metrics, KPIs and their values.
    metrics: MetricsServiceClient over metrics,
    /// The weekly scorecard and the executive report.
    reports: ReportsServiceClient over metrics,
    /// Thresholds and their evaluations.
    thresholds: ThresholdsServiceClient over metrics,
    /// Cohorts, and who is in them.
    cohorts: CohortsServiceClient over metrics,
    /// What lies behind a number, and which numbers changed later.
    evidence: EvidenceServiceClient over metrics,
    /// What a change did, what is out of the ordinary, why a number moved, what customers will be worth.
    insights: InsightsServiceClient over metrics,
    /// Funnels, retention, lifecycle and paths.
    journeys: JourneysServiceClient over metrics,
    /// Experiments.
    experiments: ExperimentsServiceClient over experiments,
    /// Policies, decision requests and the audit log.
    approvals: ApprovalsServiceClient over approvals,
    /// Automations and their runs.
    automations: AutomationsServiceClient over automations,
    /// API keys.
    access: AccessServiceClient over approvals,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients").field("outgoing", &self.outgoing).finish_non_exhaustive()
    }
}
