//! The manifest: which segment file covers which positions of the log.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Result};

/// A segment file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Segment {
    /// File name inside the project's folder.
    pub file: String,
    /// Lowest position in it.
    pub first_position: i64,
    /// Highest position that it covers.
    pub last_position: i64,
    /// Events in it.
    pub events: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Earliest effective time in it.
    pub min_effective_at: DateTime<Utc>,
    /// Latest effective time in it.
    pub max_effective_at: DateTime<Utc>,
    /// xxh3-64 of the whole file.
    pub checksum: u64,
}

/// The segments of a project in a folder, by position.
pub async fn list(
    connection: &mut PgConnection,
    folder: Uuid,
    project: ProjectId,
) -> Result<Vec<Segment>> {
    let rows = sqlx::query!(
        "SELECT file, first_position, last_position, events, bytes, min_effective_at,
                max_effective_at, checksum
         FROM metrics.segments WHERE folder_id = $1 AND project_id = $2
         ORDER BY last_position",
        folder,
        project.0,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let corrupt = |column, value: String| Error::Corrupt {
                table: "metrics.segments",
                column,
                row: row.file.clone(),
                value,
            };
            let unsigned = |column, value: i64| {
                u64::try_from(value).map_err(|_| corrupt(column, value.to_string()))
            };
            let checksum = <[u8; 8]>::try_from(row.checksum.as_slice())
                .map_err(|_| corrupt("checksum", hex::encode(&row.checksum)))?;
            Ok(Segment {
                file: row.file.clone(),
                first_position: row.first_position,
                last_position: row.last_position,
                events: unsigned("events", row.events)?,
                bytes: unsigned("bytes", row.bytes)?,
                min_effective_at: row.min_effective_at,
                max_effective_at: row.max_effective_at,
                checksum: u64::from_be_bytes(checksum),
            })
        })
        .collect()
}

/// Adds a segment.
pub async fn insert(
    connection: &mut PgConnection,
    folder: Uuid,
    project: ProjectId,
    segment: &Segment,
    now: DateTime<Utc>,
) -> Result<()> {
    let checksum = segment.checksum.to_be_bytes();
    sqlx::query!(
        "INSERT INTO metrics.segments
             (folder_id, project_id, file, first_position, last_position, events, bytes,
              min_effective_at, max_effective_at, checksum, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        folder,
        project.0,
        segment.file,
        segment.first_position,
        segment.last_position,
        segment.events.cast_signed(),
        segment.bytes.cast_signed(),
        segment.min_effective_at,
        segment.max_effective_at,
        checksum.as_slice(),
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes segments out of the manifest; those that are not in it are ignored.
pub async fn delete(
    connection: &mut PgConnection,
    folder: Uuid,
    project: ProjectId,
    files: &[String],
) -> Result<()> {
    sqlx::query!(
        "DELETE FROM metrics.segments
         WHERE folder_id = $1 AND project_id = $2 AND file = ANY($3)",
        folder,
        project.0,
        files,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// With which erasures the segments of a project in a folder are up to date.
pub async fn epoch(connection: &mut PgConnection, folder: Uuid, project: ProjectId) -> Result<i64> {
    let version = sqlx::query_scalar!(
        "SELECT erasure_version FROM metrics.segment_epochs
         WHERE folder_id = $1 AND project_id = $2",
        folder,
        project.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(version.unwrap_or(0))
}

/// Empties the manifest of a project in a folder and begins anew with the
/// erasures so far.
pub async fn begin_epoch(
    connection: &mut PgConnection,
    folder: Uuid,
    project: ProjectId,
    erasure_version: i64,
) -> Result<()> {
    sqlx::query!(
        "DELETE FROM metrics.segments WHERE folder_id = $1 AND project_id = $2",
        folder,
        project.0,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO metrics.segment_epochs (folder_id, project_id, erasure_version)
         VALUES ($1, $2, $3)
         ON CONFLICT (folder_id, project_id)
             DO UPDATE SET erasure_version = excluded.erasure_version",
        folder,
        project.0,
        erasure_version,
    )
    .execute(connection)
    .await?;
    Ok(())
}
