//! What was learned from an experiment, for good.

use chrono::{DateTime, Utc};
use northstar_domain::{ProjectId, ResourceName};
use sqlx::PgConnection;

use crate::Result;

/// What was learned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Learning {
    /// The text.
    pub learning: String,
    /// Who wrote it.
    pub author: String,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// Keeps what was learned, once for each experiment.
pub async fn insert_learning(
    connection: &mut PgConnection,
    project: ProjectId,
    experiment: &ResourceName,
    learning: &Learning,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO experiments.learnings (project_id, experiment, learning, author, created_at)
         VALUES ($1, $2, $3, $4, $5)",
        project.0,
        experiment.as_str(),
        learning.learning,
        learning.author,
        learning.created_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Finds what was learned.
pub async fn load_learning(
    connection: &mut PgConnection,
    project: ProjectId,
    experiment: &ResourceName,
) -> Result<Option<Learning>> {
    let learning = sqlx::query_as!(
        Learning,
        "SELECT learning, author, created_at FROM experiments.learnings
         WHERE project_id = $1 AND experiment = $2",
        project.0,
        experiment.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(learning)
}
