//! Which user an anonymous id belongs to.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use sqlx::PgConnection;

use crate::Result;

/// Facts about distinct anonymous ids, column by column.
#[derive(Clone, Debug, Default)]
pub struct LinkFacts {
    /// The anonymous ids, each once.
    pub anonymous_ids: Vec<String>,
    /// The users they are linked to.
    pub user_ids: Vec<String>,
    /// Effective times of the facts.
    pub linked_at: Vec<DateTime<Utc>>,
    /// Positions of the facts.
    pub positions: Vec<i64>,
}

/// A link that holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// The anonymous id.
    pub anonymous_id: String,
    /// The user it belongs to.
    pub user_id: String,
    /// Effective time of the fact.
    pub linked_at: DateTime<Utc>,
}

/// Adds facts to the map: a fact holds when it is stronger than what the map
/// has. Returns the links that hold afterwards for these anonymous ids.
///
/// The caller holds the lock of the project's head, so nobody else changes the
/// map. Every anonymous id whose user changes gets the next version; one whose
/// user stays keeps its own, because readers need not learn of it.
pub async fn link(
    connection: &mut PgConnection,
    project: ProjectId,
    identity_version: i64,
    facts: &LinkFacts,
) -> Result<Vec<Link>> {
    let links = sqlx::query_file_as!(
        Link,
        "src/ingestion/link.sql",
        project.0,
        &facts.anonymous_ids,
        &facts.user_ids,
        &facts.linked_at,
        &facts.positions,
        identity_version,
    )
    .fetch_all(connection)
    .await?;
    Ok(links)
}

/// The user an anonymous id belongs to.
pub async fn find_user(
    connection: &mut PgConnection,
    project: ProjectId,
    anonymous_id: &str,
) -> Result<Option<String>> {
    let user = sqlx::query_scalar!(
        "SELECT user_id FROM ingestion.identity_links
         WHERE project_id = $1 AND anonymous_id = $2",
        project.0,
        anonymous_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(user)
}

/// The anonymous ids of a user, sorted by their bytes.
pub async fn anonymous_ids(
    connection: &mut PgConnection,
    project: ProjectId,
    user_id: &str,
) -> Result<Vec<String>> {
    let ids = sqlx::query_scalar!(
        "SELECT anonymous_id FROM ingestion.identity_links
         WHERE project_id = $1 AND user_id = $2 ORDER BY anonymous_id",
        project.0,
        user_id,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids)
}
