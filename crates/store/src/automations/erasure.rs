//! What is left of a subject's runs when it is forgotten.

use northstar_domain::erasure::{renamed, without_personal};
use northstar_domain::identity::IdentifierKind;
use sqlx::PgConnection;

use crate::Result;
use crate::erasure::{ErasedSubject, Forgot, count};
use crate::outbox::Outbox;

/// Gives the subject's runs their pseudonym and takes the texts out of what they
/// were to deliver; whoever was still to be acted on is not. Waits until every
/// automation that acts has left behind what it may have read before the log was
/// rewritten.
pub(crate) async fn forget(
    connection: &mut PgConnection,
    subject: &ErasedSubject,
) -> Result<Forgot> {
    let mut forgot = Forgot::default();
    for (kind, anonymous) in
        [(IdentifierKind::USER_ID, false), (IdentifierKind::ANONYMOUS_ID, true)]
    {
        let (values, pseudonyms) = subject.of_kind(kind);
        for (value, pseudonym) in values.iter().zip(&pseudonyms) {
            forgot.records += runs(connection, subject, anonymous, value, pseudonym).await?;
        }
    }
    forgot.records += errors(connection, subject).await?;
    forgot.records += Outbox::Automations.forget(connection, subject).await?;
    let behind = sqlx::query_scalar!(
        r#"SELECT count(*) AS "behind!" FROM automations.progress progress
           JOIN automations.automations automation USING (project_id, name)
           WHERE progress.project_id = $1 AND automation.state = 'active'
               AND progress.handled_position < $2"#,
        subject.project.0,
        subject.rewrite_position,
    )
    .fetch_one(connection)
    .await?;
    if behind > 0 {
        forgot.waits_for =
            Some(format!("{behind} automations have still to handle events before the erasure"));
    }
    Ok(forgot)
}

async fn runs(
    connection: &mut PgConnection,
    subject: &ErasedSubject,
    anonymous: bool,
    value: &str,
    pseudonym: &str,
) -> Result<i64> {
    let found = sqlx::query!(
        "SELECT run_id, trigger_properties FROM automations.runs
         WHERE project_id = $1 AND subject = $2 AND anonymous = $3 AND trigger_position <= $4
         FOR UPDATE",
        subject.project.0,
        value,
        anonymous,
        subject.last_position,
    )
    .fetch_all(&mut *connection)
    .await?;
    for run in &found {
        let left = without_personal(&run.trigger_properties.to_string(), None);
        let properties: serde_json::Value = serde_json::from_str(&left).unwrap_or_default();
        // A worker that holds the run has an old fence from now on.
        sqlx::query!(
            "UPDATE automations.runs SET
                 subject = $2, trigger_properties = $3, fence = fence + 1, due_at = NULL,
                 finished_at = CASE WHEN state IN ('pending', 'running')
                     THEN $4 ELSE finished_at END,
                 last_error = CASE WHEN state IN ('pending', 'running')
                     THEN 'the subject was erased before it was acted on' ELSE '' END,
                 state = CASE WHEN state IN ('pending', 'running')
                     THEN 'dead_letter' ELSE state END
             WHERE run_id = $1",
            run.run_id,
            pseudonym,
            properties,
            subject.at,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(count(found.len() as u64))
}

/// What receivers answered may name the subject of another run.
async fn errors(connection: &mut PgConnection, subject: &ErasedSubject) -> Result<i64> {
    let found = sqlx::query!(
        "SELECT run_id, last_error FROM automations.runs
         WHERE project_id = $1 AND last_error <> '' AND EXISTS (
             SELECT FROM unnest($2::text[]) AS one (value) WHERE position(value IN last_error) > 0)",
        subject.project.0,
        &subject.values(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut changed = 0;
    for run in found {
        let Some(left) = renamed(&run.last_error, &subject.renamings) else { continue };
        sqlx::query!(
            "UPDATE automations.runs SET last_error = $2 WHERE run_id = $1",
            run.run_id,
            left
        )
        .execute(&mut *connection)
        .await?;
        changed += 1;
    }
    Ok(changed)
}
