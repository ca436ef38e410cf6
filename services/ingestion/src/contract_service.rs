//! `ContractsService`: what changes of contracts mean, and what was before.

use northstar_domain::ProjectId;
use northstar_domain::contract::{ContractMode, ContractSpec, SchemaVersion, compare};
use northstar_domain::event::MAX_ID_BYTES;
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use northstar_server::caller;
use northstar_server::idempotent::Mutation;
use northstar_server::page::page_size;
use northstar_store::audit;
use northstar_store::ingestion::{contracts, heads, log, notes};
use pb::contracts_service_server::ContractsService;
use tonic::{Request, Response, Status};

use crate::apply_contract::{apply_approved, propose, request_change};
use crate::convert::{
    bump_to_proto, contract_to_proto, mode_from_proto, mode_to_proto, time_to_proto,
};
use crate::error::Error;
use crate::infer::Inference;
use crate::notes::unsealed;
use crate::reads::{Shown, audited};
use crate::service::{Ingestion, check_name, some_if_set, unknown_page};

const SET_UNPLANNED: &str = "/northstar.ingestion.v1.ContractsService/SetUnplannedEventsRule";
/// Positions read at once, from the end of the log.
const READ_POSITIONS: i64 = 1_000;
/// Most positions read for one proposal.
const MAX_SCANNED_POSITIONS: i64 = 1_000_000;
const DEFAULT_INFERRED_EVENTS: u64 = 10_000;

/// The service.
pub(crate) struct ContractService(pub(crate) Ingestion);

#[tonic::async_trait]
impl ContractsService for ContractService {
    async fn check_contract(
        &self,
        request: Request<pb::CheckContractRequest>,
    ) -> Result<Response<pb::CheckContractResponse>, Status> {
        let caller = caller(&request)?;
        let contract = request.into_inner().contract;
        let proposed = propose(&self.0.contract_changes(), &caller, contract.as_ref()).await?;
        let before = proposed.before.as_ref().map(|before| &before.spec);
        let bump = proposed.found.bump();
        let least = before.map_or(FIRST, |before| before.schema_version.bumped(bump));
        let version_problem = proposed.version_problem();
        Ok(Response::new(pb::CheckContractResponse {
            current_version: before
                .map(|before| before.schema_version.to_string())
                .unwrap_or_default(),
            bump: bump_to_proto(bump).into(),
            least_version: least.to_string(),
            changes: proposed
                .found
                .changes
                .into_iter()
                .map(|change| pb::SchemaChange {
                    path: change.path,
                    property: change.property,
                    bump: bump_to_proto(change.bump).into(),
                    what: change.what,
                })
                .collect(),
            needs_decision: !proposed.broken.is_empty(),
            broken_metrics: proposed.broken,
            version_problem: version_problem.map(|found| found.problem).unwrap_or_default(),
        }))
    }

    async fn request_contract_change(
        &self,
        request: Request<pb::RequestContractChangeRequest>,
    ) -> Result<Response<pb::RequestContractChangeResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        Ok(Response::new(request_change(&self.0.contract_changes(), &caller, &request).await?))
    }

    async fn apply_approved_contract(
        &self,
        request: Request<pb::ApplyApprovedContractRequest>,
    ) -> Result<Response<pb::ApplyApprovedContractResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let response = apply_approved(&self.0.contract_changes(), &caller, &request).await?;
        // What was applied holds from the next request on.
        self.0.contracts.reload(caller.project).await.map_err(Error::from)?;
        Ok(Response::new(response))
    }

    async fn list_contract_versions(
        &self,
        request: Request<pb::ListContractVersionsRequest>,
    ) -> Result<Response<pb::ListContractVersionsResponse>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        Ok(Response::new(self.versions(project, &request).await?))
    }

    async fn infer_contract(
        &self,
        request: Request<pb::InferContractRequest>,
    ) -> Result<Response<pb::InferContractResponse>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        Ok(Response::new(self.infer(project, request).await?))
    }

    async fn get_unplanned_events_rule(
        &self,
        request: Request<pb::GetUnplannedEventsRuleRequest>,
    ) -> Result<Response<pb::GetUnplannedEventsRuleResponse>, Status> {
        let project = caller(&request)?.project;
        let mut connection = self.0.pool.acquire().await.map_err(store_error)?;
        let mode =
            contracts::unplanned_events(&mut connection, project).await.map_err(Error::from)?;
        Ok(Response::new(pb::GetUnplannedEventsRuleResponse { mode: mode_to_proto(mode).into() }))
    }

    async fn set_unplanned_events_rule(
        &self,
        request: Request<pb::SetUnplannedEventsRuleRequest>,
    ) -> Result<Response<pb::SetUnplannedEventsRuleResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let response = self.set_unplanned(&caller, &request).await?;
        self.0.contracts.reload(caller.project).await.map_err(Error::from)?;
        Ok(Response::new(response))
    }

    async fn list_event_notes(
        &self,
        request: Request<pb::ListEventNotesRequest>,
    ) -> Result<Response<pb::ListEventNotesResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        Ok(Response::new(self.notes(&caller, &request).await?))
    }
}

const FIRST: SchemaVersion = SchemaVersion { model: 1, revision: 0, addition: 0 };

fn store_error(error: impl Into<northstar_store::Error>) -> Error {
    Error::from(error.into())
}

impl ContractService {
    async fn versions(
        &self,
        project: ProjectId,
        request: &pb::ListContractVersionsRequest,
    ) -> Result<pb::ListContractVersionsResponse, Error> {
        check_name("name", &request.name, MAX_ID_BYTES)?;
        let size = page_size(request.page_size)?;
        let before = match request.page_token.as_str() {
            "" => i64::MAX,
            token => token.parse().map_err(|_| unknown_page())?,
        };
        let mut connection = self.0.pool.acquire().await.map_err(store_error)?;
        let name = &request.name;
        let found = contracts::history(&mut connection, project, name, before, size).await?;
        let (page, more) = size.cut(found);
        let next_page_token = match page.last() {
            Some(last) if more => last.revision.to_string(),
            _ => String::new(),
        };
        let versions = page
            .into_iter()
            .map(|past| pb::ContractVersion {
                revision: past.revision,
                contract: Some(pb::Contract {
                    etag: past.etag,
                    update_time: Some(time_to_proto(past.applied_at)),
                    ..contract_to_proto(name, &past.spec)
                }),
                bump: bump_to_proto(past.bump).into(),
                applied_by: past.applied_by,
                apply_time: Some(time_to_proto(past.applied_at)),
                decision_request: past.decision.map(|id| id.to_string()).unwrap_or_default(),
            })
            .collect();
        Ok(pb::ListContractVersionsResponse { versions, next_page_token })
    }

    /// Reads the log from its end until enough events of the name were seen.
    async fn infer(
        &self,
        project: ProjectId,
        request: pb::InferContractRequest,
    ) -> Result<pb::InferContractResponse, Error> {
        check_name("name", &request.name, MAX_ID_BYTES)?;
        let wanted = match u64::try_from(request.max_events) {
            Ok(0) => DEFAULT_INFERRED_EVENTS,
            Ok(events @ 1..=100_000) => events,
            _ => return Err(Error::invalid("max_events", "must lie between 0 and 100000")),
        };
        let mut connection = self.0.pool.acquire().await.map_err(store_error)?;
        let current = contracts::find(&mut connection, project, &request.name).await?;
        let end = heads::read(&mut connection, project).await?.position;
        let mut inference = Inference::new();
        let mut start = end;
        while start > 0 && inference.events() < wanted && end - start < MAX_SCANNED_POSITIONS {
            let until = start;
            start = (until - READ_POSITIONS).max(0);
            let events = log::read_after(&mut connection, project, start, until - start).await?;
            for event in events.into_iter().rev() {
                if event.name == request.name
                    && inference.events() < wanted
                    && let Ok(properties) = serde_json::from_str(&event.properties)
                {
                    inference.observe(properties);
                }
            }
        }
        if inference.events() == 0 {
            return Err(Error::NoSuchEvents { name: request.name });
        }
        let json_schema = inference.schema();
        let schema_version = current.as_ref().map_or(FIRST, |current| {
            let bump = compare(&current.spec.json_schema, &json_schema).bump();
            current.spec.schema_version.bumped(bump)
        });
        let owner = match (request.owner.as_str(), &current) {
            ("", Some(current)) => current.spec.owner.clone(),
            ("", None) => "unknown".to_owned(),
            (owner, _) => owner.to_owned(),
        };
        let spec = ContractSpec {
            schema_version,
            mode: ContractMode::Observe,
            owner,
            description: current.map(|current| current.spec.description).unwrap_or_default(),
            json_schema,
            unplanned_properties: None,
            supersedes: Default::default(),
            properties: Default::default(),
            late_after: None,
            future: Default::default(),
        };
        Ok(pb::InferContractResponse {
            contract: Some(contract_to_proto(&request.name, &spec)),
            events: i64::try_from(inference.events()).unwrap_or(i64::MAX),
            scanned_positions: end - start,
        })
    }

    async fn set_unplanned(
        &self,
        caller: &Caller,
        request: &pb::SetUnplannedEventsRuleRequest,
    ) -> Result<pb::SetUnplannedEventsRuleResponse, Error> {
        let mode = match mode_from_proto(request.mode()) {
            Some(ContractMode::Omit) => {
                return Err(Error::invalid("mode", "an event as a whole cannot be omitted"));
            }
            mode => mode.unwrap_or(ContractMode::Observe),
        };
        let mutation = Mutation::new(caller, SET_UNPLANNED, &request.request_id, request)?;
        let project = caller.project;
        let now = self.0.clock.now();
        let mut transaction = self.0.pool.begin().await.map_err(store_error)?;
        if let Some(answer) = mutation.find_answer(&mut transaction).await? {
            return Ok(answer);
        }
        contracts::begin_change(&mut transaction, project).await?;
        let before = contracts::unplanned_events(&mut transaction, project).await?;
        contracts::set_unplanned_events(&mut transaction, project, mode).await?;
        let detail = serde_json::json!({
            "before": {"mode": before.unwrap_or(ContractMode::Observe)},
            "after": {"mode": mode},
        });
        let entry = audit::NewEntry {
            project,
            actor: &caller.principal,
            action: "contract.set_unplanned_events_rule",
            resource: "unplanned_events",
            detail: &detail,
            at: now,
        };
        audit::append(&mut transaction, &entry).await?;
        let response =
            pb::SetUnplannedEventsRuleResponse { mode: mode_to_proto(Some(mode)).into() };
        mutation.save_answer(&mut transaction, &response, now).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(response)
    }

    async fn notes(
        &self,
        caller: &Caller,
        request: &pb::ListEventNotesRequest,
    ) -> Result<pb::ListEventNotesResponse, Error> {
        let size = page_size(request.page_size)?;
        let after = match request.page_token.as_str() {
            "" => 0,
            token => token.parse().map_err(|_| unknown_page())?,
        };
        let mut connection = self.0.pool.acquire().await.map_err(store_error)?;
        let name = some_if_set(&request.name);
        let found = notes::list(&mut connection, caller.project, name, after, size).await?;
        drop(connection);
        let (page, more) = size.cut(found);
        let next_page_token = match page.last() {
            Some(last) if more => last.position.to_string(),
            _ => String::new(),
        };
        let notes: Vec<pb::EventNote> = page
            .into_iter()
            .map(|note| {
                let omitted = unsealed(&note, caller.project, self.0.contracts.sealing());
                pb::EventNote {
                    position: note.position,
                    name: note.name,
                    late: note.late,
                    validated_with: note.validated_with.unwrap_or_default(),
                    omitted_unreadable: omitted.is_none(),
                    omitted_json: omitted.unwrap_or_default(),
                }
            })
            .collect();
        let positions: Vec<i64> = notes
            .iter()
            .filter(|note| !note.omitted_json.is_empty())
            .map(|note| note.position)
            .collect();
        if let [first, ..] = positions.as_slice() {
            let shown = Shown {
                action: "event_notes.read",
                resource: "event_notes",
                detail: serde_json::json!({
                    "first_position": first,
                    "last_position": positions.last(),
                    "events": positions.len(),
                }),
            };
            audited(&self.0.pool, &*self.0.clock, caller, shown).await?;
        }
        Ok(pb::ListEventNotesResponse { notes, next_page_token })
    }
}
