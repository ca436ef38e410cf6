//! When each subject met each experiment first.

use chrono::{DateTime, Utc};
use northstar_domain::{ProjectId, ResourceName};
use sqlx::PgConnection;

use crate::Result;

/// A subject and when it met the experiment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exposure {
    /// The user.
    pub user_id: String,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// Whether the log has acknowledged the event.
    pub recorded: bool,
}

/// Remembers when each user met the experiment, unless it is known already, and
/// gives what is known, by user. Users must be distinct.
pub async fn remember_exposures(
    connection: &mut PgConnection,
    project: ProjectId,
    experiment: &ResourceName,
    users: &[String],
    times: &[DateTime<Utc>],
) -> Result<Vec<Exposure>> {
    // Sorted, so that two calls with the same users wait for each other instead
    // of deadlocking.
    sqlx::query!(
        "INSERT INTO experiments.exposures (project_id, experiment, user_id, occurred_at)
         SELECT $1, $2, user_id, occurred_at
         FROM unnest($3::text[], $4::timestamptz[]) AS new (user_id, occurred_at)
         ORDER BY user_id
         ON CONFLICT DO NOTHING",
        project.0,
        experiment.as_str(),
        users,
        times,
    )
    .execute(&mut *connection)
    .await?;
    let exposures = sqlx::query_as!(
        Exposure,
        "SELECT user_id, occurred_at, recorded FROM experiments.exposures
         WHERE project_id = $1 AND experiment = $2 AND user_id = ANY($3)",
        project.0,
        experiment.as_str(),
        users,
    )
    .fetch_all(connection)
    .await?;
    Ok(exposures)
}

/// Notes that the log has acknowledged the exposures of these users.
pub async fn mark_recorded(
    connection: &mut PgConnection,
    project: ProjectId,
    experiment: &ResourceName,
    users: &[String],
) -> Result<()> {
    // One table and one condition: a join would be planned for the few rows that
    // a table without statistics seems to have, and be quadratic.
    sqlx::query!(
        "UPDATE experiments.exposures SET recorded = true
         WHERE project_id = $1 AND experiment = $2 AND user_id = ANY($3) AND NOT recorded",
        project.0,
        experiment.as_str(),
        users,
    )
    .execute(connection)
    .await?;
    Ok(())
}
