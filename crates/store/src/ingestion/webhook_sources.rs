//! Webhook sources and their secrets.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::webhook::WebhookSourceSpec;
use sqlx::PgConnection;

use crate::page::PageSize;
use crate::{Error, Result};

/// A webhook source as stored, without its secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookSource {
    /// Its name.
    pub name: String,
    /// What it says.
    pub spec: WebhookSourceSpec,
    /// Changes with every change.
    pub etag: String,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// When its secret was last set; `None` when it has none.
    pub secret_updated_at: Option<DateTime<Utc>>,
}

/// Secrets of a source as stored: the current one, and the one before it while
/// that is accepted.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Secrets {
    /// The current one.
    pub current: Option<Vec<u8>>,
    /// The one before.
    pub previous: Option<Vec<u8>>,
    /// Until then the one before is accepted.
    pub previous_until: Option<DateTime<Utc>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(..)")
    }
}

struct Row {
    name: String,
    spec: String,
    etag: String,
    updated_at: DateTime<Utc>,
    secret_updated_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for WebhookSource {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let spec = serde_json::from_str(&row.spec).map_err(|error| Error::Corrupt {
            table: "ingestion.webhook_sources",
            column: "spec",
            row: row.name.clone(),
            value: error.to_string(),
        })?;
        Ok(Self {
            name: row.name,
            spec,
            etag: row.etag,
            updated_at: row.updated_at,
            secret_updated_at: row.secret_updated_at,
        })
    }
}

/// Finds a source of a project.
pub async fn find(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
) -> Result<Option<WebhookSource>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT name, spec, etag, updated_at, secret_updated_at
         FROM ingestion.webhook_sources WHERE project_id = $1 AND name = $2",
        project.0,
        name,
    )
    .fetch_optional(connection)
    .await?;
    row.map(WebhookSource::try_from).transpose()
}

/// Finds a source by what is in its address, with its project and its secrets. A
/// project is there by its name or its number.
pub async fn find_by_address(
    connection: &mut PgConnection,
    project: &str,
    name: &str,
) -> Result<Option<(ProjectId, WebhookSource, Secrets)>> {
    let row = sqlx::query!(
        "SELECT projects.project_id, sources.name, spec, etag, updated_at, secret_updated_at,
             secret, previous_secret, previous_secret_until
         FROM ingestion.webhook_sources AS sources
         JOIN access.projects ON projects.project_id = sources.project_id
         WHERE (projects.name = $1 OR projects.project_id::text = $1) AND sources.name = $2
         ORDER BY projects.name = $1 DESC LIMIT 1",
        project,
        name,
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let source = WebhookSource::try_from(Row {
        name: row.name,
        spec: row.spec,
        etag: row.etag,
        updated_at: row.updated_at,
        secret_updated_at: row.secret_updated_at,
    })?;
    let secrets = Secrets {
        current: row.secret,
        previous: row.previous_secret,
        previous_until: row.previous_secret_until,
    };
    Ok(Some((ProjectId(row.project_id), source, secrets)))
}

/// A page of sources by name, after the given one.
pub async fn list(
    connection: &mut PgConnection,
    project: ProjectId,
    after: &str,
    size: PageSize,
) -> Result<Vec<WebhookSource>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT name, spec, etag, updated_at, secret_updated_at
         FROM ingestion.webhook_sources WHERE project_id = $1 AND name > $2
         ORDER BY name LIMIT $3",
        project.0,
        after,
        size.limit(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(WebhookSource::try_from).collect()
}

/// Lets changes of a project's webhook sources run one after the other, until
/// the transaction ends.
pub async fn begin_change(connection: &mut PgConnection, project: ProjectId) -> Result<()> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended('ingestion.webhook_sources', $1))",
        i64::from(project.0),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Creates or replaces a source; its secret stays.
pub async fn save(
    connection: &mut PgConnection,
    project: ProjectId,
    source: &WebhookSource,
) -> Result<()> {
    let spec = serde_json::to_string(&source.spec).expect("a document serialises");
    sqlx::query!(
        "INSERT INTO ingestion.webhook_sources (project_id, name, spec, etag, updated_at)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (project_id, name) DO UPDATE SET
             spec = excluded.spec, etag = excluded.etag, updated_at = excluded.updated_at",
        project.0,
        source.name,
        spec,
        source.etag,
        source.updated_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Sets the secret of a source. The one before is kept until the given time.
pub async fn set_secret(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
    secret: &[u8],
    previous_until: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE ingestion.webhook_sources SET
             previous_secret = CASE WHEN $4::timestamptz IS NULL THEN NULL ELSE secret END,
             previous_secret_until = $4,
             secret = $3,
             secret_updated_at = $5
         WHERE project_id = $1 AND name = $2",
        project.0,
        name,
        secret,
        previous_until,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes a source away with its secrets.
pub async fn delete(connection: &mut PgConnection, project: ProjectId, name: &str) -> Result<()> {
    sqlx::query!(
        "DELETE FROM ingestion.webhook_sources WHERE project_id = $1 AND name = $2",
        project.0,
        name,
    )
    .execute(connection)
    .await?;
    Ok(())
}
