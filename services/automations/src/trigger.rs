//! Follows the log for every automation that acts, and makes their runs.
//!
//! One replica follows the log for an automation at a time: who does holds a
//! lease with an epoch. Runs and progress are written in one transaction that
//! checks the epoch and the automation's state, so what is handled is exactly
//! what is recorded, and nothing is made after a pause or a sunset.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use northstar_client::Clients;
use northstar_domain::Clock;
use northstar_domain::automation::Definition;
use northstar_proto::ingestion::v1 as ingestion;
use northstar_store::PgPool;
use northstar_store::automations::{self as store, Active, Follower};
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::event::triggered;
use crate::service::Wake;

/// Between two looks for automations that act.
const LOOK: Duration = Duration::from_millis(500);
/// Before another try after a failure, at first and at most.
const PAUSE: Duration = Duration::from_millis(100);
const MOST_PAUSE: Duration = Duration::from_secs(5);
/// Events per batch, and so per transaction.
const BATCH: i32 = 1_000;

/// What following the log needs.
#[derive(Clone)]
pub(crate) struct Triggers {
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) clients: Clients,
    pub(crate) wake: Wake,
    pub(crate) lease: TimeDelta,
}

/// Why following stopped.
#[derive(Debug, Error)]
enum Interrupted {
    #[error("the automation does not act any more, or another replica follows the log for it")]
    Over,
    #[error("the store failed")]
    Store(#[from] northstar_store::Error),
    #[error("ingestion ended the subscription: {}", .0.message())]
    Ingestion(#[from] tonic::Status),
    #[error("ingestion closed the subscription")]
    Closed,
}

struct Loop {
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Triggers {
    /// Keeps one loop running for each automation that acts and that no other
    /// replica follows the log for.
    ///
    /// # Errors
    /// Never; it ends when `shutdown` is cancelled.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut loops: HashMap<Active, Loop> = HashMap::new();
        loop {
            loops.retain(|_, running| !running.task.is_finished());
            if let Err(error) = self.look(&mut loops, &shutdown).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot look for automations that act, trying again",
                );
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.wake.triggers.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        for running in loops.into_values() {
            // A loop that panicked has told so already.
            let _ = running.task.await;
        }
        Ok(())
    }

    async fn look(
        &self,
        loops: &mut HashMap<Active, Loop>,
        shutdown: &CancellationToken,
    ) -> northstar_store::Result<()> {
        let now = self.clock.now();
        let mut connection = self.pool.acquire().await?;
        let active = store::list_active(&mut connection, now).await?;
        loops
            .iter()
            .filter(|(followed, _)| !active.contains(followed))
            .for_each(|(_, running)| running.cancel.cancel());
        for active in active {
            if loops.contains_key(&active) {
                continue;
            }
            let until = now + self.lease;
            let Some(follower) = store::acquire(&mut connection, &active, now, until).await? else {
                continue;
            };
            let cancel = shutdown.child_token();
            let task = tokio::spawn(self.clone().follow(active.clone(), follower, cancel.clone()));
            loops.insert(active, Loop { cancel, task });
        }
        Ok(())
    }

    /// Follows the log for one automation until it stops acting, another
    /// replica takes over, or `cancel` is cancelled.
    async fn follow(self, active: Active, mut follower: Follower, cancel: CancellationToken) {
        tracing::info!(
            automation.name = %active.name,
            project = active.project.0,
            log.position = follower.handled_position,
            "following the log",
        );
        let mut pause = PAUSE;
        loop {
            let before = follower.handled_position;
            let ended = tokio::select! {
                () = cancel.cancelled() => break,
                ended = self.subscribe(&active, &mut follower) => ended,
            };
            if matches!(ended, Interrupted::Over) {
                break;
            }
            pause = if follower.handled_position > before { PAUSE } else { pause };
            tracing::warn!(
                automation.name = %active.name,
                error = &ended as &dyn std::error::Error,
                "following the log was interrupted, trying again",
            );
            tokio::select! {
                () = cancel.cancelled() => break,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(MOST_PAUSE),
            }
            if !self.keep(&active, follower.epoch).await {
                return;
            }
        }
        let released = async {
            let mut connection = self.pool.acquire().await?;
            store::release(&mut connection, &active, follower.epoch, self.clock.now()).await
        };
        // Another replica then waits until the lease is over.
        let _ = released.await;
        tracing::info!(automation.name = %active.name, "no longer following the log");
    }

    /// Renews the lease. A database that is away takes nothing from us: whoever
    /// wants the lease needs the same database.
    async fn keep(&self, active: &Active, epoch: i64) -> bool {
        let Ok(mut connection) = self.pool.acquire().await else { return true };
        let until = self.clock.now() + self.lease;
        store::renew(&mut connection, active, epoch, until).await.unwrap_or(true)
    }

    /// Handles what one subscription delivers. Tells why it ended.
    async fn subscribe(&self, active: &Active, follower: &mut Follower) -> Interrupted {
        match self.try_subscribe(active, follower).await {
            Ok(never) => match never {},
            Err(interrupted) => interrupted,
        }
    }

    async fn try_subscribe(
        &self,
        active: &Active,
        follower: &mut Follower,
    ) -> Result<std::convert::Infallible, Interrupted> {
        let definition = {
            let mut connection = self.pool.acquire().await.map_err(northstar_store::Error::from)?;
            let name = active.name.as_str();
            store::load_activation(&mut connection, active.project, name, active.activation)
                .await?
                .ok_or(Interrupted::Over)?
                .definition
        };
        let mut ingestion = self.clients.for_project(active.project.0).ingestion();
        // A group of its own for each activation: an activation may start
        // further back, and a cursor never moves back.
        let group = format!("automation/{}/{}", active.name, active.activation);
        let request = ingestion::SubscribeRequest {
            group: group.clone(),
            start_position: follower.handled_position,
            filter: name_filter(&definition.spec().trigger.event),
            max_batch_events: BATCH,
        };
        let mut stream = ingestion.subscribe(request).await?.into_inner();
        let renewal = self.lease.to_std().unwrap_or_default() / 3;
        loop {
            let message = tokio::select! {
                message = stream.message() => message?.ok_or(Interrupted::Closed)?,
                () = tokio::time::sleep(renewal) => {
                    if !self.keep(active, follower.epoch).await {
                        return Err(Interrupted::Over);
                    }
                    continue;
                }
            };
            if message.position <= follower.handled_position {
                continue;
            }
            self.handle(active, follower, &definition, &message).await?;
            let commit =
                ingestion::CommitCursorRequest { group: group.clone(), position: message.position };
            // Our own position counts; the cursor only saves the way back to it.
            if let Err(status) = ingestion.commit_cursor(commit).await {
                tracing::warn!(
                    automation.name = %active.name,
                    error = status.message(),
                    "cannot commit the cursor",
                );
            }
        }
    }

    /// Makes the runs of a batch and records that it is handled, in one
    /// transaction.
    async fn handle(
        &self,
        active: &Active,
        follower: &mut Follower,
        definition: &Definition,
        message: &ingestion::SubscribeResponse,
    ) -> Result<(), Interrupted> {
        let runs: Vec<_> = message
            .events
            .iter()
            .filter(|event| event.position > follower.handled_position)
            .filter_map(|event| triggered(definition, event))
            .collect();
        let now = self.clock.now();
        let mut tx = self.pool.begin().await.map_err(northstar_store::Error::from)?;
        if !store::still_acts(&mut tx, active, now).await? {
            return Err(Interrupted::Over);
        }
        let made = if runs.is_empty() {
            0
        } else {
            let event = definition.spec().trigger.event.as_str();
            store::insert_runs(&mut tx, active, event, &runs, now).await?
        };
        let until = now + self.lease;
        if !store::advance(&mut tx, active, follower.epoch, message.position, until).await? {
            return Err(Interrupted::Over);
        }
        tx.commit().await.map_err(northstar_store::Error::from)?;
        follower.handled_position = message.position;
        if made > 0 {
            self.wake.runs.notify_one();
            tracing::debug!(
                automation.name = %active.name,
                runs.made = made,
                log.position = message.position,
                "made runs",
            );
        }
        Ok(())
    }
}

/// The filter ingestion applies: the name alone. It still tells how far it got
/// when nothing matches. A JSON string is a CEL string literal.
fn name_filter(event: &str) -> String {
    format!("event.name == {}", serde_json::Value::from(event))
}

#[cfg(test)]
mod tests {
    use northstar_domain::expression::{Condition, EventFacts};

    use super::name_filter;

    #[test]
    fn every_event_name_makes_a_filter_that_finds_it() {
        let properties = serde_json::Map::new();
        for name in ["Setup Stalled", "it's \"quoted\"", "back\\slash", "tab\tand\nline", "größer"]
        {
            let event = EventFacts {
                name,
                source: "web",
                user_id: "u1",
                anonymous_id: "",
                account_id: "",
                properties: &properties,
            };
            let filter = Condition::parse(&name_filter(name)).unwrap();
            assert!(filter.matches(&event), "{name:?}");
            assert!(!filter.matches(&EventFacts { name: "Other", ..event }), "{name:?}");
        }
    }
}
