//! Works off runs: leases them in batches, performs their actions many at a
//! time, and writes what became of many in one transaction.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use northstar_client::Clients;
use northstar_domain::Clock;
use northstar_domain::automation::{Action, Definition};
use northstar_domain::run::{Outcome, Settlement};
use northstar_store::PgPool;
use northstar_store::automations::{self as store, LeasedRun, SettledRun};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::consent;
use crate::emit;
use crate::service::Wake;
use crate::webhook::Sender;

/// Between two looks for runs that are due.
const LOOK: Duration = Duration::from_millis(200);
/// Results per transaction.
const MOST_RESULTS: usize = 512;
/// Before another try to write results.
const PAUSE: Duration = Duration::from_millis(250);
/// Tries to write results; then their leases end and others take over.
const MOST_TRIES: u32 = 40;
/// Definitions kept at hand; they are small and never change.
const MOST_DEFINITIONS: usize = 1_000;

type Definitions = HashMap<(i32, String, i32), Arc<Definition>>;

/// What working off runs needs.
pub(crate) struct Deliverer {
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) clients: Clients,
    pub(crate) sender: Sender,
    pub(crate) wake: Wake,
    pub(crate) lease: TimeDelta,
    pub(crate) concurrency: usize,
    pub(crate) definitions: Mutex<Definitions>,
}

impl Deliverer {
    /// Works off runs until `shutdown` is cancelled, then finishes those under
    /// way.
    ///
    /// # Errors
    /// Never. A database that is away is waited for.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) -> anyhow::Result<()> {
        let capacity = self.concurrency * 4;
        let permits = Arc::new(Semaphore::new(self.concurrency));
        let (results, settled) = mpsc::channel(MOST_RESULTS);
        let writer = tokio::spawn(Arc::clone(&self).write(settled));
        let mut under_way = JoinSet::new();
        while !shutdown.is_cancelled() {
            while under_way.try_join_next().is_some() {}
            let room = capacity - under_way.len();
            // Half at least, so that runs come in batches.
            let leased = if room * 2 >= capacity { self.lease(room).await } else { Vec::new() };
            let idle = leased.is_empty();
            for run in leased {
                let (deliverer, results) = (Arc::clone(&self), results.clone());
                let permits = Arc::clone(&permits);
                under_way.spawn(async move {
                    let Ok(_permit) = permits.acquire().await else { return };
                    if let Some(settled) = deliverer.attempt(run).await {
                        // The writer lives as long as there is a sender.
                        let _ = results.send(settled).await;
                    }
                });
            }
            if idle {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = self.wake.runs.notified() => {}
                    Some(_) = under_way.join_next() => {}
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        }
        while under_way.join_next().await.is_some() {}
        drop(results);
        // A writer that panicked has told so already.
        let _ = writer.await;
        Ok(())
    }

    async fn lease(&self, limit: usize) -> Vec<LeasedRun> {
        let now = self.clock.now();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let leased = async {
            let mut connection = self.pool.acquire().await?;
            store::lease(&mut connection, limit, now, now + self.lease).await
        };
        leased.await.unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot lease runs, trying again",
            );
            Vec::new()
        })
    }

    /// Performs the actions that are left. `None` when the run is another
    /// worker's by now, or will be when its lease ends.
    async fn attempt(&self, mut run: LeasedRun) -> Option<SettledRun> {
        let definition = match self.definition(&run).await {
            Ok(definition) => definition,
            Err(error) => {
                tracing::error!(
                    run.id = %run.id,
                    error = &error as &dyn std::error::Error,
                    "cannot read what a run is to do",
                );
                return None;
            }
        };
        let policy = definition.spec().retry_policy;
        let attempts = u32::try_from(run.attempts).unwrap_or(u32::MAX);
        let outcome = if attempts > policy.max_attempts {
            // Every attempt took its worker along.
            Outcome::Gone { error: format!("no attempt was finished; {}", run.last_error) }
        } else if let Some(outcome) = consent::missing(&self.clients, &run).await {
            outcome
        } else {
            self.perform(&definition, &mut run).await?
        };
        if let Outcome::Failed { error, .. } | Outcome::Gone { error } = &outcome {
            tracing::info!(
                automation.name = run.automation,
                run.id = %run.id,
                run.attempts = attempts,
                error,
                "an attempt failed",
            );
        }
        let now = self.clock.now();
        let settlement = Settlement::of(outcome, attempts, &policy, now, &mut rand::rng());
        Some(SettledRun {
            id: run.id,
            fence: run.fence,
            actions_done: run.actions_done,
            settlement,
        })
    }

    async fn perform(&self, definition: &Definition, run: &mut LeasedRun) -> Option<Outcome> {
        let actions = definition.spec().actions.iter().enumerate();
        let done = usize::try_from(run.actions_done).unwrap_or(0);
        for (index, action) in actions.skip(done) {
            if !self.keep(run).await {
                tracing::warn!(run.id = %run.id, "lost the lease of a run to another worker");
                return None;
            }
            let outcome = match action {
                Action::Webhook(webhook) => {
                    let id = delivery_id(run, index);
                    self.sender.deliver(webhook, run, &id, self.clock.now()).await
                }
                Action::EmitEvent(emit) => emit::deliver(&self.clients, emit, run, index).await,
            };
            if outcome != Outcome::Done {
                return Some(outcome);
            }
            run.actions_done += 1;
        }
        Some(Outcome::Done)
    }

    /// Whether the lease lasts for another action; renews it when it would not.
    async fn keep(&self, run: &mut LeasedRun) -> bool {
        let now = self.clock.now();
        let action = TimeDelta::from_std(self.sender.timeout()).unwrap_or(TimeDelta::MAX);
        if run.lease_expires_at - now > action {
            return true;
        }
        let until = now + self.lease;
        let renewed = async {
            let mut connection = self.pool.acquire().await?;
            let done = run.actions_done;
            store::renew_lease(&mut connection, run.id, run.fence, done, until).await
        };
        let kept = renewed.await.unwrap_or(false);
        run.lease_expires_at = until;
        kept
    }

    async fn definition(&self, run: &LeasedRun) -> northstar_store::Result<Arc<Definition>> {
        let key = (run.project.0, run.automation.clone(), run.activation);
        if let Some(known) = self.known().get(&key) {
            return Ok(Arc::clone(known));
        }
        let mut connection = self.pool.acquire().await?;
        let found =
            store::load_activation(&mut connection, run.project, &run.automation, run.activation)
                .await?;
        let activation = found.ok_or_else(|| northstar_store::Error::Corrupt {
            table: "automations.runs",
            column: "activation",
            row: run.id.to_string(),
            value: run.activation.to_string(),
        })?;
        let definition = Arc::new(activation.definition);
        let mut known = self.known();
        if known.len() >= MOST_DEFINITIONS {
            known.clear();
        }
        known.insert(key, Arc::clone(&definition));
        Ok(definition)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Definitions> {
        self.definitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes results, as many at once as have come in, until every sender is
    /// gone.
    async fn write(self: Arc<Self>, mut settled: mpsc::Receiver<SettledRun>) {
        let mut batch = Vec::with_capacity(MOST_RESULTS);
        while settled.recv_many(&mut batch, MOST_RESULTS).await > 0 {
            for tries in 1..=MOST_TRIES {
                let written = async {
                    let mut connection = self.pool.acquire().await?;
                    store::settle(&mut connection, &batch, self.clock.now()).await
                };
                match written.await {
                    Ok(written) if written.len() < batch.len() => {
                        tracing::warn!(
                            runs.lost = batch.len() - written.len(),
                            "results of runs that another worker holds by now were dropped",
                        );
                        break;
                    }
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(
                            tries,
                            error = &error as &dyn std::error::Error,
                            "cannot write results of runs",
                        );
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
            batch.clear();
        }
    }
}

/// The id under which a receiver knows a message again: the run's, and for
/// actions after the first one their number besides.
pub(crate) fn delivery_id(run: &LeasedRun, action: usize) -> String {
    match action {
        0 => run.id.to_string(),
        _ => format!("{}-{action}", run.id),
    }
}
