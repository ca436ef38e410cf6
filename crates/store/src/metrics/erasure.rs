//! What is left of a subject in cohort lists, kept answers and notes when it is
//! forgotten. Segments are made anew from the log.

use northstar_domain::erasure::{Renaming, renamed, renamed_json};
use sqlx::PgConnection;

use crate::Result;
use crate::erasure::{ErasedSubject, Forgot, count};
use crate::outbox::Outbox;

/// Takes the subject off every list, and removes kept answers that name it. What
/// people wrote into definitions is theirs to change: the note says where.
pub(crate) async fn forget(
    connection: &mut PgConnection,
    subject: &ErasedSubject,
) -> Result<Forgot> {
    let mut records = members(connection, subject).await?;
    records += answers(connection, subject).await?;
    records += restatements(connection, subject).await?;
    records += notes(connection, subject).await?;
    records += Outbox::Metrics.forget(connection, subject).await?;
    let note = match definitions(connection, subject).await? {
        0 => String::new(),
        named => format!("{named} definitions name the subject and are left to their owners"),
    };
    Ok(Forgot { records, waits_for: None, note })
}

async fn members(connection: &mut PgConnection, subject: &ErasedSubject) -> Result<i64> {
    let column = |of: fn(&Renaming) -> &str| -> Vec<String> {
        subject.renamings.iter().map(|renaming| of(renaming).to_owned()).collect()
    };
    let (kinds, values) = (column(|renaming| &renaming.kind), column(|renaming| &renaming.value));
    let gone = sqlx::query!(
        "DELETE FROM metrics.cohort_members member
         USING unnest($2::text[], $3::text[]) AS named (kind, value)
         WHERE member.project_id = $1 AND member.kind = named.kind AND member.value = named.value",
        subject.project.0,
        &kinds,
        &values,
    )
    .execute(connection)
    .await?;
    Ok(count(gone.rows_affected()))
}

/// Whether a kept answer tells of the subject: it asks for it, or a row is its.
fn tells(subject: &ErasedSubject, request: &[u8], dimensions: &serde_json::Value) -> bool {
    let asks = |identifier: &[u8]| {
        // In an encoded message a text has no ends that can be seen.
        identifier.len() >= 4 && request.windows(identifier.len()).any(|found| found == identifier)
    };
    subject.renamings.iter().any(|renaming| asks(renaming.value.as_bytes()))
        || renamed_json(dimensions, &subject.renamings).is_some()
}

async fn answers(connection: &mut PgConnection, subject: &ErasedSubject) -> Result<i64> {
    let found = sqlx::query!(
        r#"SELECT question_id, request, dimensions AS "dimensions?"
           FROM metrics.served_questions question
           LEFT JOIN metrics.served_values value USING (project_id, question_id)
           WHERE project_id = $1 AND EXISTS (
               SELECT FROM unnest($2::text[]) AS one (name)
               WHERE position(convert_to(name, 'UTF8') IN request) > 0
                   OR position(name IN dimensions::text) > 0)"#,
        subject.project.0,
        &subject.values(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let told: Vec<Vec<u8>> = found
        .into_iter()
        .filter(|row| tells(subject, &row.request, row.dimensions.as_ref().unwrap_or(&NOTHING)))
        .map(|row| row.question_id)
        .collect();
    let gone = sqlx::query!(
        "DELETE FROM metrics.served_questions WHERE project_id = $1 AND question_id = ANY($2)",
        subject.project.0,
        &told,
    )
    .execute(connection)
    .await?;
    Ok(count(gone.rows_affected()))
}

const NOTHING: serde_json::Value = serde_json::Value::Null;

async fn restatements(connection: &mut PgConnection, subject: &ErasedSubject) -> Result<i64> {
    let found = sqlx::query!(
        "SELECT restatement_id, request, dimensions FROM metrics.restatements
         WHERE project_id = $1 AND EXISTS (
             SELECT FROM unnest($2::text[]) AS one (name)
             WHERE position(convert_to(name, 'UTF8') IN request) > 0
                 OR position(name IN dimensions::text) > 0)",
        subject.project.0,
        &subject.values(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let told: Vec<i64> = found
        .into_iter()
        .filter(|row| tells(subject, &row.request, &row.dimensions))
        .map(|row| row.restatement_id)
        .collect();
    let gone = sqlx::query_scalar!(
        r#"SELECT metrics.forget_restatements($1, $2) AS "gone!""#,
        subject.project.0,
        &told,
    )
    .fetch_one(connection)
    .await?;
    Ok(gone)
}

async fn notes(connection: &mut PgConnection, subject: &ErasedSubject) -> Result<i64> {
    let found = sqlx::query!(
        "SELECT note_id, body FROM metrics.scorecard_notes
         WHERE project_id = $1 AND EXISTS (
             SELECT FROM unnest($2::text[]) AS one (value) WHERE position(value IN body) > 0)",
        subject.project.0,
        &subject.values(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut changed = 0;
    for note in found {
        let Some(left) = renamed(&note.body, &subject.renamings) else { continue };
        sqlx::query!(
            "UPDATE metrics.scorecard_notes SET body = $2 WHERE note_id = $1",
            note.note_id,
            left,
        )
        .execute(&mut *connection)
        .await?;
        changed += 1;
    }
    Ok(changed)
}

/// How many documents name the subject.
async fn definitions(connection: &mut PgConnection, subject: &ErasedSubject) -> Result<i64> {
    let found = sqlx::query_scalar!(
        "SELECT document FROM metrics.definitions
         WHERE project_id = $1 AND EXISTS (
             SELECT FROM unnest($2::text[]) AS one (value)
             WHERE position(value IN document::text) > 0)",
        subject.project.0,
        &subject.values(),
    )
    .fetch_all(connection)
    .await?;
    let named =
        found.iter().filter(|document| renamed_json(document, &subject.renamings).is_some());
    Ok(count(named.count() as u64))
}
