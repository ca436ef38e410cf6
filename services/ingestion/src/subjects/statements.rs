//! What persons say about identifiers: link, unlink, merge, unmerge. Each is a
//! fact with who and why, a new version of the map, and an audit entry, in one
//! transaction.
//!
//! An audit entry is for ever, so it names the fact by its number and says
//! nothing that an erasure would have to take back.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::identity::{Fact, Identifier, SaidBy, Verb};
use northstar_proto::errors::v1::ErrorReason;
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_server::status::failure;
use northstar_store::ingestion::heads;
use northstar_store::ingestion::identity::{self as facts, NewStatement, StoredFact};
use northstar_store::{PgConnection, audit};

use super::Subjects;
use super::convert::{effective_time, fact_to_proto, identifier, identifier_to_proto, reason};
use super::policies::not_found;
use crate::error::Error;
use crate::identity::{Updated, closure, policy, subject_of, update};

const LINK: &str = "/northstar.ingestion.v1.SubjectsService/LinkIdentifiers";
const UNLINK: &str = "/northstar.ingestion.v1.SubjectsService/UnlinkIdentifiers";
const MERGE: &str = "/northstar.ingestion.v1.SubjectsService/MergeSubjects";
const UNMERGE: &str = "/northstar.ingestion.v1.SubjectsService/UnmergeSubjects";

pub(super) async fn link(
    service: &Subjects,
    caller: &Caller,
    request: &pb::LinkIdentifiersRequest,
) -> Result<pb::LinkIdentifiersResponse, Error> {
    let (from, to) = two(request.from.as_ref(), request.to.as_ref())?;
    let now = service.clock.now();
    let effective_at = effective_time(request.effective_time.as_ref(), now)?;
    let reason = reason(&request.reason)?;
    let mutation = Mutation::new(caller, LINK, &request.request_id, request)?;
    let mut transaction = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut transaction).await? {
        return Ok(answer);
    }
    let said = Said { verb: Verb::Link, from: &from, to: &to, effective_at, undoes: None, reason };
    let (fact, updated) = say(&mut transaction, caller, &said, now).await?;
    let subject = subject_of(&mut transaction, caller.project, &from, updated.version).await?;
    let response = pb::LinkIdentifiersResponse {
        fact: Some(fact_to_proto(&fact, "")),
        subject: Some(identifier_to_proto(&subject.name)),
        identity_map_version: updated.version,
    };
    mutation.save_answer(&mut transaction, &response, now).await?;
    transaction.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

pub(super) async fn unlink(
    service: &Subjects,
    caller: &Caller,
    request: &pb::UnlinkIdentifiersRequest,
) -> Result<pb::UnlinkIdentifiersResponse, Error> {
    let (from, to) = two(request.from.as_ref(), request.to.as_ref())?;
    let now = service.clock.now();
    let effective_at = effective_time(request.effective_time.as_ref(), now)?;
    let reason = reason(&request.reason)?;
    let mutation = Mutation::new(caller, UNLINK, &request.request_id, request)?;
    let mut transaction = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut transaction).await? {
        return Ok(answer);
    }
    let said =
        Said { verb: Verb::Unlink, from: &from, to: &to, effective_at, undoes: None, reason };
    let (fact, updated) = say(&mut transaction, caller, &said, now).await?;
    let subject = subject_of(&mut transaction, caller.project, &from, updated.version).await?;
    let response = pb::UnlinkIdentifiersResponse {
        fact: Some(fact_to_proto(&fact, "")),
        subject: Some(identifier_to_proto(&subject.name)),
        identity_map_version: updated.version,
    };
    mutation.save_answer(&mut transaction, &response, now).await?;
    transaction.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

pub(super) async fn merge(
    service: &Subjects,
    caller: &Caller,
    request: &pb::MergeSubjectsRequest,
) -> Result<pb::MergeSubjectsResponse, Error> {
    let (from, to) = two(request.from.as_ref(), request.to.as_ref())?;
    let now = service.clock.now();
    let reason = reason(&request.reason)?;
    let mutation = Mutation::new(caller, MERGE, &request.request_id, request)?;
    let mut transaction = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut transaction).await? {
        return Ok(answer);
    }
    let version = facts::lock(&mut transaction, caller.project).await?;
    let from = subject_of(&mut transaction, caller.project, &from, version).await?.name;
    let to = subject_of(&mut transaction, caller.project, &to, version).await?.name;
    if from == to {
        return Err(Error::invalid("to", "is an identifier of the same subject already"));
    }
    let effective_at = now;
    let said = Said { verb: Verb::Merge, from: &from, to: &to, effective_at, undoes: None, reason };
    let (fact, updated) = say(&mut transaction, caller, &said, now).await?;
    let subject = subject_of(&mut transaction, caller.project, &to, updated.version).await?;
    let response = pb::MergeSubjectsResponse {
        fact: Some(fact_to_proto(&fact, "")),
        subject: Some(identifier_to_proto(&subject.name)),
        changed_identifiers: i64::try_from(updated.changed).unwrap_or(i64::MAX),
        identity_map_version: updated.version,
    };
    mutation.save_answer(&mut transaction, &response, now).await?;
    transaction.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

pub(super) async fn unmerge(
    service: &Subjects,
    caller: &Caller,
    request: &pb::UnmergeSubjectsRequest,
) -> Result<pb::UnmergeSubjectsResponse, Error> {
    let now = service.clock.now();
    let reason = reason(&request.reason)?;
    let mutation = Mutation::new(caller, UNMERGE, &request.request_id, request)?;
    let mut transaction = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut transaction).await? {
        return Ok(answer);
    }
    facts::lock(&mut transaction, caller.project).await?;
    let merge = find_merge(&mut transaction, caller.project, request.fact_id).await?;
    let said = Said {
        verb: Verb::Unmerge,
        from: &merge.from,
        to: &merge.to,
        effective_at: now,
        undoes: Some(merge.id),
        reason,
    };
    let (fact, updated) = say(&mut transaction, caller, &said, now).await?;
    let response = pb::UnmergeSubjectsResponse {
        fact: Some(fact_to_proto(&fact, "")),
        changed_identifiers: i64::try_from(updated.changed).unwrap_or(i64::MAX),
        identity_map_version: updated.version,
    };
    mutation.save_answer(&mut transaction, &response, now).await?;
    transaction.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

/// A merge that is in force.
async fn find_merge(
    connection: &mut PgConnection,
    project: ProjectId,
    id: i64,
) -> Result<Fact, Error> {
    let found = facts::fact(connection, project, id).await?;
    let merge = found.ok_or_else(|| not_found("IdentityFact", &id.to_string()))?.fact;
    let wrong = |state: &'static str, problem: &'static str| {
        failure(ErrorReason::InvalidTransition, problem)
            .metadata("state", state)
            .metadata("step", "unmerge")
    };
    if merge.verb != Verb::Merge {
        let state = merge.verb.as_str();
        return Err(wrong(state, "the fact is no merge; only a merge is taken back").into());
    }
    let about = facts::facts_of(connection, project, std::slice::from_ref(&merge.from)).await?;
    if about.iter().any(|stored| stored.fact.undoes == Some(id)) {
        return Err(wrong("undone", "the merge was taken back before").into());
    }
    Ok(merge)
}

fn two(
    from: Option<&pb::Identifier>,
    to: Option<&pb::Identifier>,
) -> Result<(Identifier, Identifier), Error> {
    let (from, to) = (identifier("from", from)?, identifier("to", to)?);
    if from == to {
        return Err(Error::invalid("to", "must be another identifier than from"));
    }
    Ok((from, to))
}

struct Said<'a> {
    verb: Verb,
    from: &'a Identifier,
    to: &'a Identifier,
    effective_at: DateTime<Utc>,
    undoes: Option<i64>,
    reason: &'a str,
}

/// Adds a statement, brings the map up to date and writes the audit entry.
async fn say(
    connection: &mut PgConnection,
    caller: &Caller,
    said: &Said<'_>,
    now: DateTime<Utc>,
) -> Result<(StoredFact, Updated), Error> {
    let project = caller.project;
    let version = facts::lock(connection, project).await?;
    let policy = policy(connection, project).await?;
    for (field, identifier) in [("from", said.from), ("to", said.to)] {
        if !policy.knows(&identifier.kind) {
            let problem = format!("the identity policy does not name the kind {}", identifier.kind);
            return Err(Error::invalid(format!("{field}.kind"), problem));
        }
        if said.verb != Verb::Unlink && said.verb != Verb::Unmerge && !policy.allows(identifier) {
            let problem = "stands for nobody, so it is never linked";
            return Err(Error::invalid(format!("{field}.value"), problem));
        }
    }
    let new = NewStatement {
        verb: said.verb,
        from: said.from,
        to: said.to,
        effective_at: said.effective_at,
        recorded_at: now,
        undoes: said.undoes,
        actor: &caller.principal,
        reason: said.reason,
    };
    let id = facts::add_statement(connection, project, &new).await?;
    let seeds = BTreeSet::from([said.from.clone(), said.to.clone()]);
    let about = closure(connection, project, seeds).await?;
    let updated = update(connection, project, version, &policy, &about, now).await?;
    let detail = serde_json::json!({
        "verb": said.verb.as_str(),
        "from_kind": said.from.kind,
        "to_kind": said.to.kind,
        "undoes": said.undoes,
        "reason": said.reason,
        "changed_identifiers": updated.changed,
        "before": { "identity_map_version": version },
        "after": { "identity_map_version": updated.version },
    });
    let entry = audit::NewEntry {
        project,
        actor: &caller.principal,
        action: &format!("subject.{}", said.verb.as_str()),
        resource: &format!("identity-facts/{id}"),
        detail: &detail,
        at: now,
    };
    audit::append(connection, &entry).await?;
    let fact = Fact {
        effective_at: said.effective_at,
        id,
        verb: said.verb,
        from: said.from.clone(),
        to: said.to.clone(),
        said_by: SaidBy::Person,
        undoes: said.undoes,
    };
    let (actor, reason) = (caller.principal.clone(), said.reason.to_owned());
    Ok((StoredFact { fact, recorded_at: now, position: None, actor, reason }, updated))
}

/// The version of the map now.
pub(super) async fn current_version(
    connection: &mut PgConnection,
    project: ProjectId,
) -> Result<i64, Error> {
    Ok(heads::read(connection, project).await?.identity_version)
}
