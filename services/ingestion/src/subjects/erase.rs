//! EraseSubject, what tells how far an erasure is, and what other services follow it by.

use northstar_domain::identity::Identifier;
use northstar_domain::{ErasureId, ProjectId, Violations};
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_server::page::page_size;
use northstar_store::audit;
use northstar_store::ingestion::erasure::{self as store, Erasure, Follower, Stage};
use northstar_store::ingestion::{heads, identity as facts};

use super::Subjects;
use super::convert::{identifier, reason, refused};
use super::policies::not_found;
use crate::config::FOLLOWERS;
use crate::convert::time_to_proto;
use crate::error::Error;
use crate::identity::subject_of;

const ERASE: &str = "/northstar.ingestion.v1.SubjectsService/EraseSubject";
const PROOF_LIMIT: usize = 1_000;
const NOTE_LIMIT: usize = 1_000;
/// Erasures that a service is given at once.
const FOLLOWED_AT_ONCE: i64 = 100;

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
        stage: Stage::Looking,
        archive_position: 0,
        archived_events: 0,
        archived_files: 0,
        rewrite_position: 0,
        done_at: None,
        finished_at: None,
        problem: None,
    };
    store::insert(&mut transaction, &erasure, &identifiers, &service.followers).await?;
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
    let followers = store::followers(&mut transaction, &[id]).await?;
    let erasure = Some(erasure_to_proto(erasure, &followers));
    let response = pb::EraseSubjectResponse { erasure };
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
    let found = found.ok_or_else(|| not_found("Erasure", id))?;
    let followers = store::followers(&mut connection, &[found.id]).await?;
    Ok(erasure_to_proto(found, &followers))
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
    let ids: Vec<ErasureId> = page.iter().map(|erasure| erasure.id).collect();
    let followers = store::followers(&mut connection, &ids).await?;
    let erasures = page.into_iter().map(|erasure| erasure_to_proto(erasure, &followers)).collect();
    Ok(pb::ListErasuresResponse { erasures, next_page_token })
}

/// The erasures that a service has to follow.
pub(super) async fn follow_erasures(
    service: &Subjects,
    project: ProjectId,
    request: &pb::FollowErasuresRequest,
) -> Result<pb::FollowErasuresResponse, Error> {
    known_follower(&request.service)?;
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let found =
        store::to_follow(&mut connection, project, &request.service, FOLLOWED_AT_ONCE).await?;
    let mut erasures = Vec::with_capacity(found.len());
    for erasure in found {
        let identifiers = store::pseudonyms(&mut connection, erasure.id).await?;
        erasures.push(pb::ErasureToFollow {
            erasure_id: erasure.id.to_string(),
            last_position: erasure.last_position,
            rewrite_position: erasure.rewrite_position,
            identifiers: identifiers
                .into_iter()
                .map(|found| pb::ErasedIdentifier {
                    identifier: Some(pb::Identifier { kind: found.kind, value: found.value }),
                    pseudonym: found.pseudonym,
                })
                .collect(),
        });
    }
    Ok(pb::FollowErasuresResponse { erasures })
}

/// Notes how far a service is, and ends the erasure with the last one.
pub(super) async fn report_erasure(
    service: &Subjects,
    project: ProjectId,
    request: &pb::ReportErasureRequest,
) -> Result<pb::ReportErasureResponse, Error> {
    known_follower(&request.service)?;
    let id = request
        .erasure_id
        .parse()
        .map_err(|_| Error::invalid("erasure_id", "is not the id of an erasure"))?;
    let mut found = Violations::new();
    found.require(request.records >= 0, "records", "must not be negative");
    found.require(request.note.len() <= NOTE_LIMIT, "note", "must have at most 1,000 bytes");
    found.require(!request.note.contains('\0'), "note", "must not contain U+0000");
    found.or(()).map_err(|found| refused(&found))?;
    let now = service.clock.now();
    let mut transaction = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if !store::lock(&mut transaction, project, id).await? {
        return Err(not_found("Erasure", &request.erasure_id));
    }
    let report = store::Report {
        service: &request.service,
        done: request.done,
        records: request.records,
        note: &request.note,
    };
    if !store::report(&mut transaction, id, report, now).await? {
        return Err(Error::invalid("service", "does not have to follow this erasure"));
    }
    let ended = store::finish(&mut transaction, id, now).await?;
    let erasure = store::find(&mut transaction, project, id).await?;
    let followers = store::followers(&mut transaction, &[id]).await?;
    transaction.commit().await.map_err(northstar_store::Error::from)?;
    if ended {
        tracing::info!(erasure.id = %id, "every service followed an erasure");
    }
    let erasure = erasure.map(|erasure| erasure_to_proto(erasure, &followers));
    Ok(pb::ReportErasureResponse { erasure })
}

fn known_follower(service: &str) -> Result<(), Error> {
    if FOLLOWERS.contains(&service) {
        return Ok(());
    }
    Err(Error::invalid("service", "must be metrics, experiments, approvals or automations"))
}

fn erasure_to_proto(erasure: Erasure, followers: &[Follower]) -> pb::Erasure {
    let state = match (erasure.done_at, erasure.finished_at) {
        (_, Some(_)) => pb::ErasureState::Done,
        (Some(_), None) => pb::ErasureState::Following,
        (None, None) => pb::ErasureState::Running,
    };
    pb::Erasure {
        erasure_id: erasure.id.to_string(),
        state: state.into(),
        actor: erasure.actor,
        reason: erasure.reason,
        proof: erasure.proof,
        request_time: Some(time_to_proto(erasure.requested_at)),
        finish_time: erasure.finished_at.map(time_to_proto),
        last_position: erasure.last_position,
        position: erasure.position,
        identifiers: erasure.identifiers,
        events: erasure.events,
        quarantined: erasure.quarantined,
        archived_events: erasure.archived_events,
        archived_files: erasure.archived_files,
        rewrite_time: erasure.done_at.map(time_to_proto),
        followers: followers
            .iter()
            .filter(|follower| follower.erasure == erasure.id.0)
            .map(|follower| pb::ErasureFollower {
                service: follower.service.clone(),
                done: follower.done_at.is_some(),
                records: follower.records,
                note: follower.note.clone(),
                report_time: follower.reported_at.map(time_to_proto),
            })
            .collect(),
        problem: erasure.problem.unwrap_or_default(),
    }
}
