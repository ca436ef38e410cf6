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
use northstar_server::status::failure;
use northstar_store::PgConnection;
use northstar_store::ingestion::heads;
use northstar_store::ingestion::identity::{self as facts, NewStatement, StoredFact};

use super::Subjects;
use super::convert::{effective_time, fact_to_proto, identifier, identifier_to_proto, reason};
use super::merges::{check_leave, find_leave};
use super::policies::not_found;
use crate::change::{Begun, Change};
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
    let effective_at = effective_time(request.effective_time.as_ref(), service.clock.now())?;
    let reason = reason(&request.reason)?;
    let mut change = match service.begin(caller, LINK, &request.request_id, request).await? {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Open(change) => change,
    };
    let said = Said { verb: Verb::Link, from: &from, to: &to, effective_at, undoes: None, reason };
    let Told { fact, subject, updated } = say(&mut change, &said).await?;
    let response = pb::LinkIdentifiersResponse {
        fact: Some(fact),
        subject: Some(subject),
        identity_map_version: updated.version,
    };
    change.commit(response).await
}

pub(super) async fn unlink(
    service: &Subjects,
    caller: &Caller,
    request: &pb::UnlinkIdentifiersRequest,
) -> Result<pb::UnlinkIdentifiersResponse, Error> {
    let (from, to) = two(request.from.as_ref(), request.to.as_ref())?;
    let effective_at = effective_time(request.effective_time.as_ref(), service.clock.now())?;
    let reason = reason(&request.reason)?;
    let mut change = match service.begin(caller, UNLINK, &request.request_id, request).await? {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Open(change) => change,
    };
    let said =
        Said { verb: Verb::Unlink, from: &from, to: &to, effective_at, undoes: None, reason };
    let Told { fact, subject, updated } = say(&mut change, &said).await?;
    let response = pb::UnlinkIdentifiersResponse {
        fact: Some(fact),
        subject: Some(subject),
        identity_map_version: updated.version,
    };
    change.commit(response).await
}

pub(super) async fn merge(
    service: &Subjects,
    caller: &Caller,
    request: &pb::MergeSubjectsRequest,
) -> Result<pb::MergeSubjectsResponse, Error> {
    let (from, to) = two(request.from.as_ref(), request.to.as_ref())?;
    let reason = reason(&request.reason)?;
    // Other services are asked before the transaction begins.
    let leave = find_leave(&service.clients, &request.decision_request).await?;
    let mut change = match service.begin(caller, MERGE, &request.request_id, request).await? {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Open(change) => change,
    };
    let version = facts::lock(&mut change.transaction, caller.project).await?;
    let from = subject_of(&mut change.transaction, caller.project, &from, version).await?.name;
    let to = subject_of(&mut change.transaction, caller.project, &to, version).await?.name;
    if from == to {
        return Err(Error::invalid("to", "is an identifier of the same subject already"));
    }
    if policy(&mut change.transaction, caller.project).await?.approve_merges {
        check_leave(&mut change.transaction, caller, (&from, &to), leave.as_ref()).await?;
    }
    let effective_at = change.now;
    let said = Said { verb: Verb::Merge, from: &from, to: &to, effective_at, undoes: None, reason };
    let Told { fact, subject, updated } = say(&mut change, &said).await?;
    let response = pb::MergeSubjectsResponse {
        fact: Some(fact),
        subject: Some(subject),
        changed_identifiers: i64::try_from(updated.changed).unwrap_or(i64::MAX),
        identity_map_version: updated.version,
    };
    change.commit(response).await
}

pub(super) async fn unmerge(
    service: &Subjects,
    caller: &Caller,
    request: &pb::UnmergeSubjectsRequest,
) -> Result<pb::UnmergeSubjectsResponse, Error> {
    let reason = reason(&request.reason)?;
    let mut change = match service.begin(caller, UNMERGE, &request.request_id, request).await? {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Open(change) => change,
    };
    facts::lock(&mut change.transaction, caller.project).await?;
    let merge = find_merge(&mut change.transaction, caller.project, request.fact_id).await?;
    let said = Said {
        verb: Verb::Unmerge,
        from: &merge.from,
        to: &merge.to,
        effective_at: change.now,
        undoes: Some(merge.id),
        reason,
    };
    let Told { fact, updated, .. } = say(&mut change, &said).await?;
    let response = pb::UnmergeSubjectsResponse {
        fact: Some(fact),
        changed_identifiers: i64::try_from(updated.changed).unwrap_or(i64::MAX),
        identity_map_version: updated.version,
    };
    change.commit(response).await
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

/// What a statement led to.
struct Told {
    fact: pb::IdentityFact,
    /// The subject of the identifier that it is about; of a merge, that which is
    /// left.
    subject: pb::Identifier,
    updated: Updated,
}

/// Adds a statement, brings the map up to date and writes the audit entry.
async fn say(change: &mut Change<'_>, said: &Said<'_>) -> Result<Told, Error> {
    let (caller, now) = (change.caller, change.now);
    let project = caller.project;
    let connection = &mut change.transaction;
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
    let about = if said.verb == Verb::Merge { said.to } else { said.from };
    let subject = subject_of(connection, project, about, updated.version).await?;
    let action = format!("subject.{}", said.verb.as_str());
    change.audit(&action, &format!("identity-facts/{id}"), &detail).await?;
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
    let fact = StoredFact { fact, recorded_at: now, position: None, actor, reason };
    let subject = identifier_to_proto(&subject.name);
    Ok(Told { fact: fact_to_proto(&fact, ""), subject, updated })
}

/// The version of the map now.
pub(super) async fn current_version(
    connection: &mut PgConnection,
    project: ProjectId,
) -> Result<i64, Error> {
    Ok(heads::read(connection, project).await?.identity_version)
}
