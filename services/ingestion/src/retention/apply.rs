//! Creates, replaces and removes retention policies, once per request id, with an
//! audit entry.

use chrono::{DateTime, Utc};
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_store::ingestion::retention::{self as store, RetentionPolicy};
use northstar_store::{Error as StoreError, PgPool, audit};

use super::{KIND, stored};
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
    let mutation = Mutation::new(caller, APPLY, &request.request_id, request)?;
    let project = caller.project;

    let mut transaction = pool.begin().await.map_err(StoreError::from)?;
    if let Some(answer) = mutation.find_answer(&mut transaction).await? {
        return Ok(answer);
    }
    let before = store::lock(&mut transaction, project).await?;
    if let Some(other) = before.as_ref().filter(|before| before.name != name) {
        let problem = format!("the project has the policy {:?}; change or delete that", other.name);
        return Err(Error::invalid("retention_policy.name", problem));
    }
    check_etag(&wanted.etag, before.as_ref(), &name)?;
    let etag = spec.etag();
    if let Some(same) = before.as_ref().filter(|before| before.etag == etag) {
        let response = pb::ApplyRetentionPolicyResponse { retention_policy: Some(stored(same)) };
        if !request.validate_only {
            mutation.save_answer(&mut transaction, &response, now).await?;
            transaction.commit().await.map_err(StoreError::from)?;
        }
        return Ok(response);
    }
    let after =
        RetentionPolicy { name, spec, etag, updated_at: now, updated_by: caller.principal.clone() };
    let response = pb::ApplyRetentionPolicyResponse { retention_policy: Some(stored(&after)) };
    if request.validate_only {
        return Ok(response);
    }
    store::save(&mut transaction, project, &after).await?;
    let entry = audit::NewEntry {
        project,
        actor: &caller.principal,
        action: "retention_policy.apply",
        resource: &format!("retention_policies/{}", after.name),
        detail: &serde_json::json!({
            "before": before.as_ref().map(|before| &before.spec),
            "after": after.spec,
        }),
        at: now,
    };
    audit::append(&mut transaction, &entry).await?;
    mutation.save_answer(&mut transaction, &response, now).await?;
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(response)
}

pub(super) async fn delete(
    pool: &PgPool,
    caller: &Caller,
    request: &pb::DeleteRetentionPolicyRequest,
    now: DateTime<Utc>,
) -> Result<pb::DeleteRetentionPolicyResponse, Error> {
    let mutation = Mutation::new(caller, DELETE, &request.request_id, request)?;
    let (project, name) = (caller.project, &request.name);
    let mut transaction = pool.begin().await.map_err(StoreError::from)?;
    if let Some(answer) = mutation.find_answer(&mut transaction).await? {
        return Ok(answer);
    }
    let before = store::lock(&mut transaction, project)
        .await?
        .filter(|before| before.name == *name)
        .ok_or_else(|| Error::NotFound { kind: KIND, name: name.clone() })?;
    check_etag(&request.etag, Some(&before), name)?;
    store::delete(&mut transaction, project).await?;
    let entry = audit::NewEntry {
        project,
        actor: &caller.principal,
        action: "retention_policy.delete",
        resource: &format!("retention_policies/{name}"),
        detail: &serde_json::json!({ "before": before.spec, "after": null }),
        at: now,
    };
    audit::append(&mut transaction, &entry).await?;
    let response = pb::DeleteRetentionPolicyResponse {};
    mutation.save_answer(&mut transaction, &response, now).await?;
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(response)
}

fn check_etag(wanted: &str, before: Option<&RetentionPolicy>, name: &str) -> Result<(), Error> {
    let current = before.map_or("", |before| before.etag.as_str());
    if wanted.is_empty() || wanted == current {
        return Ok(());
    }
    Err(Error::Changed { kind: KIND, name: name.to_owned(), etag: current.to_owned() })
}
