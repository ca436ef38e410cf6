//! Retention policies, and the files that events of the log were archived to.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::retention::RetentionSpec;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::Result;

/// A policy as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct RetentionPolicy {
    /// Its name.
    pub name: String,
    /// What it says.
    pub spec: RetentionSpec,
    /// Changes with every change.
    pub etag: String,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// By whom.
    pub updated_by: String,
}

/// The policy of a project, if it has one, kept from being changed until the
/// transaction ends.
pub async fn lock(
    connection: &mut PgConnection,
    project: ProjectId,
) -> Result<Option<RetentionPolicy>> {
    // A policy that is not there has no row to lock.
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended('ingestion.retention_policies', $1))",
        i64::from(project.0),
    )
    .fetch_one(&mut *connection)
    .await?;
    find(connection, project).await
}

/// The policy of a project, if it has one.
pub async fn find(
    connection: &mut PgConnection,
    project: ProjectId,
) -> Result<Option<RetentionPolicy>> {
    let row = sqlx::query!(
        r#"SELECT name, document AS "document: Json<RetentionSpec>", etag, updated_at, updated_by
           FROM ingestion.retention_policies WHERE project_id = $1"#,
        project.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| RetentionPolicy {
        name: row.name,
        spec: row.document.0,
        etag: row.etag,
        updated_at: row.updated_at,
        updated_by: row.updated_by,
    }))
}

/// Creates or replaces the policy of a project.
pub async fn save(
    connection: &mut PgConnection,
    project: ProjectId,
    policy: &RetentionPolicy,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO ingestion.retention_policies
             (project_id, name, document, etag, updated_at, updated_by)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (project_id) DO UPDATE SET
             name = excluded.name, document = excluded.document, etag = excluded.etag,
             updated_at = excluded.updated_at, updated_by = excluded.updated_by",
        project.0,
        policy.name,
        Json(&policy.spec) as _,
        policy.etag,
        policy.updated_at,
        policy.updated_by,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes the policy of a project.
pub async fn delete(connection: &mut PgConnection, project: ProjectId) -> Result<()> {
    sqlx::query!("DELETE FROM ingestion.retention_policies WHERE project_id = $1", project.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// Lets one process at a time archive, until the transaction ends; `false` when
/// another does.
pub async fn try_lock_archiving(connection: &mut PgConnection) -> Result<bool> {
    let locked = sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_xact_lock(hashtextextended('ingestion.archiving', 0)) AS "locked!""#
    )
    .fetch_one(connection)
    .await?;
    Ok(locked)
}

/// A project that has come so far in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reach {
    /// The project.
    pub project: ProjectId,
    /// Its head.
    pub head: i64,
}

/// Positions of a partition of the log; `detach_partition` knows the same number.
pub const PARTITION_POSITIONS: i64 = 20_000_000;

/// Every project's head.
pub async fn reaches(connection: &mut PgConnection) -> Result<Vec<Reach>> {
    let rows = sqlx::query!("SELECT project_id, position FROM ingestion.log_heads ORDER BY 1")
        .fetch_all(connection)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| Reach { project: ProjectId(row.project_id), head: row.position })
        .collect())
}

/// The first and the last position that the log holds of a project within a
/// range.
pub async fn held(
    connection: &mut PgConnection,
    project: ProjectId,
    from: i64,
    to: i64,
) -> Result<Option<(i64, i64)>> {
    let row = sqlx::query!(
        "SELECT min(first_position) AS first, max(last_position) AS last
         FROM ingestion.event_blocks WHERE project_id = $1 AND last_position BETWEEN $2 AND $3",
        project.0,
        from,
        to,
    )
    .fetch_one(connection)
    .await?;
    Ok(row.first.zip(row.last))
}

/// A file of the archive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ArchivedFile {
    /// First position.
    pub first_position: i64,
    /// Last position.
    pub last_position: i64,
    /// Number of the partition it was in.
    pub partition: i64,
    /// Events in it.
    pub events: i64,
    /// Its size.
    pub bytes: i64,
    /// Its URL.
    pub location: String,
    /// SHA-256 of its content.
    pub sha256: Vec<u8>,
    /// When it was read back and found whole.
    pub verified_at: DateTime<Utc>,
    /// When its events left the log.
    pub detached_at: Option<DateTime<Utc>>,
}

/// Records a file that was verified.
pub async fn record(
    connection: &mut PgConnection,
    project: ProjectId,
    file: &ArchivedFile,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO ingestion.archived_files
             (project_id, first_position, last_position, partition_number, events, bytes,
              location, sha256, verified_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        project.0,
        file.first_position,
        file.last_position,
        file.partition,
        file.events,
        file.bytes,
        file.location,
        file.sha256,
        file.verified_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Files of a project that end after a position, in the order of positions.
pub async fn files(
    connection: &mut PgConnection,
    project: ProjectId,
    after: i64,
    limit: i64,
) -> Result<Vec<ArchivedFile>> {
    let files = sqlx::query_as!(
        ArchivedFile,
        "SELECT first_position, last_position, partition_number AS partition, events, bytes,
             location, sha256, verified_at, detached_at
         FROM ingestion.archived_files WHERE project_id = $1 AND last_position > $2
         ORDER BY first_position LIMIT $3",
        project.0,
        after,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(files)
}

/// The first file of a project that begins after a position and whose events left
/// the log.
pub async fn detached_after(
    connection: &mut PgConnection,
    project: ProjectId,
    after: i64,
) -> Result<Option<ArchivedFile>> {
    let file = sqlx::query_as!(
        ArchivedFile,
        "SELECT first_position, last_position, partition_number AS partition, events, bytes,
             location, sha256, verified_at, detached_at
         FROM ingestion.archived_files
         WHERE project_id = $1 AND first_position > $2 AND detached_at IS NOT NULL
         ORDER BY first_position LIMIT 1",
        project.0,
        after,
    )
    .fetch_optional(connection)
    .await?;
    Ok(file)
}

/// The last position of a project that is no longer in the log but in the
/// archive; 0 when everything is in the log.
pub async fn archived_through(connection: &mut PgConnection, project: ProjectId) -> Result<i64> {
    let last = sqlx::query_scalar!(
        "SELECT max(last_position) FROM ingestion.archived_files
         WHERE project_id = $1 AND detached_at IS NOT NULL",
        project.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(last.unwrap_or(0))
}

/// Forgets files of a partition that was not detached: its events may have
/// changed since they were written.
pub async fn forget(connection: &mut PgConnection, partition: i64) -> Result<()> {
    sqlx::query!(r#"SELECT ingestion.forget_archived($1)::text AS "done""#, partition)
        .fetch_one(connection)
        .await?;
    Ok(())
}

/// The position up to which every consumer group of a project has read.
pub async fn read_by_all(connection: &mut PgConnection, project: ProjectId) -> Result<Option<i64>> {
    let least = sqlx::query_scalar!(
        "SELECT min(position) FROM (
             SELECT position FROM ingestion.cursors WHERE project_id = $1
             UNION ALL
             SELECT position FROM ingestion.subscription_partitions WHERE project_id = $1
         ) AS cursors",
        project.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(least)
}

/// Takes a partition out of the log; Postgres checks that all of it is archived
/// and that no consumer group has still to read it. Returns the name of the
/// table that left.
pub async fn detach(
    connection: &mut PgConnection,
    partition: i64,
    now: DateTime<Utc>,
    drop_at: DateTime<Utc>,
) -> Result<String> {
    let table = sqlx::query_scalar!(
        r#"SELECT ingestion.detach_partition($1, $2, $3) AS "table!""#,
        partition,
        now,
        drop_at,
    )
    .fetch_one(connection)
    .await?;
    Ok(table)
}

/// Drops the tables whose grace is over, and returns their names.
pub async fn drop_detached(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
) -> Result<Vec<String>> {
    let dropped = sqlx::query_scalar!(r#"SELECT ingestion.drop_detached($1) AS "table!""#, now)
        .fetch_all(connection)
        .await?;
    Ok(dropped)
}
