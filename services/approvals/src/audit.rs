//! The audit log: append, read, verify.

use northstar_domain::Violations;
use northstar_proto::approvals::v1 as pb;
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_server::page::page_size;
use northstar_store::audit as store;
use serde_json::Value;

use crate::Approvals;
use crate::convert::audit_entry;
use crate::error::Result;

const APPEND: &str = "/northstar.approvals.v1.ApprovalsService/AppendAuditEntry";

/// Longest names and detail, in bytes.
const NAME_LIMIT: usize = 200;
const DETAIL_LIMIT: usize = 64 * 1024;

/// Adds an entry. The actor is the caller, whatever it says it did.
pub(crate) async fn append(
    service: &Approvals,
    caller: &Caller,
    request: pb::AppendAuditEntryRequest,
) -> Result<pb::AppendAuditEntryResponse> {
    let mutation = Mutation::new(caller, APPEND, &request.request_id, &request)?;
    let mut violations = Violations::new();
    violations.require_text("action", &request.action, NAME_LIMIT);
    violations.require_text("resource", &request.resource, NAME_LIMIT);
    violations.require(
        request.detail_json.len() <= DETAIL_LIMIT,
        "detail_json",
        "must have at most 65536 bytes",
    );
    let detail: Value = serde_json::from_str(&request.detail_json)
        .map_err(|error| violations.push("detail_json", format!("must be JSON: {error}")))
        .unwrap_or_default();
    violations.or(())?;
    let now = service.clock.now();

    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut tx).await? {
        return Ok(answer);
    }
    let new = store::NewEntry {
        project: caller.project,
        actor: &caller.principal,
        action: &request.action,
        resource: &request.resource,
        detail: &detail,
        at: now,
    };
    let entry = store::append(&mut tx, &new).await?;
    let response = pb::AppendAuditEntryResponse { entry: Some(audit_entry(&entry)) };
    mutation.save_answer(&mut tx, &response, now).await?;
    tx.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

pub(crate) async fn list(
    service: &Approvals,
    caller: &Caller,
    request: pb::ListAuditEntriesRequest,
) -> Result<pb::ListAuditEntriesResponse> {
    let size = page_size(request.page_size)?;
    let mut violations = Violations::new();
    let after = match request.page_token.as_str() {
        "" => 0,
        token => violations.parse("page_token", token).unwrap_or(0),
    };
    violations.or(())?;
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let rows = store::list(&mut connection, caller.project, after, size).await?;
    let (rows, more) = size.cut(rows);
    let last = rows.last().filter(|_| more);
    Ok(pb::ListAuditEntriesResponse {
        next_page_token: last.map_or_else(String::new, |row| row.sequence.to_string()),
        entries: rows.iter().map(audit_entry).collect(),
        project: caller.project.0,
    })
}

/// Recomputes the chain. One transaction that sees one snapshot, because the
/// log grows meanwhile and the head must be the head of what was read.
pub(crate) async fn verify(
    service: &Approvals,
    caller: &Caller,
) -> Result<pb::VerifyAuditLogResponse> {
    let mut tx = service
        .pool
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await
        .map_err(northstar_store::Error::from)?;
    let verification = store::verify(&mut tx, caller.project).await?;
    Ok(pb::VerifyAuditLogResponse {
        valid: verification.first_invalid.is_none(),
        entries: verification.entries,
        first_invalid_sequence: verification.first_invalid.unwrap_or(0),
        head_hash: hex::encode(verification.head_hash),
    })
}
