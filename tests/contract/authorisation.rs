//! Every RPC has an authorisation case, and every case is tried against the
//! running suite: without a key, with every role that may not, with one that
//! may.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut};
use http::StatusCode;
use northstar_domain::Role;
use northstar_server::access::{self, DoorAccess};
use northstar_tests::Suite;
use northstar_tests::http::Http;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};

use crate::descriptors::methods;

/// The role each RPC needs, written down a second time on purpose: a change of
/// the server's table must be meant.
const CASES: &[(&str, Role)] = &[
    ("approvals.v1.AccessService/CreateApiKey", Role::Admin),
    ("approvals.v1.AccessService/ListApiKeys", Role::Admin),
    ("approvals.v1.AccessService/RevokeApiKey", Role::Admin),
    ("approvals.v1.ApprovalsService/AppendAuditEntry", Role::Operator),
    ("approvals.v1.ApprovalsService/ApplyPolicy", Role::Admin),
    ("approvals.v1.ApprovalsService/CreateDecisionRequest", Role::Analyst),
    ("approvals.v1.ApprovalsService/GetDecisionRequest", Role::Viewer),
    ("approvals.v1.ApprovalsService/GetPolicy", Role::Viewer),
    ("approvals.v1.ApprovalsService/ListAuditEntries", Role::Viewer),
    ("approvals.v1.ApprovalsService/ListDecisionRequests", Role::Viewer),
    ("approvals.v1.ApprovalsService/ListPolicies", Role::Viewer),
    ("approvals.v1.ApprovalsService/RecordVerdict", Role::Approver),
    ("approvals.v1.ApprovalsService/VerifyAuditLog", Role::Viewer),
    ("approvals.v1.ApprovalsService/WithdrawDecisionRequest", Role::Analyst),
    ("automations.v1.AutomationsService/ActivateAutomation", Role::Operator),
    ("automations.v1.AutomationsService/ApplyAutomation", Role::Analyst),
    ("automations.v1.AutomationsService/GetAutomation", Role::Viewer),
    ("automations.v1.AutomationsService/ListAutomations", Role::Viewer),
    ("automations.v1.AutomationsService/ListRuns", Role::Viewer),
    ("automations.v1.AutomationsService/MeasureLift", Role::Viewer),
    ("automations.v1.AutomationsService/PauseAutomation", Role::Operator),
    ("automations.v1.AutomationsService/PreviewChange", Role::Viewer),
    ("automations.v1.AutomationsService/RedriveRuns", Role::Operator),
    ("automations.v1.AutomationsService/RequestActivation", Role::Operator),
    ("automations.v1.AutomationsService/RetireAutomation", Role::Operator),
    ("experiments.v1.ExperimentsService/AnalyzeExperiment", Role::Viewer),
    ("experiments.v1.ExperimentsService/ApplyExperiment", Role::Analyst),
    ("experiments.v1.ExperimentsService/AssignVariants", Role::Operator),
    ("experiments.v1.ExperimentsService/ConcludeExperiment", Role::Operator),
    ("experiments.v1.ExperimentsService/GetExperiment", Role::Viewer),
    ("experiments.v1.ExperimentsService/ListExperiments", Role::Viewer),
    ("experiments.v1.ExperimentsService/RequestShipDecision", Role::Operator),
    ("experiments.v1.ExperimentsService/StartExperiment", Role::Operator),
    ("experiments.v1.ExperimentsService/StopExperiment", Role::Operator),
    ("ingestion.v1.ContractsService/ApplyApprovedContract", Role::Analyst),
    ("ingestion.v1.ContractsService/CheckContract", Role::Viewer),
    ("ingestion.v1.ContractsService/GetUnplannedEventsRule", Role::Viewer),
    ("ingestion.v1.ContractsService/InferContract", Role::Analyst),
    ("ingestion.v1.ContractsService/ListContractVersions", Role::Viewer),
    ("ingestion.v1.ContractsService/ListEventNotes", Role::Admin),
    ("ingestion.v1.ContractsService/RequestContractChange", Role::Analyst),
    ("ingestion.v1.ContractsService/SetUnplannedEventsRule", Role::Analyst),
    ("ingestion.v1.IngestionService/ApplyContract", Role::Analyst),
    ("ingestion.v1.IngestionService/CommitCursor", Role::Analyst),
    ("ingestion.v1.IngestionService/GetContract", Role::Viewer),
    ("ingestion.v1.IngestionService/IngestColumns", Role::Ingest),
    ("ingestion.v1.IngestionService/IngestEvents", Role::Ingest),
    ("ingestion.v1.IngestionService/ListContracts", Role::Viewer),
    ("ingestion.v1.IngestionService/ListQuarantinedEvents", Role::Analyst),
    ("ingestion.v1.IngestionService/ListSources", Role::Viewer),
    ("ingestion.v1.IngestionService/QuarantineRecords", Role::Ingest),
    ("ingestion.v1.IngestionService/ResolveSubject", Role::Viewer),
    ("ingestion.v1.IngestionService/StreamEvents", Role::Ingest),
    ("ingestion.v1.IngestionService/Subscribe", Role::Analyst),
    ("ingestion.v1.WebhookSourcesService/ApplyWebhookSource", Role::Analyst),
    ("ingestion.v1.WebhookSourcesService/DeleteWebhookSource", Role::Analyst),
    ("ingestion.v1.WebhookSourcesService/GetWebhookSource", Role::Viewer),
    ("ingestion.v1.WebhookSourcesService/ListWebhookSources", Role::Viewer),
    ("ingestion.v1.WebhookSourcesService/SetWebhookSecret", Role::Admin),
    ("ingestion.v1.QuarantineService/DiscardQuarantinedEvents", Role::Operator),
    ("ingestion.v1.QuarantineService/GetQuarantinedEvent", Role::Analyst),
    ("ingestion.v1.QuarantineService/PatchQuarantinedEvents", Role::Operator),
    ("ingestion.v1.QuarantineService/ReplayQuarantinedEvents", Role::Operator),
    ("ingestion.v1.QuarantineService/ResolveIdConflicts", Role::Operator),
    ("ingestion.v1.QuarantineService/SearchQuarantinedEvents", Role::Analyst),
    ("ingestion.v1.SubjectsService/ApplyConsentPolicy", Role::Admin),
    ("ingestion.v1.SubjectsService/ApplyIdentityPolicy", Role::Admin),
    ("ingestion.v1.SubjectsService/EraseSubject", Role::Admin),
    ("ingestion.v1.SubjectsService/ExportSubject", Role::Admin),
    ("ingestion.v1.SubjectsService/FollowErasures", Role::Admin),
    ("ingestion.v1.SubjectsService/GetConsent", Role::Viewer),
    ("ingestion.v1.SubjectsService/GetConsentPolicy", Role::Viewer),
    ("ingestion.v1.SubjectsService/GetErasure", Role::Operator),
    ("ingestion.v1.SubjectsService/GetIdentityPolicy", Role::Viewer),
    ("ingestion.v1.SubjectsService/LinkIdentifiers", Role::Operator),
    ("ingestion.v1.SubjectsService/ListConsentPolicies", Role::Viewer),
    ("ingestion.v1.SubjectsService/ListErasures", Role::Operator),
    ("ingestion.v1.SubjectsService/ListIdentityFacts", Role::Analyst),
    ("ingestion.v1.SubjectsService/ListIdentityPolicies", Role::Viewer),
    ("ingestion.v1.SubjectsService/MergeSubjects", Role::Operator),
    ("ingestion.v1.SubjectsService/RequestMerge", Role::Operator),
    ("ingestion.v1.SubjectsService/PreviewMerge", Role::Analyst),
    ("ingestion.v1.SubjectsService/RecordConsent", Role::Operator),
    ("ingestion.v1.SubjectsService/ReportErasure", Role::Admin),
    ("ingestion.v1.SubjectsService/UnlinkIdentifiers", Role::Operator),
    ("ingestion.v1.SubjectsService/UnmergeSubjects", Role::Operator),
    ("ingestion.v1.RetentionService/ApplyRetentionPolicy", Role::Admin),
    ("ingestion.v1.RetentionService/DeleteRetentionPolicy", Role::Admin),
    ("ingestion.v1.RetentionService/GetRetentionPolicy", Role::Viewer),
    ("ingestion.v1.RetentionService/ListArchivedFiles", Role::Viewer),
    ("ingestion.v1.RetentionService/ListRetentionPolicies", Role::Viewer),
    ("ingestion.v1.SourcesService/ApplySource", Role::Analyst),
    ("ingestion.v1.SourcesService/DeleteSource", Role::Analyst),
    ("ingestion.v1.SourcesService/GetSource", Role::Viewer),
    ("ingestion.v1.SourcesService/ListSourceDefinitions", Role::Viewer),
    ("ingestion.v1.SourcesService/ListSourceStates", Role::Viewer),
    ("ingestion.v1.SubscriptionsService/Consume", Role::Analyst),
    ("ingestion.v1.SubscriptionsService/DeleteSubscription", Role::Operator),
    ("ingestion.v1.SubscriptionsService/FindPosition", Role::Viewer),
    ("ingestion.v1.SubscriptionsService/ListSubscriptions", Role::Viewer),
    ("ingestion.v1.SubscriptionsService/ReadEvents", Role::Analyst),
    ("ingestion.v1.SubscriptionsService/SeekSubscription", Role::Operator),
    ("metrics.v1.CohortsService/ApplyCohort", Role::Analyst),
    ("metrics.v1.CohortsService/DeleteCohort", Role::Analyst),
    ("metrics.v1.CohortsService/GetCohort", Role::Viewer),
    ("metrics.v1.CohortsService/ListCohorts", Role::Viewer),
    ("metrics.v1.CohortsService/QueryCohort", Role::Analyst),
    ("metrics.v1.CohortsService/SnapshotCohort", Role::Analyst),
    ("metrics.v1.CohortsService/UploadCohortMembers", Role::Analyst),
    ("metrics.v1.EvidenceService/Explain", Role::Analyst),
    ("metrics.v1.EvidenceService/ListRestatements", Role::Viewer),
    ("metrics.v1.EvidenceService/ListSubjects", Role::Analyst),
    ("metrics.v1.InsightsService/AttributeChange", Role::Viewer),
    ("metrics.v1.InsightsService/DetectAnomalies", Role::Viewer),
    ("metrics.v1.InsightsService/QueryCustomerValue", Role::Analyst),
    ("metrics.v1.InsightsService/QueryImpact", Role::Viewer),
    ("metrics.v1.JourneysService/ListFunnelSubjects", Role::Analyst),
    ("metrics.v1.JourneysService/ListLifecycleSubjects", Role::Analyst),
    ("metrics.v1.JourneysService/ListPathSubjects", Role::Analyst),
    ("metrics.v1.JourneysService/ListRetentionSubjects", Role::Analyst),
    ("metrics.v1.JourneysService/QueryFunnel", Role::Viewer),
    ("metrics.v1.JourneysService/QueryLifecycle", Role::Viewer),
    ("metrics.v1.JourneysService/QueryPaths", Role::Viewer),
    ("metrics.v1.JourneysService/QueryRetention", Role::Viewer),
    ("metrics.v1.MetricsService/ApplyKpi", Role::Analyst),
    ("metrics.v1.MetricsService/ApplyMetric", Role::Analyst),
    ("metrics.v1.MetricsService/ApplyPillar", Role::Analyst),
    ("metrics.v1.MetricsService/GetKpi", Role::Viewer),
    ("metrics.v1.MetricsService/GetMetric", Role::Viewer),
    ("metrics.v1.MetricsService/GetPillar", Role::Viewer),
    ("metrics.v1.MetricsService/GetScorecard", Role::Viewer),
    ("metrics.v1.MetricsService/ListKpis", Role::Viewer),
    ("metrics.v1.MetricsService/ListMetrics", Role::Viewer),
    ("metrics.v1.MetricsService/ListPillars", Role::Viewer),
    ("metrics.v1.MetricsService/ApplyActivity", Role::Analyst),
    ("metrics.v1.MetricsService/GetActivity", Role::Viewer),
    ("metrics.v1.MetricsService/ListActivities", Role::Viewer),
    ("metrics.v1.MetricsService/QueryMetrics", Role::Viewer),
    ("metrics.v1.MetricsService/GetKpiTree", Role::Viewer),
    ("metrics.v1.MetricsService/GetLineage", Role::Viewer),
    ("metrics.v1.MetricsService/QueryMetric", Role::Viewer),
    ("metrics.v1.MetricsService/QueryVariantStatistics", Role::Viewer),
    ("metrics.v1.ReportsService/AddScorecardNote", Role::Analyst),
    ("metrics.v1.ReportsService/GetExecutiveReport", Role::Viewer),
    ("metrics.v1.ReportsService/GetWeeklyScorecard", Role::Viewer),
    ("metrics.v1.ReportsService/ListScorecardNotes", Role::Viewer),
    ("metrics.v1.ThresholdsService/ApplyThreshold", Role::Analyst),
    ("metrics.v1.ThresholdsService/DeleteThreshold", Role::Analyst),
    ("metrics.v1.ThresholdsService/EvaluateThreshold", Role::Viewer),
    ("metrics.v1.ThresholdsService/GetThreshold", Role::Viewer),
    ("metrics.v1.ThresholdsService/ListEvaluations", Role::Viewer),
    ("metrics.v1.ThresholdsService/ListThresholds", Role::Viewer),
    ("metrics.v1.ThresholdsService/PauseThreshold", Role::Operator),
    ("metrics.v1.ThresholdsService/ReplayEvaluations", Role::Viewer),
    ("metrics.v1.ThresholdsService/ResumeThreshold", Role::Operator),
];

/// The same for the services of other people's contracts that we serve.
const FOREIGN_CASES: &[(&str, Role)] = &[
    ("opentelemetry.proto.collector.logs.v1.LogsService/Export", Role::Ingest),
    ("opentelemetry.proto.collector.metrics.v1.MetricsService/Export", Role::Ingest),
    ("opentelemetry.proto.collector.trace.v1.TraceService/Export", Role::Ingest),
];

/// Path and role of every case.
fn cases() -> impl Iterator<Item = (String, Role)> {
    let own = CASES.iter().map(|(method, role)| (format!("/northstar.{method}"), *role));
    let foreign = FOREIGN_CASES.iter().map(|(method, role)| (format!("/{method}"), *role));
    own.chain(foreign)
}

#[test]
fn every_foreign_rpc_has_an_authorisation_case() {
    let (expected, listed): (BTreeSet<_>, BTreeSet<_>) = (
        northstar_server::access::TABLE
            .iter()
            .map(|(path, _)| (*path).to_owned())
            .filter(|path| !path.starts_with("/northstar.") && !path.starts_with("/grpc."))
            .collect(),
        FOREIGN_CASES.iter().map(|(method, _)| format!("/{method}")).collect(),
    );
    assert_eq!(listed, expected);
}

/// The same for HTTP routes that ask for a key.
const DOORS: &[(&str, Role)] = &[
    ("GET /sourceConfig", Role::Ingest),
    ("GET /sourceConfig/", Role::Ingest),
    ("GET /v1/pixel/alias", Role::Ingest),
    ("GET /v1/pixel/group", Role::Ingest),
    ("GET /v1/pixel/identify", Role::Ingest),
    ("GET /v1/pixel/page", Role::Ingest),
    ("GET /v1/pixel/screen", Role::Ingest),
    ("GET /v1/pixel/track", Role::Ingest),
    ("GET /v1/projects/{write_key}/settings", Role::Ingest),
    ("POST /beacon/v1/batch", Role::Ingest),
    ("POST /v1/a", Role::Ingest),
    ("POST /v1/alias", Role::Ingest),
    ("POST /v1/b", Role::Ingest),
    ("POST /v1/batch", Role::Ingest),
    ("POST /v1/cloudevents", Role::Ingest),
    ("POST /v1/g", Role::Ingest),
    ("POST /v1/group", Role::Ingest),
    ("POST /v1/i", Role::Ingest),
    ("POST /v1/identify", Role::Ingest),
    ("POST /v1/import", Role::Ingest),
    ("POST /v1/logs", Role::Ingest),
    ("POST /v1/metrics", Role::Ingest),
    ("POST /v1/p", Role::Ingest),
    ("POST /v1/page", Role::Ingest),
    ("POST /v1/s", Role::Ingest),
    ("POST /v1/screen", Role::Ingest),
    ("POST /v1/t", Role::Ingest),
    ("POST /v1/traces", Role::Ingest),
    ("POST /v1/track", Role::Ingest),
];

#[test]
fn every_door_has_an_authorisation_case() {
    let mut routes: Vec<_> = access::DOORS
        .iter()
        .filter(|(_, access)| *access != DoorAccess::Own)
        .map(|(route, _)| *route)
        .collect();
    routes.sort_unstable();
    let cases: Vec<_> = DOORS.iter().map(|(route, _)| *route).collect();
    assert_eq!(cases, routes);
}

#[tokio::test]
async fn every_door_refuses_who_may_not_come_in() {
    let suite = Suite::start().await;
    let http = Http::of(&suite);
    let mut wrong = Vec::new();
    let mut keys = vec![(None, "nobody".to_owned()), (None, "ns_admin_unknown".to_owned())];
    for role in Role::ALL {
        keys.push((Some(role), suite.key(role.as_str(), role).await));
    }
    for (route, required) in DOORS {
        let (method, path) = route.split_once(' ').expect("a method and a path");
        for (role, key) in &keys {
            let path = path.replace("{write_key}", key);
            let authorization = format!("Bearer {key}");
            let mut headers = vec![("authorization", authorization.as_str())];
            if key == "nobody" {
                headers.clear();
            }
            let method = method.parse().expect("a method");
            // A body without a key in it, where one may be.
            let body = r#"{"batch":[]}"#;
            let answer = http.send(method, &path, &headers, body).await.status;
            let right = match role {
                None => answer == StatusCode::UNAUTHORIZED,
                // It may be refused for other reasons.
                Some(role) => (answer == StatusCode::FORBIDDEN) != role.allows(*required),
            };
            if !right || answer == StatusCode::NOT_FOUND {
                wrong.push(format!("{route} answers {answer} to {role:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    suite.stop().await;
}

#[test]
fn every_rpc_has_an_authorisation_case() {
    let mut cases: Vec<_> =
        CASES.iter().map(|(method, _)| format!("/northstar.{method}")).collect();
    cases.sort();
    assert_eq!(cases, methods());
}

#[tokio::test]
async fn every_rpc_refuses_who_may_not_call_it() {
    let suite = Suite::start().await;
    let mut keys = BTreeMap::new();
    for role in Role::ALL {
        keys.insert(role, suite.key(role.as_str(), role).await);
    }
    let address = format!("http://{}", suite.host.grpc);
    let channel = tonic::transport::Endpoint::from_shared(address)
        .expect("an address")
        .connect()
        .await
        .expect("the suite answers");

    let mut wrong = Vec::new();
    for (path, required) in cases() {
        let mut expect = |who: &str, found: Code, right: bool| {
            if !right {
                wrong.push(format!("{path} answers {found:?} to {who}"));
            }
        };
        let code = call(&channel, &path, None).await;
        expect("nobody", code, code == Code::Unauthenticated);
        let code = call(&channel, &path, Some("ns_admin_unknown")).await;
        expect("an unknown key", code, code == Code::Unauthenticated);
        for (role, key) in &keys {
            let code = call(&channel, &path, Some(key)).await;
            let refused = matches!(code, Code::PermissionDenied | Code::Unauthenticated);
            expect(role.as_str(), code, refused != role.allows(required));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    suite.stop().await;
}

/// Calls any method with an empty message, whatever its types: an empty message
/// is valid protobuf for all of them.
async fn call(channel: &tonic::transport::Channel, path: &str, key: Option<&str>) -> Code {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.expect("the channel is ready");
    let mut request = Request::new(tokio_stream::iter([Empty]));
    request.set_timeout(std::time::Duration::from_millis(1_500));
    if let Some(key) = key {
        let value = format!("Bearer {key}").parse().expect("a key is ASCII");
        request.metadata_mut().insert("authorization", value);
    }
    let path = path.parse().expect("a method path");
    match client.streaming(request, path, EmptyCodec).await {
        Err(status) => status.code(),
        Ok(response) => {
            let mut messages = response.into_inner();
            match messages.message().await {
                Ok(_) => Code::Ok,
                Err(status) => status.code(),
            }
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Empty;

#[derive(Clone, Copy, Default)]
struct EmptyCodec;

impl Codec for EmptyCodec {
    type Encode = Empty;
    type Decode = Empty;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for EmptyCodec {
    type Item = Empty;
    type Error = Status;

    fn encode(&mut self, _: Empty, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&[]);
        Ok(())
    }
}

impl Decoder for EmptyCodec {
    type Item = Empty;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Empty>, Status> {
        buffer.advance(buffer.remaining());
        Ok(Some(Empty))
    }
}
