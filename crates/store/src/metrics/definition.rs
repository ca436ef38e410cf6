//! Activities, pillars, metrics and KPIs, as documents.

use chrono::{DateTime, Utc};
use northstar_domain::activity::Activity;
use northstar_domain::cohort::Cohort;
use northstar_domain::kpi::Kpi;
use northstar_domain::metric::Metric;
use northstar_domain::pillar::Pillar;
use northstar_domain::{ProjectId, ResourceName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;

use crate::page::PageSize;
use crate::{Error, Result};

/// A kind of document kept here.
pub trait Document: Serialize + DeserializeOwned {
    /// The kind, as documents name it.
    const KIND: &'static str;
    /// The kind, as the table names it.
    const COLUMN: &'static str;
}

impl Document for Pillar {
    const KIND: &'static str = "Pillar";
    const COLUMN: &'static str = "pillar";
}

impl Document for Metric {
    const KIND: &'static str = "Metric";
    const COLUMN: &'static str = "metric";
}

impl Document for Activity {
    const KIND: &'static str = "Activity";
    const COLUMN: &'static str = "activity";
}

impl Document for Kpi {
    const KIND: &'static str = "Kpi";
    const COLUMN: &'static str = "kpi";
}

impl Document for Cohort {
    const KIND: &'static str = "Cohort";
    const COLUMN: &'static str = "cohort";
}

/// A document as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<D> {
    /// Its name.
    pub name: ResourceName,
    /// Number of the definition, from 1.
    pub version: i64,
    /// Hash of the document: the same document has the same etag.
    pub etag: String,
    /// The document.
    pub document: D,
}

struct Row {
    name: String,
    version: i64,
    etag: String,
    document: serde_json::Value,
}

impl<D: Document> TryFrom<Row> for Stored<D> {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let corrupt = |column, value: String| Error::Corrupt {
            table: "metrics.definitions",
            column,
            row: format!("{} {}", D::COLUMN, row.name),
            value,
        };
        let name = row.name.parse().map_err(|_| corrupt("name", row.name.clone()))?;
        let document =
            serde_json::from_value(row.document).map_err(|e| corrupt("document", e.to_string()))?;
        Ok(Self { name, version: row.version, etag: row.etag, document })
    }
}

/// The etag of a document: the first half of the SHA-256 of its JSON, in hex.
pub fn etag<D: Document>(document: &D) -> String {
    let json = serde_json::to_vec(document).expect("documents have string keys only");
    hex::encode(&Sha256::digest(json)[..16])
}

/// Lets one change of definitions after another into a project, until the
/// transaction ends: the rules between documents are checked on what is stored.
pub async fn lock(connection: &mut PgConnection, project: ProjectId) -> Result<()> {
    /// The first half of the lock's key, so that it is nobody else's.
    const DEFINITIONS: i32 = 0x6d64_6566;
    sqlx::query!("SELECT pg_advisory_xact_lock($1, $2)", DEFINITIONS, project.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// Finds a document by name.
pub async fn find<D: Document>(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
) -> Result<Option<Stored<D>>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT name, version, etag, document FROM metrics.definitions
         WHERE project_id = $1 AND kind = $2 AND name = $3",
        project.0,
        D::COLUMN,
        name,
    )
    .fetch_optional(connection)
    .await?;
    row.map(Stored::try_from).transpose()
}

/// Lists documents by name, after the given one.
pub async fn list<D: Document>(
    connection: &mut PgConnection,
    project: ProjectId,
    after: Option<&ResourceName>,
    size: PageSize,
) -> Result<Vec<Stored<D>>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT name, version, etag, document FROM metrics.definitions
         WHERE project_id = $1 AND kind = $2 AND ($3::text IS NULL OR name > $3)
         ORDER BY name LIMIT $4",
        project.0,
        D::COLUMN,
        after.map(ResourceName::as_str),
        size.limit(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Stored::try_from).collect()
}

/// Every document of a kind, by name.
pub async fn all<D: Document>(
    connection: &mut PgConnection,
    project: ProjectId,
) -> Result<Vec<Stored<D>>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT name, version, etag, document FROM metrics.definitions
         WHERE project_id = $1 AND kind = $2 ORDER BY name",
        project.0,
        D::COLUMN,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Stored::try_from).collect()
}

/// Stores a new document or replaces one.
pub async fn save<D: Document>(
    connection: &mut PgConnection,
    project: ProjectId,
    stored: &Stored<D>,
    author: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    let document = json(&stored.document);
    sqlx::query!(
        "INSERT INTO metrics.definitions
             (project_id, kind, name, version, etag, document, updated_at, updated_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (project_id, kind, name) DO UPDATE
         SET version = excluded.version, etag = excluded.etag, document = excluded.document,
             updated_at = excluded.updated_at, updated_by = excluded.updated_by",
        project.0,
        D::COLUMN,
        stored.name.as_str(),
        stored.version,
        stored.etag,
        document,
        now,
        author,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Differs when definitions of a project differ: their number, the sum of their
/// versions, the time of the last change.
pub type Fingerprint = (i64, i64, Option<DateTime<Utc>>);

/// The fingerprint of a project's definitions.
pub async fn fingerprint(connection: &mut PgConnection, project: ProjectId) -> Result<Fingerprint> {
    let found = sqlx::query!(
        r#"SELECT count(*) AS "count!", coalesce(sum(version), 0)::bigint AS "versions!",
               max(updated_at) AS changed_at
           FROM metrics.definitions WHERE project_id = $1"#,
        project.0,
    )
    .fetch_one(connection)
    .await?;
    Ok((found.count, found.versions, found.changed_at))
}

/// Removes a document. `false` when there is none.
pub async fn delete<D: Document>(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &ResourceName,
) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM metrics.definitions WHERE project_id = $1 AND kind = $2 AND name = $3",
        project.0,
        D::COLUMN,
        name.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Keeps a version of a metric for good.
pub async fn save_metric_version(
    connection: &mut PgConnection,
    project: ProjectId,
    metric: &Stored<Metric>,
    author: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    let document = json(&metric.document);
    sqlx::query!(
        "INSERT INTO metrics.metric_versions
             (project_id, name, version, document, created_at, created_by)
         VALUES ($1, $2, $3, $4, $5, $6)",
        project.0,
        metric.name.as_str(),
        metric.version,
        document,
        now,
        author,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Finds an earlier (or the present) version of a metric.
pub async fn find_metric_version(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
    version: i64,
) -> Result<Option<Metric>> {
    let document = sqlx::query_scalar!(
        "SELECT document FROM metrics.metric_versions
         WHERE project_id = $1 AND name = $2 AND version = $3",
        project.0,
        name,
        version,
    )
    .fetch_optional(connection)
    .await?;
    document
        .map(|document| {
            serde_json::from_value(document).map_err(|error| Error::Corrupt {
                table: "metrics.metric_versions",
                column: "document",
                row: format!("{name} {version}"),
                value: error.to_string(),
            })
        })
        .transpose()
}

fn json<D: Serialize>(document: &D) -> serde_json::Value {
    serde_json::to_value(document).expect("documents have string keys only")
}
