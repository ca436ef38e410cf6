//! Decision requests and their verdicts.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use northstar_domain::canonical_json::Digest;
use northstar_domain::decision::{
    DecisionKind, DecisionRequest, DecisionState, Diff, Evidence, Proposal, Verdict,
};
use northstar_domain::{DecisionRequestId, ProjectId};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::page::PageSize;
use crate::{Error, Result};

struct Row {
    decision_request_id: Uuid,
    project_id: i32,
    action: String,
    subject: String,
    summary: String,
    diff: String,
    diff_digest: Vec<u8>,
    evidence: Json<Vec<Evidence>>,
    author: String,
    diff_author: String,
    role: String,
    quorum: i32,
    state: String,
    review_cycle: i32,
    created_at: DateTime<Utc>,
    due_at: DateTime<Utc>,
    decided_at: Option<DateTime<Utc>>,
    kind: String,
    owner: String,
    withdraw_reason: Option<String>,
}

impl Row {
    fn with_verdicts(self, verdicts: Vec<Verdict>) -> Result<(ProjectId, DecisionRequest)> {
        let corrupt = |column, value: &dyn ToString| Error::Corrupt {
            table: "approvals.decision_requests",
            column,
            row: self.decision_request_id.to_string(),
            value: value.to_string(),
        };
        let diff = Diff::parse(&self.diff).map_err(|_| corrupt("diff", &self.diff))?;
        if diff.digest().as_bytes() != self.diff_digest {
            return Err(corrupt("diff_digest", &hex::encode(&self.diff_digest)));
        }
        let request = DecisionRequest {
            id: DecisionRequestId(self.decision_request_id),
            proposal: Proposal {
                kind: self.kind.parse().map_err(|_| corrupt("kind", &self.kind))?,
                owner: self.owner.clone(),
                action: self.action.parse().map_err(|_| corrupt("action", &self.action))?,
                diff,
                subject: self.subject.clone(),
                summary: self.summary.clone(),
                evidence: self.evidence.0.clone(),
            },
            author: self.author.clone(),
            diff_author: self.diff_author.clone(),
            role: self.role.parse().map_err(|_| corrupt("role", &self.role))?,
            quorum: self.quorum.try_into().map_err(|_| corrupt("quorum", &self.quorum))?,
            state: self.state.parse().map_err(|_| corrupt("state", &self.state))?,
            review_cycle: self
                .review_cycle
                .try_into()
                .map_err(|_| corrupt("review_cycle", &self.review_cycle))?,
            verdicts,
            created_at: self.created_at,
            due_at: self.due_at,
            decided_at: self.decided_at,
            withdraw_reason: self.withdraw_reason.clone(),
        };
        Ok((ProjectId(self.project_id), request))
    }
}

/// Stores a new request.
pub async fn insert_decision_request(
    connection: &mut PgConnection,
    project: ProjectId,
    request: &DecisionRequest,
) -> Result<()> {
    let proposal = &request.proposal;
    let digest = proposal.diff.digest();
    sqlx::query!(
        "INSERT INTO approvals.decision_requests
             (decision_request_id, project_id, action, subject, summary, diff, diff_digest,
              evidence, author, diff_author, role, quorum, state, review_cycle, created_at,
              due_at, decided_at, kind, owner)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                 $19)",
        request.id.0,
        project.0,
        proposal.action.as_str(),
        proposal.subject,
        proposal.summary,
        proposal.diff.json(),
        digest.as_bytes(),
        Json(&proposal.evidence) as _,
        request.author,
        request.diff_author,
        request.role.to_string(),
        i32::try_from(request.quorum).unwrap_or(i32::MAX),
        request.state.as_str(),
        i32::try_from(request.review_cycle).unwrap_or(i32::MAX),
        request.created_at,
        request.due_at,
        request.decided_at,
        proposal.kind.as_str(),
        proposal.owner,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores what a verdict, its withdrawal or the end of its time changed in a request.
pub async fn update_decision_request(
    connection: &mut PgConnection,
    request: &DecisionRequest,
) -> Result<()> {
    let digest = request.proposal.diff.digest();
    sqlx::query!(
        "UPDATE approvals.decision_requests
         SET diff = $2, diff_digest = $3, diff_author = $4, state = $5, review_cycle = $6,
             decided_at = $7, withdraw_reason = $8
         WHERE decision_request_id = $1",
        request.id.0,
        request.proposal.diff.json(),
        digest.as_bytes(),
        request.diff_author,
        request.state.as_str(),
        i32::try_from(request.review_cycle).unwrap_or(i32::MAX),
        request.decided_at,
        request.withdraw_reason,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores a verdict. The table takes one per approver and cycle.
pub async fn insert_verdict(
    connection: &mut PgConnection,
    request: DecisionRequestId,
    verdict: &Verdict,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO approvals.verdicts
             (decision_request_id, review_cycle, approver, kind, reason, diff_digest, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        request.0,
        i32::try_from(verdict.review_cycle).unwrap_or(i32::MAX),
        verdict.approver,
        verdict.kind.as_str(),
        verdict.reason,
        verdict.diff_digest.as_bytes(),
        verdict.created_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Finds a request with its verdicts, as it was stored: apply
/// [`DecisionRequest::at`] before showing it.
pub async fn load_decision_request(
    connection: &mut PgConnection,
    project: ProjectId,
    id: DecisionRequestId,
) -> Result<Option<DecisionRequest>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT decision_request_id, project_id, action, subject, summary, diff, diff_digest,
                  evidence AS "evidence: Json<Vec<Evidence>>", author, diff_author, role, quorum,
                  state, review_cycle, created_at, due_at, decided_at, kind, owner,
                  withdraw_reason
           FROM approvals.decision_requests
           WHERE project_id = $1 AND decision_request_id = $2"#,
        project.0,
        id.0,
    )
    .fetch_optional(&mut *connection)
    .await?;
    one_with_verdicts(connection, row).await
}

/// The same, locked until the transaction ends, so that verdicts are taken one
/// after the other.
pub async fn load_decision_request_for_update(
    connection: &mut PgConnection,
    project: ProjectId,
    id: DecisionRequestId,
) -> Result<Option<DecisionRequest>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT decision_request_id, project_id, action, subject, summary, diff, diff_digest,
                  evidence AS "evidence: Json<Vec<Evidence>>", author, diff_author, role, quorum,
                  state, review_cycle, created_at, due_at, decided_at, kind, owner,
                  withdraw_reason
           FROM approvals.decision_requests
           WHERE project_id = $1 AND decision_request_id = $2
           FOR UPDATE"#,
        project.0,
        id.0,
    )
    .fetch_optional(&mut *connection)
    .await?;
    one_with_verdicts(connection, row).await
}

/// Which requests to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Only this state, as of `now`.
    pub state: Option<DecisionState>,
    /// Only this subject.
    pub subject: Option<&'a str>,
    /// Only this kind.
    pub kind: Option<DecisionKind>,
    /// Only what this owner answers for.
    pub owner: Option<&'a str>,
    /// Only requests older than this one.
    pub before: Option<DecisionRequestId>,
}

/// Lists requests, newest first. What waits beyond its due time counts as
/// expired.
pub async fn list_decision_requests(
    connection: &mut PgConnection,
    project: ProjectId,
    filter: Filter<'_>,
    size: PageSize,
    now: DateTime<Utc>,
) -> Result<Vec<DecisionRequest>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT decision_request_id, project_id, action, subject, summary, diff, diff_digest,
                  evidence AS "evidence: Json<Vec<Evidence>>", author, diff_author, role, quorum,
                  state, review_cycle, created_at, due_at, decided_at, kind, owner,
                  withdraw_reason
           FROM approvals.decision_requests
           WHERE project_id = $1
             AND ($2::text IS NULL
                  OR CASE WHEN state = 'pending' AND due_at <= $3 THEN 'expired' ELSE state END = $2)
             AND ($4::text IS NULL OR subject = $4)
             AND ($5::uuid IS NULL OR decision_request_id < $5)
             AND ($7::text IS NULL OR kind = $7) AND ($8::text IS NULL OR owner = $8)
           ORDER BY decision_request_id DESC LIMIT $6"#,
        project.0,
        filter.state.map(DecisionState::as_str),
        now,
        filter.subject,
        filter.before.map(|id| id.0),
        size.limit(),
        filter.kind.map(DecisionKind::as_str),
        filter.owner,
    )
    .fetch_all(&mut *connection)
    .await?;
    let requests = with_verdicts(connection, rows).await?;
    Ok(requests.into_iter().map(|(_, request)| request.at(now)).collect())
}

/// Requests of every project that wait beyond their due time, locked until the
/// transaction ends; what another replica holds is left out.
pub async fn list_due_decision_requests(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<(ProjectId, DecisionRequest)>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT decision_request_id, project_id, action, subject, summary, diff, diff_digest,
                  evidence AS "evidence: Json<Vec<Evidence>>", author, diff_author, role, quorum,
                  state, review_cycle, created_at, due_at, decided_at, kind, owner,
                  withdraw_reason
           FROM approvals.decision_requests
           WHERE state = 'pending' AND due_at <= $1
           ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED"#,
        now,
        limit,
    )
    .fetch_all(&mut *connection)
    .await?;
    with_verdicts(connection, rows).await
}

async fn one_with_verdicts(
    connection: &mut PgConnection,
    row: Option<Row>,
) -> Result<Option<DecisionRequest>> {
    let requests = with_verdicts(connection, row.into_iter().collect()).await?;
    Ok(requests.into_iter().next().map(|(_, request)| request))
}

async fn with_verdicts(
    connection: &mut PgConnection,
    rows: Vec<Row>,
) -> Result<Vec<(ProjectId, DecisionRequest)>> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.decision_request_id).collect();
    let verdict_rows = sqlx::query!(
        "SELECT decision_request_id, review_cycle, approver, kind, reason, diff_digest, created_at
         FROM approvals.verdicts WHERE decision_request_id = ANY($1)
         ORDER BY decision_request_id, review_cycle, created_at, approver",
        &ids,
    )
    .fetch_all(connection)
    .await?;
    let mut verdicts: BTreeMap<Uuid, Vec<Verdict>> = BTreeMap::new();
    for row in verdict_rows {
        let corrupt = |column, value: &dyn ToString| Error::Corrupt {
            table: "approvals.verdicts",
            column,
            row: row.decision_request_id.to_string(),
            value: value.to_string(),
        };
        let verdict = Verdict {
            kind: row.kind.parse().map_err(|_| corrupt("kind", &row.kind))?,
            review_cycle: row
                .review_cycle
                .try_into()
                .map_err(|_| corrupt("review_cycle", &row.review_cycle))?,
            diff_digest: Digest::from_bytes(&row.diff_digest)
                .ok_or_else(|| corrupt("diff_digest", &hex::encode(&row.diff_digest)))?,
            approver: row.approver.clone(),
            reason: row.reason.clone(),
            created_at: row.created_at,
        };
        verdicts.entry(row.decision_request_id).or_default().push(verdict);
    }
    rows.into_iter()
        .map(|row| {
            let verdicts = verdicts.remove(&row.decision_request_id).unwrap_or_default();
            row.with_verdicts(verdicts)
        })
        .collect()
}
