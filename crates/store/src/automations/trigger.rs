//! Following the log: whose turn it is, how far it got, and the runs it makes.

use chrono::{DateTime, Utc};
use northstar_domain::holdout::Arm;
use northstar_domain::run::RunState;
use northstar_domain::{ProjectId, ResourceName, RunId};
use sqlx::PgConnection;

use super::automation::parse_name;
use crate::Result;

/// An automation that acts.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Active {
    /// Its project.
    pub project: ProjectId,
    /// Its name.
    pub name: ResourceName,
    /// The activation it acts under.
    pub activation: i32,
}

/// The right to follow the log for an automation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Follower {
    /// Grows each time the right changes hands.
    pub epoch: i64,
    /// Up to here everything is handled.
    pub handled_position: i64,
}

/// How far the triggers of an automation are handled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// Up to here everything is handled.
    pub handled_position: i64,
}

/// A run to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// The subject.
    pub subject: String,
    /// Whether the subject is an anonymous id.
    pub anonymous: bool,
    /// What happens to it.
    pub arm: Arm,
    /// Position of the event that set it off.
    pub trigger_position: i64,
    /// Effective time of that event.
    pub trigger_at: DateTime<Utc>,
    /// Properties of that event: an object.
    pub trigger_properties: serde_json::Value,
    /// Message id of the event that tells of the run.
    pub message_id: String,
}

/// Every automation that acts, of every project.
pub async fn list_active(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<Active>> {
    let rows = sqlx::query!(
        r#"SELECT project_id, name, activation AS "activation!" FROM automations.automations
           WHERE state = 'active' AND sunset_at > $1"#,
        now,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Active {
                project: ProjectId(row.project_id),
                name: parse_name(row.name)?,
                activation: row.activation,
            })
        })
        .collect()
}

/// How far the triggers of an automation are handled; `None` before its first
/// activation.
pub async fn load_progress(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &ResourceName,
) -> Result<Option<Progress>> {
    let position = sqlx::query_scalar!(
        "SELECT handled_position FROM automations.progress WHERE project_id = $1 AND name = $2",
        project.0,
        name.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(position.map(|handled_position| Progress { handled_position }))
}

/// Takes the right to follow the log for an automation, if nobody holds it.
pub async fn acquire(
    connection: &mut PgConnection,
    active: &Active,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<Follower>> {
    let row = sqlx::query_as!(
        Follower,
        "UPDATE automations.progress SET epoch = epoch + 1, lease_expires_at = $4
         WHERE project_id = $1 AND name = $2 AND lease_expires_at <= $3
         RETURNING epoch, handled_position",
        active.project.0,
        active.name.as_str(),
        now,
        until,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row)
}

/// Keeps the right. `false` when it was lost.
pub async fn renew(
    connection: &mut PgConnection,
    active: &Active,
    epoch: i64,
    until: DateTime<Utc>,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE automations.progress SET lease_expires_at = $4
         WHERE project_id = $1 AND name = $2 AND epoch = $3",
        active.project.0,
        active.name.as_str(),
        epoch,
        until,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives the right back, so that another replica need not wait for it.
pub async fn release(
    connection: &mut PgConnection,
    active: &Active,
    epoch: i64,
    now: DateTime<Utc>,
) -> Result<()> {
    renew(connection, active, epoch, now).await?;
    Ok(())
}

/// Whether an automation still acts under an activation. Holds off pausing it
/// until the transaction ends, so that no run is made after a pause.
pub async fn still_acts(
    connection: &mut PgConnection,
    active: &Active,
    now: DateTime<Utc>,
) -> Result<bool> {
    let row = sqlx::query!(
        "SELECT 1 AS one FROM automations.automations
         WHERE project_id = $1 AND name = $2 AND state = 'active' AND activation = $3
               AND sunset_at > $4
         FOR SHARE",
        active.project.0,
        active.name.as_str(),
        active.activation,
        now,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.is_some())
}

/// Records that every event up to a position is handled. `false` when the right
/// to do so was lost: then the transaction must be given up.
pub async fn advance(
    connection: &mut PgConnection,
    active: &Active,
    epoch: i64,
    position: i64,
    until: DateTime<Utc>,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE automations.progress
         SET handled_position = greatest(handled_position, $4), lease_expires_at = $5
         WHERE project_id = $1 AND name = $2 AND epoch = $3",
        active.project.0,
        active.name.as_str(),
        epoch,
        position,
        until,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Makes the runs of subjects that have none yet, and with each the event that
/// tells of it. Returns how many were made.
pub async fn insert_runs(
    connection: &mut PgConnection,
    active: &Active,
    event: &str,
    runs: &[NewRun],
    now: DateTime<Utc>,
) -> Result<i64> {
    let ids: Vec<_> = runs.iter().map(|run| run.id.0).collect();
    let subjects: Vec<_> = runs.iter().map(|run| run.subject.clone()).collect();
    let anonymous: Vec<_> = runs.iter().map(|run| run.anonymous).collect();
    let arms: Vec<_> = runs.iter().map(|run| run.arm.as_str().to_owned()).collect();
    let states: Vec<_> =
        runs.iter().map(|run| RunState::of_new(run.arm).as_str().to_owned()).collect();
    let positions: Vec<_> = runs.iter().map(|run| run.trigger_position).collect();
    let times: Vec<_> = runs.iter().map(|run| run.trigger_at).collect();
    let properties: Vec<_> = runs.iter().map(|run| run.trigger_properties.clone()).collect();
    let message_ids: Vec<_> = runs.iter().map(|run| run.message_id.clone()).collect();
    let made = sqlx::query_file_scalar!(
        "src/automations/insert_runs.sql",
        active.project.0,
        active.name.as_str(),
        active.activation,
        event,
        now,
        &ids,
        &subjects,
        &anonymous,
        &arms,
        &states,
        &positions,
        &times,
        &properties,
        &message_ids,
    )
    .fetch_one(connection)
    .await?;
    Ok(made)
}
