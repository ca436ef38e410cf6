//! Notes of people about a pillar and a week.

use chrono::{DateTime, NaiveDate, Utc};
use northstar_domain::ProjectId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

/// Most notes of a week that are told.
const LIMIT: i64 = 1_000;

/// A note.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// Its id.
    pub note_id: Uuid,
    /// Name of the pillar.
    pub pillar: String,
    /// The Monday of the week.
    pub week: NaiveDate,
    /// Who wrote it.
    pub author: String,
    /// What.
    pub body: String,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// Keeps a note.
pub async fn insert(connection: &mut PgConnection, project: ProjectId, note: &Note) -> Result<()> {
    sqlx::query!(
        "INSERT INTO metrics.scorecard_notes
             (note_id, project_id, pillar, week, author, body, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        note.note_id,
        project.0,
        note.pillar,
        note.week,
        note.author,
        note.body,
        note.created_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The notes of a week, of one pillar or of all, oldest first.
pub async fn list(
    connection: &mut PgConnection,
    project: ProjectId,
    week: NaiveDate,
    pillar: Option<&str>,
) -> Result<Vec<Note>> {
    let notes = sqlx::query_as!(
        Note,
        "SELECT note_id, pillar, week, author, body, created_at FROM metrics.scorecard_notes
         WHERE project_id = $1 AND week = $2 AND ($3::text IS NULL OR pillar = $3)
         ORDER BY created_at, note_id LIMIT $4",
        project.0,
        week,
        pillar,
        LIMIT,
    )
    .fetch_all(connection)
    .await?;
    Ok(notes)
}
