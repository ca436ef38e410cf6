//! Subjects that are forgotten: the wish, the work, and what is left.

use chrono::{DateTime, Utc};
use northstar_domain::identity::Identifier;
use northstar_domain::{ErasureId, ProjectId, QuarantineId};
use sqlx::PgConnection;

use super::quarantine::Content;
use crate::Result;
use crate::page::PageSize;

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
    /// When it was done.
    pub done_at: Option<DateTime<Utc>>,
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
    done_at: Option<DateTime<Utc>>,
}

impl From<Row> for Erasure {
    fn from(row: Row) -> Self {
        Self {
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
            done_at: row.done_at,
        }
    }
}

/// Enters a wish with the identifiers that are to go and what replaces each.
pub async fn insert(
    connection: &mut PgConnection,
    new: &Erasure,
    identifiers: &[(Identifier, String)],
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
             last_position, position, identifiers, events, quarantined, done_at
         FROM ingestion.erasures WHERE project_id = $1 AND erasure_id = $2",
        project.0,
        id.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(Erasure::from))
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
             last_position, position, identifiers, events, quarantined, done_at
         FROM ingestion.erasures
         WHERE project_id = $1 AND ($2::uuid IS NULL OR erasure_id > $2)
         ORDER BY erasure_id LIMIT $3",
        project.0,
        after.map(|id| id.0),
        size.limit(),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Erasure::from).collect())
}

/// The oldest wish that is not done, locked until the transaction ends; what
/// another process works on is left out.
pub async fn lock_next(connection: &mut PgConnection) -> Result<Option<Erasure>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT erasure_id, project_id, pseudonym, actor, reason, proof, requested_at,
             last_position, position, identifiers, events, quarantined, done_at
         FROM ingestion.erasures WHERE done_at IS NULL
         ORDER BY erasure_id LIMIT 1 FOR UPDATE SKIP LOCKED",
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(Erasure::from))
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

/// Positions of the subject's events after one of them, in order.
pub async fn positions_after(
    connection: &mut PgConnection,
    id: ErasureId,
    after: i64,
    limit: i64,
) -> Result<Vec<i64>> {
    let positions = sqlx::query_scalar!(
        "SELECT position FROM ingestion.erasure_events
         WHERE erasure_id = $1 AND position > $2 ORDER BY position LIMIT $3",
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
        "UPDATE ingestion.event_notes SET omitted = NULL
         WHERE project_id = $1 AND omitted IS NOT NULL AND position IN (
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

/// Marks a wish as done.
pub async fn finish(
    connection: &mut PgConnection,
    id: ErasureId,
    quarantined: i64,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE ingestion.erasures SET done_at = $2, quarantined = $3 WHERE erasure_id = $1",
        id.0,
        now,
        quarantined,
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
