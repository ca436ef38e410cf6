//! Facts about identifiers, and the map that follows from them.
//!
//! Whoever changes the map holds the lock of the project's head; so changes of
//! the map run one after the other, and its versions have no gaps.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::identity::{Fact, Identifier, IdentifierKind, SaidBy, Verb};
use sqlx::PgConnection;

use crate::{Error, Result};

/// A fact with its circumstances.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredFact {
    /// What it says.
    pub fact: Fact,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// Position of the event that shows it; `None` when a person said it.
    pub position: Option<i64>,
    /// Who said it; empty for an event.
    pub actor: String,
    /// Why; empty for an event.
    pub reason: String,
}

/// A link on its way into the store: an event that carries both ids.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ShownLink {
    /// The anonymous id.
    pub anonymous_id: String,
    /// The user.
    pub user_id: String,
    /// Effective time of the event.
    pub linked_at: DateTime<Utc>,
    /// Its position.
    pub position: i64,
}

/// What is known about the ids of a link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Neighbour {
    /// The anonymous id.
    pub anonymous_id: String,
    /// The user.
    pub user_id: String,
    /// Whether the same link is known from an event of that time or before.
    pub known: bool,
    /// The user with whom events showed the anonymous id first.
    pub first_user: Option<String>,
    /// When.
    pub first_at: Option<DateTime<Utc>>,
    /// Whether more is said of the anonymous id than events say.
    pub entangled: bool,
}

/// What a person says.
#[derive(Clone, Debug)]
pub struct NewStatement<'a> {
    /// What.
    pub verb: Verb,
    /// The first identifier; of a merge the one that is merged away.
    pub from: &'a Identifier,
    /// The second.
    pub to: &'a Identifier,
    /// From when on it holds.
    pub effective_at: DateTime<Utc>,
    /// When it is recorded.
    pub recorded_at: DateTime<Utc>,
    /// The merge that an unmerge takes back.
    pub undoes: Option<i64>,
    /// Who says it.
    pub actor: &'a str,
    /// Why.
    pub reason: &'a str,
}

/// An identifier whose subject is another from a version on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// The identifier.
    pub identifier: Identifier,
    /// Its subject.
    pub subject: Identifier,
}

/// What is known about the ids of links, in the order of the links.
pub async fn neighbours(
    connection: &mut PgConnection,
    project: ProjectId,
    links: &[ShownLink],
) -> Result<Vec<Neighbour>> {
    let anonymous_ids: Vec<String> = links.iter().map(|link| link.anonymous_id.clone()).collect();
    let user_ids: Vec<String> = links.iter().map(|link| link.user_id.clone()).collect();
    let linked_at: Vec<DateTime<Utc>> = links.iter().map(|link| link.linked_at).collect();
    let found = sqlx::query_file_as!(
        Neighbour,
        "src/ingestion/neighbours.sql",
        project.0,
        &anonymous_ids,
        &user_ids,
        &linked_at,
    )
    .fetch_all(connection)
    .await?;
    Ok(found)
}

/// Adds links shown by events.
pub async fn add_shown(
    connection: &mut PgConnection,
    project: ProjectId,
    links: &[ShownLink],
    recorded_at: DateTime<Utc>,
) -> Result<()> {
    if links.is_empty() {
        return Ok(());
    }
    let anonymous_ids: Vec<String> = links.iter().map(|link| link.anonymous_id.clone()).collect();
    let user_ids: Vec<String> = links.iter().map(|link| link.user_id.clone()).collect();
    let linked_at: Vec<DateTime<Utc>> = links.iter().map(|link| link.linked_at).collect();
    let positions: Vec<i64> = links.iter().map(|link| link.position).collect();
    sqlx::query!(
        "INSERT INTO ingestion.identity_facts
             (project_id, verb, from_kind, from_value, to_kind, to_value, effective_at,
              recorded_at, position)
         SELECT $1, 'link', 'anonymous_id', anonymous_id, 'user_id', user_id, linked_at, $6,
             position
         FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::bigint[])
             AS fact (anonymous_id, user_id, linked_at, position)",
        project.0,
        &anonymous_ids,
        &user_ids,
        &linked_at,
        &positions,
        recorded_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds what a person says and returns its number.
pub async fn add_statement(
    connection: &mut PgConnection,
    project: ProjectId,
    new: &NewStatement<'_>,
) -> Result<i64> {
    let id = sqlx::query_scalar!(
        "INSERT INTO ingestion.identity_facts
             (project_id, verb, from_kind, from_value, to_kind, to_value, effective_at,
              recorded_at, undoes, actor, reason)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         RETURNING fact_id",
        project.0,
        new.verb.as_str(),
        new.from.kind.as_str(),
        new.from.value,
        new.to.kind.as_str(),
        new.to.value,
        new.effective_at,
        new.recorded_at,
        new.undoes,
        new.actor,
        new.reason,
    )
    .fetch_one(connection)
    .await?;
    Ok(id)
}

struct FactRow {
    fact_id: i64,
    verb: String,
    from_kind: String,
    from_value: String,
    to_kind: String,
    to_value: String,
    effective_at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
    position: Option<i64>,
    undoes: Option<i64>,
    actor: String,
    reason: String,
}

impl TryFrom<FactRow> for StoredFact {
    type Error = Error;

    fn try_from(row: FactRow) -> Result<Self> {
        let corrupt = |column, value: &str| Error::Corrupt {
            table: "ingestion.identity_facts",
            column,
            row: row.fact_id.to_string(),
            value: value.to_owned(),
        };
        let kind = |column, text: &str| -> Result<IdentifierKind> {
            text.parse().map_err(|_| corrupt(column, text))
        };
        Ok(Self {
            fact: Fact {
                effective_at: row.effective_at,
                id: row.fact_id,
                verb: row.verb.parse().map_err(|()| corrupt("verb", &row.verb))?,
                from: Identifier {
                    kind: kind("from_kind", &row.from_kind)?,
                    value: row.from_value,
                },
                to: Identifier { kind: kind("to_kind", &row.to_kind)?, value: row.to_value },
                said_by: if row.position.is_some() { SaidBy::Event } else { SaidBy::Person },
                undoes: row.undoes,
            },
            recorded_at: row.recorded_at,
            position: row.position,
            actor: row.actor,
            reason: row.reason,
        })
    }
}

/// Every fact that names one of these identifiers, by number.
pub async fn facts_of(
    connection: &mut PgConnection,
    project: ProjectId,
    identifiers: &[Identifier],
) -> Result<Vec<StoredFact>> {
    let (kinds, values) = columns(identifiers);
    let rows = sqlx::query_as!(
        FactRow,
        r#"SELECT DISTINCT ON (fact_id) fact_id AS "fact_id!", verb AS "verb!",
               from_kind AS "from_kind!", from_value AS "from_value!", to_kind AS "to_kind!",
               to_value AS "to_value!", effective_at AS "effective_at!",
               recorded_at AS "recorded_at!", position, undoes, actor AS "actor!",
               reason AS "reason!"
           FROM unnest($2::text[], $3::text[]) AS asked (kind, value)
           CROSS JOIN LATERAL (
               SELECT * FROM ingestion.identity_facts
               WHERE project_id = $1 AND from_kind = asked.kind AND from_value = asked.value
               UNION ALL
               SELECT * FROM ingestion.identity_facts
               WHERE project_id = $1 AND to_kind = asked.kind AND to_value = asked.value
           ) fact
           ORDER BY fact_id"#,
        project.0,
        &kinds,
        &values,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(StoredFact::try_from).collect()
}

/// Every fact of a project, by number.
pub async fn all_facts(
    connection: &mut PgConnection,
    project: ProjectId,
) -> Result<Vec<StoredFact>> {
    let rows = sqlx::query_as!(
        FactRow,
        "SELECT fact_id, verb, from_kind, from_value, to_kind, to_value, effective_at, recorded_at,
             position, undoes, actor, reason
         FROM ingestion.identity_facts WHERE project_id = $1 ORDER BY fact_id",
        project.0,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(StoredFact::try_from).collect()
}

/// One fact.
pub async fn fact(
    connection: &mut PgConnection,
    project: ProjectId,
    id: i64,
) -> Result<Option<StoredFact>> {
    let row = sqlx::query_as!(
        FactRow,
        "SELECT fact_id, verb, from_kind, from_value, to_kind, to_value, effective_at, recorded_at,
             position, undoes, actor, reason
         FROM ingestion.identity_facts WHERE project_id = $1 AND fact_id = $2",
        project.0,
        id,
    )
    .fetch_optional(connection)
    .await?;
    row.map(StoredFact::try_from).transpose()
}

struct ChangeRow {
    kind: String,
    value: String,
    subject_kind: String,
    subject: String,
}

impl TryFrom<ChangeRow> for Change {
    type Error = Error;

    fn try_from(row: ChangeRow) -> Result<Self> {
        let kind = |column, text: &str| -> Result<IdentifierKind> {
            text.parse().map_err(|_| Error::Corrupt {
                table: "ingestion.identity_changes",
                column,
                row: row.value.clone(),
                value: text.to_owned(),
            })
        };
        Ok(Self {
            identifier: Identifier { kind: kind("kind", &row.kind)?, value: row.value.clone() },
            subject: Identifier {
                kind: kind("subject_kind", &row.subject_kind)?,
                value: row.subject,
            },
        })
    }
}

/// The subjects of identifiers at a version of the map; those that are their own
/// may be left out.
pub async fn subjects_of(
    connection: &mut PgConnection,
    project: ProjectId,
    identifiers: &[Identifier],
    version: i64,
) -> Result<Vec<Change>> {
    let (kinds, values) = columns(identifiers);
    let rows = sqlx::query_as!(
        ChangeRow,
        r#"SELECT asked.kind AS "kind!", asked.value AS "value!", last.subject_kind, last.subject
           FROM unnest($2::text[], $3::text[]) AS asked (kind, value)
           CROSS JOIN LATERAL (
               SELECT subject_kind, subject FROM ingestion.identity_changes change
               WHERE change.project_id = $1 AND change.kind = asked.kind
                   AND change.value = asked.value AND change.version <= $4
               ORDER BY change.version DESC LIMIT 1
           ) last"#,
        project.0,
        &kinds,
        &values,
        version,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Change::try_from).collect()
}

/// The identifiers of a subject at a version of the map, other than the one that
/// names it, in the order of kind and value.
pub async fn identifiers_of(
    connection: &mut PgConnection,
    project: ProjectId,
    subject: &Identifier,
    version: i64,
) -> Result<Vec<Identifier>> {
    let rows = sqlx::query_as!(
        ChangeRow,
        r#"SELECT ever.kind AS "kind!", ever.value AS "value!", last.subject_kind, last.subject
           FROM (
               SELECT DISTINCT kind, value FROM ingestion.identity_changes
               WHERE project_id = $1 AND subject_kind = $2 AND subject = $3 AND version <= $4
           ) ever
           CROSS JOIN LATERAL (
               SELECT subject_kind, subject FROM ingestion.identity_changes change
               WHERE change.project_id = $1 AND change.kind = ever.kind
                   AND change.value = ever.value AND change.version <= $4
               ORDER BY change.version DESC LIMIT 1
           ) last
           WHERE last.subject_kind = $2 AND last.subject = $3
           ORDER BY ever.kind, ever.value"#,
        project.0,
        subject.kind.as_str(),
        subject.value,
        version,
    )
    .fetch_all(connection)
    .await?;
    let changes: Result<Vec<Change>> = rows.into_iter().map(Change::try_from).collect();
    let mut identifiers: Vec<_> = changes?.into_iter().map(|change| change.identifier).collect();
    identifiers.retain(|identifier| identifier != subject);
    Ok(identifiers)
}

/// Every identifier whose subject is another.
pub async fn whole_map(connection: &mut PgConnection, project: ProjectId) -> Result<Vec<Change>> {
    let rows = sqlx::query_as!(
        ChangeRow,
        "SELECT DISTINCT ON (kind, value) kind, value, subject_kind, subject
         FROM ingestion.identity_changes WHERE project_id = $1
         ORDER BY kind, value, version DESC",
        project.0,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Change::try_from).collect()
}

/// The version of the map that was in force at a time.
pub async fn version_at(
    connection: &mut PgConnection,
    project: ProjectId,
    at: DateTime<Utc>,
) -> Result<i64> {
    let version = sqlx::query_scalar!(
        "SELECT max(version) FROM ingestion.identity_changes
         WHERE project_id = $1 AND recorded_at <= $2",
        project.0,
        at,
    )
    .fetch_one(connection)
    .await?;
    Ok(version.unwrap_or(0))
}

/// Locks the project's head until the transaction ends and returns the version
/// of its map. The first statement of whoever changes the map without writing
/// events.
pub async fn lock(connection: &mut PgConnection, project: ProjectId) -> Result<i64> {
    let version = sqlx::query_scalar!(
        "INSERT INTO ingestion.log_heads AS head (project_id, position, identity_version)
         VALUES ($1, 0, 0)
         ON CONFLICT (project_id) DO UPDATE SET position = head.position
         RETURNING identity_version",
        project.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(version)
}

/// Writes changes of the map, one version each, in the order given. `version` is
/// the one before; returns the one after. The caller holds the head's lock.
pub async fn change(
    connection: &mut PgConnection,
    project: ProjectId,
    version: i64,
    changes: &[Change],
    recorded_at: DateTime<Utc>,
) -> Result<i64> {
    if changes.is_empty() {
        return Ok(version);
    }
    let column = |of: fn(&Change) -> &str| -> Vec<String> {
        changes.iter().map(|change| of(change).to_owned()).collect()
    };
    let kinds = column(|change| change.identifier.kind.as_str());
    let values = column(|change| &change.identifier.value);
    let subject_kinds = column(|change| change.subject.kind.as_str());
    let subjects = column(|change| &change.subject.value);
    let last = version + i64::try_from(changes.len()).unwrap_or(i64::MAX);
    sqlx::query!(
        "WITH head AS (
             UPDATE ingestion.log_heads SET identity_version = $8 WHERE project_id = $1
         )
         INSERT INTO ingestion.identity_changes
             (project_id, version, kind, value, subject_kind, subject, recorded_at)
         SELECT $1, $2 + number, kind, value, subject_kind, subject, $7
         FROM unnest($3::text[], $4::text[], $5::text[], $6::text[])
             WITH ORDINALITY AS new (kind, value, subject_kind, subject, number)",
        project.0,
        version,
        &kinds,
        &values,
        &subject_kinds,
        &subjects,
        recorded_at,
        last,
    )
    .execute(connection)
    .await?;
    Ok(last)
}

fn columns(identifiers: &[Identifier]) -> (Vec<String>, Vec<String>) {
    identifiers
        .iter()
        .map(|identifier| (identifier.kind.to_string(), identifier.value.clone()))
        .unzip()
}
