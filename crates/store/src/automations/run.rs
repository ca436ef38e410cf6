//! Runs as people look at them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use northstar_domain::run::RunState;
use northstar_domain::{ProjectId, ResourceName, RunId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::page::PageSize;
use crate::{Error, Result};

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Its automation.
    pub automation: String,
    /// The subject.
    pub subject: String,
    /// Position of the event that set it off.
    pub trigger_position: i64,
    /// Effective time of that event.
    pub trigger_at: DateTime<Utc>,
    /// Where it is in its life.
    pub state: RunState,
    /// Attempts since it was made or redriven.
    pub attempts: i32,
    /// The last error; empty when none.
    pub last_error: String,
    /// When it is tried next; `None` unless it waits.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// Which runs to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunFilter {
    /// Only this state.
    pub state: Option<RunState>,
    /// Only runs made before this one.
    pub before: Option<RunId>,
}

/// Runs by state.
pub type Counts = BTreeMap<&'static str, i64>;

struct Row {
    run_id: Uuid,
    automation: String,
    subject: String,
    trigger_position: i64,
    trigger_at: DateTime<Utc>,
    state: String,
    attempts: i32,
    last_error: String,
    due_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for Run {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let state = parse_state(&row.state, &row.run_id.to_string())?;
        Ok(Self {
            id: RunId(row.run_id),
            automation: row.automation,
            subject: row.subject,
            trigger_position: row.trigger_position,
            trigger_at: row.trigger_at,
            state,
            attempts: row.attempts,
            last_error: row.last_error,
            next_attempt_at: row.due_at.filter(|_| state == RunState::Pending),
            created_at: row.created_at,
            finished_at: row.finished_at,
        })
    }
}

/// Lists runs, newest first.
pub async fn list_runs(
    connection: &mut PgConnection,
    project: ProjectId,
    automation: &ResourceName,
    filter: RunFilter,
    size: PageSize,
) -> Result<Vec<Run>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT run_id, automation, subject, trigger_position, trigger_at, state, attempts,
                last_error, due_at, created_at, finished_at
         FROM automations.runs
         WHERE project_id = $1 AND automation = $2
               AND ($3::text IS NULL OR state = $3)
               AND ($4::uuid IS NULL OR run_id < $4)
         ORDER BY run_id DESC LIMIT $5",
        project.0,
        automation.as_str(),
        filter.state.map(RunState::as_str),
        filter.before.map(|run| run.0),
        size.limit(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Run::try_from).collect()
}

/// How many runs are in each state; every state is there.
pub async fn count_by_state(
    connection: &mut PgConnection,
    project: ProjectId,
    automation: &ResourceName,
) -> Result<Counts> {
    let rows = sqlx::query!(
        r#"SELECT state, count(*) AS "count!" FROM automations.runs
           WHERE project_id = $1 AND automation = $2 GROUP BY state"#,
        project.0,
        automation.as_str(),
    )
    .fetch_all(connection)
    .await?;
    let mut counts: Counts = RunState::ALL.into_iter().map(|state| (state.as_str(), 0)).collect();
    for row in rows {
        let state = parse_state(&row.state, automation.as_str())?;
        counts.insert(state.as_str(), row.count);
    }
    Ok(counts)
}

/// Puts dead letters back in the queue, with all attempts before them: those
/// named, or all of the automation.
pub async fn redrive(
    connection: &mut PgConnection,
    project: ProjectId,
    automation: &ResourceName,
    runs: Option<&[Uuid]>,
    now: DateTime<Utc>,
) -> Result<u64> {
    let done = sqlx::query!(
        "UPDATE automations.runs
         SET state = 'pending', attempts = 0, due_at = $4, finished_at = NULL
         WHERE project_id = $1 AND automation = $2 AND state = 'dead_letter'
               AND ($3::uuid[] IS NULL OR run_id = ANY($3))",
        project.0,
        automation.as_str(),
        runs,
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Whether events that tell of runs of an automation still wait to be sent to
/// the log.
pub async fn has_unsent_events(
    connection: &mut PgConnection,
    project: ProjectId,
    automation: &ResourceName,
) -> Result<bool> {
    let waiting = sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM automations.outbox
               WHERE project_id = $1 AND properties ->> 'automation' = $2 AND refusal IS NULL
           ) AS "waiting!""#,
        project.0,
        automation.as_str(),
    )
    .fetch_one(connection)
    .await?;
    Ok(waiting)
}

fn parse_state(state: &str, row: &str) -> Result<RunState> {
    state.parse().map_err(|_| Error::Corrupt {
        table: "automations.runs",
        column: "state",
        row: row.to_owned(),
        value: state.to_owned(),
    })
}
