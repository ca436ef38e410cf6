//! The two policies of a project.

use northstar_domain::ProjectId;
use northstar_domain::consent_policy::ConsentPolicy;
use northstar_domain::identity::{IdentityPolicy, POLICY_NAME};
use northstar_proto::errors::v1::ErrorReason;
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use northstar_server::page::page_size;
use northstar_server::status::failure;
use northstar_store::ingestion::subject_policies::{self, Kind, Stored};
use northstar_store::ingestion::{consent, contracts, identity as facts};

use super::Subjects;
use super::convert::{
    consent_policy_from_proto, consent_policy_to_proto, identity_policy_from_proto,
    identity_policy_to_proto, refused,
};
use crate::change::{Begun, check_etag};
use crate::convert::time_to_proto;
use crate::error::Error;
use crate::identity::update;

const APPLY_IDENTITY: &str = "/northstar.ingestion.v1.SubjectsService/ApplyIdentityPolicy";
const APPLY_CONSENT: &str = "/northstar.ingestion.v1.SubjectsService/ApplyConsentPolicy";

/// Applies the identity policy and makes the map of all facts anew.
pub(super) async fn apply_identity(
    service: &Subjects,
    caller: &Caller,
    request: &pb::ApplyIdentityPolicyRequest,
) -> Result<pb::ApplyIdentityPolicyResponse, Error> {
    let wanted = request
        .identity_policy
        .as_ref()
        .ok_or_else(|| Error::invalid("identity_policy", "is required"))?;
    let policy = identity_policy_from_proto(wanted)
        .map_err(|found| refused(&found.below("identity_policy")))?;
    let mut change =
        match service.begin(caller, APPLY_IDENTITY, &request.request_id, request).await? {
            Begun::Answered(answer) => return Ok(answer),
            Begun::Open(change) => change,
        };
    let (project, now) = (caller.project, change.now);
    let version = facts::lock(&mut change.transaction, project).await?;
    let before: Option<Stored<IdentityPolicy>> =
        subject_policies::find(&mut change.transaction, project, Kind::Identity).await?;
    let current = before.as_ref().map(|before| &*before.etag);
    check_etag("IdentityPolicy", POLICY_NAME, &wanted.etag, current)?;
    let etag = policy.etag();
    let all: Vec<_> = facts::all_facts(&mut change.transaction, project)
        .await?
        .into_iter()
        .map(|stored| stored.fact)
        .collect();
    let updated = update(&mut change.transaction, project, version, &policy, &all, now).await?;
    if before.as_ref().is_none_or(|before| before.etag != etag) {
        subject_policies::save(
            &mut change.transaction,
            project,
            Kind::Identity,
            &policy,
            &etag,
            now,
        )
        .await?;
        let detail = serde_json::json!({
            "before": before.as_ref().map(|before| &before.policy),
            "after": policy,
            "changed_identifiers": updated.changed,
        });
        let resource = format!("identity-policies/{POLICY_NAME}");
        change.audit("identity_policy.apply", &resource, &detail).await?;
    }
    let stored = subject_policies::find(&mut change.transaction, project, Kind::Identity).await?;
    let response = pb::ApplyIdentityPolicyResponse {
        identity_policy: stored.as_ref().map(stored_identity),
        changed_identifiers: i64::try_from(updated.changed).unwrap_or(i64::MAX),
    };
    if request.validate_only { Ok(response) } else { change.commit(response).await }
}

/// Applies the consent policy; it holds from the next request on.
pub(super) async fn apply_consent(
    service: &Subjects,
    caller: &Caller,
    request: &pb::ApplyConsentPolicyRequest,
) -> Result<pb::ApplyConsentPolicyResponse, Error> {
    let wanted = request
        .consent_policy
        .as_ref()
        .ok_or_else(|| Error::invalid("consent_policy", "is required"))?;
    let policy = consent_policy_from_proto(wanted)
        .map_err(|found| refused(&found.below("consent_policy")))?;
    let mut change =
        match service.begin(caller, APPLY_CONSENT, &request.request_id, request).await? {
            Begun::Answered(answer) => return Ok(answer),
            Begun::Open(change) => change,
        };
    let (project, now) = (caller.project, change.now);
    facts::lock(&mut change.transaction, project).await?;
    let before: Option<Stored<ConsentPolicy>> =
        subject_policies::find(&mut change.transaction, project, Kind::Consent).await?;
    let current = before.as_ref().map(|before| &*before.etag);
    check_etag("ConsentPolicy", POLICY_NAME, &wanted.etag, current)?;
    let etag = policy.etag();
    if before.as_ref().is_none_or(|before| before.etag != etag) {
        subject_policies::save(
            &mut change.transaction,
            project,
            Kind::Consent,
            &policy,
            &etag,
            now,
        )
        .await?;
        let detail = serde_json::json!({
            "before": before.as_ref().map(|before| &before.policy),
            "after": policy,
        });
        // Every process that takes events in notices it like a change of contracts.
        contracts::begin_change(&mut change.transaction, project).await?;
        let resource = format!("consent-policies/{POLICY_NAME}");
        change.audit("consent_policy.apply", &resource, &detail).await?;
    }
    let stored = subject_policies::find(&mut change.transaction, project, Kind::Consent).await?;
    let response =
        pb::ApplyConsentPolicyResponse { consent_policy: stored.as_ref().map(stored_consent) };
    if request.validate_only {
        return Ok(response);
    }
    let response = change.commit(response).await?;
    service.contracts.reload(project).await?;
    Ok(response)
}

fn stored_identity(stored: &Stored<IdentityPolicy>) -> pb::IdentityPolicy {
    pb::IdentityPolicy {
        etag: stored.etag.clone(),
        update_time: Some(time_to_proto(stored.updated_at)),
        ..identity_policy_to_proto(&stored.policy)
    }
}

fn stored_consent(stored: &Stored<ConsentPolicy>) -> pb::ConsentPolicy {
    pb::ConsentPolicy {
        etag: stored.etag.clone(),
        update_time: Some(time_to_proto(stored.updated_at)),
        ..consent_policy_to_proto(&stored.policy)
    }
}

pub(super) async fn find_identity(
    service: &Subjects,
    project: ProjectId,
) -> Result<Option<pb::IdentityPolicy>, Error> {
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let found = subject_policies::find(&mut connection, project, Kind::Identity).await?;
    Ok(found.as_ref().map(stored_identity))
}

pub(super) async fn find_consent(
    service: &Subjects,
    project: ProjectId,
) -> Result<Option<pb::ConsentPolicy>, Error> {
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let found = subject_policies::find(&mut connection, project, Kind::Consent).await?;
    Ok(found.as_ref().map(stored_consent))
}

pub(super) async fn get_identity(
    service: &Subjects,
    project: ProjectId,
    name: &str,
) -> Result<pb::IdentityPolicy, Error> {
    let found = if name == POLICY_NAME { find_identity(service, project).await? } else { None };
    found.ok_or_else(|| not_found("IdentityPolicy", name))
}

pub(super) async fn get_consent(
    service: &Subjects,
    project: ProjectId,
    name: &str,
) -> Result<pb::GetConsentPolicyResponse, Error> {
    let found = if name == POLICY_NAME { find_consent(service, project).await? } else { None };
    let consent_policy = Some(found.ok_or_else(|| not_found("ConsentPolicy", name))?);
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let refusals = consent::refusals(&mut connection, project)
        .await?
        .into_iter()
        .map(|found| pb::Refusals {
            source: found.source,
            reason: found.reason,
            day: found.day.to_string(),
            events: found.events,
        })
        .collect();
    Ok(pb::GetConsentPolicyResponse { consent_policy, refusals })
}

/// Checks the page of a list that has one page.
pub(super) fn check_page(size: i32, token: &str) -> Result<(), Error> {
    page_size(size)?;
    if token.is_empty() {
        return Ok(());
    }
    Err(Error::invalid("page_token", "is not one that this call returned"))
}

pub(super) fn not_found(kind: &'static str, name: &str) -> Error {
    failure(ErrorReason::NotFound, format!("there is no {kind} named {name:?}"))
        .metadata("kind", kind)
        .metadata("name", name)
        .into()
}
