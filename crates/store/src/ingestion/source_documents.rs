//! Source documents, and the last judged state of each source and event.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::source::{RateLimit, SourceSpec, State};
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::page::PageSize;
use crate::{Error, Result};

/// A document as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceDocument {
    /// Name of the source.
    pub name: String,
    /// What it says.
    pub spec: SourceSpec,
    /// Changes with every change.
    pub etag: String,
    /// When it was first applied.
    pub declared_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// By whom.
    pub updated_by: String,
}

struct Row {
    name: String,
    document: Json<SourceSpec>,
    etag: String,
    declared_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    updated_by: String,
}

impl From<Row> for SourceDocument {
    fn from(row: Row) -> Self {
        let Row { name, document, etag, declared_at, updated_at, updated_by } = row;
        Self { name, spec: document.0, etag, declared_at, updated_at, updated_by }
    }
}

/// Finds a document and keeps it from being changed until the transaction ends.
pub async fn lock(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
) -> Result<Option<SourceDocument>> {
    // A document that is not there has no row to lock.
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended('ingestion.source_documents/' || $1, $2))",
        name,
        i64::from(project.0),
    )
    .fetch_one(&mut *connection)
    .await?;
    find(connection, project, name).await
}

/// Finds a document.
pub async fn find(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
) -> Result<Option<SourceDocument>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT name, document AS "document: Json<SourceSpec>", etag, declared_at, updated_at,
               updated_by
           FROM ingestion.source_documents WHERE project_id = $1 AND name = $2"#,
        project.0,
        name,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(SourceDocument::from))
}

/// A page of documents by name, after the given one.
pub async fn list(
    connection: &mut PgConnection,
    project: ProjectId,
    after: &str,
    size: PageSize,
) -> Result<Vec<SourceDocument>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT name, document AS "document: Json<SourceSpec>", etag, declared_at, updated_at,
               updated_by
           FROM ingestion.source_documents WHERE project_id = $1 AND name > $2
           ORDER BY name LIMIT $3"#,
        project.0,
        after,
        size.limit(),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(SourceDocument::from).collect())
}

/// Every document of a project, by name.
pub async fn all(connection: &mut PgConnection, project: ProjectId) -> Result<Vec<SourceDocument>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT name, document AS "document: Json<SourceSpec>", etag, declared_at, updated_at,
               updated_by
           FROM ingestion.source_documents WHERE project_id = $1 ORDER BY name"#,
        project.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(SourceDocument::from).collect())
}

/// The sources of every project of which only so many events are taken.
pub async fn limits(connection: &mut PgConnection) -> Result<Vec<(ProjectId, String, RateLimit)>> {
    let rows = sqlx::query!(
        r#"SELECT project_id, name, document->'limit' AS "limit!: Json<RateLimit>"
           FROM ingestion.source_documents WHERE document ? 'limit'"#,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (ProjectId(row.project_id), row.name, row.limit.0)).collect())
}

/// The projects that have documents.
pub async fn projects(connection: &mut PgConnection) -> Result<Vec<ProjectId>> {
    let projects =
        sqlx::query_scalar!("SELECT DISTINCT project_id FROM ingestion.source_documents")
            .fetch_all(connection)
            .await?;
    Ok(projects.into_iter().map(ProjectId).collect())
}

/// Creates or replaces a document; when it was first applied stays.
pub async fn save(
    connection: &mut PgConnection,
    project: ProjectId,
    document: &SourceDocument,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO ingestion.source_documents
             (project_id, name, document, etag, declared_at, updated_at, updated_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (project_id, name) DO UPDATE SET
             document = excluded.document,
             etag = excluded.etag,
             updated_at = excluded.updated_at,
             updated_by = excluded.updated_by",
        project.0,
        document.name,
        Json(&document.spec) as _,
        document.etag,
        document.declared_at,
        document.updated_at,
        document.updated_by,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes a document; the states of its source with it.
pub async fn delete(connection: &mut PgConnection, project: ProjectId, name: &str) -> Result<()> {
    sqlx::query!(
        "DELETE FROM ingestion.source_documents WHERE project_id = $1 AND name = $2",
        project.0,
        name,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "DELETE FROM ingestion.source_states WHERE project_id = $1 AND source_name = $2",
        project.0,
        name,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The last judged state of a source (event name empty) or of an event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JudgedState {
    /// Name of the source.
    pub source: String,
    /// Event name; empty for the source as a whole.
    pub event: String,
    /// The state.
    pub state: State,
    /// What is wrong; empty when nothing is.
    pub reason: String,
    /// Number of changes so far.
    pub changes: i64,
    /// When it last changed.
    pub changed_at: DateTime<Utc>,
}

/// The states of a project.
pub async fn states(connection: &mut PgConnection, project: ProjectId) -> Result<Vec<JudgedState>> {
    let rows = sqlx::query!(
        "SELECT source_name, event_name, state, reason, changes, changed_at
         FROM ingestion.source_states WHERE project_id = $1 ORDER BY source_name, event_name",
        project.0,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(JudgedState {
                state: row.state.parse().map_err(|_| Error::Corrupt {
                    table: "ingestion.source_states",
                    column: "state",
                    row: format!("{project}/{}/{}", row.source_name, row.event_name),
                    value: row.state.clone(),
                })?,
                source: row.source_name,
                event: row.event_name,
                reason: row.reason,
                changes: row.changes,
                changed_at: row.changed_at,
            })
        })
        .collect()
}

/// Writes a state that follows the one with one change less, and tells whether
/// it was written: another process may have been faster.
pub async fn change_state(
    connection: &mut PgConnection,
    project: ProjectId,
    new: &JudgedState,
) -> Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO ingestion.source_states AS known
             (project_id, source_name, event_name, state, reason, changes, changed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (project_id, source_name, event_name) DO UPDATE SET
             state = excluded.state, reason = excluded.reason, changes = excluded.changes,
             changed_at = excluded.changed_at
         WHERE known.changes = excluded.changes - 1",
        project.0,
        new.source,
        new.event,
        new.state.as_str(),
        new.reason,
        new.changes,
        new.changed_at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Forgets the state of what is no longer judged.
pub async fn forget_state(
    connection: &mut PgConnection,
    project: ProjectId,
    source: &str,
    event: &str,
) -> Result<()> {
    sqlx::query!(
        "DELETE FROM ingestion.source_states
         WHERE project_id = $1 AND source_name = $2 AND event_name = $3",
        project.0,
        source,
        event,
    )
    .execute(connection)
    .await?;
    Ok(())
}
