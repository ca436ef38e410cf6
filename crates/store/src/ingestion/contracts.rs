//! Contracts of event names, and what they said before.

use chrono::{DateTime, Utc};
use northstar_domain::contract::{Bump, ContractMode, ContractSpec, SchemaVersion};
use northstar_domain::{DecisionRequestId, ProjectId};
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
    /// What it counted since.
    pub counts: Counts,
}

/// Accepted events that a contract has something to say about.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// They broke it, while it observed.
    pub observed: i64,
    /// They were late.
    pub late: i64,
    /// Some of their properties were kept aside.
    pub omitted: i64,
    /// They keep a superseded version.
    pub superseded: i64,
}

struct Row {
    name: String,
    spec: String,
    etag: String,
    updated_at: DateTime<Utc>,
    observed_violations: i64,
    late_events: i64,
    omitted_events: i64,
    superseded_events: i64,
}

impl TryFrom<Row> for Contract {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let spec = read_spec("ingestion.contracts", &row.name, &row.spec)?;
        Ok(Self {
            name: row.name,
            spec,
            etag: row.etag,
            updated_at: row.updated_at,
            counts: Counts {
                observed: row.observed_violations,
                late: row.late_events,
                omitted: row.omitted_events,
                superseded: row.superseded_events,
            },
        })
    }
}

fn read_spec(table: &'static str, row: &str, text: &str) -> Result<ContractSpec> {
    serde_json::from_str(text).map_err(|error| Error::Corrupt {
        table,
        column: "spec",
        row: row.to_owned(),
        value: error.to_string(),
    })
}

fn spec_text(spec: &ContractSpec) -> String {
    serde_json::to_string(spec).expect("a contract's keys are strings")
}

/// Finds the contract of an event name.
pub async fn find(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
) -> Result<Option<Contract>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT name, spec::text AS "spec!", etag, updated_at, observed_violations, late_events,
               omitted_events, superseded_events
           FROM ingestion.contracts WHERE project_id = $1 AND name = $2"#,
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
        r#"SELECT name, spec::text AS "spec!", etag, updated_at, observed_violations, late_events,
               omitted_events, superseded_events
           FROM ingestion.contracts WHERE project_id = $1 AND name > $2
           ORDER BY name LIMIT $3"#,
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
        r#"SELECT name, spec::text AS "spec!", etag, updated_at, observed_violations, late_events,
               omitted_events, superseded_events
           FROM ingestion.contracts WHERE project_id = $1"#,
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

/// How a contract came to say what it says.
#[derive(Clone, Copy, Debug)]
pub struct Applied<'a> {
    /// How much its schema changed.
    pub bump: Bump,
    /// Who applied it.
    pub by: &'a str,
    /// The decision that allowed it, when it needed one.
    pub decision: Option<DecisionRequestId>,
}

/// Creates or replaces a contract and adds it to its history. A new contract
/// starts to count anew.
pub async fn save(
    connection: &mut PgConnection,
    project: ProjectId,
    contract: &Contract,
    applied: Applied<'_>,
) -> Result<()> {
    let spec = spec_text(&contract.spec);
    sqlx::query!(
        "INSERT INTO ingestion.contracts
             (project_id, name, spec, etag, updated_at, schema_version)
         VALUES ($1, $2, $3::text::json, $4, $5, $6)
         ON CONFLICT (project_id, name) DO UPDATE SET
             schema_version = excluded.schema_version,
             spec = excluded.spec,
             etag = excluded.etag,
             updated_at = excluded.updated_at,
             observed_violations = 0,
             late_events = 0,
             omitted_events = 0,
             superseded_events = 0",
        project.0,
        contract.name,
        spec,
        contract.etag,
        contract.updated_at,
        contract.spec.schema_version.to_string(),
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO ingestion.contract_history
             (project_id, name, revision, schema_version, spec, etag, bump, applied_by, applied_at,
              decision_request)
         SELECT $1, $2, coalesce(max(revision), 0) + 1, $3, $4::text::json, $5, $6, $7, $8, $9
         FROM ingestion.contract_history WHERE project_id = $1 AND name = $2",
        project.0,
        contract.name,
        contract.spec.schema_version.to_string(),
        spec,
        contract.etag,
        applied.bump.as_str(),
        applied.by,
        contract.updated_at,
        applied.decision.map(|id| id.0),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a contract said from some time on.
#[derive(Clone, Debug, PartialEq)]
pub struct PastVersion {
    /// Number of the change, from 1.
    pub revision: i64,
    /// What it said.
    pub spec: ContractSpec,
    /// Its etag.
    pub etag: String,
    /// How much its schema changed.
    pub bump: Bump,
    /// Who applied it; empty for what was there before versions were kept.
    pub applied_by: String,
    /// When.
    pub applied_at: DateTime<Utc>,
    /// The decision that allowed it, when it needed one.
    pub decision: Option<DecisionRequestId>,
}

/// A page of everything a contract ever said, newest first, before a revision.
pub async fn history(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
    before: i64,
    size: PageSize,
) -> Result<Vec<PastVersion>> {
    let rows = sqlx::query!(
        r#"SELECT revision, spec::text AS "spec!", etag, bump, applied_by, applied_at,
               decision_request
           FROM ingestion.contract_history
           WHERE project_id = $1 AND name = $2 AND revision < $3
           ORDER BY revision DESC LIMIT $4"#,
        project.0,
        name,
        before,
        size.limit(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let bump = [Bump::None, Bump::Addition, Bump::Revision, Bump::Model]
                .into_iter()
                .find(|bump| bump.as_str() == row.bump)
                .ok_or_else(|| Error::Corrupt {
                    table: "ingestion.contract_history",
                    column: "bump",
                    row: format!("{name} {}", row.revision),
                    value: row.bump.clone(),
                })?;
            Ok(PastVersion {
                revision: row.revision,
                spec: read_spec("ingestion.contract_history", name, &row.spec)?,
                etag: row.etag,
                bump,
                applied_by: row.applied_by,
                applied_at: row.applied_at,
                decision: row.decision_request.map(DecisionRequestId),
            })
        })
        .collect()
}

/// The schema of an older version of a contract.
#[derive(Clone, Debug, PartialEq)]
pub struct OlderSchema {
    /// The event name.
    pub name: String,
    /// The version.
    pub version: SchemaVersion,
    /// Its JSON Schema, as it was said last.
    pub json_schema: serde_json::Value,
}

/// The schemas of older versions of every contract of a project, at most
/// `limit` of each, the newest.
pub async fn older_schemas(
    connection: &mut PgConnection,
    project: ProjectId,
    limit: i64,
) -> Result<Vec<OlderSchema>> {
    let rows = sqlx::query!(
        r#"SELECT name AS "name!", schema_version AS "schema_version!", schema AS "schema!"
           FROM (
               SELECT name, schema_version, schema,
                   row_number() OVER (PARTITION BY name ORDER BY revision DESC) AS age
               FROM (
                   SELECT DISTINCT ON (h.name, h.schema_version) h.name, h.schema_version,
                       (h.spec -> 'json_schema')::text AS schema, h.revision
                   FROM ingestion.contract_history h
                   JOIN ingestion.contracts c USING (project_id, name)
                   WHERE project_id = $1 AND h.schema_version <> c.spec ->> 'schema_version'
                   ORDER BY h.name, h.schema_version, h.revision DESC
               ) AS newest
           ) AS aged
           WHERE age <= $2"#,
        project.0,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let corrupt = |column, value: &str| Error::Corrupt {
                table: "ingestion.contract_history",
                column,
                row: row.name.clone(),
                value: value.to_owned(),
            };
            Ok(OlderSchema {
                version: row
                    .schema_version
                    .parse()
                    .map_err(|_| corrupt("schema_version", &row.schema_version))?,
                json_schema: serde_json::from_str(&row.schema)
                    .map_err(|error| corrupt("spec", &error.to_string()))?,
                name: row.name,
            })
        })
        .collect()
}

/// Adds to what a contract counted.
pub async fn count(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
    counts: Counts,
) -> Result<()> {
    sqlx::query!(
        "UPDATE ingestion.contracts SET
             observed_violations = observed_violations + $3,
             late_events = late_events + $4,
             omitted_events = omitted_events + $5,
             superseded_events = superseded_events + $6
         WHERE project_id = $1 AND name = $2",
        project.0,
        name,
        counts.observed,
        counts.late,
        counts.omitted,
        counts.superseded,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What happens to events whose name has no contract; `None` lets them pass.
pub async fn unplanned_events(
    connection: &mut PgConnection,
    project: ProjectId,
) -> Result<Option<ContractMode>> {
    let mode = sqlx::query_scalar!(
        "SELECT mode FROM ingestion.unplanned_events WHERE project_id = $1",
        project.0,
    )
    .fetch_optional(connection)
    .await?;
    mode.map(|mode| {
        mode.parse().map_err(|_| Error::Corrupt {
            table: "ingestion.unplanned_events",
            column: "mode",
            row: project.to_string(),
            value: mode,
        })
    })
    .transpose()
}

/// Says what happens to events whose name has no contract.
pub async fn set_unplanned_events(
    connection: &mut PgConnection,
    project: ProjectId,
    mode: ContractMode,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO ingestion.unplanned_events (project_id, mode) VALUES ($1, $2)
         ON CONFLICT (project_id) DO UPDATE SET mode = excluded.mode",
        project.0,
        mode.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
