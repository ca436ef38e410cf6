//! Pauses automations whose time is over.

use std::sync::Arc;
use std::time::Duration;

use northstar_domain::Clock;
use northstar_domain::automation::{Approval, AutomationState};
use northstar_store::automations as store;
use northstar_store::{PgPool, Result, audit};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// Who pauses, in the audit log.
const ACTOR: &str = "northstar-automations";
const LOOK: Duration = Duration::from_millis(500);
/// Automations per transaction.
const BATCH: i64 = 100;

/// Looks for automations past their sunset, again and again. Any number of
/// replicas may do so at once. They trigger nothing from the moment on, whether
/// this has noticed or not.
///
/// # Errors
/// Never; it ends when `shutdown` is cancelled.
pub(crate) async fn pause_at_sunset(
    pool: PgPool,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        match pause_batch(&pool, clock.as_ref()).await {
            Ok(0) => {}
            Ok(paused) => {
                tracing::info!(automations.paused = paused, "automations reached their sunset");
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot look for automations past their sunset, trying again",
            ),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn pause_batch(pool: &PgPool, clock: &dyn Clock) -> Result<usize> {
    let now = clock.now();
    let mut tx = pool.begin().await?;
    let due = store::list_past_sunset(&mut tx, now, BATCH).await?;
    for (project, name) in &due {
        store::save_state(&mut tx, *project, name, AutomationState::Paused, now).await?;
        let entry = audit::NewEntry {
            project: *project,
            actor: ACTOR,
            action: "automation.pause",
            resource: &Approval::subject(name),
            detail: &json!({
                "before": {"state": AutomationState::Active.as_str()},
                "after": {"state": AutomationState::Paused.as_str(), "reason": "sunset"},
            }),
            at: now,
        };
        audit::append(&mut tx, &entry).await?;
    }
    tx.commit().await?;
    Ok(due.len())
}
