//! The registry. One statement ships, and no other can.

use chrono::{DateTime, Utc};
use northstar_domain::experiment::{ApprovedDecision, Experiment, ExperimentSpec, State};
use northstar_domain::{ProjectId, ResourceName};
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::page::PageSize;
use crate::{Error, Result};

/// An experiment and the number of its version, which is its etag.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredExperiment {
    /// The experiment.
    pub experiment: Experiment,
    /// Grows by one with every change, from 1.
    pub version: i64,
}

struct Row {
    name: String,
    spec: Json<ExperimentSpec>,
    state: String,
    version: i64,
    started_at: Option<DateTime<Utc>>,
    stopped_at: Option<DateTime<Utc>>,
    concluded_at: Option<DateTime<Utc>>,
    shipped_variant: Option<String>,
}

impl TryFrom<Row> for StoredExperiment {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let corrupt = |column, value: &str| Error::Corrupt {
            table: "experiments.experiments",
            column,
            row: row.name.clone(),
            value: value.to_owned(),
        };
        let experiment = Experiment {
            name: row.name.parse().map_err(|_| corrupt("name", &row.name))?,
            state: row.state.parse().map_err(|_| corrupt("state", &row.state))?,
            spec: row.spec.0,
            started_at: row.started_at,
            stopped_at: row.stopped_at,
            concluded_at: row.concluded_at,
            shipped_variant: row.shipped_variant,
        };
        Ok(Self { experiment, version: row.version })
    }
}

/// Finds an experiment by name.
pub async fn load_experiment(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &ResourceName,
) -> Result<Option<StoredExperiment>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT name, spec AS "spec: Json<ExperimentSpec>", state, version, started_at,
                  stopped_at, concluded_at, shipped_variant
           FROM experiments.experiments WHERE project_id = $1 AND name = $2"#,
        project.0,
        name.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    row.map(StoredExperiment::try_from).transpose()
}

/// Finds an experiment and locks it until the transaction ends, so that steps
/// are taken one after the other.
pub async fn load_experiment_for_update(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &ResourceName,
) -> Result<Option<StoredExperiment>> {
    sqlx::query!(
        "SELECT 1 AS one FROM experiments.experiments
         WHERE project_id = $1 AND name = $2 FOR UPDATE",
        project.0,
        name.as_str(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    load_experiment(connection, project, name).await
}

/// Lists the experiments by name, after the given one.
pub async fn list_experiments(
    connection: &mut PgConnection,
    project: ProjectId,
    after: &str,
    size: PageSize,
) -> Result<Vec<StoredExperiment>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT name, spec AS "spec: Json<ExperimentSpec>", state, version, started_at,
                  stopped_at, concluded_at, shipped_variant
           FROM experiments.experiments WHERE project_id = $1 AND name > $2
           ORDER BY name LIMIT $3"#,
        project.0,
        after,
        size.limit(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(StoredExperiment::try_from).collect()
}

/// Creates a draft, or replaces the draft of the version before. `false` when
/// somebody else changed or started it meanwhile.
pub async fn save_draft(
    connection: &mut PgConnection,
    project: ProjectId,
    stored: &StoredExperiment,
    now: DateTime<Utc>,
) -> Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO experiments.experiments (project_id, name, spec, state, version, updated_at)
         VALUES ($1, $2, $3, 'draft', $4, $5)
         ON CONFLICT (project_id, name) DO UPDATE
             SET spec = $3, version = $4, updated_at = $5
             WHERE experiments.state = 'draft' AND experiments.version = $4 - 1",
        project.0,
        stored.experiment.name.as_str(),
        Json(&stored.experiment.spec) as _,
        stored.version,
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Stores the step of an experiment to a state other than shipped, which only
/// [`save_shipped`] reaches. `false` when it is not in the state `from`.
pub async fn save_step(
    connection: &mut PgConnection,
    project: ProjectId,
    from: State,
    experiment: &Experiment,
    now: DateTime<Utc>,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE experiments.experiments
         SET state = $4, started_at = $5, stopped_at = $6, concluded_at = $7,
             version = version + 1, updated_at = $8
         WHERE project_id = $1 AND name = $2 AND state = $3 AND $4 <> 'shipped'",
        project.0,
        experiment.name.as_str(),
        from.as_str(),
        experiment.state.as_str(),
        experiment.started_at,
        experiment.stopped_at,
        experiment.concluded_at,
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Stores that a stopped experiment was shipped: the one statement that does.
/// What is shipped, and of which experiment, is what the approved decision says.
/// `false` when the experiment is not stopped, or the decision was not asked for
/// by it.
pub async fn save_shipped(
    connection: &mut PgConnection,
    project: ProjectId,
    approved: &ApprovedDecision,
    now: DateTime<Utc>,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE experiments.experiments
         SET state = 'shipped', shipped_variant = $3, shipped_by = $4, concluded_at = $5,
             version = version + 1, updated_at = $5
         WHERE project_id = $1 AND name = $2 AND state = 'stopped'
           AND EXISTS (SELECT FROM experiments.ship_requests s
                       WHERE s.project_id = $1 AND s.experiment = $2
                         AND s.decision_request_id = $4)",
        project.0,
        approved.experiment(),
        approved.variant(),
        approved.id().0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
