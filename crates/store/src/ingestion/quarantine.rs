//! Events that break a rule, kept whole.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use northstar_domain::{ProjectId, QuarantineId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::SourceId;
use crate::Result;
use crate::page::PageSize;

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

/// An event that waits.
#[derive(Clone, Debug)]
pub struct Quarantined {
    /// Its id.
    pub id: QuarantineId,
    /// Name of the producing system.
    pub source: String,
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

/// A page of what waits, oldest first, after the given id.
pub async fn list(
    connection: &mut PgConnection,
    project: ProjectId,
    filter: Filter<'_>,
    after: Option<QuarantineId>,
    size: PageSize,
) -> Result<Vec<Quarantined>> {
    let rows = sqlx::query!(
        "SELECT quarantine_id, name AS source, event, raw, reason, field, message, received_at
         FROM ingestion.quarantine JOIN ingestion.sources USING (project_id, source_id)
         WHERE project_id = $1
             AND ($2::uuid IS NULL OR quarantine_id > $2)
             AND ($3::text IS NULL OR name = $3)
             AND ($4::text IS NULL OR reason = $4)
         ORDER BY quarantine_id LIMIT $5",
        project.0,
        after.map(|id| id.0),
        filter.source,
        filter.reason,
        size.limit(),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Quarantined {
            id: QuarantineId(row.quarantine_id),
            source: row.source,
            // A constraint says that exactly one of the two is there.
            content: match row.event {
                Some(event) => Content::Event(event),
                None => Content::Raw(row.raw.unwrap_or_default()),
            },
            reason: row.reason,
            field: row.field,
            message: row.message,
            received_at: row.received_at,
        })
        .collect())
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
