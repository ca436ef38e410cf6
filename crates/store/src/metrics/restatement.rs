//! Values that were told, and those that changed afterwards.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use sqlx::PgConnection;

use super::log::Head;
use crate::page::PageSize;
use crate::{Error, Result};

/// A question whose values are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// SHA-256 over what is asked.
    pub id: Vec<u8>,
    /// Name of the metric.
    pub metric: String,
    /// Name of the KPI whose scorecard asked; empty for none.
    pub kpi: String,
    /// The request, encoded.
    pub request: Vec<u8>,
    /// Events at or after this instant did not count.
    pub as_of: DateTime<Utc>,
    /// Version of the metric.
    pub metric_version: i64,
    /// Hash of the definitions behind the values.
    pub definitions_hash: Vec<u8>,
    /// What the values rest on.
    pub head: Head,
}

/// A value of one closed bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Start of the bucket.
    pub bucket_start: DateTime<Utc>,
    /// Value by dimension, as a JSON object.
    pub dimensions: serde_json::Value,
    /// The value.
    pub value: Option<f64>,
    /// When it was told.
    pub served_at: DateTime<Utc>,
}

/// A value that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Restatement {
    /// Its number; 0 before it is stored.
    pub id: i64,
    /// Name of the metric.
    pub metric: String,
    /// Name of the KPI; empty for none.
    pub kpi: String,
    /// See [`Question::id`].
    pub question_id: Vec<u8>,
    /// The request, encoded.
    pub request: Vec<u8>,
    /// Start of the bucket.
    pub bucket_start: DateTime<Utc>,
    /// Value by dimension, as a JSON object.
    pub dimensions: serde_json::Value,
    /// What was told.
    pub old_value: Option<f64>,
    /// What it is now.
    pub new_value: Option<f64>,
    /// Why, as the table names causes.
    pub causes: Vec<String>,
    /// Version of the metric then.
    pub old_metric_version: i64,
    /// Version of the metric now.
    pub new_metric_version: i64,
    /// Position of the log then.
    pub old_log_position: i64,
    /// Position of the log now.
    pub new_log_position: i64,
    /// When the old value was told.
    pub served_at: DateTime<Utc>,
    /// When the change was seen.
    pub restated_at: DateTime<Utc>,
}

/// Keeps a question, or brings what is known of it up to a later instant. What its
/// earlier values rest on stays. False when the same id stands for another request.
pub async fn keep_question(
    connection: &mut PgConnection,
    project: ProjectId,
    question: &Question,
    now: DateTime<Utc>,
) -> Result<bool> {
    let head = question.head;
    let kept = sqlx::query!(
        "INSERT INTO metrics.served_questions AS kept
             (project_id, question_id, metric, kpi, request, as_of, metric_version,
              definitions_hash, log_position, identity_version, consent_version,
              consent_policy_version, erasure_version, served_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         ON CONFLICT (project_id, question_id) DO UPDATE
         SET as_of = greatest(kept.as_of, excluded.as_of), served_at = excluded.served_at
         WHERE kept.request = excluded.request",
        project.0,
        question.id,
        question.metric,
        question.kpi,
        question.request,
        question.as_of,
        question.metric_version,
        question.definitions_hash,
        head.position,
        head.identity_version,
        head.consent_version,
        head.consent_policy_version,
        head.erasure_version,
        now,
    )
    .execute(connection)
    .await?;
    Ok(kept.rows_affected() > 0)
}

/// Keeps values that were not told before.
pub async fn keep_values(
    connection: &mut PgConnection,
    project: ProjectId,
    question_id: &[u8],
    values: &[Value],
) -> Result<()> {
    let starts: Vec<_> = values.iter().map(|value| value.bucket_start).collect();
    let dimensions: Vec<_> = values.iter().map(|value| value.dimensions.clone()).collect();
    let numbers: Vec<_> = values.iter().map(|value| value.value).collect();
    let times: Vec<_> = values.iter().map(|value| value.served_at).collect();
    sqlx::query!(
        "INSERT INTO metrics.served_values
             (project_id, question_id, bucket_start, dimensions, value, served_at)
         SELECT $1, $2, start, dimensions, value, served_at
         FROM unnest($3::timestamptz[], $4::jsonb[], $5::float8[], $6::timestamptz[])
             AS told (start, dimensions, value, served_at)
         ON CONFLICT DO NOTHING",
        project.0,
        question_id,
        &starts,
        &dimensions,
        &numbers as &[Option<f64>],
        &times,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets all but the questions that were told last.
pub async fn forget_old_questions(
    connection: &mut PgConnection,
    project: ProjectId,
    keep: i64,
) -> Result<()> {
    sqlx::query!(
        "DELETE FROM metrics.served_questions WHERE project_id = $1 AND question_id IN (
             SELECT question_id FROM metrics.served_questions WHERE project_id = $1
             ORDER BY served_at DESC, question_id OFFSET $2)",
        project.0,
        keep,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Questions by the position that their values rest on, the lowest first.
pub async fn questions(connection: &mut PgConnection, project: ProjectId) -> Result<Vec<Question>> {
    let rows = sqlx::query!(
        "SELECT question_id, metric, kpi, request, as_of, metric_version, definitions_hash,
                log_position, identity_version, consent_version, consent_policy_version,
                erasure_version
         FROM metrics.served_questions WHERE project_id = $1
         ORDER BY log_position, question_id",
        project.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Question {
            id: row.question_id,
            metric: row.metric,
            kpi: row.kpi,
            request: row.request,
            as_of: row.as_of,
            metric_version: row.metric_version,
            definitions_hash: row.definitions_hash,
            head: Head {
                position: row.log_position,
                identity_version: row.identity_version,
                consent_version: row.consent_version,
                consent_policy_version: row.consent_policy_version,
                erasure_version: row.erasure_version,
            },
        })
        .collect())
}

/// The values of a question.
pub async fn values(
    connection: &mut PgConnection,
    project: ProjectId,
    question_id: &[u8],
) -> Result<Vec<Value>> {
    let values = sqlx::query_as!(
        Value,
        "SELECT bucket_start, dimensions, value, served_at FROM metrics.served_values
         WHERE project_id = $1 AND question_id = $2 ORDER BY bucket_start, dimensions",
        project.0,
        question_id,
    )
    .fetch_all(connection)
    .await?;
    Ok(values)
}

/// Notes what the values of a question rest on now. False when somebody else noted
/// something since the question was read.
pub async fn advance(
    connection: &mut PgConnection,
    project: ProjectId,
    before: &Question,
    after: &Question,
) -> Result<bool> {
    let (old, new) = (before.head, after.head);
    let advanced = sqlx::query!(
        "UPDATE metrics.served_questions
         SET metric_version = $3, definitions_hash = $4, log_position = $5,
             identity_version = $6, consent_version = $7, consent_policy_version = $8,
             erasure_version = $9
         WHERE project_id = $1 AND question_id = $2 AND definitions_hash = $10
             AND log_position = $11 AND identity_version = $12 AND consent_version = $13
             AND consent_policy_version = $14 AND erasure_version = $15",
        project.0,
        before.id,
        after.metric_version,
        after.definitions_hash,
        new.position,
        new.identity_version,
        new.consent_version,
        new.consent_policy_version,
        new.erasure_version,
        before.definitions_hash,
        old.position,
        old.identity_version,
        old.consent_version,
        old.consent_policy_version,
        old.erasure_version,
    )
    .execute(connection)
    .await?;
    Ok(advanced.rows_affected() > 0)
}

/// Stores a restatement, and the new value in the place of the old one.
pub async fn restate(
    connection: &mut PgConnection,
    project: ProjectId,
    restatement: &Restatement,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO metrics.restatements
             (project_id, metric, kpi, question_id, request, bucket_start, dimensions,
              old_value, new_value, causes, old_metric_version, new_metric_version,
              old_log_position, new_log_position, served_at, restated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        project.0,
        restatement.metric,
        restatement.kpi,
        restatement.question_id,
        restatement.request,
        restatement.bucket_start,
        restatement.dimensions,
        restatement.old_value,
        restatement.new_value,
        &restatement.causes,
        restatement.old_metric_version,
        restatement.new_metric_version,
        restatement.old_log_position,
        restatement.new_log_position,
        restatement.served_at,
        restatement.restated_at,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO metrics.served_values
             (project_id, question_id, bucket_start, dimensions, value, served_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (project_id, question_id, bucket_start, dimensions)
             DO UPDATE SET value = excluded.value, served_at = excluded.served_at",
        project.0,
        restatement.question_id,
        restatement.bucket_start,
        restatement.dimensions,
        restatement.new_value,
        restatement.restated_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Which restatements are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Of this metric; `None` for any.
    pub metric: Option<&'a str>,
    /// Of this KPI; `None` for any.
    pub kpi: Option<&'a str>,
    /// Seen at or after this time.
    pub since: Option<DateTime<Utc>>,
    /// With a lower number than this.
    pub before: Option<i64>,
}

/// Lists restatements, the newest first.
pub async fn list(
    connection: &mut PgConnection,
    project: ProjectId,
    wanted: Wanted<'_>,
    size: PageSize,
) -> Result<Vec<Restatement>> {
    let found = sqlx::query_as!(
        Restatement,
        "SELECT restatement_id AS id, metric, kpi, question_id, request, bucket_start, dimensions,
                old_value, new_value, causes, old_metric_version, new_metric_version,
                old_log_position, new_log_position, served_at, restated_at
         FROM metrics.restatements
         WHERE project_id = $1 AND ($2::text IS NULL OR metric = $2)
             AND ($3::text IS NULL OR kpi = $3)
             AND ($4::timestamptz IS NULL OR restated_at >= $4)
             AND ($5::bigint IS NULL OR restatement_id < $5)
         ORDER BY restatement_id DESC LIMIT $6",
        project.0,
        wanted.metric,
        wanted.kpi,
        wanted.since,
        wanted.before,
        size.limit(),
    )
    .fetch_all(connection)
    .await?;
    Ok(found)
}

/// Which of these positions hold events that were replayed from quarantine.
pub async fn replayed(
    connection: &mut PgConnection,
    project: ProjectId,
    positions: &[i64],
) -> Result<Vec<i64>> {
    let replayed = sqlx::query_scalar!(
        r#"SELECT position AS "position!" FROM ingestion.quarantine
           WHERE project_id = $1 AND position = ANY($2)"#,
        project.0,
        positions,
    )
    .fetch_all(connection)
    .await?;
    Ok(replayed)
}

/// Whether an event is on its way from quarantine into the log: it may be there without
/// quarantine knowing its position yet.
pub async fn is_replaying(connection: &mut PgConnection, project: ProjectId) -> Result<bool> {
    let replaying = sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM ingestion.quarantine WHERE project_id = $1 AND state = 'replaying'
           ) AS "replaying!""#,
        project.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(replaying)
}

/// What was said about identity between two versions of the map: whether subjects
/// came together, and whether they came apart.
pub async fn identity_verbs(
    connection: &mut PgConnection,
    project: ProjectId,
    after: i64,
    up_to: i64,
) -> Result<(bool, bool)> {
    let verbs = sqlx::query_scalar!(
        "SELECT DISTINCT verb FROM ingestion.identity_facts
         WHERE project_id = $1 AND recorded_at IN (
             SELECT recorded_at FROM ingestion.identity_changes
             WHERE project_id = $1 AND version > $2 AND version <= $3)",
        project.0,
        after,
        up_to,
    )
    .fetch_all(connection)
    .await?;
    let mut said = (false, false);
    for verb in verbs {
        match verb.as_str() {
            "link" | "merge" => said.0 = true,
            "unlink" | "unmerge" => said.1 = true,
            _ => {
                return Err(Error::Corrupt {
                    table: "ingestion.identity_facts",
                    column: "verb",
                    row: format!("project {project}"),
                    value: verb,
                });
            }
        }
    }
    Ok(said)
}
