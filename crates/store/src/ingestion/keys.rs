//! Which message ids are in the log.

use std::collections::HashMap;

use northstar_domain::ProjectId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{SourceId, copy};
use crate::{Error, Result};

/// The event that holds a message id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Key {
    /// Its position.
    pub position: i64,
    /// Digest of its body.
    pub body_hash: Uuid,
}

/// A message id to be taken.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct NewKey {
    /// The project.
    pub project: ProjectId,
    /// The source.
    pub source: SourceId,
    /// Hash of the message id.
    pub message_hash: Uuid,
    /// Digest of the body.
    pub body_hash: Uuid,
    /// The event's position.
    pub position: i64,
}

/// Which of these message ids are taken, and by what. Call
/// [`super::prefer_indexes`] before.
pub async fn find(
    connection: &mut PgConnection,
    project: ProjectId,
    source: SourceId,
    message_hashes: &[Uuid],
) -> Result<HashMap<Uuid, Key>> {
    // One index look-up per id, whatever the statistics say: with `= ANY` a plan
    // made while the table was small reads every key of the source and compares
    // each with each.
    let rows = sqlx::query!(
        r#"SELECT taken.message_hash, taken.body_hash, taken.position
           FROM unnest($3::uuid[]) AS wanted (message_hash)
           CROSS JOIN LATERAL (
               SELECT message_hash, body_hash, position FROM ingestion.event_keys
               WHERE project_id = $1 AND source_id = $2
                   AND message_hash = wanted.message_hash
               LIMIT 1
           ) AS taken"#,
        project.0,
        source.0,
        message_hashes,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.message_hash, Key { position: row.position, body_hash: row.body_hash }))
        .collect())
}

/// Takes message ids. They must be sorted, so that two processes that take the
/// same ids wait for one another in the same order and do not deadlock.
///
/// # Errors
/// [`Error::Conflict`] when one is taken since [`find`]: roll back, and begin
/// again.
pub async fn insert(connection: &mut PgConnection, keys: &[NewKey]) -> Result<u64> {
    debug_assert!(keys.is_sorted(), "keys are inserted in order");
    let mut keys = keys.iter();
    let copied = copy::copy(
        connection,
        "COPY ingestion.event_keys (project_id, source_id, message_hash, body_hash, position)
         FROM STDIN (FORMAT binary)",
        |out| {
            let Some(key) = keys.next() else { return false };
            copy::begin_row(out, 5);
            copy::integer(out, key.project.0);
            copy::integer(out, key.source.0);
            copy::uuid(out, key.message_hash);
            copy::uuid(out, key.body_hash);
            copy::bigint(out, key.position);
            true
        },
    )
    .await;
    match copied {
        Err(Error::Database(error))
            if error
                .as_database_error()
                .is_some_and(|error| error.constraint() == Some("event_keys_pkey")) =>
        {
            Err(Error::Conflict(error))
        }
        copied => copied,
    }
}
