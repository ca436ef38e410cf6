//! The log of evaluations: every one, with all that went into it.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::kpi::Freshness;
use northstar_domain::threshold::{Effect, Gate, Observation, Reading, State, Threshold};
use serde::Serialize;
use sqlx::PgConnection;

use super::state::Lease;
use super::{corrupt, json, read};
use crate::page::PageSize;
use crate::{Error, Result};

const EVALUATIONS: &str = "metrics.threshold_evaluations";

/// An evaluation, with all that went into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    /// Name of the threshold.
    pub name: String,
    /// Number in the log of the threshold, from 1.
    pub sequence: i64,
    /// Version of the threshold.
    pub version: i64,
    /// The threshold as it was.
    pub document: Threshold,
    /// The evaluation time.
    pub evaluated_at: DateTime<Utc>,
    /// When it was done.
    pub created_at: DateTime<Utc>,
    /// What was observed, oldest first.
    pub observations: Vec<Observation>,
    /// State of the sources.
    pub freshness: Freshness,
    /// What the newest observation says.
    pub reading: Reading,
    /// How many of the observations that count breach.
    pub breaches: u32,
    /// What kept the effect from being another.
    pub gates: Vec<Gate>,
    /// What was remembered before.
    pub state_before: State,
    /// What is remembered after it.
    pub state_after: State,
    /// What followed.
    pub effect: Effect,
    /// How much of the log was covered.
    pub log_position: i64,
    /// Where the newest value comes from: an encoded `Provenance`.
    pub provenance: Vec<u8>,
}

/// A word of an enum as its JSON writes it.
fn word<T: Serialize>(value: &T) -> String {
    json(value).as_str().unwrap_or_default().to_owned()
}

/// Logs an evaluation, keeps what is remembered after it, gives the lease back and
/// says when the threshold is due next. Only under the lock of [`super::hold`].
pub async fn record(
    connection: &mut PgConnection,
    lease: &Lease,
    logged: &Logged,
    due_at: DateTime<Utc>,
) -> Result<()> {
    let gates: Vec<String> = logged.gates.iter().map(word).collect();
    sqlx::query!(
        "INSERT INTO metrics.threshold_evaluations
             (project_id, name, sequence, version, document, evaluated_at, created_at,
              observations, freshness, reading, breaches, gates, state_before, state_after,
              effect, has_effect, log_position, provenance)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
        lease.project.0,
        lease.name.as_str(),
        logged.sequence,
        logged.version,
        json(&logged.document),
        logged.evaluated_at,
        logged.created_at,
        json(&logged.observations),
        freshness_word(logged.freshness),
        word(&logged.reading),
        i32::try_from(logged.breaches).unwrap_or(i32::MAX),
        &gates,
        json(&logged.state_before),
        json(&logged.state_after),
        json(&logged.effect),
        logged.effect != Effect::None,
        logged.log_position,
        logged.provenance,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE metrics.threshold_states
         SET state = $4, sequence = $5, next_due_at = $6, lease_expires_at = NULL
         WHERE project_id = $1 AND name = $2 AND epoch = $3",
        lease.project.0,
        lease.name.as_str(),
        lease.epoch,
        json(&logged.state_after),
        logged.sequence,
        due_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn freshness_word(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Fresh => "fresh",
        Freshness::Stale => "stale",
        Freshness::Empty => "empty",
    }
}

fn read_freshness(word: &str) -> Option<Freshness> {
    [Freshness::Fresh, Freshness::Stale, Freshness::Empty]
        .into_iter()
        .find(|freshness| freshness_word(*freshness) == word)
}

struct Row {
    name: String,
    sequence: i64,
    version: i64,
    document: serde_json::Value,
    evaluated_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    observations: serde_json::Value,
    freshness: String,
    reading: String,
    breaches: i32,
    gates: Vec<String>,
    state_before: serde_json::Value,
    state_after: serde_json::Value,
    effect: serde_json::Value,
    log_position: i64,
    provenance: Vec<u8>,
}

impl TryFrom<Row> for Logged {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let key = format!("{}/{}", row.name, row.sequence);
        Ok(Self {
            document: read(EVALUATIONS, "document", &key, row.document)?,
            observations: read(EVALUATIONS, "observations", &key, row.observations)?,
            freshness: read_freshness(&row.freshness)
                .ok_or_else(|| corrupt(EVALUATIONS, "freshness", key.clone(), &row.freshness))?,
            reading: read(EVALUATIONS, "reading", &key, row.reading.into())?,
            gates: row
                .gates
                .into_iter()
                .map(|gate| read(EVALUATIONS, "gates", &key, gate.into()))
                .collect::<Result<_>>()?,
            state_before: read(EVALUATIONS, "state_before", &key, row.state_before)?,
            state_after: read(EVALUATIONS, "state_after", &key, row.state_after)?,
            effect: read(EVALUATIONS, "effect", &key, row.effect)?,
            breaches: u32::try_from(row.breaches)
                .map_err(|_| corrupt(EVALUATIONS, "breaches", key.clone(), row.breaches))?,
            name: row.name,
            sequence: row.sequence,
            version: row.version,
            evaluated_at: row.evaluated_at,
            created_at: row.created_at,
            log_position: row.log_position,
            provenance: row.provenance,
        })
    }
}

/// Lists evaluations, newest first, before the given number.
pub async fn list_evaluations(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
    before: Option<i64>,
    effects_only: bool,
    size: PageSize,
) -> Result<Vec<Logged>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT name, sequence, version, document, evaluated_at, created_at, observations,
                freshness, reading, breaches, gates, state_before, state_after, effect,
                log_position, provenance
         FROM metrics.threshold_evaluations
         WHERE project_id = $1 AND name = $2 AND ($3::bigint IS NULL OR sequence < $3)
               AND (has_effect OR NOT $4)
         ORDER BY sequence DESC LIMIT $5",
        project.0,
        name,
        before,
        effects_only,
        size.limit(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Logged::try_from).collect()
}

/// The next evaluations of a stretch of time, oldest first, after the given
/// number.
pub async fn next_evaluations(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
    after: i64,
    start: Option<DateTime<Utc>>,
    end: Option<DateTime<Utc>>,
    limit: i64,
) -> Result<Vec<Logged>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT name, sequence, version, document, evaluated_at, created_at, observations,
                freshness, reading, breaches, gates, state_before, state_after, effect,
                log_position, provenance
         FROM metrics.threshold_evaluations
         WHERE project_id = $1 AND name = $2 AND sequence > $3
               AND ($4::timestamptz IS NULL OR evaluated_at >= $4)
               AND ($5::timestamptz IS NULL OR evaluated_at < $5)
         ORDER BY sequence LIMIT $6",
        project.0,
        name,
        after,
        start,
        end,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Logged::try_from).collect()
}
