//! Creates, replaces and removes source documents, once per request id, with an
//! audit entry.

use chrono::{DateTime, Utc};
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use northstar_store::PgPool;
use northstar_store::ingestion::source_documents::{self as store, SourceDocument};

use super::{KIND, stored};
use crate::change::{Begun, Change, check_etag};
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
    let project = caller.project;
    let begun = Change::begin(pool, caller, APPLY, &request.request_id, request, now).await?;
    let mut change = match begun {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Open(change) => change,
    };
    let before = store::lock(&mut change.transaction, project, &name).await?;
    let current = before.as_ref().map(|before| &*before.etag);
    check_etag(KIND, &name, &wanted.etag, current)?;
    let etag = spec.etag();
    if let Some(same) = before.as_ref().filter(|before| before.etag == etag) {
        let response = pb::ApplySourceResponse { source: Some(stored(same)) };
        return if request.validate_only { Ok(response) } else { change.commit(response).await };
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
    store::save(&mut change.transaction, project, &after).await?;
    let detail = serde_json::json!({
        "before": before.as_ref().map(|before| &before.spec),
        "after": after.spec,
    });
    change.audit("source.apply", &format!("sources/{}", after.name), &detail).await?;
    change.commit(response).await
}

pub(super) async fn delete(
    pool: &PgPool,
    caller: &Caller,
    request: &pb::DeleteSourceRequest,
    now: DateTime<Utc>,
) -> Result<pb::DeleteSourceResponse, Error> {
    let (project, name) = (caller.project, &request.name);
    let begun = Change::begin(pool, caller, DELETE, &request.request_id, request, now).await?;
    let mut change = match begun {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Open(change) => change,
    };
    let before = store::lock(&mut change.transaction, project, name)
        .await?
        .ok_or_else(|| Error::NotFound { kind: KIND, name: name.clone() })?;
    check_etag(KIND, name, &request.etag, Some(&before.etag))?;
    store::delete(&mut change.transaction, project, name).await?;
    let detail = serde_json::json!({ "before": before.spec, "after": null });
    change.audit("source.delete", &format!("sources/{name}"), &detail).await?;
    change.commit(pb::DeleteSourceResponse {}).await
}
