//! The role each RPC and each HTTP route needs: one table of either for the
//! whole suite. An RPC that is not listed is refused, a process with a route that
//! is not listed does not start, and tests walk both so that none is forgotten.

use std::collections::HashMap;
use std::sync::LazyLock;

use northstar_domain::Role;
use northstar_proto::errors::v1::ErrorReason;

use crate::Caller;
use crate::status::{Failure, failure};

/// Path of each RPC and the role it needs; [`Role::allows`] says which roles
/// include which.
pub const TABLE: &[(&str, Role)] = &[
    ("/northstar.ingestion.v1.IngestionService/IngestEvents", Role::Ingest),
    ("/northstar.ingestion.v1.IngestionService/IngestColumns", Role::Ingest),
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
    ("/northstar.ingestion.v1.WebhookSourcesService/ApplyWebhookSource", Role::Analyst),
    ("/northstar.ingestion.v1.WebhookSourcesService/GetWebhookSource", Role::Viewer),
    ("/northstar.ingestion.v1.WebhookSourcesService/ListWebhookSources", Role::Viewer),
    ("/northstar.ingestion.v1.WebhookSourcesService/DeleteWebhookSource", Role::Analyst),
    // Whoever sets a secret can send in the source's name.
    ("/northstar.ingestion.v1.WebhookSourcesService/SetWebhookSecret", Role::Admin),
    ("/northstar.ingestion.v1.ContractsService/CheckContract", Role::Viewer),
    ("/northstar.ingestion.v1.ContractsService/RequestContractChange", Role::Analyst),
    ("/northstar.ingestion.v1.ContractsService/ApplyApprovedContract", Role::Analyst),
    ("/northstar.ingestion.v1.ContractsService/ListContractVersions", Role::Viewer),
    // A proposal shows the few values that a property has.
    ("/northstar.ingestion.v1.ContractsService/InferContract", Role::Analyst),
    ("/northstar.ingestion.v1.ContractsService/GetUnplannedEventsRule", Role::Viewer),
    ("/northstar.ingestion.v1.ContractsService/SetUnplannedEventsRule", Role::Analyst),
    // Values that were kept aside may be personal.
    ("/northstar.ingestion.v1.ContractsService/ListEventNotes", Role::Admin),
    ("/northstar.ingestion.v1.QuarantineService/GetQuarantinedEvent", Role::Analyst),
    ("/northstar.ingestion.v1.QuarantineService/SearchQuarantinedEvents", Role::Analyst),
    // What is replayed is in the log for ever, as what is ingested.
    ("/northstar.ingestion.v1.QuarantineService/PatchQuarantinedEvents", Role::Operator),
    ("/northstar.ingestion.v1.QuarantineService/ReplayQuarantinedEvents", Role::Operator),
    ("/northstar.ingestion.v1.QuarantineService/DiscardQuarantinedEvents", Role::Operator),
    ("/northstar.ingestion.v1.QuarantineService/ResolveIdConflicts", Role::Operator),
    ("/northstar.ingestion.v1.SubjectsService/ApplyIdentityPolicy", Role::Admin),
    ("/northstar.ingestion.v1.SubjectsService/GetIdentityPolicy", Role::Viewer),
    ("/northstar.ingestion.v1.SubjectsService/ListIdentityPolicies", Role::Viewer),
    ("/northstar.ingestion.v1.SubjectsService/ApplyConsentPolicy", Role::Admin),
    ("/northstar.ingestion.v1.SubjectsService/GetConsentPolicy", Role::Viewer),
    ("/northstar.ingestion.v1.SubjectsService/ListConsentPolicies", Role::Viewer),
    // Whom an event belongs to changes every number, so it is an operator's to say.
    ("/northstar.ingestion.v1.SubjectsService/LinkIdentifiers", Role::Operator),
    ("/northstar.ingestion.v1.SubjectsService/UnlinkIdentifiers", Role::Operator),
    ("/northstar.ingestion.v1.SubjectsService/PreviewMerge", Role::Analyst),
    ("/northstar.ingestion.v1.SubjectsService/MergeSubjects", Role::Operator),
    ("/northstar.ingestion.v1.SubjectsService/RequestMerge", Role::Operator),
    ("/northstar.ingestion.v1.SubjectsService/UnmergeSubjects", Role::Operator),
    ("/northstar.ingestion.v1.SubjectsService/ListIdentityFacts", Role::Analyst),
    ("/northstar.ingestion.v1.SubjectsService/RecordConsent", Role::Operator),
    ("/northstar.ingestion.v1.SubjectsService/GetConsent", Role::Viewer),
    // It can not be undone.
    ("/northstar.ingestion.v1.SubjectsService/EraseSubject", Role::Admin),
    ("/northstar.ingestion.v1.SubjectsService/GetErasure", Role::Operator),
    ("/northstar.ingestion.v1.SubjectsService/ListErasures", Role::Operator),
    // It tells whom an erasure is about, and ends it; the services' own.
    ("/northstar.ingestion.v1.SubjectsService/FollowErasures", Role::Admin),
    ("/northstar.ingestion.v1.SubjectsService/ReportErasure", Role::Admin),
    // Everything about a person at once.
    ("/northstar.ingestion.v1.SubjectsService/ExportSubject", Role::Admin),
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
    ("/northstar.metrics.v1.MetricsService/ApplyActivity", Role::Analyst),
    ("/northstar.metrics.v1.MetricsService/GetActivity", Role::Viewer),
    ("/northstar.metrics.v1.MetricsService/ListActivities", Role::Viewer),
    ("/northstar.metrics.v1.MetricsService/QueryMetrics", Role::Viewer),
    ("/northstar.metrics.v1.MetricsService/GetKpiTree", Role::Viewer),
    ("/northstar.metrics.v1.MetricsService/GetLineage", Role::Viewer),
    ("/northstar.metrics.v1.MetricsService/QueryMetric", Role::Viewer),
    ("/northstar.metrics.v1.MetricsService/QueryVariantStatistics", Role::Viewer),
    ("/northstar.metrics.v1.MetricsService/GetScorecard", Role::Viewer),
    ("/northstar.metrics.v1.ReportsService/GetWeeklyScorecard", Role::Viewer),
    ("/northstar.metrics.v1.ReportsService/GetExecutiveReport", Role::Viewer),
    ("/northstar.metrics.v1.ReportsService/AddScorecardNote", Role::Analyst),
    ("/northstar.metrics.v1.ReportsService/ListScorecardNotes", Role::Viewer),
    ("/northstar.metrics.v1.ThresholdsService/ApplyThreshold", Role::Analyst),
    ("/northstar.metrics.v1.ThresholdsService/GetThreshold", Role::Viewer),
    ("/northstar.metrics.v1.ThresholdsService/ListThresholds", Role::Viewer),
    ("/northstar.metrics.v1.ThresholdsService/DeleteThreshold", Role::Analyst),
    ("/northstar.metrics.v1.ThresholdsService/PauseThreshold", Role::Operator),
    ("/northstar.metrics.v1.ThresholdsService/ResumeThreshold", Role::Operator),
    ("/northstar.metrics.v1.ThresholdsService/EvaluateThreshold", Role::Viewer),
    ("/northstar.metrics.v1.ThresholdsService/ListEvaluations", Role::Viewer),
    ("/northstar.metrics.v1.ThresholdsService/ReplayEvaluations", Role::Viewer),
    ("/northstar.metrics.v1.CohortsService/ApplyCohort", Role::Analyst),
    ("/northstar.metrics.v1.CohortsService/GetCohort", Role::Viewer),
    ("/northstar.metrics.v1.CohortsService/ListCohorts", Role::Viewer),
    ("/northstar.metrics.v1.CohortsService/DeleteCohort", Role::Analyst),
    ("/northstar.metrics.v1.CohortsService/UploadCohortMembers", Role::Analyst),
    ("/northstar.metrics.v1.CohortsService/SnapshotCohort", Role::Analyst),
    // Who somebody is and what they did is for analysts.
    ("/northstar.metrics.v1.CohortsService/QueryCohort", Role::Analyst),
    ("/northstar.metrics.v1.EvidenceService/ListSubjects", Role::Analyst),
    ("/northstar.metrics.v1.EvidenceService/Explain", Role::Analyst),
    ("/northstar.metrics.v1.EvidenceService/ListRestatements", Role::Viewer),
    ("/northstar.metrics.v1.InsightsService/QueryImpact", Role::Viewer),
    ("/northstar.metrics.v1.InsightsService/DetectAnomalies", Role::Viewer),
    ("/northstar.metrics.v1.InsightsService/AttributeChange", Role::Viewer),
    // It names customers and what they spent.
    ("/northstar.metrics.v1.InsightsService/QueryCustomerValue", Role::Analyst),
    ("/northstar.metrics.v1.JourneysService/QueryFunnel", Role::Viewer),
    ("/northstar.metrics.v1.JourneysService/QueryRetention", Role::Viewer),
    ("/northstar.metrics.v1.JourneysService/QueryLifecycle", Role::Viewer),
    ("/northstar.metrics.v1.JourneysService/QueryPaths", Role::Viewer),
    // Lists name people; numbers do not.
    ("/northstar.metrics.v1.JourneysService/ListFunnelSubjects", Role::Analyst),
    ("/northstar.metrics.v1.JourneysService/ListRetentionSubjects", Role::Analyst),
    ("/northstar.metrics.v1.JourneysService/ListLifecycleSubjects", Role::Analyst),
    ("/northstar.metrics.v1.JourneysService/ListPathSubjects", Role::Analyst),
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
    // Who may ask may take it back.
    ("/northstar.approvals.v1.ApprovalsService/WithdrawDecisionRequest", Role::Analyst),
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
    ("/northstar.automations.v1.AutomationsService/PreviewChange", Role::Viewer),
    ("/northstar.automations.v1.AutomationsService/RequestActivation", Role::Operator),
    ("/northstar.automations.v1.AutomationsService/ActivateAutomation", Role::Operator),
    ("/northstar.automations.v1.AutomationsService/PauseAutomation", Role::Operator),
    ("/northstar.automations.v1.AutomationsService/RetireAutomation", Role::Operator),
    ("/northstar.automations.v1.AutomationsService/ListRuns", Role::Viewer),
    ("/northstar.automations.v1.AutomationsService/RedriveRuns", Role::Operator),
    ("/northstar.automations.v1.AutomationsService/MeasureLift", Role::Viewer),
    ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", Role::Ingest),
    ("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", Role::Ingest),
    ("/opentelemetry.proto.collector.logs.v1.LogsService/Export", Role::Ingest),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Role::Viewer),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Role::Viewer),
];

/// Method and path of each HTTP route of a [door](crate::door), and what it
/// needs.
pub const DOORS: &[(&str, DoorAccess)] = &[
    ("POST /v1/track", DoorAccess::KeyWithin(Role::Ingest)),
    ("POST /v1/identify", DoorAccess::KeyWithin(Role::Ingest)),
    ("POST /v1/page", DoorAccess::KeyWithin(Role::Ingest)),
    ("POST /v1/screen", DoorAccess::KeyWithin(Role::Ingest)),
    ("POST /v1/group", DoorAccess::KeyWithin(Role::Ingest)),
    ("POST /v1/alias", DoorAccess::KeyWithin(Role::Ingest)),
    ("POST /v1/t", DoorAccess::KeyWithin(Role::Ingest)),
    ("POST /v1/i", DoorAccess::KeyWithin(Role::Ingest)),
    ("POST /v1/p", DoorAccess::KeyWithin(Role::Ingest)),
    ("POST /v1/s", DoorAccess::KeyWithin(Role::Ingest)),
    ("POST /v1/g", DoorAccess::KeyWithin(Role::Ingest)),
    ("POST /v1/a", DoorAccess::KeyWithin(Role::Ingest)),
    ("POST /v1/batch", DoorAccess::KeyWithin(Role::Ingest)),
    ("POST /v1/b", DoorAccess::KeyWithin(Role::Ingest)),
    ("POST /v1/import", DoorAccess::KeyWithin(Role::Ingest)),
    ("POST /beacon/v1/batch", DoorAccess::KeyWithin(Role::Ingest)),
    ("GET /v1/projects/{write_key}/settings", DoorAccess::KeyWithin(Role::Ingest)),
    ("GET /v1/pixel/alias", DoorAccess::KeyWithin(Role::Ingest)),
    ("GET /v1/pixel/group", DoorAccess::KeyWithin(Role::Ingest)),
    ("GET /v1/pixel/identify", DoorAccess::KeyWithin(Role::Ingest)),
    ("GET /v1/pixel/page", DoorAccess::KeyWithin(Role::Ingest)),
    ("GET /v1/pixel/screen", DoorAccess::KeyWithin(Role::Ingest)),
    ("GET /v1/pixel/track", DoorAccess::KeyWithin(Role::Ingest)),
    ("GET /sourceConfig", DoorAccess::KeyWithin(Role::Ingest)),
    ("GET /sourceConfig/", DoorAccess::KeyWithin(Role::Ingest)),
    ("POST /v1/cloudevents", DoorAccess::Key(Role::Ingest)),
    ("POST /v1/traces", DoorAccess::Key(Role::Ingest)),
    ("POST /v1/metrics", DoorAccess::Key(Role::Ingest)),
    ("POST /v1/logs", DoorAccess::Key(Role::Ingest)),
    // A webhook is believed for its signature.
    ("POST /v1/webhooks/{project}/{name}", DoorAccess::Own),
    ("GET /v1/webhooks/{project}/{name}", DoorAccess::Own),
];

/// What a request needs before it reaches the handler of an HTTP route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DoorAccess {
    /// A key in a header, whose role includes this one.
    Key(Role),
    /// The same, but the protocol may have the key elsewhere in the request,
    /// where the handler looks for it.
    KeyWithin(Role),
    /// No key: the handler has its own way to tell who sends, for example a
    /// signature.
    Own,
}

/// What a request to this route, for example `POST /v1/track`, needs; `None`
/// when it is not listed.
pub fn door(route: &str) -> Option<DoorAccess> {
    static BY_ROUTE: LazyLock<HashMap<&str, DoorAccess>> =
        LazyLock::new(|| DOORS.iter().copied().collect());
    BY_ROUTE.get(route).copied()
}

/// Refuses a caller whose role does not include the required one.
pub(crate) fn allow(caller: &Caller, required: Role) -> Result<(), Failure> {
    if caller.role.allows(required) {
        return Ok(());
    }
    Err(failure(
        ErrorReason::RoleRequired,
        format!("the call needs role {required}, the key has role {}", caller.role),
    )
    .metadata("role", caller.role.as_str())
    .metadata("required_role", required.as_str()))
}

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
