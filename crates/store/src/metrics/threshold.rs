//! What thresholds remember, their evaluations, and the questions they ask.

use chrono::{DateTime, Utc};
use northstar_domain::kpi::Freshness;
use northstar_domain::threshold::{Effect, Gate, Observation, Reading, State, Threshold};
use northstar_domain::{DecisionRequestId, ProjectId, ResourceName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::PgConnection;
use uuid::Uuid;

use super::definition::Document;
use crate::page::PageSize;
use crate::{Error, Result};

impl Document for Threshold {
    const KIND: &'static str = "Threshold";
    const COLUMN: &'static str = "threshold";
}

/// Where a threshold is.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// What it remembers.
    pub state: State,
    /// When it is evaluated next; `None` while it is paused.
    pub next_due_at: Option<DateTime<Utc>>,
    /// Why it is paused, when it is.
    pub pause_reason: Option<String>,
    /// The question of its latest episode.
    pub question: Option<Question>,
}

/// A question as it stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Question {
    /// The decision request; `None` before approvals has it.
    pub decision_request: Option<DecisionRequestId>,
    /// Why approvals would not take it.
    pub refusal: Option<String>,
}

/// The right to evaluate a threshold once.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// Its project.
    pub project: ProjectId,
    /// Its name.
    pub name: ResourceName,
    /// Number of the lease; with an older one nothing can be written.
    pub epoch: i64,
    /// When it was due.
    pub due_at: DateTime<Utc>,
}

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

/// A question that approvals does not have yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unasked {
    /// The project.
    pub project: ProjectId,
    /// Name of the threshold.
    pub name: String,
    /// Number of the episode.
    pub episode: i64,
    /// An encoded `CreateDecisionRequestRequest`.
    pub request: Vec<u8>,
    /// How often it was tried before.
    pub attempts: i32,
}

fn corrupt(table: &'static str, column: &'static str, row: String, value: impl ToString) -> Error {
    Error::Corrupt { table, column, row, value: value.to_string() }
}

const STATES: &str = "metrics.threshold_states";
const EVALUATIONS: &str = "metrics.threshold_evaluations";

fn read<T: DeserializeOwned>(
    table: &'static str,
    column: &'static str,
    row: &str,
    json: serde_json::Value,
) -> Result<T> {
    serde_json::from_value(json).map_err(|error| corrupt(table, column, row.to_owned(), error))
}

fn json<T: Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).expect("states have string keys only")
}

/// A word of an enum as its JSON writes it.
fn word<T: Serialize>(value: &T) -> String {
    json(value).as_str().unwrap_or_default().to_owned()
}

/// Begins anew with a document: what was remembered belongs to another one. The
/// number of the episode goes on. A pause stays.
pub async fn begin(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &ResourceName,
    version: i64,
    due_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO metrics.threshold_states AS kept (project_id, name, version, state, next_due_at)
         VALUES ($1, $2, $3, '{}', $4)
         ON CONFLICT (project_id, name) DO UPDATE
         SET version = excluded.version,
             state = jsonb_build_object('episode', coalesce(kept.state->'episode', '0')),
             next_due_at = CASE WHEN kept.pause_reason IS NULL THEN excluded.next_due_at END,
             epoch = kept.epoch + 1, lease_expires_at = NULL",
        project.0,
        name.as_str(),
        version,
        due_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Another version of a document with the same rules: what is remembered stays.
pub async fn keep(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &ResourceName,
    version: i64,
) -> Result<()> {
    sqlx::query!(
        "UPDATE metrics.threshold_states SET version = $3 WHERE project_id = $1 AND name = $2",
        project.0,
        name.as_str(),
        version,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stops for good: the document is gone.
pub async fn end(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &ResourceName,
) -> Result<()> {
    sqlx::query!(
        "UPDATE metrics.threshold_states
         SET next_due_at = NULL, pause_reason = NULL, epoch = epoch + 1, lease_expires_at = NULL
         WHERE project_id = $1 AND name = $2",
        project.0,
        name.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stops the schedule, with a reason, or takes it up again at a time.
pub async fn set_schedule(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &ResourceName,
    schedule: &Schedule,
) -> Result<()> {
    let (reason, due_at) = match schedule {
        Schedule::Paused(reason) => (Some(reason.as_str()), None),
        Schedule::DueAt(at) => (None, Some(*at)),
    };
    sqlx::query!(
        "UPDATE metrics.threshold_states
         SET next_due_at = $4, pause_reason = $3, epoch = epoch + 1, lease_expires_at = NULL
         WHERE project_id = $1 AND name = $2",
        project.0,
        name.as_str(),
        reason,
        due_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a threshold is evaluated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Schedule {
    /// It is not, for a reason.
    Paused(String),
    /// It is, next at a time.
    DueAt(DateTime<Utc>),
}

/// Where a threshold is.
pub async fn standing(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
) -> Result<Option<Standing>> {
    let row = sqlx::query!(
        r#"SELECT kept.state, kept.next_due_at, kept.pause_reason,
                  asked.episode AS "episode?", asked.decision_request_id, asked.refusal
           FROM metrics.threshold_states AS kept
           LEFT JOIN LATERAL (
               SELECT episode, decision_request_id, refusal FROM metrics.threshold_requests AS asked
               WHERE asked.project_id = kept.project_id AND asked.name = kept.name
               ORDER BY episode DESC LIMIT 1
           ) AS asked ON true
           WHERE kept.project_id = $1 AND kept.name = $2"#,
        project.0,
        name,
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let question = row.episode.map(|_| Question {
        decision_request: row.decision_request_id.map(DecisionRequestId),
        refusal: row.refusal,
    });
    Ok(Some(Standing {
        state: read(STATES, "state", name, row.state)?,
        next_due_at: row.next_due_at,
        pause_reason: row.pause_reason,
        question,
    }))
}

/// Takes up to `limit` thresholds that are due, longest waiting first, for as
/// long as until `until`; what another replica holds is left out.
pub async fn lease(
    connection: &mut PgConnection,
    limit: i64,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Vec<Lease>> {
    let rows = sqlx::query!(
        r#"WITH due AS (
               SELECT project_id, name FROM metrics.threshold_states
               WHERE next_due_at <= $1 AND (lease_expires_at IS NULL OR lease_expires_at <= $1)
               ORDER BY next_due_at LIMIT $3 FOR UPDATE SKIP LOCKED
           )
           UPDATE metrics.threshold_states AS kept
           SET epoch = epoch + 1, lease_expires_at = $2
           FROM due WHERE kept.project_id = due.project_id AND kept.name = due.name
           RETURNING kept.project_id, kept.name, kept.epoch, kept.next_due_at AS "due_at!""#,
        now,
        until,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let name =
                row.name.parse().map_err(|_| corrupt(STATES, "name", row.name.clone(), ""))?;
            let project = ProjectId(row.project_id);
            Ok(Lease { project, name, epoch: row.epoch, due_at: row.due_at })
        })
        .collect()
}

/// Locks what a threshold remembers while the lease holds, until the transaction
/// ends: the number of its next evaluation and the state. `None` when the lease
/// was lost.
pub async fn hold(connection: &mut PgConnection, lease: &Lease) -> Result<Option<(i64, State)>> {
    let row = sqlx::query!(
        "SELECT sequence, state FROM metrics.threshold_states
         WHERE project_id = $1 AND name = $2 AND epoch = $3 FOR UPDATE",
        lease.project.0,
        lease.name.as_str(),
        lease.epoch,
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| Ok((row.sequence + 1, read(STATES, "state", lease.name.as_str(), row.state)?)))
        .transpose()
}

/// Gives the lease back and says when the threshold is due next.
pub async fn release(
    connection: &mut PgConnection,
    lease: &Lease,
    due_at: Option<DateTime<Utc>>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE metrics.threshold_states SET next_due_at = $4, lease_expires_at = NULL
         WHERE project_id = $1 AND name = $2 AND epoch = $3",
        lease.project.0,
        lease.name.as_str(),
        lease.epoch,
        due_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Logs an evaluation, keeps what is remembered after it, gives the lease back and
/// says when the threshold is due next. Only under the lock of [`hold`].
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

/// Writes the question of an episode, to be asked at once.
pub async fn put_question(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &ResourceName,
    episode: u64,
    request_id: Uuid,
    request: &[u8],
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO metrics.threshold_requests
             (project_id, name, episode, request_id, request, created_at, due_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6)",
        project.0,
        name.as_str(),
        episode.cast_signed(),
        request_id,
        request,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes questions that are to be asked, until `until`; what another replica holds
/// is left out.
pub async fn lease_questions(
    connection: &mut PgConnection,
    limit: i64,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Vec<Unasked>> {
    let rows = sqlx::query!(
        "WITH due AS (
             SELECT project_id, name, episode FROM metrics.threshold_requests
             WHERE due_at <= $1 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
         )
         UPDATE metrics.threshold_requests AS asked SET due_at = $2, attempts = attempts + 1
         FROM due WHERE asked.project_id = due.project_id AND asked.name = due.name
                        AND asked.episode = due.episode
         RETURNING asked.project_id, asked.name, asked.episode, asked.request, asked.attempts",
        now,
        until,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let unasked = rows.into_iter().map(|row| Unasked {
        project: ProjectId(row.project_id),
        name: row.name,
        episode: row.episode,
        request: row.request,
        attempts: row.attempts,
    });
    Ok(unasked.collect())
}

/// What became of a question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Asked {
    /// Approvals has it.
    Taken(DecisionRequestId),
    /// Approvals will never take it.
    Refused(String),
    /// It is to be asked again.
    Again(DateTime<Utc>),
}

/// Writes what became of a question.
pub async fn settle_question(
    connection: &mut PgConnection,
    question: &Unasked,
    asked: &Asked,
) -> Result<()> {
    let (decision, refusal, due_at) = match asked {
        Asked::Taken(decision) => (Some(decision.0), None, None),
        Asked::Refused(refusal) => (None, Some(refusal.as_str()), None),
        Asked::Again(at) => (None, None, Some(*at)),
    };
    // Another replica may have asked meanwhile, under the same id.
    sqlx::query!(
        "UPDATE metrics.threshold_requests
         SET decision_request_id = $4, refusal = $5, due_at = $6
         WHERE project_id = $1 AND name = $2 AND episode = $3 AND due_at IS NOT NULL",
        question.project.0,
        question.name,
        question.episode,
        decision,
        refusal,
        due_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}
