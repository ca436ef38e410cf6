//! Events that break a rule, kept whole.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use northstar_domain::quarantine::QuarantineState;
use northstar_domain::{ProjectId, QuarantineId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::SourceId;
use crate::page::PageSize;
use crate::{Error, Result};

/// What waits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Content {
    /// An event, encoded as `northstar.ingestion.v1.Event`.
    Event(Vec<u8>),
    /// Bytes that are no event.
    Raw(Vec<u8>),
}

/// What tells two quarantined bodies apart.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BodyKey {
    /// The source.
    pub source: SourceId,
    /// Hash of the message id.
    pub message_hash: Uuid,
    /// Digest of the body.
    pub body_hash: Uuid,
}

/// An event on its way into quarantine.
#[derive(Clone, Debug)]
pub struct NewQuarantined {
    /// Its id. Pages are in the order of the ids.
    pub id: QuarantineId,
    /// What tells it from others.
    pub key: BodyKey,
    /// The event or record.
    pub content: Content,
    /// Machine-readable reason.
    pub reason: String,
    /// Path of the field at fault.
    pub field: String,
    /// One sentence for people.
    pub message: String,
    /// When it was received.
    pub received_at: DateTime<Utc>,
}

/// A quarantined event.
#[derive(Clone, Debug)]
pub struct Quarantined {
    /// Its id.
    pub id: QuarantineId,
    /// Number of the producing system.
    pub source_id: SourceId,
    /// Name of the producing system.
    pub source: String,
    /// The event or record as it was sent.
    pub content: Content,
    /// The event as it was corrected, encoded as `northstar.ingestion.v1.Event`.
    pub patched: Option<Vec<u8>>,
    /// Machine-readable reason.
    pub reason: String,
    /// Path of the field at fault.
    pub field: String,
    /// One sentence for people.
    pub message: String,
    /// When it was received.
    pub received_at: DateTime<Utc>,
    /// Where it is in its life.
    pub state: QuarantineState,
    /// Position in the log, when replayed.
    pub position: Option<i64>,
    /// Who changed its state last.
    pub changed_by: Option<String>,
    /// When.
    pub changed_at: Option<DateTime<Utc>>,
    /// Why it was discarded.
    pub discard_reason: Option<String>,
}

/// Which events to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Only this source.
    pub source: Option<&'a str>,
    /// Only this reason.
    pub reason: Option<&'a str>,
}

/// Puts events into quarantine; a body that waits already stays as it is.
/// Returns the bodies that are new. Hand the events over sorted by key, so that
/// two processes do not deadlock.
pub async fn insert(
    connection: &mut PgConnection,
    project: ProjectId,
    events: &[NewQuarantined],
) -> Result<HashSet<BodyKey>> {
    let column = |content: fn(&Content) -> Option<&[u8]>| -> Vec<Option<Vec<u8>>> {
        events.iter().map(|event| content(&event.content).map(<[u8]>::to_vec)).collect()
    };
    let ids: Vec<Uuid> = events.iter().map(|event| event.id.0).collect();
    let sources: Vec<i32> = events.iter().map(|event| event.key.source.0).collect();
    let messages: Vec<Uuid> = events.iter().map(|event| event.key.message_hash).collect();
    let bodies: Vec<Uuid> = events.iter().map(|event| event.key.body_hash).collect();
    let encoded = column(|content| match content {
        Content::Event(bytes) => Some(bytes),
        Content::Raw(_) => None,
    });
    let raw = column(|content| match content {
        Content::Raw(bytes) => Some(bytes),
        Content::Event(_) => None,
    });
    let reasons: Vec<String> = events.iter().map(|event| event.reason.clone()).collect();
    let fields: Vec<String> = events.iter().map(|event| event.field.clone()).collect();
    let texts: Vec<String> = events.iter().map(|event| event.message.clone()).collect();
    let received: Vec<DateTime<Utc>> = events.iter().map(|event| event.received_at).collect();
    let rows = sqlx::query!(
        "INSERT INTO ingestion.quarantine
             (project_id, quarantine_id, source_id, message_hash, body_hash, event, raw, reason,
              field, message, received_at, state)
         SELECT $1, quarantine_id, source_id, message_hash, body_hash, event, raw, reason, field,
             message, received_at, 'open'
         FROM unnest($2::uuid[], $3::integer[], $4::uuid[], $5::uuid[], $6::bytea[], $7::bytea[],
                 $8::text[], $9::text[], $10::text[], $11::timestamptz[])
             AS new (quarantine_id, source_id, message_hash, body_hash, event, raw, reason,
                 field, message, received_at)
         ON CONFLICT ON CONSTRAINT quarantine_body_key DO NOTHING
         RETURNING source_id, message_hash, body_hash",
        project.0,
        &ids,
        &sources,
        &messages,
        &bodies,
        &encoded as &[Option<Vec<u8>>],
        &raw as &[Option<Vec<u8>>],
        &reasons,
        &fields,
        &texts,
        &received,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| BodyKey {
            source: SourceId(row.source_id),
            message_hash: row.message_hash,
            body_hash: row.body_hash,
        })
        .collect())
}

/// Which events to search for; every condition that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Only these; empty for all.
    pub ids: Vec<QuarantineId>,
    /// Only this source.
    pub source: Option<String>,
    /// Only this reason.
    pub reason: Option<String>,
    /// Received at or after this time.
    pub received_from: Option<DateTime<Utc>>,
    /// Received before this time.
    pub received_until: Option<DateTime<Utc>>,
    /// Only these states.
    pub states: Vec<QuarantineState>,
}

struct Row {
    quarantine_id: Uuid,
    source_id: i32,
    source: String,
    event: Option<Vec<u8>>,
    raw: Option<Vec<u8>>,
    patched: Option<Vec<u8>>,
    reason: String,
    field: String,
    message: String,
    received_at: DateTime<Utc>,
    state: String,
    position: Option<i64>,
    changed_by: Option<String>,
    changed_at: Option<DateTime<Utc>>,
    discard_reason: Option<String>,
}

impl TryFrom<Row> for Quarantined {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: QuarantineId(row.quarantine_id),
            source_id: SourceId(row.source_id),
            source: row.source,
            // A constraint says that exactly one of the two is there.
            content: match row.event {
                Some(event) => Content::Event(event),
                None => Content::Raw(row.raw.unwrap_or_default()),
            },
            patched: row.patched,
            reason: row.reason,
            field: row.field,
            message: row.message,
            received_at: row.received_at,
            state: row.state.parse().map_err(|_| Error::Corrupt {
                table: "ingestion.quarantine",
                column: "state",
                row: row.quarantine_id.to_string(),
                value: row.state,
            })?,
            position: row.position,
            changed_by: row.changed_by,
            changed_at: row.changed_at,
            discard_reason: row.discard_reason,
        })
    }
}

/// A page of what waits, oldest first, after the given id.
pub async fn list(
    connection: &mut PgConnection,
    project: ProjectId,
    filter: Filter<'_>,
    after: Option<QuarantineId>,
    size: PageSize,
) -> Result<Vec<Quarantined>> {
    let search = Search {
        source: filter.source.map(str::to_owned),
        reason: filter.reason.map(str::to_owned),
        states: QuarantineState::WAITING.to_vec(),
        ..Search::default()
    };
    self::search(connection, project, &search, after, None, size.limit()).await
}

/// At most `limit` events that match, oldest first, after one id and up to
/// another.
pub async fn search(
    connection: &mut PgConnection,
    project: ProjectId,
    search: &Search,
    after: Option<QuarantineId>,
    last: Option<QuarantineId>,
    limit: i64,
) -> Result<Vec<Quarantined>> {
    let ids: Vec<Uuid> = search.ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query_as!(
        Row,
        "SELECT quarantine_id, source_id, name AS source, event, raw, patched, reason, field,
             message, received_at, state, position, changed_by, changed_at, discard_reason
         FROM ingestion.quarantine JOIN ingestion.sources USING (project_id, source_id)
         WHERE project_id = $1
             AND ($2::uuid IS NULL OR quarantine_id > $2)
             AND ($3::uuid IS NULL OR quarantine_id <= $3)
             AND (cardinality($4::uuid[]) = 0 OR quarantine_id = ANY ($4))
             AND ($5::text IS NULL OR name = $5)
             AND ($6::text IS NULL OR reason = $6)
             AND ($7::timestamptz IS NULL OR received_at >= $7)
             AND ($8::timestamptz IS NULL OR received_at < $8)
             AND state = ANY ($9::text[])
         ORDER BY quarantine_id LIMIT $10",
        project.0,
        after.map(|id| id.0),
        last.map(|id| id.0),
        &ids,
        search.source.as_deref(),
        search.reason.as_deref(),
        search.received_from,
        search.received_until,
        &names(&search.states),
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Quarantined::try_from).collect()
}

fn names(states: &[QuarantineState]) -> Vec<String> {
    states.iter().map(|state| state.as_str().to_owned()).collect()
}

/// The newest id of a project, so that long work has an end.
pub async fn newest(
    connection: &mut PgConnection,
    project: ProjectId,
) -> Result<Option<QuarantineId>> {
    let id = sqlx::query_scalar!(
        "SELECT quarantine_id FROM ingestion.quarantine WHERE project_id = $1
         ORDER BY quarantine_id DESC LIMIT 1",
        project.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(id.map(QuarantineId))
}

/// Finds one.
pub async fn find(
    connection: &mut PgConnection,
    project: ProjectId,
    id: QuarantineId,
) -> Result<Option<Quarantined>> {
    let search =
        Search { ids: vec![id], states: QuarantineState::ALL.to_vec(), ..Search::default() };
    let mut found = self::search(connection, project, &search, None, None, 1).await?;
    Ok(found.pop())
}

/// Reads events and locks them until the transaction ends, in the order of
/// their ids.
pub async fn lock(
    connection: &mut PgConnection,
    project: ProjectId,
    ids: &[QuarantineId],
) -> Result<Vec<Quarantined>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query_as!(
        Row,
        "SELECT quarantine_id, source_id, name AS source, event, raw, patched, reason, field,
             message, received_at, state, position, changed_by, changed_at, discard_reason
         FROM ingestion.quarantine JOIN ingestion.sources USING (project_id, source_id)
         WHERE project_id = $1 AND quarantine_id = ANY ($2::uuid[])
         ORDER BY quarantine_id FOR UPDATE OF quarantine",
        project.0,
        &ids,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Quarantined::try_from).collect()
}

/// Who changes a state, and when.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// Who.
    pub who: &'a str,
    /// When.
    pub at: DateTime<Utc>,
}

/// Keeps the corrected event of one that waits and is locked.
pub async fn patch(
    connection: &mut PgConnection,
    project: ProjectId,
    id: QuarantineId,
    patched: &[u8],
    by: By<'_>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE ingestion.quarantine
         SET patched = $3, state = 'patched', changed_by = $4, changed_at = $5
         WHERE project_id = $1 AND quarantine_id = $2 AND state IN ('open', 'patched')",
        project.0,
        id.0,
        patched,
        by.who,
        by.at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks events that wait and are locked as on their way into the log.
pub async fn begin_replay(
    connection: &mut PgConnection,
    project: ProjectId,
    ids: &[QuarantineId],
) -> Result<()> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query!(
        "UPDATE ingestion.quarantine SET state = 'replaying'
         WHERE project_id = $1 AND quarantine_id = ANY ($2::uuid[])
             AND state IN ('open', 'patched')",
        project.0,
        &ids,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks an event as replayed to a position. `false` when somebody else did
/// before.
pub async fn finish_replay(
    connection: &mut PgConnection,
    project: ProjectId,
    id: QuarantineId,
    position: i64,
    by: By<'_>,
) -> Result<bool> {
    let changed = sqlx::query!(
        "UPDATE ingestion.quarantine
         SET state = 'replayed', position = $3, changed_by = $4, changed_at = $5
         WHERE project_id = $1 AND quarantine_id = $2
             AND state IN ('open', 'patched', 'replaying')",
        project.0,
        id.0,
        position,
        by.who,
        by.at,
    )
    .execute(connection)
    .await?;
    Ok(changed.rows_affected() > 0)
}

/// Takes events that did not get into the log back to where they were.
pub async fn cancel_replay(
    connection: &mut PgConnection,
    project: ProjectId,
    ids: &[QuarantineId],
) -> Result<()> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query!(
        "UPDATE ingestion.quarantine
         SET state = CASE WHEN patched IS NULL THEN 'open' ELSE 'patched' END
         WHERE project_id = $1 AND quarantine_id = ANY ($2::uuid[]) AND state = 'replaying'",
        project.0,
        &ids,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives up events that wait and are locked.
pub async fn discard(
    connection: &mut PgConnection,
    project: ProjectId,
    ids: &[QuarantineId],
    reason: &str,
    by: By<'_>,
) -> Result<()> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query!(
        "UPDATE ingestion.quarantine
         SET state = 'discarded', discard_reason = $3, changed_by = $4, changed_at = $5
         WHERE project_id = $1 AND quarantine_id = ANY ($2::uuid[])
             AND state IN ('open', 'patched')",
        project.0,
        &ids,
        reason,
        by.who,
        by.at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How many events wait, by reason.
pub async fn counts(
    connection: &mut PgConnection,
    project: ProjectId,
    filter: Filter<'_>,
) -> Result<BTreeMap<String, i64>> {
    let rows = sqlx::query!(
        r#"SELECT reason AS "reason!", sum(waiting)::bigint AS "waiting!"
           FROM ingestion.quarantine_counts JOIN ingestion.sources USING (project_id, source_id)
           WHERE project_id = $1
               AND ($2::text IS NULL OR name = $2)
               AND ($3::text IS NULL OR reason = $3)
           GROUP BY reason"#,
        project.0,
        filter.source,
        filter.reason,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.reason, row.waiting)).collect())
}
