//! Creates, replaces and removes retention policies, once per request id, with an
//! audit entry.

use chrono::{DateTime, Utc};
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use northstar_store::PgPool;
use northstar_store::ingestion::retention::{self as store, RetentionPolicy};

use super::{KIND, stored};
use crate::change::{Begun, Change, check_etag};
use crate::convert::retention_policy_from_proto;
use crate::error::Error;

const APPLY: &str = "/northstar.ingestion.v1.RetentionService/ApplyRetentionPolicy";
const DELETE: &str = "/northstar.ingestion.v1.RetentionService/DeleteRetentionPolicy";

pub(super) async fn apply(
    pool: &PgPool,
    caller: &Caller,
    request: &pb::ApplyRetentionPolicyRequest,
    now: DateTime<Utc>,
) -> Result<pb::ApplyRetentionPolicyResponse, Error> {
    let wanted = request
        .retention_policy
        .as_ref()
        .ok_or_else(|| Error::invalid("retention_policy", "is missing"))?;
    let (name, spec) = retention_policy_from_proto(wanted)
        .map_err(|violations| Error::InvalidDocument { field: "retention_policy", violations })?;
    let project = caller.project;
    let begun = Change::begin(pool, caller, APPLY, &request.request_id, request, now).await?;
    let mut change = match begun {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Open(change) => change,
    };
    let before = store::lock(&mut change.transaction, project).await?;
    if let Some(other) = before.as_ref().filter(|before| before.name != name) {
        let problem = format!("the project has the policy {:?}; change or delete that", other.name);
        return Err(Error::invalid("retention_policy.name", problem));
    }
    let current = before.as_ref().map(|before| &*before.etag);
    check_etag(KIND, &name, &wanted.etag, current)?;
    let etag = spec.etag();
    if let Some(same) = before.as_ref().filter(|before| before.etag == etag) {
        let response = pb::ApplyRetentionPolicyResponse { retention_policy: Some(stored(same)) };
        return if request.validate_only { Ok(response) } else { change.commit(response).await };
    }
    let after =
        RetentionPolicy { name, spec, etag, updated_at: now, updated_by: caller.principal.clone() };
    let response = pb::ApplyRetentionPolicyResponse { retention_policy: Some(stored(&after)) };
    if request.validate_only {
        return Ok(response);
    }
    store::save(&mut change.transaction, project, &after).await?;
    let detail = serde_json::json!({
        "before": before.as_ref().map(|before| &before.spec),
        "after": after.spec,
    });
    change
        .audit("retention_policy.apply", &format!("retention_policies/{}", after.name), &detail)
        .await?;
    change.commit(response).await
}

pub(super) async fn delete(
    pool: &PgPool,
    caller: &Caller,
    request: &pb::DeleteRetentionPolicyRequest,
    now: DateTime<Utc>,
) -> Result<pb::DeleteRetentionPolicyResponse, Error> {
    let (project, name) = (caller.project, &request.name);
    let begun = Change::begin(pool, caller, DELETE, &request.request_id, request, now).await?;
    let mut change = match begun {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Open(change) => change,
    };
    let before = store::lock(&mut change.transaction, project)
        .await?
        .filter(|before| before.name == *name)
        .ok_or_else(|| Error::NotFound { kind: KIND, name: name.clone() })?;
    check_etag(KIND, name, &request.etag, Some(&before.etag))?;
    store::delete(&mut change.transaction, project).await?;
    let detail = serde_json::json!({ "before": before.spec, "after": null });
    change.audit("retention_policy.delete", &format!("retention_policies/{name}"), &detail).await?;
    change.commit(pb::DeleteRetentionPolicyResponse {}).await
}
