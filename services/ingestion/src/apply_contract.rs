//! Creates or replaces a contract, once per request id, with an audit entry.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_proto::ingestion::v1 as pb;
use northstar_store::ingestion::contracts::{Contract, begin_change, find, save};
use northstar_store::{PgPool, audit, idempotency};
use prost::Message as _;
use uuid::Uuid;

use crate::convert::contract_from_proto;
use crate::error::Error;
use crate::service::stored_contract;

const METHOD: &str = "/northstar.ingestion.v1.IngestionService/ApplyContract";

pub(crate) async fn apply_contract(
    pool: &PgPool,
    project: ProjectId,
    principal: &str,
    request: &pb::ApplyContractRequest,
    now: DateTime<Utc>,
) -> Result<pb::ApplyContractResponse, Error> {
    let wanted =
        request.contract.as_ref().ok_or_else(|| Error::invalid("contract", "is missing"))?;
    let (name, spec) = contract_from_proto(wanted).map_err(Error::violations)?;
    let body = request.encode_to_vec();
    let idempotent = idempotency_key(&request.request_id)?.map(|id| idempotency::Request {
        project,
        method: METHOD,
        id,
        body: &body,
    });

    let mut transaction = pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(key) = &idempotent
        && let Some(response) = idempotency::find_response(&mut transaction, key).await?
    {
        return pb::ApplyContractResponse::decode(response.as_slice()).map_err(|_| {
            Error::invalid("request_id", "was used by an older version; use another")
        });
    }
    // Changes of a project's contracts run one after the other.
    begin_change(&mut transaction, project).await?;
    let before = find(&mut transaction, project, &name).await?;
    let current_etag = before.as_ref().map_or("", |contract| contract.etag.as_str());
    if !wanted.etag.is_empty() && wanted.etag != current_etag {
        return Err(Error::ContractChanged { name, etag: current_etag.to_owned() });
    }

    let etag = spec.etag();
    let response = match before {
        Some(same) if same.etag == etag => {
            pb::ApplyContractResponse { contract: Some(stored_contract(&same)) }
        }
        before => {
            let after = Contract { name, spec, etag, updated_at: now, observed_violations: 0 };
            let response = pb::ApplyContractResponse { contract: Some(stored_contract(&after)) };
            if !request.validate_only {
                save(&mut transaction, project, &after).await?;
                let detail = serde_json::json!({
                    "before": before.as_ref().map(|before| &before.spec),
                    "after": after.spec,
                });
                let entry = audit::NewEntry {
                    project,
                    actor: principal,
                    action: "contract.apply",
                    resource: &format!("contracts/{}", after.name),
                    detail: &detail,
                    at: now,
                };
                audit::append(&mut transaction, &entry).await?;
            }
            response
        }
    };
    if request.validate_only {
        transaction.rollback().await.map_err(northstar_store::Error::from)?;
        return Ok(response);
    }
    if let Some(key) = &idempotent {
        idempotency::save_response(&mut transaction, key, &response.encode_to_vec(), now).await?;
    }
    transaction.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

fn idempotency_key(request_id: &str) -> Result<Option<Uuid>, Error> {
    if request_id.is_empty() {
        return Ok(None);
    }
    request_id.parse().map(Some).map_err(|_| Error::invalid("request_id", "must be a UUID"))
}
