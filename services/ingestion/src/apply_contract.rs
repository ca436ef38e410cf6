//! Creates or replaces a contract, once per request id, with an audit entry and
//! a place in its history. The version must state how much changes, and what
//! breaks a metric needs an approved decision about exactly this change.

use chrono::{DateTime, Utc};
use northstar_client::Clients;
use northstar_domain::contract::{
    Bump, Change, Compatibility, ContractSpec, Decided, affects, change_diff, check_version,
    compare,
};
use northstar_domain::{DecisionRequestId, Violation};
use northstar_proto::approvals::v1 as approvals;
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_store::ingestion::contracts::{Applied, Contract, Counts, begin_change, find, save};
use northstar_store::{PgConnection, PgPool, audit};
use tonic::Code;

use crate::convert::{contract_from_proto, contract_to_proto, time_to_proto};
use crate::error::Error;
use crate::lineage;

const METHOD: &str = "/northstar.ingestion.v1.IngestionService/ApplyContract";
const APPROVED: &str = "/northstar.ingestion.v1.ContractsService/ApplyApprovedContract";

/// What changes of contracts need.
#[derive(Clone, Copy)]
pub(crate) struct Changes<'a> {
    pub(crate) pool: &'a PgPool,
    pub(crate) clients: &'a Clients,
    pub(crate) now: DateTime<Utc>,
    /// Whether there is a key to make pseudonyms with.
    pub(crate) makes_pseudonyms: bool,
}

/// A contract with what the store knows about it.
pub(crate) fn stored_contract(contract: &Contract) -> pb::Contract {
    let Contract { name, spec, etag, updated_at, counts } = contract;
    pb::Contract {
        etag: etag.clone(),
        update_time: Some(time_to_proto(*updated_at)),
        observed_violations: counts.observed,
        late_events: counts.late,
        omitted_events: counts.omitted,
        superseded_events: counts.superseded,
        ..contract_to_proto(name, spec)
    }
}

/// What a contract would change.
pub(crate) struct Proposed {
    pub(crate) name: String,
    pub(crate) after: ContractSpec,
    pub(crate) before: Option<Contract>,
    pub(crate) found: Compatibility,
    /// The metrics that the change breaks.
    pub(crate) broken: Vec<String>,
}

impl Proposed {
    /// Why the version of the contract cannot be taken.
    pub(crate) fn version_problem(&self) -> Option<northstar_domain::Violation> {
        let before = self.before.as_ref()?;
        check_version(&before.spec, &self.after, &self.found)
    }
}

/// Finds out what a contract would change. Metrics are asked only when the
/// change may break one.
pub(crate) async fn propose(
    changes: &Changes<'_>,
    caller: &Caller,
    wanted: Option<&pb::Contract>,
) -> Result<Proposed, Error> {
    let wanted = wanted.ok_or_else(|| Error::invalid("contract", "is missing"))?;
    let (name, after) = contract_from_proto(wanted).map_err(Error::violations)?;
    if !changes.makes_pseudonyms {
        let no_key = |property: &str| {
            Violation::new(
                format!("properties.{property}.pseudonym"),
                "needs NORTHSTAR_INGESTION_PSEUDONYM_KEY, which is not set",
            )
        };
        let violations: Vec<_> = after.concealed_properties().map(no_key).collect();
        if !violations.is_empty() {
            return Err(Error::violations(violations));
        }
    }
    let mut connection = changes.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let before = find(&mut connection, caller.project, &name).await?;
    drop(connection);
    let found = before
        .as_ref()
        .map(|before| {
            let mut found = compare(&before.spec.json_schema, &after.json_schema);
            found.changes.extend(newly_concealed(&before.spec, &after));
            found
        })
        .unwrap_or_default();
    let may_break = found.bump() >= Bump::Revision || found.changes.iter().any(|at| at.removed);
    let broken = if may_break {
        affects(&found, &lineage::uses_of(changes.clients, &name).await?)
    } else {
        Vec::new()
    };
    Ok(Proposed { name, after, before, found, broken })
}

/// What a metric reads of a property is gone when only its pseudonym is kept.
fn newly_concealed(before: &ContractSpec, after: &ContractSpec) -> Vec<Change> {
    let open = |name: &&str| before.properties.get(*name).is_none_or(|rule| !rule.pseudonym);
    after
        .concealed_properties()
        .filter(open)
        .map(|name| Change {
            path: format!("/properties/{name}"),
            property: name.to_owned(),
            removed: true,
            bump: Bump::None,
            what: "only its pseudonym is kept from now on".to_owned(),
        })
        .collect()
}

/// Creates or replaces a contract.
pub(crate) async fn apply_contract(
    changes: &Changes<'_>,
    caller: &Caller,
    request: &pb::ApplyContractRequest,
) -> Result<pb::ApplyContractResponse, Error> {
    let mutation = Mutation::new(caller, METHOD, &request.request_id, request)?;
    let wanted = Wanted {
        contract: request.contract.as_ref(),
        decision: None,
        validate_only: request.validate_only,
    };
    let respond = |contract| pb::ApplyContractResponse { contract: Some(contract) };
    apply(changes, caller, &mutation, wanted, respond).await
}

/// Replaces a contract by leave of a decision.
pub(crate) async fn apply_approved(
    changes: &Changes<'_>,
    caller: &Caller,
    request: &pb::ApplyApprovedContractRequest,
) -> Result<pb::ApplyApprovedContractResponse, Error> {
    let mutation = Mutation::new(caller, APPROVED, &request.request_id, request)?;
    let decision = find_decision(changes.clients, &request.decision_request).await?;
    let wanted = Wanted {
        contract: request.contract.as_ref(),
        decision: Some(decision),
        validate_only: false,
    };
    let respond = |contract| pb::ApplyApprovedContractResponse { contract: Some(contract) };
    apply(changes, caller, &mutation, wanted, respond).await
}

struct Wanted<'a> {
    contract: Option<&'a pb::Contract>,
    decision: Option<Decided>,
    validate_only: bool,
}

async fn apply<R: prost::Message + Default>(
    changes: &Changes<'_>,
    caller: &Caller,
    mutation: &Mutation,
    wanted: Wanted<'_>,
    respond: impl Fn(pb::Contract) -> R,
) -> Result<R, Error> {
    if let Some(answer) = {
        let mut connection = changes.pool.acquire().await.map_err(northstar_store::Error::from)?;
        mutation.find_answer(&mut connection).await?
    } {
        return Ok(answer);
    }
    // Other services are asked before the transaction begins.
    let proposed = propose(changes, caller, wanted.contract).await?;
    let project = caller.project;
    let name = proposed.name.clone();

    let mut transaction = changes.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut transaction).await? {
        return Ok(answer);
    }
    // Changes of a project's contracts run one after the other.
    begin_change(&mut transaction, project).await?;
    let before = find(&mut transaction, project, &name).await?;
    let current_etag = before.as_ref().map_or("", |contract| contract.etag.as_str());
    let wanted_etag = wanted.contract.map_or("", |contract| contract.etag.as_str());
    let proposed_on = proposed.before.as_ref().map_or("", |contract| contract.etag.as_str());
    if !wanted_etag.is_empty() && wanted_etag != current_etag || proposed_on != current_etag {
        return Err(Error::ContractChanged { name, etag: current_etag.to_owned() });
    }
    if let Some(violation) = proposed.version_problem() {
        return Err(Error::violations(vec![violation]));
    }

    let etag = proposed.after.etag();
    let response = match before {
        Some(same) if same.etag == etag => respond(stored_contract(&same)),
        before => {
            let decision = check_decision(&proposed, wanted.decision.as_ref())?;
            let bump = proposed.found.bump();
            let after = Contract {
                name,
                spec: proposed.after,
                etag,
                updated_at: changes.now,
                counts: Counts::default(),
            };
            if !wanted.validate_only {
                let applied = Applied { bump, by: &caller.principal, decision };
                save(&mut transaction, project, &after, applied).await?;
                record(&mut transaction, caller, before.as_ref(), &after, applied).await?;
            }
            respond(stored_contract(&after))
        }
    };
    if wanted.validate_only {
        transaction.rollback().await.map_err(northstar_store::Error::from)?;
        return Ok(response);
    }
    mutation.save_answer(&mut transaction, &response, changes.now).await?;
    transaction.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

/// The decision that allows the change, when it needs one or came with one.
fn check_decision(
    proposed: &Proposed,
    decision: Option<&Decided>,
) -> Result<Option<DecisionRequestId>, Error> {
    let name = &proposed.name;
    match (decision, &proposed.before) {
        (None, _) if proposed.broken.is_empty() => Ok(None),
        (None, _) => {
            Err(Error::NeedsDecision { name: name.clone(), metrics: proposed.broken.clone() })
        }
        (Some(decided), Some(before)) => {
            decided.allows(name, &before.spec, &proposed.after).map_err(|error| {
                Error::NotApproved { name: name.clone(), problem: error.to_string() }
            })?;
            Ok(Some(decided.id))
        }
        (Some(_), None) => Err(Error::ContractNotFound { name: name.clone() }),
    }
}

async fn record(
    connection: &mut PgConnection,
    caller: &Caller,
    before: Option<&Contract>,
    after: &Contract,
    applied: Applied<'_>,
) -> Result<(), Error> {
    let detail = serde_json::json!({
        "before": before.map(|before| &before.spec),
        "after": after.spec,
        "bump": applied.bump,
        "decision_request": applied.decision,
    });
    let entry = audit::NewEntry {
        project: caller.project,
        actor: &caller.principal,
        action: "contract.apply",
        resource: &format!("contracts/{}", after.name),
        detail: &detail,
        at: after.updated_at,
    };
    audit::append(connection, &entry).await?;
    Ok(())
}

/// The decision as approvals tells of it now.
async fn find_decision(clients: &Clients, id: &str) -> Result<Decided, Error> {
    let none = || Error::invalid("decision_request", "is not the id of a decision request");
    let parsed = id.parse().map_err(|_| none())?;
    let request = approvals::GetDecisionRequestRequest { decision_request_id: id.to_owned() };
    let found = match clients.approvals().get_decision_request(request).await {
        Ok(found) => found.into_inner().decision_request.unwrap_or_default(),
        Err(status) if status.code() == Code::NotFound => return Err(none()),
        Err(status) => return Err(status.into()),
    };
    Ok(Decided {
        id: parsed,
        approved: found.state() == approvals::DecisionState::Approved,
        action: found.action,
        subject: found.subject,
        diff_digest: found.diff_digest,
    })
}

/// Asks people to decide about a change.
pub(crate) async fn request_change(
    changes: &Changes<'_>,
    caller: &Caller,
    request: &pb::RequestContractChangeRequest,
) -> Result<pb::RequestContractChangeResponse, Error> {
    let proposed = propose(changes, caller, request.contract.as_ref()).await?;
    let Some(before) = &proposed.before else {
        return Err(Error::ContractNotFound { name: proposed.name });
    };
    if let Some(violation) = proposed.version_problem() {
        return Err(Error::violations(vec![violation]));
    }
    let name = &proposed.name;
    let evidence = serde_json::json!({
        "bump": proposed.found.bump(),
        "changes": proposed.found.changes,
        "broken_metrics": proposed.broken,
    });
    // approvals answers the same request id with the same decision request.
    let wanted = approvals::CreateDecisionRequestRequest {
        request_id: request.request_id.clone(),
        decision_request: Some(approvals::DecisionRequest {
            action: northstar_domain::contract::ACTION.to_owned(),
            subject: northstar_domain::contract::subject(name),
            summary: summary(&proposed, before),
            diff_json: change_diff(name, &before.spec, &proposed.after).json().to_owned(),
            evidence: vec![approvals::Evidence {
                title: "What changes, and the metrics that it breaks".to_owned(),
                source: "ContractsService.CheckContract".to_owned(),
                json: evidence.to_string(),
            }],
            ..approvals::DecisionRequest::default()
        }),
    };
    let asked = changes.clients.approvals().create_decision_request(wanted).await?.into_inner();
    Ok(pb::RequestContractChangeResponse {
        decision_request: asked.decision_request.unwrap_or_default().decision_request_id,
        broken_metrics: proposed.broken.clone(),
    })
}

fn summary(proposed: &Proposed, before: &Contract) -> String {
    let change = format!(
        "change the contract of {:?} from {} to {}",
        proposed.name, before.spec.schema_version, proposed.after.schema_version
    );
    match proposed.broken.as_slice() {
        [] => change,
        metrics => {
            let shown: Vec<_> = metrics.iter().take(5).map(String::as_str).collect();
            format!("{change}, which breaks {} metrics: {}", metrics.len(), shown.join(", "))
        }
    }
}
