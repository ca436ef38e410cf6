//! The log and the identity map, as metrics may read them.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use futures::{Stream, TryStreamExt as _};
use northstar_domain::ProjectId;
use northstar_domain::consent_policy::ConsentPolicy;
use sqlx::PgConnection;

use crate::Result;
use crate::ingestion::subject_policies::{self, Kind, Stored};

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

/// An event, as far as numbers are computed from it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Position in the log.
    pub position: i64,
    /// Event name.
    pub name: String,
    /// Number of its source, see [`sources`].
    pub source: i32,
    /// Id of a known person.
    pub user_id: Option<String>,
    /// Id of a device or session.
    pub anonymous_id: Option<String>,
    /// Id of the account.
    pub account_id: Option<String>,
    /// The time every KPI uses.
    pub effective_at: DateTime<Utc>,
    /// Order given by the client among events of the same time.
    pub sequence: i64,
    /// A JSON object, as text.
    pub properties: String,
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

/// Streams the events after one position and up to another, in order.
pub fn events(
    connection: &mut PgConnection,
    project: ProjectId,
    after: i64,
    up_to: i64,
) -> impl Stream<Item = Result<Event>> + Send {
    sqlx::query_as!(
        Event,
        r#"SELECT position, name, source_id AS source, user_id, anonymous_id, account_id,
                  effective_at, sequence, properties::text AS "properties!"
           FROM ingestion.events
           WHERE project_id = $1 AND position > $2 AND position <= $3
           ORDER BY position"#,
        project.0,
        after,
        up_to,
    )
    .fetch(connection)
    .map_err(Into::into)
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
