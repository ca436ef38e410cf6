//! EraseSubject and what tells how far an erasure is.

use northstar_domain::identity::Identifier;
use northstar_domain::{ErasureId, ProjectId, Violations};
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_server::page::page_size;
use northstar_store::audit;
use northstar_store::ingestion::erasure::{self as store, Erasure};
use northstar_store::ingestion::{heads, identity as facts};

use super::Subjects;
use super::convert::{identifier, reason, refused};
use super::policies::not_found;
use crate::convert::time_to_proto;
use crate::error::Error;
use crate::identity::subject_of;

const ERASE: &str = "/northstar.ingestion.v1.SubjectsService/EraseSubject";
const PROOF_LIMIT: usize = 1_000;

pub(super) async fn erase_subject(
    service: &Subjects,
    caller: &Caller,
    request: &pb::EraseSubjectRequest,
) -> Result<pb::EraseSubjectResponse, Error> {
    let identifier = identifier("identifier", request.identifier.as_ref())?;
    let reason = reason(&request.reason)?;
    let mut found = Violations::new();
    found.require_text("proof", &request.proof, PROOF_LIMIT);
    found.require(!request.proof.contains('\0'), "proof", "must not contain U+0000");
    found.or(()).map_err(|found| refused(&found))?;
    let mutation = Mutation::new(caller, ERASE, &request.request_id, request)?;
    let (project, now) = (caller.project, service.clock.now());

    let mut transaction = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut transaction).await? {
        return Ok(answer);
    }
    let version = facts::lock(&mut transaction, project).await?;
    let head = heads::read(&mut transaction, project).await?;
    let subject = subject_of(&mut transaction, project, &identifier, version).await?;
    let id = ErasureId::generate();
    let pseudonym = format!("erased-{}", uuid::Uuid::new_v4().simple());
    let identifiers: Vec<(Identifier, String)> = subject
        .identifiers()
        .into_iter()
        .enumerate()
        .map(|(number, identifier)| match number {
            0 => (identifier, pseudonym.clone()),
            _ => (identifier, format!("{pseudonym}-{number}")),
        })
        .collect();
    let erasure = Erasure {
        id,
        project,
        pseudonym,
        actor: caller.principal.clone(),
        reason: reason.to_owned(),
        proof: request.proof.trim().to_owned(),
        requested_at: now,
        last_position: head.position,
        position: 0,
        identifiers: i64::try_from(identifiers.len()).unwrap_or(i64::MAX),
        events: 0,
        quarantined: 0,
        done_at: None,
    };
    store::insert(&mut transaction, &erasure, &identifiers).await?;
    let detail = serde_json::json!({
        "identifiers": erasure.identifiers,
        "reason": erasure.reason,
        "proof": erasure.proof,
        "log_position": erasure.last_position,
    });
    let entry = audit::NewEntry {
        project,
        actor: &caller.principal,
        action: "subject.erase",
        resource: &format!("erasures/{id}"),
        detail: &detail,
        at: now,
    };
    audit::append(&mut transaction, &entry).await?;
    let response = pb::EraseSubjectResponse { erasure: Some(erasure_to_proto(erasure)) };
    mutation.save_answer(&mut transaction, &response, now).await?;
    transaction.commit().await.map_err(northstar_store::Error::from)?;
    service.erasures.notify();
    Ok(response)
}

pub(super) async fn get_erasure(
    service: &Subjects,
    project: ProjectId,
    id: &str,
) -> Result<pb::Erasure, Error> {
    let parsed =
        id.parse().map_err(|_| Error::invalid("erasure_id", "is not the id of an erasure"))?;
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let found = store::find(&mut connection, project, parsed).await?;
    found.map(erasure_to_proto).ok_or_else(|| not_found("Erasure", id))
}

pub(super) async fn list_erasures(
    service: &Subjects,
    project: ProjectId,
    request: &pb::ListErasuresRequest,
) -> Result<pb::ListErasuresResponse, Error> {
    let size = page_size(request.page_size)?;
    let after = match request.page_token.as_str() {
        "" => None,
        token => Some(
            token
                .parse()
                .map_err(|_| Error::invalid("page_token", "is not one that this call returned"))?,
        ),
    };
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let found = store::list(&mut connection, project, after, size).await?;
    let (page, more) = size.cut(found);
    let next_page_token = match page.last() {
        Some(last) if more => last.id.to_string(),
        _ => String::new(),
    };
    let erasures = page.into_iter().map(erasure_to_proto).collect();
    Ok(pb::ListErasuresResponse { erasures, next_page_token })
}

fn erasure_to_proto(erasure: Erasure) -> pb::Erasure {
    let state =
        if erasure.done_at.is_some() { pb::ErasureState::Done } else { pb::ErasureState::Running };
    pb::Erasure {
        erasure_id: erasure.id.to_string(),
        state: state.into(),
        actor: erasure.actor,
        reason: erasure.reason,
        proof: erasure.proof,
        request_time: Some(time_to_proto(erasure.requested_at)),
        finish_time: erasure.done_at.map(time_to_proto),
        last_position: erasure.last_position,
        position: erasure.position,
        identifiers: erasure.identifiers,
        events: erasure.events,
        quarantined: erasure.quarantined,
    }
}
