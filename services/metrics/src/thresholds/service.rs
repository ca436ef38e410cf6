//! The RPCs of thresholds.

use std::sync::Arc;

use northstar_client::Clients;
use northstar_domain::threshold::{Action, State, Threshold};
use northstar_domain::{Clock, MissingReference, Problems, ResourceName, Violations};
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::thresholds_service_server::ThresholdsService;
use northstar_server::idempotent::Mutation;
use northstar_server::{Caller, caller};
use northstar_store::metrics::definition::{self, Stored};
use northstar_store::metrics::threshold::{self as store, Schedule};
use northstar_store::page::PageSize;
use northstar_store::{Error as StoreError, PgConnection, PgPool, audit};
use prost::Message as _;
use serde_json::{Value, json};
use tonic::{Code, Request, Response, Status};

use super::change;
use super::evaluate::Watched;
use super::replay::{self, Replayed};
use crate::apply::{self, Application};
use crate::ask::ask_view;
use crate::convert::evaluation::{evaluation_to_proto, status_to_proto};
use crate::convert::from_timestamp;
use crate::convert::threshold::{from_proto, stored_to_proto};
use crate::dataset::Datasets;
use crate::provenance::Sources;
use crate::{Error, Result};

const APPLY: &str = "/northstar.metrics.v1.ThresholdsService/ApplyThreshold";
const DELETE: &str = "/northstar.metrics.v1.ThresholdsService/DeleteThreshold";
const PAUSE: &str = "/northstar.metrics.v1.ThresholdsService/PauseThreshold";
const RESUME: &str = "/northstar.metrics.v1.ThresholdsService/ResumeThreshold";

/// Longest reason of a pause, in bytes.
const REASON_LIMIT: usize = 1_000;

/// The gRPC service.
#[derive(Clone)]
pub(crate) struct Thresholds {
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) datasets: Arc<Datasets>,
    pub(crate) clients: Clients,
}

#[tonic::async_trait]
impl ThresholdsService for Thresholds {
    async fn apply_threshold(
        &self,
        request: Request<pb::ApplyThresholdRequest>,
    ) -> Result<Response<pb::ApplyThresholdResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let application = Application {
            method: APPLY,
            body: request.encode_to_vec(),
            received: from_proto(request.threshold.unwrap_or_default()),
            validate_only: request.validate_only,
            request_id: request.request_id,
        };
        self.check_automation(&application.received.document).await?;
        let respond = |stored: &Stored<Threshold>| pb::ApplyThresholdResponse {
            threshold: Some(stored_to_proto(stored)),
        };
        let now = self.clock.now();
        Ok(Response::new(apply::apply(&self.pool, &caller, now, application, respond).await?))
    }

    async fn get_threshold(
        &self,
        request: Request<pb::GetThresholdRequest>,
    ) -> Result<Response<pb::GetThresholdResponse>, Status> {
        let caller = caller(&request)?;
        let mut connection =
            self.pool.acquire().await.map_err(StoreError::from).map_err(Error::from)?;
        let stored = find(&mut connection, &caller, &request.get_ref().name).await?;
        let status = Some(status(&mut connection, &caller, &stored).await?);
        Ok(Response::new(pb::GetThresholdResponse { status }))
    }

    async fn list_thresholds(
        &self,
        request: Request<pb::ListThresholdsRequest>,
    ) -> Result<Response<pb::ListThresholdsResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.list(&caller, &request.into_inner()).await?))
    }

    async fn delete_threshold(
        &self,
        request: Request<pb::DeleteThresholdRequest>,
    ) -> Result<Response<pb::DeleteThresholdResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.delete(&caller, request.into_inner()).await?))
    }

    async fn pause_threshold(
        &self,
        request: Request<pb::PauseThresholdRequest>,
    ) -> Result<Response<pb::PauseThresholdResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let mut violations = Violations::new();
        violations.require_text("reason", &request.reason, REASON_LIMIT);
        Error::check(Problems { fields: violations, ..Problems::default() })?;
        let mutation =
            Mutation::new(&caller, PAUSE, &request.request_id, &request).map_err(Error::from)?;
        let schedule = Schedule::Paused(request.reason);
        let respond = |status| pb::PauseThresholdResponse { status: Some(status) };
        Ok(Response::new(self.schedule(&caller, mutation, &request.name, schedule, respond).await?))
    }

    async fn resume_threshold(
        &self,
        request: Request<pb::ResumeThresholdRequest>,
    ) -> Result<Response<pb::ResumeThresholdResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let mutation =
            Mutation::new(&caller, RESUME, &request.request_id, &request).map_err(Error::from)?;
        let schedule = Schedule::DueAt(self.clock.now());
        let respond = |status| pb::ResumeThresholdResponse { status: Some(status) };
        Ok(Response::new(self.schedule(&caller, mutation, &request.name, schedule, respond).await?))
    }

    async fn evaluate_threshold(
        &self,
        request: Request<pb::EvaluateThresholdRequest>,
    ) -> Result<Response<pb::EvaluateThresholdResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.evaluate(&caller, request.into_inner()).await?))
    }

    async fn list_evaluations(
        &self,
        request: Request<pb::ListEvaluationsRequest>,
    ) -> Result<Response<pb::ListEvaluationsResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.list_logged(&caller, &request.into_inner()).await?))
    }

    type ReplayEvaluationsStream = Replayed;

    async fn replay_evaluations(
        &self,
        request: Request<pb::ReplayEvaluationsRequest>,
    ) -> Result<Response<Self::ReplayEvaluationsStream>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(replay::replay(self, caller.project, request.get_ref())?))
    }
}

impl Thresholds {
    /// What would be decided about must exist, and what would become of it keep the
    /// rules. Where automations cannot be asked, whoever decides will see.
    async fn check_automation(&self, threshold: &Threshold) -> Result<()> {
        let Some(decision) = &threshold.decision else { return Ok(()) };
        if decision.automation.parse::<ResourceName>().is_err() {
            return Ok(());
        }
        let name = decision.automation.clone();
        match change::check(&self.clients, decision).await {
            Err(status) if status.code() == Code::NotFound => {
                let field = "threshold.decision.automation".to_owned();
                let missing = vec![MissingReference { field, kind: "Automation", name }];
                Err(Error::Refused(Problems { missing, ..Problems::default() }))
            }
            Err(status) if change::is_final(&status) => {
                let field = match decision.action {
                    Action::Scale => "threshold.decision.holdout_by",
                    Action::Pause | Action::Adjust | Action::Investigate => {
                        "threshold.decision.change"
                    }
                };
                Err(Error::field(field, status.message()))
            }
            Err(status) => {
                tracing::warn!(
                    automation.name = name,
                    error = status.message(),
                    "a threshold is applied without looking at its automation",
                );
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn list(
        &self,
        caller: &Caller,
        request: &pb::ListThresholdsRequest,
    ) -> Result<pb::ListThresholdsResponse> {
        let size = page_size(request.page_size)?;
        let after: Option<ResourceName> = match request.page_token.as_str() {
            "" => None,
            token => Some(token.parse().map_err(|_| bad_token())?),
        };
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        let found =
            definition::list::<Threshold>(&mut connection, caller.project, after.as_ref(), size)
                .await?;
        let (page, more) = size.cut(found);
        let last = page.last().filter(|_| more).map(|last| last.name.to_string());
        let mut statuses = Vec::with_capacity(page.len());
        for stored in &page {
            statuses.push(status(&mut connection, caller, stored).await?);
        }
        Ok(pb::ListThresholdsResponse { statuses, next_page_token: last.unwrap_or_default() })
    }

    async fn delete(
        &self,
        caller: &Caller,
        request: pb::DeleteThresholdRequest,
    ) -> Result<pb::DeleteThresholdResponse> {
        let mutation = Mutation::new(caller, DELETE, &request.request_id, &request)?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await.map_err(StoreError::from)?;
        if let Some(answer) = mutation.find_answer(&mut tx).await? {
            return Ok(answer);
        }
        definition::lock(&mut tx, caller.project).await?;
        let stored = find(&mut tx, caller, &request.name).await?;
        definition::delete::<Threshold>(&mut tx, caller.project, &stored.name).await?;
        store::end(&mut tx, caller.project, &stored.name).await?;
        let detail = json!({ "before": stored.document });
        record(&mut tx, caller, "threshold.delete", &stored.name, &detail, now).await?;
        let response = pb::DeleteThresholdResponse {};
        mutation.save_answer(&mut tx, &response, now).await?;
        tx.commit().await.map_err(StoreError::from)?;
        Ok(response)
    }

    async fn schedule<R: prost::Message + Default>(
        &self,
        caller: &Caller,
        mutation: Mutation,
        name: &str,
        schedule: Schedule,
        respond: impl FnOnce(pb::ThresholdStatus) -> R,
    ) -> Result<R> {
        let now = self.clock.now();
        let mut tx = self.pool.begin().await.map_err(StoreError::from)?;
        if let Some(answer) = mutation.find_answer(&mut tx).await? {
            return Ok(answer);
        }
        definition::lock(&mut tx, caller.project).await?;
        let stored = find(&mut tx, caller, name).await?;
        let standing = store::standing(&mut tx, caller.project, name).await?;
        let was_paused = standing.is_some_and(|standing| standing.pause_reason.is_some());
        let (action, detail, pauses) = match &schedule {
            Schedule::Paused(reason) => ("threshold.pause", json!({ "reason": reason }), true),
            Schedule::DueAt(_) => ("threshold.resume", json!({}), false),
        };
        if was_paused != pauses {
            store::set_schedule(&mut tx, caller.project, &stored.name, &schedule).await?;
            record(&mut tx, caller, action, &stored.name, &detail, now).await?;
        }
        let response = respond(status(&mut tx, caller, &stored).await?);
        mutation.save_answer(&mut tx, &response, now).await?;
        tx.commit().await.map_err(StoreError::from)?;
        Ok(response)
    }

    async fn evaluate(
        &self,
        caller: &Caller,
        request: pb::EvaluateThresholdRequest,
    ) -> Result<pb::EvaluateThresholdResponse> {
        let now = self.clock.now();
        let asked_at = match &request.evaluation_time {
            None => None,
            Some(time) => Some(from_timestamp(time).filter(|at| *at <= now).ok_or_else(|| {
                Error::field("evaluation_time", "must be a time that is not in the future")
            })?),
        };
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        let (stored, state) = match (request.name.as_str(), request.threshold) {
            ("", None) => return Err(Error::field("name", "is required, or a threshold")),
            ("", Some(threshold)) => {
                (self.given(&mut connection, caller, threshold).await?, State::default())
            }
            (name, None) => {
                let stored = find(&mut connection, caller, name).await?;
                let standing = store::standing(&mut connection, caller.project, name).await?;
                // What it remembers now says nothing about the past.
                let standing = standing.filter(|_| asked_at.is_none());
                (stored, standing.map(|standing| standing.state).unwrap_or_default())
            }
            (_, Some(_)) => {
                return Err(Error::field("threshold", "must be empty where a name is given"));
            }
        };
        drop(connection);
        let watched = Watched::load(&self.pool, caller.project, stored).await?;
        let at = asked_at.unwrap_or(now);
        let view = self.datasets.view(caller.project).await?;
        let sources = Sources::read(&self.pool, caller.project, view.head, now).await?;
        let evaluation = ask_view(view, move |view| {
            let found = watched.evaluate(view, &sources, at)?;
            let logged = watched.conclude(&found, 0, state, at, now);
            Ok(evaluation_to_proto(&logged, &watched.rules)?)
        })
        .await?;
        Ok(pb::EvaluateThresholdResponse { evaluation: Some(evaluation) })
    }

    /// A threshold that is not stored, checked as if it were to be.
    async fn given(
        &self,
        connection: &mut PgConnection,
        caller: &Caller,
        threshold: pb::Threshold,
    ) -> Result<Stored<Threshold>> {
        let mut received = from_proto(threshold);
        if received.name.is_empty() {
            "unnamed".clone_into(&mut received.name);
        }
        let catalog = apply::load_catalog(connection, caller).await?;
        let name = apply::check(&received, &catalog)?;
        let etag = definition::etag(&received.document);
        Ok(Stored { name, version: 0, etag, document: received.document })
    }

    async fn list_logged(
        &self,
        caller: &Caller,
        request: &pb::ListEvaluationsRequest,
    ) -> Result<pb::ListEvaluationsResponse> {
        let size = page_size(request.page_size)?;
        if request.threshold.is_empty() {
            return Err(Error::field("threshold", "is required"));
        }
        let before: Option<i64> = match request.page_token.as_str() {
            "" => None,
            token => Some(token.parse().map_err(|_| bad_token())?),
        };
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        let found = store::list_evaluations(
            &mut connection,
            caller.project,
            &request.threshold,
            before,
            request.effects_only,
            size,
        )
        .await?;
        let (page, more) = size.cut(found);
        let last = page.last().filter(|_| more).map(|last| last.sequence.to_string());
        let evaluations = page.iter().map(|logged| {
            let rules = logged.document.rules().map_err(|violations| StoreError::Corrupt {
                table: "metrics.threshold_evaluations",
                column: "document",
                row: format!("{}/{}", logged.name, logged.sequence),
                value: violations.to_string(),
            })?;
            Ok(evaluation_to_proto(logged, &rules)?)
        });
        Ok(pb::ListEvaluationsResponse {
            evaluations: evaluations.collect::<Result<_>>()?,
            next_page_token: last.unwrap_or_default(),
        })
    }
}

fn page_size(size: i32) -> Result<PageSize> {
    PageSize::from_request(size).map_err(|error| Error::field("page_size", error.to_string()))
}

fn bad_token() -> Error {
    Error::field("page_token", "is not a token that an earlier page gave")
}

async fn find(
    connection: &mut PgConnection,
    caller: &Caller,
    name: &str,
) -> Result<Stored<Threshold>> {
    definition::find(connection, caller.project, name)
        .await?
        .ok_or_else(|| Error::NotFound { kind: "Threshold", name: name.to_owned() })
}

async fn status(
    connection: &mut PgConnection,
    caller: &Caller,
    stored: &Stored<Threshold>,
) -> Result<pb::ThresholdStatus> {
    let name = stored.name.as_str();
    let standing = store::standing(connection, caller.project, name).await?.ok_or_else(|| {
        StoreError::Corrupt {
            table: "metrics.threshold_states",
            column: "name",
            row: name.to_owned(),
            value: "missing".to_owned(),
        }
    })?;
    Ok(status_to_proto(stored, &standing))
}

async fn record(
    connection: &mut PgConnection,
    caller: &Caller,
    action: &str,
    name: &ResourceName,
    detail: &Value,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<()> {
    let entry = audit::NewEntry {
        project: caller.project,
        actor: &caller.principal,
        action,
        resource: &format!("thresholds/{name}"),
        detail,
        at: now,
    };
    audit::append(connection, &entry).await?;
    Ok(())
}
