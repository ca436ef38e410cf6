//! Withdraws a decision request: who asked no longer needs the answer.

use northstar_domain::Violations;
use northstar_proto::approvals::v1 as pb;
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_store::approvals as store;
use northstar_store::outbox::Outbox;
use serde_json::json;

use crate::Approvals;
use crate::convert::decision_request_to_proto;
use crate::decide::{REASON_LIMIT, append_audit, not_found, parse_id};
use crate::error::{Error, Result};
use crate::events;

const WITHDRAW: &str = "/northstar.approvals.v1.ApprovalsService/WithdrawDecisionRequest";

/// Takes a question back. It stays locked meanwhile, so that a verdict given at the
/// same moment either came before, and stands, or finds it withdrawn.
pub(crate) async fn withdraw(
    service: &Approvals,
    caller: &Caller,
    request: pb::WithdrawDecisionRequestRequest,
) -> Result<pb::WithdrawDecisionRequestResponse> {
    let mutation = Mutation::new(caller, WITHDRAW, &request.request_id, &request)?;
    let id = parse_id(&request.decision_request_id)?;
    let mut violations = Violations::new();
    violations.require_text("reason", &request.reason, REASON_LIMIT);
    violations.or(())?;
    let now = service.clock.now();

    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut tx).await? {
        return Ok(answer);
    }
    let before = store::load_decision_request_for_update(&mut tx, caller.project, id)
        .await?
        .ok_or_else(|| not_found(&request.decision_request_id))?;
    let (state, author) = (before.state, before.author.clone());
    let after = before
        .withdraw(&caller.principal, request.reason, now)
        .map_err(|reason| Error::NotWithdrawn { request: id, author, reason })?;
    store::update_decision_request(&mut tx, &after).await?;
    let detail = json!({
        "before": {"state": state.as_str()},
        "after": {"state": after.state.as_str(), "reason": after.withdraw_reason},
    });
    append_audit(&mut tx, caller, "decision.withdraw", id, &detail, now).await?;
    Outbox::Approvals.put(&mut tx, &events::withdrawn(caller.project, &after, now)).await?;

    let response = pb::WithdrawDecisionRequestResponse {
        decision_request: Some(decision_request_to_proto(&after)),
    };
    mutation.save_answer(&mut tx, &response, now).await?;
    tx.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}
