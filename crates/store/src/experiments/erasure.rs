//! What is left of a subject in the registry of experiments when it is forgotten.

use northstar_domain::erasure::{renamed, renamed_json};
use northstar_domain::identity::IdentifierKind;
use sqlx::PgConnection;

use crate::Result;
use crate::erasure::{ErasedSubject, Forgot, count};
use crate::outbox::Outbox;

/// Gives the subject's exposures the pseudonym that they have in the log, so that
/// every count stays, and takes its identifiers out of what people learned.
pub(crate) async fn forget(
    connection: &mut PgConnection,
    subject: &ErasedSubject,
) -> Result<Forgot> {
    let (values, pseudonyms) = subject.of_kind(IdentifierKind::USER_ID);
    let exposures = sqlx::query!(
        "UPDATE experiments.exposures exposure SET user_id = named.pseudonym
         FROM unnest($2::text[], $3::text[]) AS named (value, pseudonym)
         WHERE exposure.project_id = $1 AND exposure.user_id = named.value",
        subject.project.0,
        &values,
        &pseudonyms,
    )
    .execute(&mut *connection)
    .await?;
    let mut records = count(exposures.rows_affected());
    records += learnings(connection, subject).await?;
    records += analyses(connection, subject).await?;
    records += Outbox::Experiments.forget(connection, subject).await?;
    Ok(Forgot { records, ..Forgot::default() })
}

async fn learnings(connection: &mut PgConnection, subject: &ErasedSubject) -> Result<i64> {
    let found = sqlx::query!(
        "SELECT experiment, learning FROM experiments.learnings
         WHERE project_id = $1 AND EXISTS (
             SELECT FROM unnest($2::text[]) AS one (value) WHERE position(value IN learning) > 0)",
        subject.project.0,
        &subject.values(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut changed = 0;
    for learning in found {
        let Some(left) = renamed(&learning.learning, &subject.renamings) else { continue };
        sqlx::query!(
            r#"SELECT experiments.rewrite_learning($1, $2, $3)::text AS "done""#,
            subject.project.0,
            learning.experiment,
            left,
        )
        .fetch_one(&mut *connection)
        .await?;
        changed += 1;
    }
    Ok(changed)
}

async fn analyses(connection: &mut PgConnection, subject: &ErasedSubject) -> Result<i64> {
    let found = sqlx::query!(
        "SELECT ship_request_id, analysis FROM experiments.ship_requests
         WHERE project_id = $1 AND EXISTS (
             SELECT FROM unnest($2::text[]) AS one (value)
             WHERE position(value IN analysis::text) > 0)",
        subject.project.0,
        &subject.values(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut changed = 0;
    for request in found {
        let Some(left) = renamed_json(&request.analysis, &subject.renamings) else { continue };
        sqlx::query!(
            "UPDATE experiments.ship_requests SET analysis = $2 WHERE ship_request_id = $1",
            request.ship_request_id,
            left,
        )
        .execute(&mut *connection)
        .await?;
        changed += 1;
    }
    Ok(changed)
}
