//! How far each project's log and identity map reach.

use northstar_domain::ProjectId;
use sqlx::PgConnection;

use crate::Result;

/// The end of a project's log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Head {
    /// Highest position; 0 when the log is empty.
    pub position: i64,
    /// Version of the identity map: grows by one with every identifier whose
    /// subject changes.
    pub identity_version: i64,
    /// Grows by one with every erasure.
    pub erasure_version: i64,
}

/// Makes sure that a project has a head.
pub async fn ensure(connection: &mut PgConnection, project: ProjectId) -> Result<()> {
    sqlx::query!(
        "WITH head AS (
             INSERT INTO ingestion.log_heads (project_id, position, identity_version)
             VALUES ($1, 0, 0) ON CONFLICT DO NOTHING
         )
         INSERT INTO ingestion.counted (project_id, position) VALUES ($1, 0)
         ON CONFLICT DO NOTHING",
        project.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Locks the head until the transaction ends, so that nobody else moves it.
pub async fn lock(connection: &mut PgConnection, project: ProjectId) -> Result<()> {
    sqlx::query!(
        "SELECT position FROM ingestion.log_heads WHERE project_id = $1 FOR UPDATE",
        project.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(())
}

/// The committed head.
pub async fn read(connection: &mut PgConnection, project: ProjectId) -> Result<Head> {
    let head = sqlx::query_as!(
        Head,
        "SELECT position, identity_version, erasure_version FROM ingestion.log_heads WHERE project_id = $1",
        project.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(head.unwrap_or_default())
}

/// The highest position of any project.
pub async fn highest(connection: &mut PgConnection) -> Result<i64> {
    let highest = sqlx::query_scalar!("SELECT max(position) FROM ingestion.log_heads")
        .fetch_one(connection)
        .await?;
    Ok(highest.unwrap_or(0))
}

/// Makes sure that the log has the partition that holds a position, and returns
/// the last position of that partition. Call it outside of the transactions
/// that write events: attaching a partition waits for none of them, but keeps
/// its lock until the end.
pub async fn ensure_partition(connection: &mut PgConnection, position: i64) -> Result<i64> {
    let last = sqlx::query_scalar!(r#"SELECT ingestion.ensure_partition($1) AS "last!""#, position)
        .fetch_one(connection)
        .await?;
    Ok(last)
}
