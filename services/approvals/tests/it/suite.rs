//! A running service, people with keys, and a clock in hand.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use northstar_approvals::Config;
use northstar_client::Clients;
use northstar_domain::{ApiKeyId, ApiKeySecret, Clock as _, ProjectId, Role};
use northstar_proto::approvals::v1 as pb;
use northstar_server::{Context, Host};
use northstar_store::PgPool;
use northstar_store::access::{ApiKey, insert_api_key};
use northstar_testkit::{MockClock, TestDatabase};
use tonic::Status;
use tonic_types::StatusExt as _;

const SUITE_KEY: &str = "suite-key-of-the-tests";

pub struct Suite {
    pub host: Host,
    pub clock: Arc<MockClock>,
    database: TestDatabase,
}

impl Suite {
    pub async fn start() -> Self {
        let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
        let noon: DateTime<Utc> = "2026-03-02T12:00:00Z".parse().unwrap();
        let clock = Arc::new(MockClock::new(noon));
        let config =
            northstar_server::Config::for_tests(database.url(), SUITE_KEY, "unused".into());
        let shared: Arc<MockClock> = Arc::clone(&clock);
        let host = Host::start(config, async move |context| {
            let context = Context { clock: shared, ..context };
            Ok(vec![northstar_approvals::build(Config::default(), context).await?])
        })
        .await
        .unwrap();
        Self { host, clock, database }
    }

    /// The database as its superuser: what no service may do.
    pub fn superuser(&self) -> &PgPool {
        self.database.pool()
    }

    /// Another service, with the suite key.
    pub fn machine(&self) -> Clients {
        self.host.clients(SUITE_KEY).unwrap().for_project(1)
    }

    /// Somebody with a new key.
    pub async fn person(&self, principal: &str, role: Role) -> Clients {
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
        self.host.clients(secret.reveal()).unwrap()
    }

    pub async fn approver(&self, principal: &str) -> Clients {
        self.person(principal, Role::Approver).await
    }
}

/// The question most tests ask.
pub fn ship_question() -> pb::DecisionRequest {
    pb::DecisionRequest {
        action: "experiment.ship".to_owned(),
        subject: "experiments/checkout".to_owned(),
        summary: "ship treatment to everybody".to_owned(),
        diff_json: r#"{"variant": "treatment", "experiment": "checkout"}"#.to_owned(),
        evidence: vec![pb::Evidence {
            title: "analysis".to_owned(),
            json: r#"{"lift": 0.031}"#.to_owned(),
            source: "experiments/checkout".to_owned(),
        }],
        ..pb::DecisionRequest::default()
    }
}

pub async fn ask(author: &Clients) -> pb::DecisionRequest {
    let request = pb::CreateDecisionRequestRequest {
        decision_request: Some(ship_question()),
        request_id: String::new(),
    };
    let response = author.approvals().create_decision_request(request).await.unwrap();
    response.into_inner().decision_request.unwrap()
}

/// A verdict about a request as it was last seen.
pub fn verdict(seen: &pb::DecisionRequest, kind: pb::VerdictKind) -> pb::RecordVerdictRequest {
    pb::RecordVerdictRequest {
        decision_request_id: seen.decision_request_id.clone(),
        kind: kind.into(),
        reason: "looked at the evidence".to_owned(),
        review_cycle: seen.review_cycle,
        diff_digest: seen.diff_digest.clone(),
        ..pb::RecordVerdictRequest::default()
    }
}

pub async fn decide(
    approver: &Clients,
    request: pb::RecordVerdictRequest,
) -> Result<pb::DecisionRequest, Status> {
    let response = approver.approvals().record_verdict(request).await?;
    Ok(response.into_inner().decision_request.unwrap())
}

pub async fn approve(
    approver: &Clients,
    seen: &pb::DecisionRequest,
) -> Result<pb::DecisionRequest, Status> {
    decide(approver, verdict(seen, pb::VerdictKind::Approve)).await
}

pub async fn edit(
    approver: &Clients,
    seen: &pb::DecisionRequest,
    diff: &str,
) -> Result<pb::DecisionRequest, Status> {
    let edit = pb::RecordVerdictRequest {
        edited_diff_json: diff.to_owned(),
        ..verdict(seen, pb::VerdictKind::Edit)
    };
    decide(approver, edit).await
}

pub async fn read(reader: &Clients, id: &str) -> pb::DecisionRequest {
    let request = pb::GetDecisionRequestRequest { decision_request_id: id.to_owned() };
    let response = reader.approvals().get_decision_request(request).await.unwrap();
    response.into_inner().decision_request.unwrap()
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

pub fn ship_policy(role: &str, quorum: i32, sla_seconds: i64) -> pb::ApplyPolicyRequest {
    pb::ApplyPolicyRequest {
        policy: Some(pb::Policy {
            name: "ship".to_owned(),
            action: "experiment.ship".to_owned(),
            role: role.to_owned(),
            quorum,
            sla: Some(prost_types::Duration { seconds: sla_seconds, nanos: 0 }),
            owner: "growth".to_owned(),
            etag: String::new(),
        }),
        ..pb::ApplyPolicyRequest::default()
    }
}
