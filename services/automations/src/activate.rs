//! The life of an automation: ask, activate, pause, retire.

use chrono::{DateTime, Utc};
use northstar_domain::automation::{Approval, AutomationState, Decision, TransitionError};
use northstar_domain::decision::DecisionState;
use northstar_domain::{DecisionRequestId, ResourceName, Violations, timestamp};
use northstar_proto::approvals::v1 as approvals;
use northstar_proto::automations::v1 as pb;
use northstar_proto::ingestion::v1 as ingestion;
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_store::automations::{self as store, Stored};
use northstar_store::{PgConnection, audit};
use serde_json::{Value, json};
use tonic::Code;

use crate::convert::stored_automation;
use crate::define::{load, not_found, parse_name};
use crate::error::{Error, Result};
use crate::evidence;
use crate::service::Automations;

const ASK: &str = "/northstar.automations.v1.AutomationsService/RequestActivation";
const ACTIVATE: &str = "/northstar.automations.v1.AutomationsService/ActivateAutomation";
const PAUSE: &str = "/northstar.automations.v1.AutomationsService/PauseAutomation";
const RETIRE: &str = "/northstar.automations.v1.AutomationsService/RetireAutomation";

/// Longest reason, in bytes.
const REASON_LIMIT: usize = 10_000;

/// Asks people to decide about the definition as it is now.
pub(crate) async fn ask(
    service: &Automations,
    caller: &Caller,
    request: pb::RequestActivationRequest,
) -> Result<pb::RequestActivationResponse> {
    let mutation = Mutation::new(caller, ASK, &request.request_id, &request)?;
    let name = parse_name(&request.name)?;
    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut tx).await? {
        return Ok(answer);
    }
    let stored = load(&mut tx, caller, &name).await?;
    stored.state.activate()?;
    drop(tx);

    let evidence = evidence::gather(&service.clients, &stored.definition).await;
    let wanted = approvals::CreateDecisionRequestRequest {
        request_id: retry_id(&request.request_id, &stored, &evidence),
        decision_request: Some(approvals::DecisionRequest {
            action: Approval::ACTION.to_owned(),
            subject: Approval::subject(&name),
            summary: format!(
                "let automation {name} act on {:?} with a holdout of {} until {}",
                stored.definition.spec().trigger.event,
                stored.definition.spec().holdout,
                timestamp::format(stored.definition.sunset()),
            ),
            diff_json: stored.definition.canonical().to_owned(),
            evidence,
            ..approvals::DecisionRequest::default()
        }),
    };
    let asked = service.clients.approvals().create_decision_request(wanted).await?.into_inner();
    let id = asked.decision_request.unwrap_or_default().decision_request_id;

    let now = service.clock.now();
    let response = pb::RequestActivationResponse { decision_request: id };
    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut tx).await? {
        return Ok(answer);
    }
    let detail = json!({
        "decision_request": response.decision_request,
        "definition_digest": stored.definition.digest().to_string(),
    });
    record(&mut tx, caller, "automation.request_activation", &name, &detail, now).await?;
    mutation.save_answer(&mut tx, &response, now).await?;
    tx.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

/// The request id of the call to approvals: the same for the same question, so
/// that a retry does not ask twice, and another when the evidence changed
/// meanwhile, so that the retry is not refused.
fn retry_id(request_id: &str, stored: &Stored, evidence: &[approvals::Evidence]) -> String {
    use sha2::{Digest as _, Sha256};
    if request_id.is_empty() {
        return String::new();
    }
    let mut hasher = Sha256::new();
    hasher.update(request_id);
    hasher.update(stored.definition.canonical());
    for fact in evidence {
        hasher.update(&fact.json);
    }
    let bytes: [u8; 16] =
        hasher.finalize()[..16].try_into().expect("half of a SHA-256 is sixteen bytes");
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

/// Lets an automation act.
pub(crate) async fn activate(
    service: &Automations,
    caller: &Caller,
    request: pb::ActivateAutomationRequest,
) -> Result<pb::ActivateAutomationResponse> {
    let mutation = Mutation::new(caller, ACTIVATE, &request.request_id, &request)?;
    let name = parse_name(&request.name)?;
    let decision = find_decision(service, &request.decision_request).await?;
    let start_position = start_position(service, request.start_position).await?;
    let now = service.clock.now();

    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut tx).await? {
        return Ok(answer);
    }
    let before = load_for_update(&mut tx, caller, &name).await?;
    before.state.activate()?;
    let definition = &before.definition;
    if definition.sunset() <= now {
        return Err(Error::Sunset { sunset: timestamp::format(definition.sunset()) });
    }
    let approval = Approval::of(&decision, definition)
        .map_err(|source| Error::NotApproved { subject: Approval::subject(&name), source })?;
    let actor = caller.principal.as_str();
    store::activate(&mut tx, caller.project, &name, &approval, actor, start_position, now)
        .await?
        .ok_or(TransitionError { state: before.state, step: "be activated" })?;
    let detail = json!({
        "before": {"state": before.state.as_str()},
        "after": {
            "state": AutomationState::Active.as_str(),
            "decision_request": decision.id,
            "definition_digest": definition.digest().to_string(),
            "start_position": start_position,
        },
    });
    record(&mut tx, caller, "automation.activate", &name, &detail, now).await?;
    let after = load(&mut tx, caller, &name).await?;
    let response = pb::ActivateAutomationResponse { automation: Some(stored_automation(&after)) };
    mutation.save_answer(&mut tx, &response, now).await?;
    tx.commit().await.map_err(northstar_store::Error::from)?;
    service.wake.triggers.notify_one();
    Ok(response)
}

/// The decision as approvals tells of it now.
async fn find_decision(service: &Automations, id: &str) -> Result<Decision> {
    let none = || Error::NoDecision(id.to_owned());
    let parsed = id.parse().map_err(|_| none())?;
    let request = approvals::GetDecisionRequestRequest { decision_request_id: id.to_owned() };
    let found = match service.clients.approvals().get_decision_request(request).await {
        Ok(found) => found.into_inner().decision_request.unwrap_or_default(),
        Err(status) if status.code() == Code::NotFound => return Err(none()),
        Err(status) => return Err(status.into()),
    };
    Ok(decision_from_proto(parsed, &found))
}

/// What a decision request says, as far as it lets something happen.
pub(crate) fn decision_from_proto(
    id: DecisionRequestId,
    found: &approvals::DecisionRequest,
) -> Decision {
    let state = match found.state() {
        approvals::DecisionState::Approved => DecisionState::Approved,
        approvals::DecisionState::Rejected => DecisionState::Rejected,
        approvals::DecisionState::Expired => DecisionState::Expired,
        approvals::DecisionState::Withdrawn => DecisionState::Withdrawn,
        approvals::DecisionState::Acknowledged => DecisionState::Acknowledged,
        // What is not known to be decided is not decided.
        approvals::DecisionState::Pending | approvals::DecisionState::Unspecified => {
            DecisionState::Pending
        }
    };
    Decision {
        id,
        action: found.action.clone(),
        subject: found.subject.clone(),
        state,
        diff_digest: found.diff_digest.clone(),
    }
}

/// The position after which events count.
async fn start_position(service: &Automations, wanted: i64) -> Result<i64> {
    let request = ingestion::ListSourcesRequest {};
    let end = service.clients.ingestion().list_sources(request).await?.into_inner().log_position;
    match wanted {
        -1 => Ok(end),
        0.. if wanted <= end => Ok(wanted),
        _ => {
            let mut violations = Violations::new();
            violations.push(
                "start_position",
                format!("must be -1 for the end of the log, or lie between 0 and its end, {end}"),
            );
            Err(violations.into())
        }
    }
}

/// Stops acting on new events.
pub(crate) async fn pause(
    service: &Automations,
    caller: &Caller,
    request: pb::PauseAutomationRequest,
) -> Result<pb::PauseAutomationResponse> {
    let mutation = Mutation::new(caller, PAUSE, &request.request_id, &request)?;
    let step = Step {
        name: parse_name(&request.name)?,
        reason: require_reason(&request.reason)?,
        action: "automation.pause",
        leads_to: AutomationState::pause,
    };
    let respond = |stored: &Stored| pb::PauseAutomationResponse {
        automation: Some(stored_automation(stored)),
    };
    stop(service, caller, mutation, step, respond).await
}

/// Ends an automation for good.
pub(crate) async fn retire(
    service: &Automations,
    caller: &Caller,
    request: pb::RetireAutomationRequest,
) -> Result<pb::RetireAutomationResponse> {
    let mutation = Mutation::new(caller, RETIRE, &request.request_id, &request)?;
    let step = Step {
        name: parse_name(&request.name)?,
        reason: require_reason(&request.reason)?,
        action: "automation.retire",
        leads_to: AutomationState::retire,
    };
    let respond = |stored: &Stored| pb::RetireAutomationResponse {
        automation: Some(stored_automation(stored)),
    };
    stop(service, caller, mutation, step, respond).await
}

struct Step<'a> {
    name: ResourceName,
    reason: &'a str,
    action: &'static str,
    leads_to: fn(AutomationState) -> Result<AutomationState, TransitionError>,
}

async fn stop<R: prost::Message + Default>(
    service: &Automations,
    caller: &Caller,
    mutation: Mutation,
    step: Step<'_>,
    respond: impl Fn(&Stored) -> R,
) -> Result<R> {
    let now = service.clock.now();
    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut tx).await? {
        return Ok(answer);
    }
    let before = load_for_update(&mut tx, caller, &step.name).await?;
    let state = (step.leads_to)(before.state)?;
    store::save_state(&mut tx, caller.project, &step.name, state, now).await?;
    let detail = json!({
        "before": {"state": before.state.as_str()},
        "after": {"state": state.as_str(), "reason": step.reason},
    });
    record(&mut tx, caller, step.action, &step.name, &detail, now).await?;
    let after = load(&mut tx, caller, &step.name).await?;
    let response = respond(&after);
    mutation.save_answer(&mut tx, &response, now).await?;
    tx.commit().await.map_err(northstar_store::Error::from)?;
    service.wake.triggers.notify_one();
    Ok(response)
}

fn require_reason(reason: &str) -> Result<&str> {
    let mut violations = Violations::new();
    violations.require_text("reason", reason, REASON_LIMIT);
    violations.or(reason).map_err(Error::from)
}

async fn load_for_update(
    connection: &mut PgConnection,
    caller: &Caller,
    name: &ResourceName,
) -> Result<Stored> {
    store::load_for_update(connection, caller.project, name)
        .await?
        .ok_or_else(|| not_found(name.as_str()))
}

async fn record(
    connection: &mut PgConnection,
    caller: &Caller,
    action: &str,
    name: &ResourceName,
    detail: &Value,
    now: DateTime<Utc>,
) -> Result<()> {
    let entry = audit::NewEntry {
        project: caller.project,
        actor: &caller.principal,
        action,
        resource: &Approval::subject(name),
        detail,
        at: now,
    };
    audit::append(connection, &entry).await?;
    Ok(())
}
