//! The loop that keeps the read models close to the log and their tails short.

use std::sync::Arc;
use std::time::Duration;

use northstar_domain::ProjectId;
use northstar_server::Latch;
use northstar_store::{Error as StoreError, PgPool, access};
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::dataset::Datasets;

/// Follows the log of every project until told to stop. What fails is logged
/// and tried again in the next round: no answer depends on this loop, it only
/// makes the next one faster. After the first round the service is ready: who asks
/// then does not wait for a read model to be made.
pub(crate) async fn follow(
    pool: PgPool,
    datasets: Arc<Datasets>,
    every: Duration,
    compact_at: usize,
    ready: Latch,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    while !shutdown.is_cancelled() {
        let round = async {
            match projects(&pool).await {
                Ok(projects) => {
                    for project in projects {
                        if let Err(error) = follow_project(&datasets, project, compact_at).await {
                            warn(&error, Some(project));
                        }
                    }
                }
                Err(error) => warn(&error, None),
            }
            ready.release();
            tokio::time::sleep(every).await;
        };
        shutdown.run_until_cancelled(round).await;
    }
    Ok(())
}

/// Every project.
pub(crate) async fn projects(pool: &PgPool) -> Result<Vec<ProjectId>> {
    let mut connection = pool.acquire().await.map_err(StoreError::from)?;
    Ok(access::list_projects(&mut connection).await?)
}

async fn follow_project(datasets: &Datasets, project: ProjectId, compact_at: usize) -> Result<()> {
    datasets.view(project).await?;
    datasets.compact(project, compact_at).await?;
    Ok(())
}

fn warn(error: &crate::Error, project: Option<ProjectId>) {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        project.id = project.map(|project| project.0),
        "read model could not follow the log, trying again"
    );
}
