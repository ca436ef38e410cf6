//! Contracts of event names.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::contract::ContractSpec;
use sqlx::PgConnection;

use crate::page::PageSize;
use crate::{Error, Result};

/// A contract as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    /// The event name it rules.
    pub name: String,
    /// What it says.
    pub spec: ContractSpec,
    /// Changes with every change.
    pub etag: String,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Events accepted although they broke it, while it observed.
    pub observed_violations: i64,
}

struct Row {
    name: String,
    schema_version: String,
    json_schema: String,
    mode: String,
    owner: String,
    description: String,
    etag: String,
    updated_at: DateTime<Utc>,
    observed_violations: i64,
}

impl TryFrom<Row> for Contract {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let corrupt = |column, value: &str| Error::Corrupt {
            table: "ingestion.contracts",
            column,
            row: row.name.clone(),
            value: value.to_owned(),
        };
        let spec = ContractSpec {
            schema_version: row
                .schema_version
                .parse()
                .map_err(|_| corrupt("schema_version", &row.schema_version))?,
            mode: row.mode.parse().map_err(|_| corrupt("mode", &row.mode))?,
            json_schema: serde_json::from_str(&row.json_schema)
                .map_err(|_| corrupt("json_schema", &row.json_schema))?,
            owner: row.owner,
            description: row.description,
        };
        Ok(Self {
            name: row.name,
            spec,
            etag: row.etag,
            updated_at: row.updated_at,
            observed_violations: row.observed_violations,
        })
    }
}

/// Finds the contract of an event name.
pub async fn find(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
) -> Result<Option<Contract>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT name, schema_version, json_schema, mode, owner, description, etag, updated_at,
             observed_violations
         FROM ingestion.contracts WHERE project_id = $1 AND name = $2",
        project.0,
        name,
    )
    .fetch_optional(connection)
    .await?;
    row.map(Contract::try_from).transpose()
}

/// A page of contracts by name, after the given one.
pub async fn list(
    connection: &mut PgConnection,
    project: ProjectId,
    after: &str,
    size: PageSize,
) -> Result<Vec<Contract>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT name, schema_version, json_schema, mode, owner, description, etag, updated_at,
             observed_violations
         FROM ingestion.contracts WHERE project_id = $1 AND name > $2
         ORDER BY name LIMIT $3",
        project.0,
        after,
        size.limit(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Contract::try_from).collect()
}

/// Every contract of a project.
pub async fn all(connection: &mut PgConnection, project: ProjectId) -> Result<Vec<Contract>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT name, schema_version, json_schema, mode, owner, description, etag, updated_at,
             observed_violations
         FROM ingestion.contracts WHERE project_id = $1",
        project.0,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Contract::try_from).collect()
}

/// Locks a project's contracts until the transaction ends and raises their
/// version. The first statement of every change.
pub async fn begin_change(connection: &mut PgConnection, project: ProjectId) -> Result<i64> {
    let version = sqlx::query_scalar!(
        "INSERT INTO ingestion.contract_versions AS known (project_id, version) VALUES ($1, 1)
         ON CONFLICT (project_id) DO UPDATE SET version = known.version + 1
         RETURNING version",
        project.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(version)
}

/// The version of a project's contracts.
pub async fn version(connection: &mut PgConnection, project: ProjectId) -> Result<i64> {
    let version = sqlx::query_scalar!(
        "SELECT version FROM ingestion.contract_versions WHERE project_id = $1",
        project.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(version.unwrap_or(0))
}

/// The versions of the contracts of every project that has any.
pub async fn versions(connection: &mut PgConnection) -> Result<Vec<(ProjectId, i64)>> {
    let rows = sqlx::query!("SELECT project_id, version FROM ingestion.contract_versions")
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(|row| (ProjectId(row.project_id), row.version)).collect())
}

/// Creates or replaces a contract. A new schema starts to count anew.
pub async fn save(
    connection: &mut PgConnection,
    project: ProjectId,
    contract: &Contract,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO ingestion.contracts
             (project_id, name, schema_version, json_schema, mode, owner, description, etag,
              updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (project_id, name) DO UPDATE SET
             schema_version = excluded.schema_version,
             json_schema = excluded.json_schema,
             mode = excluded.mode,
             owner = excluded.owner,
             description = excluded.description,
             etag = excluded.etag,
             updated_at = excluded.updated_at,
             observed_violations = 0",
        project.0,
        contract.name,
        contract.spec.schema_version.to_string(),
        contract.spec.json_schema.to_string(),
        contract.spec.mode.as_str(),
        contract.spec.owner,
        contract.spec.description,
        contract.etag,
        contract.updated_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts events that were accepted although they break a contract.
pub async fn count_violations(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
    violations: i64,
) -> Result<()> {
    sqlx::query!(
        "UPDATE ingestion.contracts SET observed_violations = observed_violations + $3
         WHERE project_id = $1 AND name = $2",
        project.0,
        name,
        violations,
    )
    .execute(connection)
    .await?;
    Ok(())
}
