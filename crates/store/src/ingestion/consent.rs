//! What subjects agreed to and withdrew, and how many events were refused for
//! want of it.

use chrono::{DateTime, NaiveDate, Utc};
use northstar_domain::ProjectId;
use northstar_domain::identity::Identifier;
use sqlx::PgConnection;

use super::SourceId;
use crate::Result;

/// A word about a purpose, on its way into the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewWord {
    /// Whose.
    pub identifier: Identifier,
    /// About what.
    pub purpose: String,
    /// Whether it is yes.
    pub granted: bool,
    /// When it was said.
    pub effective_at: DateTime<Utc>,
    /// Position of the event that says so; `None` when a person recorded it.
    pub position: Option<i64>,
}

/// The last word of an identifier about a purpose.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LastWord {
    /// Kind of the identifier.
    pub kind: String,
    /// Its value.
    pub value: String,
    /// The purpose.
    pub purpose: String,
    /// Whether it was yes.
    pub granted: bool,
    /// When it was said.
    pub effective_at: DateTime<Utc>,
    /// Who recorded it; empty for an event.
    pub actor: String,
}

/// The last words of identifiers, about every purpose.
pub async fn last_words(
    connection: &mut PgConnection,
    project: ProjectId,
    identifiers: &[Identifier],
) -> Result<Vec<LastWord>> {
    let (kinds, values): (Vec<String>, Vec<String>) = identifiers
        .iter()
        .map(|identifier| (identifier.kind.to_string(), identifier.value.clone()))
        .unzip();
    let words = sqlx::query_as!(
        LastWord,
        r#"SELECT DISTINCT ON (fact.kind, fact.value, fact.purpose) fact.kind, fact.value,
               fact.purpose, fact.granted, fact.effective_at, fact.actor
           FROM unnest($2::text[], $3::text[]) AS asked (kind, value)
           JOIN ingestion.consent_facts fact
               ON fact.project_id = $1 AND fact.kind = asked.kind AND fact.value = asked.value
           ORDER BY fact.kind, fact.value, fact.purpose, fact.effective_at DESC, fact.granted"#,
        project.0,
        &kinds,
        &values,
    )
    .fetch_all(connection)
    .await?;
    Ok(words)
}

/// Adds words, one version each, and returns the version after. The caller holds
/// the lock of the project's head.
pub async fn add(
    connection: &mut PgConnection,
    project: ProjectId,
    words: &[NewWord],
    recorded_at: DateTime<Utc>,
    actor: &str,
    reason: &str,
) -> Result<i64> {
    let column = |of: fn(&NewWord) -> &str| -> Vec<String> {
        words.iter().map(|word| of(word).to_owned()).collect()
    };
    let kinds = column(|word| word.identifier.kind.as_str());
    let values = column(|word| &word.identifier.value);
    let purposes = column(|word| &word.purpose);
    let granted: Vec<bool> = words.iter().map(|word| word.granted).collect();
    let effective_at: Vec<DateTime<Utc>> = words.iter().map(|word| word.effective_at).collect();
    let positions: Vec<Option<i64>> = words.iter().map(|word| word.position).collect();
    let count = i64::try_from(words.len()).unwrap_or(i64::MAX);
    let version = sqlx::query_scalar!(
        "UPDATE ingestion.log_heads SET consent_version = consent_version + $2
         WHERE project_id = $1 RETURNING consent_version",
        project.0,
        count,
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO ingestion.consent_facts
             (project_id, version, kind, value, purpose, granted, effective_at, recorded_at,
              position, actor, reason)
         SELECT $1, $2 + number, kind, value, purpose, granted, effective_at, $9, position, $10, $11
         FROM unnest($3::text[], $4::text[], $5::text[], $6::boolean[], $7::timestamptz[],
                 $8::bigint[])
             WITH ORDINALITY
             AS new (kind, value, purpose, granted, effective_at, position, number)",
        project.0,
        version - count,
        &kinds,
        &values,
        &purposes,
        &granted,
        &effective_at,
        &positions as &[Option<i64>],
        recorded_at,
        actor,
        reason,
    )
    .execute(connection)
    .await?;
    Ok(version)
}

/// Events of one source that were refused on one day.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusals {
    /// Name of the source.
    pub source: String,
    /// Why.
    pub reason: String,
    /// The day, in UTC.
    pub day: NaiveDate,
    /// How many.
    pub events: i64,
}

/// Counts events that were refused for region or consent.
pub async fn count_refusals(
    connection: &mut PgConnection,
    project: ProjectId,
    source: SourceId,
    reason: &str,
    day: NaiveDate,
    events: i64,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO ingestion.refusals AS known (project_id, source_id, reason, day, events)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (project_id, source_id, reason, day)
             DO UPDATE SET events = known.events + excluded.events",
        project.0,
        source.0,
        reason,
        day,
        events,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The newest counts of a project, at most 1,000.
pub async fn refusals(connection: &mut PgConnection, project: ProjectId) -> Result<Vec<Refusals>> {
    let rows = sqlx::query_as!(
        Refusals,
        "SELECT name AS source, reason, day, events
         FROM ingestion.refusals JOIN ingestion.sources USING (project_id, source_id)
         WHERE project_id = $1 ORDER BY day DESC, name, reason LIMIT 1000",
        project.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}
