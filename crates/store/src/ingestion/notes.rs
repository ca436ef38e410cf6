//! What was noted about accepted events, beside the log: that they were late,
//! keep an older version of their contract, or came with properties that were
//! kept aside.

use northstar_domain::ProjectId;
use sqlx::PgConnection;

use crate::Result;
use crate::page::PageSize;

/// A note about an accepted event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// Position of the event.
    pub position: i64,
    /// Name of the event.
    pub name: String,
    /// Whether it was late by its contract.
    pub late: bool,
    /// The version of the contract it was accepted by, when not the current one.
    pub validated_with: Option<String>,
    /// Properties kept aside, as JSON text of an object.
    pub omitted: Option<String>,
    /// The same, sealed with a key that the store does not know.
    pub sealed: Option<Vec<u8>>,
}

/// Adds notes.
pub async fn insert(
    connection: &mut PgConnection,
    project: ProjectId,
    notes: &[Note],
) -> Result<()> {
    let positions: Vec<i64> = notes.iter().map(|note| note.position).collect();
    let names: Vec<String> = notes.iter().map(|note| note.name.clone()).collect();
    let late: Vec<bool> = notes.iter().map(|note| note.late).collect();
    let versions: Vec<Option<String>> =
        notes.iter().map(|note| note.validated_with.clone()).collect();
    let omitted: Vec<Option<String>> = notes.iter().map(|note| note.omitted.clone()).collect();
    let sealed: Vec<Option<Vec<u8>>> = notes.iter().map(|note| note.sealed.clone()).collect();
    sqlx::query!(
        "INSERT INTO ingestion.event_notes
             (project_id, position, name, late, validated_with, omitted, sealed)
         SELECT $1, position, name, late, validated_with, omitted::json, sealed
         FROM unnest($2::bigint[], $3::text[], $4::boolean[], $5::text[], $6::text[], $7::bytea[])
             AS new (position, name, late, validated_with, omitted, sealed)",
        project.0,
        &positions,
        &names,
        &late,
        &versions as &[Option<String>],
        &omitted as &[Option<String>],
        &sealed as &[Option<Vec<u8>>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The notes about some events that came with properties that were kept aside, by
/// position.
pub async fn kept_aside(
    connection: &mut PgConnection,
    project: ProjectId,
    positions: &[i64],
) -> Result<Vec<Note>> {
    let notes = sqlx::query_as!(
        Note,
        "SELECT position, name, late, validated_with, omitted::text, sealed
         FROM ingestion.event_notes
         WHERE project_id = $1 AND position = ANY($2) AND num_nonnulls(omitted, sealed) > 0
         ORDER BY position",
        project.0,
        positions,
    )
    .fetch_all(connection)
    .await?;
    Ok(notes)
}

/// A page of notes by position, after the given one.
pub async fn list(
    connection: &mut PgConnection,
    project: ProjectId,
    name: Option<&str>,
    after: i64,
    size: PageSize,
) -> Result<Vec<Note>> {
    let notes = sqlx::query_as!(
        Note,
        "SELECT position, name, late, validated_with, omitted::text, sealed
         FROM ingestion.event_notes
         WHERE project_id = $1 AND position > $2 AND ($3::text IS NULL OR name = $3)
         ORDER BY position LIMIT $4",
        project.0,
        after,
        name,
        size.limit(),
    )
    .fetch_all(connection)
    .await?;
    Ok(notes)
}
