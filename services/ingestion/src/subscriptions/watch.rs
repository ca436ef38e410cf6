//! Takes members whose lease ran out out of their groups, and measures how far
//! groups are behind.

use std::sync::Arc;
use std::time::Duration;

use northstar_domain::Clock;
use northstar_server::telemetry::Gauge;
use northstar_store::ingestion::heads;
use northstar_store::ingestion::subscriptions as store;
use northstar_store::{PgPool, Result};
use tokio_util::sync::CancellationToken;

use super::lag;

/// How soon the end of a lease is noticed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Lag is measured at every so many looks.
const MEASURE_EVERY: u32 = 10;
/// Most groups that are measured: each is a series of its own.
const MEASURED: i64 = 1_000;

/// Watches until `shutdown`. A database that is away is waited for.
pub(crate) async fn watch(
    pool: PgPool,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let gauges = Gauges::new();
    let mut looks = 0_u32;
    while shutdown.run_until_cancelled(tokio::time::sleep(LOOK_INTERVAL)).await.is_some() {
        let measure = looks.is_multiple_of(MEASURE_EVERY).then_some(&gauges);
        looks = looks.wrapping_add(1);
        if let Err(error) = look(&pool, &*clock, measure).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "consumer groups could not be looked after, trying again"
            );
        }
    }
    Ok(())
}

struct Gauges {
    positions: Gauge,
    seconds: Gauge,
}

impl Gauges {
    fn new() -> Self {
        Self {
            positions: Gauge::new(
                "northstar.subscription.lag.positions",
                "Positions between what a consumer group has acknowledged and the log's end",
            ),
            seconds: Gauge::new(
                "northstar.subscription.lag.seconds",
                "Age of the first event that a consumer group has not acknowledged",
            ),
        }
    }
}

async fn look(pool: &PgPool, clock: &dyn Clock, measure: Option<&Gauges>) -> Result<()> {
    let now = clock.now();
    let mut connection = pool.acquire().await?;
    let groups = store::with_expired_members(&mut connection, now).await?;
    drop(connection);
    for (project, group) in groups {
        let mut transaction = pool.begin().await?;
        if store::lock(&mut transaction, project, &group).await?.is_some() {
            store::rebalance(&mut transaction, project, &group, now).await?;
        }
        transaction.commit().await?;
        tracing::info!(project.id = project.0, group, "a member's lease ran out");
    }
    let Some(gauges) = measure else { return Ok(()) };
    let mut connection = pool.acquire().await?;
    for group in store::list(&mut connection, None, "", MEASURED).await? {
        let head = heads::read(&mut connection, group.project).await?.position;
        let behind = lag(&mut connection, &group, head, now).await?;
        let labels = [("project", group.project.0.to_string()), ("group", group.group.clone())];
        gauges.positions.set((head - group.position) as f64, &labels);
        gauges.seconds.set(behind.as_seconds_f64(), &labels);
    }
    Ok(())
}
