//! The identity policy and the consent policy of a project.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::PgConnection;

use crate::{Error, Result};

/// Which policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Identifiers and their limits.
    Identity,
    /// Purposes and regions.
    Consent,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Consent => "consent",
        }
    }
}

/// A policy as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<P> {
    /// What it says.
    pub policy: P,
    /// Changes with every change.
    pub etag: String,
    /// Grows by one with every change.
    pub version: i64,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// The policy of a project, if it has one.
pub async fn find<P: DeserializeOwned>(
    connection: &mut PgConnection,
    project: ProjectId,
    kind: Kind,
) -> Result<Option<Stored<P>>> {
    let row = sqlx::query!(
        "SELECT document, etag, version, updated_at FROM ingestion.subject_policies
         WHERE project_id = $1 AND kind = $2",
        project.0,
        kind.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let policy = serde_json::from_value(row.document).map_err(|error| Error::Corrupt {
            table: "ingestion.subject_policies",
            column: "document",
            row: format!("{project}/{}", kind.as_str()),
            value: error.to_string(),
        })?;
        let (etag, version, updated_at) = (row.etag, row.version, row.updated_at);
        Ok(Stored { policy, etag, version, updated_at })
    })
    .transpose()
}

/// Creates or replaces a policy. Changes of a project's policy run one after the
/// other when the caller holds the lock of the project's head.
pub async fn save(
    connection: &mut PgConnection,
    project: ProjectId,
    kind: Kind,
    policy: &impl Serialize,
    etag: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    let document = serde_json::to_value(policy).expect("a policy's keys are strings");
    sqlx::query!(
        "INSERT INTO ingestion.subject_policies AS known
             (project_id, kind, document, etag, version, updated_at)
         VALUES ($1, $2, $3, $4, 1, $5)
         ON CONFLICT (project_id, kind) DO UPDATE SET
             document = excluded.document,
             etag = excluded.etag,
             version = known.version + 1,
             updated_at = excluded.updated_at",
        project.0,
        kind.as_str(),
        document,
        etag,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The versions of the policies of a kind, of every project that has one.
pub async fn versions(connection: &mut PgConnection, kind: Kind) -> Result<Vec<(ProjectId, i64)>> {
    let rows = sqlx::query!(
        "SELECT project_id, version FROM ingestion.subject_policies WHERE kind = $1",
        kind.as_str(),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (ProjectId(row.project_id), row.version)).collect())
}
