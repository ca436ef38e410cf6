//! The role each RPC needs: one table for the whole suite. An RPC that is not
//! listed is refused, and a test walks the contracts so that none is forgotten.

use std::collections::HashMap;
use std::sync::LazyLock;

use northstar_domain::Role;

/// Path of each RPC and the role it needs; [`Role::allows`] says which roles
/// include which.
pub const TABLE: &[(&str, Role)] = &[
    ("/northstar.ingestion.v1.IngestionService/IngestEvents", Role::Ingest),
    ("/northstar.ingestion.v1.IngestionService/StreamEvents", Role::Ingest),
    ("/northstar.ingestion.v1.IngestionService/QuarantineRecords", Role::Ingest),
    // Events hold what people did; counting them is for viewers, reading for analysts.
    ("/northstar.ingestion.v1.IngestionService/Subscribe", Role::Analyst),
    ("/northstar.ingestion.v1.IngestionService/CommitCursor", Role::Analyst),
    ("/northstar.ingestion.v1.IngestionService/ResolveSubject", Role::Viewer),
    ("/northstar.ingestion.v1.IngestionService/ListSources", Role::Viewer),
    ("/northstar.ingestion.v1.IngestionService/ListQuarantinedEvents", Role::Analyst),
    ("/northstar.ingestion.v1.IngestionService/ApplyContract", Role::Analyst),
    ("/northstar.ingestion.v1.IngestionService/GetContract", Role::Viewer),
    ("/northstar.ingestion.v1.IngestionService/ListContracts", Role::Viewer),
    // What leaves the log is hard to bring back.
    ("/northstar.ingestion.v1.RetentionService/ApplyRetentionPolicy", Role::Admin),
    ("/northstar.ingestion.v1.RetentionService/GetRetentionPolicy", Role::Viewer),
    ("/northstar.ingestion.v1.RetentionService/ListRetentionPolicies", Role::Viewer),
    ("/northstar.ingestion.v1.RetentionService/DeleteRetentionPolicy", Role::Admin),
    ("/northstar.ingestion.v1.RetentionService/ListArchivedFiles", Role::Viewer),
    ("/northstar.ingestion.v1.SourcesService/ApplySource", Role::Analyst),
    ("/northstar.ingestion.v1.SourcesService/GetSource", Role::Viewer),
    ("/northstar.ingestion.v1.SourcesService/ListSourceDefinitions", Role::Viewer),
    ("/northstar.ingestion.v1.SourcesService/DeleteSource", Role::Analyst),
    ("/northstar.ingestion.v1.SourcesService/ListSourceStates", Role::Viewer),
    ("/northstar.ingestion.v1.SubscriptionsService/Consume", Role::Analyst),
    ("/northstar.ingestion.v1.SubscriptionsService/ListSubscriptions", Role::Viewer),
    // Events that a group was to handle may never be, or be handled again.
    ("/northstar.ingestion.v1.SubscriptionsService/DeleteSubscription", Role::Operator),
    ("/northstar.ingestion.v1.SubscriptionsService/SeekSubscription", Role::Operator),
    ("/northstar.ingestion.v1.SubscriptionsService/ReadEvents", Role::Analyst),
    ("/northstar.ingestion.v1.SubscriptionsService/FindPosition", Role::Viewer),
    ("/northstar.metrics.v1.MetricsService/ApplyPillar", Role::Analyst),
    ("/northstar.metrics.v1.MetricsService/GetPillar", Role::Viewer),
    ("/northstar.metrics.v1.MetricsService/ListPillars", Role::Viewer),
    ("/northstar.metrics.v1.MetricsService/ApplyMetric", Role::Analyst),
    ("/northstar.metrics.v1.MetricsService/GetMetric", Role::Viewer),
    ("/northstar.metrics.v1.MetricsService/ListMetrics", Role::Viewer),
    ("/northstar.metrics.v1.MetricsService/ApplyKpi", Role::Analyst),
    ("/northstar.metrics.v1.MetricsService/GetKpi", Role::Viewer),
    ("/northstar.metrics.v1.MetricsService/ListKpis", Role::Viewer),
    ("/northstar.metrics.v1.MetricsService/QueryMetric", Role::Viewer),
    ("/northstar.metrics.v1.MetricsService/QueryVariantStatistics", Role::Viewer),
    ("/northstar.metrics.v1.MetricsService/GetScorecard", Role::Viewer),
    ("/northstar.experiments.v1.ExperimentsService/ApplyExperiment", Role::Analyst),
    ("/northstar.experiments.v1.ExperimentsService/GetExperiment", Role::Viewer),
    ("/northstar.experiments.v1.ExperimentsService/ListExperiments", Role::Viewer),
    ("/northstar.experiments.v1.ExperimentsService/StartExperiment", Role::Operator),
    ("/northstar.experiments.v1.ExperimentsService/StopExperiment", Role::Operator),
    ("/northstar.experiments.v1.ExperimentsService/AssignVariants", Role::Operator),
    ("/northstar.experiments.v1.ExperimentsService/AnalyzeExperiment", Role::Viewer),
    ("/northstar.experiments.v1.ExperimentsService/RequestShipDecision", Role::Operator),
    ("/northstar.experiments.v1.ExperimentsService/ConcludeExperiment", Role::Operator),
    // A policy says who must decide, so whom it binds must not change it.
    ("/northstar.approvals.v1.ApprovalsService/ApplyPolicy", Role::Admin),
    ("/northstar.approvals.v1.ApprovalsService/GetPolicy", Role::Viewer),
    ("/northstar.approvals.v1.ApprovalsService/ListPolicies", Role::Viewer),
    ("/northstar.approvals.v1.ApprovalsService/CreateDecisionRequest", Role::Analyst),
    ("/northstar.approvals.v1.ApprovalsService/GetDecisionRequest", Role::Viewer),
    ("/northstar.approvals.v1.ApprovalsService/ListDecisionRequests", Role::Viewer),
    ("/northstar.approvals.v1.ApprovalsService/RecordVerdict", Role::Approver),
    ("/northstar.approvals.v1.ApprovalsService/AppendAuditEntry", Role::Operator),
    ("/northstar.approvals.v1.ApprovalsService/ListAuditEntries", Role::Viewer),
    ("/northstar.approvals.v1.ApprovalsService/VerifyAuditLog", Role::Viewer),
    ("/northstar.approvals.v1.AccessService/CreateApiKey", Role::Admin),
    ("/northstar.approvals.v1.AccessService/ListApiKeys", Role::Admin),
    ("/northstar.approvals.v1.AccessService/RevokeApiKey", Role::Admin),
    ("/northstar.automations.v1.AutomationsService/ApplyAutomation", Role::Analyst),
    ("/northstar.automations.v1.AutomationsService/GetAutomation", Role::Viewer),
    ("/northstar.automations.v1.AutomationsService/ListAutomations", Role::Viewer),
    ("/northstar.automations.v1.AutomationsService/RequestActivation", Role::Operator),
    ("/northstar.automations.v1.AutomationsService/ActivateAutomation", Role::Operator),
    ("/northstar.automations.v1.AutomationsService/PauseAutomation", Role::Operator),
    ("/northstar.automations.v1.AutomationsService/RetireAutomation", Role::Operator),
    ("/northstar.automations.v1.AutomationsService/ListRuns", Role::Viewer),
    ("/northstar.automations.v1.AutomationsService/RedriveRuns", Role::Operator),
    ("/northstar.automations.v1.AutomationsService/MeasureLift", Role::Viewer),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Role::Viewer),
];

/// What a call needs before it reaches its handler.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Nothing: health, which probes ask without a key.
    Open,
    /// A key whose role includes this one.
    Role(Role),
    /// The RPC is not in the table: nobody may call it.
    Refused,
}

/// What a call to this path needs.
pub fn required(path: &str) -> Access {
    static BY_PATH: LazyLock<HashMap<&str, Role>> =
        LazyLock::new(|| TABLE.iter().copied().collect());
    if path.starts_with("/grpc.health.v1.Health/") {
        return Access::Open;
    }
    BY_PATH.get(path).map_or(Access::Refused, |role| Access::Role(*role))
}
