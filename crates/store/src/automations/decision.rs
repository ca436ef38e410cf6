//! Decisions about automations that were carried out, each once.

use chrono::{DateTime, Utc};
use northstar_domain::{DecisionRequestId, ProjectId};
use sqlx::PgConnection;

use crate::Result;

/// What carrying a decision out came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CarriedOut {
    /// The automation was paused.
    Paused,
    /// Its definition was replaced by the approved one.
    Applied,
    /// It did not act when the decision came.
    NotActive,
    /// Whoever decided wanted something else, which people do.
    Edited,
    /// There is no such automation.
    UnknownAutomation,
    /// The definition is no longer the one that was looked at.
    Outdated,
    /// What was approved breaks a rule.
    Refused,
}

impl CarriedOut {
    /// Its name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::NotActive => "not_active",
            Self::Edited => "edited",
            Self::UnknownAutomation => "unknown_automation",
            Self::Applied => "applied",
            Self::Outdated => "outdated",
            Self::Refused => "refused",
        }
    }
}

/// A decision that was carried out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DecisionRecord<'a> {
    /// The project.
    pub project: ProjectId,
    /// The decision request.
    pub decision: DecisionRequestId,
    /// Name of the automation.
    pub automation: &'a str,
    /// What was decided.
    pub action: &'a str,
    /// What it came to.
    pub outcome: CarriedOut,
    /// What stood in the way, in words; empty where nothing did.
    pub problem: &'a str,
}

/// Whether a decision was carried out before.
pub async fn is_carried_out(
    connection: &mut PgConnection,
    decision: DecisionRequestId,
) -> Result<bool> {
    let exists = sqlx::query_scalar!(
        r#"SELECT EXISTS (
             SELECT FROM automations.carried_out_decisions WHERE decision_request_id = $1
         ) AS "exists!""#,
        decision.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(exists)
}

/// Notes that a decision is carried out. `false` when it was before: then nothing
/// may be done.
pub async fn carry_out(
    connection: &mut PgConnection,
    record: &DecisionRecord<'_>,
    now: DateTime<Utc>,
) -> Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO automations.carried_out_decisions
             (decision_request_id, project_id, automation, action, outcome, carried_out_at,
              problem)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        record.decision.0,
        record.project.0,
        record.automation,
        record.action,
        record.outcome.as_str(),
        now,
        record.problem,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
