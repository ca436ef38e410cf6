//! What the log is told about decisions.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::decision::{DecisionRequest, Verdict};
use northstar_store::outbox::NewMessage;
use serde_json::{Value, json};

/// Somebody asked.
pub(crate) fn requested(project: ProjectId, request: &DecisionRequest) -> NewMessage {
    let id = format!("decision/{}/requested", request.id);
    message(project, request, "requested", id, &request.author, request.created_at, json!({}))
}

/// Somebody gave a verdict.
pub(crate) fn verdict(
    project: ProjectId,
    request: &DecisionRequest,
    verdict: &Verdict,
) -> NewMessage {
    let id =
        format!("decision/{}/verdict/{}/{}", request.id, verdict.review_cycle, verdict.approver);
    let mut more = json!({
        "kind": verdict.kind.as_str(),
        "review_cycle": verdict.review_cycle,
        "state": request.state.as_str(),
    });
    // Of the verdict that decided: how long the question waited.
    if let Some(decided_at) = request.decided_at {
        more["handling_seconds"] = json!((decided_at - request.created_at).num_seconds());
    }
    message(project, request, "verdict", id, &verdict.approver, verdict.created_at, more)
}

/// Nobody decided in time. The actor is the author: it is their request that
/// ended.
pub(crate) fn expired(project: ProjectId, request: &DecisionRequest) -> NewMessage {
    let id = format!("decision/{}/expired", request.id);
    message(project, request, "expired", id, &request.author, request.due_at, json!({}))
}

/// Who asked took it back.
pub(crate) fn withdrawn(
    project: ProjectId,
    request: &DecisionRequest,
    now: DateTime<Utc>,
) -> NewMessage {
    let id = format!("decision/{}/withdrawn", request.id);
    let more = json!({ "reason": request.withdraw_reason });
    message(project, request, "withdrawn", id, &request.author, now, more)
}

fn message(
    project: ProjectId,
    request: &DecisionRequest,
    what: &str,
    message_id: String,
    actor: &str,
    occurred_at: DateTime<Utc>,
    more: Value,
) -> NewMessage {
    let mut properties = json!({
        "decision_request": request.id,
        "action": request.proposal.action,
        "request_kind": request.proposal.kind.as_str(),
        "subject": request.proposal.subject,
    });
    if let (Value::Object(properties), Value::Object(more)) = (&mut properties, more) {
        properties.extend(more);
    }
    NewMessage {
        project,
        message_id,
        name: format!("northstar.decision.{what}"),
        user_id: format!("principal:{actor}"),
        anonymous_id: String::new(),
        occurred_at,
        properties,
    }
}
