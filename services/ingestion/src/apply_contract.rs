//! Creates or replaces a contract, once per request id, with an audit entry.

use chrono::{DateTime, Utc};
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_store::ingestion::contracts::{Contract, begin_change, find, save};
use northstar_store::{PgPool, audit};

use crate::convert::contract_from_proto;
use crate::error::Error;
use crate::service::stored_contract;

const METHOD: &str = "/northstar.ingestion.v1.IngestionService/ApplyContract";

pub(crate) async fn apply_contract(
    pool: &PgPool,
    caller: &Caller,
    request: &pb::ApplyContractRequest,
    now: DateTime<Utc>,
) -> Result<pb::ApplyContractResponse, Error> {
    let wanted =
        request.contract.as_ref().ok_or_else(|| Error::invalid("contract", "is missing"))?;
    let (name, spec) = contract_from_proto(wanted).map_err(Error::violations)?;
    let mutation = Mutation::new(caller, METHOD, &request.request_id, request)?;
    let project = caller.project;

    let mut transaction = pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut transaction).await? {
        return Ok(answer);
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
                    actor: &caller.principal,
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
    mutation.save_answer(&mut transaction, &response, now).await?;
    transaction.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}
