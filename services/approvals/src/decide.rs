//! Decision requests: ask, read, decide.

use northstar_domain::canonical_json::Digest;
use northstar_domain::decision::{Ballot, DecisionRequest, Diff, Opinion};
use northstar_domain::policy::Terms;
use northstar_domain::{DecisionRequestId, Violations};
use northstar_proto::approvals::v1 as pb;
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_server::page::page_size;
use northstar_store::approvals as store;
use northstar_store::audit;
use northstar_store::outbox::Outbox;
use serde_json::json;

use crate::Approvals;
use crate::convert::{decision_request_to_proto, kind_filter, proposal_from_proto, state_filter};
use crate::error::{Error, Result, require_person};
use crate::events;

const ASK: &str = "/northstar.approvals.v1.ApprovalsService/CreateDecisionRequest";
const RECORD: &str = "/northstar.approvals.v1.ApprovalsService/RecordVerdict";

/// Longest reason of a verdict, in bytes.
pub(crate) const REASON_LIMIT: usize = 10_000;

pub(crate) async fn ask(
    service: &Approvals,
    caller: &Caller,
    request: pb::CreateDecisionRequestRequest,
) -> Result<pb::CreateDecisionRequestResponse> {
    let mutation = Mutation::new(caller, ASK, &request.request_id, &request)?;
    let proposal = proposal_from_proto(request.decision_request.unwrap_or_default())?;
    let now = service.clock.now();

    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut tx).await? {
        return Ok(answer);
    }
    let action = proposal.action.as_str();
    let mut policy = store::find_policy_of_action(&mut tx, caller.project, action).await?;
    if let (None, Some(ruled_by)) = (&policy, proposal.action.ruled_by()) {
        policy = store::find_policy_of_action(&mut tx, caller.project, ruled_by).await?;
    }
    let terms = policy.map_or(Terms::DEFAULT, |stored| stored.policy.spec.terms());
    let id = DecisionRequestId::generate();
    let asked = DecisionRequest::ask(id, proposal, caller.principal.clone(), terms, now);
    store::insert_decision_request(&mut tx, caller.project, &asked).await?;
    let detail = json!({
        "after": {
            "action": asked.proposal.action,
            "kind": asked.proposal.kind.as_str(),
            "owner": asked.proposal.owner,
            "subject": asked.proposal.subject,
            "diff_digest": asked.proposal.diff.digest().to_string(),
            "quorum": asked.quorum,
            "role": asked.role,
            "due_time": asked.due_at,
        },
    });
    append_audit(&mut tx, caller, "decision.request", id, &detail, now).await?;
    Outbox::Approvals.put(&mut tx, &events::requested(caller.project, &asked)).await?;

    let response = pb::CreateDecisionRequestResponse {
        decision_request: Some(decision_request_to_proto(&asked)),
    };
    mutation.save_answer(&mut tx, &response, now).await?;
    tx.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

pub(crate) async fn get(
    service: &Approvals,
    caller: &Caller,
    request: pb::GetDecisionRequestRequest,
) -> Result<pb::GetDecisionRequestResponse> {
    let id = parse_id(&request.decision_request_id)?;
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let found = store::load_decision_request(&mut connection, caller.project, id).await?;
    let found = found.ok_or_else(|| not_found(&request.decision_request_id))?;
    let now = service.clock.now();
    Ok(pb::GetDecisionRequestResponse {
        decision_request: Some(decision_request_to_proto(&found.at(now))),
    })
}

pub(crate) async fn list(
    service: &Approvals,
    caller: &Caller,
    request: pb::ListDecisionRequestsRequest,
) -> Result<pb::ListDecisionRequestsResponse> {
    let size = page_size(request.page_size)?;
    let mut violations = Violations::new();
    let before = match request.page_token.as_str() {
        "" => None,
        token => violations.parse("page_token", token),
    };
    let state = pb::DecisionState::try_from(request.state)
        .map_err(|_| violations.push("state", "is not a state of a decision request"))
        .unwrap_or_default();
    let kind = kind_filter(request.kind)
        .map_err(|problem| violations.push("kind", problem))
        .unwrap_or_default();
    violations.or(())?;

    let filter = store::Filter {
        state: state_filter(state),
        subject: Some(request.subject.as_str()).filter(|subject| !subject.is_empty()),
        kind,
        owner: Some(request.owner.as_str()).filter(|owner| !owner.is_empty()),
        before,
    };
    let now = service.clock.now();
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let rows =
        store::list_decision_requests(&mut connection, caller.project, filter, size, now).await?;
    let (rows, more) = size.cut(rows);
    let last = rows.last().filter(|_| more);
    Ok(pb::ListDecisionRequestsResponse {
        next_page_token: last.map_or_else(String::new, |row| row.id.to_string()),
        decision_requests: rows.iter().map(decision_request_to_proto).collect(),
    })
}

/// Takes a verdict. The request stays locked meanwhile, so that of two verdicts
/// at once the second one sees what the first one did.
pub(crate) async fn record(
    service: &Approvals,
    caller: &Caller,
    request: pb::RecordVerdictRequest,
) -> Result<pb::RecordVerdictResponse> {
    require_person(caller, RECORD)?;
    let mutation = Mutation::new(caller, RECORD, &request.request_id, &request)?;
    let id = parse_id(&request.decision_request_id)?;
    let ballot = read_ballot(caller, &request)?;
    let now = service.clock.now();

    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut tx).await? {
        return Ok(answer);
    }
    let before = store::load_decision_request_for_update(&mut tx, caller.project, id)
        .await?
        .ok_or_else(|| not_found(&request.decision_request_id))?;
    let state_before = json!({
        "state": before.state.as_str(),
        "review_cycle": before.review_cycle,
        "diff": before.proposal.diff.json(),
    });
    let after =
        before.decide(ballot, now).map_err(|refusal| Error::Refused { request: id, refusal })?;
    let verdict = after.verdicts.last().expect("a decided request holds the verdict just given");
    store::update_decision_request(&mut tx, &after).await?;
    store::insert_verdict(&mut tx, id, verdict).await?;
    let detail = json!({
        "verdict": {
            "kind": verdict.kind.as_str(),
            "reason": verdict.reason,
            "review_cycle": verdict.review_cycle,
            "diff_digest": verdict.diff_digest.to_string(),
        },
        "before": state_before,
        "after": {
            "state": after.state.as_str(),
            "review_cycle": after.review_cycle,
            "diff": after.proposal.diff.json(),
        },
    });
    append_audit(&mut tx, caller, "decision.verdict", id, &detail, now).await?;
    Outbox::Approvals.put(&mut tx, &events::verdict(caller.project, &after, verdict)).await?;

    let response =
        pb::RecordVerdictResponse { decision_request: Some(decision_request_to_proto(&after)) };
    mutation.save_answer(&mut tx, &response, now).await?;
    tx.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

fn read_ballot(caller: &Caller, request: &pb::RecordVerdictRequest) -> Result<Ballot> {
    let mut violations = Violations::new();
    let edited = request.edited_diff_json.as_str();
    let opinion = match request.kind() {
        pb::VerdictKind::Unspecified => {
            violations.push("kind", "must be APPROVE, REJECT, EDIT or ACKNOWLEDGE");
            None
        }
        pb::VerdictKind::Approve => Some(Opinion::Approve),
        pb::VerdictKind::Reject => Some(Opinion::Reject),
        pb::VerdictKind::Acknowledge => Some(Opinion::Acknowledge),
        pb::VerdictKind::Edit => Diff::parse(edited)
            .map_err(|error| violations.push("edited_diff_json", error.to_string()))
            .map(Opinion::Edit)
            .ok(),
    };
    // An edit that is taken for an approval would approve what nobody wants.
    violations.require(
        edited.is_empty() || request.kind() == pb::VerdictKind::Edit,
        "edited_diff_json",
        "must be empty unless the verdict is EDIT",
    );
    violations.require(
        request.reason.len() <= REASON_LIMIT,
        "reason",
        "must have at most 10000 bytes",
    );
    let review_cycle = u32::try_from(request.review_cycle).ok().filter(|cycle| *cycle > 0);
    violations.require(
        review_cycle.is_some(),
        "review_cycle",
        "must name the review cycle that was looked at, from 1",
    );
    let diff_digest: Option<Digest> = violations.parse("diff_digest", &request.diff_digest);
    match (opinion, review_cycle, diff_digest) {
        (Some(opinion), Some(review_cycle), Some(diff_digest)) if violations.is_empty() => {
            Ok(Ballot {
                approver: caller.principal.clone(),
                role: caller.role,
                review_cycle,
                diff_digest,
                opinion,
                reason: request.reason.clone(),
            })
        }
        _ => Err(violations.into()),
    }
}

pub(crate) async fn append_audit(
    connection: &mut northstar_store::PgConnection,
    caller: &Caller,
    action: &str,
    id: DecisionRequestId,
    detail: &serde_json::Value,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<()> {
    let entry = audit::NewEntry {
        project: caller.project,
        actor: &caller.principal,
        action,
        resource: &format!("decisions/{id}"),
        detail,
        at: now,
    };
    audit::append(connection, &entry).await?;
    Ok(())
}

/// An id that is not one is an id of nothing.
pub(crate) fn parse_id(text: &str) -> Result<DecisionRequestId> {
    text.parse().map_err(|_| not_found(text))
}

pub(crate) fn not_found(id: &str) -> Error {
    Error::NotFound { kind: "DecisionRequest", name: id.to_owned() }
}
