//! The log and the identity map, as metrics may read them.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt as _};
use northstar_domain::ProjectId;
use sqlx::PgConnection;

use crate::Result;
use crate::block::Block;
use crate::ingestion::log::corrupt;

/// How far the log of a project has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Head {
    /// Highest committed position; every smaller one is committed too.
    pub position: i64,
    /// Version of the identity map.
    pub identity_version: i64,
}

/// Some events of the log, one after the other.
#[derive(Clone, Debug)]
pub struct Events {
    /// Position of the first.
    pub first_position: i64,
    /// What they say, as columns.
    pub block: Block,
}

/// An anonymous id that belongs to a user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// The anonymous id.
    pub anonymous_id: String,
    /// The user.
    pub user_id: String,
}

/// How far the log has come; zero before the first event.
pub async fn head(connection: &mut PgConnection, project: ProjectId) -> Result<Head> {
    let head = sqlx::query_as!(
        Head,
        "SELECT position, identity_version FROM ingestion.log_heads WHERE project_id = $1",
        project.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(head.unwrap_or_default())
}

/// Streams the events after one position and up to another, in order and in
/// blocks; the first and the last may hold some that lie before and after.
///
/// Items are [`crate::Error::Corrupt`] for a block that cannot be read.
pub fn events(
    connection: &mut PgConnection,
    project: ProjectId,
    after: i64,
    up_to: i64,
) -> impl Stream<Item = Result<Events>> + Send {
    // Those that end on the way, and the one that goes on beyond.
    sqlx::query!(
        r#"SELECT first_position AS "first_position!", last_position AS "last_position!",
               content AS "content!"
           FROM (
               (SELECT first_position, last_position, content FROM ingestion.event_blocks
                WHERE project_id = $1 AND last_position > $2 AND last_position <= $3)
               UNION ALL
               (SELECT first_position, last_position, content FROM ingestion.event_blocks
                WHERE project_id = $1 AND last_position > $3
                ORDER BY last_position LIMIT 1)
           ) AS block
           WHERE first_position <= $3 ORDER BY last_position"#,
        project.0,
        after,
        up_to,
    )
    .fetch(connection)
    .map(move |row| -> Result<Events> {
        let row = row?;
        let first_position = row.first_position;
        let block = Block::open(row.content)
            .map_err(|not| corrupt(project, first_position, row.last_position, not))?;
        Ok(Events { first_position, block })
    })
}

/// The links that are newer than one version of the identity map and not newer
/// than another, oldest first.
pub async fn links(
    connection: &mut PgConnection,
    project: ProjectId,
    after: i64,
    up_to: i64,
) -> Result<Vec<Link>> {
    let links = sqlx::query_as!(
        Link,
        "SELECT anonymous_id, user_id FROM ingestion.identity_links
         WHERE project_id = $1 AND version > $2 AND version <= $3
         ORDER BY version, anonymous_id",
        project.0,
        after,
        up_to,
    )
    .fetch_all(connection)
    .await?;
    Ok(links)
}

/// Names of the sources by their numbers.
pub async fn sources(
    connection: &mut PgConnection,
    project: ProjectId,
) -> Result<HashMap<i32, String>> {
    let rows = sqlx::query!(
        "SELECT source_id, name FROM ingestion.sources WHERE project_id = $1",
        project.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.source_id, row.name)).collect())
}

/// When the newest event of any source was received.
pub async fn last_received_at(
    connection: &mut PgConnection,
    project: ProjectId,
) -> Result<Option<DateTime<Utc>>> {
    let newest = sqlx::query_scalar!(
        "SELECT max(last_received_at) FROM ingestion.source_counts WHERE project_id = $1",
        project.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(newest)
}

/// Events that wait in quarantine.
pub async fn quarantined(connection: &mut PgConnection, project: ProjectId) -> Result<i64> {
    let waiting = sqlx::query_scalar!(
        r#"SELECT coalesce(sum(waiting), 0)::bigint AS "waiting!"
           FROM ingestion.quarantine_counts WHERE project_id = $1"#,
        project.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(waiting)
}

/// Versions of the contracts by event name.
pub async fn contract_versions(
    connection: &mut PgConnection,
    project: ProjectId,
) -> Result<BTreeMap<String, String>> {
    let rows = sqlx::query!(
        "SELECT name, schema_version FROM ingestion.contracts WHERE project_id = $1",
        project.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.name, row.schema_version)).collect())
}
