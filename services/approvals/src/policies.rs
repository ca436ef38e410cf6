//! Policies: apply, get, list.

use northstar_domain::Violations;
use northstar_proto::approvals::v1 as pb;
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_server::page::page_size;
use northstar_store::approvals::{self as store, StoredPolicy};
use northstar_store::audit;
use serde_json::json;

use crate::Approvals;
use crate::convert::{policy_from_proto, stored_policy};
use crate::error::{Error, Result, require_person};

const APPLY: &str = "/northstar.approvals.v1.ApprovalsService/ApplyPolicy";

/// Creates or replaces a policy. Applying what is there changes nothing, the
/// etag included.
pub(crate) async fn apply(
    service: &Approvals,
    caller: &Caller,
    request: pb::ApplyPolicyRequest,
) -> Result<pb::ApplyPolicyResponse> {
    require_person(caller, APPLY)?;
    let mutation = Mutation::new(caller, APPLY, &request.request_id, &request)?;
    let wanted = request.policy.unwrap_or_default();
    let etag = wanted.etag.clone();
    let policy = policy_from_proto(wanted)?;
    let now = service.clock.now();

    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut tx).await? {
        return Ok(answer);
    }
    let before = store::load_policy(&mut tx, caller.project, &policy.name).await?;
    let found = before.as_ref().map_or_else(String::new, |before| before.version.to_string());
    let mismatch = || Error::EtagMismatch { name: policy.name.to_string(), etag: found.clone() };
    if !etag.is_empty() && etag != found {
        return Err(mismatch());
    }
    let action = policy.spec.action.as_str();
    if let Some(other) = store::find_policy_of_action(&mut tx, caller.project, action).await?
        && other.policy.name != policy.name
    {
        let mut violations = Violations::new();
        let name = other.policy.name;
        violations.push("policy.action", format!("is ruled by policy {name} already"));
        return Err(violations.into());
    }

    let unchanged = before.as_ref().is_some_and(|before| before.policy == policy);
    let stored = match &before {
        Some(before) if unchanged => before.clone(),
        Some(before) => StoredPolicy { version: before.version + 1, policy: policy.clone() },
        None => StoredPolicy { version: 1, policy: policy.clone() },
    };
    let response = pb::ApplyPolicyResponse { policy: Some(stored_policy(&stored)) };
    if request.validate_only {
        return Ok(response);
    }
    if !unchanged {
        if !store::save_policy(&mut tx, caller.project, &stored, now).await? {
            return Err(mismatch());
        }
        let detail = json!({
            "before": before.map(|before| before.policy.spec),
            "after": stored.policy.spec,
        });
        let entry = audit::NewEntry {
            project: caller.project,
            actor: &caller.principal,
            action: "policy.apply",
            resource: &format!("policies/{}", stored.policy.name),
            detail: &detail,
            at: now,
        };
        audit::append(&mut tx, &entry).await?;
    }
    mutation.save_answer(&mut tx, &response, now).await?;
    tx.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

pub(crate) async fn get(
    service: &Approvals,
    caller: &Caller,
    request: pb::GetPolicyRequest,
) -> Result<pb::GetPolicyResponse> {
    let not_found = || Error::NotFound { kind: "Policy", name: request.name.clone() };
    let name = request.name.parse().map_err(|_| not_found())?;
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let stored = store::load_policy(&mut connection, caller.project, &name).await?;
    let policy = stored.as_ref().map(stored_policy).ok_or_else(not_found)?;
    Ok(pb::GetPolicyResponse { policy: Some(policy) })
}

pub(crate) async fn list(
    service: &Approvals,
    caller: &Caller,
    request: pb::ListPoliciesRequest,
) -> Result<pb::ListPoliciesResponse> {
    let size = page_size(request.page_size)?;
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let rows =
        store::list_policies(&mut connection, caller.project, &request.page_token, size).await?;
    let (rows, more) = size.cut(rows);
    let last = rows.last().filter(|_| more);
    Ok(pb::ListPoliciesResponse {
        next_page_token: last.map_or_else(String::new, |row| row.policy.name.to_string()),
        policies: rows.iter().map(stored_policy).collect(),
    })
}
