//! Producing systems and their accounting.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use sqlx::PgConnection;

use super::SourceId;
use crate::Result;

/// What became of the events of a source. `received` is their sum, and a
/// constraint of the table says so.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// In the log.
    pub accepted: i64,
    /// Delivered before, and in the log or in quarantine.
    pub duplicate: i64,
    /// Put in quarantine.
    pub quarantined: i64,
    /// Refused.
    pub rejected: i64,
    /// When the newest was received.
    pub last_received_at: Option<DateTime<Utc>>,
    /// Greatest effective time of an accepted one.
    pub last_effective_at: Option<DateTime<Utc>>,
}

impl Counts {
    /// Events received.
    pub fn received(&self) -> i64 {
        self.accepted + self.duplicate + self.quarantined + self.rejected
    }
}

/// A source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// What became of its events.
    pub counts: Counts,
}

/// The number of a source, which is made when it is new.
pub async fn ensure(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
) -> Result<SourceId> {
    let found = sqlx::query_scalar!(
        "SELECT source_id FROM ingestion.sources WHERE project_id = $1 AND name = $2",
        project.0,
        name,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(id) = found {
        return Ok(SourceId(id));
    }
    // The update that changes nothing makes a row that another process just
    // inserted visible to RETURNING.
    let id = sqlx::query_scalar!(
        "WITH source AS (
             INSERT INTO ingestion.sources (project_id, name) VALUES ($1, $2)
             ON CONFLICT ON CONSTRAINT sources_name_key DO UPDATE SET name = excluded.name
             RETURNING project_id, source_id
         ), counts AS (
             INSERT INTO ingestion.source_counts (project_id, source_id)
             SELECT project_id, source_id FROM source ON CONFLICT DO NOTHING
         )
         SELECT source_id FROM source",
        project.0,
        name,
    )
    .fetch_one(connection)
    .await?;
    Ok(SourceId(id))
}

/// Adds to the counts of a source. Add to those of several in ascending order of
/// (project, source), after everything else the transaction locks.
pub async fn count(
    connection: &mut PgConnection,
    project: ProjectId,
    source: SourceId,
    counts: &Counts,
) -> Result<()> {
    sqlx::query!(
        "UPDATE ingestion.source_counts SET
             received = received + $3,
             accepted = accepted + $4,
             duplicate = duplicate + $5,
             quarantined = quarantined + $6,
             rejected = rejected + $7,
             last_received_at = greatest(last_received_at, $8),
             last_effective_at = greatest(last_effective_at, $9)
         WHERE project_id = $1 AND source_id = $2",
        project.0,
        source.0,
        counts.received(),
        counts.accepted,
        counts.duplicate,
        counts.quarantined,
        counts.rejected,
        counts.last_received_at,
        counts.last_effective_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Names of the sources of a project, by number.
pub async fn names(
    connection: &mut PgConnection,
    project: ProjectId,
) -> Result<HashMap<i32, String>> {
    let rows = sqlx::query!(
        "SELECT source_id, name FROM ingestion.sources WHERE project_id = $1",
        project.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.source_id, row.name)).collect())
}

/// All sources of a project, by name.
pub async fn list(connection: &mut PgConnection, project: ProjectId) -> Result<Vec<Source>> {
    let rows = sqlx::query!(
        r#"SELECT s.name, sum(accepted)::bigint AS "accepted!",
               sum(duplicate)::bigint AS "duplicate!", sum(quarantined)::bigint AS "quarantined!",
               sum(rejected)::bigint AS "rejected!", max(last_received_at) AS last_received_at,
               max(last_effective_at) AS last_effective_at
           FROM ingestion.sources s JOIN (
               SELECT project_id, source_id, accepted, duplicate, quarantined, rejected,
                   last_received_at, last_effective_at
               FROM ingestion.source_counts
               UNION ALL
               SELECT project_id, source_id, accepted, duplicate, 0, rejected,
                   last_received_at, last_effective_at
               FROM ingestion.uncounted
           ) c USING (project_id, source_id)
           WHERE project_id = $1 GROUP BY s.name ORDER BY s.name COLLATE "C""#,
        project.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Source {
            name: row.name,
            counts: Counts {
                accepted: row.accepted,
                duplicate: row.duplicate,
                quarantined: row.quarantined,
                rejected: row.rejected,
                last_received_at: row.last_received_at,
                last_effective_at: row.last_effective_at,
            },
        })
        .collect())
}
