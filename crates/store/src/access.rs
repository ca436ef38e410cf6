//! Projects and API keys.

use chrono::{DateTime, Utc};
use northstar_domain::{ApiKeyId, ProjectId, Role};
use sqlx::PgConnection;

use crate::page::PageSize;
use crate::{Error, Result};

/// An API key without its secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Its project; `None` for a suite key, which names the project with each
    /// call.
    pub project: Option<ProjectId>,
    /// Who or what uses it.
    pub principal: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

struct Row {
    api_key_id: uuid::Uuid,
    project_id: Option<i32>,
    principal: String,
    role: String,
    created_at: DateTime<Utc>,
    revoked_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for ApiKey {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let role = row.role.parse().map_err(|_| Error::Corrupt {
            table: "access.api_keys",
            column: "role",
            row: row.api_key_id.to_string(),
            value: row.role.clone(),
        })?;
        Ok(Self {
            id: ApiKeyId(row.api_key_id),
            project: row.project_id.map(ProjectId),
            principal: row.principal,
            role,
            created_at: row.created_at,
            revoked_at: row.revoked_at,
        })
    }
}

/// Finds a working key by the SHA-256 of its secret.
pub async fn find_api_key(
    connection: &mut PgConnection,
    secret_sha256: &[u8],
) -> Result<Option<ApiKey>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT api_key_id, project_id, principal, role, created_at, revoked_at
         FROM access.api_keys WHERE secret_sha256 = $1 AND revoked_at IS NULL",
        secret_sha256,
    )
    .fetch_optional(connection)
    .await?;
    row.map(ApiKey::try_from).transpose()
}

/// Whether anybody holds a working key, of whatever project.
pub async fn has_working_key(connection: &mut PgConnection) -> Result<bool> {
    let exists = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM access.api_keys WHERE revoked_at IS NULL) AS "exists!""#,
    )
    .fetch_one(connection)
    .await?;
    Ok(exists)
}

/// Whether somebody holds a working key with which to administer a project.
pub async fn has_admin_key(connection: &mut PgConnection, project: ProjectId) -> Result<bool> {
    let exists = sqlx::query_scalar!(
        r#"SELECT EXISTS (
             SELECT FROM access.api_keys
             WHERE project_id = $1 AND role = 'admin' AND revoked_at IS NULL
         ) AS "exists!""#,
        project.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(exists)
}

/// Stores a new key under the SHA-256 of its secret.
pub async fn insert_api_key(
    connection: &mut PgConnection,
    key: &ApiKey,
    secret_sha256: &[u8],
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO access.api_keys
             (api_key_id, project_id, principal, role, secret_sha256, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        key.id.0,
        key.project.map(|project| project.0),
        key.principal,
        key.role.as_str(),
        secret_sha256,
        key.created_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Lists the keys of a project, oldest first, after the given id.
pub async fn list_api_keys(
    connection: &mut PgConnection,
    project: ProjectId,
    after: Option<ApiKeyId>,
    size: PageSize,
) -> Result<Vec<ApiKey>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT api_key_id, project_id, principal, role, created_at, revoked_at
         FROM access.api_keys
         WHERE project_id = $1 AND ($2::uuid IS NULL OR api_key_id > $2)
         ORDER BY api_key_id LIMIT $3",
        project.0,
        after.map(|id| id.0),
        size.limit(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(ApiKey::try_from).collect()
}

/// Revokes a key; a revoked key keeps the time of its first revocation.
pub async fn revoke_api_key(
    connection: &mut PgConnection,
    project: ProjectId,
    id: ApiKeyId,
    now: DateTime<Utc>,
) -> Result<Option<ApiKey>> {
    let row = sqlx::query_as!(
        Row,
        "UPDATE access.api_keys SET revoked_at = coalesce(revoked_at, $3)
         WHERE project_id = $1 AND api_key_id = $2
         RETURNING api_key_id, project_id, principal, role, created_at, revoked_at",
        project.0,
        id.0,
        now,
    )
    .fetch_optional(connection)
    .await?;
    row.map(ApiKey::try_from).transpose()
}

/// Finds a project by name.
pub async fn find_project(connection: &mut PgConnection, name: &str) -> Result<Option<ProjectId>> {
    let id = sqlx::query_scalar!("SELECT project_id FROM access.projects WHERE name = $1", name)
        .fetch_optional(connection)
        .await?;
    Ok(id.map(ProjectId))
}

/// Every project, oldest first.
pub async fn list_projects(connection: &mut PgConnection) -> Result<Vec<ProjectId>> {
    let ids = sqlx::query_scalar!("SELECT project_id FROM access.projects ORDER BY project_id")
        .fetch_all(connection)
        .await?;
    Ok(ids.into_iter().map(ProjectId).collect())
}

/// The project of this name, made if it is not there.
pub async fn ensure_project(connection: &mut PgConnection, name: &str) -> Result<ProjectId> {
    sqlx::query!("INSERT INTO access.projects (name) VALUES ($1) ON CONFLICT DO NOTHING", name,)
        .execute(&mut *connection)
        .await?;
    let id = sqlx::query_scalar!("SELECT project_id FROM access.projects WHERE name = $1", name)
        .fetch_one(connection)
        .await?;
    Ok(ProjectId(id))
}
