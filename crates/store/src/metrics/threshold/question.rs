//! The questions of thresholds: asked once, and taken back when the value recovers
//! before anybody decided.

use chrono::{DateTime, Utc};
use northstar_domain::{DecisionRequestId, ProjectId, ResourceName};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

/// A question as it stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Question {
    /// The decision request; `None` before approvals has it.
    pub decision_request: Option<DecisionRequestId>,
    /// Why it could not be asked.
    pub refusal: Option<String>,
    /// What became of taking it back: `withdrawn`, or the state that a decision had
    /// left before.
    pub withdrawal: Option<String>,
}

/// The question of an episode.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewQuestion {
    /// Number of the episode.
    pub episode: u64,
    /// Under which id it is asked, so that approvals has it once.
    pub request_id: Uuid,
    /// An encoded `CreateDecisionRequestRequest`.
    pub request: Vec<u8>,
    /// Why it cannot be asked, when it cannot.
    pub refusal: Option<String>,
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
    /// How often it was tried, this time included.
    pub attempts: i32,
    /// Whether the value has recovered meanwhile.
    pub recovered: bool,
}

/// Writes the question of an episode, to be asked at once, unless it cannot be.
pub async fn put_question(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &ResourceName,
    question: &NewQuestion,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO metrics.threshold_requests
             (project_id, name, episode, request_id, request, created_at, due_at, refusal)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        project.0,
        name.as_str(),
        question.episode.cast_signed(),
        question.request_id,
        question.request,
        now,
        question.refusal.is_none().then_some(now),
        question.refusal,
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
        r#"WITH due AS (
             SELECT project_id, name, episode FROM metrics.threshold_requests
             WHERE due_at <= $1 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
         )
         UPDATE metrics.threshold_requests AS asked SET due_at = $2, attempts = attempts + 1
         FROM due WHERE asked.project_id = due.project_id AND asked.name = due.name
                        AND asked.episode = due.episode
         RETURNING asked.project_id, asked.name, asked.episode, asked.request, asked.attempts,
                   asked.withdraw_reason IS NOT NULL AS "recovered!""#,
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
        recovered: row.recovered,
    });
    Ok(unasked.collect())
}

/// What became of a question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Asked {
    /// Approvals has it.
    Taken(DecisionRequestId),
    /// It will never be asked.
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
         SET decision_request_id = $4, refusal = $5, due_at = $6,
             withdraw_due_at = CASE WHEN $5::text IS NULL THEN withdraw_due_at END
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

/// A question that is to be taken back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Withdrawal {
    /// The project.
    pub project: ProjectId,
    /// Name of the threshold.
    pub name: String,
    /// Number of the episode.
    pub episode: i64,
    /// The question.
    pub decision_request: DecisionRequestId,
    /// Why.
    pub reason: String,
}

/// Notes that the question of an episode is to be taken back. Nothing happens when
/// there is none, or it could not be asked.
pub async fn put_withdrawal(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &ResourceName,
    episode: u64,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE metrics.threshold_requests SET withdraw_reason = $4, withdraw_due_at = $5
         WHERE project_id = $1 AND name = $2 AND episode = $3
               AND withdraw_reason IS NULL AND refusal IS NULL",
        project.0,
        name.as_str(),
        episode.cast_signed(),
        reason,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes questions that approvals has and that are to be taken back, until `until`;
/// what another replica holds is left out.
pub async fn lease_withdrawals(
    connection: &mut PgConnection,
    limit: i64,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Vec<Withdrawal>> {
    let rows = sqlx::query!(
        r#"WITH due AS (
             SELECT project_id, name, episode FROM metrics.threshold_requests
             WHERE withdraw_due_at <= $1 AND decision_request_id IS NOT NULL
             ORDER BY withdraw_due_at LIMIT $3 FOR UPDATE SKIP LOCKED
         )
         UPDATE metrics.threshold_requests AS asked SET withdraw_due_at = $2
         FROM due WHERE asked.project_id = due.project_id AND asked.name = due.name
                        AND asked.episode = due.episode
         RETURNING asked.project_id, asked.name, asked.episode,
                   asked.decision_request_id AS "decision_request_id!",
                   asked.withdraw_reason AS "withdraw_reason!""#,
        now,
        until,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let withdrawals = rows.into_iter().map(|row| Withdrawal {
        project: ProjectId(row.project_id),
        name: row.name,
        episode: row.episode,
        decision_request: DecisionRequestId(row.decision_request_id),
        reason: row.withdraw_reason,
    });
    Ok(withdrawals.collect())
}

/// What became of taking a question back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Recovered {
    /// It ended in this state: withdrawn, or decided before.
    Settled(String),
    /// It is to be tried again.
    Again(DateTime<Utc>),
}

/// Writes what became of taking a question back.
pub async fn settle_withdrawal(
    connection: &mut PgConnection,
    withdrawal: &Withdrawal,
    recovered: &Recovered,
) -> Result<()> {
    let (outcome, due_at) = match recovered {
        Recovered::Settled(state) => (Some(state.as_str()), None),
        Recovered::Again(at) => (None, Some(*at)),
    };
    sqlx::query!(
        "UPDATE metrics.threshold_requests SET withdraw_outcome = $4, withdraw_due_at = $5
         WHERE project_id = $1 AND name = $2 AND episode = $3 AND withdraw_due_at IS NOT NULL",
        withdrawal.project.0,
        withdrawal.name,
        withdrawal.episode,
        outcome,
        due_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}
