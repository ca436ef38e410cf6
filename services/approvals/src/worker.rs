//! Writes down what time has decided: requests that nobody decided before their
//! due time.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use northstar_domain::Clock;
use northstar_store::approvals as store;
use northstar_store::audit;
use northstar_store::outbox::Outbox;
use northstar_store::{PgPool, Result};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::events;

/// Who expires requests, in the audit log.
const ACTOR: &str = "northstar-approvals";
/// Requests per transaction.
const BATCH: i64 = 100;

/// Looks for requests whose time has passed, again and again. Any number of
/// replicas may do so at once. A database that is away is waited for.
///
/// # Errors
/// Never; it ends when `shutdown` is cancelled.
pub async fn expire_overdue(
    pool: PgPool,
    clock: Arc<dyn Clock>,
    interval: Duration,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        match expire_batch(&pool, clock.now()).await {
            Ok(0) => {}
            Ok(expired) => {
                tracing::info!(decision.expired = expired, "decision requests expired");
                continue;
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot expire decision requests, trying again",
            ),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(interval) => {}
        }
    }
}

/// Expires at most a hundred requests and tells how many it did.
///
/// # Errors
/// Those of the database; then nothing was written.
pub async fn expire_batch(pool: &PgPool, now: DateTime<Utc>) -> Result<usize> {
    let mut tx = pool.begin().await?;
    let due = store::list_due_decision_requests(&mut tx, now, BATCH).await?;
    let count = due.len();
    for (project, request) in due {
        let request = request.at(now);
        store::update_decision_request(&mut tx, &request).await?;
        let detail = json!({
            "before": {"state": "pending"},
            "after": {"state": request.state.as_str(), "due_time": request.due_at},
        });
        let entry = audit::NewEntry {
            project,
            actor: ACTOR,
            action: "decision.expire",
            resource: &format!("decisions/{}", request.id),
            detail: &detail,
            at: now,
        };
        audit::append(&mut tx, &entry).await?;
        Outbox::Approvals.put(&mut tx, &events::expired(project, &request)).await?;
    }
    tx.commit().await?;
    Ok(count)
}
