//! Creates, replaces and removes source documents, once per request id, with an
//! audit entry.

use chrono::{DateTime, Utc};
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_store::ingestion::source_documents::{self as store, SourceDocument};
use northstar_store::{Error as StoreError, PgPool, audit};

use super::{KIND, stored};
use crate::convert::source_definition_from_proto;
use crate::error::Error;

const APPLY: &str = "/northstar.ingestion.v1.SourcesService/ApplySource";
const DELETE: &str = "/northstar.ingestion.v1.SourcesService/DeleteSource";

pub(super) async fn apply(
    pool: &PgPool,
    caller: &Caller,
    request: &pb::ApplySourceRequest,
    now: DateTime<Utc>,
) -> Result<pb::ApplySourceResponse, Error> {
    let wanted = request.source.as_ref().ok_or_else(|| Error::invalid("source", "is missing"))?;
    let (name, spec) = source_definition_from_proto(wanted)
        .map_err(|found| Error::InvalidDocument { field: "source", violations: found })?;
    let mutation = Mutation::new(caller, APPLY, &request.request_id, request)?;
    let project = caller.project;

    let mut transaction = pool.begin().await.map_err(StoreError::from)?;
    if let Some(answer) = mutation.find_answer(&mut transaction).await? {
        return Ok(answer);
    }
    let before = store::lock(&mut transaction, project, &name).await?;
    check_etag(&wanted.etag, before.as_ref(), &name)?;
    let etag = spec.etag();
    if let Some(same) = before.as_ref().filter(|before| before.etag == etag) {
        let response = pb::ApplySourceResponse { source: Some(stored(same)) };
        if !request.validate_only {
            mutation.save_answer(&mut transaction, &response, now).await?;
            transaction.commit().await.map_err(StoreError::from)?;
        }
        return Ok(response);
    }
    let after = SourceDocument {
        name,
        spec,
        etag,
        declared_at: before.as_ref().map_or(now, |before| before.declared_at),
        updated_at: now,
        updated_by: caller.principal.clone(),
    };
    let response = pb::ApplySourceResponse { source: Some(stored(&after)) };
    if request.validate_only {
        return Ok(response);
    }
    store::save(&mut transaction, project, &after).await?;
    let entry = audit::NewEntry {
        project,
        actor: &caller.principal,
        action: "source.apply",
        resource: &format!("sources/{}", after.name),
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
    request: &pb::DeleteSourceRequest,
    now: DateTime<Utc>,
) -> Result<pb::DeleteSourceResponse, Error> {
    let mutation = Mutation::new(caller, DELETE, &request.request_id, request)?;
    let (project, name) = (caller.project, &request.name);
    let mut transaction = pool.begin().await.map_err(StoreError::from)?;
    if let Some(answer) = mutation.find_answer(&mut transaction).await? {
        return Ok(answer);
    }
    let before = store::lock(&mut transaction, project, name)
        .await?
        .ok_or_else(|| Error::NotFound { kind: KIND, name: name.clone() })?;
    check_etag(&request.etag, Some(&before), name)?;
    store::delete(&mut transaction, project, name).await?;
    let entry = audit::NewEntry {
        project,
        actor: &caller.principal,
        action: "source.delete",
        resource: &format!("sources/{name}"),
        detail: &serde_json::json!({ "before": before.spec, "after": null }),
        at: now,
    };
    audit::append(&mut transaction, &entry).await?;
    let response = pb::DeleteSourceResponse {};
    mutation.save_answer(&mut transaction, &response, now).await?;
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(response)
}

fn check_etag(wanted: &str, before: Option<&SourceDocument>, name: &str) -> Result<(), Error> {
    let current = before.map_or("", |before| before.etag.as_str());
    if wanted.is_empty() || wanted == current {
        return Ok(());
    }
    Err(Error::Changed { kind: KIND, name: name.to_owned(), etag: current.to_owned() })
}
