//! Runs in the hands of workers: leased with a fence, settled in bulk.

use chrono::{DateTime, Utc};
use northstar_domain::run::Settlement;
use northstar_domain::{ProjectId, RunId};
use sqlx::PgConnection;

use crate::Result;

/// A run that a worker holds.
#[derive(Clone, Debug, PartialEq)]
pub struct LeasedRun {
    /// Its id.
    pub id: RunId,
    /// Its project.
    pub project: ProjectId,
    /// Its automation.
    pub automation: String,
    /// The activation it keeps to.
    pub activation: i32,
    /// The subject.
    pub subject: String,
    /// Whether the subject is an anonymous id.
    pub anonymous: bool,
    /// Position of the event that set it off.
    pub trigger_position: i64,
    /// Effective time of that event.
    pub trigger_at: DateTime<Utc>,
    /// Name of that event.
    pub trigger_event: String,
    /// Properties of that event.
    pub trigger_properties: serde_json::Value,
    /// Attempts, this one included.
    pub attempts: i32,
    /// Actions that an earlier attempt has done.
    pub actions_done: i32,
    /// The last error; empty when none.
    pub last_error: String,
    /// Number of this lease.
    pub fence: i64,
    /// When the run was made.
    pub created_at: DateTime<Utc>,
    /// When the lease ends.
    pub lease_expires_at: DateTime<Utc>,
}

/// A run that a worker is done with for now.
#[derive(Clone, Debug, PartialEq)]
pub struct SettledRun {
    /// Its id.
    pub id: RunId,
    /// Number of the lease it was held under.
    pub fence: i64,
    /// Actions that are done.
    pub actions_done: i32,
    /// What becomes of it.
    pub settlement: Settlement,
}

struct Row {
    run_id: uuid::Uuid,
    project_id: i32,
    automation: String,
    activation: i32,
    subject: String,
    anonymous: bool,
    trigger_position: i64,
    trigger_at: DateTime<Utc>,
    trigger_event: String,
    trigger_properties: serde_json::Value,
    attempts: i32,
    actions_done: i32,
    last_error: String,
    fence: i64,
    created_at: DateTime<Utc>,
}

/// Takes up to `limit` runs that are due, longest waiting first: runs that wait
/// for an attempt, and runs whose worker let its lease end.
pub async fn lease(
    connection: &mut PgConnection,
    limit: i64,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Vec<LeasedRun>> {
    let rows = sqlx::query_as!(
        Row,
        "WITH due AS (
             SELECT run_id FROM automations.runs WHERE due_at <= $1
             ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
         )
         UPDATE automations.runs AS run
         SET state = 'running', attempts = attempts + 1, fence = fence + 1, due_at = $2
         FROM due WHERE run.run_id = due.run_id
         RETURNING run.run_id, project_id, automation, activation, subject, anonymous,
                   trigger_position, trigger_at, trigger_event, trigger_properties, attempts,
                   actions_done, last_error, fence, created_at",
        now,
        until,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let leased = rows.into_iter().map(|row| LeasedRun {
        id: RunId(row.run_id),
        project: ProjectId(row.project_id),
        automation: row.automation,
        activation: row.activation,
        subject: row.subject,
        anonymous: row.anonymous,
        trigger_position: row.trigger_position,
        trigger_at: row.trigger_at,
        trigger_event: row.trigger_event,
        trigger_properties: row.trigger_properties,
        attempts: row.attempts,
        actions_done: row.actions_done,
        last_error: row.last_error,
        fence: row.fence,
        created_at: row.created_at,
        lease_expires_at: until,
    });
    Ok(leased.collect())
}

/// Keeps a lease, and the progress made under it. `false` when it was lost:
/// then the run belongs to another worker.
pub async fn renew_lease(
    connection: &mut PgConnection,
    run: RunId,
    fence: i64,
    actions_done: i32,
    until: DateTime<Utc>,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE automations.runs SET due_at = $4, actions_done = $3
         WHERE run_id = $1 AND fence = $2 AND state = 'running'",
        run.0,
        fence,
        actions_done,
        until,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes what became of runs. Returns the ids of those it wrote: the others
/// were leased to another worker meanwhile, and this one's word on them counts
/// for nothing.
pub async fn settle(
    connection: &mut PgConnection,
    runs: &[SettledRun],
    now: DateTime<Utc>,
) -> Result<Vec<RunId>> {
    let ids: Vec<_> = runs.iter().map(|run| run.id.0).collect();
    let fences: Vec<_> = runs.iter().map(|run| run.fence).collect();
    let done: Vec<_> = runs.iter().map(|run| run.actions_done).collect();
    let states: Vec<_> =
        runs.iter().map(|run| run.settlement.state().as_str().to_owned()).collect();
    let errors: Vec<_> = runs.iter().map(|run| run.settlement.error().to_owned()).collect();
    let due: Vec<Option<DateTime<Utc>>> = runs
        .iter()
        .map(|run| match &run.settlement {
            Settlement::Retry { at, .. } => Some(*at),
            Settlement::Succeeded | Settlement::DeadLetter { .. } => None,
        })
        .collect();
    let written = sqlx::query_scalar!(
        "UPDATE automations.runs AS run
         SET state = settled.state, actions_done = settled.actions_done,
             last_error = settled.last_error, due_at = settled.due_at,
             finished_at = CASE WHEN settled.due_at IS NULL THEN $7::timestamptz END
         FROM unnest($1::uuid[], $2::bigint[], $3::integer[], $4::text[], $5::text[],
                     $6::timestamptz[])
              AS settled (run_id, fence, actions_done, state, last_error, due_at)
         WHERE run.run_id = settled.run_id AND run.fence = settled.fence
               AND run.state = 'running'
         RETURNING run.run_id",
        &ids,
        &fences,
        &done,
        &states,
        &errors,
        &due as &[Option<DateTime<Utc>>],
        now,
    )
    .fetch_all(connection)
    .await?;
    Ok(written.into_iter().map(RunId).collect())
}
