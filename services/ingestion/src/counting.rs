//! Adds up what appends counted, once a second.
//!
//! An append leaves its counts beside its keys, so that it has little to write.
//! Whoever reads counts adds what lies there; this keeps it few. Several processes
//! do it for one another, each append once.

use std::time::Duration;

use northstar_store::ingestion::accounting;
use northstar_store::{PgPool, Result};
use tokio_util::sync::CancellationToken;

/// Between two looks. A reader looks at the appends of so long.
const INTERVAL: Duration = Duration::from_secs(1);

/// Adds up until `shutdown`. A database that is away is waited for; what is not
/// added up at the end is by the next process.
pub(crate) async fn add_up(pool: PgPool, shutdown: CancellationToken) -> anyhow::Result<()> {
    while shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
        if let Err(error) = look(&pool).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "counts could not be added up, trying again"
            );
        }
    }
    Ok(())
}

async fn look(pool: &PgPool) -> Result<()> {
    let mut connection = pool.acquire().await?;
    for project in accounting::uncounted(&mut connection).await? {
        accounting::count_appended(&mut connection, project).await?;
    }
    Ok(())
}
