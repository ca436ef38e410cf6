//! What is left of a subject in requests and verdicts when it is forgotten.

use northstar_domain::canonical_json;
use northstar_domain::erasure::{renamed, renamed_json};
use sqlx::PgConnection;

use crate::Result;
use crate::erasure::{ErasedSubject, Forgot};
use crate::outbox::Outbox;

/// Takes the subject's identifiers out of what was asked and answered. A request
/// that is still to be decided stays as it is until it is: a verdict is bound to
/// the text that the approver saw. Authors and approvers stay.
pub(crate) async fn forget(
    connection: &mut PgConnection,
    subject: &ErasedSubject,
) -> Result<Forgot> {
    let (mut records, pending) = requests(connection, subject).await?;
    records += verdicts(connection, subject).await?;
    records += Outbox::Approvals.forget(connection, subject).await?;
    let waits_for = (pending > 0)
        .then(|| format!("{pending} decision requests that name the subject are still pending"));
    Ok(Forgot { records, waits_for, ..Forgot::default() })
}

async fn requests(connection: &mut PgConnection, subject: &ErasedSubject) -> Result<(i64, i64)> {
    let found = sqlx::query!(
        "SELECT decision_request_id, subject, summary, diff, evidence, state, withdraw_reason
         FROM approvals.decision_requests
         WHERE project_id = $1 AND EXISTS (
             SELECT FROM unnest($2::text[]) AS one (value)
             WHERE position(value IN concat_ws(' ', subject, summary, diff, evidence::text, withdraw_reason)) > 0)
         FOR UPDATE",
        subject.project.0,
        &subject.values(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let (mut changed, mut pending) = (0, 0);
    for request in found {
        let (about, summary) = (
            renamed(&request.subject, &subject.renamings),
            renamed(&request.summary, &subject.renamings),
        );
        let diff = serde_json::from_str(&request.diff)
            .ok()
            .and_then(|diff| renamed_json(&diff, &subject.renamings));
        let evidence = renamed_json(&request.evidence, &subject.renamings);
        let withdrawn = request.withdraw_reason.as_deref();
        let withdrawn = withdrawn.and_then(|reason| renamed(reason, &subject.renamings));
        let texts = [&about, &summary, &withdrawn];
        if texts.iter().all(|text| text.is_none()) && diff.is_none() && evidence.is_none() {
            continue;
        }
        if request.state == "pending" {
            pending += 1;
            continue;
        }
        let diff = diff.as_ref().map_or(request.diff, canonical_json::to_string);
        let digest = canonical_json::digest_of_text(&diff);
        sqlx::query!(
            "UPDATE approvals.decision_requests
             SET subject = $2, summary = $3, diff = $4, diff_digest = $5, evidence = $6,
                 withdraw_reason = coalesce($7, withdraw_reason)
             WHERE decision_request_id = $1",
            request.decision_request_id,
            about.unwrap_or(request.subject),
            summary.unwrap_or(request.summary),
            diff,
            digest.as_bytes(),
            evidence.unwrap_or(request.evidence),
            withdrawn,
        )
        .execute(&mut *connection)
        .await?;
        changed += 1;
    }
    Ok((changed, pending))
}

async fn verdicts(connection: &mut PgConnection, subject: &ErasedSubject) -> Result<i64> {
    let found = sqlx::query!(
        "SELECT decision_request_id, verdict.review_cycle, approver, reason
         FROM approvals.verdicts verdict
         JOIN approvals.decision_requests USING (decision_request_id)
         WHERE project_id = $1 AND EXISTS (
             SELECT FROM unnest($2::text[]) AS one (value) WHERE position(value IN reason) > 0)",
        subject.project.0,
        &subject.values(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut changed = 0;
    for verdict in found {
        let Some(left) = renamed(&verdict.reason, &subject.renamings) else { continue };
        sqlx::query!(
            r#"SELECT approvals.rewrite_verdict($1, $2, $3, $4)::text AS "done""#,
            verdict.decision_request_id,
            verdict.review_cycle,
            verdict.approver,
            left,
        )
        .fetch_one(&mut *connection)
        .await?;
        changed += 1;
    }
    Ok(changed)
}
