//! Where thresholds are, when they are evaluated next, and which replica does it.

use chrono::{DateTime, Utc};
use northstar_domain::threshold::State;
use northstar_domain::{DecisionRequestId, ProjectId, ResourceName};
use sqlx::PgConnection;

use super::question::Question;
use super::{corrupt, read};
use crate::Result;

const STATES: &str = "metrics.threshold_states";

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
                  asked.episode AS "episode?", asked.decision_request_id, asked.refusal,
                  asked.withdraw_outcome
           FROM metrics.threshold_states AS kept
           LEFT JOIN LATERAL (
               SELECT episode, decision_request_id, refusal, withdraw_outcome
               FROM metrics.threshold_requests AS asked
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
        withdrawal: row.withdraw_outcome,
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
