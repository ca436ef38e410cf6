//! Subjects that are forgotten: the wish, the work, and what is left.

use chrono::{DateTime, Utc};
use northstar_domain::identity::Identifier;
use northstar_domain::{ErasureId, ProjectId, QuarantineId};
use sqlx::PgConnection;

use super::quarantine::Content;
use crate::page::PageSize;
use crate::{Error, Result};

/// How far the work is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// The log is looked through.
    Looking,
    /// Archived files are written anew; then log and tables are changed.
    Rewriting,
    /// Files that were replaced are deleted.
    Removing,
    /// Other services follow.
    Following,
    /// Nothing is left.
    Done,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 5] =
        [Self::Looking, Self::Rewriting, Self::Removing, Self::Following, Self::Done];

    /// Its name in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Looking => "looking",
            Self::Rewriting => "rewriting",
            Self::Removing => "removing",
            Self::Following => "following",
            Self::Done => "done",
        }
    }
}

/// A wish to be forgotten.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Erasure {
    /// Its id.
    pub id: ErasureId,
    /// The project.
    pub project: ProjectId,
    /// What stands in place of the identifiers.
    pub pseudonym: String,
    /// Who entered it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// How it is known who asked.
    pub proof: String,
    /// When it was entered.
    pub requested_at: DateTime<Utc>,
    /// Events up to here are looked at.
    pub last_position: i64,
    /// Looked at so far.
    pub position: i64,
    /// Identifiers that are replaced.
    pub identifiers: i64,
    /// Events found so far.
    pub events: i64,
    /// Quarantined events that were emptied.
    pub quarantined: i64,
    /// How far the work is.
    pub stage: Stage,
    /// Archived files that begin up to here are looked at.
    pub archive_position: i64,
    /// Events of the subject in archived files.
    pub archived_events: i64,
    /// Archived files they are in.
    pub archived_files: i64,
    /// The head when the log was rewritten.
    pub rewrite_position: i64,
    /// When the log and the tables of ingestion were done.
    pub done_at: Option<DateTime<Utc>>,
    /// When everything was.
    pub finished_at: Option<DateTime<Utc>>,
    /// Why the last try did not get on.
    pub problem: Option<String>,
}

/// An identifier and what replaces it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pseudonym {
    /// Kind of the identifier.
    pub kind: String,
    /// The identifier.
    pub value: String,
    /// What replaces it.
    pub pseudonym: String,
}

struct Row {
    erasure_id: uuid::Uuid,
    project_id: i32,
    pseudonym: String,
    actor: String,
    reason: String,
    proof: String,
    requested_at: DateTime<Utc>,
    last_position: i64,
    position: i64,
    identifiers: i64,
    events: i64,
    quarantined: i64,
    stage: String,
    archive_position: i64,
    archived_events: i64,
    archived_files: i64,
    rewrite_position: i64,
    done_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    problem: Option<String>,
}

impl TryFrom<Row> for Erasure {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let known = Stage::ALL.into_iter().find(|stage| stage.as_str() == row.stage);
        let stage = known.ok_or_else(|| Error::Corrupt {
            table: "ingestion.erasures",
            column: "stage",
            row: row.erasure_id.to_string(),
            value: row.stage.clone(),
        })?;
        Ok(Self {
            id: ErasureId(row.erasure_id),
            project: ProjectId(row.project_id),
            pseudonym: row.pseudonym,
            actor: row.actor,
            reason: row.reason,
            proof: row.proof,
            requested_at: row.requested_at,
            last_position: row.last_position,
            position: row.position,
            identifiers: row.identifiers,
            events: row.events,
            quarantined: row.quarantined,
            stage,
            archive_position: row.archive_position,
            archived_events: row.archived_events,
            archived_files: row.archived_files,
            rewrite_position: row.rewrite_position,
            done_at: row.done_at,
            finished_at: row.finished_at,
            problem: row.problem,
        })
    }
}

/// Enters a wish with the identifiers that are to go and what replaces each, and
/// with the services that have to follow.
pub async fn insert(
    connection: &mut PgConnection,
    new: &Erasure,
    identifiers: &[(Identifier, String)],
    followers: &[String],
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO ingestion.erasures
             (erasure_id, project_id, pseudonym, actor, reason, proof, requested_at,
              last_position, identifiers)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        new.id.0,
        new.project.0,
        new.pseudonym,
        new.actor,
        new.reason,
        new.proof,
        new.requested_at,
        new.last_position,
        new.identifiers,
    )
    .execute(&mut *connection)
    .await?;
    let column = |of: fn(&(Identifier, String)) -> &str| -> Vec<String> {
        identifiers.iter().map(|identifier| of(identifier).to_owned()).collect()
    };
    let kinds = column(|(identifier, _)| identifier.kind.as_str());
    let values = column(|(identifier, _)| &identifier.value);
    let pseudonyms = column(|(_, pseudonym)| pseudonym);
    sqlx::query!(
        "INSERT INTO ingestion.erasure_identifiers (erasure_id, kind, value, pseudonym)
         SELECT $1, kind, value, pseudonym
         FROM unnest($2::text[], $3::text[], $4::text[]) AS new (kind, value, pseudonym)",
        new.id.0,
        &kinds,
        &values,
        &pseudonyms,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO ingestion.erasure_services (erasure_id, service)
         SELECT $1, service FROM unnest($2::text[]) AS new (service)",
        new.id.0,
        followers,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Finds a wish.
pub async fn find(
    connection: &mut PgConnection,
    project: ProjectId,
    id: ErasureId,
) -> Result<Option<Erasure>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT erasure_id, project_id, pseudonym, actor, reason, proof, requested_at,
             last_position, position, identifiers, events, quarantined, stage, archive_position,
             archived_events, archived_files, rewrite_position, done_at, finished_at, problem
         FROM ingestion.erasures WHERE project_id = $1 AND erasure_id = $2",
        project.0,
        id.0,
    )
    .fetch_optional(connection)
    .await?;
    row.map(Erasure::try_from).transpose()
}

/// A page of wishes, oldest first, after the given one.
pub async fn list(
    connection: &mut PgConnection,
    project: ProjectId,
    after: Option<ErasureId>,
    size: PageSize,
) -> Result<Vec<Erasure>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT erasure_id, project_id, pseudonym, actor, reason, proof, requested_at,
             last_position, position, identifiers, events, quarantined, stage, archive_position,
             archived_events, archived_files, rewrite_position, done_at, finished_at, problem
         FROM ingestion.erasures
         WHERE project_id = $1 AND ($2::uuid IS NULL OR erasure_id > $2)
         ORDER BY erasure_id LIMIT $3",
        project.0,
        after.map(|id| id.0),
        size.limit(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Erasure::try_from).collect()
}

/// The oldest wish that ingestion itself has work with, locked until the
/// transaction ends; what another process works on is left out, and what did not
/// get on comes last.
pub async fn lock_next(connection: &mut PgConnection) -> Result<Option<Erasure>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT erasure_id, project_id, pseudonym, actor, reason, proof, requested_at,
             last_position, position, identifiers, events, quarantined, stage, archive_position,
             archived_events, archived_files, rewrite_position, done_at, finished_at, problem
         FROM ingestion.erasures WHERE stage IN ('looking', 'rewriting', 'removing')
         ORDER BY problem IS NOT NULL, erasure_id LIMIT 1 FOR UPDATE SKIP LOCKED",
    )
    .fetch_optional(connection)
    .await?;
    row.map(Erasure::try_from).transpose()
}

/// The identifiers of a wish at work.
pub async fn pseudonyms(connection: &mut PgConnection, id: ErasureId) -> Result<Vec<Pseudonym>> {
    let pseudonyms = sqlx::query_as!(
        Pseudonym,
        "SELECT kind, value, pseudonym FROM ingestion.erasure_identifiers
         WHERE erasure_id = $1 ORDER BY kind, value",
        id.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(pseudonyms)
}

/// Notes events of the subject, and how far the log was looked at.
pub async fn found(
    connection: &mut PgConnection,
    id: ErasureId,
    positions: &[i64],
    position: i64,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO ingestion.erasure_events (erasure_id, position)
         SELECT $1, position FROM unnest($2::bigint[]) AS found (position)
         ON CONFLICT DO NOTHING",
        id.0,
        positions,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE ingestion.erasures SET position = $2, events = events + $3 WHERE erasure_id = $1",
        id.0,
        position,
        i64::try_from(positions.len()).unwrap_or(i64::MAX),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes events of the subject in archived files.
pub async fn found_archived(
    connection: &mut PgConnection,
    id: ErasureId,
    positions: &[i64],
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO ingestion.erasure_events (erasure_id, position, archived)
         SELECT $1, position, true FROM unnest($2::bigint[]) AS found (position)
         ON CONFLICT DO NOTHING",
        id.0,
        positions,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Positions of the subject's events in the log after one of them, in order.
pub async fn positions_after(
    connection: &mut PgConnection,
    id: ErasureId,
    after: i64,
    limit: i64,
) -> Result<Vec<i64>> {
    let positions = sqlx::query_scalar!(
        "SELECT position FROM ingestion.erasure_events
         WHERE erasure_id = $1 AND position > $2 AND NOT archived ORDER BY position LIMIT $3",
        id.0,
        after,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(positions)
}

/// Drops the values that contracts kept aside from the subject's events.
pub async fn forget_omitted(
    connection: &mut PgConnection,
    project: ProjectId,
    id: ErasureId,
) -> Result<()> {
    sqlx::query!(
        "UPDATE ingestion.event_notes SET omitted = NULL, sealed = NULL
         WHERE project_id = $1 AND num_nonnulls(omitted, sealed) > 0 AND position IN (
             SELECT position FROM ingestion.erasure_events WHERE erasure_id = $2
         )",
        project.0,
        id.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Replaces the identifiers in facts and in the map, forgets them, and tells
/// readers that copies of the log are stale. The caller holds the lock of the
/// project's head.
pub async fn pseudonymise(connection: &mut PgConnection, id: ErasureId) -> Result<()> {
    sqlx::query!("SELECT ingestion.pseudonymise($1)", id.0).execute(connection).await?;
    Ok(())
}

/// Marks the log and the tables of ingestion as done. The caller holds the lock of
/// the project's head.
pub async fn rewritten(
    connection: &mut PgConnection,
    id: ErasureId,
    quarantined: i64,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE ingestion.erasures erasure
         SET done_at = $2, quarantined = $3, stage = 'removing', problem = NULL,
             rewrite_position = coalesce((
                 SELECT position FROM ingestion.log_heads head
                 WHERE head.project_id = erasure.project_id), 0)
         WHERE erasure_id = $1",
        id.0,
        now,
        quarantined,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Sets how far the work is.
pub async fn set_stage(connection: &mut PgConnection, id: ErasureId, stage: Stage) -> Result<()> {
    sqlx::query!(
        "UPDATE ingestion.erasures SET stage = $2, problem = NULL WHERE erasure_id = $1",
        id.0,
        stage.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes why a try did not get on.
pub async fn set_problem(
    connection: &mut PgConnection,
    id: ErasureId,
    problem: &str,
) -> Result<()> {
    sqlx::query!("UPDATE ingestion.erasures SET problem = $2 WHERE erasure_id = $1", id.0, problem)
        .execute(connection)
        .await?;
    Ok(())
}

/// Ends a wish that waits for others, when no other service has still to follow:
/// then its identifiers are forgotten. Whether it ended. The caller holds the lock
/// of the wish.
pub async fn finish(
    connection: &mut PgConnection,
    id: ErasureId,
    now: DateTime<Utc>,
) -> Result<bool> {
    let ended = sqlx::query!(
        "UPDATE ingestion.erasures SET stage = 'done', finished_at = $2, problem = NULL
         WHERE erasure_id = $1 AND stage = 'following' AND NOT EXISTS (
             SELECT FROM ingestion.erasure_services service
             WHERE service.erasure_id = $1 AND service.done_at IS NULL)",
        id.0,
        now,
    )
    .execute(&mut *connection)
    .await?;
    if ended.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!("DELETE FROM ingestion.erasure_identifiers WHERE erasure_id = $1", id.0)
        .execute(connection)
        .await?;
    Ok(true)
}

/// A service that has to follow.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Follower {
    /// The wish.
    pub erasure: uuid::Uuid,
    /// Name of the service.
    pub service: String,
    /// Records that were removed or changed.
    pub records: i64,
    /// What it waits for, or leaves to people.
    pub note: String,
    /// When it last reported.
    pub reported_at: Option<DateTime<Utc>>,
    /// When it was done.
    pub done_at: Option<DateTime<Utc>>,
}

/// The services that have to follow some wishes, by wish and name.
pub async fn followers(connection: &mut PgConnection, ids: &[ErasureId]) -> Result<Vec<Follower>> {
    let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
    let found = sqlx::query_as!(
        Follower,
        "SELECT erasure_id AS erasure, service, records, note, reported_at, done_at
         FROM ingestion.erasure_services WHERE erasure_id = ANY($1)
         ORDER BY erasure_id, service",
        &ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(found)
}

/// The wishes of a project that a service has to follow, oldest first.
pub async fn to_follow(
    connection: &mut PgConnection,
    project: ProjectId,
    service: &str,
    limit: i64,
) -> Result<Vec<Erasure>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT erasure_id, project_id, pseudonym, actor, reason, proof, requested_at,
             last_position, position, identifiers, events, quarantined, stage, archive_position,
             archived_events, archived_files, rewrite_position, done_at, finished_at, problem
         FROM ingestion.erasures
         WHERE project_id = $1 AND done_at IS NOT NULL AND finished_at IS NULL
             AND erasure_id IN (
                 SELECT erasure_id FROM ingestion.erasure_services
                 WHERE service = $2 AND done_at IS NULL)
         ORDER BY erasure_id LIMIT $3",
        project.0,
        service,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Erasure::try_from).collect()
}

/// Locks a wish until the transaction ends. Whether there is one.
pub async fn lock(
    connection: &mut PgConnection,
    project: ProjectId,
    id: ErasureId,
) -> Result<bool> {
    let found = sqlx::query_scalar!(
        "SELECT erasure_id FROM ingestion.erasures
         WHERE project_id = $1 AND erasure_id = $2 FOR UPDATE",
        project.0,
        id.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}

/// What a service says of its part.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Name of the service.
    pub service: &'a str,
    /// Whether nothing is left.
    pub done: bool,
    /// Records that were removed or changed since the report before.
    pub records: i64,
    /// What it waits for, or leaves to people.
    pub note: &'a str,
}

/// Notes what a service says. Whether it is one that has to follow; one that was
/// done stays as it was.
pub async fn report(
    connection: &mut PgConnection,
    id: ErasureId,
    report: Report<'_>,
    now: DateTime<Utc>,
) -> Result<bool> {
    let known = sqlx::query!(
        "UPDATE ingestion.erasure_services SET
             records = CASE WHEN done_at IS NULL THEN records + $4 ELSE records END,
             note = CASE WHEN done_at IS NULL THEN $5 ELSE note END,
             reported_at = CASE WHEN done_at IS NULL THEN $6 ELSE reported_at END,
             done_at = CASE WHEN done_at IS NULL AND $3 THEN $6 ELSE done_at END
         WHERE erasure_id = $1 AND service = $2",
        id.0,
        report.service,
        report.done,
        report.records,
        report.note,
        now,
    )
    .execute(connection)
    .await?;
    Ok(known.rows_affected() == 1)
}

/// An archived file that was written anew.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RewrittenFile {
    /// Its first position.
    pub first_position: i64,
    /// The file with the subject.
    pub old_location: String,
    /// SHA-256 of it.
    pub old_sha256: Vec<u8>,
    /// The file without.
    pub location: String,
    /// Its size.
    pub bytes: i64,
    /// SHA-256 of its content.
    pub sha256: Vec<u8>,
    /// When it was read back and found whole.
    pub verified_at: DateTime<Utc>,
    /// Events of the subject in it.
    pub events: i64,
}

/// Notes that an archived file was looked at, and what was written when it holds
/// the subject.
pub async fn archive_looked_at(
    connection: &mut PgConnection,
    id: ErasureId,
    first_position: i64,
    written: Option<&RewrittenFile>,
) -> Result<()> {
    if let Some(file) = written {
        sqlx::query!(
            "INSERT INTO ingestion.erasure_files
                 (erasure_id, first_position, old_location, old_sha256, location, bytes, sha256,
                  verified_at, events)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            id.0,
            file.first_position,
            file.old_location,
            file.old_sha256,
            file.location,
            file.bytes,
            file.sha256,
            file.verified_at,
            file.events,
        )
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query!(
        "UPDATE ingestion.erasures
         SET archive_position = $2, archived_events = archived_events + $3,
             archived_files = archived_files + $4, problem = NULL
         WHERE erasure_id = $1",
        id.0,
        first_position,
        written.map_or(0, |file| file.events),
        i64::from(written.is_some()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The files that were written anew, in the order of positions.
pub async fn rewritten_files(
    connection: &mut PgConnection,
    id: ErasureId,
) -> Result<Vec<RewrittenFile>> {
    let files = sqlx::query_as!(
        RewrittenFile,
        "SELECT first_position, old_location, old_sha256, location, bytes, sha256, verified_at,
             events
         FROM ingestion.erasure_files WHERE erasure_id = $1 ORDER BY first_position",
        id.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(files)
}

/// Puts the files that were written in the places of the others. `false`, and
/// nothing is changed, when one of those was replaced meanwhile.
pub async fn swap_archived(
    connection: &mut PgConnection,
    id: ErasureId,
    now: DateTime<Utc>,
) -> Result<bool> {
    let swapped =
        sqlx::query_scalar!(r#"SELECT ingestion.swap_archived($1, $2) AS "swapped!""#, id.0, now,)
            .fetch_one(connection)
            .await?;
    Ok(swapped)
}

/// Begins with the archive again, because another erasure replaced a file
/// meanwhile. What was written is overwritten.
pub async fn look_at_archive_again(connection: &mut PgConnection, id: ErasureId) -> Result<()> {
    sqlx::query!("DELETE FROM ingestion.erasure_files WHERE erasure_id = $1", id.0)
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "UPDATE ingestion.erasures
         SET archive_position = 0, archived_events = 0, archived_files = 0 WHERE erasure_id = $1",
        id.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that a file which was replaced is deleted.
pub async fn removed(
    connection: &mut PgConnection,
    id: ErasureId,
    first_position: i64,
) -> Result<()> {
    sqlx::query!(
        "DELETE FROM ingestion.erasure_files WHERE erasure_id = $1 AND first_position = $2",
        id.0,
        first_position,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A quarantined event or record, as far as an erasure looks at it.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its id.
    pub id: QuarantineId,
    /// The event or record as it was sent.
    pub content: Content,
    /// The event as it was corrected, encoded like the other.
    pub patched: Option<Vec<u8>>,
}

/// Quarantined events and records of a project after the given one, by id.
pub async fn quarantined_after(
    connection: &mut PgConnection,
    project: ProjectId,
    after: Option<QuarantineId>,
    limit: i64,
) -> Result<Vec<Kept>> {
    let rows = sqlx::query!(
        "SELECT quarantine_id, event, raw, patched FROM ingestion.quarantine
         WHERE project_id = $1 AND ($2::uuid IS NULL OR quarantine_id > $2)
         ORDER BY quarantine_id LIMIT $3",
        project.0,
        after.map(|id| id.0),
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Kept {
            id: QuarantineId(row.quarantine_id),
            content: match row.event {
                Some(event) => Content::Event(event),
                None => Content::Raw(row.raw.unwrap_or_default()),
            },
            patched: row.patched,
        })
        .collect())
}

/// Replaces the content of a quarantined event. Its correction goes.
pub async fn empty_quarantined(connection: &mut PgConnection, kept: &Kept) -> Result<()> {
    let (event, raw) = match &kept.content {
        Content::Event(event) => (Some(event.as_slice()), None),
        Content::Raw(raw) => (None, Some(raw.as_slice())),
    };
    sqlx::query!(
        "UPDATE ingestion.quarantine
         SET event = $2, raw = $3, patched = $4, message = 'erased'
         WHERE quarantine_id = $1",
        kept.id.0,
        event,
        raw,
        kept.patched.as_deref(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
