//! What approvals was asked about shipping.

use chrono::{DateTime, Utc};
use northstar_domain::experiment::Analysis;
use northstar_domain::{DecisionRequestId, ProjectId};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::Result;

/// A question to approvals.
#[derive(Clone, Debug, PartialEq)]
pub struct ShipRequest {
    /// Its id: the request id that approvals gets.
    pub id: Uuid,
    /// Name of the experiment.
    pub experiment: String,
    /// The variant to ship.
    pub variant: String,
    /// Who asks.
    pub author: String,
    /// The evidence.
    pub analysis: Analysis,
    /// The decision request, when approvals has answered.
    pub decision_request: Option<DecisionRequestId>,
}

struct Row {
    ship_request_id: Uuid,
    experiment: String,
    variant: String,
    author: String,
    analysis: Json<Analysis>,
    decision_request_id: Option<Uuid>,
}

impl From<Row> for ShipRequest {
    fn from(row: Row) -> Self {
        Self {
            id: row.ship_request_id,
            experiment: row.experiment,
            variant: row.variant,
            author: row.author,
            analysis: row.analysis.0,
            decision_request: row.decision_request_id.map(DecisionRequestId),
        }
    }
}

/// Keeps a question, unless one with its id is kept already, and gives the one
/// that is kept; `None` when its id is used in another project.
pub async fn keep_ship_request(
    connection: &mut PgConnection,
    project: ProjectId,
    new: &ShipRequest,
    now: DateTime<Utc>,
) -> Result<Option<ShipRequest>> {
    sqlx::query!(
        "INSERT INTO experiments.ship_requests
             (ship_request_id, project_id, experiment, variant, author, analysis, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (ship_request_id) DO NOTHING",
        new.id,
        project.0,
        new.experiment,
        new.variant,
        new.author,
        Json(&new.analysis) as _,
        now,
    )
    .execute(&mut *connection)
    .await?;
    let row = sqlx::query_as!(
        Row,
        r#"SELECT ship_request_id, experiment, variant, author,
                  analysis AS "analysis: Json<Analysis>", decision_request_id
           FROM experiments.ship_requests WHERE project_id = $1 AND ship_request_id = $2"#,
        project.0,
        new.id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(ShipRequest::from))
}

/// Stores the answer of approvals.
pub async fn save_decision_request_id(
    connection: &mut PgConnection,
    id: Uuid,
    decision: DecisionRequestId,
) -> Result<()> {
    sqlx::query!(
        "UPDATE experiments.ship_requests SET decision_request_id = $2 WHERE ship_request_id = $1",
        id,
        decision.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Finds the question that led to a decision request.
pub async fn find_ship_request_of_decision(
    connection: &mut PgConnection,
    project: ProjectId,
    decision: DecisionRequestId,
) -> Result<Option<ShipRequest>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT ship_request_id, experiment, variant, author,
                  analysis AS "analysis: Json<Analysis>", decision_request_id
           FROM experiments.ship_requests WHERE project_id = $1 AND decision_request_id = $2"#,
        project.0,
        decision.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(ShipRequest::from))
}
