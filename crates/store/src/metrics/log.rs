//! The log and the identity map, as metrics may read them.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt as _};
use northstar_domain::ProjectId;
use northstar_domain::consent_policy::ConsentPolicy;
use northstar_domain::source::State;
use sqlx::PgConnection;

use crate::block::Block;
use crate::ingestion::log::corrupt;
use crate::ingestion::subject_policies::{self, Kind, Stored};
use crate::{Error, Result};

/// How far the log of a project has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Head {
    /// Highest committed position; every smaller one is committed too.
    pub position: i64,
    /// Version of the identity map.
    pub identity_version: i64,
    /// Version of what subjects agreed to.
    pub consent_version: i64,
    /// Version of the consent policy; 0 when there is none.
    pub consent_policy_version: i64,
    /// Grows with every erasure: what was read before holds erased data.
    pub erasure_version: i64,
}

/// What the holder of an identifier said about a purpose.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Word {
    /// Kind of the identifier.
    pub kind: String,
    /// The identifier.
    pub value: String,
    /// The purpose.
    pub purpose: String,
    /// Whether it was yes.
    pub granted: bool,
    /// When it was said.
    pub effective_at: DateTime<Utc>,
}

/// Some events of the log, one after the other.
#[derive(Clone, Debug)]
pub struct Events {
    /// Position of the first.
    pub first_position: i64,
    /// What they say, as columns.
    pub block: Block,
}

/// An identifier whose subject changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Kind of the identifier, for example `anonymous_id`.
    pub kind: String,
    /// The identifier.
    pub value: String,
    /// Kind of its subject's name, for example `user_id`.
    pub subject_kind: String,
    /// The name of its subject; its own when it stands alone again.
    pub subject: String,
}

/// How far the log has come; zero before the first event.
pub async fn head(connection: &mut PgConnection, project: ProjectId) -> Result<Head> {
    let head = sqlx::query_as!(
        Head,
        r#"SELECT head.position, head.identity_version, head.consent_version,
               head.erasure_version, coalesce(policy.version, 0) AS "consent_policy_version!"
           FROM ingestion.log_heads head
           LEFT JOIN ingestion.subject_policies policy
               ON policy.project_id = head.project_id AND policy.kind = 'consent'
           WHERE head.project_id = $1"#,
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

/// The identifiers whose subject changed after one version of the identity map
/// and not after another, each once with the subject it has at the latter.
pub async fn changes(
    connection: &mut PgConnection,
    project: ProjectId,
    after: i64,
    up_to: i64,
) -> Result<Vec<Change>> {
    let changes = sqlx::query_as!(
        Change,
        "SELECT DISTINCT ON (kind, value) kind, value, subject_kind, subject
         FROM ingestion.identity_changes
         WHERE project_id = $1 AND version > $2 AND version <= $3
         ORDER BY kind, value, version DESC",
        project.0,
        after,
        up_to,
    )
    .fetch_all(connection)
    .await?;
    Ok(changes)
}

/// What was said about purposes after one version of the consent facts and not
/// after another: of each identifier and purpose the last word.
pub async fn words(
    connection: &mut PgConnection,
    project: ProjectId,
    after: i64,
    up_to: i64,
) -> Result<Vec<Word>> {
    let words = sqlx::query_as!(
        Word,
        "SELECT DISTINCT ON (kind, value, purpose) kind, value, purpose, granted, effective_at
         FROM ingestion.consent_facts
         WHERE project_id = $1 AND version > $2 AND version <= $3
         ORDER BY kind, value, purpose, effective_at DESC, granted",
        project.0,
        after,
        up_to,
    )
    .fetch_all(connection)
    .await?;
    Ok(words)
}

/// The consent policy; one that asks for nothing when there is none.
pub async fn consent_policy(
    connection: &mut PgConnection,
    project: ProjectId,
) -> Result<ConsentPolicy> {
    let stored: Option<Stored<ConsentPolicy>> =
        subject_policies::find(connection, project, Kind::Consent).await?;
    Ok(stored.map(|stored| stored.policy).unwrap_or_default())
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
        "SELECT max(last_received_at) FROM ingestion.source_receipts WHERE project_id = $1",
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

/// What is known of whether sources deliver.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SourceStates {
    /// State of each judged source (event name empty) and event: source, event
    /// name, state.
    pub states: Vec<(String, String, State)>,
    /// Which source sends which event: source, event name. An empty event name
    /// stands for names that are not known one by one. Read only when something
    /// is judged.
    pub senders: Vec<(String, String)>,
}

/// The states of a project's sources, as ingestion last judged them.
pub async fn source_states(
    connection: &mut PgConnection,
    project: ProjectId,
) -> Result<SourceStates> {
    let rows = sqlx::query!(
        "SELECT source_name, event_name, state FROM ingestion.source_states
         WHERE project_id = $1 ORDER BY source_name, event_name",
        project.0,
    )
    .fetch_all(&mut *connection)
    .await?;
    if rows.is_empty() {
        return Ok(SourceStates::default());
    }
    let states = rows
        .into_iter()
        .map(|row| match row.state.parse() {
            Ok(state) => Ok((row.source_name, row.event_name, state)),
            Err(_) => Err(Error::Corrupt {
                table: "ingestion.source_states",
                column: "state",
                row: format!("{project}/{}/{}", row.source_name, row.event_name),
                value: row.state,
            }),
        })
        .collect::<Result<_>>()?;
    let senders = sqlx::query!(
        r#"SELECT source_name AS "source_name!", event_name AS "event_name!"
           FROM ingestion.source_events WHERE project_id = $1"#,
        project.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(SourceStates {
        states,
        senders: senders.into_iter().map(|row| (row.source_name, row.event_name)).collect(),
    })
}

/// A file with events that left the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ArchivedFile {
    /// Its URL.
    pub location: String,
    /// SHA-256 of its content.
    pub sha256: Vec<u8>,
    /// Last position in it.
    pub last_position: i64,
}

/// The files with events after a position that are no longer in the log, in the
/// order of positions. No more leave it until the transaction ends, so what is
/// not in these files is in the log.
pub async fn archived_files(
    connection: &mut PgConnection,
    project: ProjectId,
    after: i64,
) -> Result<Vec<ArchivedFile>> {
    // Whoever has read the table holds a lock on it that detaching waits for.
    sqlx::query_scalar!(
        "SELECT last_position FROM ingestion.event_blocks
         WHERE project_id = $1 AND last_position > $2 ORDER BY last_position LIMIT 1",
        project.0,
        after,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let files = sqlx::query_as!(
        ArchivedFile,
        "SELECT location, sha256, last_position FROM ingestion.archived_files
         WHERE project_id = $1 AND last_position > $2 AND detached_at IS NOT NULL
         ORDER BY first_position",
        project.0,
        after,
    )
    .fetch_all(connection)
    .await?;
    Ok(files)
}
