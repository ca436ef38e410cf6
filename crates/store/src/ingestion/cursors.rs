//! How far each consumer group has come.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use sqlx::PgConnection;

use crate::Result;

/// The cursor of a group; a group without one starts at `start`, and remembers
/// it, so that a consumer that is lost before its first commit misses nothing.
pub async fn open(
    connection: &mut PgConnection,
    project: ProjectId,
    group: &str,
    start: i64,
    now: DateTime<Utc>,
) -> Result<i64> {
    let position = sqlx::query_scalar!(
        "INSERT INTO ingestion.cursors AS known (project_id, group_name, position, updated_at)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (project_id, group_name) DO UPDATE SET position = known.position
         RETURNING position",
        project.0,
        group,
        start,
        now,
    )
    .fetch_one(connection)
    .await?;
    Ok(position)
}

/// Moves a cursor forward; never back. Returns where it is.
pub async fn commit(
    connection: &mut PgConnection,
    project: ProjectId,
    group: &str,
    position: i64,
    now: DateTime<Utc>,
) -> Result<i64> {
    let position = sqlx::query_scalar!(
        "INSERT INTO ingestion.cursors AS known (project_id, group_name, position, updated_at)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (project_id, group_name) DO UPDATE SET
             position = greatest(known.position, excluded.position),
             updated_at = excluded.updated_at
         RETURNING position",
        project.0,
        group,
        position,
        now,
    )
    .fetch_one(connection)
    .await?;
    Ok(position)
}
