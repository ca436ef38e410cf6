//! Policies.

use chrono::{DateTime, TimeDelta, Utc};
use northstar_domain::policy::{Policy, PolicySpec};
use northstar_domain::{ProjectId, ResourceName};
use sqlx::PgConnection;

use crate::page::PageSize;
use crate::{Error, Result};

/// A policy and the number of its version, which is its etag.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredPolicy {
    /// The policy.
    pub policy: Policy,
    /// Grows by one with every change, from 1.
    pub version: i64,
}

struct Row {
    name: String,
    action: String,
    role: String,
    quorum: i32,
    sla_seconds: i64,
    owner: String,
    version: i64,
}

impl TryFrom<Row> for StoredPolicy {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let corrupt = |column, value: &dyn ToString| Error::Corrupt {
            table: "approvals.policies",
            column,
            row: row.name.clone(),
            value: value.to_string(),
        };
        let spec = PolicySpec {
            action: row.action.parse().map_err(|_| corrupt("action", &row.action))?,
            role: row.role.parse().map_err(|_| corrupt("role", &row.role))?,
            quorum: u32::try_from(row.quorum).map_err(|_| corrupt("quorum", &row.quorum))?,
            sla: TimeDelta::try_seconds(row.sla_seconds)
                .ok_or_else(|| corrupt("sla_seconds", &row.sla_seconds))?,
            owner: row.owner.clone(),
        };
        let name = row.name.parse().map_err(|_| corrupt("name", &row.name))?;
        Ok(Self { policy: Policy { name, spec }, version: row.version })
    }
}

/// Finds a policy by name.
pub async fn load_policy(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &ResourceName,
) -> Result<Option<StoredPolicy>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT name, action, role, quorum, sla_seconds, owner, version
         FROM approvals.policies WHERE project_id = $1 AND name = $2",
        project.0,
        name.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    row.map(StoredPolicy::try_from).transpose()
}

/// Finds the policy that rules an action.
pub async fn find_policy_of_action(
    connection: &mut PgConnection,
    project: ProjectId,
    action: &str,
) -> Result<Option<StoredPolicy>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT name, action, role, quorum, sla_seconds, owner, version
         FROM approvals.policies WHERE project_id = $1 AND action = $2",
        project.0,
        action,
    )
    .fetch_optional(connection)
    .await?;
    row.map(StoredPolicy::try_from).transpose()
}

/// Lists the policies by name, after the given one.
pub async fn list_policies(
    connection: &mut PgConnection,
    project: ProjectId,
    after: &str,
    size: PageSize,
) -> Result<Vec<StoredPolicy>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT name, action, role, quorum, sla_seconds, owner, version
         FROM approvals.policies WHERE project_id = $1 AND name > $2 ORDER BY name LIMIT $3",
        project.0,
        after,
        size.limit(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(StoredPolicy::try_from).collect()
}

/// Creates a policy, or replaces the version before the given one. `false` when
/// somebody else changed it meanwhile.
///
/// # Errors
/// [`Error::Conflict`] when another policy took the action meanwhile.
pub async fn save_policy(
    connection: &mut PgConnection,
    project: ProjectId,
    stored: &StoredPolicy,
    now: DateTime<Utc>,
) -> Result<bool> {
    let spec = &stored.policy.spec;
    let quorum = i32::try_from(spec.quorum).unwrap_or(i32::MAX);
    let done = sqlx::query!(
        "INSERT INTO approvals.policies
             (project_id, name, action, role, quorum, sla_seconds, owner, version, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (project_id, name) DO UPDATE
             SET action = $3, role = $4, quorum = $5, sla_seconds = $6, owner = $7,
                 version = $8, updated_at = $9
             WHERE policies.version = $8 - 1",
        project.0,
        stored.policy.name.as_str(),
        spec.action.as_str(),
        spec.role.to_string(),
        quorum,
        spec.sla.num_seconds(),
        spec.owner,
        stored.version,
        now,
    )
    .execute(connection)
    .await
    .map_err(|error| match &error {
        // The caller looked for such a policy before; it came in between.
        sqlx::Error::Database(database) if database.constraint() == Some("policies_action_key") => {
            Error::Conflict(error)
        }
        _ => Error::from(error),
    })?;
    Ok(done.rows_affected() == 1)
}
