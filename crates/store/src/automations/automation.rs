//! Automations and their activations.

use chrono::{DateTime, Utc};
use northstar_domain::automation::{Approval, AutomationState, Definition};
use northstar_domain::canonical_json::Digest;
use northstar_domain::{ProjectId, ResourceName};
use sqlx::PgConnection;

use crate::page::PageSize;
use crate::{Error, Result};

/// An automation as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// What it is.
    pub definition: Definition,
    /// Where it is in its life.
    pub state: AutomationState,
    /// Number of the activation it acts under, or acted under with this very
    /// definition.
    pub activation: Option<i32>,
    /// When it was last activated.
    pub activated_at: Option<DateTime<Utc>>,
    /// Grows by one with every change, from 1; its etag.
    pub version: i64,
}

struct Row {
    name: String,
    definition: String,
    state: String,
    activation: Option<i32>,
    activated_at: Option<DateTime<Utc>>,
    version: i64,
}

impl TryFrom<Row> for Stored {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let corrupt = |column, value: String| Error::Corrupt {
            table: "automations.automations",
            column,
            row: row.name.clone(),
            value,
        };
        Ok(Self {
            definition: Definition::read_canonical(&row.definition)
                .map_err(|error| corrupt("definition", error))?,
            state: row.state.parse().map_err(|_| corrupt("state", row.state.clone()))?,
            activation: row.activation,
            activated_at: row.activated_at,
            version: row.version,
        })
    }
}

/// An approved definition that an automation acted by.
#[derive(Clone, Debug)]
pub struct Activation {
    /// What runs under it do.
    pub definition: Definition,
}

/// Finds an automation by name.
pub async fn load(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &ResourceName,
) -> Result<Option<Stored>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT name, definition, state, activation, version,
                  (SELECT max(activated_at) FROM automations.activations AS done
                   WHERE done.project_id = a.project_id AND done.name = a.name) AS activated_at
           FROM automations.automations AS a WHERE project_id = $1 AND name = $2"#,
        project.0,
        name.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    row.map(Stored::try_from).transpose()
}

/// Finds an automation and locks it until the transaction ends.
pub async fn load_for_update(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &ResourceName,
) -> Result<Option<Stored>> {
    sqlx::query!(
        "SELECT 1 AS one FROM automations.automations
         WHERE project_id = $1 AND name = $2 FOR UPDATE",
        project.0,
        name.as_str(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    load(connection, project, name).await
}

/// Lists automations by name, after the given one.
pub async fn list(
    connection: &mut PgConnection,
    project: ProjectId,
    after: &str,
    size: PageSize,
) -> Result<Vec<Stored>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT name, definition, state, activation, version,
                  (SELECT max(activated_at) FROM automations.activations AS done
                   WHERE done.project_id = a.project_id AND done.name = a.name) AS activated_at
           FROM automations.automations AS a WHERE project_id = $1 AND name > $2
           ORDER BY name LIMIT $3"#,
        project.0,
        after,
        size.limit(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Stored::try_from).collect()
}

/// Writes a new draft. `false` when another call was faster.
pub async fn insert(
    connection: &mut PgConnection,
    project: ProjectId,
    definition: &Definition,
    now: DateTime<Utc>,
) -> Result<bool> {
    let digest = definition.digest();
    let done = sqlx::query!(
        "INSERT INTO automations.automations
             (project_id, name, definition, definition_digest, state, sunset_at, version, updated_at)
         VALUES ($1, $2, $3, $4, 'draft', $5, 1, $6) ON CONFLICT DO NOTHING",
        project.0,
        definition.name().as_str(),
        definition.canonical(),
        digest.as_bytes(),
        definition.sunset(),
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Replaces the definition of an automation that does not act, and with it
/// drops the activation: the new definition is one that nobody approved.
/// `false` when it acts after all.
pub async fn update_definition(
    connection: &mut PgConnection,
    project: ProjectId,
    definition: &Definition,
    now: DateTime<Utc>,
) -> Result<bool> {
    let digest = definition.digest();
    let done = sqlx::query!(
        "UPDATE automations.automations
         SET definition = $3, definition_digest = $4, sunset_at = $5, activation = NULL,
             version = version + 1, updated_at = $6
         WHERE project_id = $1 AND name = $2 AND state IN ('draft', 'paused')",
        project.0,
        definition.name().as_str(),
        definition.canonical(),
        digest.as_bytes(),
        definition.sunset(),
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes a state other than active, which only [`activate`] reaches.
pub async fn save_state(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &ResourceName,
    state: AutomationState,
    now: DateTime<Utc>,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE automations.automations
         SET state = $3, version = version + 1, updated_at = $4
         WHERE project_id = $1 AND name = $2 AND $3 <> 'active'",
        project.0,
        name.as_str(),
        state.as_str(),
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Lets an automation act, on events after `start_position`. The one way to do
/// so: it takes the proof that people approved, and does nothing when the
/// definition is no longer the approved one. `None` then.
pub async fn activate(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &ResourceName,
    approval: &Approval,
    actor: &str,
    start_position: i64,
    now: DateTime<Utc>,
) -> Result<Option<i32>> {
    let digest: Digest = approval.digest();
    let activation = sqlx::query_scalar!(
        r#"INSERT INTO automations.activations
               (project_id, name, activation, definition, definition_digest,
                decision_request_id, activated_by, activated_at)
           SELECT project_id, name,
                  1 + coalesce((SELECT max(done.activation) FROM automations.activations AS done
                                WHERE done.project_id = $1 AND done.name = $2), 0),
                  definition, definition_digest, $4, $5, $6
           FROM automations.automations
           WHERE project_id = $1 AND name = $2 AND definition_digest = $3
                 AND state IN ('draft', 'paused') AND sunset_at > $6
           RETURNING activation"#,
        project.0,
        name.as_str(),
        digest.as_bytes(),
        approval.decision().0,
        actor,
        now,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(activation) = activation else { return Ok(None) };
    sqlx::query!(
        "UPDATE automations.automations
         SET state = 'active', activation = $3, version = version + 1, updated_at = $4
         WHERE project_id = $1 AND name = $2",
        project.0,
        name.as_str(),
        activation,
        now,
    )
    .execute(&mut *connection)
    .await?;
    // A new epoch ends whatever loop still follows the log for the last one.
    sqlx::query!(
        "INSERT INTO automations.progress
             (project_id, name, handled_position, epoch, lease_expires_at)
         VALUES ($1, $2, $3, 1, $4)
         ON CONFLICT (project_id, name) DO UPDATE
         SET handled_position = excluded.handled_position,
             epoch = automations.progress.epoch + 1,
             lease_expires_at = excluded.lease_expires_at",
        project.0,
        name.as_str(),
        start_position,
        now,
    )
    .execute(connection)
    .await?;
    Ok(Some(activation))
}

/// What runs of an activation do.
pub async fn load_activation(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
    activation: i32,
) -> Result<Option<Activation>> {
    let definition = sqlx::query_scalar!(
        "SELECT definition FROM automations.activations
         WHERE project_id = $1 AND name = $2 AND activation = $3",
        project.0,
        name,
        activation,
    )
    .fetch_optional(connection)
    .await?;
    let read = |text: String| {
        Definition::read_canonical(&text).map_err(|value| Error::Corrupt {
            table: "automations.activations",
            column: "definition",
            row: format!("{name}/{activation}"),
            value,
        })
    };
    Ok(definition.map(read).transpose()?.map(|definition| Activation { definition }))
}

/// Active automations whose sunset has come, locked until the transaction ends;
/// what another replica holds is left out.
pub async fn list_past_sunset(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<(ProjectId, ResourceName)>> {
    let rows = sqlx::query!(
        "SELECT project_id, name FROM automations.automations
         WHERE state = 'active' AND sunset_at <= $1
         ORDER BY sunset_at LIMIT $2 FOR UPDATE SKIP LOCKED",
        now,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((ProjectId(row.project_id), parse_name(row.name)?))).collect()
}

pub(super) fn parse_name(name: String) -> Result<ResourceName> {
    name.parse().map_err(|_| Error::Corrupt {
        table: "automations.automations",
        column: "name",
        row: name.clone(),
        value: name,
    })
}
